/* SPDX-License-Identifier: MIT */
/*
 * call.raw: nothing but the elements, little-endian. The inputs one after the other, in the order
 * of the description, without those that have a default (they keep it); the answer is the outputs
 * one after the other. So that the length of a request tells all shapes, at most one dim may be
 * free, and the inputs' bytes are slope * dim + base.
 *
 * What is written lands in the message's block at once; inputs are moved apart at the end,
 * where their alignment wants it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/request/codec.h"

struct raw {
	int64_t slope, base; /* bytes; slope 0: of a fixed length */
	uint64_t have;
	bool finished;
};

static bool is_streamed(const struct rk_port *port)
{
	return port->default_text[0] == '\0';
}

/* Multiply slope * dim + base by @axis. False where that is no such expression any more. */
static bool times_axis(const struct rk_axis *axis, int64_t *slope, int64_t *base)
{
	/* factors are at most 2^63 - 1 */
	int64_t factor = (int64_t)axis->factor;

	if (axis->ndims == 0)
		return !__builtin_mul_overflow(*slope, factor, slope) &&
		       !__builtin_mul_overflow(*base, factor, base);
	if (axis->ndims > 1 || *slope)
		return false;
	return !__builtin_mul_overflow(*base, factor, slope) &&
	       !__builtin_mul_overflow(*base, axis->addend, base);
}

/* The length of a request for @m. False where it does not tell the shapes. */
static bool get_length(const struct rk_manifest *m, struct raw *raw)
{
	bool any = false;

	for (unsigned int i = 0; i < m->ninputs; i++) {
		const struct rk_port *port = &m->inputs[i];
		int64_t slope = 0, base = (int64_t)rk_dtype_info(port->dtype)->size;

		if (!is_streamed(port))
			continue;
		any = true;
		for (unsigned int k = 0; k < port->rank; k++)
			if (!times_axis(&port->axes[k], &slope, &base))
				return false;
		if (__builtin_add_overflow(raw->slope, slope, &raw->slope) ||
		    __builtin_add_overflow(raw->base, base, &raw->base))
			return false;
	}
	return any && m->ndims <= 1;
}

static bool raw_applies(const struct rk_manifest *m)
{
	struct raw raw = {0};

	return get_length(m, &raw);
}

static int begin(struct rk_request *r, struct rk_error *err)
{
	struct raw *raw = rk_request_state(r, sizeof(*raw), err);
	int rc;

	if (!raw)
		return -ENOMEM;
	rc = rk_request_message(r, err);
	if (rc)
		return rc;
	if (!get_length(&r->message->kernel->manifest, raw))
		return rk_error_set(err, EINVAL, "raw requests do not fit this kernel's shapes");
	return 0;
}

/* "8*n+4", "12" */
static int wrong_length(const struct rk_request *r, uint64_t len, struct rk_error *err)
{
	const struct rk_manifest *m = &r->message->kernel->manifest;
	const struct raw *raw = r->state;
	char plus[32] = "", more[32] = "";

	if (!raw->slope)
		return rk_error_set(err, EINVAL,
				    "a raw request has exactly %" PRId64 " bytes, not %" PRIu64,
				    raw->base, len);
	if (raw->base) {
		snprintf(plus, sizeof(plus), "%+" PRId64, raw->base);
		snprintf(more, sizeof(more), " %s %" PRIu64, raw->base < 0 ? "minus" : "plus",
			 raw->base < 0 ? 0 - (uint64_t)raw->base : (uint64_t)raw->base);
	}
	return rk_error_set(err, EINVAL,
			    "a raw request of %" PRIu64 " bytes fits no %s: its length is %" PRId64
			    "*%s%s, a multiple of %" PRId64 "%s",
			    len, m->dims[0], raw->slope, m->dims[0], plus, raw->slope, more);
}

/* A block that holds @bytes. */
static int reserve(struct rk_request *r, uint64_t bytes, struct rk_error *err)
{
	struct rk_block *block = &r->message->block;

	if (!block->pool)
		return rk_payload_alloc(r->pool, r->uid, bytes, block, err);
	return bytes <= block->bytes ? 0 : rk_payload_resize(block, bytes, err);
}

