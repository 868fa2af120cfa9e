/* SPDX-License-Identifier: MIT */
/* Text that grows up to a bound. */
#include "fs/base/attr.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void rkfs_textbuf_init(struct rkfs_textbuf *tb)
{
	tb->data = tb->small;
	tb->len = 0;
	tb->size = sizeof(tb->small);
	tb->error = 0;
}

void rkfs_textbuf_free(struct rkfs_textbuf *tb)
{
	if (tb->data != tb->small)
		free(tb->data);
	rkfs_textbuf_init(tb);
}

void rkfs_textbuf_reset(struct rkfs_textbuf *tb)
{
	tb->len = 0;
	tb->error = 0;
}

static bool fail(struct rkfs_textbuf *tb, int code)
{
	tb->error = code;
	return false;
}

/* Make room for @more bytes. */
static bool reserve(struct rkfs_textbuf *tb, size_t more)
{
	size_t size = tb->size;
	char *data;

	if (tb->error)
		return false;
	if (more <= tb->size - tb->len)
		return true;
	if (more > RKFS_TEXTBUF_MAX - tb->len)
		return fail(tb, EFBIG);
	while (size - tb->len < more)
		size *= 2;
	if (size > RKFS_TEXTBUF_MAX)
		size = RKFS_TEXTBUF_MAX;
	data = realloc(tb->data == tb->small ? NULL : tb->data, size);
	if (!data)
		return fail(tb, ENOMEM);
	if (tb->data == tb->small)
		memcpy(data, tb->small, tb->len);
	tb->data = data;
	tb->size = size;
	return true;
}

void rkfs_textbuf_append(struct rkfs_textbuf *tb, const void *data, size_t len)
{
	if (!len || !reserve(tb, len))
		return;
	memcpy(tb->data + tb->len, data, len);
	tb->len += len;
}

void rkfs_textbuf_line(struct rkfs_textbuf *tb, const char *text)
{
	size_t len = strlen(text);

	if (!reserve(tb, len + 1))
		return;
	memcpy(tb->data + tb->len, text, len);
	tb->data[tb->len + len] = '\n';
	tb->len += len + 1;
}

void rkfs_textbuf_printf(struct rkfs_textbuf *tb, const char *fmt, ...)
{
	va_list ap, again;
	int len;

	if (tb->error)
		return;
	va_start(ap, fmt);
	va_copy(again, ap);
	len = vsnprintf(tb->data + tb->len, tb->size - tb->len, fmt, ap);
	va_end(ap);
	if (len < 0) {
		fail(tb, errno == ENOMEM ? ENOMEM : EFBIG);
	} else if ((size_t)len < tb->size - tb->len) {
		tb->len += (size_t)len;
	} else if (reserve(tb, (size_t)len + 1)) {
		vsnprintf(tb->data + tb->len, (size_t)len + 1, fmt, again);
		tb->len += (size_t)len;
	}
	va_end(again);
}

void rkfs_textbuf_u64_line(struct rkfs_textbuf *tb, unsigned long long n)
{
	char digits[24];
	char *p = digits + sizeof(digits);

	*--p = '\n';
	do {
		*--p = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	rkfs_textbuf_append(tb, p, (size_t)(digits + sizeof(digits) - p));
}
