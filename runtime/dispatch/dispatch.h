/* SPDX-License-Identifier: MIT */
/*
 * Queues and accounting. One lock decides all that must agree: whether messages are
 * accepted, the enqueue, the in-flight count and the counters; so that
 * accepted = processed + failed + cancelled + timed_out + in_flight in every snapshot.
 *
 * Each worker has a lane, named by its index. At most `nslots` messages run on a lane at a time;
 * short ones are handed to it several in one packet, of which those that are not begun when the
 * worker dies go back into the queue. The rest wait in the queue of their turn, one for each kernel
 * and user, and turns go round. A free lane takes the next turn whose kernel it has loaded. No
 * function blocks: the workers' sockets are written without waiting, and done callbacks run with no
 * lock held. The order of locks is in doc/ARCHITECTURE.md.
 */
#ifndef RK_RUNTIME_DISPATCH_DISPATCH_H
#define RK_RUNTIME_DISPATCH_DISPATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/wire.h"
#include "runtime/base/error.h"
#include "runtime/request/message.h"
#include "runtime/base/counters.h"
#include "runtime/base/thread.h"

/* What dispatch tells its owner, with no lock held. */
struct rk_dispatch_observer {
	void (*idle)(void *ctx); /* the last message in flight is gone */
	/* A message must be done by @at_ns (CLOCK_MONOTONIC): call rk_dispatch_expire then. */
	void (*deadline)(void *ctx, uint64_t at_ns);
	/* It has killed too many workers (RK_KILLS_MAX) and is not wanted any more: disable it. */
	void (*tripped)(void *ctx, struct rk_kernel *k);
	void (*unloadable)(void *ctx,
			   struct rk_kernel *k); /* ENDING or OFF, and rk_dispatch_kernel_idle */
	void (*lane_idle)(void *ctx);		 /* the last message of a closed lane is gone */
	void *ctx;
};

#define RK_LANES_MAX	    32		 /* lanes have a bit each in a uint32_t */
#define RK_ONLY_LANE	    0		 /* of a runtime that has one worker */
#define RK_FUSE_BYTES	    (256 * 1024) /* of a message's block that may be fused */
#define RK_DISPATCH_BUCKETS 1024	 /* of the table by id; a power of two */

/* Why a worker's messages end. */
struct rk_death {
	int code; /* errno of those that are not decided yet */
	const char *why;
	uint64_t blamed_id; /* message whose kernel killed it, 0 = unknown or nobody */
	bool certain;	    /* it is dead, and begins nothing any more */
};

/* One worker, as dispatch sees it; by index, the same for those that follow one another. */
struct rk_lane {
	int fd; /* message socket, -1 = no worker */
	uint32_t index;
	uint64_t worker; /* number of the attached one; no two have the same, 0 = none yet */
	bool blamed;	 /* a kernel was, for the end of that one */
	bool closed;	 /* nothing is handed to it but probes */
	bool took_bound; /* its last turn came from `bound` */
	uint64_t processed, failed;    /* of what ran on it, since the counters were reset */
	struct rk_wire_shared *shared; /* of that worker, NULL = none */
	const char *overdue;	       /* why rk_dispatch_expire named it last */
	uint32_t nslots, running;
	uint32_t fuse_max; /* messages that may run as one */
	/*
	 * RUNNING, the first of each run, the others linked by `with`; a reference each. The slot
	 * after the first nslots is for a probe, and counts in `running` never.
	 */
	struct rk_message *slots[RK_WIRE_SLOTS_MAX];
	uint64_t progress_ns;	   /* the last answer, or hand-out while none ran */
	struct rk_turn_list bound; /* as rk_dispatch.ready, of the kernels bound to it */
};

