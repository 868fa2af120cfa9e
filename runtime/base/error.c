/* SPDX-License-Identifier: MIT */
/* Sets, prefixes and names errors. */
#include "runtime/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int rk_error_set(struct rk_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return -code;
	/* Through a second buffer: an argument may be err->msg itself. */
	char msg[RK_ERROR_MAX];

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	memcpy(err->msg, msg, sizeof(msg));
	err->code = code;
	return -code;
}

int rk_error_prefix(struct rk_error *err, const char *fmt, ...)
{
	char prefix[RK_ERROR_MAX], old[RK_ERROR_MAX];
	va_list ap;

	if (!err || !err->code)
		return -EIO;
	va_start(ap, fmt);
	vsnprintf(prefix, sizeof(prefix), fmt, ap);
	va_end(ap);
	memcpy(old, err->msg, sizeof(old));
	return rk_error_set(err, err->code, "%s: %s", prefix, old);
}

const char *rk_error_name(int code)
{
	const char *name = strerrorname_np(code);

	return name ? name : "E?";
}
