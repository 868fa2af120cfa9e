/* SPDX-License-Identifier: MIT */
/*
 * Resident kernels (mode = ring) of the device, for callers who need a while without any.
 *
 * While one is on the device nothing may be called that waits for the whole context, or it would
 * wait for ever: cuMemAlloc, cuMemFree, cuMemHostAlloc, cuMemFreeHost, loading and unloading of
 * modules, cuMemPoolTrimTo, creating and destroying streams. Whoever needs one of these calls
 * pauses first and resumes afterwards. Asynchronous work on other streams goes on beside resident
 * kernels.
 *
 * The context is current in the calling thread wherever functions of this header are called.
 */
#ifndef RK_GPU_CUDA_RINGS_H
#define RK_GPU_CUDA_RINGS_H

#include <stdint.h>

#include "gpu/base/backend.h"
#include "gpu/cuda/device.h"

/*
 * ring.c, ring_open.c: one resident kernel on CUDA, which is the host's side of
 * gpu/kernels/ring.h.
 */

struct rk_cuda_memory;
struct rk_cuda_ring;
struct rk_rings;

/*
 * Make a resident kernel of @function, which is an entry of a loaded module. Its state is
 * load->state_bytes zeroes on the device, from @memory. It is launched in one block of load->block,
 * which is within what the function and the device allow, on a stream of its own. To be called
 * between pause and resume; a first launch shows whether the function is a resident kernel. *@ring
 * belongs to the caller. Returns 0; -ENOMEM; -EIO: it does not keep to gpu/kernels/ring.h;
 * -ENOTSUP: such a block finds no room on a multiprocessor.
 */
int rk_ring_open(struct rk_rings *rings, struct rk_cuda_memory *memory, CUfunction function,
		 const struct rk_wire_load *load, struct rk_cuda_ring **ring, struct rk_error *err);

/* Between pause and resume, while no message of it runs. */
void rk_ring_close(struct rk_cuda_ring *ring);

/*
 * Run one message, as struct rk_backend_ops.run does: copy its buffers to pinned memory that the
 * device reads and writes in place, post it, launch the kernel where it is not resident, wait for
 * the answer, and copy outputs, and the guard bytes of outputs and scratch, back. One at a time.
 * Where a message is larger than any before, the pinned memory grows, under a pause of its own, and
 * stays so until close. @run_ns is the time from the post to the answer. -EIO: the kernel returns
 * time and again without taking the message.
 */
int rk_ring_run(struct rk_cuda_ring *ring, const struct rk_backend_run *run, uint64_t *run_ns,
		struct rk_error *err);

/* rings.c: all of them. */

/*
 * Create the set, with no ring in it. @device is borrowed, for rk_cuda_fail(). Returns 0 or
 * -ENOMEM.
 */
int rk_rings_create(struct rk_rings **rings, struct rk_cuda_device *device, uint64_t idle_ms,
		    struct rk_error *err);

/* Every ring is closed; NULL is fine. */
void rk_rings_destroy(struct rk_rings *rings);

/*
 * Raise the flag on every resident kernel and wait until none is on the device. Blocks for as long
 * as the message that one is running takes; the daemon ends a worker in which that is for ever.
 * Until resume no kernel becomes resident. Threads that pause at the same time come one after the
 * other; a thread cannot pause twice. A pause also waits for the messages that the one before kept
 * from being run, so the caller holds nothing that the thread of a message may need.
 */
void rk_rings_pause(struct rk_rings *rings);
void rk_rings_resume(struct rk_rings *rings);

#endif