struct rk_dispatch {
	pthread_mutex_t lock;
	struct rk_dispatch_observer observer;
	void (*room)(void *ctx, struct rk_kernel *k); /* NULL = nobody is told */
	void *room_ctx;
	bool accepting;
	uint64_t next_id;
	bool ended;		     /* one has left in_flight in this critical section */
	bool lane_idle;		     /* the last one of a closed lane has, the same */
	uint64_t workers;	     /* attached so far */
	uint32_t max_queue_depth;    /* per kernel and user */
	uint64_t earliest_deadline;  /* of messages enqueued in this critical section, 0 = none */
	uint64_t message_timeout_ns; /* 0 = none */
	uint64_t cancel_grace_ns;    /* 0 = none */
	struct rk_lane lanes[RK_LANES_MAX];
	uint32_t nlanes; /* that ever had a worker: the first ones */
	/* those with queued messages that any lane may take, the next one first */
	struct rk_turn_list ready;
	TAILQ_HEAD(, rk_kernel) busy;  /* kernels with messages in flight */
	struct rk_message_list probes; /* QUEUED and RUNNING ones, oldest first; on no other list */
	uint64_t next_probe;
	struct rk_message_list finished; /* done, callback not called yet; a reference each */
	struct rk_message_list refused;	 /* the same, left to rk_dispatch_flush */
	TAILQ_HEAD(, rk_kernel) noticed; /* kernels whose observer is to be called */
	_Atomic uint64_t kernels_active;
	struct rk_message_list by_id[RK_DISPATCH_BUCKETS]; /* in flight */
	struct rk_counters books; /* in flight: QUEUED + RUNNING of all kernels */
	_Alignas(struct rk_wire_run) unsigned char packet[RK_WIRE_RUN_MAX]; /* being built */
};

/* Returns 0 or a negative errno. Nothing is accepted yet. */
int rk_dispatch_init(struct rk_dispatch *d, const struct rk_dispatch_observer *observer);

/*
 * Call @room, with no lock held, whenever the queue of a kernel that was full has room again. Set
 * before the first message is submitted.
 */
void rk_dispatch_on_room(struct rk_dispatch *d, void (*room)(void *ctx, struct rk_kernel *k),
			 void *ctx);
void rk_dispatch_destroy(struct rk_dispatch *d);

/*
 * Limits for messages accepted, and for those cancelled while they run, from now on. @timeout_ns
 * and @grace_ns 0 = none.
 */
void rk_dispatch_set_limits(struct rk_dispatch *d, uint32_t max_queue_depth, uint64_t timeout_ns,
			    uint64_t grace_ns);

/*
 * Accept messages from now on, or refuse them with ESHUTDOWN. Refusing fails those that
 * wait for room; those in flight go on. Returns the number in flight at that instant.
 * May be called with lifecycle.lock held: done callbacks of those waiting are
 * left to rk_dispatch_flush, which the caller calls once it holds no lock.
 */
uint64_t rk_dispatch_accept(struct rk_dispatch *d, bool accepting);
void rk_dispatch_flush(struct rk_dispatch *d);

/*
 * Submit @m, whose plan is laid out and whose block holds the inputs. Returns 0: it is
 * accepted, or (@may_wait) waits for queue room, and m->done will be called. Fails with
 * ESHUTDOWN (not accepting), ENODEV (kernel gone, disabled, not loaded), ENOSPC (not loaded for
 * max_kernel_instances), EAGAIN (queue full,
 * !@may_wait). Refusals but EAGAIN count as rejected.
 */
int rk_dispatch_submit(struct rk_dispatch *d, struct rk_message *m, bool may_wait,
		       struct rk_error *err);

/*
 * Submit a health probe (m->probe is set) of @lane: it goes through the worker as any message, but
 * in a place that messages cannot fill: it waits for other probes only, never behind its kernel's
 * queue nor for a slot. It is taken whether messages are accepted or not, and is in no statistics,
 * no latency, no list and no drain. Returns 0, or -ENODEV where its kernel is not loaded. Its
 * timeout is its maker's matter: rk_dispatch_cancel.
 */
int rk_dispatch_submit_probe(struct rk_dispatch *d, uint32_t lane, struct rk_message *m,
			     struct rk_error *err);

/* Whether @m was handed to the worker and has no answer yet. */
bool rk_dispatch_is_running(struct rk_dispatch *d, struct rk_message *m);

/*
 * Whether messages run on @lane, and *@quiet_ns how long its worker has answered none of those that
 * it has, probes included, nanoseconds.
 */
bool rk_dispatch_is_busy(struct rk_dispatch *d, uint32_t lane, uint64_t *quiet_ns);

/* The id of a message that runs on @lane, where all of those are of one kernel; else 0. Probes
 * aside. */
