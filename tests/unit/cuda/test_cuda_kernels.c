/* SPDX-License-Identifier: MIT */
/* The .cu files' code, run as C++ by tests/cuda_emu, against the C functions. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/kernels/kernels.h"
#include "tests/cuda_emu/cuda_emu.h"
#include "tests/unit/unit.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define BATCH	     0 /* of launch(): blocks are in no order */
#define COOPERATIVE  1

/* Fewer threads than on a device are enough to have more than one block and warp. */
#define launch(entry, mode, blocks, threads, ...)                                                  \
	assert_int_equal(rk_emu_launch(entry, (uint32_t[]){blocks, 1, 1},                          \
				       (uint32_t[]){threads, 1, 1}, mode,                          \
				       (void *[]){__VA_ARGS__}),                                   \
			 0)

static double random_unit(uint64_t *state)
{
	return (double)(next_random(state) >> 11) * 0x1p-53;
}

/* Of exactly this size, so that AddressSanitizer sees a read behind the end. */
static void *allocate(size_t count, size_t size)
{
	size_t bytes = count * size;
	void *p = calloc(bytes > 0 ? bytes : 1, 1);

	assert_non_null(p);
	return p;
}

static float *random_floats(uint64_t n, uint64_t seed)
{
	float *x = allocate(n, sizeof(*x));

	for (uint64_t i = 0; i < n; i++)
		x[i] = (float)(random_unit(&seed) * 2 - 1);
	return x;
}

TEST(echo)
{
	static const uint64_t sizes[] = {0, 1, 15, 16, 17, 255, 4096, 10001};

	for (size_t i = 0; i < COUNT(sizes); i++)
		for (unsigned int shift = 0; shift < 2; shift++) {
			uint64_t n = sizes[i], seed = i + 1;
			uint8_t *in = allocate(n + shift, 1), *out = allocate(n + shift, 1);
			const uint8_t *from = in + shift;
			uint8_t *to = out + shift;

			for (uint64_t j = 0; j < n + shift; j++)
				in[j] = (uint8_t)next_random(&seed);
			launch("echo", BATCH, 3, 64, &from, &to, &n);
			assert_memory_equal(from, to, n);
			assert_true(shift == 0 || out[0] == 0);
			free(in);
			free(out);
		}
}

TEST(vector_add)
{
	static const uint64_t sizes[] = {0, 1, 63, 64, 65, 1000};

	for (size_t i = 0; i < COUNT(sizes); i++) {
		uint64_t n = sizes[i];
		float *a = random_floats(n, 1), *b = random_floats(n, 2);
		float *c = allocate(n, sizeof(*c)), *want = allocate(n, sizeof(*c));

		launch("vector_add", BATCH, 4, 64, &a, &b, &c, &n);
		rk_kernel_vector_add(a, b, want, n);
		assert_memory_equal(c, want, n * sizeof(*c));
		free(a);
		free(b);
		free(c);
		free(want);
	}
}

/* --- reduce_sum ------------------------------------------------------------ */

static double reduce(const float *x, uint64_t n, uint32_t blocks, uint32_t threads)
{
	double *partial = allocate(512, sizeof(*partial)), sum = -1, *to = &sum;
	uint64_t done = 0, *at = &done;

	launch("reduce_sum", BATCH, blocks, threads, &x, &to, &n, &partial, &at);
	free(partial);
	return sum;
}

TEST(reduce_sum)
{
	static const uint64_t sizes[] = {0, 1, 3, 4, 5, 2047, 2048, 2049, 20000, 123457};

	for (size_t i = 0; i < COUNT(sizes); i++) {
		uint64_t n = sizes[i];
		float *x = random_floats(n + 1, 5 + i);
		double want, got, absolute = 0;

		for (uint64_t j = 0; j < n; j++)
			absolute += fabs((double)x[j]);
		rk_kernel_reduce_sum(x, &want, n);
		got = reduce(x, n, 7, 64);
		assert_true(fabs(got - want) <= (double)n * 0x1p-53 * absolute);
		/* the number of threads need not be a power of two */
		assert_true(fabs(reduce(x, n, 3, 33) - want) <= (double)n * 0x1p-53 * absolute);
		/* where x lies makes no difference, not even in the last bit */
		memmove(x + 1, x, n * sizeof(*x));
		assert_true(reduce(x + 1, n, 7, 64) == got);
		free(x);
	}
}

