/* SPDX-License-Identifier: MIT */
/* From a written request to its answer: decode, submit, encode. */
#include <errno.h>

#include "fs/call/internal.h"

/* On to @state; false where the file was closed meanwhile: nobody will read an answer any more. */
static bool move_on(struct rkfs_call *c, enum call_state state)
{
	bool closed;

	RK_GUARD(&c->lock);
	closed = atomic_load(&c->closed);
	if (closed)
		rkfs_call_drop_locked(c);
	rkfs_call_set_state_locked(c, closed ? CALL_IDLE : state);
	return !closed;
}

/* The request has failed: remember why, for the next read. Does not wake, as rkfs_call_reject. */
static void fail(struct rkfs_call *c, uint64_t id, const struct rk_error *err,
		 enum call_state state)
{
	rk_runtime_message_failed(c->rt, c->kernel, id, &c->caller, err);
	RK_GUARD(&c->lock);
	rkfs_call_drop_locked(c);
	c->error = *err;
	rkfs_call_set_state_locked(c, atomic_load(&c->closed) ? CALL_IDLE : state);
}

void rkfs_call_reject(struct rkfs_call *c, struct rk_error *err, enum call_state state)
{
	rk_error_prefix(err, "%s", c->kernel->manifest.id);
	rk_dispatch_reject(rk_runtime_dispatch(c->rt), c->kernel, c->caller.uid, err);
	fail(c, 0, err, state);
}

static bool is_closed(const struct rkfs_call *c)
{
	return atomic_load(&c->closed);
}

/* Do @run for the call, whose @work is so many bytes, here or on a codec thread. */
static void do_job(struct rkfs_call *c, uint64_t work, void (*run)(struct rk_job *job))
{
	c->job.run = run;
	c->job.uid = c->caller.uid;
	if (work <= RKFS_CALL_INLINE_BYTES)
		run(&c->job);
	else
		rk_jobs_run(c->calls->jobs, &c->job);
}

/* --- answer --- */

static void encode(struct rkfs_call *c)
{
	uint64_t id = c->request.message->id;
	struct rk_error err = {0};

	if (!is_closed(c) && c->codec->answer(&c->request, &c->answer, &err) && !is_closed(c)) {
		fail(c, id, &err, CALL_FAILED);
		return;
	}
	(void)move_on(c, CALL_ANSWER);
}

static struct rkfs_call *call_of(struct rk_job *job)
{
	return (struct rkfs_call *)((char *)job - offsetof(struct rkfs_call, job));
}

static void encode_job(struct rk_job *job)
{
	encode(call_of(job));
	rkfs_call_wake_and_unref(call_of(job));
}

/* Dispatch is through with the message. Takes over the reference that came with it. */
static void on_done(struct rk_message *m, void *ctx)
{
	struct rkfs_call *c = ctx;

	if (m->error.code) {
		fail(c, m->id, &m->error, CALL_FAILED);
		rkfs_call_wake_and_unref(c);
		return;
	}
	pthread_mutex_lock(&c->lock);
	rkfs_call_set_state_locked(c, CALL_ENCODING);
	pthread_mutex_unlock(&c->lock);
	do_job(c, c->codec->work(&c->request), encode_job);
}

/* --- request --- */

void rkfs_call_submit(struct rkfs_call *c)
{
	struct rk_dispatch *d = rk_runtime_dispatch(c->rt);
	struct rk_message *m = rk_message_ref(c->request.message);
	bool may_wait = c->may_wait;
	struct rk_error err = {0};
	int rc;

	if (!move_on(c, CALL_FLYING)) {
		rk_message_unref(m);
		return;
	}
	rkfs_call_ref(c); /* on_done's */
	rc = rk_dispatch_submit(d, m, may_wait, &err);
	if (!rc && is_closed(c)) /* the close may have come before there was anything to cancel */
		rk_dispatch_cancel(d, m);
	else if (rc == -EAGAIN) /* the queue was full: the next read tries again */
		(void)move_on(c, CALL_PREPARED);
	else if (rc)
		fail(c, 0, &err, CALL_FAILED);
	rk_message_unref(m);
	if (rc)
		rkfs_call_unref(c);
}

/* The state is DECODING, so the request is this thread's. */
static void decode(struct rkfs_call *c)
{
	struct rk_error err = {0};

	if (!is_closed(c) && c->codec->finish(&c->request, &err) && !is_closed(c)) {
		rkfs_call_reject(c, &err, CALL_FAILED);
		return;
	}
	if (!move_on(c, CALL_DECODING))
		return;
	c->request.message->done = on_done;
	c->request.message->ctx = c;
	rkfs_call_submit(c);
}

static void decode_job(struct rk_job *job)
{
	decode(call_of(job));
	rkfs_call_wake_and_unref(call_of(job));
}

void rkfs_call_decode(struct rkfs_call *c)
{
	uint64_t work = c->codec->work(&c->request);

	if (work <=
	    RKFS_CALL_INLINE_BYTES) { /* in an operation on the file, which needs no waking */
		decode(c);
		return;
	}
	rkfs_call_ref(c);
	do_job(c, work, decode_job);
}
