/* SPDX-License-Identifier: MIT */
/* Text that grows up to a bound; what show functions write into. Not thread-safe. */
#ifndef RKFS_BASE_TEXTBUF_H
#define RKFS_BASE_TEXTBUF_H

#include <stddef.h>

#define RKFS_TEXTBUF_MAX (64UL << 20) /* bytes */

struct rkfs_textbuf {
	char *data; /* not NUL-terminated for readers; owned unless it is small[] */
	size_t len;
	size_t size;
	int error;	 /* first failure, a positive errno; sticky until reset */
	char small[120]; /* most files need no malloc */
};

void rkfs_textbuf_init(struct rkfs_textbuf *tb);
void rkfs_textbuf_free(struct rkfs_textbuf *tb);
/* Empty again, without an error; keeps the memory. */
void rkfs_textbuf_reset(struct rkfs_textbuf *tb);
/*
 * Append. A failure (ENOMEM, EFBIG over RKFS_TEXTBUF_MAX) is remembered in tb->error, appends
 * nothing, and later calls do nothing.
 */
void rkfs_textbuf_printf(struct rkfs_textbuf *tb, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void rkfs_textbuf_append(struct rkfs_textbuf *tb, const void *data, size_t len);
/* Append @text, a NUL-terminated string, and a newline. */
void rkfs_textbuf_line(struct rkfs_textbuf *tb, const char *text);
/* Append @n and a newline; the fast way for counters. */
void rkfs_textbuf_u64_line(struct rkfs_textbuf *tb, unsigned long long n);

#endif
