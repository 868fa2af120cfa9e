/* SPDX-License-Identifier: MIT */
/*
 * Resident kernels (mode = ring) on CUDA: the host's side of gpu/kernels/ring.h.
 *
 * While one is on the device nothing may be called that waits for the whole context, or it would
 * wait for ever: cuMemAlloc, cuMemFree, cuMemHostAlloc, cuMemFreeHost, loading and unloading of
 * modules, cuMemPoolTrimTo, creating and destroying streams. Who needs one of these calls pause
 * first and resume afterwards. Asynchronous work on other streams goes on beside them.
 */
#ifndef RK_GPU_CUDA_RING_H
#define RK_GPU_CUDA_RING_H

#include <stdint.h>

#include "gpu/base/backend.h"
#include "gpu/cuda/dl.h"

struct rk_cuda_device;
struct rk_rings; /* all of a backend */
struct rk_cuda_ring;

/*
 * Returns 0 or -ENOMEM. @device is borrowed, for rk_cuda_fail(). Its context is current in the
 * calling thread wherever functions of this header are called.
 */
int rk_rings_create(struct rk_rings **rings, struct rk_cuda_device *device, uint64_t idle_ms,
		    struct rk_error *err);

/* Every ring is closed. */
void rk_rings_destroy(struct rk_rings *rings);

/*
 * Raise the flag on every resident kernel and wait until none is on the device. Blocks as long as
 * the message that one is running takes; the daemon ends a worker in which that is for ever. Until
 * resume no kernel becomes resident. Threads that pause at the same time come one after the other;
 * not recursive. A pause also waits for the messages that the one before kept from being run: who
 * calls this holds nothing that the thread of a message may need.
 */
void rk_rings_pause(struct rk_rings *rings);
void rk_rings_resume(struct rk_rings *rings);

/*
 * A new instance of the entry @function of a loaded module, with state of load->state_bytes zeroes
 * on the device (part of gpu_memory_bytes through memory->alloc), launched with load->block in one
 * block, which is within what the function and the device allow. It has a stream of its own. To be
 * called between pause and resume; a first launch shows whether the function is a resident kernel.
 * *@ring belongs to the caller. Returns 0, -ENOMEM, -EIO (it does not keep to gpu/kernels/ring.h),
 * or -ENOTSUP where such a block finds no room on a multiprocessor.
 */
struct rk_ring_memory {
	/* Device memory for the state, as the backend's settings have it. 0 or a negative errno. */
	int (*alloc)(void *ctx, uint64_t bytes, CUdeviceptr *at, struct rk_error *err);
	void (*free)(void *ctx, CUdeviceptr at, uint64_t bytes);
	void *ctx;
};
int rk_ring_open(struct rk_rings *rings, CUfunction function, const struct rk_wire_load *load,
		 const struct rk_ring_memory *memory, struct rk_cuda_ring **ring,
		 struct rk_error *err);

/* Between pause and resume, as no message of it runs. */
void rk_ring_close(struct rk_cuda_ring *ring);

/*
 * Run one message: copy its buffers to pinned memory that the device reads and writes in place,
 * post it, launch the kernel where it is not resident, wait for the answer, copy outputs, and the
 * guard bytes of outputs and scratch, back. One at a time. As struct rk_backend_ops.run. Larger
 * messages than before make the pinned memory grow, under a pause of its own; it stays so until
 * close. @run_ns is from the post to the answer. -EIO: the kernel returns time and again without
 * taking the message.
 */
int rk_ring_run(struct rk_cuda_ring *ring, const struct rk_backend_run *run, uint64_t *run_ns,
		struct rk_error *err);

#endif
