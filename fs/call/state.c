/* SPDX-License-Identifier: MIT */
/* The machine of a call: its state, its request begun and dropped, its references. */
#include <errno.h>
#include <stdlib.h>

#include "fs/call/internal.h"

void rkfs_call_set_state_locked(struct rkfs_call *c, enum call_state state)
{
	bool was = c->state >= CALL_DECODING, is = state >= CALL_DECODING;

	c->state = state;
	if (!was && is)
		atomic_fetch_add(&c->calls->unfinished, 1);
	else if (was && !is && atomic_fetch_sub(&c->calls->unfinished, 1) == 1 &&
		 c->calls->on_finished)
		c->calls->on_finished(c->calls->ctx);
}

int rkfs_call_begin_locked(struct rkfs_call *c, struct rk_error *err)
{
	struct rk_registry *reg = rk_runtime_registry(c->rt);
	struct rk_payload *pool;
	struct rk_kernel *k;

	do {
		k = rk_registry_current(reg, c->kernel);
		if (!k)
			return rk_error_set(err, ENODEV, "the kernel was removed");
		if (!rk_kernel_pin(k))
			break;
		rk_kernel_unref(k); /* it was replaced at this very moment */
	} while (true);
	if (!c->codec->applies(&k->manifest)) {
		rk_kernel_unpin(k);
		rk_kernel_unref(k);
		return rk_error_set(err, ENODEV,
				    "the description was changed: there is no %s any more",
				    c->codec->file);
	}
	c->error.code = 0;
	c->request = (struct rk_request){
		.codec = c->codec,
		.closed = &c->closed,
		.uid = c->caller.uid,
		.pid = c->caller.pid,
		.max_json_bytes = rk_runtime_max_json_bytes(c->rt),
		.max_header_bytes = rk_runtime_max_header_bytes(c->rt),
		.max_feed_work = RKFS_CALL_INLINE_BYTES,
		.max_message_bytes = rk_runtime_max_message_bytes(c->rt),
	};
	pool = rk_runtime_payload(c->rt);
	rk_request_init(&c->request, k, pool);
	rk_payload_unref(pool);
	rk_kernel_unref(k);
	return 0;
}

void rkfs_call_drop_locked(struct rkfs_call *c)
{
	struct rk_kernel *k = c->request.kernel;

	rk_answer_drop(&c->answer);
	c->part = 0;
	c->part_pos = 0;
	if (!k)
		return;
	rk_kernel_ref(k);
	rk_request_drop(&c->request);
	c->request = (struct rk_request){.kernel = NULL};
	rk_kernel_unpin(k);
	rk_kernel_unref(k);
}

struct rkfs_call *rkfs_call_ref(struct rkfs_call *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void rkfs_call_unref(struct rkfs_call *c)
{
	if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	rkfs_call_drop_locked(c);
	rk_kernel_unref(c->kernel);
	rkfs_waitq_destroy(&c->wait);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void rkfs_call_wake_and_unref(struct rkfs_call *c)
{
	rkfs_waitq_wake(&c->wait);
	rkfs_call_unref(c);
}
