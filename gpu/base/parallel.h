/* SPDX-License-Identifier: MIT */
/*
 * Loops that several threads share. One pool serves the whole process, because a kernel has a plain
 * C signature, with no room for a pool. Kernels of many executor threads may use it at once:
 * helpers go where work is left, and pause while as many threads are inside rk_parallel_for() as
 * the pool was started for, so that a busy worker is not oversubscribed.
 */
#ifndef RK_GPU_BASE_PARALLEL_H
#define RK_GPU_BASE_PARALLEL_H

#include <stdint.h>

#include "runtime/base/error.h"

/* The elements @begin to @end - 1 of a loop; @ctx as given. Runs in any thread, without a lock. */
typedef void rk_parallel_fn(void *ctx, uint64_t begin, uint64_t end);

/*
 * Start @threads - 1 helpers: with the caller of a loop, @threads work on it. Returns 0; -EINVAL:
 * @threads is 0 or above RK_WIRE_THREADS_MAX; -EBUSY: started already; other errnos of
 * pthread_create(3), with no helper left over then. For one thread at a time, as is stop.
 */
int rk_parallel_start(unsigned int threads, struct rk_error *err);

/*
 * End the helpers and wait for them; no loop may be under way. Without a start before it does
 * nothing. Ends the process with RK_WORKER_EXIT_FAILURE where they cannot be waited for.
 */
void rk_parallel_stop(void);

/*
 * Call @fn for all of 0 to @n - 1, cut into chunks of @grain (at least 1; the last may be shorter),
 * and return when all are done. The cut depends on @n and @grain alone, so partial results by chunk
 * are the same for any number of threads; the order of chunks is not. A chunk should take tens of
 * microseconds or more. What the caller wrote before is seen by @fn, and what @fn wrote by the
 * caller afterwards. Where no pool is started, for a single chunk, and within another loop's @fn,
 * the caller runs all chunks itself. Never fails, and allocates nothing.
 */
void rk_parallel_for(uint64_t n, uint64_t grain, rk_parallel_fn *fn, void *ctx);

#endif
