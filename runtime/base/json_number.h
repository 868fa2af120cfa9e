/* SPDX-License-Identifier: MIT */
/*
 * One number of a JSON request or answer. Shared by codec_json and parse_port. No locks,
 * nothing blocks.
 */
#ifndef RK_RUNTIME_BASE_JSON_NUMBER_H
#define RK_RUNTIME_BASE_JSON_NUMBER_H

#include <stddef.h>

#include "runtime/base/error.h"
#include "runtime/base/json_text.h"
#include "runtime/base/tensor.h"

/* Longest text of a number: -1.2345678901234567e-308, quoted 2^64 - 1, "-Infinity". */
#define RK_JSON_NUMBER_MAX 32

/*
 * Store @token as one @dtype at @dst (any alignment): floats correctly rounded from the digits,
 * integers exact. Returns 0, or -EINVAL with a sentence (without the element's name): not a number,
 * out of range, a fraction. The byte after a number's text is read; it must not continue the
 * number, as none does in a request.
 */
int rk_json_number_store(const struct rk_json_token *token, enum rk_dtype dtype, void *dst,
			 struct rk_error *err);

/*
 * Print the @dtype at @src (any alignment, read exactly once) into @buf of at
 * least RK_JSON_NUMBER_MAX bytes, not NUL-terminated. Returns the length.
 * Reading the text back gives the same bits, a NaN's payload and sign apart.
 */
size_t rk_json_number_print(enum rk_dtype dtype, const void *src, char *buf);

#endif
