/* SPDX-License-Identifier: MIT */
/*
 * The kernels that ship, as C functions. Each is called by many threads at once, those for mode =
 * ring by one, on buffers that do not overlap; n may be 0. They need nothing of rkfs but
 * gpu/base/parallel.h.
 *
 * A C signature has no room for an error: where input that fits its shapes makes no sense, the
 * results become NaN. A NaN that is computed is always the one of gpu/kernels/nan.h; echo and
 * ring_echo return the bytes that they get.
 */
#ifndef RK_GPU_KERNELS_KERNELS_H
#define RK_GPU_KERNELS_KERNELS_H

#include <stdint.h>

/* out[i] = in[i] */
void rk_kernel_echo(const uint8_t *in, uint8_t *out, uint64_t n);

/* c[i] = a[i] + b[i] */
void rk_kernel_vector_add(const float *a, const float *b, float *c, uint64_t n);

/* *sum = x[0] + ... + x[n - 1] in double, pairwise; an infinity or NaN among them carries over. */
void rk_kernel_reduce_sum(const float *x, double *sum, uint64_t n);

/* Sleep for @ms milliseconds; *waited_ms is what was measured, rounded down, at least @ms. */
void rk_kernel_delay(uint32_t ms, uint32_t *waited_ms);

/*
 * c[m,n] = a[m,k] b[k,n], row by row, in float. The rounding depends on k and on what the CPU can
 * do (fused multiply-add), not on the number of threads. k = 0 gives zeros.
 */
void rk_kernel_matmul(const float *a, const float *b, float *c, uint64_t m, uint64_t k, uint64_t n);

/*
 * PageRank of a graph of @n nodes and @e links in compressed sparse rows: node u links to
 * targets[offsets[u]] ... targets[offsets[u + 1] - 1]. A link that occurs twice counts twice, a
 * link to itself counts; a node without links gives its rank to all nodes alike. rank[n], which
 * adds up to 1, begins at 1 / n and is iterated until *residual, the L1 norm of the last
 * step, is below @tolerance, or @max_iterations times; *iterations counts. The answer has the same
 * bits for any number of threads.
 *
 * Offsets that do not begin at 0, ascend and end at e, a target that is no node, n above 2^32 - 1,
 * a damping outside 0 to 1 or a tolerance that is negative or NaN: ranks and residual are NaN,
 * iterations 0. With
 * @max_iterations 0 the residual is NaN too. in[n + 1], sources[e] and share[n] are scratch.
 */
void rk_kernel_pagerank(const uint32_t *offsets, const uint32_t *targets, double damping,
			double tolerance, uint32_t max_iterations, double *rank,
			uint32_t *iterations, double *residual, uint32_t *in, uint32_t *sources,
			double *share, uint64_t n, uint64_t e);

/*
 * Value at risk of @k positions worth weights[k], whose returns over the horizon are
 * jointly normal with mean[k] and covariance[k,k], from @paths simulated paths. Losses are
 * positive. *var is the least simulated loss x such that at least @confidence of all losses are at
 * most x: of N losses in ascending order, the one of rank ceil(confidence N).
 * *expected_shortfall is the mean of the worst (1 - confidence) N of them, to which that one
 * counts with the fraction needed. *mean_pnl is the mean profit. The answer is a function of the
 * inputs alone (the file says of what exactly), with the same bits for any number of threads.
 *
 * NaN: confidence not between 0 and 1 (both excluded), no paths or more than 2^53, a covariance
 * that is not symmetric or not positive semi-definite (to 1e-10 as a correlation), anything that is
 * not finite or overflows, or no memory: it takes 8 bytes for each of the worst (1 - confidence)
 * @paths. l[k,k] and exposure[k] are scratch.
 */
void rk_kernel_monte_carlo_var(const double *weights, const double *mean, const double *covariance,
			       double confidence, uint64_t paths, uint64_t seed, double *var,
			       double *expected_shortfall, double *mean_pnl, double *l,
			       double *exposure, uint64_t k);

/* --- mode = ring ----------------------------------------------------------- */

/* out[i] = in[i] */
void rk_kernel_ring_echo(const uint8_t *in, uint8_t *out, uint64_t n);

/* What running_stats keeps between messages; zeroes at first. */
struct rk_running_stats {
	uint64_t n;
	double mean;
	double m2; /* sum of the squared differences from the mean */
};

/*
 * Add x[0] ... x[n - 1] to what came before; *count, *mean and *variance (of the population: the
 * sum of squares over count) are of all of them. NaN where nothing came yet. An infinity
 * or NaN stays. @state is a struct rk_running_stats.
 */
void rk_kernel_running_stats(const double *x, void *state, uint64_t *count, double *mean,
			     double *variance, uint64_t n);

#endif
