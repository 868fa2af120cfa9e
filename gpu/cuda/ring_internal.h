/* SPDX-License-Identifier: MIT */
/*
 * A resident kernel, for rings.c, ring.c and ring_open.c, of which each stands on the ones before.
 */
#ifndef RK_GPU_CUDA_RING_INTERNAL_H
#define RK_GPU_CUDA_RING_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "gpu/cuda/rings.h"
#include "gpu/kernels/ring.h"
#include "runtime/base/thread.h"

struct rk_rings {
	struct rk_cuda_device *device; /* borrowed */
	uint64_t idle_ns;
	pthread_mutex_t lock;
	pthread_cond_t changed;		/* somebody has resumed, or no ring is hungry any more */
	LIST_HEAD(, rk_cuda_ring) list; /* changed between pause and resume only */
	uint64_t tickets, serving;	/* pauses, in the order in which they came */
	bool paused;
	unsigned int hungry; /* how many rings are hungry */
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
	struct rk_cuda_memory *memory; /* borrowed, for the state */
	CUdeviceptr state;	       /* 0 = it has none */
	uint64_t state_bytes;
	struct rk_ring *shared; /* shared with the device */
	CUdeviceptr shared_device;
	uint8_t *data; /* of the message that runs; shared too */
	CUdeviceptr data_device;
	uint64_t data_bytes;
	/*
	 * Changed by the thread that runs a message, under rings.lock while nobody has paused, or
	 * else by the thread that has paused.
	 */
	uint64_t launches; /* number of the last one */
	bool resident;	   /* launched, and not known to have left */
	/* for the thread that runs a message */
	uint64_t next;	    /* number of the first message without an answer */
	unsigned int tries; /* launches for that message */
	/* guarded by rings.lock */
	bool posted; /* message `next` is posted, and no answer to it was seen */
	bool hungry; /* a pause kept it from being run: no other pause until it has its answer */
};

/* The slot of message `next`. */
static inline struct rk_ring_slot *rk_ring_slot_of(const struct rk_cuda_ring *ring)
{
	return &ring->shared->slots[ring->next % RK_RING_SLOTS];
}

/* How long somebody has waited for a kernel, and in which way: by looking, yielding or sleeping. */
struct rk_patience {
	uint64_t since;
	unsigned int yields, naps;
	long nap_ns;
};

/* rings.c */

struct rk_patience rk_patience_begin(void);

/* Between two looks at memory that the device writes: longer each time, up to a bound. */
void rk_patience_wait(struct rk_patience *patience);

/*
 * Launch the kernel with message `next` as its first. For a thread that has paused. Returns 0 or
 * fails as rk_cuda_fail does.
 */
int rk_ring_launch(struct rk_cuda_ring *ring, struct rk_error *err);

/*
 * Message `next` is in its slot: tell the kernel, and launch it where it has left. Returns 0 or
 * fails as rk_cuda_fail does; rk_ring_settle follows in any case.
 */
int rk_ring_post(struct rk_cuda_ring *ring, struct rk_error *err);

/*
 * The kernel has left without an answer: launch it again, once nobody pauses. Returns as
 * rk_ring_post.
 */
int rk_ring_launch_again(struct rk_cuda_ring *ring, struct rk_error *err);

/*
 * The message has its answer (@done), or will get none. Then no kernel is there that could still
 * read it, and the next message takes its number.
 */
void rk_ring_settle(struct rk_cuda_ring *ring, bool done);

/* Whether the last launch says that it returns. */
bool rk_ring_said_goodbye(const struct rk_cuda_ring *ring);

/*
 * Whether the last launch is over: it said so itself, or the driver does, which is asked now and
 * then.
 */
bool rk_ring_has_left(struct rk_cuda_ring *ring, const struct rk_patience *patience);

/*
 * Wait until the stream is empty, after the kernel was told to leave, or where there is none. For a
 * thread that has paused.
 */
void rk_ring_see_off(struct rk_cuda_ring *ring);

/* ring.c */

/* Describe a kernel that does not keep to gpu/kernels/ring.h. Returns -EIO. */
int rk_ring_stranger(const struct rk_cuda_ring *ring, struct rk_error *err);

/*
 * Pin memory, and say where it is for the host and for the device. Between pause and resume.
 * Returns 0 or fails as rk_cuda_fail does.
 */
int rk_ring_pin(const struct rk_cuda_ring *ring, uint64_t bytes, void **host, CUdeviceptr *device,
		struct rk_error *err);
void rk_ring_unpin(const struct rk_cuda_ring *ring, void *host); /* NULL is fine */

#endif
