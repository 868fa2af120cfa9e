/* SPDX-License-Identifier: MIT */
/*
 * Whatever NaN goes in or comes about, the one of gpu/kernels/nan.h comes out, of the C functions
 * and of the .cu files' code, which tests/cuda_emu runs as C++.
 */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/kernels/kernels.h"
#include "gpu/kernels/matmul.c" /* each CPU takes one micro-kernel of its table only */
#include "tests/cuda_emu/cuda_emu.h"
#include "tests/unit/unit.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define F32_NAN	     0x7FC00000U
#define F64_NAN	     0x7FF8000000000000ULL
#define BATCH	     0 /* of launch() */
#define COOPERATIVE  1

#define launch(entry, mode, blocks, x, y, ...)                                                     \
	assert_int_equal(rk_emu_launch(entry, (uint32_t[]){blocks, 1, 1}, (uint32_t[]){x, y, 1},   \
				       mode, (void *[]){__VA_ARGS__}),                             \
			 0)

/* With signs and payloads, quiet and signalling, of x86 and of a GPU; then infinities. */
static const uint32_t odd[] = {0xFFC00000, 0x7FFFFFFF, 0x7F800001, 0xFF800001, 0x7FC12345,
			       0xFFFFFFFF, 0x7FC00000, 0x7F800000, 0xFF800000};

static float odd_float(size_t i)
{
	float x;

	memcpy(&x, &odd[i % COUNT(odd)], sizeof(x));
	return x;
}

static unsigned int check_f32(const float *x, uint64_t n)
{
	unsigned int found = 0;

	for (uint64_t i = 0; i < n; i++) {
		uint32_t bits;

		memcpy(&bits, &x[i], sizeof(bits));
		if (isnan(x[i]) && bits != F32_NAN)
			fail_msg("element %llu has the bits %08x", (unsigned long long)i, bits);
		found += isnan(x[i]) != 0;
	}
	return found;
}

/* It must be one. */
static void check_f64(double x)
{
	uint64_t bits;

	memcpy(&bits, &x, sizeof(bits));
	assert_int_equal(bits, F64_NAN);
}

TEST(vector_add)
{
	enum {
		SIDE = COUNT(odd),
		ALL = SIDE * (SIDE + 1)
	};
	float a[ALL], b[ALL], c[ALL], want[ALL], *from_a = a, *from_b = b, *to = c;
	uint64_t n = ALL;

	for (size_t i = 0; i < ALL; i++) {
		a[i] = odd_float(i);
		b[i] = i / SIDE < SIDE ? odd_float(i / SIDE) : 1;
	}
	rk_kernel_vector_add(a, b, want, n);
	launch("vector_add", BATCH, 2, 32, 1, &from_a, &from_b, &to, &n);
	/* all but inf + inf, and inf + 1, of both signs */
	assert_int_equal(check_f32(want, n), ALL - 4);
	assert_memory_equal(c, want, sizeof(c));
}

TEST(reduce_sum)
{
	double partial[512], *room = partial, want, got, *to = &got;

	for (size_t i = 0; i < COUNT(odd) - 1; i++) {
		float x[600] = {1}, *from = x;
		uint64_t n = COUNT(x), done = 0, *at = &done;

		x[3 + i * 70] = odd_float(i);
		if (!isnan(x[3 + i * 70])) /* both infinities */
			x[590] = odd_float(i + 1);
		memset(partial, 0, sizeof(partial));
		rk_kernel_reduce_sum(x, &want, n);
		launch("reduce_sum", BATCH, 3, 64, 1, &from, &to, &n, &room, &at);
		check_f64(want);
		check_f64(got);
	}
}

/* Longer than a step of the blocked product, so that sums are added to what is there. */
static void check_matmul(uint64_t k)
{
	uint64_t m = 7, n = 37;
	float *a = calloc(m * k, sizeof(*a)), *b = calloc(k * n, sizeof(*b));
	float *c = calloc(m * n, sizeof(*c)), *want = calloc(m * n, sizeof(*c));
	unsigned int found;

	assert_true(a && b && c && want);
	for (uint64_t i = 0; i < k * n; i++)
		b[i] = 1;
	/* a row of zeroes by infinities, one for each NaN, and one that nothing happens to */
	for (uint64_t i = 0; i < m - 1; i++)
		a[i * k + (i * 97) % k] = odd_float(i);
	b[3] = INFINITY;
	b[(k - 1) * n + 35] = -NAN;
	rk_kernel_matmul(a, b, want, m, k, n);
	found = check_f32(want, m * n);
	assert_true(found >= (m - 1) * n && found < m * n);
	for (unsigned int i = 0; i < sizeof(micros) / sizeof(micros[0]); i++) {
		if (!micros[i].supported())
			continue;
		memset(c, 0xee, m * n * sizeof(*c));
		multiply(&micros[i], a, b, c, m, k, n);
		assert_memory_equal(c, want, m * n * sizeof(*c));
	}
	memset(c, 0xee, m * n * sizeof(*c));
	launch("matmul", BATCH, 2, 16, 16, &a, &b, &c, &m, &k, &n);
	assert_memory_equal(c, want, m * n * sizeof(*c));
	free(a);
	free(b);
	free(c);
	free(want);
}

TEST(matmul)
{
	check_matmul(1);
	check_matmul(17);
	check_matmul(600);
}

TEST(running_stats)
{
	for (size_t i = 0; i < COUNT(odd); i++) {
		const double x[] = {1, (double)odd_float(i), 2};
		struct rk_running_stats stats = {0};
		double mean, variance;
		uint64_t n;

		rk_kernel_running_stats(x, &stats, &n, &mean, &variance, 0);
		check_f64(mean);
		check_f64(variance);
		rk_kernel_running_stats(x, &stats, &n, &mean, &variance, COUNT(x));
		check_f64(variance);
		if (isnan(x[1]))
			check_f64(mean);
	}
}

/* Kernels whose inputs may make no sense as a whole. */
TEST(refused)
{
	const uint32_t offsets[] = {0, 1}, targets[] = {7};
	const double one = 1, negative = -1;
	double rank = 0, residual = 0, share, var = 0, shortfall = 0, mean = 0, l, exposure;
	uint32_t iterations, in[2], sources[1];

	rk_kernel_pagerank(offsets, targets, 0.85, 1e-9, 10, &rank, &iterations, &residual, in,
			   sources, &share, 1, 1);
	check_f64(rank);
	check_f64(residual);
	rk_kernel_monte_carlo_var(&one, &one, &negative, 0.9, 100, 1, &var, &shortfall, &mean, &l,
				  &exposure, 1);
	check_f64(var);
	check_f64(shortfall);
	check_f64(mean);
}
