/* SPDX-License-Identifier: MIT */
/* The kernels that ship, called directly, against computations that share nothing with them. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/base/parallel.h"
#include "gpu/kernels/kernels.h"
#include "gpu/kernels/matmul.c" /* each CPU takes one micro-kernel of its table only */
#include "tests/unit/unit.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const unsigned int thread_counts[] = {1, 2, 3, 8};

static void start(unsigned int threads)
{
	struct rk_error err = {0};

	if (rk_parallel_start(threads, &err) != 0)
		fail_msg("%s", err.msg);
}

static void *allocate(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size);

	assert_non_null(p);
	return p;
}

static double random_unit(uint64_t *state)
{
	return (double)(next_random(state) >> 11) * 0x1p-53;
}

TEST(simple_kernels)
{
	const float x[] = {1, 2, 3}, y[] = {10, 20, 30};
	const uint8_t bytes[] = {0, 255, 7};
	uint8_t copy[] = {1, 1, 1};
	float sum[3];
	double total = 5;
	uint32_t waited = 0;

	rk_kernel_vector_add(x, y, sum, 3);
	assert_memory_equal(sum, ((float[]){11, 22, 33}), sizeof(sum));
	rk_kernel_echo(bytes, copy, 3);
	assert_memory_equal(copy, bytes, sizeof(copy));
	memset(copy, 1, sizeof(copy));
	rk_kernel_ring_echo(bytes, copy, 2);
	assert_memory_equal(copy, ((uint8_t[]){0, 255, 1}), sizeof(copy));
	rk_kernel_reduce_sum(x, &total, 3);
	assert_true(total == 6);
	rk_kernel_reduce_sum(x, &total, 0);
	assert_true(total == 0);
	rk_kernel_delay(3, &waited);
	assert_in_range(waited, 3, 60000);
}

/* --- running_stats ---------------------------------------------------------- */

/* Fed to it in pieces of all sizes, against two passes over all of it at once. */
static void check_running_stats(double offset, uint64_t count)
{
	double *x = allocate(count, sizeof(*x)), mean = 0, variance = 0;
	double sum = 0, squares = 0, got_mean, got_variance;
	struct rk_running_stats stats = {0};
	uint64_t seed = 99, n = 0;

	for (uint64_t i = 0; i < count; i++) {
		x[i] = offset + random_unit(&seed);
		sum += x[i] - offset;
	}
	mean = offset + sum / (double)count;
	for (uint64_t i = 0; i < count; i++)
		squares += (x[i] - mean) * (x[i] - mean);
	variance = squares / (double)count;
	for (uint64_t at = 0, piece = 0; at < count; at += piece) {
		piece = next_random(&seed) % 50;
		if (piece > count - at)
			piece = count - at;
		rk_kernel_running_stats(x + at, &stats, &n, &got_mean, &got_variance, piece);
		assert_int_equal(n, at + piece);
	}
	assert_true(fabs(got_mean - mean) <= 1e-12 * (fabs(offset) + 1));
	assert_true(fabs(got_variance - variance) <= 1e-6 * variance);
	free(x);
}

TEST(running_stats)
{
	struct rk_running_stats stats = {0};
	const double x[] = {4, INFINITY, 1}, nothing = 0;
	double mean = 0, variance = 0;
	uint64_t n = 7;

	_Static_assert(sizeof(stats) == 24, "as etc/kernels.d says");
	check_running_stats(0, 10000);
	check_running_stats(1e6, 10000); /* where sum of squares minus square of sum fails */
	rk_kernel_running_stats(&nothing, &stats, &n, &mean, &variance, 0);
	assert_int_equal(n, 0);
	assert_true(isnan(mean) && isnan(variance));
	rk_kernel_running_stats(x, &stats, &n, &mean, &variance, 1);
	assert_int_equal(n, 1);
	assert_true(mean == 4 && variance == 0);
	rk_kernel_running_stats(x + 1, &stats, &n, &mean, &variance, 2);
	assert_int_equal(n, 3);
	assert_false(isfinite(mean) || isfinite(variance));
}

/* --- matmul --------------------------------------------------------------- */

#define CANARY 17 /* floats behind the result */

struct matrices {
	uint64_t m, k, n;
	float *a, *b, *c;
};

static void make_matrices(struct matrices *x, uint64_t m, uint64_t k, uint64_t n)
{
	uint64_t seed = m * 7919 + k * 104729 + n + 1;

	*x = (struct matrices){m,
			       k,
			       n,
			       allocate(m * k, sizeof(float)),
			       allocate(k * n, sizeof(float)),
			       allocate(m * n + CANARY, sizeof(float))};
	for (uint64_t i = 0; i < m * k; i++)
		x->a[i] = (float)(2 * random_unit(&seed) - 1);
	for (uint64_t i = 0; i < k * n; i++)
		x->b[i] = (float)(2 * random_unit(&seed) - 1);
	for (uint64_t i = 0; i < m * n + CANARY; i++)
		x->c[i] = -777;
}

