/* SPDX-License-Identifier: MIT */
/*
 * Blame for a worker's death. When a thread kills the process, by a fatal signal, exit() or
 * pthread_exit(), the message that it was running is noted in the shared page. The process dies as
 * it would have died anyway: by that very signal, with a core dump of the place where it happened.
 *
 * Nobody is blamed for a signal that another process sent, nor for one that hits a thread outside
 * of a message, threads that a kernel created included.
 */
#ifndef RK_GPU_BASE_CRASH_H
#define RK_GPU_BASE_CRASH_H

#include <stdint.h>

#include "runtime/base/error.h"
#include "runtime/base/wire.h"

/* fatal.c: how a worker ends itself where its device is spoiled for it. */

/*
 * Leave @kind and the sentence in @shared, for the daemon to tell, and end the process at once with
 * RK_WIRE_EXIT_FAULT. @message is the only one that can have caused it, or 0 where that is not
 * known. The first thread that comes decides; others wait for the end. Any thread, whatever locks
 * it holds.
 */
_Noreturn void rk_fatal(struct rk_wire_shared *shared, enum rk_wire_fault_kind kind,
			uint64_t message, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* crash.c */

/*
 * Set the process's signal handlers, and from now on write to @shared, which is borrowed until
 * rk_crash_unwatch(). Returns 0 or a negative errno. For the control thread only.
 */
int rk_crash_watch(struct rk_wire_shared *shared, struct rk_error *err);

/* Write to the shared page no more. No thread runs a message by then. */
void rk_crash_unwatch(void);

/*
 * A thread that is to run messages calls begin first and end last. Begin gives it a stack for
 * signals, so that an overflow of its own stack is noticed; where there is no memory for one it
 * logs that and goes on. A thread that exits before end (pthread_exit) while it runs a message ends
 * the process with RK_WORKER_EXIT_FAILURE.
 */
void rk_crash_thread_begin(void);
void rk_crash_thread_end(void);

/* The calling thread runs @message until leave; where that is 0 nobody is blamed. Never blocks. */
void rk_crash_enter(uint64_t message);
void rk_crash_leave(void);

#endif
