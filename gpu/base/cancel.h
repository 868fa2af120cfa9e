/* SPDX-License-Identifier: MIT */
/*
 * Whether the message that the calling thread runs was cancelled: the daemon says so in the shared
 * page. A kernel that only waits can end early then.
 */
#ifndef RK_GPU_BASE_CANCEL_H
#define RK_GPU_BASE_CANCEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * The calling thread runs @message until leave; the daemon would write the low half of its id to
 * *@word, which is borrowed until then. Never blocks.
 */
void rk_cancel_enter(const _Atomic uint32_t *word, uint64_t message);
void rk_cancel_leave(void);

/*
 * Wait until CLOCK_MONOTONIC is @until_ns, or the calling thread's message is cancelled; a thread
 * that runs none waits for the time. Returns whether it was cancelled.
 */
bool rk_cancel_wait(uint64_t until_ns);

#endif
