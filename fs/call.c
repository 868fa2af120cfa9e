/* SPDX-License-Identifier: MIT */
/*
 * A call file is a small state machine, private to one open file:
 *
 *   IDLE --write--> FILLING --read--> DECODING -> FLYING -> ENCODING -> ANSWER --EOF--> IDLE
 *
 * with PREPARED between DECODING and FLYING where O_NONBLOCK met a full queue, and FAILED
 * (REFUSED while the request is still being written) holding the error that the next read returns.
 * A call's own lock is taken inside the file's lock and never held across a call of dispatch.
 */
#include "fs/call.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "fs/node.h"
#include "runtime/codec_json.h"
#include "runtime/jobs.h"

#define INLINE_BYTES  (64 * 1024) /* codec work up to here is done by the thread at hand */
#define CODEC_THREADS 2
#define MIN_CAPACITY  512

enum call_state {
	CALL_IDLE,
	CALL_FILLING,
	CALL_REFUSED,
	/* From here on the call is unfinished: somebody has an answer to come. */
	CALL_DECODING,
	CALL_PREPARED,
	CALL_FLYING,
	CALL_ENCODING,
	CALL_ANSWER,
	CALL_FAILED,
};

struct rkfs_calls {
	pthread_mutex_t lock; /* guards open; innermost */
	TAILQ_HEAD(, call) open;
	struct rk_jobs *jobs;
	atomic_size_t unfinished;
	atomic_ulong round; /* of rkfs_calls_room */
	void (*on_finished)(void *ctx);
	void *ctx;
};

struct call {
	atomic_uint refs; /* the open file, a job, a message under way */
	struct rkfs_calls *calls;
	struct rk_runtime *rt;
	struct rk_kernel *kernel; /* a reference */
	struct rkfs_waitq wait;
	struct rk_job job;
	TAILQ_ENTRY(call) link; /* and round: guarded by calls->lock */
	unsigned long round;

	pthread_mutex_t lock;
	enum call_state state;
	bool closed;
	bool may_wait; /* the submitting read blocks */
	struct rk_caller caller;
	struct rk_payload *pool; /* a reference while anything is charged */
	uint64_t charged;
	char *request;
	size_t request_len, request_cap;
	struct rk_message *message;
	char *answer;
	size_t answer_len, answer_pos;
	struct rk_error error;
};

/* --- bookkeeping --- */

static void set_state_locked(struct call *c, enum call_state state)
{
	bool was = c->state >= CALL_DECODING, is = state >= CALL_DECODING;

	c->state = state;
	if (!was && is)
		atomic_fetch_add(&c->calls->unfinished, 1);
	else if (was && !is && atomic_fetch_sub(&c->calls->unfinished, 1) == 1 &&
		 c->calls->on_finished)
		c->calls->on_finished(c->calls->ctx);
}

static int charge_locked(struct call *c, uint64_t bytes, struct rk_error *err)
{
	int rc;

	if (!c->pool)
		c->pool = rk_runtime_payload(c->rt);
	rc = rk_payload_charge(c->pool, bytes, err);
	if (!rc)
		c->charged += bytes;
	return rc;
}

/* Forget request, message and answer; nothing of them is in use any more. */
static void drop_locked(struct call *c)
{
	free(c->request);
	c->request = NULL;
	c->request_len = c->request_cap = 0;
	rk_message_unref(c->message);
	c->message = NULL;
	free(c->answer);
	c->answer = NULL;
	c->answer_len = c->answer_pos = 0;
	if (c->pool)
		rk_payload_uncharge(c->pool, c->charged);
	c->charged = 0;
	rk_payload_unref(c->pool);
	c->pool = NULL;
}

