// SPDX-License-Identifier: MIT
/*
 * Who launches and who pauses exclude each other by rings.lock: a launch is made only while nobody
 * has paused, and a pause raises the flags of all kernels that were launched before it.
 *
 * A kernel may leave the device at any time, for want of messages, just as one is posted. So who
 * waits for an answer also watches `exited`, and launches again what has left without one. There is
 * no other race: an answer is stored before `exited`, and a launch reads its first message after.
 *
 * A message that a pause found without an answer may have to be posted to a new launch, and the
 * next pause would drive that off again. So pauses wait for these messages (`hungry`): each
 * message is driven off once at most.
 */
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gpu/base/fatal.h"
#include "gpu/cuda/ring_internal.h"

#define NSEC_PER_SEC  1000000000ULL
#define NSEC_PER_MSEC 1000000ULL

#define SPIN_NS	     20000ULL /* an answer mostly comes sooner than a sleeper would wake */
#define YIELDS	     16
#define NAP_MIN_NS   2000L
#define NAP_MAX_NS   50000L
#define QUERY_NAPS   16 /* naps between two looks at whether the kernel is still alive */
#define LAUNCHES_MAX 4	/* for one message; two is what a sound kernel can need */
#define DATA_ALIGN   256

/* --- waiting ------------------------------------------------------------------------ */

struct patience {
	uint64_t since;
	unsigned int yields, naps;
	long nap_ns;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NSEC_PER_SEC + (uint64_t)now.tv_nsec;
}

static struct patience patience_begin(void)
{
	return (struct patience){.since = now_ns(), .nap_ns = NAP_MIN_NS};
}

/* Between two looks at memory that the device writes: longer each time, up to a bound. */
static void patience_wait(struct patience *p)
{
	struct timespec nap = {.tv_nsec = p->nap_ns};

	if (!p->naps && !p->yields && now_ns() - p->since < SPIN_NS)
		return;
	if (p->yields < YIELDS) {
		p->yields++;
		sched_yield();
		return;
	}
	nanosleep(&nap, NULL); /* a signal that ends it early does no harm */
	p->naps++;
	p->nap_ns = 2 * p->nap_ns < NAP_MAX_NS ? 2 * p->nap_ns : NAP_MAX_NS;
}

/*
 * Whether the stream is empty. That it cannot be told, for whatever reason, means that nothing is
 * known any more of what the kernel does with the memory.
 */
static bool stream_empty(struct rk_cuda_ring *ring)
{
	CUresult result = rk_cu.cuStreamQuery(ring->stream);
	struct rk_cuda_device *device = ring->rings->device;
	struct rk_error err;

	if (result == CUDA_SUCCESS)
		return true;
	if (result == CUDA_ERROR_NOT_READY)
		return false;
	rk_cuda_fail(device, result, &err, "kernel %s, resident", ring->id);
	rk_fatal(device->shared, RK_WIRE_STICKY, 0, "%s", err.msg);
}

bool rk_ring_said_goodbye(const struct rk_cuda_ring *ring)
{
	return __atomic_load_n(&ring->shared->exited, __ATOMIC_ACQUIRE) == ring->launches;
}

/* Whether the last launch is over, by its word or the driver's, who is asked now and then. */
static bool has_left(struct rk_cuda_ring *ring, const struct patience *p)
{
	return rk_ring_said_goodbye(ring) || (p->naps % QUERY_NAPS == 1 && stream_empty(ring));
}

/* --- launch and pause --------------------------------------------------------------- */

int rk_ring_launch(struct rk_cuda_ring *ring, struct rk_error *err)
{
	uint64_t number = ring->launches + 1, nothing = 0;
	/* a function that is no ring kernel may have more parameters than these three */
	void *params[RK_WIRE_ARGS_MAX] = {&ring->shared_device, &number, &ring->next,
					  [3 ... RK_WIRE_ARGS_MAX - 1] = &nothing};
	CUresult result;

	result = rk_cu.cuLaunchKernel(ring->function, 1, 1, 1, ring->block[0], ring->block[1],
				      ring->block[2], ring->shared_bytes, ring->stream, params,
				      NULL);
	if (result != CUDA_SUCCESS)
		return rk_cuda_fail(ring->rings->device, result, err, "kernel %s: cuLaunchKernel",
				    ring->id);
	ring->launches = number;
	ring->tries++;
	ring->resident = true;
	return 0;
}