static int raw_feed(struct rk_request *r, const void *data, size_t len, struct rk_error *err)
{
	struct raw *raw;
	uint64_t need;
	int rc;

	if (!r->state) {
		rc = begin(r, err);
		if (rc)
			return rc;
	}
	raw = r->state;
	if (len == 0)
		return 0;
	if (__builtin_add_overflow(raw->have, len, &need) || need > r->max_message_bytes)
		return rk_error_set(err, EMSGSIZE,
				    "the request is larger than max_message_bytes (%" PRIu64
				    " bytes)",
				    r->max_message_bytes);
	if (!raw->slope && need > (uint64_t)raw->base)
		return wrong_length(r, need, err);
	rc = reserve(r, need, err);
	if (rc)
		return rc;
	memcpy((char *)r->message->block.data + raw->have, data, len);
	raw->have = need;
	return 0;
}

static uint64_t raw_work(const struct rk_request *r)
{
	const struct raw *raw = r->state;

	return raw && !raw->finished ? raw->have : 0; /* which may have to be moved */
}

/* Solve the request's length for the free dim. */
static int bind(struct rk_request *r, struct rk_error *err)
{
	struct rk_plan *plan = &r->message->plan;
	const struct rk_manifest *m = plan->manifest;
	const struct raw *raw = r->state;
	int64_t rest;
	int rc;

	/* have is at most max_message_bytes, but base can be anything */
	if (__builtin_sub_overflow((int64_t)raw->have, raw->base, &rest) || rest < 0 ||
	    (raw->slope ? rest % raw->slope : rest))
		return wrong_length(r, raw->have, err);
	if (raw->slope)
		rk_plan_set_dim(plan, 0, (uint64_t)(rest / raw->slope));
	for (unsigned int i = 0; i < m->ninputs; i++) {
		if (!is_streamed(&m->inputs[i]))
			continue;
		rc = rk_plan_bind_shown(plan, i, 0, NULL, err);
		if (rc)
			return rc;
	}
	return 0;
}

/* From one after the other to where each belongs: never down, so the last one first. */
static void move_apart(const struct rk_plan *plan, unsigned char *block, uint64_t end)
{
	unsigned int i = plan->manifest->ninputs;

	while (i--) {
		const struct rk_extent *extent = &plan->inputs[i];

		if (!is_streamed(&plan->manifest->inputs[i]))
			continue;
		end -= extent->bytes;
		if (end != extent->offset)
			memmove(block + extent->offset, block + end, extent->bytes);
	}
}

static int raw_finish(struct rk_request *r, struct rk_error *err)
{
	struct rk_plan *plan;
	struct raw *raw;
	void *block;
	int rc;

	rc = raw_feed(r, NULL, 0, err); /* there may have been nothing */
	if (!rc)
		rc = bind(r, err);
	if (!rc)
		rc = rk_request_layout(r, err);
	if (rc)
		return rc;
	raw = r->state;
	plan = &r->message->plan;
	block = r->message->block.data;
	move_apart(plan, block, raw->have);
	rc = rk_plan_check_bools(plan, block, err);
	if (rc)
		return rc;
	rk_plan_prepare(plan, block);
	raw->finished = true;
	return 0;
}

static int raw_answer(struct rk_request *r, struct rk_answer *a, struct rk_error *err)
{
	(void)err;
	*a = (struct rk_answer){0};
	for (unsigned int i = 0; i < r->message->plan.manifest->noutputs; i++)
		rk_answer_add_output(a, r->message, i);
	return 0;
}

static void raw_drop(struct rk_request *r)
{
	free(r->state);
}

const struct rk_codec rk_codec_raw = {
	.file = "call.raw",
	.applies = raw_applies,
	.feed = raw_feed,
	.work = raw_work,
	.finish = raw_finish,
	.answer = raw_answer,
	.drop = raw_drop,
};