static void call_unref(struct call *c)
{
	if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	drop_locked(c);
	rk_kernel_unref(c->kernel);
	rkfs_waitq_destroy(&c->wait);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/*
 * The request has failed: remember why, for the next read. Does not wake who waits: an operation on
 * the file looks at the state itself, and waking would take the file's lock, which it holds; all
 * other threads wake after it.
 */
static void fail(struct call *c, uint64_t id, const struct rk_error *err, enum call_state state)
{
	rk_runtime_message_failed(c->rt, c->kernel, id, &c->caller, err);
	pthread_mutex_lock(&c->lock);
	drop_locked(c);
	c->error = *err;
	set_state_locked(c, c->closed ? CALL_IDLE : state);
	pthread_mutex_unlock(&c->lock);
}

/* It failed before dispatch saw it. */
static void reject(struct call *c, struct rk_error *err, enum call_state state)
{
	rk_error_prefix(err, "%s", c->kernel->manifest.id);
	rk_dispatch_reject(rk_runtime_dispatch(c->rt), c->kernel, err);
	fail(c, 0, err, state);
}

/* --- answer --- */

static void encode(struct call *c)
{
	struct rk_error err = {0};
	char *text = NULL;
	size_t len = 0;
	int rc;

	rc = rk_json_encode(&c->message->plan, c->message->block.data, &text, &len, &err);
	pthread_mutex_lock(&c->lock);
	if (!rc)
		rc = charge_locked(c, len, &err);
	if (!rc && !c->closed) {
		rk_message_unref(c->message); /* frees the block: the answer has it all */
		c->message = NULL;
		c->answer = text;
		c->answer_len = len;
		c->answer_pos = 0;
		text = NULL;
		set_state_locked(c, CALL_ANSWER);
	} else if (!rc) {
		drop_locked(c);
		set_state_locked(c, CALL_IDLE);
	}
	pthread_mutex_unlock(&c->lock);
	free(text);
	if (rc)
		fail(c, c->message->id, &err, CALL_FAILED);
}

static struct call *call_of(struct rk_job *job)
{
	return (struct call *)((char *)job - offsetof(struct call, job));
}

/* The end of what another thread did for the call. */
static void wake_and_unref(struct call *c)
{
	rkfs_waitq_wake(&c->wait);
	call_unref(c);
}

static void encode_job(struct rk_job *job)
{
	encode(call_of(job));
	wake_and_unref(call_of(job));
}

/* Dispatch is through with the message. Takes over the reference that came with it. */
static void on_done(struct rk_message *m, void *ctx)
{
	struct call *c = ctx;

	if (m->error.code) {
		fail(c, m->id, &m->error, CALL_FAILED);
		wake_and_unref(c);
		return;
	}
	pthread_mutex_lock(&c->lock);
	set_state_locked(c, CALL_ENCODING);
	pthread_mutex_unlock(&c->lock);
	c->job.run = encode_job;
	if (m->plan.block_bytes <= INLINE_BYTES)
		encode_job(&c->job);
	else
		rk_jobs_run(c->calls->jobs, &c->job);
}

/* --- request --- */

static int decode_into(struct call *c, struct rk_message *m, struct rk_error *err)
{
	struct rk_json *doc = NULL;
	int rc;

	rc = rk_json_parse(c->request, c->request_len, &m->plan, &doc, err);
	if (!rc)
		rc = rk_plan_layout(&m->plan, rk_runtime_max_message_bytes(c->rt), err);
	if (!rc)
		rc = rk_payload_alloc(c->pool, m->plan.block_bytes, &m->block, err);
	if (!rc)
		rc = rk_json_store(doc, &m->plan, m->block.data, err);
	if (!rc)
		rk_plan_clear(&m->plan, m->block.data);
	rk_json_free(doc);
	return rc;
}

/* Hand the prepared message to dispatch; on_done or the state tells the rest. */
static void submit(struct call *c)
{
	struct rk_message *m = rk_message_ref(c->message);
	struct rk_error err = {0};
	bool may_wait;
	int rc;

	pthread_mutex_lock(&c->lock);
	set_state_locked(c, CALL_FLYING);
	may_wait = c->may_wait;
	pthread_mutex_unlock(&c->lock);
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed); /* on_done's */
	rc = rk_dispatch_submit(rk_runtime_dispatch(c->rt), m, may_wait, &err);
	if (rc == -EAGAIN) {
		pthread_mutex_lock(&c->lock);
		set_state_locked(c, CALL_PREPARED);
		pthread_mutex_unlock(&c->lock);
	} else if (rc) {
		fail(c, 0, &err, CALL_FAILED);
	}
	rk_message_unref(m);
	if (rc)
		call_unref(c);
}

/* The state is DECODING, so request and message are this thread's. */
static void decode(struct call *c)
{
	struct rk_message *m = rk_message_new(c->kernel, c->caller.uid, c->caller.pid);
	struct rk_error err = {0};
	bool closed;
	int rc;

	rc = m ? decode_into(c, m, &err) : rk_error_set(&err, ENOMEM, "no memory for a message");
	if (rc) {
		rk_message_unref(m);
		reject(c, &err, CALL_FAILED);
		return;
	}
	m->done = on_done;
	m->ctx = c;
	pthread_mutex_lock(&c->lock);
	free(c->request);
	c->request = NULL;
	c->request_len = c->request_cap = 0;
	rk_payload_uncharge(c->pool, c->charged);
	c->charged = 0;
	c->message = m;
	closed = c->closed;
	if (closed) {
		drop_locked(c);
		set_state_locked(c, CALL_IDLE);
	}
	pthread_mutex_unlock(&c->lock);
	if (!closed)
		submit(c);
}

