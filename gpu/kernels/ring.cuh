/* SPDX-License-Identifier: MIT */
/*
 * The device's side of gpu/kernels/ring.h: what makes a resident kernel (mode = ring) of a function.
 *
 *	#include <rkfs/ring.cuh>
 *
 *	struct state { double sum; };
 *
 *	static __device__ void accumulate(const double *x, double *sum, struct state *state)
 *	{
 *		if (threadIdx.x == 0)
 *			*sum = state->sum += *x;
 *	}
 *	RK_RING_KERNEL(accumulator, accumulate)
 *
 * and the description says entry = accumulator and args = x, sum, state. The function
 * is called for each message, by every thread of one block of the description's size, with one
 * parameter for each of args: buffers and the state are pointers, scalars and dims values. It may
 * use shared memory and __syncthreads(), which all threads must then reach. Between two calls there
 * is a barrier. Buffers lie in the host's memory and are written by it between messages: read them
 * as usual, but never by way of a cache for constants (__ldg).
 */
#ifndef RK_RING_CUH
#define RK_RING_CUH

#include <stdint.h>
#include <string.h>

#include "ring.h" /* beside this file, where it is installed too */

#define RK_RING_LOOK	 32	 /* slots that a warp reads together */
#define RK_RING_BATCH_NS 20000	 /* answers wait for others of the same look no longer than this */
#define RK_RING_BUSY_NS	 1000000 /* after so long without a message it looks less often */
#define RK_RING_NAP_NS	 500
#define RK_RING_LEAVE	 UINT32_MAX

/* tests/cuda_emu compiles this file as C++ and brings its own. */
#ifdef __CUDACC__
static inline __device__ uint64_t rk_ring_acquire(const uint64_t *from)
{
	uint64_t value;

	asm volatile("ld.acquire.sys.u64 %0, [%1];" : "=l"(value) : "l"(from) : "memory");
	return value;
}

static inline __device__ uint64_t rk_ring_load(const uint64_t *from)
{
	uint64_t value;

	asm volatile("ld.relaxed.sys.u64 %0, [%1];" : "=l"(value) : "l"(from) : "memory");
	return value;
}

/* After __threadfence_system(). */
static inline __device__ void rk_ring_store(uint64_t *to, uint64_t value)
{
	asm volatile("st.relaxed.sys.u64 [%0], %1;" : : "l"(to), "l"(value) : "memory");
}

static inline __device__ uint64_t rk_ring_now()
{
	uint64_t now;

	asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
	return now;
}
#endif

/* 0, 1 ... N - 1 as template parameters */
template <unsigned int... I> struct rk_ring_indices {
};
template <unsigned int N, unsigned int... I>
struct rk_ring_count : rk_ring_count<N - 1, N - 1, I...> {
};
template <unsigned int... I> struct rk_ring_count<0, I...> {
	typedef rk_ring_indices<I...> indices;
};

/* A parameter's value from the bytes at the low end of @arg. */
template <typename T> static inline __device__ T rk_ring_value(uint64_t arg)
{
	static_assert(sizeof(T) <= sizeof(arg), "a parameter has at most 8 bytes");
	T value;

	memcpy(&value, &arg, sizeof(value));
	return value;
}

/* A function of type T at F: how many parameters it has, and a call with them. */
template <typename T, T F> struct rk_ring_function;
template <typename... P, void (*F)(P...)> struct rk_ring_function<void (*)(P...), F> {
	static const unsigned int COUNT = sizeof...(P);
	typedef typename rk_ring_count<COUNT>::indices indices;

	static_assert(COUNT > 0 && COUNT <= RK_RING_ARGS, "a kernel has 1 to 32 parameters");

	template <unsigned int... I>
	static inline __device__ void call(const uint64_t *args, rk_ring_indices<I...>)
	{
		F(rk_ring_value<P>(args[I])...);
	}
};

/* What a block keeps while it is resident: the same in all threads, unless a comment says whose. */
struct rk_ring_block {
	struct rk_ring *ring;
	uint64_t next; /* the first message without an answer */
	uint64_t idle_ns;
	uint64_t since; /* the first thread: when there was a message last */
	/* the first warp: its slot's request; the first thread: the flag */
	uint64_t seen, quiesce;
	bool is_seen; /* seen and quiesce were read for the messages from next on */
	unsigned int thread, threads;
	uint32_t lookers; /* the first warp's mask */
	unsigned int turn;
};

static inline __device__ const struct rk_ring_slot *rk_ring_slot_of(const struct rk_ring_block &b,
								    uint64_t message)
{
	return &b.ring->slots[message % RK_RING_SLOTS];
}

/*
 * The first warp: how many messages there are from next on without a gap, RK_RING_LEAVE if it is
 * time to return. Each of its threads looks at one slot: these loads cross the bus together.
 */
