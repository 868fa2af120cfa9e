/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "runtime/request/payload.h"
#include "tests/unit/payload_used.h"
#include "tests/unit/unit.h"

#define LIMIT	(20ULL << 20)
#define BLOCKS	200
#define FINGER	(12ULL << 20) /* what a fingerprint takes at the most */
#define STEPS	8000
#define THREADS 4

static int setup(void **state)
{
	struct rk_error err;
	struct rk_payload *pool;

	assert_int_equal(rk_payload_create(LIMIT, 100, &pool, &err), 0);
	*state = pool;
	return 0;
}

static int teardown(void **state)
{
	rk_payload_unref(*state);
	return 0;
}

static struct rk_block alloc(struct rk_payload *pool, uint64_t bytes)
{
	struct rk_error err = {0};
	struct rk_block b = {0};

	if (rk_payload_alloc(pool, 0, bytes, &b, &err))
		fail_msg("%s", err.msg);
	return b;
}

static void expect_nomem(struct rk_payload *pool, uint64_t bytes, const char *sentence)
{
	struct rk_block before, b;
	struct rk_error err = {0};
	uint64_t used = payload_used(pool);

	memset(&b, 0x5a, sizeof(b));
	before = b;
	assert_int_equal(rk_payload_alloc(pool, 0, bytes, &b, &err), -ENOMEM);
	assert_int_equal(err.code, ENOMEM);
	assert_non_null(strstr(err.msg, sentence));
	assert_memory_equal(&b, &before, sizeof(b));
	assert_int_equal(payload_used(pool), used);
}

#define RIG_TEST(name) TEST_WITH(name, setup, teardown)

/* @b was filled to the end of its last page, and freed: nothing of it is found there again. */
static void expect_zero_at(struct rk_payload *pool, uint64_t offset, uint64_t bytes)
{
	struct rk_block b = alloc(pool, bytes);

	assert_int_equal(b.offset, offset);
	for (uint64_t i = 0; i < pages(bytes); i++)
		assert_int_equal(((char *)b.data)[i], 0);
	rk_payload_free(&b);
}

RIG_TEST(freed_is_wiped)
{
	static const uint64_t sizes[] = {1, 4095, 4096, 5000, 65535, 65536, 70000, 1 << 20};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct rk_block b = alloc(*state, sizes[i]);
		uint64_t offset = b.offset;

		memset(b.data, 'x', pages(b.bytes));
		rk_payload_free(&b);
		expect_zero_at(*state, offset, sizes[i]);
		if (sizes[i] <= PAGE)
			continue;
		b = alloc(*state, sizes[i]);
		memset(b.data, 'x', pages(b.bytes));
		assert_int_equal(rk_payload_resize(&b, PAGE, NULL), 0);
		expect_zero_at(*state, offset + PAGE, PAGE);
		assert_int_equal(((char *)b.data)[PAGE - 1], 'x');
		rk_payload_free(&b);
	}
}

RIG_TEST(block)
{
	struct rk_payload *pool = *state;
	struct rk_block b = alloc(pool, 5000), zero = {0};
	char byte;

	assert_ptr_equal(b.pool, pool);
	assert_int_equal(b.bytes, 5000);
	assert_int_equal(b.offset % PAGE, 0);
	assert_int_equal((uintptr_t)b.data % PAGE, 0);
	assert_true(b.offset + b.bytes <= rk_payload_size(pool));
	assert_int_equal(payload_used(pool), 2 * PAGE);
	memset(b.data, 'x', b.bytes); /* the offset is where the worker will look */
	assert_int_equal(pread(rk_payload_fd(pool), &byte, 1, (off_t)(b.offset + 4999)), 1);
	assert_int_equal(byte, 'x');
	rk_payload_free(&b);
	assert_memory_equal(&b, &zero, sizeof(b));
	rk_payload_free(&b);
	assert_int_equal(payload_used(pool), 0);
}

RIG_TEST(limit)
{
	struct rk_payload *pool = *state;
	struct rk_block whole, b;
	char numbers[64];

	expect_nomem(pool, 0, "0 bytes");
	expect_nomem(pool, LIMIT + 1, "max_buffered_bytes");
	expect_nomem(pool, UINT64_MAX, "do not fit");
	expect_nomem(pool, rk_payload_size(pool), "max_buffered_bytes");
	whole = alloc(pool, LIMIT);
	assert_int_equal(payload_used(pool), LIMIT);
	snprintf(numbers, sizeof(numbers), "4096 bytes more would exceed max_buffered_bytes: %llu",
		 LIMIT);
	expect_nomem(pool, 1, numbers);
	rk_payload_free(&whole);
	b = alloc(pool, LIMIT - PAGE + 1); /* what was refused holds nothing */
	rk_payload_free(&b);
}

