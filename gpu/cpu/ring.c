/* SPDX-License-Identifier: MIT */
/* A kernel of mode ring on the CPU: its thread, its state, and the messages that wait for it. */
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpu/base/crash.h"
#include "gpu/base/packet.h"
#include "gpu/base/thread.h"
#include "gpu/cpu/internal.h"
#include "runtime/base/log.h"
#include "runtime/base/thread.h"

#define STATE_ALIGN 64

/* A call of rk_cpu_ring_run, on its caller's stack. */
struct job {
	STAILQ_ENTRY(job) link;
	uint64_t message;
	rk_cpu_ring_fn *fn;
	void *ctx;
	bool done;
};

struct rk_cpu_ring {
	pthread_t thread;
	uint32_t number;
	void *memory; /* state is in it */
	void *state;  /* for the thread alone; NULL: none */
	pthread_mutex_t lock;
	pthread_cond_t posted, answered;
	STAILQ_HEAD(, job) jobs; /* guarded by lock, as is what follows */
	bool stopping;
};

static void *ring_main(void *arg)
{
	struct rk_cpu_ring *ring = arg;
	struct job *job;

	rk_thread_name("rk-ring-%" PRIu32, ring->number % 1000000);
	rk_crash_thread_begin();
	pthread_mutex_lock(&ring->lock);
	for (;;) {
		job = STAILQ_FIRST(&ring->jobs);
		if (!job && ring->stopping)
			break;
		if (!job) {
			pthread_cond_wait(&ring->posted, &ring->lock);
			continue;
		}
		STAILQ_REMOVE_HEAD(&ring->jobs, link);
		pthread_mutex_unlock(&ring->lock);
		rk_crash_enter(job->message);
		job->fn(job->ctx, ring->state);
		rk_crash_leave();
		pthread_mutex_lock(&ring->lock);
		job->done = true;
		pthread_cond_broadcast(&ring->answered);
	}
	pthread_mutex_unlock(&ring->lock);
	rk_crash_thread_end();
	return NULL;
}

/*
 * Returns 0 or -ENOMEM. Not by aligned_alloc, because calloc does not touch the pages of a large
 * state.
 */
static int allocate_state(struct rk_cpu_ring *ring, uint64_t bytes)
{
	if (bytes == 0)
		return 0;
	if (bytes > PTRDIFF_MAX - STATE_ALIGN)
		return -ENOMEM;
	ring->memory = calloc(1, bytes + STATE_ALIGN - 1);
	if (!ring->memory)
		return -ENOMEM;
	ring->state = (void *)(((uintptr_t)ring->memory + STATE_ALIGN - 1) &
			       ~(uintptr_t)(STATE_ALIGN - 1));
	return 0;
}

static void free_ring(struct rk_cpu_ring *ring)
{
	pthread_cond_destroy(&ring->answered);
	pthread_cond_destroy(&ring->posted);
	pthread_mutex_destroy(&ring->lock);
	free(ring->memory);
	free(ring);
}

int rk_cpu_ring_start(struct rk_cpu_ring **ring, uint32_t number, uint64_t state_bytes,
		      struct rk_error *err)
{
	struct rk_cpu_ring *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return rk_error_set(err, ENOMEM, "no memory for a resident kernel");
	r->number = number;
	pthread_mutex_init(&r->lock, NULL); /* with no attributes these three cannot fail */
	pthread_cond_init(&r->posted, NULL);
	pthread_cond_init(&r->answered, NULL);
	STAILQ_INIT(&r->jobs);
	rc = allocate_state(r, state_bytes);
	if (rc) {
		rk_error_set(err, -rc, "no memory for its state of %" PRIu64 " bytes", state_bytes);
	} else {
		rc = -pthread_create(&r->thread, NULL, ring_main, r);
		if (rc)
			rk_error_set(err, -rc, "cannot start its thread: %m");
	}
	if (rc) {
		free_ring(r);
		return rc;
	}
	*ring = r;
	return 0;
}

void rk_cpu_ring_run(struct rk_cpu_ring *ring, uint64_t message, rk_cpu_ring_fn *fn, void *ctx)
{
	struct job job = {.message = message, .fn = fn, .ctx = ctx};

	RK_GUARD(&ring->lock);
	STAILQ_INSERT_TAIL(&ring->jobs, &job, link);
	pthread_cond_signal(&ring->posted);
	while (!job.done)
		pthread_cond_wait(&ring->answered, &ring->lock);
}

void rk_cpu_ring_stop(struct rk_cpu_ring *ring)
{
	int rc;

	pthread_mutex_lock(&ring->lock);
	ring->stopping = true;
	pthread_cond_signal(&ring->posted);
	pthread_mutex_unlock(&ring->lock);
	rc = pthread_join(ring->thread, NULL);
	if (rc) {
		rk_log(RK_LOG_ERROR, "rk-worker: cannot stop the thread of a ring kernel: %s",
		       strerror(rc));
		_exit(RK_WORKER_EXIT_FAILURE);
	}
	free_ring(ring);
}