static void free_matrices(struct matrices *x)
{
	free(x->a);
	free(x->b);
	free(x->c);
}

/*
 * |error| <= gamma(k) sum |a| |b| for any order of summation, with gamma(k) = k u / (1 - k u):
 * N. J. Higham, "Accuracy and Stability of Numerical Algorithms", section 3.5.
 */
static void check_product(const struct matrices *x)
{
	double ku = (double)x->k * 0x1p-24, gamma = ku / (1 - ku);

	for (uint64_t i = 0; i < x->m; i++)
		for (uint64_t j = 0; j < x->n; j++) {
			double sum = 0, size = 0, got = (double)x->c[i * x->n + j];

			for (uint64_t p = 0; p < x->k; p++) {
				double term =
					(double)x->a[i * x->k + p] * (double)x->b[p * x->n + j];

				sum += term;
				size += fabs(term);
			}
			if (!(fabs(got - sum) <= gamma * size))
				fail_msg("%lux%lux%lu: c[%lu,%lu] is %g, not %g", x->m, x->k, x->n,
					 i, j, got, sum);
		}
	for (uint64_t i = 0; i < CANARY; i++)
		assert_true(x->c[x->m * x->n + i] == -777);
}

static void check_size(const struct micro *micro, uint64_t m, uint64_t k, uint64_t n)
{
	struct matrices x;

	make_matrices(&x, m, k, n);
	multiply(micro, x.a, x.b, x.c, m, k, n);
	check_product(&x);
	free_matrices(&x);
}

TEST(matmul_sizes)
{
	static const uint64_t sizes[] = {0, 1, 3, 17, 64, 65, 129};
	unsigned int tried = 0;

	start(2);
	for (unsigned int u = 0; u < COUNT(micros); u++) {
		if (!micros[u].supported())
			continue;
		tried++;
		for (size_t i = 0; i < COUNT(sizes); i++)
			for (size_t j = 0; j < COUNT(sizes); j++)
				for (size_t l = 0; l < COUNT(sizes); l++)
					check_size(&micros[u], sizes[i], sizes[j], sizes[l]);
		/* several tiles and steps, the last of each shorter */
		check_size(&micros[u], 200, 513, 300);
		check_size(&micros[u], 1, 1000, 600);
	}
	assert_in_range(tried, 1, COUNT(micros));
	rk_parallel_stop();
}

TEST(matmul_any_threads)
{
	struct matrices x;
	float *first;

	make_matrices(&x, 301, 400, 517);
	rk_kernel_matmul(x.a, x.b, x.c, x.m, x.k, x.n);
	check_product(&x);
	first = allocate(x.m * x.n, sizeof(float));
	memcpy(first, x.c, x.m * x.n * sizeof(float));
	for (size_t i = 0; i < COUNT(thread_counts); i++) {
		memset(x.c, 0, x.m * x.n * sizeof(float));
		start(thread_counts[i]);
		rk_kernel_matmul(x.a, x.b, x.c, x.m, x.k, x.n);
		rk_parallel_stop();
		assert_memory_equal(x.c, first, x.m * x.n * sizeof(float));
	}
	free(first);
	free_matrices(&x);
}

/* An infinity in a row or column must not reach its neighbours. */
TEST(matmul_infinity)
{
	struct matrices x;

	make_matrices(&x, 7, 9, 11);
	x.a[3 * 9 + 4] = INFINITY;
	rk_kernel_matmul(x.a, x.b, x.c, 7, 9, 11);
	for (int i = 0; i < 7; i++)
		for (int j = 0; j < 11; j++)
			assert_int_equal(!isfinite(x.c[i * 11 + j]), i == 3);
	free_matrices(&x);
}

/* --- pagerank ------------------------------------------------------------- */

#define CALL_DEFAULTS 0.85, 1e-9, 100

struct graph {
	uint64_t n, e;
	uint32_t *offsets, *targets;
	double *rank;
	uint32_t iterations;
	double residual;
};

static void run_graph(struct graph *g, double damping, double tolerance, uint32_t max_iterations)
{
	uint32_t *in = allocate(g->n + 1, sizeof(*in));
	uint32_t *sources = allocate(g->e, sizeof(*sources));
	double *share = allocate(g->n, sizeof(*share));

	g->rank = allocate(g->n, sizeof(*g->rank));
	rk_kernel_pagerank(g->offsets, g->targets, damping, tolerance, max_iterations, g->rank,
			   &g->iterations, &g->residual, in, sources, share, g->n, g->e);
	free(in);
	free(sources);
	free(share);
}

