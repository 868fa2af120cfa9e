/* SPDX-License-Identifier: MIT */
/* graph/pagerank and risk/monte-carlo-var, as check_kernels.c has the others. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gpu/check_pair.h"

/* --- graph/pagerank: a nodes, b links, c steps at most, damping f --------------------- */

enum {
	RANDOM,
	HUB,	    /* half of all links leave from node 0 */
	BAD_OFFSET, /* no graph */
	BAD_TARGET, /* the same */
};

enum {
	OFFSETS,
	TARGETS,
	DAMPING,
	TOLERANCE,
	STEPS
};
enum {
	RANK,
	ITERATIONS,
	RESIDUAL
};

#define PAGERANK_TOLERANCE 1e-9

static const struct gpu_case pagerank_cases[] = {
	{0, 0, 100, 0.85, RANDOM, false},	  {1, 0, 100, 0.85, RANDOM, false},
	{1, 3, 100, 0.85, RANDOM, false},	  {2, 1, 100, 0.85, RANDOM, false},
	{500, 0, 100, 0.85, RANDOM, false},	  {1023, 5000, 100, 0.85, RANDOM, false},
	{1025, 20001, 100, 0.85, HUB, false},	  {1000, 4000, 0, 0.85, RANDOM, false},
	{1000, 4000, 3, 0.85, RANDOM, false},	  {1000, 4000, 100, 0, RANDOM, false},
	{3001, 15000, 7, 1, RANDOM, false},	  {100, 400, 100, 0.85, BAD_OFFSET, false},
	{100, 400, 100, 0.85, BAD_TARGET, false}, {200003, 2000003, 100, 0.85, RANDOM, true},
	{300000, 3000001, 100, 0.85, HUB, true},
};

static void shapes_pagerank(const struct gpu_case *c, uint64_t (*shapes)[RK_MAX_RANK])
{
	shapes[OFFSETS][0] = c->a + 1;
	shapes[TARGETS][0] = c->b;
}

/* How many links leave each node: some none, some many. */
static void make_offsets(const struct gpu_case *c, uint32_t *offsets, uint64_t *state)
{
	memset(offsets, 0, (c->a + 1) * sizeof(*offsets));
	for (uint64_t i = 0; i < c->b; i++) {
		double at = gpu_random(state);
		uint64_t node = (uint64_t)(at * at * (double)c->a);

		if (c->kind == HUB && i % 2)
			node = 0;
		offsets[node + 1]++;
	}
	for (uint64_t u = 0; u < c->a; u++)
		offsets[u + 1] += offsets[u];
	if (c->kind == BAD_OFFSET)
		offsets[c->a / 2] = (uint32_t)c->b + 1;
}

static void fill_pagerank(const struct gpu_case *c, struct gpu_call *call)
{
	const double tolerance = PAGERANK_TOLERANCE;
	uint32_t steps = (uint32_t)c->c, *targets = gpu_input(call, TARGETS);
	uint64_t state = gpu_case_seed(c);

	make_offsets(c, gpu_input(call, OFFSETS), &state);
	for (uint64_t i = 0; i < c->b; i++)
		targets[i] = (uint32_t)(gpu_random(&state) * (double)c->a);
	if (c->kind == BAD_TARGET)
		targets[c->b / 2] = (uint32_t)c->a;
	memcpy(gpu_input(call, DAMPING), &c->f, sizeof(c->f));
	memcpy(gpu_input(call, TOLERANCE), &tolerance, sizeof(tolerance));
	memcpy(gpu_input(call, STEPS), &steps, sizeof(steps));
}

static void compare_pagerank(struct gpu_pair *p, const struct gpu_case *c)
{
	const double *got = gpu_output(&p->got, RANK), *want = gpu_output(&p->want, RANK);
	const double residual = *(double *)gpu_output(&p->got, RESIDUAL);
	const double residual_wanted = *(double *)gpu_output(&p->want, RESIDUAL);
	double steps, allowed, sum = 0;

	gpu_pair_same_bits(p, ITERATIONS);
	if (isnan(residual_wanted)) {
		gpu_pair_same_bits(p, RESIDUAL);
		gpu_pair_same_bits(p, RANK);
		return;
	}
	steps = c->f < 1 ? 1 / (1 - c->f) : *(uint32_t *)gpu_output(&p->got, ITERATIONS);
	allowed = 1e-12 + 0x1p-63 * (double)c->b * steps;
	for (uint64_t i = 0; i < c->a; i++)
		sum += fabs(got[i] - want[i]);
	gpu_pair_error(p, sum, allowed, "sum of the ranks' differences of node 0 to", c->a);
	gpu_pair_error(p, fabs(residual - residual_wanted), 2 * allowed, "residual", 0);
}

/* --- risk/monte-carlo-var: a positions, b paths, seed c, confidence f ----------------- */

enum {
	SOUND,
	NO_COVARIANCE
};
enum {
	WEIGHTS,
	MEAN,
	COVARIANCE,
	CONFIDENCE,
	PATHS,
	SEED
};
enum {
	VAR,
	SHORTFALL,
	MEAN_PNL
};

