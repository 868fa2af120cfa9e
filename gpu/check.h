/* SPDX-License-Identifier: MIT */
/*
 * Whether the device still answers, asked from a thread of its own: a driver that hangs hangs
 * nobody else. For the control thread.
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
 * Start the thread, unless @ops has no check: then there is nothing to ask. All is borrowed until
 * rk_check_stop. While the driver is being asked shared->in_driver_since_ns says since when.
 * *@check belongs to the caller. Returns 0, -ENOMEM, or pthread_create's error.
 */
int rk_check_start(struct rk_check **check, const struct rk_backend_ops *ops, void *backend,
		   struct rk_wire_shared *shared, rk_check_answer *answer, void *ctx,
		   struct rk_error *err);

/*
 * Ask, and answer @number from the thread; at once with 0, from here, where there is nothing to
 * ask. Does not block. Where another is under way, that one is not answered, and of those that
 * wait for its end the newest is.
 */
void rk_check_ask(struct rk_check *check, uint64_t number);

/*
 * End the thread and free. True. False where it does not come back from the driver within a second:
 * it is still in there with all that was borrowed, and the process can only end.
 */
bool rk_check_stop(struct rk_check *check);

#endif
