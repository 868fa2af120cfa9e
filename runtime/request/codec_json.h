/* SPDX-License-Identifier: MIT */
/*
 * JSON requests and answers: {"a":[1,2],"b":[3,4]} -> {"c":[4.0,6.0]}.
 *
 * Decoding has two steps, because the payload block can only be allocated once
 * the shapes are known: parse (the text is well formed, shapes are bound to the plan), then
 * store (the text's numbers -> block).
 * No locks, nothing blocks; time and memory are linear in the text.
 */
#ifndef RK_RUNTIME_REQUEST_CODEC_JSON_H
#define RK_RUNTIME_REQUEST_CODEC_JSON_H

#include <stddef.h>

#include "runtime/base/error.h"
#include "runtime/request/plan.h"

/* A parsed request: where in its text the inputs are. Plain data; the text must stay as it is. */
struct rk_json {
	const char *inputs[RK_MAX_PORTS]; /* NULL: the request lacks it */
	const char *end;
};

/*
 * The codec row is rk_codec_json in codec.h; these are its steps.
 *
 * Parse @text of @len bytes (not NUL-terminated) as a request for
 * plan->manifest, binding every input it has in @plan (initialised by the caller).
 * Returns 0 or -EINVAL (malformed JSON with line and column, not an object, unknown,
 * missing or repeated name, ragged array, wrong rank, disagreeing dims). Elements are checked by
 * store. A failure leaves @plan unchanged. The axes below an empty array do not show: they are what
 * another input says, else as small as can be.
 */
int rk_json_parse(const char *text, size_t len, struct rk_plan *plan, struct rk_json *doc,
		  struct rk_error *err);

/*
 * Write the inputs that the request has into @block (plan->block_bytes bytes, laid out by
 * rk_plan_layout). Returns 0 or -EINVAL naming input, element and why: not a
 * number, out of the dtype's range, for an integer type a fraction, for a bool anything but true
 * and false. Decimal strings are numbers for u64 only.
 */
int rk_json_store(const struct rk_json *doc, const struct rk_plan *plan, void *block,
		  struct rk_error *err);

/*
 * Encode the outputs in @block as one JSON object in one line with a final
 * newline. *@text is malloc'ed and owned by the caller; *@len excludes the NUL.
 * The block may be written to by a broken kernel while this reads it: the answer is then
 * garbage, never a crash. Returns 0 or -ENOMEM.
 */
int rk_json_encode(const struct rk_plan *plan, const void *block, char **text, size_t *len,
		   struct rk_error *err);

#endif
