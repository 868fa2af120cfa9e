/* SPDX-License-Identifier: MIT */
/* What monte_carlo_var.cu does before it simulates: monte_carlo_var.c's checks and factor. */
#ifndef RK_GPU_KERNELS_MONTE_CARLO_VAR_CUH
#define RK_GPU_KERNELS_MONTE_CARLO_VAR_CUH

#include <float.h>
#include <math.h>

#include "gpu/kernels/grid.cuh"

#define VAR_SLACK      1e-10
#define VAR_MAX_NORMAL 9.0
#define VAR_WARP       32

/* Threads that work on the matrix: one block, or all, for which a barrier takes longer. */
struct var_team {
	uint64_t *arrived;
	uint32_t blocks;

	__device__ uint64_t thread() const
	{
		return rk_grid_thread();
	}
	__device__ uint64_t threads() const
	{
		return (uint64_t)blocks * blockDim.x;
	}
	__device__ void sync() const
	{
		if (blocks > 1)
			rk_grid_sync(arrived, blocks);
		else
			__syncthreads();
	}
};

/* Copy the lower triangle of @a to @l. False where this thread has seen that it is no covariance.
 */
static __device__ bool var_copy(const struct var_team &team, const double *a, uint64_t k, double *l)
{
	const uint64_t lane = team.thread() % VAR_WARP;
	bool good = true;

	for (uint64_t i = team.thread() / VAR_WARP; i < k; i += team.threads() / VAR_WARP)
		for (uint64_t j = lane; j <= i; j += VAR_WARP) {
			double x = a[i * k + j], ii = a[i * k + i], jj = a[j * k + j];

			l[i * k + j] = x;
			if (i == j)
				good = good && isfinite(x) && !(x < 0);
			else
				good = good &&
				       fabs(x - a[j * k + i]) <= VAR_SLACK * sqrt(ii) * sqrt(jj);
		}
	return good;
}

/*
 * Column @p of the factor, whose elements have all that is left of it subtracted, but for the
 * pivot, which is returned. As monte_carlo_var.c's factor().
 */
static __device__ double var_scale(const struct var_team &team, const double *a, uint64_t k,
				   uint64_t p, double *l, bool *good)
{
	const double sum = l[p * k + p], variance = a[p * k + p];
	const double pivot = sum > (double)k * DBL_EPSILON * variance ? sqrt(sum) : 0;

	*good = *good && sum >= -VAR_SLACK * variance;
	for (uint64_t i = p + 1 + team.thread(); i < k; i += team.threads()) {
		double x = l[i * k + p];

		*good = *good &&
			(pivot > 0 || fabs(x) <= sqrt(VAR_SLACK * variance) * sqrt(a[i * k + i]));
		l[i * k + p] = pivot > 0 ? x / pivot : 0;
	}
	return pivot;
}

/*
 * The Cholesky factor @l of @a. Each element loses its products in the order of the columns, as in
 * monte_carlo_var.c, so it has the same bits; there they are subtracted element by element, here
 * column by column. False where this thread has seen that there is none.
 */
static __device__ bool var_factor(const struct var_team &team, const double *a, uint64_t k,
				  double *l)
{
	const uint64_t lane = team.thread() % VAR_WARP, row = team.thread() / VAR_WARP;
	bool good = true;

	for (uint64_t p = 0; p < k; p++) {
		double pivot = var_scale(team, a, k, p, l, &good);

		team.sync();
		if (team.thread() == 0)
			l[p * k + p] = pivot;
		for (uint64_t i = p + 1 + row; i < k; i += team.threads() / VAR_WARP) {
			double x = l[i * k + p];

			for (uint64_t j = p + 1 + lane; j <= i; j += VAR_WARP)
				l[i * k + j] -= x * l[j * k + p];
		}
		team.sync();
	}
	return good;
}

/* exposure = l' weights */
static __device__ void var_expose(const struct var_team &team, const double *weights,
				  const double *l, uint64_t k, double *exposure)
{
	for (uint64_t j = team.thread(); j < k; j += team.threads()) {
		double sum = 0;

		for (uint64_t i = j; i < k; i++)
			sum += l[i * k + j] * weights[i];
		exposure[j] = sum;
	}
}

/* One thread: the mean and standard deviation of a profit. False where one would not be finite. */
static __device__ bool var_moments(const double *weights, const double *mean,
				   const double *exposure, uint64_t k, double *mu, double *sigma)
{
	double sum = 0, bound = 0, squares = 0;

	for (uint64_t j = 0; j < k; j++) {
		sum += weights[j] * mean[j];
		bound += fabs(exposure[j]) * VAR_MAX_NORMAL;
		squares += exposure[j] * exposure[j];
	}
	*mu = sum;
	*sigma = sqrt(squares);
	return isfinite(fabs(sum) + bound);
}

#endif
