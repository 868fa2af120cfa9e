/* SPDX-License-Identifier: MIT */
/* A request from its first byte to its end, as far as it is the same in every encoding. */
#include "runtime/request/codec.h"

#include <stdio.h>
#include <stdlib.h>

void rk_request_init(struct rk_request *r, struct rk_kernel *kernel, struct rk_payload *pool)
{
	r->kernel = rk_kernel_ref(kernel);
	r->pool = rk_payload_ref(pool);
}

void rk_request_drop(struct rk_request *r)
{
	if (r->state)
		r->codec->drop(r);
	rk_message_unref(r->message);
	if (r->pool)
		rk_payload_uncharge(r->pool, r->uid, r->charged);
	rk_payload_unref(r->pool);
	rk_kernel_unref(r->kernel);
	*r = (struct rk_request){0};
}

int rk_request_charge(struct rk_request *r, int64_t bytes, struct rk_error *err)
{
	int rc;

	if (bytes > 0) {
		rc = rk_payload_charge(r->pool, r->uid, (uint64_t)bytes, err);
		if (rc)
			return rc;
	} else {
		rk_payload_uncharge(r->pool, r->uid, 0 - (uint64_t)bytes);
	}
	r->charged += (uint64_t)bytes;
	return 0;
}

void rk_answer_drop(struct rk_answer *a)
{
	free(a->text);
	*a = (struct rk_answer){0};
}

void *rk_request_state(struct rk_request *r, size_t size, struct rk_error *err)
{
	if (!r->state)
		r->state = calloc(1, size);
	if (!r->state)
		rk_error_set(err, ENOMEM, "no memory for the request");
	return r->state;
}

int rk_request_message(struct rk_request *r, struct rk_error *err)
{
	r->message = rk_message_new(r->kernel, r->uid, r->pid);
	if (!r->message)
		return rk_error_set(err, ENOMEM, "no memory for a message");
	return rk_request_charge(r, sizeof(*r->message), err);
}

int rk_request_layout(struct rk_request *r, struct rk_error *err)
{
	struct rk_message *m = r->message;
	int rc = rk_plan_layout(&m->plan, r->max_message_bytes, err);

	if (rc)
		return rc;
	if (m->block.pool)
		return rk_payload_resize(&m->block, m->plan.block_bytes, err);
	return rk_payload_alloc(r->pool, r->uid, m->plan.block_bytes, &m->block, err);
}

const char *rk_input_names(const struct rk_manifest *m, char names[RK_INPUT_NAMES_MAX])
{
	size_t len = 0;

	for (unsigned int i = 0; i < m->ninputs; i++)
		len += (size_t)snprintf(names + len, RK_INPUT_NAMES_MAX - len, "%s%s",
					i ? ", " : "", m->inputs[i].name);
	return len ? names : "none";
}

void rk_answer_add_output(struct rk_answer *a, const struct rk_message *m, unsigned int index)
{
	const struct rk_extent *extent = &m->plan.outputs[index];

	if (extent->bytes)
		a->parts[a->nparts++] =
			(struct iovec){(char *)m->block.data + extent->offset, extent->bytes};
}
