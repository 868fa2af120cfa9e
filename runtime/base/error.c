/* SPDX-License-Identifier: MIT */
/* Sets, prefixes and names errors. */
#include "runtime/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int rk_error_set(struct rk_error *err, int code, const char *fmt, ...)
{
	char msg[RK_ERROR_MAX]; /* an argument may be err->msg itself */
	va_list ap;

	if (!err)
		return -code;
	errno = code; /* for %m */
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

/* How many bytes the character at @at has, of at most @left; 0 where it is no UTF-8. */
static size_t character_size(const unsigned char *at, size_t left)
{
	size_t len = at[0] < 0x80	      ? 1
		     : (at[0] & 0xe0) == 0xc0 ? 2
		     : (at[0] & 0xf0) == 0xe0 ? 3
		     : (at[0] & 0xf8) == 0xf0 ? 4
					      : 0;

	if (len > left)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

void rk_text_clean(char *text, size_t size, const char *keep)
{
	unsigned char *at = (unsigned char *)text;
	size_t left = strnlen(text, size), len;

	for (; left; at += len, left -= len) {
		len = character_size(at, left);
		if (!len) {
			len = 1;
			*at = '?';
		} else if (len == 1 && (*at < ' ' || *at == 0x7f) && !strchr(keep, *at)) {
			*at = '?';
		} else if (len == 2 && at[0] == 0xc2 && at[1] < 0xa0) {
			at[0] = at[1] = '?';
		}
	}
}

const char *rk_error_name(int code)
{
	const char *name = strerrorname_np(code);

	return name ? name : "E?";
}
