/* SPDX-License-Identifier: MIT */
/*
 * A message: one request to one kernel, from submission to its result.
 * Its maker holds one reference, dispatch one while it is in flight or waiting,
 * and a worker that was ended while running it one until that process is dead
 * (it may still be writing into the block).
 */
#ifndef RK_RUNTIME_REQUEST_MESSAGE_H
#define RK_RUNTIME_REQUEST_MESSAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <time.h>

#include "runtime/base/error.h"
#include "runtime/request/payload.h"
#include "runtime/request/plan.h"
#include "runtime/kernel/registry.h"

/*
 *   NEW --+--> WAITING --+--> QUEUED --+--> RUNNING ----> DONE
 *         |              |             |                   ^
 *         +-- had room --+             +- ended before it ran
 *
 * One that waits is ended like one that is queued: cancelled, refused; timed out once it is queued.
 */
enum rk_message_state {
	RK_MESSAGE_NEW,
	RK_MESSAGE_WAITING, /* for queue room; not accepted */
	RK_MESSAGE_QUEUED,
	RK_MESSAGE_RUNNING,
	RK_MESSAGE_DONE, /* result and error are final */
};

struct rk_message {
	atomic_uint refs;
	struct rk_kernel *kernel; /* a reference */
	uid_t uid;		  /* who asked */
	pid_t pid;
	struct rk_plan plan;
	struct rk_block block; /* inputs, then outputs; owned */
	bool probe;	       /* of the health check: goes the same way, counted nowhere */

	/*
	 * Called once, with no lock held, from any thread, when the message is DONE or was
	 * cancelled (error says which; where it was running it stays in flight until the worker is
	 * through with it); not called where rk_dispatch_submit failed. Must not block.
	 */
	void (*done)(struct rk_message *m, void *ctx);
	void *ctx;

	/* Guarded by dispatch.lock until DONE, constant afterwards. */
	enum rk_message_state state;
	uint64_t id;		  /* 0 until accepted */
	uint64_t accepted_ns;	  /* CLOCK_MONOTONIC */
	struct timespec accepted; /* CLOCK_REALTIME, for people */
	uint64_t deadline_ns;	  /* 0 = none */
	uint64_t cancel_by_ns;	  /* RUNNING and cancelled: it must end by then; 0 = none */
	uint64_t run_ns;	  /* time in the kernel */
	bool settled;		  /* the kernel is unpinned */
	bool told;		  /* done was called ahead of the end: cancelled while RUNNING */
	uint32_t lane;		  /* while RUNNING, a probe's always */
	uint32_t slot;		  /* of the lane while RUNNING */
	bool leads;		  /* RUNNING: the first of those that run as one */
	struct rk_message *with;  /* RUNNING: the next of the same slot */
	int verdict;		  /* while RUNNING: errno decided already (cancelled), 0 = none */
	struct rk_error error;	  /* code 0 = success */
	struct rk_turn *turn;	  /* while QUEUED or WAITING */
	TAILQ_ENTRY(rk_message) queue;	  /* the turn's queue or waiting list */
	TAILQ_ENTRY(rk_message) inflight; /* kernel's inflight list */
	TAILQ_ENTRY(rk_message) finished; /* a list private to the thread that finishes it */
	TAILQ_ENTRY(rk_message) hashed;	  /* table by id, while in flight */
};

/*
 * A new message with one reference and an initialised plan for @kernel (a reference is taken, and
 * the caller has pinned; it is pinned by the message too, until it is done). NULL where memory is
 * out.
 */
struct rk_message *rk_message_new(struct rk_kernel *kernel, uid_t uid, pid_t pid);
struct rk_message *rk_message_ref(struct rk_message *m);

/* Unpin its kernel: it is done, or given up. By its only owner, or with dispatch.lock held. */
void rk_message_settle(struct rk_message *m);

void rk_message_unref(struct rk_message *m); /* NULL is allowed; the last one frees block and all */

#endif
