/* SPDX-License-Identifier: MIT */
/*
 * An error is an errno and one sentence that a user can act on.
 *
 * Convention in the whole project: a function that can fail returns 0 (or a
 * count) on success and a negative errno on failure, and describes the failure
 * in its last argument. The function that decides the error writes the
 * sentence; callers may put words in front of it with rk_error_prefix().
 * Output parameters are written on success only.
 */
#ifndef RK_RUNTIME_BASE_ERROR_H
#define RK_RUNTIME_BASE_ERROR_H

#include <stddef.h>
#include <sys/types.h>

#define RK_ERROR_MAX 320

struct rk_error {
	int code;		/* positive errno, 0 where there is no error */
	char msg[RK_ERROR_MAX]; /* one sentence without a final newline */
	size_t secret;		/* from this byte on it may tell somebody's data; 0 = nowhere */
};

/*
 * Describe a failure. @err may be NULL if the caller does not need the sentence.
 * A sentence that does not fit is cut at RK_ERROR_MAX - 1 bytes. In it, %m is the text of @code,
 * as strerror has it; errno may be @code afterwards.
 * Returns -@code, so that callers write: return rk_error_set(err, EINVAL, "...").
 */
int rk_error_set(struct rk_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Put "@fmt: " in front of the sentence in @err (NULL is allowed); what was hidden stays so.
 * Returns -@err->code (or -EIO where @err is NULL or holds no error).
 */
int rk_error_prefix(struct rk_error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * From byte @at of the sentence in @err on (at least 1) it may tell what not everybody may read: of
 * a caller's request, or of a file.
 */
void rk_error_hide(struct rk_error *err, size_t at);

/*
 * Copy the sentence in @err to @msg, of RK_ERROR_MAX bytes, as everybody may read it: of what is
 * hidden each byte is a '*'.
 */
void rk_error_public(const struct rk_error *err, char *msg);

/* The same as @reader may read it: whole where he is root, or @owner, whose data is hidden. */
void rk_error_show(const struct rk_error *err, uid_t reader, uid_t owner, char *msg);

/*
 * How many bytes the character at @at has, of at most @left (not 0); 0 where it is not UTF-8 as RFC
 * 3629 has it.
 */
size_t rk_utf8_length(const char *at, size_t left);

/*
 * Make @text, of at most @size bytes, fit for a terminal, a log and a file of lines, whoever wrote
 * it: control characters, those of 0x80 to 0x9f too, and bytes that are no UTF-8 become '?'; but
 * for the characters in @keep.
 */
void rk_text_clean(char *text, size_t size, const char *keep);

/*
 * The symbolic name of errno @code ("EINVAL"), or "E?" where there is none.
 * Static storage; thread-safe.
 */
const char *rk_error_name(int code);

#endif
