/* SPDX-License-Identifier: MIT */
/*
 * monte_carlo_var.c's simulation in one cooperative launch, with its random numbers, normals and
 * order of additions: compile without fused multiply-add.
 *
 * The losses are too many to keep and come from a counter, so a pass simulates all paths and
 * keeps those in a range: of losses around the expected value at risk, by the binomial distribution
 * of how many exceed it, and up to the greatest one if they will fit. One pass is enough, unless
 * more losses fall into the range than can be kept, or the value at risk lies outside of it: then a
 * histogram of the range's losses says where the next pass looks (R. W. Floyd and R. L. Rivest,
 * "Expected time bounds for selection", Comm. ACM 18(3), 1975). Losses are compared as integers
 * made of their bits, which have the same order.
 *
 * var and mean_pnl have monte_carlo_var.c's bits. expected_shortfall has them too where the losses
 * beyond var are all kept: up to some 6700 = (1 - confidence) paths. With more it differs by
 * rounding, relatively to the greatest loss by less than 1e-16 times their number, 1e-13 as a rule.
 * Every device gives the same bits.
 */
#include <math.h>
#include <string.h>

#include "gpu/kernels/grid.cuh"
#include "gpu/kernels/monte_carlo_var.cuh"
#include "gpu/kernels/normal.h"
#include "gpu/kernels/philox.h"

#define VAR_THREADS   256
#define VAR_BATCH     1024 /* as there */
#define VAR_MAX_PATHS (1ULL << 53)
#define VAR_SOLO      128 /* assets up to which one block works on the matrix, with no barrier of all */
#define VAR_BINS_LOG2 10
#define VAR_BINS      (1 << VAR_BINS_LOG2)

/* the tests have smaller ones */
#ifndef VAR_KEEP
#define VAR_KEEP   8192 /* losses */
#define VAR_ROUND  1024 /* batches whose sums are waiting to be added up */
#define VAR_MARGIN 5.0	/* standard deviations of how many losses exceed the range's ends */
#endif

#define VAR_LEAST    0ULL
#define VAR_GREATEST UINT64_MAX

/* Scratch: zeroed before the run. */
struct var_work {
	uint64_t arrived; /* rk_grid_sync() */
	uint64_t refused;
	double mean, sigma; /* of the profit */
	double sum;	    /* of profit - mean, over all paths */
	/* this pass: the range, as keys, both ends in it */
	uint64_t low, high;
	uint64_t inside, above; /* losses in the range and beyond */
	double excess;		/* the sum of those beyond */
	uint64_t finished;
	uint64_t histogram[VAR_BINS];		     /* of the losses inside */
	double sums[2][VAR_ROUND];		     /* of batches: profit - mean */
	double excesses[2][VAR_ROUND];		     /* of batches: losses beyond the range */
	uint64_t kept[VAR_KEEP], in_order[VAR_KEEP]; /* the losses inside */
};

#if VAR_KEEP == 8192
static_assert(sizeof(struct var_work) == 21515 * 8, "etc/kernels.d/monte-carlo-var.ini has it");
#endif

/* One run, as all threads see it. */
struct var_run {
	const double *exposure;
	uint64_t k, paths, seed, batches;
	uint64_t tail; /* the value at risk is the loss of this rank, 1 is the greatest */
	double confidence;
	uint32_t blocks; /* that take part */
	struct var_work *work;
};

/* An integer for a loss, which is never -0 or NaN: the integers have the order of the losses. */
static __device__ inline uint64_t var_key(double loss)
{
	uint64_t bits;

	memcpy(&bits, &loss, sizeof(bits));
	return bits >> 63 ? ~bits : bits | 1ULL << 63;
}

static __device__ inline double var_loss(uint64_t key)
{
	uint64_t bits = key >> 63 ? key & ~(1ULL << 63) : ~key;
	double loss;

	memcpy(&loss, &bits, sizeof(loss));
	return loss;
}