TEST(reduce_sum_special)
{
	const uint64_t n = 5000;
	float *x = random_floats(n, 9);
	double sum;

	/* in float it would be lost */
	x[0] = 0x1p30f;
	x[4999] = 0x1p-20f;
	for (int i = 1; i < 4999; i++)
		x[i] = 0;
	assert_true(reduce(x, n, 2, 64) == 0x1p30 + 0x1p-20);
	x[4000] = INFINITY;
	assert_true(reduce(x, n, 2, 64) == (double)INFINITY);
	x[17] = -INFINITY;
	sum = reduce(x, n, 2, 64);
	assert_true(isnan(sum));
	free(x);
}

/* More blocks than there are partial sums for. */
TEST(reduce_sum_many_blocks)
{
	const uint64_t n = 520 * 2048;
	float *x = allocate(n, sizeof(*x));

	for (uint64_t i = 0; i < n; i++)
		x[i] = 1;
	assert_true(reduce(x, n, 530, 1) == (double)n);
	free(x);
}

TEST(delay)
{
	uint32_t ms = 3, waited = 0, *to = &waited;

	launch("delay", BATCH, 2, 2, &ms, &to);
	assert_in_range(waited, 3, 60000);
	ms = 0;
	launch("delay", BATCH, 1, 1, &ms, &to);
	assert_in_range(waited, 0, 60000);
}

/* --- matmul ---------------------------------------------------------------- */

#define CANARY 40 /* floats behind c */

/* a and b begin @shift floats behind an address that is a multiple of 16. */
static void check_product(const char *entry, uint64_t m, uint64_t k, uint64_t n, unsigned int shift)
{
	float *a = random_floats(m * k + shift, 3), *b = random_floats(k * n + shift, 4);
	float *c = allocate(m * n + CANARY, sizeof(*c)), *want = allocate(m * n, sizeof(*want));
	const float *from_a = a + shift, *from_b = b + shift;
	void *args[] = {&from_a, &from_b, &c, &m, &k, &n};

	for (uint64_t i = 0; i < m * n + CANARY; i++)
		c[i] = -7;
	assert_int_equal(
		rk_emu_launch(entry, (uint32_t[]){3, 1, 1}, (uint32_t[]){16, 16, 1}, BATCH, args),
		0);
	rk_kernel_matmul(from_a, from_b, want, m, k, n);
	for (uint64_t i = 0; i < m; i++)
		for (uint64_t j = 0; j < n; j++) {
			double limit = 0;

			for (uint64_t p = 0; p < k; p++)
				limit +=
					fabs((double)from_a[i * k + p] * (double)from_b[p * n + j]);
			limit *= 2 * (double)(k + 1) * 0x1p-24;
			assert_true(fabs((double)c[i * n + j] - (double)want[i * n + j]) <= limit);
		}
	for (uint64_t i = m * n; i < m * n + CANARY; i++)
		assert_true(c[i] == -7);
	free(a);
	free(b);
	free(c);
	free(want);
}

static void check_products(const char *entry)
{
	static const uint64_t sizes[][3] = {
		{1, 1, 1},    {2, 3, 4},     {16, 16, 16}, {64, 16, 64},   {65, 17, 63},
		{63, 15, 65}, {5, 100, 200}, {200, 33, 5}, {128, 32, 128}, {129, 31, 132},
		{260, 4, 8},  {0, 3, 5},     {5, 3, 0},	   {5, 0, 7},	   {150, 20, 300},
	};

	for (size_t i = 0; i < COUNT(sizes); i++)
		for (unsigned int shift = 0; shift < 2; shift++)
			check_product(entry, sizes[i][0], sizes[i][1], sizes[i][2], shift);
}

TEST(matmul_small_tiles)
{
	check_products("matmul");
}

TEST(matmul_large_tiles)
{
	check_products("matmul_large");
}

