/* SPDX-License-Identifier: MIT */
/*
 * running_stats.c's moments from a resident kernel: each thread follows a part of x as that does,
 * then the parts are merged, two at a time: T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms
 * for Computing the Sample Variance", The American Statistician 37(3), 1983.
 *
 * count is the same; mean and variance differ by rounding: the mean by less than 1e-14 of the
 * greatest |x|, the variance by less than 1e-14 of the greatest x^2. Where an infinity or a NaN
 * came in, mean and variance are not finite on either side, but one may be NaN where the other is
 * infinite.
 */
#include "gpu/kernels/kernels.h"
#include "gpu/kernels/nan.h"
#include "gpu/kernels/ring.cuh"

#define MOST_THREADS 1024

/* Merge @b into @a. */
static __device__ void merge_stats(struct rk_running_stats *a, const struct rk_running_stats *b)
{
	const double n = (double)(a->n + b->n), delta = b->mean - a->mean;

	if (b->n == 0)
		return;
	if (a->n == 0) {
		*a = *b;
		return;
	}
	a->mean += delta * ((double)b->n / n);
	a->m2 += b->m2 + delta * delta * ((double)a->n * ((double)b->n / n));
	a->n += b->n;
}

static __device__ void running_stats_message(const double *x, void *state, uint64_t *count,
					     double *mean, double *variance, uint64_t n)
{
	__shared__ struct rk_running_stats parts[MOST_THREADS];
	struct rk_running_stats mine = {0, 0, 0}, *all = (struct rk_running_stats *)state;
	unsigned int left = n < blockDim.x ? (unsigned int)n : blockDim.x, half;

	for (uint64_t i = threadIdx.x; i < n; i += blockDim.x) {
		double value = x[i], from_old = value - mine.mean;

		mine.n++;
		mine.mean += from_old / (double)mine.n;
		mine.m2 += from_old * (value - mine.mean);
	}
	parts[threadIdx.x] = mine;
	for (; left > 1; left = half) {
		half = (left + 1) / 2;
		__syncthreads();
		if (threadIdx.x + half < left)
			merge_stats(&parts[threadIdx.x], &parts[threadIdx.x + half]);
	}
	if (threadIdx.x == 0) {
		merge_stats(all, &parts[0]);
		*count = all->n;
		*mean = all->n ? rk_one_nan_f64(all->mean) : (double)NAN;
		*variance = all->n ? rk_one_nan_f64(all->m2 / (double)all->n) : (double)NAN;
	}
}

RK_RING_KERNEL(running_stats, running_stats_message)