static void make_hungry_locked(struct rk_cuda_ring *ring)
{
	if (ring->hungry)
		return;
	ring->hungry = true;
	ring->rings->hungry++;
}

void rk_ring_see_off(struct rk_cuda_ring *ring)
{
	struct patience p = patience_begin();

	while (!has_left(ring, &p) || !stream_empty(ring))
		patience_wait(&p);
	ring->resident = false;
}

void rk_rings_pause(struct rk_rings *rings)
{
	struct rk_cuda_ring *ring;
	uint64_t ticket;

	pthread_mutex_lock(&rings->lock);
	ticket = rings->tickets++;
	while (rings->serving != ticket || rings->hungry)
		pthread_cond_wait(&rings->changed, &rings->lock);
	rings->paused = true;
	LIST_FOREACH(ring, &rings->list, link)
	{
		__atomic_store_n(&ring->shared->quiesce, 1, __ATOMIC_RELEASE);
		if (ring->posted)
			make_hungry_locked(ring);
	}
	pthread_mutex_unlock(&rings->lock);
	/* until resume nobody else changes the list, or what is said there of launches */
	LIST_FOREACH(ring, &rings->list, link)
	{
		if (ring->resident)
			rk_ring_see_off(ring);
	}
}

void rk_rings_resume(struct rk_rings *rings)
{
	struct rk_cuda_ring *ring;

	pthread_mutex_lock(&rings->lock);
	LIST_FOREACH(ring, &rings->list, link)
	__atomic_store_n(&ring->shared->quiesce, 0, __ATOMIC_RELEASE);
	rings->paused = false;
	rings->serving++;
	pthread_cond_broadcast(&rings->changed);
	pthread_mutex_unlock(&rings->lock);
}

int rk_rings_create(struct rk_rings **rings, struct rk_cuda_device *device, uint64_t idle_ms,
		    struct rk_error *err)
{
	struct rk_rings *r = calloc(1, sizeof(*r));

	if (!r)
		return rk_error_set(err, ENOMEM, "no memory");
	r->device = device;
	r->idle_ns = idle_ms < UINT64_MAX / NSEC_PER_MSEC ? idle_ms * NSEC_PER_MSEC : UINT64_MAX;
	LIST_INIT(&r->list);
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	*rings = r;
	return 0;
}

void rk_rings_destroy(struct rk_rings *rings)
{
	pthread_cond_destroy(&rings->changed);
	pthread_mutex_destroy(&rings->lock);
	free(rings);
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
			    "kernel %s: the resident kernel returns without taking messages; has "
			    "its function as many parameters as args, %" PRIu32 "?",
			    ring->id, ring->nparams);
}

static bool is_buffer(const struct rk_wire_param *param)
{
	return param->kind == RK_WIRE_ARG_INPUT || param->kind == RK_WIRE_ARG_OUTPUT ||
	       param->kind == RK_WIRE_ARG_SCRATCH;
}

/* Bytes behind a buffer that tell of a kernel that writes too far. */
static uint64_t guard_of(const struct rk_wire_param *param)
{
	return param->kind == RK_WIRE_ARG_INPUT ? 0 : RK_WIRE_GUARD;
}

/* Where the buffers of a message lie in ring->data. Returns how large that must be. */
static uint64_t lay_out(const struct rk_cuda_ring *ring, const struct rk_backend_arg *args,
			uint64_t *offsets)
{
	uint64_t at = 0;

	/* no overflow: all of them lie in the payload */
	for (uint32_t i = 0; i < ring->nparams; i++) {
		if (!is_buffer(&ring->params[i]))
			continue;
		offsets[i] = at;
		at += args[i].bytes + guard_of(&ring->params[i]);
		at = (at + DATA_ALIGN - 1) / DATA_ALIGN * DATA_ALIGN;
	}
	return at;
}

