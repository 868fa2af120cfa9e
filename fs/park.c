/* SPDX-License-Identifier: MIT */
/* Requests that wait, as libfuse has them, and polls. */
#include "fs/park.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/thread.h"

#define PARKED_BYTES 512 /* about what a request takes that waits, libfuse's part included */

/* A read, a write or a poll that waits. Owned by whoever takes it off its file's queue. */
struct rkfs_parked {
	struct rkfs_waiter waiter;
	struct rkfs_parking *parking;
	TAILQ_ENTRY(rkfs_parked) link; /* of parking.all: until libfuse is not needed any more */
	struct rkfs_file *file;	       /* a reference */
	struct fuse_pollhandle *ph;    /* a poll's, owned */
	fuse_req_t req;		       /* a read's or a write's, and what it asks for */
	char *text;		       /* a write's, owned, of size bytes; else NULL */
	struct rk_caller caller;
	uint64_t held; /* of his, bytes */
	uint64_t offset;
	size_t size;
	int flags;
};

struct rkfs_parking {
	pthread_mutex_t lock;
	pthread_cond_t empty;
	TAILQ_HEAD(, rkfs_parked) all;
};

static struct rkfs_parked *parked_of(struct rkfs_waiter *w)
{
	return (struct rkfs_parked *)((char *)w - offsetof(struct rkfs_parked, waiter));
}

int rkfs_parking_create(struct rkfs_parking **out)
{
	struct rkfs_parking *parking = calloc(1, sizeof(*parking));
	int rc;

	if (!parking)
		return -ENOMEM;
	TAILQ_INIT(&parking->all);
	rc = pthread_mutex_init(&parking->lock, NULL);
	if (rc)
		goto free_parking;
	rc = pthread_cond_init(&parking->empty, NULL);
	if (rc)
		goto free_lock;
	*out = parking;
	return 0;
free_lock:
	pthread_mutex_destroy(&parking->lock);
free_parking:
	free(parking);
	return -rc;
}

/* The last use of @p: its request has been answered, or its poll handle is gone. */
static void parked_end(struct rkfs_parked *p)
{
	struct rkfs_parking *parking = p->parking;

	rkfs_unhold(p->file->subject.fs, p->caller.uid, p->held);
	/* first, so that no file is in use once nothing is parked */
	rkfs_file_unref(p->file);
	pthread_mutex_lock(&parking->lock);
	TAILQ_REMOVE(&parking->all, p, link);
	if (TAILQ_EMPTY(&parking->all))
		pthread_cond_signal(&parking->empty);
	pthread_mutex_unlock(&parking->lock);
	free(p->text);
	free(p);
}

/* --- reads and writes --- */

static void reply_bytes(void *ctx, const void *data, size_t len)
{
	/* fails where the reader is gone (ENOENT, ENODEV): nobody is left to be told */
	(void)fuse_reply_buf(ctx, data, len);
}

/* libfuse may be calling on_interrupt right now; afterwards it will not. Then @p can be freed. */
static void disarm(struct rkfs_parked *p)
{
	fuse_req_interrupt_func(p->req, NULL, NULL);
}

static void reply_parked_bytes(void *ctx, const void *data, size_t len)
{
	struct rkfs_parked *p = ctx;

	disarm(p);
	reply_bytes(p->req, data, len);
}

static void reply_parked_error(struct rkfs_parked *p, int code)
{
	disarm(p);
	(void)fuse_reply_err(p->req, code);
	parked_end(p);
}

/*
 * A signal at the reader. libfuse holds the request's lock, and also calls this from within
 * fuse_req_interrupt_func, where answering would free that very lock: but then @p is not queued
 * yet, and its owner finds it cancelled.
 */
static void on_interrupt(fuse_req_t req, void *ctx)
{
	struct rkfs_parked *p = ctx;

	if (!rkfs_waitq_cancel(p->file->waitq, &p->waiter))
		return;
	(void)fuse_reply_err(req, EINTR);
	parked_end(p);
}

