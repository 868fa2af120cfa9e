/* SPDX-License-Identifier: MIT */
/*
 * The sum, added up in pairs: N. J. Higham, "The Accuracy of Floating Point Summation", SIAM J.
 * Sci. Comput. 14(4), 1993, pp. 783-799. The error grows with log n and, unlike that of a
 * compensated sum, an infinity stays one.
 */
#include "gpu/kernels/kernels.h"
#include "gpu/kernels/nan.h"

#define LANES 8	  /* independent partial sums, so that additions overlap */
#define LEAF  128 /* elements summed without recursion, a multiple of LANES */

static double sum_leaf(const float *x, uint64_t n)
{
	double lane[LANES] = {0};
	uint64_t i;

	for (i = 0; i + LANES <= n; i += LANES)
		for (unsigned int j = 0; j < LANES; j++)
			lane[j] += (double)x[i + j];
	for (unsigned int j = 0; i < n; i++, j++)
		lane[j] += (double)x[i];
	return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
	       ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

/* The depth is log2(n / LEAF): 57 at most. */
static double sum_pairwise(const float *x, uint64_t n)
{
	uint64_t half;

	if (n <= LEAF)
		return sum_leaf(x, n);
	half = n / 2;
	half -= half % LANES;
	return sum_pairwise(x, half) + sum_pairwise(x + half, n - half);
}

void rk_kernel_reduce_sum(const float *x, double *sum, uint64_t n)
{
	*sum = rk_one_nan_f64(sum_pairwise(x, n));
}
