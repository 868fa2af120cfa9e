/* SPDX-License-Identifier: MIT */
/* Sets, prefixes and names errors. */
#include "runtime/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
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
	err->secret = 0;
	return -code;
}

int rk_error_prefix(struct rk_error *err, const char *fmt, ...)
{
	char prefix[RK_ERROR_MAX], old[RK_ERROR_MAX];
	size_t secret;
	va_list ap;

	if (!err || !err->code)
		return -EIO;
	secret = err->secret;
	va_start(ap, fmt);
	vsnprintf(prefix, sizeof(prefix), fmt, ap);
	va_end(ap);
	memcpy(old, err->msg, sizeof(old));
	rk_error_set(err, err->code, "%s: %s", prefix, old);
	if (secret)
		rk_error_hide(err, strlen(prefix) + 2 + secret);
	return -err->code;
}

void rk_error_hide(struct rk_error *err, size_t at)
{
	err->secret = at < sizeof(err->msg) - 1 ? at : sizeof(err->msg) - 1;
}

void rk_error_public(const struct rk_error *err, char *msg)
{
	memcpy(msg, err->msg, sizeof(err->msg));
	if (!err->secret)
		return;
	for (char *c = msg + err->secret; *c; c++)
		*c = '*';
}

void rk_error_show(const struct rk_error *err, uid_t reader, uid_t owner, char *msg)
{
	if (reader == 0 || reader == owner)
		memcpy(msg, err->msg, sizeof(err->msg));
	else
		rk_error_public(err, msg);
}

size_t rk_utf8_length(const char *at, size_t left)
{
	const unsigned char *u = (const unsigned char *)at;
	size_t len = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : u[0] >= 0x80 ? 2 : 1;
	uint32_t code = u[0] & (0x7f >> len);
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

	if (len == 1)
		return 1;
	if (u[0] < 0xc2 || u[0] > 0xf4 || left < len)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((u[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (u[i] & 0x3f);
	}
	return code < least[len] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff) ? 0 : len;
}

void rk_text_clean(char *text, size_t size, const char *keep)
{
	unsigned char *at = (unsigned char *)text;
	size_t left = strnlen(text, size), len;

	for (; left; at += len, left -= len) {
		len = rk_utf8_length((const char *)at, left);
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