static __device__ double var_deviation(const struct var_run &r, uint64_t path)
{
	double sum = 0;

	for (uint64_t j = 0; j < r.k; j += 2) {
		uint32_t x[4] = {(uint32_t)path, (uint32_t)(path >> 32), (uint32_t)(j / 2),
				 (uint32_t)(j / 2 >> 32)};

		rk_philox4x32(x, r.seed);
		sum += r.exposure[j] * rk_normal_quantile(rk_uniform(x[0], x[1]));
		if (j + 1 < r.k)
			sum += r.exposure[j + 1] * rk_normal_quantile(rk_uniform(x[2], x[3]));
	}
	return sum;
}

/* How far to shift a key's distance from @low for its bin. */
static __device__ inline int var_shift(uint64_t low, uint64_t high)
{
	int bits = 64 - __clzll((long long)(high - low));

	return bits > VAR_BINS_LOG2 ? bits - VAR_BINS_LOG2 : 0;
}

/* Put a loss that is inside where it belongs. */
static __device__ void var_keep(struct var_work *work, uint64_t key, uint64_t low, int shift)
{
	uint64_t at = rk_atomic_add(&work->inside, 1);

	if (at < VAR_KEEP)
		work->kept[at] = key;
	rk_atomic_add(&work->histogram[(key - low) >> shift], 1);
}

/* One block: simulate a batch, keep what is inside; its two sums go to @sum and @excess. */
static __device__ void var_batch(const struct var_run &r, uint64_t batch, double *deviations,
				 double *sum, double *excess)
{
	struct var_work *work = r.work;
	const uint64_t first = batch * VAR_BATCH, low = work->low, high = work->high;
	const uint64_t rest = r.paths - first;
	const unsigned int n = rest < VAR_BATCH ? (unsigned int)rest : VAR_BATCH;
	const double mean = work->mean;
	const int shift = var_shift(low, high);
	uint64_t above = 0;

	for (unsigned int i = threadIdx.x; i < n; i += blockDim.x) {
		double d = var_deviation(r, first + i);
		uint64_t key = var_key(0 - (mean + d)); /* never -0 */

		deviations[i] = d;
		if (key > high)
			above++;
		else if (key >= low)
			var_keep(work, key, low, shift);
	}
	if (above)
		rk_atomic_add(&work->above, above);
	__syncthreads();
	/* in order, by threads of two warps */
	if (threadIdx.x == 0) {
		double x = 0;

#pragma unroll 8
		for (unsigned int i = 0; i < n; i++)
			x += deviations[i];
		*sum = x;
	} else if (threadIdx.x == VAR_WARP) {
		double x = 0;

#pragma unroll 8
		for (unsigned int i = 0; i < n; i++) {
			double loss = 0 - (mean + deviations[i]);

			x += var_key(loss) > high ? loss : 0;
		}
		*excess = x;
	}
	__syncthreads();
}

/* One block: add up the sums of a round's batches, in order, behind those before. */
static __device__ void var_add_round(const struct var_run &r, uint64_t first, const double *sums,
				     const double *excesses)
{
	const uint64_t n = r.batches - first < VAR_ROUND ? r.batches - first : VAR_ROUND;
	const double *from = threadIdx.x == 0 ? sums : excesses;
	double *to = threadIdx.x == 0 ? &r.work->sum : &r.work->excess, x;

	if (threadIdx.x != 0 && threadIdx.x != VAR_WARP)
		return;
	x = first == 0 ? 0 : *to;
#pragma unroll 8
	for (uint64_t i = 0; i < n; i++)
		x += from[i];
	*to = x;
}

/*
 * Simulate all paths. The first block adds up while the others simulate the next round, so their
 * sums are in two places by turns.
 */
