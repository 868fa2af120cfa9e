/* SPDX-License-Identifier: MIT */
/* Text that grows up to a bound. */
#include "fs/base/attr.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHARED_LEAST 4096 /* bytes of a text that is worth a search for its equal */

void rkfs_textbuf_init(struct rkfs_textbuf *tb)
{
	tb->data = tb->small;
	tb->shared = NULL;
	tb->len = 0;
	tb->size = sizeof(tb->small);
	tb->error = 0;
}

static void give_up_data(struct rkfs_textbuf *tb)
{
	if (tb->shared)
		rkfs_shared_text_unref(tb->shared);
	else if (tb->data != tb->small)
		free(tb->data);
}

void rkfs_textbuf_free(struct rkfs_textbuf *tb)
{
	give_up_data(tb);
	rkfs_textbuf_init(tb);
}

void rkfs_textbuf_reset(struct rkfs_textbuf *tb)
{
	if (tb->shared)
		rkfs_textbuf_free(tb);
	tb->len = 0;
	tb->error = 0;
}

void rkfs_textbuf_share(struct rkfs_textbuf *tb, struct rkfs_shared_texts *all)
{
	if (tb->shared || tb->len < SHARED_LEAST)
		return;
	tb->shared = rkfs_shared_text_of(all, tb->data, tb->len);
	if (!tb->shared)
		return;
	tb->data = tb->shared->data;
	tb->size = tb->len;
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
	bool foreign;
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
	foreign = tb->shared || tb->data == tb->small;
	data = realloc(foreign ? NULL : tb->data, size);
	if (!data)
		return fail(tb, ENOMEM);
	if (foreign)
		memcpy(data, tb->data, tb->len);
	rkfs_shared_text_unref(tb->shared);
	tb->shared = NULL;
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
