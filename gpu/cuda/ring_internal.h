/* SPDX-License-Identifier: MIT */
/* What the two halves of gpu/cuda/ring.h share: running messages, and opening and closing. */
#ifndef RK_GPU_CUDA_RING_INTERNAL_H
#define RK_GPU_CUDA_RING_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "gpu/cuda/internal.h"
#include "gpu/kernels/ring.h"

struct rk_rings {
	struct rk_cuda_device *device; /* borrowed */
	uint64_t idle_ns;
	pthread_mutex_t lock;
	pthread_cond_t changed;		/* resumed, or nobody is hungry any more */
	LIST_HEAD(, rk_cuda_ring) list; /* changed between pause and resume only */
	uint64_t tickets, serving;	/* pauses, in the order in which they came */
	bool paused;
	unsigned int hungry; /* rings that are */
};

struct rk_cuda_ring {
	LIST_ENTRY(rk_cuda_ring) link;
	struct rk_rings *rings;
	char id[2 * RK_WIRE_NAME_MAX];
	CUfunction function;
	CUstream stream;
	uint32_t nparams;
	struct rk_wire_param params[RK_WIRE_ARGS_MAX];
	uint32_t block[RK_WIRE_AXES];
	uint32_t shared_bytes;
	struct rk_ring_memory memory;
	CUdeviceptr state; /* 0 = it has none */
	uint64_t state_bytes;
	struct rk_ring *shared; /* with the device */
	CUdeviceptr shared_device;
	uint8_t *data; /* of the message that runs; the same */
	CUdeviceptr data_device;
	uint64_t data_bytes;
	/*
	 * Changed by the thread that runs a message, under rings.lock while nobody has paused, or
	 * by the one that has.
	 */
	uint64_t launches; /* number of the last one */
	bool resident;	   /* launched, and not known to have left */
	/* for the thread that runs a message */
	uint64_t next;	    /* number of the first message without an answer */
	unsigned int tries; /* launches for it */
	/* guarded by rings.lock */
	bool posted; /* message `next` is, and has no answer that was seen */
	bool hungry; /* a pause came upon it: no other one until it has its answer */
};

/*
 * Launch the kernel with message `next` as its first; by the thread that runs a message, not while
 * somebody has paused, or by the one that has. 0, or as rk_cuda_fail.
 */
int rk_ring_launch(struct rk_cuda_ring *ring, struct rk_error *err);

/*
 * The kernel has been told to leave, or there is none: wait until the stream is empty. By the
 * thread that has paused.
 */
void rk_ring_see_off(struct rk_cuda_ring *ring);

/* Whether the last launch says that it returns. */
bool rk_ring_said_goodbye(const struct rk_cuda_ring *ring);

/* What is to be said of a kernel that does not keep to gpu/kernels/ring.h. Returns -EIO. */
int rk_ring_stranger(const struct rk_cuda_ring *ring, struct rk_error *err);

/*
 * Pinned memory: where it is for the host and for the device. Between pause and resume. 0, or as
 * rk_cuda_fail.
 */
int rk_ring_pin(const struct rk_cuda_ring *ring, uint64_t bytes, void **host, CUdeviceptr *device,
		struct rk_error *err);
void rk_ring_unpin(const struct rk_cuda_ring *ring, void *host); /* NULL is fine */

#endif
