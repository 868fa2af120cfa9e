/* SPDX-License-Identifier: MIT */
/* What the CUDA kernels share that need more than one thread at a time. */
#ifndef RK_GPU_KERNELS_GRID_CUH
#define RK_GPU_KERNELS_GRID_CUH

#include <stdint.h>

/* tests/cuda_emu compiles the kernels as C++ and brings its own. */
#ifdef __CUDACC__
static inline __device__ uint64_t rk_grid_load(const uint64_t *from)
{
	uint64_t value;

	asm volatile("ld.acquire.gpu.global.u64 %0, [%1];" : "=l"(value) : "l"(from) : "memory");
	return value;
}

/* Nanoseconds of a clock that all of the device shares. */
static inline __device__ uint64_t rk_grid_now()
{
	uint64_t now;

	asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
	return now;
}
#endif

/* Of a grid and blocks with one axis. */
static inline __device__ uint64_t rk_grid_thread()
{
	return (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

static inline __device__ uint64_t rk_grid_threads()
{
	return (uint64_t)gridDim.x * blockDim.x;
}

static inline __device__ uint64_t rk_atomic_add(uint64_t *to, uint64_t value)
{
	static_assert(sizeof(unsigned long long) == sizeof(*to), "the same under another name");
	return atomicAdd((unsigned long long *)to, (unsigned long long)value);
}

/*
 * Every thread of the first @blocks blocks waits for all of them; what was written before is seen
 * after. *@arrived counts from 0 over the whole run. The blocks must be on the device together
 * (cooperative = yes).
 */
static inline __device__ void rk_grid_sync(uint64_t *arrived, uint32_t blocks)
{
	__syncthreads();
	if (threadIdx.x == 0) {
		uint64_t ticket, all;

		__threadfence();
		ticket = rk_atomic_add(arrived, 1);
		all = (ticket / blocks + 1) * blocks;
		while (rk_grid_load(arrived) < all)
			;
	}
	__syncthreads();
}

/*
 * The sum of @value over the block, for each of its threads. The order depends on the size of the
 * block alone; @part has room for one of each thread, in shared memory.
 */
static inline __device__ double rk_block_sum(double value, double *part)
{
	part[threadIdx.x] = value;
	__syncthreads();
	for (unsigned int n = blockDim.x, half; n > 1; n = half) {
		half = (n + 1) / 2;
		if (threadIdx.x + half < n)
			part[threadIdx.x] += part[threadIdx.x + half];
		__syncthreads();
	}
	value = part[0];
	__syncthreads();
	return value;
}

#endif