#define SMALL(nodes, links, off, tgt)                                                              \
	{                                                                                          \
		.n = (nodes), .e = (links), .offsets = (off), .targets = (tgt)                     \
	}

static double total_rank(const struct graph *g)
{
	double sum = 0;

	for (uint64_t v = 0; v < g->n; v++)
		sum += g->rank[v];
	return sum;
}

TEST(pagerank_cycle)
{
	uint32_t offsets[] = {0, 1, 2, 3, 4, 5}, targets[] = {1, 2, 3, 4, 0};
	struct graph g = SMALL(5, 5, offsets, targets);

	run_graph(&g, CALL_DEFAULTS);
	for (int v = 0; v < 5; v++)
		assert_true(fabs(g.rank[v] - 0.2) < 1e-15);
	assert_int_equal(g.iterations, 1);
	assert_true(g.residual < 1e-15);
	free(g.rank);
}

/* 0 -> 1, and 1 links nowhere: rank[0] = (1 - d) / 2 + d rank[1] / 2 = 1 / (2 + d). */
TEST(pagerank_dangling)
{
	uint32_t offsets[] = {0, 1, 1}, targets[] = {1};
	struct graph g = SMALL(2, 1, offsets, targets);

	run_graph(&g, 0.85, 1e-14, 1000);
	assert_true(fabs(g.rank[0] - 1 / 2.85) < 1e-13);
	assert_true(fabs(g.rank[1] - 1.85 / 2.85) < 1e-13);
	assert_true(g.residual < 1e-14);
	assert_in_range(g.iterations, 10, 100);
	free(g.rank);
}

/* A hub and 9 others, linked both ways: hub = (1 - d) / 10 + d (1 - hub). */
TEST(pagerank_star)
{
	uint32_t offsets[11] = {0}, targets[18] = {0};
	struct graph g = SMALL(10, 18, offsets, targets);
	double hub = (0.15 / 10 + 0.85) / 1.85;

	for (uint32_t v = 0; v < 9; v++)
		targets[v] = v + 1;
	for (uint32_t v = 1; v <= 10; v++)
		offsets[v] = 9 + v - 1;
	run_graph(&g, 0.85, 1e-13, 1000);
	assert_true(fabs(g.rank[0] - hub) < 1e-12);
	for (int v = 1; v < 10; v++)
		assert_true(fabs(g.rank[v] - (1 - hub) / 9) < 1e-12);
	free(g.rank);
}

TEST(pagerank_empty)
{
	uint32_t offsets[] = {0, 0, 0, 0, 0};
	struct graph none = SMALL(0, 0, offsets, offsets), no_links = SMALL(4, 0, offsets, offsets);

	run_graph(&none, CALL_DEFAULTS);
	assert_int_equal(none.iterations, 0);
	assert_true(none.residual == 0);
	run_graph(&no_links, CALL_DEFAULTS);
	for (int v = 0; v < 4; v++)
		assert_true(no_links.rank[v] == 0.25);
	free(none.rank);
	free(no_links.rank);
}

/* Few links from most nodes, none from some, many to the first ones; twice the same, and to itself.
 */
static void make_graph(struct graph *g, uint64_t n, uint64_t seed)
{
	g->n = n;
	g->e = 0;
	g->offsets = allocate(n + 1, sizeof(uint32_t));
	g->targets = allocate(n * 8, sizeof(uint32_t));
	for (uint64_t u = 0; u < n; u++) {
		for (uint64_t links = next_random(&seed) % 8; links; links--) {
			double x = random_unit(&seed);

			g->targets[g->e++] = (uint32_t)(x * x * x * (double)n);
		}
		g->offsets[u + 1] = (uint32_t)g->e;
	}
}

static void free_graph(struct graph *g)
{
	free(g->offsets);
	free(g->targets);
	free(g->rank);
}

#define DENSE 150

/* One step with the whole Google matrix. */
static void dense_step(const struct graph *g, double damping, const double *from, double *to)
{
	static double matrix[DENSE][DENSE]; /* [v][u]: what u gives to v */

	memset(matrix, 0, sizeof(matrix));
	for (uint64_t u = 0; u < g->n; u++) {
		uint32_t links = g->offsets[u + 1] - g->offsets[u];

		for (uint32_t i = g->offsets[u]; i < g->offsets[u + 1]; i++)
			matrix[g->targets[i]][u] += damping / links;
		for (uint64_t v = 0; v < g->n; v++)
			matrix[v][u] += (links ? 1 - damping : 1) / (double)g->n;
	}
	for (uint64_t v = 0; v < g->n; v++) {
		to[v] = 0;
		for (uint64_t u = 0; u < g->n; u++)
			to[v] += matrix[v][u] * from[u];
	}
}

