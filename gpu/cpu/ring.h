/* SPDX-License-Identifier: MIT */
/*
 * A kernel of mode ring on the CPU: a thread of its own, and memory that stays from message to
 * message. All functions but rk_cpu_ring_run are for the control thread.
 */
#ifndef RK_GPU_CPU_RING_H
#define RK_GPU_CPU_RING_H

#include <stdint.h>

#include "runtime/base/error.h"

struct rk_cpu_ring;

/* One message, in the ring's thread. @state is NULL where the kernel has none. */
typedef void rk_cpu_ring_fn(void *ctx, void *state);

/*
 * Start the thread, rk-ring-@number, and allocate @state_bytes of zeroes (0: none), aligned to 64.
 * *@ring belongs to the caller. Returns 0, -ENOMEM, or the negative errno of pthread_create.
 */
int rk_cpu_ring_start(struct rk_cpu_ring **ring, uint32_t number, uint64_t state_bytes,
		      struct rk_error *err);

/*
 * Have the thread call @fn, and wait for its end. Where the process dies meanwhile, @message is
 * blamed (gpu/base/crash.h). Any thread; callers that come at the same time are served one by one,
 * in the order in which they came.
 */
void rk_cpu_ring_run(struct rk_cpu_ring *ring, uint64_t message, rk_cpu_ring_fn *fn, void *ctx);

/*
 * End the thread, wait for it, and free the state; nobody is inside rk_cpu_ring_run. Ends the
 * process with RK_WORKER_EXIT_FAILURE where the thread cannot be waited for.
 */
void rk_cpu_ring_stop(struct rk_cpu_ring *ring);

#endif