RIG_TEST(charges)
{
	struct rk_payload *pool = *state;
	struct rk_error err = {0};
	struct rk_block b = alloc(pool, PAGE);

	assert_int_equal(rk_payload_charge(pool, 0, LIMIT - PAGE, &err), 0);
	assert_int_equal(payload_used(pool), LIMIT);
	expect_nomem(pool, 1, "max_buffered_bytes");
	assert_int_equal(rk_payload_charge(pool, 0, 1, &err), -ENOMEM);
	assert_non_null(strstr(err.msg, "max_buffered_bytes"));
	assert_int_equal(rk_payload_charge(pool, 0, UINT64_MAX, &err), -ENOMEM);
	assert_int_equal(rk_payload_charge(pool, 0, UINT64_MAX - LIMIT + 1, &err), -ENOMEM);
	assert_int_equal(rk_payload_charge(pool, 0, 0, &err), 0);
	rk_payload_free(&b);
	assert_int_equal(rk_payload_charge(pool, 0, PAGE, &err), 0);
	rk_payload_uncharge(pool, 0, LIMIT);
	assert_int_equal(payload_used(pool), 0);
}

/* --- the property --- */

struct churn {
	struct rk_payload *pool;
	unsigned int seed;
	struct rk_block blocks[BLOCKS];
	uint64_t used;
	unsigned int failures;
};

/* Of every magnitude from 1 byte to 512 KiB. */
static uint64_t random_size(unsigned int *seed)
{
	unsigned int magnitude = (unsigned int)rand_r(seed) % 19;

	return (1ULL << magnitude) + (unsigned int)rand_r(seed) % (1U << magnitude);
}

static uint64_t stamp_of(const struct rk_block *b)
{
	return b->offset * 31 + b->bytes;
}

/* Both ends of a block tell whose it is; neighbours that overlapped would overwrite them. */
static void stamp(const struct rk_block *b)
{
	uint64_t s = stamp_of(b);

	memcpy(b->data, &s, b->bytes < sizeof(s) ? b->bytes : sizeof(s));
	if (b->bytes >= 2 * sizeof(s))
		memcpy((char *)b->data + b->bytes - sizeof(s), &s, sizeof(s));
}

static bool stamped(const struct rk_block *b)
{
	uint64_t s = stamp_of(b);

	if (memcmp(b->data, &s, b->bytes < sizeof(s) ? b->bytes : sizeof(s)))
		return false;
	return b->bytes < 2 * sizeof(s) ||
	       !memcmp((char *)b->data + b->bytes - sizeof(s), &s, sizeof(s));
}

static bool overlaps(const struct churn *c, const struct rk_block *b)
{
	for (unsigned int i = 0; i < BLOCKS; i++) {
		const struct rk_block *o = &c->blocks[i];

		if (o->pool && o != b && b->offset < o->offset + pages(o->bytes) &&
		    o->offset < b->offset + pages(b->bytes))
			return true;
	}
	return false;
}

static void free_one(struct churn *c, struct rk_block *b)
{
	c->failures += !stamped(b);
	c->used -= pages(b->bytes);
	rk_payload_free(b);
}

static void churn_step(struct churn *c)
{
	struct rk_block *b = &c->blocks[(unsigned int)rand_r(&c->seed) % BLOCKS];
	uint64_t size = random_size(&c->seed);
	struct rk_error err;

	if (b->pool) {
		free_one(c, b);
		return;
	}
	if (rk_payload_alloc(c->pool, 0, size, b, &err))
		return; /* at the limit: frees will come */
	c->used += pages(size);
	c->failures +=
		b->bytes != size || b->offset + size > rk_payload_size(c->pool) || overlaps(c, b);
	stamp(b);
}

static void churn_end(struct churn *c)
{
	for (unsigned int i = 0; i < BLOCKS; i++)
		if (c->blocks[i].pool)
			free_one(c, &c->blocks[i]);
}