static inline __device__ uint32_t rk_ring_look(struct rk_ring_block &b)
{
	const uint64_t message = b.next + b.thread;
	uint32_t missing, count;

	if (!b.is_seen) {
		b.quiesce = b.thread == 0 ? rk_ring_load(&b.ring->quiesce) : 0;
		b.seen = rk_ring_acquire(&rk_ring_slot_of(b, message)->request);
	}
	missing = ~__ballot_sync(b.lookers, b.seen == message + 1);
	count = missing ? (uint32_t)__ffs((int)missing) - 1 : RK_RING_LOOK;
	if (b.quiesce)
		return RK_RING_LEAVE;
	if (count == 0 && b.thread == 0) {
		uint64_t quiet = rk_ring_now() - b.since;

		if (b.idle_ns && quiet >= b.idle_ns)
			return RK_RING_LEAVE;
		if (quiet >= RK_RING_BUSY_NS)
			__nanosleep(RK_RING_NAP_NS);
	}
	return count;
}

/*
 * The first warp: load what rk_ring_look() wants when the next @count messages are run; a fence
 * must come in between.
 */
static inline __device__ void rk_ring_look_ahead(struct rk_ring_block &b, uint32_t count)
{
	b.quiesce = b.thread == 0 ? rk_ring_load(&b.ring->quiesce) : 0;
	b.seen = rk_ring_load(&rk_ring_slot_of(b, b.next + count + b.thread)->request);
}

/* All threads: what the first thread has seen. @found is in shared memory. */
static inline __device__ uint32_t rk_ring_wait(struct rk_ring_block &b, uint32_t found[2])
{
	if (b.thread < RK_RING_LOOK) {
		uint32_t count = rk_ring_look(b);

		/* by turns in two places: a thread may still have to read the last one */
		if (b.thread == 0)
			found[b.turn] = count;
	}
	__syncthreads();
	b.is_seen = false;
	b.turn ^= 1;
	return found[b.turn ^ 1];
}

/*
 * Run up to @count messages, until a while has gone by; their answers then go out together, so that
 * short messages share one crossing of the bus. Returns how many were run.
 */
template <typename FUNCTION>
static inline __device__ uint32_t rk_ring_run(const struct rk_ring_block &b, uint32_t count,
					      const uint64_t (*args)[FUNCTION::COUNT])
{
	const uint64_t begin = b.thread == 0 ? rk_ring_now() : 0;
	uint32_t done = 0;
	bool late;

	do {
		FUNCTION::call(args[done], typename FUNCTION::indices());
		done++;
		late = b.thread == 0 && done < count && rk_ring_now() - begin > RK_RING_BATCH_NS;
		/* so that the fence of a thread that answers is behind the writes of all */
		late = __syncthreads_or(late);
	} while (done < count && !late);
	return done;
}

template <typename FUNCTION>
static __device__ void rk_ring_serve(struct rk_ring *ring, uint64_t next)
{
	__shared__ uint64_t args[RK_RING_LOOK][FUNCTION::COUNT];
	__shared__ uint32_t found[2];
	struct rk_ring_block b = {};
	uint32_t count, done;

	b.ring = ring;
	b.next = next;
	b.thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
	b.threads = blockDim.x * blockDim.y * blockDim.z;
	b.lookers = b.threads < RK_RING_LOOK ? (1u << b.threads) - 1 : ~0u;
	b.idle_ns = ring->idle_ns;
	b.since = rk_ring_now();
	while ((count = rk_ring_wait(b, found)) != RK_RING_LEAVE) {
		if (count == 0)
			continue;
		for (uint32_t i = b.thread; i < count * FUNCTION::COUNT; i += b.threads)
			args[i / FUNCTION::COUNT][i % FUNCTION::COUNT] =
				rk_ring_load(&rk_ring_slot_of(b, b.next + i / FUNCTION::COUNT)
						      ->args[i % FUNCTION::COUNT]);
		/* where messages are many, the next ones are looked for while these are run */
		if (count > 1 && b.thread < RK_RING_LOOK)
			rk_ring_look_ahead(b, count);
		__syncthreads();
		done = rk_ring_run<FUNCTION>(b, count, args);
		if (b.thread < RK_RING_LOOK) {
			__threadfence_system();
			if (b.thread < done)
				rk_ring_store(&ring->answers[(b.next + b.thread) % RK_RING_SLOTS],
					      b.next + b.thread + 1);
		}
		b.next += done;
		b.is_seen = count > 1 && done == count;
		b.since = rk_ring_now();
	}
}

/*
 * A ring of another version is left at once, with nothing stored. One whose messages have another
 * number of arguments than the function is left without an answer, but `exited` is stored.
 */
template <typename FUNCTION>
static __device__ void rk_ring_enter(struct rk_ring *ring, uint64_t launch, uint64_t next)
{
	if (blockIdx.x || blockIdx.y || blockIdx.z || ring->version != RK_RING_VERSION)
		return;
	if (ring->nargs == FUNCTION::COUNT)
		rk_ring_serve<FUNCTION>(ring, next);
	__syncthreads();
	if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0) {
		__threadfence_system();
		rk_ring_store(&ring->exited, launch);
	}
}

/* Define the kernel @entry, which calls @function, a __device__ function that returns nothing. */
#define RK_RING_KERNEL(entry, function)                                                            \
	extern "C" __global__ void entry(struct rk_ring *ring, uint64_t launch, uint64_t next)     \
	{                                                                                          \
		rk_ring_enter<rk_ring_function<decltype(&function), &function>>(ring, launch,      \
										next);             \
	}

#endif