/* Between pause and resume. What there was stays where there can be no more. */
static int grow(struct rk_cuda_ring *ring, uint64_t bytes, struct rk_error *err)
{
	CUdeviceptr device;
	void *data;
	int rc;

	rc = rk_ring_pin(ring, bytes, &data, &device, err);
	if (rc)
		return rc;
	rk_ring_unpin(ring, ring->data);
	ring->data = data;
	ring->data_device = device;
	ring->data_bytes = bytes;
	return 0;
}

/* Twice as large each time, so that messages that grow slowly do not pause all others each. */
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

		if (is_buffer(param)) {
			memcpy(ring->data + offsets[i], args[i].buffer,
			       args[i].bytes + guard_of(param));
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

		if (is_buffer(param) && guard_of(param))
			memcpy((uint8_t *)args[i].buffer + skip, ring->data + offsets[i] + skip,
			       args[i].bytes - skip + guard_of(param));
	}
}

static struct rk_ring_slot *slot_of(const struct rk_cuda_ring *ring)
{
	return &ring->shared->slots[ring->next % RK_RING_SLOTS];
}

/* The message is in its slot: tell the kernel, and launch it where it has left. */
static int post(struct rk_cuda_ring *ring, struct rk_error *err)
{
	struct rk_rings *rings = ring->rings;
	int rc = 0;

	ring->tries = 0;
	pthread_mutex_lock(&rings->lock);
	ring->posted = true;
	__atomic_store_n(&slot_of(ring)->request, ring->next + 1, __ATOMIC_RELEASE);
	if (rings->paused)
		make_hungry_locked(ring);
	else if (!ring->resident || rk_ring_said_goodbye(ring))
		rc = rk_ring_launch(ring, err);
	pthread_mutex_unlock(&rings->lock);
	return rc;
}

/* The kernel has left without an answer. */
static int launch_again(struct rk_cuda_ring *ring, struct rk_error *err)
{
	struct rk_rings *rings = ring->rings;
	int rc;

	if (ring->tries >= LAUNCHES_MAX)
		return rk_ring_stranger(ring, err);
	pthread_mutex_lock(&rings->lock);
	while (rings->paused)
		pthread_cond_wait(&rings->changed, &rings->lock);
	rc = rk_ring_launch(ring, err);
	pthread_mutex_unlock(&rings->lock);
	return rc;
}

static bool answered(const struct rk_cuda_ring *ring)
{
	const uint64_t *answer = &ring->shared->answers[ring->next % RK_RING_SLOTS];

	return __atomic_load_n(answer, __ATOMIC_ACQUIRE) == ring->next + 1;
}

static int await(struct rk_cuda_ring *ring, struct rk_error *err)
{
	struct patience p = patience_begin();
	int rc;

	for (; !answered(ring); patience_wait(&p)) {
		/* looked at in this order: it may have answered, and left, since the first look */
		if (!has_left(ring, &p) || answered(ring))
			continue;
		rc = launch_again(ring, err);
		if (rc)
			return rc;
		p = patience_begin();
	}
	return 0;
}

/*
 * The message has its answer, or gets none: then no kernel is there that could still read it, and
 * the next one takes its number.
 */
static void settle(struct rk_cuda_ring *ring, bool done)
{
	struct rk_rings *rings = ring->rings;

	pthread_mutex_lock(&rings->lock);
	if (done)
		ring->next++;
	ring->posted = false;
	if (ring->hungry) {
		ring->hungry = false;
		if (--rings->hungry == 0)
			pthread_cond_broadcast(&rings->changed);
	}
	pthread_mutex_unlock(&rings->lock);
}

int rk_ring_run(struct rk_cuda_ring *ring, const struct rk_backend_run *run, uint64_t *run_ns,
		struct rk_error *err)
{
	uint64_t offsets[RK_WIRE_ARGS_MAX] = {0};
	uint64_t begin, end;
	int rc;

	rc = reserve(ring, lay_out(ring, run->args, offsets), err);
	if (rc)
		return rc;
	copy_in(ring, run->args, offsets, slot_of(ring));
	begin = now_ns();
	rc = post(ring, err);
	if (rc == 0)
		rc = await(ring, err);
	end = now_ns();
	settle(ring, rc == 0);
	if (rc)
		return rc;
	copy_out(ring, run->args, offsets);
	*run_ns = end - begin;
	return 0;
}