static __device__ void var_pass(const struct var_run &r, double *deviations)
{
	const uint32_t workers = r.blocks > 1 ? r.blocks - 1 : 1;
	const bool adds = blockIdx.x == 0, works = !adds || r.blocks == 1;
	unsigned int turn = 0;

	for (uint64_t first = 0; first < r.batches; first += VAR_ROUND, turn ^= 1) {
		double *sums = r.work->sums[turn], *excesses = r.work->excesses[turn];
		uint64_t b = r.blocks > 1 ? blockIdx.x - 1 : 0;

		for (; works && b < VAR_ROUND && first + b < r.batches; b += workers)
			var_batch(r, first + b, deviations, &sums[b], &excesses[b]);
		rk_grid_sync(&r.work->arrived, r.blocks);
		if (adds)
			var_add_round(r, first, sums, excesses);
	}
	rk_grid_sync(&r.work->arrived, r.blocks);
}

/* Where the value at risk will be: see the head of this file. */
static __device__ void var_guess(const struct var_run &r)
{
	struct var_work *work = r.work;
	const double n = (double)r.paths, c = r.confidence;
	const double margin = VAR_MARGIN * sqrt(c * (1 - c) / n);
	const double most = c + margin < 1 ? c + margin : 1, least = c - margin;
	double low, high;

	work->low = VAR_LEAST;
	work->high = VAR_GREATEST;
	if (!(least > 0x1p-60) || !isfinite(work->sigma))
		return;
	low = 0 - (work->mean - work->sigma * rk_normal_quantile(least));
	work->low = var_key(low);
	if (!(work->sigma > 0)) {
		work->high = work->low; /* there is only one */
	} else if (most < 1 && n * (1 - least) > VAR_KEEP / 8 * 7) {
		high = 0 - (work->mean - work->sigma * rk_normal_quantile(most));
		work->high = var_key(high);
	}
}

/* The histogram's bin in which the @rank-th greatest loss inside is becomes the range. */
static __device__ void var_narrow(struct var_work *work, uint64_t rank)
{
	const int shift = var_shift(work->low, work->high);
	const uint64_t width = (1ULL << shift) - 1;
	uint64_t bin = VAR_BINS - 1, above = work->above;

	for (; rank > work->histogram[bin]; bin--) {
		rank -= work->histogram[bin];
		above += work->histogram[bin];
	}
	work->low += bin << shift;
	if (work->high - work->low > width)
		work->high = work->low + width;
	if (above + work->histogram[bin] <= VAR_KEEP)
		work->high = VAR_GREATEST;
}

/* One thread, after a pass: whether the value at risk is known, else where it is. */
static __device__ void var_judge(const struct var_run &r)
{
	struct var_work *work = r.work;

	if (r.tail <= work->above) {
		work->low = work->high + 1;
		work->high = VAR_GREATEST;
	} else if (r.tail - work->above > work->inside) {
		if (r.tail > VAR_KEEP)
			work->high = work->low - 1;
		work->low = VAR_LEAST;
	} else if (work->inside <= VAR_KEEP || work->low == work->high) {
		work->finished = 1;
		return;
	} else {
		var_narrow(work, r.tail - work->above);
	}
	work->inside = 0;
	work->above = 0;
	for (unsigned int i = 0; i < VAR_BINS; i++)
		work->histogram[i] = 0;
}

/* Bring what is kept in ascending order: each goes behind all that are less. */
static __device__ void var_sort(const struct var_run &r)
{
	struct var_work *work = r.work;
	const uint64_t n = work->inside;

	for (uint64_t i = rk_grid_thread(); i < n; i += (uint64_t)r.blocks * blockDim.x) {
		uint64_t key = work->kept[i], less = 0;

#pragma unroll 8
		for (uint64_t j = 0; j < n; j++)
			less += work->kept[j] < key || (work->kept[j] == key && j < i);
		work->in_order[less] = key;
	}
}

