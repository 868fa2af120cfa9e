/* SPDX-License-Identifier: MIT */
/* Loops that several threads share: the pool of helpers, and the loops that have work for them. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "gpu/base/packet.h"
#include "gpu/base/parallel.h"
#include "gpu/base/thread.h"
#include "runtime/base/log.h"
#include "runtime/base/thread.h"
#include "runtime/base/wire.h"

/* One loop. It lies on its caller's stack, and on the list while chunks are left to take. */
struct loop {
	rk_parallel_fn *fn;
	void *ctx;
	uint64_t n;
	uint64_t grain;
	uint64_t next;	      /* element that no chunk taken so far has */
	unsigned int helping; /* helpers in a chunk of it */
	pthread_cond_t done;  /* helping fell to 0 and no chunk is left */
	TAILQ_ENTRY(loop) link;
};

/* All but helpers is guarded by lock. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t work; /* a loop came, a thread left one, or stopping */
	TAILQ_HEAD(, loop) loops;
	unsigned int threads;  /* that may be in loops at once; 0: not started */
	unsigned int active;   /* callers and helpers in loops */
	unsigned int nhelpers; /* started */
	bool stopping;
	pthread_t helpers[RK_WIRE_THREADS_MAX];
} pool = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.work = PTHREAD_COND_INITIALIZER,
	.loops = TAILQ_HEAD_INITIALIZER(pool.loops),
};

static _Thread_local bool inside; /* this thread runs a chunk */

static uint64_t chunk_end(uint64_t n, uint64_t grain, uint64_t begin)
{
	return n - begin <= grain ? n : begin + grain;
}

/* Run the next chunk of @loop, which has one; the lock is given up meanwhile. */
static void run_chunk_locked(struct loop *loop)
{
	uint64_t begin = loop->next, end = chunk_end(loop->n, loop->grain, begin);

	loop->next = end;
	TAILQ_REMOVE(&pool.loops, loop, link);
	if (end <
	    loop->n) /* it goes to the end of the list, so that helpers spread over the loops */
		TAILQ_INSERT_TAIL(&pool.loops, loop, link);
	pthread_mutex_unlock(&pool.lock);
	inside = true;
	loop->fn(loop->ctx, begin, end);
	inside = false;
	pthread_mutex_lock(&pool.lock);
}

static void help_locked(void)
{
	struct loop *loop = TAILQ_FIRST(&pool.loops);

	pool.active++;
	loop->helping++;
	run_chunk_locked(loop);
	loop->helping--;
	pool.active--;
	if (loop->helping == 0 && loop->next == loop->n)
		pthread_cond_signal(&loop->done);
}

static void *helper_main(void *arg)
{
	rk_thread_name("rk-help-%u", (unsigned int)(uintptr_t)arg);
	RK_GUARD(&pool.lock);
	while (!pool.stopping) {
		if (!TAILQ_EMPTY(&pool.loops) && pool.active < pool.threads)
			help_locked();
		else
			pthread_cond_wait(&pool.work, &pool.lock);
	}
	return NULL;
}

void rk_parallel_stop(void)
{
	int rc;

	pthread_mutex_lock(&pool.lock);
	pool.stopping = true;
	pthread_cond_broadcast(&pool.work);
	pthread_mutex_unlock(&pool.lock);
	for (; pool.nhelpers; pool.nhelpers--) {
		rc = pthread_join(pool.helpers[pool.nhelpers - 1], NULL);
		if (rc) {
			rk_log(RK_LOG_ERROR, "rk-worker: cannot stop the helper threads: %s",
			       strerror(rc));
			_exit(RK_WORKER_EXIT_FAILURE);
		}
	}
	pthread_mutex_lock(&pool.lock);
	pool.threads = 0;
	pool.stopping = false;
	pthread_mutex_unlock(&pool.lock);
}

int rk_parallel_start(unsigned int threads, struct rk_error *err)
{
	int rc;

	if (threads < 1 || threads > RK_WIRE_THREADS_MAX)
		return rk_error_set(err, EINVAL, "kernels can run on 1 to %d threads, not on %u",
				    RK_WIRE_THREADS_MAX, threads);
	pthread_mutex_lock(&pool.lock);
	rc = pool.threads ? EBUSY : 0;
	if (rc == 0)
		pool.threads = threads;
	pthread_mutex_unlock(&pool.lock);
	if (rc)
		return rk_error_set(err, rc, "the helper threads of kernels are running already");
	for (; pool.nhelpers + 1 < threads; pool.nhelpers++) {
		rc = pthread_create(&pool.helpers[pool.nhelpers], NULL, helper_main,
				    (void *)(uintptr_t)pool.nhelpers);
		if (rc) {
			unsigned int started = pool.nhelpers;

			rk_parallel_stop();
			return rk_error_set(err, rc, "cannot start helper thread %u of %u: %m",
					    started + 1, threads - 1);
		}
	}
	return 0;
}

static void run_alone(uint64_t n, uint64_t grain, rk_parallel_fn *fn, void *ctx)
{
	for (uint64_t begin = 0, end; begin < n; begin = end) {
		end = chunk_end(n, grain, begin);
		fn(ctx, begin, end);
	}
}

/* Run @loop with what helpers there are. */
static void run_shared_locked(struct loop *loop)
{
	TAILQ_INSERT_TAIL(&pool.loops, loop, link);
	pool.active++;
	pthread_cond_broadcast(&pool.work);
	while (loop->next < loop->n)
		run_chunk_locked(loop);
	pool.active--;
	/* a place is free for a helper that the limit kept out of another loop */
	if (!TAILQ_EMPTY(&pool.loops))
		pthread_cond_signal(&pool.work);
	while (loop->helping)
		pthread_cond_wait(&loop->done, &pool.lock);
}

void rk_parallel_for(uint64_t n, uint64_t grain, rk_parallel_fn *fn, void *ctx)
{
	struct loop loop = {
		.fn = fn,
		.ctx = ctx,
		.n = n,
		.grain = grain,
		.done = PTHREAD_COND_INITIALIZER,
	};
	bool shared = false;

	if (!inside && n > grain) {
		pthread_mutex_lock(&pool.lock);
		shared = pool.threads > 1;
		if (shared)
			run_shared_locked(&loop);
		pthread_mutex_unlock(&pool.lock);
	}
	pthread_cond_destroy(&loop.done);
	if (!shared)
		run_alone(n, grain, fn, ctx);
}
