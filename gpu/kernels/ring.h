/* SPDX-License-Identifier: MIT */
/*
 * How the host and a resident CUDA kernel talk: a ring of messages in pinned host memory that both
 * see. Plain data for both compilers; the host's side is gpu/cuda/ring.c, the device's
 * gpu/kernels/ring.cuh, which a user's ring kernel includes too.
 *
 * Messages have numbers from 0 on. Number s lies in slot s % RK_RING_SLOTS. The host fills the
 * slot, then stores s + 1 to its `request`, with release at system scope; the device, having seen
 * that with acquire, runs the message and stores s + 1 to answers[s % RK_RING_SLOTS], with release.
 * A slot is filled again only once its answer was seen. Messages are run in order, one by one.
 *
 * A launch is told its number and the first message that has no answer. It returns when `quiesce`
 * is not 0, or when nothing came for idle_ns; that is looked at only where there is no message, so
 * a launch for one that is posted runs it, unless told to leave. It stores its number to `exited`
 * as the last thing: what was posted and has no answer then is for the next launch. The state stays
 * in device memory.
 */
#ifndef RK_GPU_KERNELS_RING_H
#define RK_GPU_KERNELS_RING_H

#include <stdint.h>

#define RK_RING_VERSION 1
#define RK_RING_SLOTS	64 /* a power of two, at least 32: a warp looks at 32 at once */
#define RK_RING_ARGS	32 /* RK_WIRE_ARGS_MAX */

struct rk_ring_slot {
	uint64_t request; /* host -> device: number + 1 */
	uint64_t reserved;
	/*
	 * One per parameter of the function: the device pointer of a buffer or of the state, or the
	 * value's bytes, low end.
	 */
	uint64_t args[RK_RING_ARGS];
};

struct rk_ring {
	uint64_t version; /* RK_RING_VERSION; another one: the kernel returns and stores nothing */
	uint64_t idle_ns; /* 0 = never */
	uint64_t nargs;	  /* another number: it returns, and stores `exited` alone */
	uint64_t reserved[5];
	uint64_t quiesce; /* host -> device */
	uint64_t reserved2[7];
	uint64_t exited; /* device -> host: number of the last launch that has returned, from 1 */
	uint64_t reserved3[7];
	uint64_t answers[RK_RING_SLOTS]; /* device -> host: number + 1 */
	struct rk_ring_slot slots[RK_RING_SLOTS];
};

/*
 * The __global__ function takes (struct rk_ring *ring, uint64_t launch, uint64_t next): the
 * device's address of the ring, the launch's number, and the first message without an answer.
 */

#endif
