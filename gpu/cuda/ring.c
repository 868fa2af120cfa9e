/* SPDX-License-Identifier: MIT */
/*
 * Messages of a resident kernel: copied to pinned memory, posted, answered, copied back.
 *
 * A kernel may leave the device at any time, for want of messages, just as one is posted. So
 * whoever waits for an answer also watches `exited`, and launches a kernel again that has left
 * without one. There is no other race: an answer is stored before `exited`, and a launch reads its
 * first message after.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "gpu/base/backend.h"
#include "gpu/cuda/ring_internal.h"
#include "runtime/base/clock.h"

#define LAUNCHES_MAX 4 /* for one message; a sound kernel can need two */
#define DATA_ALIGN   256

/* --- pinned memory ------------------------------------------------------------------ */

int rk_ring_pin(const struct rk_cuda_ring *ring, uint64_t bytes, void **host, CUdeviceptr *device,
		struct rk_error *err)
{
	struct rk_cuda_device *dev = ring->rings->device;
	void *at = NULL;
	CUresult result = rk_cu.cuMemHostAlloc(
		&at, bytes, CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP);

	if (result != CUDA_SUCCESS)
		return rk_cuda_fail(dev, result, err,
				    "kernel %s: cannot pin %" PRIu64 " bytes of memory", ring->id,
				    bytes);
	result = rk_cu.cuMemHostGetDevicePointer(device, at, 0);
	if (result != CUDA_SUCCESS) {
		rk_ring_unpin(ring, at);
		return rk_cuda_fail(dev, result, err, "kernel %s: cuMemHostGetDevicePointer",
				    ring->id);
	}
	*host = at;
	return 0;
}

void rk_ring_unpin(const struct rk_cuda_ring *ring, void *host)
{
	if (host)
		rk_cuda_release(ring->rings->device, rk_cu.cuMemFreeHost(host), "cuMemFreeHost");
}

/* --- messages ----------------------------------------------------------------------- */

int rk_ring_stranger(const struct rk_cuda_ring *ring, struct rk_error *err)
{
	if (!rk_ring_said_goodbye(ring))
		return rk_error_set(err, EIO,
				    "kernel %s: the resident kernel returns without taking "
				    "messages; was it built with another ring.cuh?",
				    ring->id);
	return rk_error_set(err, EIO,
			    "kernel %s: the resident kernel returns without taking messages; does "
			    "its function have as many parameters as args, %" PRIu32 "?",
			    ring->id, ring->nparams);
}

/* Where the buffers of a message lie in ring->data. Returns how large that must be. */
static uint64_t lay_out(const struct rk_cuda_ring *ring, const struct rk_backend_arg *args,
			uint64_t *offsets)
{
	uint64_t at = 0;

	/* no overflow: all of them lie in the payload */
	for (uint32_t i = 0; i < ring->nparams; i++) {
		if (!rk_param_is_buffer(&ring->params[i]))
			continue;
		offsets[i] = at;
		at += args[i].bytes + rk_param_guard(&ring->params[i]);
		at = (at + DATA_ALIGN - 1) / DATA_ALIGN * DATA_ALIGN;
	}
	return at;
}

/* Between pause and resume. Where no more memory can be had, the old memory stays. */
static int grow(struct rk_cuda_ring *ring, uint64_t bytes, struct rk_error *err)
{
	CUdeviceptr device;
	void *data;
	int rc = rk_ring_pin(ring, bytes, &data, &device, err);

	if (rc)
		return rc;
	rk_ring_unpin(ring, ring->data);
	ring->data = data;
	ring->data_device = device;
	ring->data_bytes = bytes;
	return 0;
}

/*
 * Make room for @need bytes. The memory doubles, so that messages which grow slowly do not pause
 * all others each time.
 */
static int reserve(struct rk_cuda_ring *ring, uint64_t need, struct rk_error *err)
{
	uint64_t comfortable = 2 * ring->data_bytes;
	int rc = -ENOMEM;

	if (need <= ring->data_bytes)
		return 0;
	rk_rings_pause(ring->rings);
	if (need < comfortable)
		rc = grow(ring, comfortable, err);
	if (rc == -ENOMEM)
		rc = grow(ring, need, err);
	rk_rings_resume(ring->rings);
	return rc;
}

static void copy_in(struct rk_cuda_ring *ring, const struct rk_backend_arg *args,
		    const uint64_t *offsets, struct rk_ring_slot *slot)
{
	for (uint32_t i = 0; i < ring->nparams; i++) {
		const struct rk_wire_param *param = &ring->params[i];

		if (rk_param_is_buffer(param)) {
			memcpy(ring->data + offsets[i], args[i].buffer,
			       args[i].bytes + rk_param_guard(param));
			slot->args[i] = ring->data_device + offsets[i];
		} else {
			slot->args[i] =
				param->kind == RK_WIRE_ARG_STATE ? ring->state : args[i].value;
		}
	}
}

/* What a kernel leaves in scratch is of no interest, but for the guard bytes. */
static void copy_out(const struct rk_cuda_ring *ring, const struct rk_backend_arg *args,
		     const uint64_t *offsets)
{
	for (uint32_t i = 0; i < ring->nparams; i++) {
		const struct rk_wire_param *param = &ring->params[i];
		uint64_t skip = param->kind == RK_WIRE_ARG_SCRATCH ? args[i].bytes : 0;

		if (rk_param_guard(param))
			memcpy((uint8_t *)args[i].buffer + skip, ring->data + offsets[i] + skip,
			       args[i].bytes - skip + rk_param_guard(param));
	}
}

static bool answered(const struct rk_cuda_ring *ring)
{
	const uint64_t *answer = &ring->shared->answers[ring->next % RK_RING_SLOTS];

	return __atomic_load_n(answer, __ATOMIC_ACQUIRE) == ring->next + 1;
}

static int await(struct rk_cuda_ring *ring, struct rk_error *err)
{
	struct rk_patience p = rk_patience_begin();
	int rc;

	for (; !answered(ring); rk_patience_wait(&p)) {
		/* in this order, because it may have answered and left since the first look */
		if (!rk_ring_has_left(ring, &p) || answered(ring))
			continue;
		if (ring->tries >= LAUNCHES_MAX)
			return rk_ring_stranger(ring, err);
		rc = rk_ring_launch_again(ring, err);
		if (rc)
			return rc;
		p = rk_patience_begin();
	}
	return 0;
}

int rk_ring_run(struct rk_cuda_ring *ring, const struct rk_backend_run *run, uint64_t *run_ns,
		struct rk_error *err)
{
	uint64_t offsets[RK_WIRE_ARGS_MAX] = {0};
	uint64_t begin, end;
	int rc = reserve(ring, lay_out(ring, run->args, offsets), err);

	if (rc)
		return rc;
	copy_in(ring, run->args, offsets, rk_ring_slot_of(ring));
	begin = rk_now_ns();
	rc = rk_ring_post(ring, err);
	if (rc == 0)
		rc = await(ring, err);
	end = rk_now_ns();
	rk_ring_settle(ring, rc == 0);
	if (rc)
		return rc;
	copy_out(ring, run->args, offsets);
	*run_ns = end - begin;
	return 0;
}
