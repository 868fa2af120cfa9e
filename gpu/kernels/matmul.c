/* SPDX-License-Identifier: MIT */
/*
 * Matrix product by blocks that fit the caches, repacked so that the innermost loop reads them in
 * order: K. Goto and R. A. van de Geijn, "Anatomy of High-Performance Matrix Multiplication",
 * ACM Trans. Math. Softw. 34(3), 2008; the micro-kernel that computes a small piece of c in
 * registers is F. G. Van Zee and R. A. van de Geijn's, "BLIS", ACM Trans. Math. Softw. 41(3), 2015.
 *
 * Threads take tiles of c and pack what a tile needs themselves. An element of c is summed in an
 * order that depends on k alone, so the result is the same for any number of threads.
 */
#include <stdbool.h>
#include <string.h>

#include "gpu/base/parallel.h"
#include "gpu/kernels/kernels.h"
#include "gpu/kernels/nan.h"

#define MR	6 /* rows of what a micro-kernel computes */
#define VECTORS 2 /* per row of a micro-kernel: its 6 x 2 sums fill the 16 registers of AVX2 */
#define NR_MAX	(VECTORS * 16)

/*
 * A tile of c is MC x NC, done in steps of KC along k: a packed panel of b (KC x columns) stays in
 * the L1 cache, the packed blocks of a (MC x KC) and b (KC x NC) in the L2. They lie on the stack,
 * because a kernel has no way to report that memory is short.
 */
#define MC 96
#define NC 256
#define KC 256

_Static_assert(MC % MR == 0 && NC % NR_MAX == 0, "blocks are made of whole panels");
_Static_assert((MC + NC) * KC * sizeof(float) <= 512 << 10, "blocks fit a small stack");

struct micro {
	bool (*supported)(void); /* by this CPU */
	/* out[MR][columns] = the product of two packed panels, a[kc][MR] and b[kc][columns] */
	void (*run)(const float *a, const float *b, uint64_t kc, float *out);
	unsigned int columns;
};

#define DEFINE_MICRO(name, lanes, attributes, condition)                                           \
	typedef float name##_vector                                                                \
		__attribute__((vector_size((lanes) * sizeof(float)), may_alias));                  \
	attributes static void name(const float *a, const float *b, uint64_t kc, float *out)       \
	{                                                                                          \
		name##_vector sum[MR][VECTORS] = {0};                                              \
		const name##_vector *row = (const name##_vector *)b;                               \
                                                                                                   \
		for (uint64_t p = 0; p < kc; p++, row += VECTORS) {                                \
			_Pragma("GCC unroll 6") for (int i = 0; i < MR; i++)                       \
				_Pragma("GCC unroll 2") for (int j = 0; j < VECTORS; j++)          \
					sum[i][j] += a[p * MR + i] * row[j];                       \
		}                                                                                  \
		memcpy(out, sum, sizeof(sum));                                                     \
	}                                                                                          \
	static bool name##_supported(void)                                                         \
	{                                                                                          \
		return condition;                                                                  \
	}

