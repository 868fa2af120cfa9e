/* SPDX-License-Identifier: MIT */
/*
 * All resident kernels (mode = ring) of the device, for callers who need a while without any.
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

#include "gpu/cuda/device.h"

struct rk_rings;

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
