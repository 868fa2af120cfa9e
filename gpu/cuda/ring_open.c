/* SPDX-License-Identifier: MIT */
/* Opening and closing a resident kernel: its memory, its stream, and a launch to try it out. */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/cuda/internal.h"
#include "gpu/cuda/ring_internal.h"

#define DATA_MIN (64ULL * 1024) /* pinned for messages from the start */

static_assert(RK_RING_ARGS == RK_WIRE_ARGS_MAX, "gpu/kernels/ring.h has room for every argument");

static int check_block(const struct rk_cuda_ring *ring, struct rk_error *err)
{
	int threads = (int)(ring->block[0] * ring->block[1] * ring->block[2]), fit = 0;
	CUresult result = rk_cu.cuOccupancyMaxActiveBlocksPerMultiprocessor(
		&fit, ring->function, threads, ring->shared_bytes);

	if (result != CUDA_SUCCESS)
		return rk_cuda_fail(ring->rings->device, result, err,
				    "kernel %s: cuOccupancyMaxActiveBlocksPerMultiprocessor",
				    ring->id);
	if (fit > 0)
		return 0;
	return rk_error_set(err, ENOTSUP,
			    "kernel %s: a block of %d threads with %" PRIu32 " bytes of shared "
			    "memory does not fit the device",
			    ring->id, threads, ring->shared_bytes);
}

static int zero_state(const struct rk_cuda_ring *ring, struct rk_error *err)
{
	CUresult result;

	if (!ring->state_bytes)
		return 0;
	result = rk_cu.cuMemsetD8Async(ring->state, 0, ring->state_bytes, ring->stream);
	if (result == CUDA_SUCCESS)
		return 0;
	return rk_cuda_fail(ring->rings->device, result, err, "kernel %s: cuMemsetD8Async",
			    ring->id);
}

/*
 * Launch the kernel for a first time. It leaves at once, as the flag is raised. Beside another
 * resident kernel a first launch might wait for ever, because the driver may need more local memory
 * for it; and a kernel that knows nothing of the ring is found out before there are messages.
 */
static int try_out(struct rk_cuda_ring *ring, struct rk_error *err)
{
	int rc;

	__atomic_store_n(&ring->shared->quiesce, 1, __ATOMIC_RELEASE);
	rc = zero_state(ring, err);
	if (rc == 0)
		rc = rk_ring_launch(ring, err);
	/* even after a failure the memory is in use until then */
	rk_ring_see_off(ring);
	__atomic_store_n(&ring->shared->quiesce, 0, __ATOMIC_RELEASE);
	if (rc)
		return rc;
	return rk_ring_said_goodbye(ring) ? 0 : rk_ring_stranger(ring, err);
}

static int furnish(struct rk_cuda_ring *ring, uint64_t state_bytes, struct rk_error *err)
{
	void *at;
	int rc = rk_cuda_stream_urgent(ring->rings->device, &ring->stream, err);

	if (rc)
		return rk_error_prefix(err, "kernel %s", ring->id);
	rc = rk_ring_pin(ring, sizeof(*ring->shared), &at, &ring->shared_device, err);
	if (rc)
		return rc;
	ring->shared = memset(at, 0, sizeof(*ring->shared));
	ring->shared->version = RK_RING_VERSION;
	ring->shared->idle_ns = ring->rings->idle_ns;
	ring->shared->nargs = ring->nparams;
	rc = rk_ring_pin(ring, DATA_MIN, &at, &ring->data_device, err);
	if (rc)
		return rc;
	ring->data = at;
	ring->data_bytes = DATA_MIN;
	if (state_bytes)
		rc = rk_cuda_memory_alloc(ring->memory, NULL, true, state_bytes, ring->id,
					  &ring->state, err);
	if (rc)
		return rc;
	ring->state_bytes = state_bytes;
	return 0;
}

/* Give back whatever there is of the ring. */
static void give_back(struct rk_cuda_ring *ring)
{
	struct rk_cuda_device *device = ring->rings->device;

	if (ring->state_bytes)
		rk_cuda_memory_free(ring->memory, NULL, true, ring->state, ring->state_bytes);
	rk_ring_unpin(ring, ring->data);
	rk_ring_unpin(ring, ring->shared);
	if (ring->stream)
		rk_cuda_release(device, rk_cu.cuStreamDestroy(ring->stream), "cuStreamDestroy");
	free(ring);
}

int rk_ring_open(struct rk_rings *rings, struct rk_cuda_memory *memory, CUfunction function,
		 const struct rk_wire_load *load, struct rk_cuda_ring **ring, struct rk_error *err)
{
	struct rk_cuda_ring *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return rk_error_set(err, ENOMEM, "kernel %s: no memory", load->id);
	r->rings = rings;
	memcpy(r->id, load->id, sizeof(r->id));
	r->function = function;
	r->nparams = load->nparams;
	memcpy(r->params, load->params, sizeof(r->params));
	memcpy(r->block, load->block, sizeof(r->block));
	r->shared_bytes = load->shared_bytes;
	r->memory = memory;
	rc = check_block(r, err);
	if (rc == 0)
		rc = furnish(r, load->state_bytes, err);
	if (rc == 0)
		rc = try_out(r, err);
	if (rc) {
		give_back(r);
		return rc;
	}
	LIST_INSERT_HEAD(&rings->list, r, link);
	*ring = r;
	return 0;
}

void rk_ring_close(struct rk_cuda_ring *ring)
{
	LIST_REMOVE(ring, link);
	give_back(ring);
}