uint64_t rk_dispatch_only_kernel(struct rk_dispatch *d, uint32_t lane);

/*
 * Count a request of @uid that failed before submission (malformed, too large, no memory). Of @err,
 * which begins with the id of @k, what tells of the request is hidden.
 */
void rk_dispatch_reject(struct rk_dispatch *d, struct rk_kernel *k, uid_t uid,
			struct rk_error *err);

/*
 * Cancel @m if it is not done: one that waits or is queued is done at once with ECANCELED; of one
 * that runs the caller is told at once, and the worker, but it stays in flight until the worker has
 * finished it and is then counted; after the grace it is overdue.
 */
void rk_dispatch_cancel(struct rk_dispatch *d, struct rk_message *m);
/* The same by id; false where no such message is in flight. */
bool rk_dispatch_cancel_id(struct rk_dispatch *d, uint64_t id);

/*
 * End everything in flight, now: queued and running messages are done with @code and the sentence
 * @why (counted cancelled for ECANCELED, else failed). The messages that were running are appended
 * to *@held with a reference each: their blocks must outlive the worker process. Returns how many
 * were ended.
 */
uint64_t rk_dispatch_end_all(struct rk_dispatch *d, int code, const char *why,
			     struct rk_message_list *held);

/*
 * A worker with @nslots threads listens on @fd for @lane: hand out what is queued. @shared is its
 * page, borrowed until detach; NULL = it has none. One thread takes
 * up to
 * @fuse_max messages of one kernel as one, where the kernel is batchable and runs on cuda, the
 * messages are small (RK_FUSE_BYTES each) and rk_plan_fuses says yes; they begin with the oldest
 * and are taken in their order. Of a ring kernel one message runs at a time.
 */
void rk_dispatch_attach(struct rk_dispatch *d, uint32_t lane, int fd, struct rk_wire_shared *shared,
			uint32_t nslots, uint32_t fuse_max);

/*
 * The worker of @lane is gone or about to be killed: nothing more is handed to it. Running messages
 * are done with EIO and @why, but for those whose verdict is decided already and those past their
 * deadline (ETIMEDOUT); they go to *@held as above. The kernel of message @blamed_id (0 = none) and
 * those past their deadline are blamed. Queued ones stay. Returns the number of messages that were
 * running.
 */
uint32_t rk_dispatch_detach(struct rk_dispatch *d, uint32_t lane, const char *why,
			    uint64_t blamed_id, struct rk_message_list *held);

/* The same for a worker that is dead already: what it had not begun is queued again. */
uint32_t rk_dispatch_bury(struct rk_dispatch *d, uint32_t lane, const char *why, uint64_t blamed_id,
			  struct rk_message_list *held);

/*
 * Hand no message to @lane from now on, or some again. Returns how many run there: where that is
 * not 0, the observer's lane_idle follows.
 */
uint32_t rk_dispatch_close_lane(struct rk_dispatch *d, uint32_t lane, bool closed);

/* End what runs on @lane, whose worker is about to be ended, with ECANCELED and @why; as detach. */
uint32_t rk_dispatch_cancel_lane(struct rk_dispatch *d, uint32_t lane, const char *why,
				 struct rk_message_list *held);

/* What ran on a lane since the counters were reset, and what runs there. */
struct rk_lane_counts {
	uint64_t processed, failed, in_flight;
};

void rk_dispatch_lane_counts(struct rk_dispatch *d, uint32_t lane, struct rk_lane_counts *counts);

/* Whether a kernel was blamed for the end of @lane's last worker. */
bool rk_dispatch_blamed(struct rk_dispatch *d, uint32_t lane);

/*
 * The worker of @lane answered with the @len bytes at @packet (copied out of the socket already):
 * one or more structs rk_wire_done, each with its text where the status is not 0. Returns 0;
 * -EPROTO: no such message runs, or the packet is malformed; -EIO: the kernel wrote past an
 * output (its message has failed with EIO). After either the worker must be replaced, and nothing
 * more is handed to it; answers before that one count. An unknown answer is ignored while no worker
 * is attached: it is a late one.
 */
int rk_dispatch_complete(struct rk_dispatch *d, uint32_t lane, const void *packet, size_t len,
			 struct rk_error *err);

