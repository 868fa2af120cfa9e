/* SPDX-License-Identifier: MIT */
/*
 * JSON text: whether it is well formed, and its tokens one after the other.
 *
 * jansson turns numbers into 64-bit integers and doubles while it reads, so the digits are lost. A
 * request is therefore read here, and each number is read from its digits. The syntax is that of
 * RFC 8259. No locks, nothing blocks, no memory is allocated; time is linear in the text.
 */
#ifndef RK_RUNTIME_BASE_JSON_TEXT_H
#define RK_RUNTIME_BASE_JSON_TEXT_H

#include <stdatomic.h>
#include <stdbool.h>
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
 * Whether @text of @len bytes (not NUL-terminated) is one JSON value. Returns 0; -EINVAL with
 * line, column and what was expected there; or -ECANCELED soon after *@stop has become true, which
 * may be NULL.
 */
int rk_json_check(const char *text, size_t len, const atomic_bool *stop, struct rk_error *err);

/* "malformed JSON at line 1, column 7: " in front of @what, for the place @at in @text. -EINVAL. */
int rk_json_malformed(const char *text, const char *at, const char *what, struct rk_error *err);

/*
 * The next token at or after @at in a text that rk_json_check accepts and that ends at @end.
 * Commas and colons are skipped. Returns where to go on.
 */
const char *rk_json_next(const char *at, const char *end, struct rk_json_token *token);

/*
 * Copy the string @token without its escapes into @buf of @size, cut to fit and NUL-terminated;
 * characters that are not printable ASCII become '?'. Returns its uncut length.
 */
size_t rk_json_unescape(const struct rk_json_token *token, char *buf, size_t size);

/*
 * Copy @len bytes of @text into @buf of @size so that a sentence can quote them: as one line of
 * ASCII, cut to fit. Returns @buf.
 */
const char *rk_json_show(char *buf, size_t size, const char *text, size_t len);

/* @kind in words: "a string", "an object"; static storage. */
const char *rk_json_kind_name(enum rk_json_kind kind);

#endif
