/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/request/payload.h"
#include "tests/unit/payload_used.h"
#include "tests/unit/unit.h"

#define LIMIT	(16ULL << 20)
#define BLOCKS	12
#define ROUNDS	4000
#define THREADS 4

static struct rk_payload *create(void)
{
	struct rk_payload *pool;

	assert_int_equal(rk_payload_create(LIMIT, 100, &pool, NULL), 0);
	return pool;
}

/* Alone in the pool a block grows where it is, and is charged for whole pages. */
TEST(in_place)
{
	struct rk_payload *pool = create();
	struct rk_block block;
	const void *data;
	uint64_t bytes;

	assert_int_equal(rk_payload_alloc(pool, 0, 1, &block, NULL), 0);
	data = block.data;
	memset(block.data, 7, 1);
	for (bytes = 2; bytes < LIMIT / 2; bytes = bytes * 3 / 2 + 1) {
		assert_int_equal(rk_payload_resize(&block, bytes, NULL), 0);
		assert_ptr_equal(block.data, data);
		assert_int_equal(block.bytes, bytes);
		assert_int_equal(payload_used(pool), pages(bytes));
		((char *)block.data)[bytes - 1] = 9;
	}
	assert_int_equal(*(char *)data, 7);
	for (; bytes > 1; bytes = bytes * 2 / 3) {
		if (bytes > block.bytes)
			continue;
		assert_int_equal(rk_payload_resize(&block, bytes, NULL), 0);
		assert_ptr_equal(block.data, data);
		assert_int_equal(payload_used(pool), pages(bytes));
		/* what is not in it went back, or is little */
		assert_true(backed(pool) <= pages(bytes) + (64 << 10));
	}
	assert_int_equal(*(char *)data, 7);
	rk_payload_free(&block);
	assert_int_equal(payload_used(pool), 0);
	rk_payload_unref(pool);
}

/* Where the neighbour is taken, a block moves with all it holds; a shrunk one makes room. */
TEST(moves)
{
	struct rk_payload *pool = create();
	struct rk_block a, b;
	uint64_t offset;

	assert_int_equal(rk_payload_alloc(pool, 0, PAGE, &a, NULL), 0);
	assert_int_equal(rk_payload_alloc(pool, 0, PAGE, &b, NULL), 0);
	assert_int_equal(a.offset ^ b.offset, PAGE); /* buddies */
	memset(a.data, 'a', PAGE);
	memset(b.data, 'b', PAGE);
	offset = a.offset;
	assert_int_equal(rk_payload_resize(&a, PAGE + 1, NULL), 0);
	assert_true(a.offset != offset);
	for (uint64_t i = 0; i < PAGE; i++) {
		assert_int_equal(((char *)a.data)[i], 'a');
		assert_int_equal(((char *)b.data)[i], 'b');
	}
	assert_int_equal(payload_used(pool), 3 * PAGE);
	/* the upper half of a pair cannot take the lower one, free or not */
	rk_payload_free(&a);
	offset = b.offset;
	assert_int_equal(rk_payload_resize(&b, 2 * PAGE, NULL), 0);
	assert_int_equal(*(char *)b.data, 'b');
	assert_true(offset % (2 * PAGE) == 0 || b.offset != offset);
	rk_payload_free(&b);
	assert_int_equal(payload_used(pool), 0);
	rk_payload_unref(pool);
}

TEST(limits)
{
	struct rk_payload *pool = create();
	struct rk_block block, before;
	struct rk_error err;

	assert_int_equal(rk_payload_alloc(pool, 0, 10 * PAGE, &block, NULL), 0);
	before = block;
	assert_int_equal(rk_payload_resize(&block, LIMIT + 1, &err), -ENOMEM);
	assert_non_null(strstr(err.msg, "would exceed max_buffered_bytes"));
	assert_int_equal(rk_payload_resize(&block, UINT64_MAX, &err), -ENOMEM);
	assert_int_equal(rk_payload_resize(&block, 0, &err), -ENOMEM);
	assert_memory_equal(&block, &before, sizeof(block));
	assert_int_equal(payload_used(pool), 10 * PAGE);
	assert_int_equal(rk_payload_resize(&block, LIMIT, &err), 0);
	rk_payload_free(&block);
	/* all of it is in one piece again */
	assert_int_equal(rk_payload_alloc(pool, 0, LIMIT, &block, NULL), 0);
	rk_payload_free(&block);
	rk_payload_unref(pool);
}

/* Many blocks that come, grow, shrink and go keep what they hold and never share a byte. */
static void churn(struct rk_payload *pool, uint64_t seed, uint64_t largest)
{
	struct rk_block blocks[BLOCKS] = {{0}};
	unsigned int round, i;

	for (round = 0; round < ROUNDS; round++) {
		uint64_t r = next_random(&seed), bytes = 1 + (r >> 8) % (largest >> (r >> 40) % 12);
		struct rk_block *b = &blocks[r % BLOCKS];
		unsigned char mark = (unsigned char)(r >> 56), *data = b->data;
		uint64_t kept = bytes < b->bytes ? bytes : b->bytes;

		if (!b->pool) {
			if (rk_payload_alloc(pool, 0, bytes, b, NULL))
				continue;
			memset(b->data, mark, bytes);
			continue;
		}
		mark = data[0];
		for (uint64_t at = 0; at < b->bytes; at += b->bytes / 16 + 1)
			assert_int_equal(data[at], mark);
		if (r >> 50 & 1) {
			rk_payload_free(b);
			continue;
		}
		if (rk_payload_resize(b, bytes, NULL))
			continue;
		data = b->data;
		for (uint64_t at = 0; at < kept; at += kept / 16 + 1)
			assert_int_equal(data[at], mark);
		memset(data, mark, bytes);
	}
	for (i = 0; i < BLOCKS; i++)
		rk_payload_free(&blocks[i]);
}

TEST(churn)
{
	struct rk_payload *pool = create();
	struct rk_block block;

	churn(pool, 1, 2 << 20);
	assert_int_equal(payload_used(pool), 0);
	assert_int_equal(rk_payload_alloc(pool, 0, LIMIT, &block, NULL), 0);
	rk_payload_free(&block);
	assert_int_equal(backed(pool), 0);
	rk_payload_unref(pool);
}

struct worker {
	struct rk_payload *pool;
	uint64_t seed;
};

static void *work(void *arg)
{
	struct worker *w = arg;

	churn(w->pool, w->seed, 256 << 10);
	return NULL;
}

TEST(threads)
{
	struct rk_payload *pool = create();
	struct worker workers[THREADS];
	pthread_t threads[THREADS];

	for (unsigned int i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){pool, 100 + i};
		assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
	}
	for (unsigned int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(payload_used(pool), 0);
	rk_payload_unref(pool);
}