static void decode_job(struct rk_job *job)
{
	decode(call_of(job));
	wake_and_unref(call_of(job));
}

static void start_decoding(struct call *c)
{
	if (c->request_len <= INLINE_BYTES) {
		decode(c);
		return;
	}
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	c->job.run = decode_job;
	rk_jobs_run(c->calls->jobs, &c->job);
}

/* --- the file --- */

static int call_open(struct rkfs_file *file, const struct rk_caller *caller, int flags)
{
	struct call *c = calloc(1, sizeof(*c));
	int rc;

	(void)flags;
	if (!c)
		return -ENOMEM;
	rc = -pthread_mutex_init(&c->lock, NULL);
	if (rc) {
		free(c);
		return rc;
	}
	rc = rkfs_waitq_init(&c->wait);
	if (rc) {
		pthread_mutex_destroy(&c->lock);
		free(c);
		return rc;
	}
	atomic_init(&c->refs, 1);
	c->calls = file->subject.fs->calls;
	c->rt = file->subject.fs->rt;
	c->kernel = rk_kernel_ref(file->subject.kernel);
	c->caller = *caller;
	pthread_mutex_lock(&c->calls->lock);
	TAILQ_INSERT_TAIL(&c->calls->open, c, link);
	pthread_mutex_unlock(&c->calls->lock);
	file->stream = c;
	file->waitq = &c->wait;
	return 0;
}

static void call_release(struct rkfs_file *file)
{
	struct call *c = file->stream;
	struct rk_message *m = NULL;

	pthread_mutex_lock(&c->calls->lock);
	TAILQ_REMOVE(&c->calls->open, c, link);
	pthread_mutex_unlock(&c->calls->lock);
	pthread_mutex_lock(&c->lock);
	c->closed = true;
	if (c->state == CALL_FLYING)
		m = rk_message_ref(c->message);
	else if (c->state != CALL_DECODING && c->state != CALL_ENCODING) {
		drop_locked(c);
		set_state_locked(c, CALL_IDLE);
	}
	pthread_mutex_unlock(&c->lock);
	if (m)
		rk_dispatch_cancel(rk_runtime_dispatch(c->rt), m);
	rk_message_unref(m);
	call_unref(c);
}

/* Take the next piece of the answer; at its end the call is idle again. */
static void read_answer(struct call *c, size_t size, rkfs_emit emit, void *ctx)
{
	const char *from = c->answer + c->answer_pos;
	size_t left = c->answer_len - c->answer_pos;
	size_t n = size < left ? size : left;

	c->answer_pos += n;
	if (!n) {
		drop_locked(c);
		set_state_locked(c, CALL_IDLE);
	}
	pthread_mutex_unlock(&c->lock);
	emit(ctx, from, n); /* the file's lock keeps the answer alive */
}

static int call_read(struct rkfs_file *file, const struct rk_caller *caller, size_t size, int flags,
		     rkfs_emit emit, void *ctx)
{
	struct call *c = file->stream;
	enum call_state state;
	int rc;

	(void)caller;
	pthread_mutex_lock(&c->lock);
	state = c->state;
	if (state == CALL_FILLING || state == CALL_PREPARED) {
		c->may_wait = !(flags & O_NONBLOCK);
		set_state_locked(c, CALL_DECODING);
		pthread_mutex_unlock(&c->lock);
		if (state == CALL_FILLING)
			start_decoding(c);
		else
			submit(c);
		pthread_mutex_lock(&c->lock);
	}
	switch (c->state) {
	case CALL_ANSWER:
		read_answer(c, size, emit, ctx);
		return 0;
	case CALL_REFUSED:
	case CALL_FAILED:
		rc = -c->error.code;
		drop_locked(c);
		set_state_locked(c, CALL_IDLE);
		pthread_mutex_unlock(&c->lock);
		return rc;
	case CALL_IDLE:
		pthread_mutex_unlock(&c->lock);
		emit(ctx, NULL, 0);
		return 0;
	default:
		pthread_mutex_unlock(&c->lock);
		return -EAGAIN;
	}
}

/* Make room for @more bytes of request. */
static int grow_locked(struct call *c, size_t more, struct rk_error *err)
{
	uint64_t max = rk_runtime_max_json_bytes(c->rt);
	size_t need, cap = c->request_cap ? c->request_cap : MIN_CAPACITY;
	char *grown;

	if (__builtin_add_overflow(c->request_len, more, &need) || need > max)
		return rk_error_set(err, EMSGSIZE,
				    "the request is larger than max_json_bytes (%llu bytes)",
				    (unsigned long long)max);
	while (cap < need)
		cap *= 2;
	if (cap == c->request_cap)
		return 0;
	if (charge_locked(c, cap - c->request_cap, err))
		return -ENOMEM;
	grown = realloc(c->request, cap);
	if (!grown)
		return rk_error_set(err, ENOMEM, "no memory for the request");
	c->request = grown;
	c->request_cap = cap;
	return 0;
}

