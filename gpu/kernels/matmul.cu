/* SPDX-License-Identifier: MIT */
/*
 * c = a b in single precision. A block of 16 x 16 threads computes a tile of c, 8 x 8 or 4 x 4
 * elements a thread in registers; a and b pass through shared memory in steps of DEPTH along k, and
 * the next step is on its way from memory while one is computed: V. Volkov and J. W. Demmel,
 * "Benchmarking GPUs to tune dense linear algebra", SC 2008; the two levels of tiles are CUTLASS's.
 *
 * An element is one chain of fused multiply-adds along k, so the answer has the same bits on
 * any device. It differs from matmul.c's, which adds in another order, by at most
 * 2 (k + 1) 2^-24 of the sum of |a| |b|.
 *
 * The grid is one of a fixed number of blocks that go through the tiles in strides: threads cannot
 * be counted in tiles by a description, and as many blocks as c has threads would mostly
 * do nothing. 1056 is 4 times what an H100 runs at once: few enough to start where there are fewer
 * tiles, and enough that devices of other sizes are evenly loaded.
 */
#include <math.h>
#include <stdint.h>

#include "gpu/kernels/nan.h"

#define SIDE  16 /* of a block */
#define DEPTH 16
#define LARGE 128
#define SMALL 64
/* tiles of LARGE that keep the device busy; below it small ones make more blocks */
#ifndef MATMUL_ENOUGH
#define MATMUL_ENOUGH 200
#endif

struct operand {
	const float *at;
	uint64_t rows, columns;
	bool aligned; /* each group of four in a row begins at a multiple of 16 bytes */
};

/* Columns @column to @column + 3 of a row; what lies outside is 0. */
static __device__ inline float4 load_four(const struct operand &m, uint64_t row, uint64_t column)
{
	const float *from = m.at + row * m.columns + column;
	float4 four = {0, 0, 0, 0};

	if (row >= m.rows)
		return four;
	if (m.aligned && column + 4 <= m.columns)
		return *(const float4 *)from;
	if (column < m.columns)
		four.x = from[0];
	if (column + 1 < m.columns)
		four.y = from[1];
	if (column + 2 < m.columns)
		four.z = from[2];
	if (column + 3 < m.columns)
		four.w = from[3];
	return four;
}

/*
 * One step of both operands. a is turned round: a thread then reads four rows of it at once. The
 * padding keeps these rows aligned and most of a warp's stores apart.
 */
template <int TILE> struct step {
	float a[DEPTH][TILE + 4];
	float b[DEPTH][TILE];
};

/* A thread's part of the next step, in registers. */
template <int TILE> struct parcel {
	static const int COUNT = TILE * DEPTH / (SIDE * SIDE * 4);
	float4 a[COUNT], b[COUNT];

	__device__ void fetch(const struct operand &ma, const struct operand &mb, uint64_t top,
			      uint64_t left, uint64_t p)
	{
		const unsigned int thread = threadIdx.y * SIDE + threadIdx.x;

#pragma unroll
		for (int i = 0; i < COUNT; i++) {
			unsigned int four = thread + i * SIDE * SIDE;

			a[i] = load_four(ma, top + four / (DEPTH / 4), p + four % (DEPTH / 4) * 4);
			b[i] = load_four(mb, p + four / (TILE / 4), left + four % (TILE / 4) * 4);
		}
	}

	__device__ void put(struct step<TILE> &to) const
	{
		const unsigned int thread = threadIdx.y * SIDE + threadIdx.x;

#pragma unroll
		for (int i = 0; i < COUNT; i++) {
			unsigned int four = thread + i * SIDE * SIDE;
			unsigned int row = four / (DEPTH / 4), p = four % (DEPTH / 4) * 4;

			to.a[p][row] = a[i].x;
			to.a[p + 1][row] = a[i].y;
			to.a[p + 2][row] = a[i].z;
			to.a[p + 3][row] = a[i].w;
			*(float4 *)&to.b[four / (TILE / 4)][four % (TILE / 4) * 4] = b[i];
		}
	}
};

/*
 * A thread has a square of 4 x 4 elements in each SMALL x SMALL part of the tile, at
 * (4 threadIdx.y, 4 threadIdx.x): so a warp reads its operands without bank conflicts.
 */
