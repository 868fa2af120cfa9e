/* SPDX-License-Identifier: MIT */
/*
 * CUDA kernels as C++, for machines without a GPU: what of CUDA's language the kernels of
 * gpu/kernels use, so that a C++ compiler takes the same .cu files. A block is a POSIX thread and
 * its threads are fibers in it, so __shared__ is thread-local storage. Under ThreadSanitizer the
 * fibers count as threads of their own that only barriers and atomics bring in order: it finds
 * what compute-sanitizer's racecheck would.
 *
 * Included before a .cu file. The other half of this file is for the tests, which are C.
 */
#ifndef RK_TESTS_CUDA_EMU_H
#define RK_TESTS_CUDA_EMU_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * As cuLaunchKernel and cuLaunchCooperativeKernel: @args has the address of each argument. Blocks
 * run at the same time if @cooperative, else one after the other, the last one first. Returns when
 * all have, or -1 where there is no such kernel. Ends the process with a sentence where a
 * barrier is not reached by all threads.
 */
int rk_emu_launch(const char *entry, const uint32_t grid[3], const uint32_t block[3],
		  int cooperative, void **args);

#ifdef __cplusplus
}

#include <sched.h>
#include <string.h>
#include <time.h>

struct rk_emu_kernel {
	const char *name;
	void (*run)(void **args);
};

/* Ends with a row without a name. */
extern const struct rk_emu_kernel rk_emu_kernels[];

struct rk_emu_dim {
	unsigned int x, y, z;
};

/* Where the running fiber is. */
struct rk_emu_place {
	struct rk_emu_dim thread, block, threads, blocks;
};
extern __thread const struct rk_emu_place *rk_emu_here; /* C++'s thread_local may call code */

#define threadIdx (rk_emu_here->thread)
#define blockIdx  (rk_emu_here->block)
#define blockDim  (rk_emu_here->threads)
#define gridDim	  (rk_emu_here->blocks)

#define __global__
#define __device__
#define __shared__ static __thread
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct float4 {
	float x, y, z, w;
} __attribute__((aligned(16)));
struct uint4 {
	unsigned int x, y, z, w;
} __attribute__((aligned(16)));

/* All threads of the block, at one place of the source (@where); whether any has @value. */
int rk_emu_barrier(int value, int where);
/* The threads of the warp in @mask. */
uint32_t rk_emu_ballot(uint32_t mask, int value);
/* Let other threads run: whoever waits for one of them without a barrier. */
void rk_emu_yield(void);

#define __syncthreads()		   ((void)rk_emu_barrier(0, __LINE__))
#define __syncthreads_or(value)	   rk_emu_barrier(value, __LINE__)
#define __ballot_sync(mask, value) rk_emu_ballot(mask, value)

static inline void __threadfence(void)
{
}

static inline void __threadfence_system(void)
{
}

static inline void __nanosleep(unsigned int)
{
	rk_emu_yield();
}

static inline int __ffs(int value)
{
	return __builtin_ffs(value);
}

static inline int __clzll(long long value)
{
	return value ? __builtin_clzll((unsigned long long)value) : 64;
}

static inline unsigned long long atomicAdd(unsigned long long *to, unsigned long long value)
{
	return __atomic_fetch_add(to, value, __ATOMIC_SEQ_CST);
}

/* gpu/kernels/grid.cuh and ring.cuh have these in PTX. */
static inline uint64_t rk_grid_load(const uint64_t *from)
{
	rk_emu_yield();
	return __atomic_load_n(from, __ATOMIC_ACQUIRE);
}

static inline uint64_t rk_grid_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static inline uint64_t rk_ring_acquire(const uint64_t *from)
{
	return rk_grid_load(from);
}

/* Acquires too, because ThreadSanitizer knows no fences. */
static inline uint64_t rk_ring_load(const uint64_t *from)
{
	return __atomic_load_n(from, __ATOMIC_ACQUIRE);
}

static inline void rk_ring_store(uint64_t *to, uint64_t value)
{
	__atomic_store_n(to, value, __ATOMIC_RELEASE);
}

static inline uint64_t rk_ring_now(void)
{
	return rk_grid_now();
}

/* A row of rk_emu_kernels: {"name", rk_emu_call<decltype(&name), &name>::run} */
template <typename T, T F> struct rk_emu_call;
template <typename... P, void (*F)(P...)> struct rk_emu_call<void (*)(P...), F> {
	template <unsigned int... I> struct indices {
	};
	template <unsigned int N, unsigned int... I> struct upto : upto<N - 1, N - 1, I...> {
	};
	template <unsigned int... I> struct upto<0, I...> {
		typedef indices<I...> type;
	};
	template <unsigned int... I> static void spread(void **args, indices<I...>)
	{
		F(*(P *)args[I]...);
	}
	static void run(void **args)
	{
		spread(args, typename upto<sizeof...(P)>::type());
	}
};
#define RK_EMU_KERNEL(name)                                                                        \
	{                                                                                          \
#name, rk_emu_call < decltype(&name), &name> ::run                                 \
	}

#endif
#endif