/* Answer the read or the write of @p, if it can be by now: 0, or a negative errno that is not told.
 */
static int attempt(struct rkfs_parked *p)
{
	ssize_t n;

	if (!p->text)
		return rkfs_read(p->file, &p->caller, p->offset, p->size, p->flags,
				 reply_parked_bytes, p);
	n = rkfs_write(p->file, &p->caller, p->text, p->size);
	if (n < 0)
		return (int)n;
	disarm(p);
	(void)fuse_reply_write(p->req, (size_t)n);
	return 0;
}

/* Try the request of @p, which this thread owns, until it is answered or queued. */
static void retry(struct rkfs_parked *p)
{
	struct rkfs_waitq *q = p->file->waitq;
	uint64_t seq;
	int rc;

	do {
		seq = rkfs_waitq_seq(q);
		rc = attempt(p);
		if (!rc) {
			parked_end(p);
			return;
		}
		if (rc != -EAGAIN) {
			reply_parked_error(p, -rc);
			return;
		}
		rc = rkfs_waitq_add(q, &p->waiter, seq);
	} while (rc == -EAGAIN);
	if (rc)
		reply_parked_error(p, EINTR);
}

static void wake_request(struct rkfs_waiter *w)
{
	retry(parked_of(w));
}

/* Keep @req, which asks for @what, until it can be answered. */
static void park(struct rkfs_parking *parking, fuse_req_t req, struct rkfs_file *file,
		 const struct rk_caller *caller, struct rkfs_parked what)
{
	uint64_t held = PARKED_BYTES + (what.text ? what.size : 0);
	struct rkfs_parked *p = NULL;

	if (!rkfs_hold(file->subject.fs, caller->uid, held)) {
		p = malloc(sizeof(*p));
		if (!p)
			rkfs_unhold(file->subject.fs, caller->uid, held);
	}
	if (!p) {
		free(what.text);
		(void)fuse_reply_err(req, ENOMEM);
		return;
	}
	*p = what;
	p->waiter.wake = wake_request;
	p->parking = parking;
	p->file = rkfs_file_ref(file);
	p->req = req;
	p->caller = *caller;
	p->held = held;
	pthread_mutex_lock(&parking->lock);
	TAILQ_INSERT_TAIL(&parking->all, p, link);
	pthread_mutex_unlock(&parking->lock);
	fuse_req_interrupt_func(req, on_interrupt, p);
	retry(p);
}

void rkfs_park_read(struct rkfs_parking *parking, fuse_req_t req, struct rkfs_file *file,
		    const struct rk_caller *caller, uint64_t offset, size_t size, int flags)
{
	int rc = rkfs_read(file, caller, offset, size, flags, reply_bytes, req);

	if (!rc)
		return;
	if (rc != -EAGAIN || !file->waitq || (flags & O_NONBLOCK)) {
		(void)fuse_reply_err(req, -rc);
		return;
	}
	park(parking, req, file, caller,
	     (struct rkfs_parked){.offset = offset, .size = size, .flags = flags});
}

void rkfs_park_write(struct rkfs_parking *parking, fuse_req_t req, struct rkfs_file *file,
		     const struct rk_caller *caller, const char *buf, size_t size)
{
	ssize_t n = rkfs_write(file, caller, buf, size);
	char *text;

	if (n >= 0) {
		(void)fuse_reply_write(req, (size_t)n);
		return;
	}
	if (n != -EAGAIN || !file->waitq || file->attr->stream) {
		(void)fuse_reply_err(req, (int)-n);
		return;
	}
	text = malloc(size + 1);
	if (!text) {
		(void)fuse_reply_err(req, ENOMEM);
		return;
	}
	memcpy(text, buf, size);
	park(parking, req, file, caller, (struct rkfs_parked){.text = text, .size = size});
}

/* --- polls --- */