/* What lies behind a row is the next one: its infinity must not reach this one's results. */
static void check_not_finite(uint64_t k)
{
	uint64_t m = 3, n = 6;
	float a[21], b[42], c[18], want[18];
	float *from_a = a, *from_b = b, *to = c;
	void *args[] = {&from_a, &from_b, &to, &m, &k, &n};

	for (uint64_t i = 0; i < m * k; i++)
		a[i] = (float)i;
	for (uint64_t i = 0; i < k * n; i++)
		b[i] = (float)(i % 7);
	a[k] = INFINITY;
	b[2 * n - 1] = NAN;
	assert_int_equal(rk_emu_launch("matmul", (uint32_t[]){1, 1, 1}, (uint32_t[]){16, 16, 1},
				       BATCH, args),
			 0);
	rk_kernel_matmul(a, b, want, m, k, n);
	for (uint64_t i = 0; i < m * n; i++)
		assert_true(isnan(want[i]) ? isnan(c[i]) : c[i] == want[i]);
	assert_true(isfinite(want[0]) && isnan(want[5]) && !isfinite(want[n]));
}

TEST(matmul_not_finite)
{
	for (uint64_t k = 4; k <= 7; k++)
		check_not_finite(k);
}

/* --- pagerank -------------------------------------------------------------- */

#define PAGERANK_WORK 514 /* words, and one for each node */

struct graph {
	uint64_t n, e;
	uint32_t *offsets, *targets;
};

struct ranks {
	double *rank, residual;
	uint32_t iterations;
};

/* Some nodes without links, one that all others like, links to oneself and twice. */
static struct graph make_graph(uint64_t n, uint64_t most, uint64_t seed)
{
	struct graph g = {.n = n, .offsets = allocate(n + 1, sizeof(*g.offsets))};

	g.targets = allocate(n * most, sizeof(*g.targets));
	for (uint64_t u = 0; u < n; u++) {
		uint64_t links = next_random(&seed) % 4 ? next_random(&seed) % (most + 1) : 0;

		for (uint64_t i = 0; i < links; i++)
			g.targets[g.e++] =
				i % 5 == 1 ? (uint32_t)(n / 2) : (uint32_t)(next_random(&seed) % n);
		g.offsets[u + 1] = (uint32_t)g.e;
	}
	return g;
}

static void free_graph(struct graph *g)
{
	free(g->offsets);
	free(g->targets);
}

/* On @blocks blocks; by the C function where that is 0. The caller frees rank. */
static struct ranks rank_graph(const struct graph *graph, double damping, double tolerance,
			       uint32_t most, uint32_t blocks)
{
	struct graph g = *graph;
	struct ranks r = {.rank = allocate(g.n, sizeof(*r.rank)), .residual = -1, .iterations = 99};
	uint32_t *in = allocate(g.n + 1, sizeof(*in)), *sources = allocate(g.e, sizeof(*sources));
	uint32_t *iterations = &r.iterations;
	double *share = allocate(g.n, sizeof(*share)), *residual = &r.residual;
	uint64_t *work = allocate(g.n + PAGERANK_WORK, sizeof(*work));

	if (blocks)
		launch("pagerank", COOPERATIVE, blocks, 64, &g.offsets, &g.targets, &damping,
		       &tolerance, &most, &r.rank, &iterations, &residual, &in, &sources, &share,
		       &g.n, &g.e, &work);
	else
		rk_kernel_pagerank(g.offsets, g.targets, damping, tolerance, most, r.rank,
				   &r.iterations, &r.residual, in, sources, share, g.n, g.e);
	free(in);
	free(sources);
	free(share);
	free(work);
	return r;
}