static ssize_t call_write(struct rkfs_file *file, const struct rk_caller *caller, const char *buf,
			  size_t size)
{
	struct call *c = file->stream;
	struct rk_error err = {0};
	int rc;

	pthread_mutex_lock(&c->lock);
	switch (c->state) {
	case CALL_DECODING:
	case CALL_PREPARED:
	case CALL_FLYING:
	case CALL_ENCODING:
		pthread_mutex_unlock(&c->lock);
		return -EBUSY;
	case CALL_REFUSED: /* until a read has fetched the error: this is the rest of that request
			    */
		rc = -c->error.code;
		pthread_mutex_unlock(&c->lock);
		return rc;
	case CALL_ANSWER:
	case CALL_FAILED:
		drop_locked(c);
		/* fall through */
	case CALL_IDLE:
	case CALL_FILLING:
		break;
	}
	if (c->state != CALL_FILLING) {
		c->caller = *caller;
		set_state_locked(c, CALL_FILLING);
	}
	rc = grow_locked(c, size, &err);
	if (!rc) {
		memcpy(c->request + c->request_len, buf, size);
		c->request_len += size;
	}
	pthread_mutex_unlock(&c->lock);
	if (rc) {
		reject(c, &err, CALL_REFUSED);
		return rc;
	}
	return (ssize_t)size;
}

static unsigned int call_poll(struct rkfs_file *file)
{
	struct call *c = file->stream;
	enum call_state state;

	pthread_mutex_lock(&c->lock);
	state = c->state;
	pthread_mutex_unlock(&c->lock);
	switch (state) {
	case CALL_DECODING:
	case CALL_FLYING:
	case CALL_ENCODING:
		return 0;
	case CALL_ANSWER:
	case CALL_REFUSED:
	case CALL_FAILED:
		return POLLIN | POLLRDNORM;
	default:
		return rk_dispatch_has_room(rk_runtime_dispatch(c->rt), c->kernel)
			       ? POLLOUT | POLLWRNORM
			       : 0;
	}
}

const struct rkfs_stream_ops rkfs_call_json_ops = {
	.open = call_open,
	.read = call_read,
	.write = call_write,
	.poll = call_poll,
	.release = call_release,
};

/* --- all of them --- */

int rkfs_calls_create(struct rkfs_calls **out)
{
	struct rkfs_calls *calls = calloc(1, sizeof(*calls));

	if (!calls)
		return -ENOMEM;
	TAILQ_INIT(&calls->open);
	if (rk_jobs_create(&calls->jobs, CODEC_THREADS)) {
		free(calls);
		return -ENOMEM;
	}
	if (pthread_mutex_init(&calls->lock, NULL)) {
		rk_jobs_destroy(calls->jobs);
		free(calls);
		return -ENOMEM;
	}
	*out = calls;
	return 0;
}

void rkfs_calls_destroy(struct rkfs_calls *calls)
{
	if (!calls)
		return;
	rk_jobs_destroy(calls->jobs);
	pthread_mutex_destroy(&calls->lock);
	free(calls);
}

/* Up to @max open calls of @k that round @round has not visited yet, with a reference each. */
static size_t take_round(struct rkfs_calls *calls, struct rk_kernel *k, unsigned long round,
			 struct call **found, size_t max)
{
	struct call *c;
	size_t n = 0;

	pthread_mutex_lock(&calls->lock);
	TAILQ_FOREACH (c, &calls->open, link) {
		if (c->kernel != k || c->round >= round)
			continue;
		c->round = round;
		atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
		found[n++] = c;
		if (n == max)
			break;
	}
	pthread_mutex_unlock(&calls->lock);
	return n;
}

void rkfs_calls_room(struct rkfs_calls *calls, struct rk_kernel *k)
{
	unsigned long round = atomic_fetch_add(&calls->round, 1) + 1;
	struct call *found[64];
	size_t n;

	do {
		n = take_round(calls, k, round, found, 64);
		for (size_t i = 0; i < n; i++)
			wake_and_unref(found[i]);
	} while (n == 64);
}

size_t rkfs_calls_unfinished(struct rkfs_calls *calls)
{
	return atomic_load(&calls->unfinished);
}

void rkfs_calls_on_finished(struct rkfs_calls *calls, void (*fn)(void *ctx), void *ctx)
{
	calls->ctx = ctx;
	calls->on_finished = fn;
}