static void poll_end(struct rkfs_parked *p)
{
	fuse_pollhandle_destroy(p->ph);
	parked_end(p);
}

static void wake_poll(struct rkfs_waiter *w)
{
	struct rkfs_parked *p = parked_of(w);
	struct rkfs_parking *parking = p->parking;

	pthread_mutex_lock(&parking->lock);
	if (p->file->poll == p)
		p->file->poll = NULL;
	pthread_mutex_unlock(&parking->lock);
	/* fails where the file is closed or nobody polls it any more */
	(void)fuse_lowlevel_notify_poll(p->ph);
	poll_end(p);
}

/*
 * Make @p (or NULL) the file's poll. Returns the one it had before where that is now the
 * caller's; one that is being woken ends itself.
 */
static struct rkfs_parked *replace_poll(struct rkfs_parking *parking, struct rkfs_file *file,
					struct rkfs_parked *p)
{
	struct rkfs_parked *old;

	/* with the lock: none of them is freed, and no other poll of this file sees @p unqueued */
	RK_GUARD(&parking->lock);
	old = file->poll;
	file->poll = p;
	if (old && !rkfs_waitq_remove(file->waitq, &old->waiter))
		old = NULL;
	if (p) {
		TAILQ_INSERT_TAIL(&parking->all, p, link);
		while (rkfs_waitq_add(file->waitq, &p->waiter, rkfs_waitq_seq(file->waitq)))
			;
	}
	return old;
}

void rkfs_park_poll(struct rkfs_parking *parking, fuse_req_t req, struct rkfs_file *file,
		    struct fuse_pollhandle *ph)
{
	struct rkfs_parked *p, *old;
	unsigned int events;

	if (ph && !file->waitq) {
		fuse_pollhandle_destroy(ph);
	} else if (ph) {
		p = calloc(1, sizeof(*p));
		if (!p) {
			fuse_pollhandle_destroy(ph);
			(void)fuse_reply_err(req, ENOMEM);
			return;
		}
		p->waiter.wake = wake_poll;
		p->parking = parking;
		p->file = rkfs_file_ref(file);
		p->ph = ph;
		old = replace_poll(parking, file, p);
		if (old)
			poll_end(old);
	}
	/* after queueing: what comes from now on is notified */
	events = rkfs_poll(file);
	if (events & POLLIN)
		events |= POLLRDNORM;
	if (events & POLLOUT)
		events |= POLLWRNORM;
	(void)fuse_reply_poll(req, events);
}

void rkfs_park_release(struct rkfs_parking *parking, struct rkfs_file *file)
{
	struct rkfs_parked *old;

	if (!file->waitq)
		return;
	old = replace_poll(parking, file, NULL);
	if (old)
		poll_end(old);
}

/* One that nobody is waking at this moment; now it is the caller's. Those being woken end
 * themselves. */
static struct rkfs_parked *take_any_locked(struct rkfs_parking *parking)
{
	struct rkfs_parked *p;

	TAILQ_FOREACH (p, &parking->all, link) {
		if (!rkfs_waitq_cancel(p->file->waitq, &p->waiter))
			continue;
		if (p->file->poll == p)
			p->file->poll = NULL;
		return p;
	}
	return NULL;
}

void rkfs_parking_destroy(struct rkfs_parking *parking)
{
	struct rkfs_parked *p;

	pthread_mutex_lock(&parking->lock);
	while (!TAILQ_EMPTY(&parking->all)) {
		p = take_any_locked(parking);
		if (!p) {
			pthread_cond_wait(&parking->empty, &parking->lock);
			continue;
		}
		pthread_mutex_unlock(&parking->lock);
		if (p->ph)
			poll_end(p);
		else
			reply_parked_error(p, ENOTCONN);
		pthread_mutex_lock(&parking->lock);
	}
	pthread_mutex_unlock(&parking->lock);
	pthread_cond_destroy(&parking->empty);
	pthread_mutex_destroy(&parking->lock);
	free(parking);
}
