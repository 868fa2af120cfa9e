/* SPDX-License-Identifier: MIT */
/*
 * JSON requests and answers: {"a":[1,2],"b":[3,4]} -> {"c":[4.0,6.0]}.
 *
 * Decoding has two steps, because the payload block can only be allocated once
 * the shapes are known: parse (text -> document, shapes bound to the plan), then
 * store (document -> block). Rules for numbers: DESIGN section 4 "JSON numbers".
 * No locks, nothing blocks; time and memory are linear in the text.
 */
#ifndef RK_RUNTIME_CODEC_JSON_H
#define RK_RUNTIME_CODEC_JSON_H

#include <stddef.h>

#include "runtime/error.h"
#include "runtime/plan.h"

struct rk_json; /* a parsed request */

/*
 * The codec row is rk_codec_json in codec.h; these are its steps.
 *
 * Parse @text of @len bytes (not NUL-terminated) as a request for
 * plan->manifest, binding every input it has in @plan (initialised by the caller).
 * *@doc is owned by the caller: rk_json_free(). Returns 0, -EINVAL (malformed JSON with line
 * and column, not an object, unknown, missing or repeated name, ragged array, wrong
 * rank, disagreeing dims, not a number) or -ENOMEM. Elements are checked by store.
 * A failure leaves @plan unchanged. The axes below an empty array do not show: they are what
 * another input says, else as small as can be.
 */
int rk_json_parse(const char *text, size_t len, struct rk_plan *plan, struct rk_json **doc,
		  struct rk_error *err);

/*
 * Write the inputs that the request has into @block (plan->block_bytes bytes, laid out by
 * rk_plan_layout). Returns 0 or -EINVAL naming input, element and why: not a
 * number, out of the dtype's range, for an integer type a fraction or a real from 2^53 on (it may
 * have lost digits), for a bool anything but true and false. Decimal strings are numbers for u64
 * only.
 */
int rk_json_store(const struct rk_json *doc, const struct rk_plan *plan, void *block,
		  struct rk_error *err);

/* NULL is allowed. */
void rk_json_free(struct rk_json *doc);

/*
 * Encode the outputs in @block as one JSON object in one line with a final
 * newline. *@text is malloc'ed and owned by the caller; *@len excludes the NUL.
 * The block may be written to by a broken kernel while this reads it: the answer is then
 * garbage, never a crash. Returns 0 or -ENOMEM.
 */
int rk_json_encode(const struct rk_plan *plan, const void *block, char **text, size_t *len,
		   struct rk_error *err);

#endif
