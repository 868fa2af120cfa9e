/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/base/parallel.h"
#include "runtime/base/wire.h"
#include "tests/unit/unit.h"

#define ELEMENTS 1000

static void start(unsigned int threads)
{
	struct rk_error err = {0};

	if (rk_parallel_start(threads, &err) != 0)
		fail_msg("%s", err.msg);
}

static int stop(void **state)
{
	(void)state;
	rk_parallel_stop();
	return 0;
}

struct marks {
	uint64_t n, grain;
	unsigned int seen[ELEMENTS]; /* plain: a data race is for ThreadSanitizer to find */
	atomic_uint chunks, misfits;
};

static void mark(void *ctx, uint64_t begin, uint64_t end)
{
	struct marks *m = ctx;
	uint64_t want = m->n - begin < m->grain ? m->n - begin : m->grain;

	atomic_fetch_add(&m->chunks, 1);
	if (begin % m->grain != 0 || end - begin != want)
		atomic_fetch_add(&m->misfits, 1);
	sched_yield(); /* here and below: a thread that should not go on gets its chance to */
	for (uint64_t i = begin; i < end; i++)
		m->seen[i]++;
}

static void check_cut(uint64_t n, uint64_t grain)
{
	struct marks m = {.n = n, .grain = grain};

	rk_parallel_for(n, grain, mark, &m);
	for (uint64_t i = 0; i < ELEMENTS; i++)
		assert_int_equal(m.seen[i], i < n);
	assert_int_equal(m.misfits, 0);
	assert_int_equal(m.chunks, n ? (n - 1) / grain + 1 : 0);
}

#define RIG_TEST(name) TEST_WITH(name, NULL, stop)

RIG_TEST(cut)
{
	static const uint64_t sizes[] = {0, 1, 2, 3, 99, 100, 101, ELEMENTS};
	static const uint64_t grains[] = {1, 7, 100, UINT64_MAX};

	for (unsigned int threads = 0; threads <= 4; threads++) {
		if (threads) /* 0: without a pool */
			start(threads);
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
			for (size_t j = 0; j < sizeof(grains) / sizeof(grains[0]); j++)
				check_cut(sizes[i], grains[j]);
		rk_parallel_stop();
	}
}

static void meet(void *ctx, uint64_t begin, uint64_t end)
{
	pthread_barrier_t *barrier = ctx;

	(void)begin;
	(void)end;
	pthread_barrier_wait(barrier);
}

/* Each chunk waits for all others: it ends only where each has a thread of its own. */
RIG_TEST(all_threads_work)
{
	for (unsigned int threads = 1; threads <= 8; threads *= 2) {
		pthread_barrier_t barrier;

		assert_int_equal(pthread_barrier_init(&barrier, NULL, threads), 0);
		start(threads);
		for (int i = 0; i < 100; i++)
			rk_parallel_for(threads, 1, meet, &barrier);
		rk_parallel_stop();
		assert_int_equal(pthread_barrier_destroy(&barrier), 0);
	}
}

struct company {
	pthread_t caller;
	atomic_uint strangers; /* chunks that another thread ran */
};

static void count_strangers(void *ctx, uint64_t begin, uint64_t end)
{
	struct company *c = ctx;

	(void)begin;
	(void)end;
	sched_yield();
	if (!pthread_equal(c->caller, pthread_self()))
		atomic_fetch_add(&c->strangers, 1);
}

static void nest(void *ctx, uint64_t begin, uint64_t end)
{
	struct company inner = {.caller = pthread_self()};
	atomic_uint *strangers = ctx;

	(void)begin;
	(void)end;
	rk_parallel_for(50, 1, count_strangers, &inner);
	atomic_fetch_add(strangers, inner.strangers);
}

RIG_TEST(nested_runs_inline)
{
	atomic_uint strangers = 0;

	start(4);
	rk_parallel_for(200, 1, nest, &strangers);
	assert_int_equal(strangers, 0);
}

#define CALLERS 6

static void sum_up(void *ctx, uint64_t begin, uint64_t end)
{
	uint64_t *sums = ctx;

	for (uint64_t i = begin; i < end; i++)
		sums[begin / 10] += i;
}

static void *call_often(void *arg)
{
	uintptr_t wrong = 0;

	(void)arg;
	for (int round = 0; round < 300; round++) {
		uint64_t sums[ELEMENTS / 10] = {0}, total = 0;

		rk_parallel_for(ELEMENTS, 10, sum_up, sums);
		for (int i = 0; i < ELEMENTS / 10; i++)
			total += sums[i];
		wrong += total != ELEMENTS * (ELEMENTS - 1) / 2;
	}
	return (void *)wrong;
}

RIG_TEST(many_callers)
{
	pthread_t callers[CALLERS];
	void *wrong;

	start(3);
	for (int i = 0; i < CALLERS; i++)
		assert_int_equal(pthread_create(&callers[i], NULL, call_often, NULL), 0);
	for (int i = 0; i < CALLERS; i++) {
		assert_int_equal(pthread_join(callers[i], &wrong), 0);
		assert_null(wrong);
	}
}

struct hold {
	pthread_t caller;
	pthread_barrier_t both_in; /* the holding caller, the helper, and the test */
	pthread_barrier_t release; /* the holding caller and the test */
};

static void hold(void *ctx, uint64_t begin, uint64_t end)
{
	struct hold *h = ctx;

	(void)begin;
	(void)end;
	pthread_barrier_wait(&h->both_in);
	if (pthread_equal(h->caller, pthread_self()))
		pthread_barrier_wait(&h->release);
}

static void *hold_main(void *arg)
{
	struct hold *h = arg;

	h->caller = pthread_self();
	rk_parallel_for(2, 1, hold, h);
	return NULL;
}

/* Two callers fill a pool of two: its helper must leave the second one's chunks alone. */
RIG_TEST(helpers_keep_out_of_a_full_pool)
{
	struct company company = {.caller = pthread_self()};
	pthread_barrier_t pair;
	struct hold h;
	pthread_t id;

	assert_int_equal(pthread_barrier_init(&h.both_in, NULL, 3), 0);
	assert_int_equal(pthread_barrier_init(&h.release, NULL, 2), 0);
	assert_int_equal(pthread_barrier_init(&pair, NULL, 2), 0);
	start(2);
	assert_int_equal(pthread_create(&id, NULL, hold_main, &h), 0);
	pthread_barrier_wait(&h.both_in);
	rk_parallel_for(20000, 1, count_strangers, &company);
	assert_int_equal(company.strangers, 0);
	pthread_barrier_wait(&h.release);
	assert_int_equal(pthread_join(id, NULL), 0);
	/* and it comes back once there is room */
	rk_parallel_for(2, 1, meet, &pair);
	assert_int_equal(pthread_barrier_destroy(&h.both_in), 0);
	assert_int_equal(pthread_barrier_destroy(&h.release), 0);
	assert_int_equal(pthread_barrier_destroy(&pair), 0);
}

RIG_TEST(start_refuses)
{
	struct rk_error err = {0};

	assert_int_equal(rk_parallel_start(0, &err), -EINVAL);
	assert_int_equal(rk_parallel_start(RK_WIRE_THREADS_MAX + 1, &err), -EINVAL);
	assert_string_equal(err.msg, "kernels can run on 1 to 256 threads, not on 257");
	start(1);
	assert_int_equal(rk_parallel_start(2, &err), -EBUSY);
	rk_parallel_stop();
	rk_parallel_stop();
	start(RK_WIRE_THREADS_MAX);
}