/* Where a fixed sequence of blocks lands: the same in a pool that is whole again. */
static void fingerprint(struct rk_payload *pool, uint64_t offsets[BLOCKS])
{
	struct rk_block blocks[BLOCKS];
	unsigned int seed = 4711;

	for (unsigned int i = 0; i < BLOCKS; i++) {
		blocks[i] = alloc(pool, random_size(&seed) % (FINGER / BLOCKS) + 1);
		offsets[i] = blocks[i].offset;
	}
	for (unsigned int i = 0; i < BLOCKS; i++)
		rk_payload_free(&blocks[i]);
}

RIG_TEST(property)
{
	struct churn c = {.pool = *state, .seed = 1};
	uint64_t fresh[BLOCKS], again[BLOCKS];

	fingerprint(c.pool, fresh);
	for (unsigned int round = 0; round < 3; round++) {
		for (unsigned int i = 0; i < STEPS; i++) {
			churn_step(&c);
			assert_int_equal(payload_used(c.pool), c.used);
		}
		churn_end(&c);
		assert_int_equal(c.failures, 0);
		assert_int_equal(payload_used(c.pool), 0);
		fingerprint(c.pool, again);
		assert_memory_equal(again, fresh, sizeof(fresh));
	}
}

static void *churn_thread(void *arg)
{
	struct churn *c = arg;

	for (unsigned int i = 0; i < STEPS / 2; i++)
		churn_step(c);
	churn_end(c);
	return NULL;
}

RIG_TEST(threads)
{
	struct churn *c = calloc(THREADS, sizeof(*c));
	uint64_t fresh[BLOCKS], again[BLOCKS];
	pthread_t threads[THREADS];

	assert_non_null(c);
	fingerprint(*state, fresh);
	for (unsigned int i = 0; i < THREADS; i++) {
		c[i] = (struct churn){.pool = *state, .seed = i};
		assert_int_equal(pthread_create(&threads[i], NULL, churn_thread, &c[i]), 0);
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(c[i].failures, 0);
	}
	assert_int_equal(payload_used(*state), 0);
	fingerprint(*state, again);
	assert_memory_equal(again, fresh, sizeof(fresh));
	free(c);
}

/* --- the worst case --- */

#define WORST_LIMIT (16ULL << 20) /* the smallest pool whose file is only four times as large */
#define WORST_MAX   (WORST_LIMIT / PAGE * 16)

struct worst {
	struct rk_payload *pool;
	struct rk_block *blocks;
	unsigned int n;
};

/* Allocate blocks of @bytes until that fails; the sentence is in @err. */
static void fill(struct worst *w, uint64_t bytes, struct rk_error *err)
{
	struct rk_block b;

	while (!rk_payload_alloc(w->pool, 0, bytes, &b, err)) {
		assert_true(w->n < WORST_MAX);
		w->blocks[w->n++] = b;
	}
}

/* In each aligned piece of @bytes, free all blocks but the first. */
static void thin_out(struct worst *w, uint64_t bytes)
{
	bool *kept = calloc(rk_payload_size(w->pool) / bytes, sizeof(*kept));
	unsigned int left = 0;

	assert_non_null(kept);
	for (unsigned int i = 0; i < w->n; i++) {
		struct rk_block b = w->blocks[i];

		if (kept[b.offset / bytes]) {
			rk_payload_free(&b);
		} else {
			kept[b.offset / bytes] = true;
			w->blocks[left++] = b;
		}
	}
	w->n = left;
	free(kept);
}

/* Robson's adversary: memory is left, but not in one piece. A sentence, and nothing leaks. */
RIG_TEST(fragmented)
{
	struct worst w = {.blocks = calloc(WORST_MAX, sizeof(*w.blocks))};
	uint64_t fresh[BLOCKS], again[BLOCKS], used = 0;
	struct rk_error err = {0};

	assert_non_null(w.blocks);
	assert_int_equal(rk_payload_create(WORST_LIMIT, 100, &w.pool, &err), 0);
	fingerprint(w.pool, fresh);
	for (uint64_t bytes = PAGE; bytes < WORST_LIMIT; bytes *= 2) {
		fill(&w, bytes, &err);
		if (strstr(err.msg, "fragmented"))
			break;
		thin_out(&w, 2 * bytes);
	}
	assert_non_null(strstr(err.msg, "fragmented"));
	for (unsigned int i = 0; i < w.n; i++)
		used += pages(w.blocks[i].bytes);
	assert_true(used < WORST_LIMIT);
	assert_int_equal(payload_used(w.pool), used);
	for (unsigned int i = 0; i < w.n; i++)
		rk_payload_free(&w.blocks[i]);
	assert_int_equal(payload_used(w.pool), 0);
	fingerprint(w.pool, again);
	assert_memory_equal(again, fresh, sizeof(fresh));
	rk_payload_unref(w.pool);
	free(w.blocks);
}