#define ALL_KEPT 6500 /* losses beyond var that are added up as on the CPU; "some 6900" */

static const struct gpu_case var_cases[] = {
	{0, 1000, 1, 0.99, SOUND, false},     {1, 1, 1, 0.99, SOUND, false},
	{1, 1023, 2, 0.5, SOUND, false},      {2, 1024, 3, 0.95, SOUND, false},
	{3, 1025, 4, 0.95, SOUND, false},     {10, 100000, 5, 0.99, SOUND, false},
	{33, 5003, 6, 0.999, SOUND, false},   {128, 2000, 7, 0.99, SOUND, false},
	{129, 2000, 8, 0.99, SOUND, false},   {5, 0, 9, 0.99, SOUND, false},
	{5, 1000, 10, 1, SOUND, false},	      {5, 1000, 11, 0.99, NO_COVARIANCE, false},
	{4, 200000, 12, 0.5, SOUND, false},   {20, 1000003, 13, 0.95, SOUND, true},
	{200, 200000, 14, 0.99, SOUND, true},
};

static void shapes_var(const struct gpu_case *c, uint64_t (*shapes)[RK_MAX_RANK])
{
	shapes[WEIGHTS][0] = shapes[MEAN][0] = c->a;
	shapes[COVARIANCE][0] = shapes[COVARIANCE][1] = c->a;
}

/* Two common factors and something of each position's own: a covariance for sure. */
static void make_covariance(uint64_t k, double *to, uint64_t *state)
{
	double *factors = calloc(k ? 2 * k : 1, sizeof(*factors));

	GPU_EXPECT(factors, "no memory");
	for (uint64_t i = 0; i < 2 * k; i++)
		factors[i] = 0.02 * (gpu_random(state) - 0.3);
	for (uint64_t i = 0; i < k; i++)
		for (uint64_t j = 0; j <= i; j++) {
			double both = factors[2 * i] * factors[2 * j] +
				      factors[2 * i + 1] * factors[2 * j + 1];

			to[i * k + j] = to[j * k + i] = both + (i == j ? 1e-4 : 0);
		}
	free(factors);
}

static void fill_var(const struct gpu_case *c, struct gpu_call *call)
{
	double *weights = gpu_input(call, WEIGHTS), *mean = gpu_input(call, MEAN);
	double *covariance = gpu_input(call, COVARIANCE);
	uint64_t state = gpu_case_seed(c);

	for (uint64_t i = 0; i < c->a; i++) {
		weights[i] = 1e6 * (gpu_random(&state) - 0.2);
		mean[i] = 1e-3 * gpu_random(&state);
	}
	make_covariance(c->a, covariance, &state);
	if (c->kind == NO_COVARIANCE)
		covariance[0] = -1;
	memcpy(gpu_input(call, CONFIDENCE), &c->f, sizeof(c->f));
	memcpy(gpu_input(call, PATHS), &c->b, sizeof(c->b));
	memcpy(gpu_input(call, SEED), &c->c, sizeof(c->c));
}

static void compare_var(struct gpu_pair *p, const struct gpu_case *c)
{
	const double got = *(double *)gpu_output(&p->got, SHORTFALL);
	const double want = *(double *)gpu_output(&p->want, SHORTFALL);
	const double var = *(double *)gpu_output(&p->want, VAR);
	const double beyond = (1 - c->f) * (double)c->b;
	const bool nonsense = c->kind == NO_COVARIANCE || c->b == 0 || c->f >= 1;

	GPU_EXPECT(isnan(want) == nonsense, "%s: the CPU's answer is %g", p->label, want);
	gpu_pair_same_bits(p, VAR);
	gpu_pair_same_bits(p, MEAN_PNL);
	if (beyond <= ALL_KEPT || isnan(want))
		gpu_pair_same_bits(p, SHORTFALL);
	else /* the greatest loss is at least the mean of those beyond var */
		gpu_pair_error(p, fabs(got - want), beyond * 1e-16 * fmax(fabs(want), fabs(var)),
			       "expected_shortfall", 0);
}

static const struct gpu_test tests[] = {
	GPU_KERNEL("pagerank", "graph/pagerank against the CPU",
		   "1e-12 + 2^-63 e / (1 - damping) over all ranks, as many steps",
		   .id = "graph/pagerank", GPU_CASES(pagerank_cases), shapes_pagerank,
		   fill_pagerank, compare_pagerank, "n=%llu e=%llu steps<=%llu"),
	GPU_KERNEL("monte-carlo-var", "risk/monte-carlo-var against the CPU",
		   "the same bits; the shortfall of more than 6500 losses: 1e-16 of each",
		   .id = "risk/monte-carlo-var", GPU_CASES(var_cases), shapes_var, fill_var,
		   compare_var, "k=%llu paths=%llu seed=%llu"),
};

const struct gpu_test *gpu_model_tests(size_t *count)
{
	*count = ARRAY_SIZE(tests);
	return tests;
}
