/* SPDX-License-Identifier: MIT */
/*
 * JSON text: whether it is well formed, and its tokens one after the other.
 *
 * jansson makes 64-bit integers and doubles of numbers while it reads, so that what a number was
 * is lost. A request is therefore read here, each number straight from its digits. Syntax is that
 * of RFC 8259. No locks, nothing blocks, no memory is allocated; time is linear in the text.
 */
#ifndef RK_RUNTIME_BASE_JSON_TEXT_H
#define RK_RUNTIME_BASE_JSON_TEXT_H

#include <stddef.h>

#include "runtime/base/error.h"

#define RK_JSON_DEPTH_MAX 2048 /* how deep arrays and objects may be nested */

enum rk_json_kind {
	RK_JSON_OBJECT, /* its '{' */
	RK_JSON_ARRAY,	/* its '[' */
	RK_JSON_STRING,
	RK_JSON_NUMBER,
	RK_JSON_TRUE,
	RK_JSON_FALSE,
	RK_JSON_NULL,
	RK_JSON_CLOSE, /* '}' or ']' */
	RK_JSON_END,   /* of the text */
};

struct rk_json_token {
	enum rk_json_kind kind;
	const char *text; /* in the caller's text; of a string: what is between the quotes */
	size_t len;
};

/*
 * Whether @text of @len bytes (not NUL-terminated) is one JSON value. Returns 0, or -EINVAL with
 * line, column and what was expected there.
 */
int rk_json_check(const char *text, size_t len, struct rk_error *err);

/* "malformed JSON at line 1, column 7: " in front of @what, for the place @at in @text. -EINVAL. */
int rk_json_malformed(const char *text, const char *at, const char *what, struct rk_error *err);

/*
 * The next token at or after @at in a text that rk_json_check accepts and that ends at @end.
 * Commas and colons are passed over. Returns where to go on.
 */
const char *rk_json_next(const char *at, const char *end, struct rk_json_token *token);

/*
 * The string @token in @buf of @size, cut to fit and NUL-terminated, without its escapes; what is
 * not printable ASCII becomes '?'. Returns the length that it would have uncut.
 */
size_t rk_json_unescape(const struct rk_json_token *token, char *buf, size_t size);

/*
 * @len bytes of @text as they may stand in a sentence, in @buf of @size, cut to fit: one line of
 * ASCII whatever the request holds. Returns @buf.
 */
const char *rk_json_show(char *buf, size_t size, const char *text, size_t len);

/* What @kind is, in words: "a string", "an object"; static storage. */
const char *rk_json_kind_name(enum rk_json_kind kind);

#endif
