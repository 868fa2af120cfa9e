/* SPDX-License-Identifier: MIT */
/*
 * One resident kernel (mode = ring) on CUDA: the host's side of gpu/kernels/ring.h. The context is
 * current in the calling thread wherever functions of this header are called.
 */
#ifndef RK_GPU_CUDA_RING_H
#define RK_GPU_CUDA_RING_H

#include <stdint.h>

#include "gpu/base/backend.h"
#include "gpu/cuda/dl.h"

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

#endif