/* clang-format off */
DEFINE_MICRO(micro_4, 4, , true)
#ifdef __x86_64__
DEFINE_MICRO(micro_8, 8, __attribute__((target("avx2,fma"))),
	     __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
DEFINE_MICRO(micro_16, 16, __attribute__((target("avx512f"))), __builtin_cpu_supports("avx512f"))
#endif

#define MICRO(name, lanes) {name##_supported, name, VECTORS * (lanes)}

/*
 * The fastest first; the last one runs everywhere. Not by target_clones: its resolvers run before the
 * sanitizers are ready for code.
 */
static const struct micro micros[] = {
#ifdef __x86_64__
	MICRO(micro_16, 16),
	MICRO(micro_8, 8),
#endif
	MICRO(micro_4, 4),
};
/* clang-format on */

struct product {
	const struct micro *micro;
	const float *a, *b;
	float *c;
	uint64_t m, k, n;
	uint64_t tiles_per_row; /* tiles of c side by side */
};

/* Panels of MR rows of @a (rows @stride apart), element by element of k; missing rows are 0. */
static void pack_a(const float *a, uint64_t stride, uint64_t rows, uint64_t kc, float *out)
{
	for (uint64_t top = 0; top < rows; top += MR, out += MR * kc)
		for (uint64_t i = 0; i < MR; i++)
			for (uint64_t p = 0; p < kc; p++)
				out[p * MR + i] = top + i < rows ? a[(top + i) * stride + p] : 0;
}

/* Panels of @nr columns of @b, row by row of k; missing columns are 0. Reads b in its own order. */
static void pack_b(const float *b, uint64_t stride, uint64_t kc, uint64_t columns, unsigned int nr,
		   float *out)
{
	for (uint64_t p = 0; p < kc; p++, b += stride)
		for (uint64_t left = 0; left < columns; left += nr) {
			uint64_t width = columns - left < nr ? columns - left : nr;
			float *to = out + left * kc + p * nr;

			memcpy(to, b + left, width * sizeof(*to));
			memset(to + width, 0, (nr - width) * sizeof(*to));
		}
}

/* Put @rows x @columns of a micro-kernel's result into c, or add it to what is there. */
static void store(const float *from, unsigned int nr, float *c, uint64_t stride, uint64_t rows,
		  uint64_t columns, int add)
{
	for (uint64_t i = 0; i < rows; i++, from += nr, c += stride) {
		if (!add)
			memcpy(c, from, columns * sizeof(*c));
		else
			for (uint64_t j = 0; j < columns; j++)
				c[j] += from[j];
	}
}

/* All products of this piece of c are added up. */
static void finish(float *c, uint64_t stride, uint64_t rows, uint64_t columns)
{
	for (uint64_t i = 0; i < rows; i++, c += stride)
		for (uint64_t j = 0; j < columns; j++)
			c[j] = rk_one_nan_f32(c[j]);
}

/* One tile of c, @rows x @columns at (@top, @left). */
static void multiply_tile(const struct product *p, uint64_t top, uint64_t left, uint64_t rows,
			  uint64_t columns)
{
	const unsigned int nr = p->micro->columns;
	_Alignas(64) float a[MC * KC], b[KC * NC], out[MR * NR_MAX];

	for (uint64_t first = 0; first < p->k; first += KC) {
		uint64_t kc = p->k - first < KC ? p->k - first : KC;

		pack_a(p->a + top * p->k + first, p->k, rows, kc, a);
		pack_b(p->b + first * p->n + left, p->n, kc, columns, nr, b);
		for (uint64_t j = 0; j < columns; j += nr)
			for (uint64_t i = 0; i < rows; i += MR) {
				p->micro->run(a + i * kc, b + j * kc, kc, out);
				store(out, nr, p->c + (top + i) * p->n + left + j, p->n,
				      rows - i < MR ? rows - i : MR,
				      columns - j < nr ? columns - j : nr, first > 0);
			}
	}
	finish(p->c + top * p->n + left, p->n, rows, columns);
}

static void multiply_tiles(void *ctx, uint64_t begin, uint64_t end)
{
	const struct product *p = ctx;

	for (uint64_t tile = begin; tile < end; tile++) {
		uint64_t top = tile / p->tiles_per_row * MC, left = tile % p->tiles_per_row * NC;

		multiply_tile(p, top, left, p->m - top < MC ? p->m - top : MC,
			      p->n - left < NC ? p->n - left : NC);
	}
}

/* The product with @micro, which this CPU supports. */
static void multiply(const struct micro *micro, const float *a, const float *b, float *c,
		     uint64_t m, uint64_t k, uint64_t n)
{
	struct product p = {.micro = micro, .a = a, .b = b, .c = c, .m = m, .k = k, .n = n};

	if (m == 0 || n == 0)
		return;
	if (k == 0) {
		memset(c, 0, m * n * sizeof(*c));
		return;
	}
	p.tiles_per_row = (n - 1) / NC + 1;
	rk_parallel_for(((m - 1) / MC + 1) * p.tiles_per_row, 1, multiply_tiles, &p);
}

void rk_kernel_matmul(const float *a, const float *b, float *c, uint64_t m, uint64_t k, uint64_t n)
{
	const struct micro *micro = micros;

	while (!micro->supported())
		micro++;
	multiply(micro, a, b, c, m, k, n);
}
