/* SPDX-License-Identifier: MIT */
/*
 * Value at risk and expected shortfall by simulation: P. Glasserman, "Monte Carlo Methods in
 * Financial Engineering", Springer, 2003, sections 2.3.3 and 9.1. The figures are those of the
 * empirical distribution of losses: C. Acerbi and D. Tasche, "On the coherence of
 * expected shortfall", Journal of Banking & Finance 26(7), 2002.
 *
 * Returns are mean + L z with the Cholesky factor L of the covariance, so a path's profit is
 * weights . mean + (L' weights) . z: a path needs its normals z and one dot product.
 *
 * z[j] of path i comes from Philox with key = seed, counter = (i, j / 2) and the first or
 * second half of the 128 bits as j is even or odd. Sums go by asset, then by path within a batch
 * of BATCH paths, then by batch: the answer has the same bits for any number of threads, and on
 * any backend that does the same without fused multiply-add.
 */
#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

/* before normal.h, which needs it */
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif

#include "gpu/base/parallel.h"
#include "gpu/kernels/kernels.h"
#include "gpu/kernels/normal.h"
#include "gpu/kernels/philox.h"

#define BATCH	   1024
#define ROUND	   (64 * BATCH) /* paths simulated before their losses are looked at */
#define MAX_PATHS  (1ULL << 53) /* they are counted in doubles */
#define MAX_NORMAL 9.0		/* no variate from 52 bits is larger */

/*
 * How far from symmetric and positive semi-definite a covariance may be, as a correlation: an
 * estimate from few observations is singular and off by rounding errors.
 */
#define SLACK 1e-10

struct simulation {
	const double *exposure; /* L' weights */
	uint64_t k;
	uint64_t seed;
	uint64_t first; /* path of the round */
	double mean;	/* weights . mean */
	double losses[ROUND];
	double sums[ROUND / BATCH]; /* of profit - mean, by batch */
};

/* The greatest losses so far, the least of them at heap[0]. */
struct tail {
	double *heap;
	uint64_t size;
	uint64_t capacity;
};

static double deviation(const struct simulation *s, uint64_t path)
{
	double sum = 0;

	for (uint64_t j = 0; j < s->k; j += 2) {
		uint32_t x[4] = {(uint32_t)path, (uint32_t)(path >> 32), (uint32_t)(j / 2),
				 (uint32_t)(j / 2 >> 32)};

		rk_philox4x32(x, s->seed);
		sum += s->exposure[j] * rk_normal_quantile(rk_uniform(x[0], x[1]));
		if (j + 1 < s->k)
			sum += s->exposure[j + 1] * rk_normal_quantile(rk_uniform(x[2], x[3]));
	}
	return sum;
}

/* One batch of the round. */
static void simulate(void *ctx, uint64_t begin, uint64_t end)
{
	struct simulation *s = ctx;
	double sum = 0;

	for (uint64_t i = begin; i < end; i++) {
		double d = deviation(s, s->first + i);

		sum += d;
		s->losses[i] = 0 - (s->mean + d); /* never -0 */
	}
	s->sums[begin / BATCH] = sum;
}

static void sift_down(struct tail *t, uint64_t i)
{
	double value = t->heap[i];

	for (;;) {
		uint64_t child = 2 * i + 1;

		if (child + 1 < t->size && t->heap[child + 1] < t->heap[child])
			child++;
		if (child >= t->size || !(t->heap[child] < value))
			break;
		t->heap[i] = t->heap[child];
		i = child;
	}
	t->heap[i] = value;
}

static void keep_if_great(struct tail *t, double loss)
{
	if (t->size < t->capacity) {
		t->heap[t->size++] = loss;
		if (t->size == t->capacity)
			for (uint64_t i = t->size / 2; i-- > 0;)
				sift_down(t, i);
	} else if (loss > t->heap[0]) {
		t->heap[0] = loss;
		sift_down(t, 0);
	}
}

static double take_least(struct tail *t)
{
	double least = t->heap[0];

	t->heap[0] = t->heap[--t->size];
	if (t->size)
		sift_down(t, 0);
	return least;
}

