/* SPDX-License-Identifier: MIT */
/*
 * Whether the device still answers, asked from a thread of its own, so that a driver that hangs
 * holds up nobody else. For the control thread.
 */
#ifndef RK_GPU_CHECK_H
#define RK_GPU_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "gpu/base/backend.h"
#include "runtime/base/error.h"

struct rk_check;

/* Check @number has come back: @rc is 0 or a negative errno described in @err. Any thread. */
typedef void rk_check_answer(void *ctx, uint64_t number, int rc, const struct rk_error *err);

/*
 * Start the thread, unless @ops has no check: then there is nothing to ask. All arguments are
 * borrowed until rk_check_stop. While the driver is being asked, shared->in_driver_since_ns says
 * since when. *@check belongs to the caller. Returns 0, -ENOMEM, or the negative errno of
 * pthread_create.
 */
int rk_check_start(struct rk_check **check, const struct rk_backend_ops *ops, void *backend,
		   struct rk_wire_shared *shared, rk_check_answer *answer, void *ctx,
		   struct rk_error *err);

/*
 * Ask the driver, and answer @number from the thread; where there is nothing to ask, answer with 0
 * at once, from here. Does not block. A check that is under way when the next one is asked for gets
 * no answer; of those that wait for its end, only the newest gets one.
 */
void rk_check_ask(struct rk_check *check, uint64_t number);

/*
 * End the thread and free all. Returns true, or false where the thread does not return from the
 * driver within a second: it is still in there with all that was borrowed, and the process can only
 * end.
 */
bool rk_check_stop(struct rk_check *check);

#endif
