/* SPDX-License-Identifier: MIT */
/*
 * A log-linear histogram of durations in microseconds: 16 linear steps per power of two, so a
 * percentile is at most 1/16 too high. After the bucketing of HdrHistogram (Tene).
 * One thread at a time may add; any thread may read, and may miss a value that is being added.
 */
#ifndef RK_RUNTIME_BASE_HISTOGRAM_H
#define RK_RUNTIME_BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#define RK_HISTOGRAM_STEPS   16
#define RK_HISTOGRAM_BUCKETS (RK_HISTOGRAM_STEPS * 29) /* up to 2^32 - 1 us, more than an hour */

struct rk_histogram {
	_Atomic uint64_t count[RK_HISTOGRAM_BUCKETS];
	_Atomic uint64_t sum; /* microseconds */
};

/* Zeroed memory is an empty histogram. */
void rk_histogram_add(struct rk_histogram *h, uint64_t usecs);

/*
 * The upper end, in microseconds, of the bucket below which @permille of 1000 values lie, or -1 if
 * there are no values.
 */
int64_t rk_histogram_percentile(const struct rk_histogram *h, unsigned int permille);

/*
 * How many values were below 2^@power microseconds; all of them if @power is 64. This is exact,
 * because fractions of microseconds were cut off.
 */
uint64_t rk_histogram_below(const struct rk_histogram *h, unsigned int power);

/* The sum of all values, microseconds. */
uint64_t rk_histogram_sum(const struct rk_histogram *h);

void rk_histogram_reset(struct rk_histogram *h);

#endif