/* Simulate all paths into @t; returns the mean profit. */
static double run(struct simulation *s, uint64_t paths, struct tail *t)
{
	double sum = 0;

	for (; s->first < paths; s->first += ROUND) {
		uint64_t n = paths - s->first < ROUND ? paths - s->first : ROUND;

		rk_parallel_for(n, BATCH, simulate, s);
		for (uint64_t i = 0; i < n; i++)
			keep_if_great(t, s->losses[i]);
		for (uint64_t i = 0; i < n; i += BATCH)
			sum += s->sums[i / BATCH];
	}
	return s->mean + sum / (double)paths;
}

/* Whether @a is finite and symmetric with variances on its diagonal. */
static bool is_covariance(const double *a, uint64_t k)
{
	for (uint64_t i = 0; i < k; i++) {
		if (!isfinite(a[i * k + i]) || a[i * k + i] < 0)
			return false;
		for (uint64_t j = 0; j < i; j++)
			if (!(fabs(a[i * k + j] - a[j * k + i]) <=
			      SLACK * sqrt(a[i * k + i]) * sqrt(a[j * k + j])))
				return false;
	}
	return true;
}

/*
 * The lower triangle @l with l l' = @a. A pivot that is 0 up to rounding belongs to a
 * semi-definite matrix, and the column below it is 0 then too: N. J. Higham, "Analysis of the
 * Cholesky decomposition of a semi-definite matrix", 1990. False: not even that.
 */
static bool factor(const double *a, uint64_t k, double *l)
{
	for (uint64_t j = 0; j < k; j++)
		for (uint64_t i = j; i < k; i++) {
			double sum = a[i * k + j], pivot = l[j * k + j];

			for (uint64_t p = 0; p < j; p++)
				sum -= l[i * k + p] * l[j * k + p];
			if (i == j) {
				if (!(sum >= -SLACK * a[j * k + j]))
					return false;
				pivot = sum > (double)k * DBL_EPSILON * a[j * k + j] ? sqrt(sum)
										     : 0;
				l[j * k + j] = pivot;
			} else if (pivot > 0) {
				l[i * k + j] = sum / pivot;
			} else if (fabs(sum) <= sqrt(SLACK * a[j * k + j]) * sqrt(a[i * k + i])) {
				l[i * k + j] = 0;
			} else {
				return false;
			}
		}
	return true;
}

/* Fill in exposure and mean. False where a profit would not be finite. */
static bool prepare(struct simulation *s, const double *weights, const double *mean,
		    const double *l, double *exposure)
{
	double bound = 0;

	s->mean = 0;
	for (uint64_t j = 0; j < s->k; j++) {
		exposure[j] = 0;
		for (uint64_t i = j; i < s->k; i++)
			exposure[j] += l[i * s->k + j] * weights[i];
		s->mean += weights[j] * mean[j];
		bound += fabs(exposure[j]) * MAX_NORMAL;
	}
	s->exposure = exposure;
	return isfinite(fabs(s->mean) + bound);
}

/*
 * The losses in ascending order are x(1) to x(N); rank is the least integer not below
 * confidence N. The tail holds x(rank) to x(N).
 */
static void measure(struct tail *t, double paths, double confidence, double *var, double *shortfall)
{
	double below = confidence * paths, sum = 0;
	double part = paths - (double)(t->size - 1) - below; /* of x(rank), beyond the quantile */

	*var = take_least(t);
	while (t->size)
		sum += take_least(t);
	*shortfall = paths > below ? (part * *var + sum) / (paths - below) : *var;
}

void rk_kernel_monte_carlo_var(const double *weights, const double *mean, const double *covariance,
			       double confidence, uint64_t paths, uint64_t seed, double *var,
			       double *expected_shortfall, double *mean_pnl, double *l,
			       double *exposure, uint64_t k)
{
	struct simulation *s;
	struct tail t = {0};

	*var = *expected_shortfall = *mean_pnl = NAN;
	if (!(confidence > 0 && confidence < 1) || paths == 0 || paths > MAX_PATHS ||
	    !is_covariance(covariance, k) || !factor(covariance, k, l))
		return;
	t.capacity = paths - (uint64_t)ceil(confidence * (double)paths) + 1;
	t.heap = malloc(t.capacity * sizeof(*t.heap));
	s = malloc(sizeof(*s));
	if (s && t.heap) {
		s->k = k;
		s->seed = seed;
		s->first = 0;
		if (prepare(s, weights, mean, l, exposure)) {
			*mean_pnl = run(s, paths, &t);
			measure(&t, (double)paths, confidence, var, expected_shortfall);
		}
	}
	free(s);
	free(t.heap);
}
