/* SPDX-License-Identifier: MIT */
/* Call files: open, write, read, poll, close; and the list of all that are open. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "fs/call/internal.h"
#include "fs/base/rkfs.h"

#define CODEC_THREADS 2

/* --- the file --- */

static int call_open(struct rkfs_file *file, const struct rk_caller *caller, int flags)
{
	struct rkfs_call *c = calloc(1, sizeof(*c));
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
	c->codec = (const struct rk_codec *)file->attr->arg;
	c->kernel = rk_kernel_ref(file->subject.kernel);
	c->caller = *caller;
	atomic_init(&c->closed, false);
	pthread_mutex_lock(&c->calls->lock);
	TAILQ_INSERT_TAIL(&c->calls->open, c, link);
	pthread_mutex_unlock(&c->calls->lock);
	file->stream = c;
	file->waitq = &c->wait;
	return 0;
}

static void call_release(struct rkfs_file *file)
{
	struct rkfs_call *c = file->stream;
	struct rk_message *m = NULL;

	pthread_mutex_lock(&c->calls->lock);
	TAILQ_REMOVE(&c->calls->open, c, link);
	pthread_mutex_unlock(&c->calls->lock);
	pthread_mutex_lock(&c->lock);
	atomic_store(&c->closed, true);
	if (c->state == CALL_FLYING)
		m = rk_message_ref(c->request.message);
	else if (c->state != CALL_DECODING && c->state != CALL_ENCODING) {
		rkfs_call_drop_locked(c);
		rkfs_call_set_state_locked(c, CALL_IDLE);
	}
	pthread_mutex_unlock(&c->lock);
	if (m)
		rk_dispatch_cancel(rk_runtime_dispatch(c->rt), m);
	rk_message_unref(m);
	/* what runs sees that the file is closed; what is queued would have seen it */
	if (rk_jobs_drop(c->calls->jobs, &c->job))
		c->job.run(&c->job);
	rkfs_call_unref(c);
}

/* Take the next piece of the answer; at its end the call is idle again. */
static void read_answer(struct rkfs_call *c, size_t size, rkfs_emit emit, void *ctx)
{
	const struct iovec *part;
	const char *from = NULL;
	size_t n = 0;

	while (c->part < c->answer.nparts && c->part_pos == c->answer.parts[c->part].iov_len) {
		c->part++;
		c->part_pos = 0;
	}
	if (c->part < c->answer.nparts) {
		part = &c->answer.parts[c->part];
		from = (const char *)part->iov_base + c->part_pos;
		n = part->iov_len - c->part_pos;
		n = size < n ? size : n;
		c->part_pos += n;
	} else {
		rkfs_call_drop_locked(c);
		rkfs_call_set_state_locked(c, CALL_IDLE);
	}
	pthread_mutex_unlock(&c->lock);
	emit(ctx, from, n); /* the file's lock keeps the answer alive */
}

/* End @sentence with a newline, and cut it to @size bytes, not 0. Returns its length. */
static size_t end_line(char sentence[RK_ERROR_MAX], size_t size)
{
	size_t most = size < RK_ERROR_MAX ? size : RK_ERROR_MAX;
	size_t len = strnlen(sentence, most - 1);

	sentence[len] = '\n';
	return len + 1;
}

static int call_read(struct rkfs_file *file, const struct rk_caller *caller, size_t size, int flags,
		     rkfs_emit emit, void *ctx)
{
	struct rkfs_call *c = file->stream;
	struct rk_error said;
	enum call_state state;
	int rc;

	(void)caller;
	pthread_mutex_lock(&c->lock);
	state = c->state;
	if (state == CALL_FILLING || state == CALL_PREPARED) {
		c->may_wait = !(flags & O_NONBLOCK);
		rkfs_call_set_state_locked(c, CALL_DECODING);
		pthread_mutex_unlock(&c->lock);
		if (state == CALL_FILLING)
			rkfs_call_decode(c);
		else
			rkfs_call_submit(c);
		pthread_mutex_lock(&c->lock);
	}
	switch (c->state) {
	case CALL_ANSWER:
		read_answer(c, size, emit, ctx);
		return 0;
	case CALL_REFUSED:
	case CALL_FAILED:
		rc = -c->error.code;
		rkfs_call_drop_locked(c);
		rkfs_call_set_state_locked(c, CALL_IDLE);
		pthread_mutex_unlock(&c->lock);
		return rc;
	case CALL_IDLE:
		said = c->error;
		c->error.code = 0;
		pthread_mutex_unlock(&c->lock);
		emit(ctx, said.msg, said.code && size ? end_line(said.msg, size) : 0);
		return 0;
	default:
		pthread_mutex_unlock(&c->lock);
		return -EAGAIN;
	}
}

