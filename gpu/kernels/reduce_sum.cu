/* SPDX-License-Identifier: MIT */
/*
 * The sum in double, in one launch: each block adds up its share, and the block that is done last
 * adds up the blocks. The order depends on n and the shape of the launch alone, so the answer has
 * the same bits on any device. It differs from reduce_sum.c's by rounding in double, at most
 * n 2^-53 of the sum of |x|; infinities and NaNs carry over alike.
 */
#include "gpu/kernels/grid.cuh"
#include "gpu/kernels/nan.h"

#define REDUCE_THREADS 256
#define REDUCE_BLOCKS  512  /* elements of @partial; blocks beyond have nothing to do */
#define REDUCE_SHARE   2048 /* elements that make one more block worthwhile */

static __device__ double reduce_share(const float *x, uint64_t n, uint32_t blocks)
{
	const uint64_t step = (uint64_t)blocks * blockDim.x * 4;
	uint64_t i = ((uint64_t)blockIdx.x * blockDim.x + threadIdx.x) * 4;
	double sum[4] = {0, 0, 0, 0};

	if (((uintptr_t)x & (sizeof(float4) - 1)) == 0) {
#pragma unroll 4
		for (; i + 4 <= n; i += step) {
			float4 four = *(const float4 *)(x + i);

			sum[0] += (double)four.x;
			sum[1] += (double)four.y;
			sum[2] += (double)four.z;
			sum[3] += (double)four.w;
		}
	}
	/* the same order for an x that is not aligned, and what is left over */
	for (; i < n; i += step)
		for (unsigned int j = 0; j < 4 && i + j < n; j++)
			sum[j] += (double)x[i + j];
	return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* @partial[REDUCE_BLOCKS] and *@done are scratch, zeroed. */
extern "C" __global__ void __launch_bounds__(REDUCE_THREADS)
	reduce_sum(const float *x, double *sum, uint64_t n, double *partial, uint64_t *done)
{
	__shared__ double part[REDUCE_THREADS];
	const uint64_t wanted = n / REDUCE_SHARE + 1;
	const uint32_t most = gridDim.x < REDUCE_BLOCKS ? gridDim.x : REDUCE_BLOCKS;
	const uint32_t blocks = wanted < most ? (uint32_t)wanted : most;
	double value = 0;
	bool last = false;

	if (blockIdx.x >= blocks)
		return;
	value = rk_block_sum(reduce_share(x, n, blocks), part);
	if (threadIdx.x == 0) {
		partial[blockIdx.x] = value;
		__threadfence();
		last = rk_atomic_add(done, 1) == blocks - 1;
		__threadfence();
	}
	if (!__syncthreads_or(last))
		return;
	value = 0;
	for (uint32_t i = threadIdx.x; i < blocks; i += blockDim.x)
		value += partial[i];
	value = rk_block_sum(value, part);
	if (threadIdx.x == 0)
		*sum = rk_one_nan_f64(value);
}