/* --- memory and the system --- */

RIG_TEST(idle_pool_is_free)
{
	assert_int_equal(backed(*state), 0);
}

/* Also the pages that rounding up adds to a block cost nothing. */
RIG_TEST(large_blocks_are_punched)
{
	struct rk_block a = alloc(*state, 3 << 20), b = alloc(*state, 64 << 10);

	/* backed at once: a page that could not be had later would be a SIGBUS */
	assert_int_equal(backed(*state), (3 << 20) + (64 << 10));
	memset(a.data, 1, a.bytes);
	memset(b.data, 1, b.bytes);
	assert_int_equal(backed(*state), (3 << 20) + (64 << 10));
	rk_payload_free(&a);
	assert_int_equal(backed(*state), 64 << 10);
	rk_payload_free(&b);
	assert_int_equal(backed(*state), 0);
}

RIG_TEST(small_blocks_are_punched_at_last)
{
	const unsigned int count = 300; /* of 60 KiB: 18 MiB */
	struct rk_block *blocks = calloc(count, sizeof(*blocks));

	assert_non_null(blocks);
	for (unsigned int i = 0; i < count; i++) {
		blocks[i] = alloc(*state, 60 << 10);
		memset(blocks[i].data, 1, blocks[i].bytes);
	}
	assert_int_equal(backed(*state), count * (60ULL << 10));
	for (unsigned int i = 0; i < count; i++)
		rk_payload_free(&blocks[i]);
	assert_int_equal(backed(*state), 0);
	free(blocks);
}

/* The pool is a file; a limit on file sizes leaves it less room, or is an error. */
RIG_TEST(file_limit)
{
	struct rk_payload *pool;
	struct rk_error err = {0};
	struct rlimit normal, small;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &normal), 0);
	small = normal;
	small.rlim_cur = 300 << 20;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(rk_payload_create(256 << 20, 100, &pool, &err), 0);
	assert_int_equal(rk_payload_size(pool), 256 << 20);
	rk_payload_unref(pool);
	assert_int_equal(rk_payload_create(257 << 20, 100, &pool, &err), -EFBIG);
	assert_non_null(strstr(err.msg, "ulimit -f"));
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &normal), 0);
	assert_int_equal(rk_payload_create(257 << 20, 100, &pool, &err), 0);
	assert_int_equal(rk_payload_size(pool), 2048LL << 20);
	rk_payload_unref(pool);
}

RIG_TEST(sealed)
{
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	int fd = rk_payload_fd(*state);
	struct stat st;

	/* and since Linux 6.3 that it cannot be executed */
	assert_int_equal(fcntl(fd, F_GET_SEALS) & seals, seals);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, rk_payload_size(*state));
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

/* The last of pool reference and block reference ends it. */
RIG_TEST(references)
{
	struct rk_error err = {0};
	struct rk_payload *pool;
	struct rk_block b;
	int fd;

	assert_int_equal(rk_payload_create(1 << 20, 100, &pool, &err), 0);
	fd = rk_payload_fd(pool);
	assert_ptr_equal(rk_payload_ref(pool), pool);
	b = alloc(pool, 100000);
	rk_payload_unref(pool);
	rk_payload_unref(pool);
	memset(b.data, 1, b.bytes); /* still there */
	assert_true(fcntl(fd, F_GETFD) >= 0);
	rk_payload_free(&b);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	rk_payload_unref(NULL);
}

RIG_TEST(sizes)
{
	static const uint64_t limits[] = {1 << 20, 100 << 20, 1ULL << 30, (1ULL << 30) + 1};
	struct rk_error err = {0};

	for (unsigned int i = 0; i < 4; i++) {
		struct rk_payload *pool;
		struct rk_block b;

		assert_int_equal(rk_payload_create(limits[i], 100, &pool, &err), 0);
		assert_true(rk_payload_size(pool) >= limits[i]);
		expect_nomem(pool, limits[i] + 1, "max_buffered_bytes");
		b = alloc(pool, limits[i] / 16);
		rk_payload_free(&b);
		rk_payload_unref(pool);
	}
}