static ssize_t call_write(struct rkfs_file *file, const struct rk_caller *caller, const char *buf,
			  size_t size)
{
	struct rkfs_call *c = file->stream;
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
	case CALL_REFUSED: /* the rest of that request, until a read has fetched the error */
		rc = -c->error.code;
		pthread_mutex_unlock(&c->lock);
		return rc;
	case CALL_ANSWER:
	case CALL_FAILED:
		rkfs_call_drop_locked(c);
		/* fall through */
	case CALL_IDLE:
	case CALL_FILLING:
		break;
	}
	rc = 0;
	if (c->state != CALL_FILLING) {
		c->caller = *caller;
		rc = rkfs_call_begin_locked(c, &err);
		rkfs_call_set_state_locked(c, CALL_FILLING);
	}
	if (!rc)
		rc = c->codec->feed(&c->request, buf, size, &err);
	pthread_mutex_unlock(&c->lock);
	if (rc) {
		rkfs_call_reject(c, &err, CALL_REFUSED);
		return rc;
	}
	return (ssize_t)size;
}

/* A kernel that was removed counts as one with room: the write tells that it is gone. */
static bool has_room(struct rkfs_call *c)
{
	struct rk_kernel *k = rk_registry_current(rk_runtime_registry(c->rt), c->kernel);
	bool room = !k || rk_dispatch_has_room(rk_runtime_dispatch(c->rt), k, c->caller.uid);

	rk_kernel_unref(k);
	return room;
}

static unsigned int call_poll(struct rkfs_file *file)
{
	struct rkfs_call *c = file->stream;
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
		return has_room(c) ? POLLOUT | POLLWRNORM : 0;
	}
}

const struct rkfs_stream_ops rkfs_call_ops = {
	.open = call_open,
	.read = call_read,
	.write = call_write,
	.poll = call_poll,
	.release = call_release,
};

/* --- all of them --- */

/* Up to @max open calls of @k that round @round has not visited yet, with a reference each. */
static size_t take_round(struct rkfs_calls *calls, struct rk_kernel *k, unsigned long round,
			 struct rkfs_call **found, size_t max)
{
	struct rkfs_call *c;
	size_t n = 0;

	RK_GUARD(&calls->lock);
	TAILQ_FOREACH (c, &calls->open, link) {
		if (c->kernel->stats != k->stats || c->round >= round)
			continue;
		c->round = round;
		found[n++] = rkfs_call_ref(c);
		if (n == max)
			break;
	}
	return n;
}

/* A full queue of @k has room: pollers for POLLOUT look again. */
static void on_room(void *ctx, struct rk_kernel *k)
{
	struct rkfs_calls *calls = ctx;
	unsigned long round = atomic_fetch_add(&calls->round, 1) + 1;
	struct rkfs_call *found[64];
	size_t n;

	do {
		n = take_round(calls, k, round, found, 64);
		for (size_t i = 0; i < n; i++)
			rkfs_call_wake_and_unref(found[i]);
	} while (n == 64);
}

int rkfs_calls_create(struct rkfs_calls **out, struct rk_dispatch *dispatch)
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
	rk_dispatch_on_room(dispatch, on_room, calls);
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

size_t rkfs_calls_unfinished(struct rkfs_calls *calls)
{
	return atomic_load(&calls->unfinished);
}

void rkfs_calls_on_finished(struct rkfs_calls *calls, void (*fn)(void *ctx), void *ctx)
{
	calls->ctx = ctx;
	calls->on_finished = fn;
}
