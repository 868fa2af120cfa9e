/* SPDX-License-Identifier: MIT */
/* The end of a worker whose device is spoiled for it. */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "gpu/base/crash.h"

/* There is no log line: the caller may hold the log's lock, and the daemon tells the sentence. */
void rk_fatal(struct rk_wire_shared *shared, enum rk_wire_fault_kind kind, uint64_t message,
	      const char *fmt, ...)
{
	static atomic_flag decided = ATOMIC_FLAG_INIT;
	uint64_t nobody = 0;
	va_list ap;

	while (atomic_flag_test_and_set(&decided))
		pause();
	va_start(ap, fmt);
	vsnprintf(shared->fault_text, sizeof(shared->fault_text), fmt, ap);
	va_end(ap);
	if (message)
		atomic_compare_exchange_strong(&shared->crashed_message, &nobody, message);
	atomic_store(&shared->fault, kind);
	_exit(RK_WIRE_EXIT_FAULT);
}
