/* SPDX-License-Identifier: MIT */
/*
 * One number of a JSON request or answer (DESIGN section 4 "JSON numbers").
 * Shared by codec_json, codec_safetensors and manifest_port alone. No locks, nothing blocks.
 */
#ifndef RK_RUNTIME_CODEC_JSON_NUMBER_H
#define RK_RUNTIME_CODEC_JSON_NUMBER_H

#include <stddef.h>
#include <jansson.h>

#include "runtime/error.h"
#include "runtime/tensor.h"

/* Longest text of a number: -1.2345678901234567e-308, quoted 2^64 - 1, "-Infinity". */
#define RK_JSON_NUMBER_MAX 32

/*
 * Store @value as one @dtype at @dst (any alignment). Returns 0, or -EINVAL with
 * a sentence (without the element's name): not a number, out of range, a fraction.
 */
int rk_json_number_store(const json_t *value, enum rk_dtype dtype, void *dst, struct rk_error *err);

/*
 * Print the @dtype at @src (any alignment, read exactly once) into @buf of at
 * least RK_JSON_NUMBER_MAX bytes, not NUL-terminated. Returns the length.
 * Reading the text back gives the same bits, a NaN's payload and sign apart.
 */
size_t rk_json_number_print(enum rk_dtype dtype, const void *src, char *buf);

/*
 * @text as it may stand in a sentence, in @buf of @size, cut to fit: one line of ASCII
 * whatever the request holds. Returns @buf.
 */
const char *rk_json_show(char *buf, size_t size, const char *text);

/* What @value is, in words: "a string", "an object"; static storage. */
const char *rk_json_kind(const json_t *value);

#endif
