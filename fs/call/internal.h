/* SPDX-License-Identifier: MIT */
/*
 * A call file is a small state machine, private to one open file:
 *
 *   IDLE --write--> FILLING --read--> DECODING -> FLYING -> ENCODING -> ANSWER --EOF--> IDLE
 *
 * with PREPARED between DECODING and FLYING where O_NONBLOCK met a full queue, and FAILED
 * (REFUSED while the request is still being written) holding the error that the next read returns.
 * The read after that one gets the sentence, once: its own caller may read what others may not.
 *
 * Shared by call.c (the file), run.c (from the request to the answer) and state.c (the machine
 * itself), each of which uses only those named after it. A call's own lock is never held
 * across a call of dispatch; the order of locks is in doc/ARCHITECTURE.md.
 */
#ifndef RKFS_CALL_INTERNAL_H
#define RKFS_CALL_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "fs/base/waitq.h"
#include "fs/call/call.h"
#include "runtime/base/thread.h"
#include "runtime/request/codec.h"
#include "runtime/runtime.h"

/* Codec work up to here is done by the thread at hand, more on a codec thread. */
#define RKFS_CALL_INLINE_BYTES (64 * 1024)

/* jobs.c: a few threads for work that would keep a FUSE thread or the supervisor too long. */

struct rk_jobs;
struct rk_job_turn;

/* One piece of work; memory of the caller's, his again when run is called. Zeroed at first. */
struct rk_job {
	void (*run)(struct rk_job *job);
	uid_t uid; /* for whom */
	/* of the pool: */
	struct rk_job_turn *turn; /* while it is queued */
	TAILQ_ENTRY(rk_job) link;
};

/* A pool of at most @threads threads, each started when it is first needed. 0 or -ENOMEM. */
int rk_jobs_create(struct rk_jobs **jobs, unsigned int threads);

/* Finish what is queued, then end the threads and free. */
void rk_jobs_destroy(struct rk_jobs *jobs);

/*
 * Run @job soon, with no lock held. Users take turns, a job each; those of one user keep the order
 * of submission. Where not even one thread can be started, or memory is out, it is run here and
 * now.
 */
void rk_jobs_run(struct rk_jobs *jobs, struct rk_job *job);

/* Take @job back if it was not begun yet: it is the caller's then, and never run. Else false. */
bool rk_jobs_drop(struct rk_jobs *jobs, struct rk_job *job);

/* the call */

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
	pthread_mutex_t lock; /* guards open */
	TAILQ_HEAD(, rkfs_call) open;
	struct rk_jobs *jobs;
	atomic_size_t unfinished;
	atomic_ulong round; /* in which its poller was last told of room */
	void (*on_finished)(void *ctx);
	void *ctx;
};

struct rkfs_call {
	atomic_uint refs; /* the open file, a job, a message under way */
	struct rkfs_calls *calls;
	struct rk_runtime *rt;
	const struct rk_codec *codec;
	struct rk_kernel *kernel; /* a reference: the one that was opened; it may be retired */
	struct rkfs_waitq wait;
	struct rk_job job;
	TAILQ_ENTRY(rkfs_call) link; /* and round: guarded by calls->lock */
	unsigned long round;

	pthread_mutex_t lock;
	enum call_state state;
	atomic_bool closed; /* set with the lock held; a codec asks meanwhile */
	bool may_wait;	    /* the submitting read blocks */
	struct rk_caller caller;
	struct rk_request request; /* zeroed, or begun: then its kernel is pinned */
	struct rk_answer answer;
	unsigned int part; /* of the answer, and how much of it has been read */
	size_t part_pos;
	struct rk_error error;
};

/* state.c */

/* With the call's lock held. */
void rkfs_call_set_state_locked(struct rkfs_call *c, enum call_state state);
/*
 * Begin a request to the kernel that has the file's id now. 0, or -ENODEV with a sentence where
 * there is none any more.
 */
int rkfs_call_begin_locked(struct rkfs_call *c, struct rk_error *err);
/* Drop request, message and answer, none of which is in use any more. */
void rkfs_call_drop_locked(struct rkfs_call *c);

struct rkfs_call *rkfs_call_ref(struct rkfs_call *c);
void rkfs_call_unref(struct rkfs_call *c);
/* Wake who waits for the call, and give up the reference that another thread had for its work. */
void rkfs_call_wake_and_unref(struct rkfs_call *c);

/* run.c */

/*
 * The request failed before dispatch saw it: count it, name it, remember why for the next
 * read. Does not wake who waits: an operation on the file looks at the state itself, and waking
 * would take the file's lock, which it holds; all other threads wake after it.
 */
void rkfs_call_reject(struct rkfs_call *c, struct rk_error *err, enum call_state state);

/* Turn the request into a message and submit it, here or on a codec thread. The state is DECODING.
 */
void rkfs_call_decode(struct rkfs_call *c);

/* Hand the prepared message to dispatch; its callback or the state tells the rest. */
void rkfs_call_submit(struct rkfs_call *c);

#endif