TEST(pagerank_against_dense)
{
	double x[DENSE], y[DENSE], moved;
	struct graph g;

	for (uint32_t steps = 1; steps <= 12; steps++) {
		make_graph(&g, DENSE, steps);
		run_graph(&g, 0.7, 0, steps);
		assert_int_equal(g.iterations, steps);
		assert_true(fabs(total_rank(&g) - 1) < 1e-13);
		for (int v = 0; v < DENSE; v++)
			x[v] = 1.0 / DENSE;
		for (uint32_t i = 0; i < steps; i++) {
			dense_step(&g, 0.7, x, y);
			moved = 0;
			for (int v = 0; v < DENSE; v++)
				moved += fabs(y[v] - x[v]);
			memcpy(x, y, sizeof(x));
		}
		for (int v = 0; v < DENSE; v++)
			assert_true(fabs(g.rank[v] - x[v]) < 1e-14);
		assert_true(fabs(g.residual - moved) < 1e-13);
		free_graph(&g);
	}
}

TEST(pagerank_stops)
{
	struct graph g;

	make_graph(&g, 3000, 5);
	run_graph(&g, 0.85, 1e-6, 1000);
	assert_true(g.residual < 1e-6);
	/* not a step too many: a step shrinks what is left by the damping at least */
	assert_true(g.residual > 1e-6 * 0.1);
	assert_in_range(g.iterations, 5, 90);
	free(g.rank);
	run_graph(&g, 0.85, 1e-6, 0);
	assert_int_equal(g.iterations, 0);
	assert_true(isnan(g.residual));
	assert_true(g.rank[2999] == 1.0 / 3000);
	free_graph(&g);
}

static void refuse_graph(uint64_t n, uint64_t e, uint32_t *offsets, uint32_t *targets,
			 double damping, double tolerance)
{
	struct graph g = SMALL(n, e, offsets, targets);

	run_graph(&g, damping, tolerance, 100);
	for (uint64_t v = 0; v < n; v++)
		assert_true(isnan(g.rank[v]));
	assert_true(isnan(g.residual));
	assert_int_equal(g.iterations, 0);
	free(g.rank);
}

TEST(pagerank_refuses)
{
	uint32_t good[] = {0, 1, 2, 3}, targets[] = {1, 2, 0}, far[] = {1, 3, 0},
		 back[] = {0, 2, 1, 3};
	uint32_t late[] = {1, 1, 2, 3}, brief[] = {0, 1, 2, 2}, wide[] = {0, 1, UINT32_MAX, 3};
	uint32_t over[] = {0, 1, 2, 4}, highest[] = {1, UINT32_MAX, 0};

	refuse_graph(3, 3, good, far, 0.85, 1e-9);
	refuse_graph(3, 3, good, highest, 0.85, 1e-9);
	refuse_graph(3, 3, back, targets, 0.85, 1e-9);
	refuse_graph(3, 3, late, targets, 0.85, 1e-9);
	refuse_graph(3, 3, brief, targets, 0.85, 1e-9);
	refuse_graph(3, 3, wide, targets, 0.85, 1e-9);
	refuse_graph(3, 3, over, targets, 0.85, 1e-9);
	refuse_graph(0, 3, (uint32_t[]){3}, targets, 0.85, 1e-9);
	refuse_graph(3, 3, good, targets, -0.1, 1e-9);
	refuse_graph(3, 3, good, targets, 1.1, 1e-9);
	refuse_graph(3, 3, good, targets, NAN, 1e-9);
	refuse_graph(3, 3, good, targets, 0.85, -1);
	refuse_graph(3, 3, good, targets, 0.85, NAN);
}

TEST(pagerank_any_threads)
{
	struct graph g;
	double *first, residual;

	make_graph(&g, 30000, 9);
	run_graph(&g, CALL_DEFAULTS);
	first = g.rank;
	residual = g.residual;
	for (size_t i = 0; i < COUNT(thread_counts); i++) {
		start(thread_counts[i]);
		run_graph(&g, CALL_DEFAULTS);
		rk_parallel_stop();
		assert_memory_equal(g.rank, first, g.n * sizeof(double));
		assert_memory_equal(&g.residual, &residual, sizeof(residual));
		free(g.rank);
	}
	g.rank = first;
	free_graph(&g);
}
