/* SPDX-License-Identifier: MIT */
/*
 * When resident kernels are on the device: they are launched for a message, and driven off by a
 * pause.
 *
 * Launches and pauses exclude each other by rings.lock: a launch is made only while nobody has
 * paused, and a pause raises the flags of all kernels that were launched before it.
 *
 * A message that a pause found without an answer may have to be posted to a new launch, and the
 * next pause would drive that off again. So pauses wait for these messages (`hungry`): each message
 * is driven off once at most.
 */
#include "gpu/cuda/rings.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "gpu/base/crash.h"
#include "gpu/cuda/ring_internal.h"
#include "runtime/base/clock.h"

#define SPIN_NS	   20000ULL /* an answer mostly comes sooner than a sleeper would wake */
#define YIELDS	   16
#define NAP_MIN_NS 2000L
#define NAP_MAX_NS 50000L
#define QUERY_NAPS 16 /* naps between two looks at whether the kernel is still alive */

/* --- waiting ------------------------------------------------------------------------ */

struct rk_patience rk_patience_begin(void)
{
	return (struct rk_patience){.since = rk_now_ns(), .nap_ns = NAP_MIN_NS};
}

void rk_patience_wait(struct rk_patience *p)
{
	struct timespec nap = {.tv_nsec = p->nap_ns};

	if (!p->naps && !p->yields && rk_now_ns() - p->since < SPIN_NS)
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
 * Whether the stream is empty. Where the driver cannot tell, nothing is known any more of what the
 * kernel does with the memory, and the process ends.
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

bool rk_ring_has_left(struct rk_cuda_ring *ring, const struct rk_patience *p)
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
	CUresult result = rk_cu.cuLaunchKernel(ring->function, 1, 1, 1, ring->block[0],
					       ring->block[1], ring->block[2], ring->shared_bytes,
					       ring->stream, params, NULL);

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

int rk_ring_post(struct rk_cuda_ring *ring, struct rk_error *err)
{
	struct rk_rings *rings = ring->rings;
	int rc = 0;

	ring->tries = 0;
	RK_GUARD(&rings->lock);
	ring->posted = true;
	__atomic_store_n(&rk_ring_slot_of(ring)->request, ring->next + 1, __ATOMIC_RELEASE);
	if (rings->paused)
		make_hungry_locked(ring);
	else if (!ring->resident || rk_ring_said_goodbye(ring))
		rc = rk_ring_launch(ring, err);
	return rc;
}

int rk_ring_launch_again(struct rk_cuda_ring *ring, struct rk_error *err)
{
	struct rk_rings *rings = ring->rings;

	RK_GUARD(&rings->lock);
	while (rings->paused)
		pthread_cond_wait(&rings->changed, &rings->lock);
	return rk_ring_launch(ring, err);
}

void rk_ring_settle(struct rk_cuda_ring *ring, bool done)
{
	struct rk_rings *rings = ring->rings;

	RK_GUARD(&rings->lock);
	if (done)
		ring->next++;
	ring->posted = false;
	if (ring->hungry) {
		ring->hungry = false;
		if (--rings->hungry == 0)
			pthread_cond_broadcast(&rings->changed);
	}
}

void rk_ring_see_off(struct rk_cuda_ring *ring)
{
	struct rk_patience p = rk_patience_begin();

	while (!rk_ring_has_left(ring, &p) || !stream_empty(ring))
		rk_patience_wait(&p);
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
	/* until resume nobody else changes the list, or launches a kernel of it */
	LIST_FOREACH(ring, &rings->list, link)
	{
		if (ring->resident)
			rk_ring_see_off(ring);
	}
}

void rk_rings_resume(struct rk_rings *rings)
{
	struct rk_cuda_ring *ring;

	RK_GUARD(&rings->lock);
	LIST_FOREACH(ring, &rings->list, link)
	__atomic_store_n(&ring->shared->quiesce, 0, __ATOMIC_RELEASE);
	rings->paused = false;
	rings->serving++;
	pthread_cond_broadcast(&rings->changed);
}

int rk_rings_create(struct rk_rings **rings, struct rk_cuda_device *device, uint64_t idle_ms,
		    struct rk_error *err)
{
	struct rk_rings *r = calloc(1, sizeof(*r));

	if (!r)
		return rk_error_set(err, ENOMEM, "no memory for the set of resident kernels");
	r->device = device;
	r->idle_ns = idle_ms < UINT64_MAX / RK_NS_PER_MS ? idle_ms * RK_NS_PER_MS : UINT64_MAX;
	LIST_INIT(&r->list);
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	*rings = r;
	return 0;
}

void rk_rings_destroy(struct rk_rings *rings)
{
	if (!rings)
		return;
	pthread_cond_destroy(&rings->changed);
	pthread_mutex_destroy(&rings->lock);
	free(rings);
}
