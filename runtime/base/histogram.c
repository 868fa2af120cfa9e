/* SPDX-License-Identifier: MIT */
/* Adds to a histogram, and reads percentiles of it. */
#include "runtime/base/histogram.h"

#define STEP_BITS 4 /* log2 of RK_HISTOGRAM_STEPS */

static unsigned int bucket_of(uint64_t usecs)
{
	unsigned int top;

	if (usecs > UINT32_MAX)
		usecs = UINT32_MAX;
	if (usecs < RK_HISTOGRAM_STEPS)
		return (unsigned int)usecs;
	top = 63 - (unsigned int)__builtin_clzll(usecs);
	return (top - STEP_BITS + 1) * RK_HISTOGRAM_STEPS +
	       (unsigned int)(usecs >> (top - STEP_BITS) & (RK_HISTOGRAM_STEPS - 1));
}

/* The largest value that falls into @bucket. */
static uint64_t bucket_end(unsigned int bucket)
{
	unsigned int shift;

	if (bucket < RK_HISTOGRAM_STEPS)
		return bucket;
	shift = bucket / RK_HISTOGRAM_STEPS - 1;
	return ((uint64_t)(RK_HISTOGRAM_STEPS + bucket % RK_HISTOGRAM_STEPS + 1) << shift) - 1;
}

/* There is one writer, so no read-modify-write is needed. */
static void add(_Atomic uint64_t *to, uint64_t n)
{
	atomic_store_explicit(to, atomic_load_explicit(to, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

void rk_histogram_add(struct rk_histogram *h, uint64_t usecs)
{
	add(&h->count[bucket_of(usecs)], 1);
	add(&h->sum, usecs);
}

int64_t rk_histogram_percentile(const struct rk_histogram *h, unsigned int permille)
{
	uint64_t total = 0, below = 0, want;

	for (unsigned int i = 0; i < RK_HISTOGRAM_BUCKETS; i++)
		total += atomic_load_explicit(&h->count[i], memory_order_relaxed);
	if (!total)
		return -1;
	/* the rank rounded up, and at least one: p50 of a single value is that value */
	want = (uint64_t)(((unsigned __int128)total * permille + 999) / 1000);
	for (unsigned int i = 0; i < RK_HISTOGRAM_BUCKETS; i++) {
		below += atomic_load_explicit(&h->count[i], memory_order_relaxed);
		if (below && below >= want)
			return (int64_t)bucket_end(i);
	}
	return -1; /* it was reset meanwhile */
}

uint64_t rk_histogram_below(const struct rk_histogram *h, unsigned int power)
{
	uint64_t below = 0;

	for (unsigned int i = 0; i < RK_HISTOGRAM_BUCKETS; i++)
		if (power >= 64 || bucket_end(i) < UINT64_C(1) << power)
			below += atomic_load_explicit(&h->count[i], memory_order_relaxed);
	return below;
}

uint64_t rk_histogram_sum(const struct rk_histogram *h)
{
	return atomic_load_explicit(&h->sum, memory_order_relaxed);
}

void rk_histogram_reset(struct rk_histogram *h)
{
	atomic_store_explicit(&h->sum, 0, memory_order_relaxed);
	for (unsigned int i = 0; i < RK_HISTOGRAM_BUCKETS; i++)
		atomic_store_explicit(&h->count[i], 0, memory_order_relaxed);
}