template <int TILE> struct sums {
	static const int PARTS = TILE / SMALL;
	__align__(16) float at[PARTS * 4][PARTS * 4];

	__device__ void add(const struct step<TILE> &from)
	{
#pragma unroll
		for (int p = 0; p < DEPTH; p++) {
			__align__(16) float a[PARTS * 4], b[PARTS * 4];

#pragma unroll
			for (int i = 0; i < PARTS; i++) {
				*(float4 *)(a + i * 4) =
					*(const float4 *)&from.a[p][i * SMALL + threadIdx.y * 4];
				*(float4 *)(b + i * 4) =
					*(const float4 *)&from.b[p][i * SMALL + threadIdx.x * 4];
			}
#pragma unroll
			for (int i = 0; i < PARTS * 4; i++)
#pragma unroll
				for (int j = 0; j < PARTS * 4; j++)
					at[i][j] = fmaf(a[i], b[j], at[i][j]);
		}
	}

	__device__ void finish()
	{
#pragma unroll
		for (int i = 0; i < PARTS * 4; i++)
#pragma unroll
			for (int j = 0; j < PARTS * 4; j++)
				at[i][j] = rk_one_nan_f32(at[i][j]);
	}

	__device__ void store(const struct operand &c, float *to, uint64_t top, uint64_t left) const
	{
#pragma unroll
		for (int i = 0; i < PARTS * 4; i++) {
			uint64_t row = top + i / 4 * SMALL + threadIdx.y * 4 + i % 4;

#pragma unroll
			for (int j = 0; j < PARTS * 4; j += 4) {
				uint64_t column = left + j / 4 * SMALL + threadIdx.x * 4;
				float *out = to + row * c.columns + column;

				if (row >= c.rows)
					continue;
				if (c.aligned && column + 4 <= c.columns) {
					*(float4 *)out = *(const float4 *)&at[i][j];
					continue;
				}
#pragma unroll
				for (int x = 0; x < 4; x++)
					if (column + x < c.columns)
						out[x] = at[i][j + x];
			}
		}
	}
};

template <int TILE>
static __device__ void multiply(const struct operand &a, const struct operand &b,
				const struct operand &c, float *to, struct step<TILE> *steps)
{
	const uint64_t across = (c.columns - 1) / TILE + 1;
	const uint64_t tiles = ((c.rows - 1) / TILE + 1) * across;

	for (uint64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
		const uint64_t top = tile / across * TILE, left = tile % across * TILE;
		struct sums<TILE> sum = sums<TILE>();
		struct parcel<TILE> next;
		unsigned int now = 0;

		if (a.columns > 0) {
			next.fetch(a, b, top, left, 0);
			next.put(steps[0]);
		}
		__syncthreads();
		for (uint64_t p = 0; p < a.columns; p += DEPTH, now ^= 1) {
			const bool more = p + DEPTH < a.columns;

			if (more)
				next.fetch(a, b, top, left, p + DEPTH);
			sum.add(steps[now]);
			if (more)
				next.put(steps[now ^ 1]);
			__syncthreads();
		}
		sum.finish();
		sum.store(c, to, top, left);
	}
}

extern "C" __global__ void __launch_bounds__(SIDE *SIDE, 2)
	matmul(const float *a, const float *b, float *c, uint64_t m, uint64_t k, uint64_t n)
{
	__shared__ __align__(16) unsigned char room[2 * sizeof(struct step<LARGE>)];
	const struct operand ma = {a, m, k, k % 4 == 0 && (uintptr_t)a % 16 == 0};
	const struct operand mb = {b, k, n, n % 4 == 0 && (uintptr_t)b % 16 == 0};
	const struct operand mc = {c, m, n, n % 4 == 0 && (uintptr_t)c % 16 == 0};

	if (m == 0 || n == 0)
		return;
	if (((m - 1) / LARGE + 1) * ((n - 1) / LARGE + 1) >= MATMUL_ENOUGH)
		multiply<LARGE>(ma, mb, mc, c, (struct step<LARGE> *)room);
	else
		multiply<SMALL>(ma, mb, mc, c, (struct step<SMALL> *)room);
}