/*
 * End queued messages whose deadline has passed with ETIMEDOUT. Returns the lanes (1 << index) on
 * which a running one is past its deadline too, or was cancelled and is past its grace: their
 * workers must be replaced. *@next is the earliest deadline left, 0 = none.
 */
uint32_t rk_dispatch_expire(struct rk_dispatch *d, uint64_t now_ns, uint64_t *next);

/* Why it named @lane last; static storage. */
const char *rk_dispatch_why_overdue(struct rk_dispatch *d, uint32_t lane);

/*
 * Change a kernel's state. OFF and ENDING fail those that wait for room with ENODEV; OFF also
 * fails those that are queued (EIO, with @why). ENDING with nothing queued or running calls the
 * observer's unloadable.
 */
void rk_dispatch_kernel_state(struct rk_dispatch *d, struct rk_kernel *k,
			      enum rk_kernel_state state, const char *why);
/*
 * The worker of @lane has @k loaded, or has it no more: it is given messages of those alone. A ring
 * kernel is bound to one that has it, until that one has it no more.
 */
void rk_dispatch_kernel_loaded(struct rk_dispatch *d, uint32_t lane, struct rk_kernel *k,
			       bool loaded);
/* @k is about to be loaded, or to stay so: LOADING, where it is OFF or ENDING. */
void rk_dispatch_kernel_expect(struct rk_dispatch *d, struct rk_kernel *k);
/* @k is OFF because max_kernel_instances are loaded: refuse with ENOSPC until its state changes. */
void rk_dispatch_kernel_over_limit(struct rk_dispatch *d, struct rk_kernel *k);

/* Whether nothing of @k itself is queued or runs, probes included: it may be unloaded. */
bool rk_dispatch_kernel_idle(struct rk_dispatch *d, struct rk_kernel *k);

/*
 * Remember the sentence that `last_error` shows; where @k is OFF or ENDING it is the reason, which
 * every refusal repeats until @k is loaded again.
 */
void rk_dispatch_kernel_error(struct rk_dispatch *d, struct rk_kernel *k, const char *msg);
/* As @reader may read it: what it hides, only he whose request it tells of. */
void rk_dispatch_kernel_last_error(struct rk_dispatch *d, struct rk_kernel *k, uid_t reader,
				   char msg[RK_ERROR_MAX]);

/* Whether a submission of @uid to @k would find room; no promise. */
bool rk_dispatch_has_room(struct rk_dispatch *d, struct rk_kernel *k, uid_t uid);

/* All counters and in_flight in one critical section: the books balance. @k NULL = the whole
 * runtime. */
void rk_dispatch_snapshot(struct rk_dispatch *d, struct rk_kernel *k, struct rk_counts *counts);

/* Counters (and last_error) from 0 again. Nothing is in flight. */
void rk_dispatch_reset(struct rk_dispatch *d);
void rk_dispatch_reset_kernel(struct rk_dispatch *d, struct rk_kernel *k);

/* In flight right now. */
uint64_t rk_dispatch_in_flight(struct rk_dispatch *d);

/* One line of drain/stuck and inflight/. */
struct rk_message_info {
	uint64_t id;
	char kernel[RK_KERNEL_ID_MAX];
	enum rk_message_state state;
	bool cancelled; /* its caller knows already; the worker goes on with it */
	int worker;	/* that has it, -1 = none has */
	uint64_t age_ms;
	struct timespec accepted; /* CLOCK_REALTIME */
	uid_t uid;
	pid_t pid;
};

/* "queued", "running", or "cancelling": its caller knows already, the worker goes on with it.
 * Static storage. */
const char *rk_message_info_state(const struct rk_message_info *info);

/*
 * Up to @max messages in flight whose id is at least @from, by id (that is, by age), into @info.
 * Returns how many.
 */
size_t rk_dispatch_list(struct rk_dispatch *d, uint64_t from, struct rk_message_info *info,
			size_t max);

/* The id of the message accepted last; 0 = none was. */
uint64_t rk_dispatch_newest(struct rk_dispatch *d);

/* The message whose id is @id, in its low 32 bits at least. False where none is in flight. */
bool rk_dispatch_find(struct rk_dispatch *d, uint32_t id, struct rk_message_info *info);

#endif
