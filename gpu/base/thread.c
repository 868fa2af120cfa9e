/* SPDX-License-Identifier: MIT */
/* Naming a thread. */
#include "gpu/base/thread.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "runtime/base/log.h"

#define NAME_MAX_BYTES 16 /* as many as the system takes, with the NUL */

void rk_thread_name(const char *fmt, ...)
{
	char name[NAME_MAX_BYTES];
	va_list ap;
	int rc;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	rc = pthread_setname_np(pthread_self(), name);
	if (rc)
		rk_log(RK_LOG_DEBUG, "rk-worker: a thread cannot be named %s: %s", name,
		       strerror(rc));
}
