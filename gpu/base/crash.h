/* SPDX-License-Identifier: MIT */
/*
 * Blame for a worker's death. What the thread which kills the process was running is left in the
 * shared page: a fatal signal, exit() or pthread_exit() in it. Death comes as it would have come
 * anyway, by that very signal and with a core dump of the place where it happened.
 *
 * Nobody is blamed for a signal that another process sent, and for one that hits a thread outside
 * of a message, those that a kernel created included.
 */
#ifndef RK_GPU_BASE_CRASH_H
#define RK_GPU_BASE_CRASH_H

#include <stdint.h>

#include "runtime/base/error.h"
#include "runtime/base/wire.h"

/*
 * Set the process's signal handlers, and write to @shared, which is borrowed until
 * rk_crash_unwatch(), from now on. Returns 0 or a negative errno. For the control thread only.
 */
int rk_crash_watch(struct rk_wire_shared *shared, struct rk_error *err);

/* Write to the shared page no more. No thread runs a message by then. */
void rk_crash_unwatch(void);

/*
 * A thread that is to run messages calls begin first and end last. Begin gives it a stack for
 * signals, so that an overflow of its own is noticed; without memory for one it logs that and
 * goes on. A thread that exits before end (pthread_exit) while it runs a message ends the process
 * with RK_WORKER_EXIT_FAILURE.
 */
void rk_crash_thread_begin(void);
void rk_crash_thread_end(void);

/* The calling thread runs @message (not 0, or nobody is blamed) until leave. Never blocks. */
void rk_crash_enter(uint64_t message);
void rk_crash_leave(void);

#endif
