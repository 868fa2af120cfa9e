/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/histogram.h"
#include "tests/unit/unit.h"

#define VALUES 5000
#define ADDED  200000

static struct rk_histogram h;

static int empty(void **state)
{
	(void)state;
	memset((void *)&h, 0, sizeof(h));
	return 0;
}

/* What the histogram tells of one value. */
static int64_t told_of(uint64_t usecs)
{
	rk_histogram_reset(&h);
	rk_histogram_add(&h, usecs);
	return rk_histogram_percentile(&h, 500);
}

/* Never too low, and at most 1/16 too high. */
static void check_value(uint64_t usecs)
{
	int64_t told = told_of(usecs);

	if (told < (int64_t)usecs || (uint64_t)told > usecs + usecs / RK_HISTOGRAM_STEPS)
		fail_msg("%llu: %lld", (unsigned long long)usecs, (long long)told);
}

#define RIG_TEST(name) TEST_WITH(name, empty, NULL)

RIG_TEST(empty)
{
	assert_int_equal(rk_histogram_percentile(&h, 500), -1);
	rk_histogram_add(&h, 7);
	rk_histogram_reset(&h);
	assert_int_equal(rk_histogram_percentile(&h, 0), -1);
	assert_int_equal(rk_histogram_percentile(&h, 1000), -1);
}

/* Every small value, every edge of a bucket, and its neighbours. */
RIG_TEST(buckets)
{
	int64_t last = -1;

	for (uint64_t usecs = 0; usecs < 70000; usecs++) {
		int64_t told = told_of(usecs);

		check_value(usecs);
		assert_true(told >= last); /* a longer time is never told shorter */
		last = told;
	}
	for (unsigned int i = 0; i < 2 * RK_HISTOGRAM_STEPS; i++) /* exact below */
		assert_int_equal(told_of(i), i);
	for (unsigned int power = 5; power < 32; power++)
		for (uint64_t step = 0; step < RK_HISTOGRAM_STEPS; step++) {
			uint64_t edge = (1ULL << power) + (step << (power - 4));

			check_value(edge - 1);
			check_value(edge);
			check_value(edge + 1);
			assert_int_equal(told_of(edge - 1), edge - 1); /* where a bucket ends */
		}
	check_value(UINT32_MAX);
	assert_int_equal(told_of(UINT32_MAX), UINT32_MAX);
}

/* Beyond the range: the longest that can be told. */
RIG_TEST(beyond)
{
	assert_int_equal(told_of(1ULL << 32), UINT32_MAX);
	assert_int_equal(told_of(UINT64_MAX), UINT32_MAX);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The value below which, or at which, @permille of all lie: by sorting. */
static uint64_t by_sorting(const uint64_t *sorted, size_t n, unsigned int permille)
{
	size_t rank = (n * permille + 999) / 1000;

	return sorted[rank ? rank - 1 : 0];
}

static void check_percentiles(const uint64_t *sorted, size_t n)
{
	for (unsigned int permille = 0; permille <= 1000; permille++) {
		uint64_t exact = by_sorting(sorted, n, permille);
		int64_t told = rk_histogram_percentile(&h, permille);

		if (told < (int64_t)exact || (uint64_t)told > exact + exact / RK_HISTOGRAM_STEPS)
			fail_msg("p%u of %zu: %lld, but it is %llu", permille, n, (long long)told,
				 (unsigned long long)exact);
	}
}

/* Against sorting: values of all magnitudes, few and many of them. */
RIG_TEST(percentiles)
{
	static uint64_t values[VALUES];
	unsigned int seed = 1;

	for (size_t n = 1; n <= VALUES; n = n * 3 + 1) {
		rk_histogram_reset(&h);
		for (size_t i = 0; i < n; i++) {
			uint64_t random = (uint64_t)rand_r(&seed) << 31 | (uint64_t)rand_r(&seed);

			values[i] = (random & UINT32_MAX) >> rand_r(&seed) % 32;
			rk_histogram_add(&h, values[i]);
		}
		qsort(values, n, sizeof(values[0]), compare);
		check_percentiles(values, n);
	}
}

/* Ninety-nine fast and one slow: p99 is fast, the longest is not. */
RIG_TEST(tail)
{
	for (unsigned int i = 0; i < 99; i++)
		rk_histogram_add(&h, 10);
	rk_histogram_add(&h, 1 << 20);
	assert_int_equal(rk_histogram_percentile(&h, 500), 10);
	assert_int_equal(rk_histogram_percentile(&h, 990), 10);
	assert_true(rk_histogram_percentile(&h, 991) >= 1 << 20);
}

static void *add_always(void *arg)
{
	(void)arg;
	for (unsigned int i = 0; i < ADDED; i++)
		rk_histogram_add(&h, 100 + i % 100);
	return NULL;
}

/* Read while it is written: what is told was added. */
RIG_TEST(readers)
{
	pthread_t thread;
	int64_t told;

	assert_int_equal(pthread_create(&thread, NULL, add_always, NULL), 0);
	do {
		told = rk_histogram_percentile(&h, 990);
		assert_true(told == -1 || (told >= 100 && told <= 199 + 199 / 16));
	} while (told < 199);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_in_range(rk_histogram_percentile(&h, 500), 149, 149 + 149 / 16);
}