/* One thread: as monte_carlo_var.c's measure(). */
static __device__ void var_measure(const struct var_run &r, double *var, double *shortfall)
{
	const struct var_work *work = r.work;
	const double n = (double)r.paths, below = r.confidence * n;
	const double part = n - (double)(r.tail - 1) - below;
	const uint64_t rank = r.tail - work->above; /* among those inside */
	double sum = 0;

	if (work->inside <= VAR_KEEP) {
		*var = var_loss(work->in_order[work->inside - rank]);
#pragma unroll 8
		for (uint64_t i = work->inside - rank + 1; i < work->inside; i++)
			sum += var_loss(work->in_order[i]);
	} else {
		*var = var_loss(work->low);
		sum = (double)(rank - 1) * *var;
	}
	if (work->above)
		sum += work->excess;
	*shortfall = n > below ? (part * *var + sum) / (n - below) : *var;
}

static __device__ void var_simulate(const struct var_run &r, double *deviations, double *var,
				    double *shortfall, double *mean_pnl)
{
	struct var_work *work = r.work;

	do {
		var_pass(r, deviations);
		if (rk_grid_thread() == 0)
			var_judge(r);
		rk_grid_sync(&work->arrived, r.blocks);
	} while (!work->finished);
	if (work->inside <= VAR_KEEP)
		var_sort(r);
	rk_grid_sync(&work->arrived, r.blocks);
	if (rk_grid_thread() == 0) {
		*mean_pnl = work->mean + work->sum / (double)r.paths;
		var_measure(r, var, shortfall);
	}
}

/* From the covariance to what a path needs. Work's refused says whether that makes sense. */
static __device__ void var_prepare(const struct var_run &r, const double *weights,
				   const double *mean, const double *covariance, double *l,
				   double *exposure)
{
	const struct var_team team = {&r.work->arrived, r.k > VAR_SOLO ? r.blocks : 1};
	bool good;

	if (blockIdx.x < team.blocks) {
		good = var_copy(team, covariance, r.k, l);
		team.sync();
		good = var_factor(team, covariance, r.k, l) && good;
		if (!good)
			rk_atomic_add(&r.work->refused, 1);
		var_expose(team, weights, l, r.k, exposure);
		team.sync();
		if (team.thread() == 0) {
			if (!var_moments(weights, mean, exposure, r.k, &r.work->mean,
					 &r.work->sigma))
				rk_atomic_add(&r.work->refused, 1);
			var_guess(r);
		}
	}
	rk_grid_sync(&r.work->arrived, r.blocks);
}

/* @l, @exposure and @work are scratch. */
extern "C" __global__ void __launch_bounds__(VAR_THREADS, 4)
	monte_carlo_var(const double *weights, const double *mean, const double *covariance,
			double confidence, uint64_t paths, uint64_t seed, double *var,
			double *expected_shortfall, double *mean_pnl, double *l, double *exposure,
			uint64_t k, struct var_work *work)
{
	__shared__ double deviations[VAR_BATCH];
	struct var_run r = {};
	bool good = confidence > 0 && confidence < 1 && paths > 0 && paths <= VAR_MAX_PATHS;

	r.exposure = exposure;
	r.k = k;
	r.paths = paths;
	r.seed = seed;
	r.work = work;
	r.confidence = confidence;
	if (good) {
		r.batches = (paths - 1) / VAR_BATCH + 1;
		r.tail = paths - (uint64_t)ceil(confidence * (double)paths) + 1;
		r.blocks = gridDim.x;
		/* one for each batch, and one more to add up: more would have nothing to do */
		if (k <= VAR_SOLO && r.batches + 1 < gridDim.x)
			r.blocks = (uint32_t)r.batches + 1;
		if (blockIdx.x >= r.blocks)
			return;
		var_prepare(r, weights, mean, covariance, l, exposure);
		good = !work->refused;
	}
	if (good)
		var_simulate(r, deviations, var, expected_shortfall, mean_pnl);
	else if (rk_grid_thread() == 0)
		*var = *expected_shortfall = *mean_pnl = NAN;
}
