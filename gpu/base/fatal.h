/* SPDX-License-Identifier: MIT */
/* How a worker ends itself where its device is spoiled for it. */
#ifndef RK_GPU_BASE_FATAL_H
#define RK_GPU_BASE_FATAL_H

#include "runtime/base/wire.h"

/*
 * Leave @kind and the sentence in @shared, for the daemon to tell, and end the process at once with
 * RK_WIRE_EXIT_FAULT. @message is the only one that can have caused it, or 0 where that is not
 * known. The first thread that comes decides; others wait for the end. Any thread, whatever locks
 * it holds.
 */
_Noreturn void rk_fatal(struct rk_wire_shared *shared, enum rk_wire_fault_kind kind,
			uint64_t message, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#endif