static void check_ranks(const struct graph *g, double damping, double tolerance, uint32_t most)
{
	struct ranks want = rank_graph(g, damping, tolerance, most, 0);
	struct ranks got = rank_graph(g, damping, tolerance, most, 3);
	struct ranks alone = rank_graph(g, damping, tolerance, most, 1);
	double steps = damping < 1 ? 1 / (1 - damping) : most;
	double limit = 1e-12 + 0x1p-63 * (double)g->e * steps, moved = 0;

	assert_int_equal(got.iterations, want.iterations);
	for (uint64_t v = 0; v < g->n; v++)
		moved += fabs(got.rank[v] - want.rank[v]);
	assert_true(moved <= limit);
	if (most)
		assert_true(fabs(got.residual - want.residual) <= 2 * limit);
	else
		assert_true(isnan(got.residual) && isnan(want.residual));
	/* the same bits on any number of blocks */
	assert_memory_equal(got.rank, alone.rank, g->n * sizeof(*got.rank));
	assert_memory_equal(&got.residual, &alone.residual, sizeof(got.residual));
	free(want.rank);
	free(got.rank);
	free(alone.rank);
}

TEST(pagerank)
{
	static const uint64_t sizes[][2] = {{1, 0}, {1, 2}, {2, 1}, {50, 3}, {2500, 7}, {6000, 2}};

	for (size_t i = 0; i < COUNT(sizes); i++) {
		struct graph g = make_graph(sizes[i][0], sizes[i][1], i + 1);

		check_ranks(&g, 0.85, 1e-7, 30);
		free_graph(&g);
	}
}

TEST(pagerank_settings)
{
	struct graph g = make_graph(300, 4, 77);

	check_ranks(&g, 0.85, 1e-9, 0);
	check_ranks(&g, 0.85, 1e-9, 1);
	check_ranks(&g, 0.85, 0, 12);
	check_ranks(&g, 0.85, INFINITY, 12);
	check_ranks(&g, 0, 1e-9, 12);
	check_ranks(&g, 1, 1e-12, 40);
	free_graph(&g);
}

/* Every node links to the one in the middle, which links to none. */
TEST(pagerank_star)
{
	const uint64_t n = 3000;
	struct graph g = {.n = n, .e = n - 1, .offsets = allocate(n + 1, sizeof(*g.offsets))};

	g.targets = allocate(g.e, sizeof(*g.targets));
	for (uint64_t u = 0; u < n; u++)
		g.offsets[u + 1] = g.offsets[u] + (u != n / 2);
	for (uint64_t i = 0; i < g.e; i++)
		g.targets[i] = (uint32_t)(n / 2);
	check_ranks(&g, 0.85, 1e-10, 30);
	free_graph(&g);
}

static void refuse_graph(const struct graph *g, double damping, double tolerance)
{
	struct ranks r = rank_graph(g, damping, tolerance, 10, 2);

	assert_int_equal(r.iterations, 0);
	assert_true(isnan(r.residual));
	for (uint64_t v = 0; v < g->n; v++)
		assert_true(isnan(r.rank[v]));
	free(r.rank);
}

TEST(pagerank_refuses)
{
	struct graph g = make_graph(100, 3, 5);
	struct graph nothing = {.offsets = (uint32_t[]){0}, .targets = (uint32_t[]){0}};
	struct ranks r;

	refuse_graph(&g, -0.1, 1e-9);
	refuse_graph(&g, 1.1, 1e-9);
	refuse_graph(&g, NAN, 1e-9);
	refuse_graph(&g, 0.5, -1);
	refuse_graph(&g, 0.5, NAN);
	g.offsets[0] = 1;
	refuse_graph(&g, 0.5, 1e-9);
	g.offsets[0] = 0;
	g.e--;
	refuse_graph(&g, 0.5, 1e-9);
	g.e++;
	g.offsets[50] = g.offsets[51] + 1;
	refuse_graph(&g, 0.5, 1e-9);
	free_graph(&g);
	g = make_graph(100, 3, 5);
	g.targets[g.e - 1] = 100;
	refuse_graph(&g, 0.5, 1e-9);
	free_graph(&g);
	r = rank_graph(&nothing, 0.85, 1e-9, 10, 2);
	assert_true(r.residual == 0 && r.iterations == 0);
	free(r.rank);
	nothing.offsets[0] = 1;
	r = rank_graph(&nothing, 0.85, 1e-9, 10, 2);
	assert_true(isnan(r.residual) && r.iterations == 0);
	free(r.rank);
}
