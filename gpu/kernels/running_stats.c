/* SPDX-License-Identifier: MIT */
/*
 * The count, mean and variance of all numbers so far: B. P. Welford, "Note on a Method for
 * Calculating Corrected Sums of Squares and Products", Technometrics 4(3), 1962, pp. 419-420.
 */
#include <math.h>

#include "gpu/kernels/kernels.h"
#include "gpu/kernels/nan.h"

void rk_kernel_running_stats(const double *x, void *state, uint64_t *count, double *mean,
			     double *variance, uint64_t n)
{
	struct rk_running_stats *s = state;

	for (uint64_t i = 0; i < n; i++) {
		double from_old = x[i] - s->mean;

		s->n++;
		s->mean += from_old / (double)s->n;
		s->m2 += from_old * (x[i] - s->mean);
	}
	*count = s->n;
	*mean = s->n ? rk_one_nan_f64(s->mean) : (double)NAN;
	*variance = s->n ? rk_one_nan_f64(s->m2 / (double)s->n) : (double)NAN;
}
