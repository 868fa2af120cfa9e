/* SPDX-License-Identifier: MIT */
/*
 * Shared by the files of this folder only, each of which calls only those named before it:
 * queue.c (the moves of a message), lane.c (which lane takes what), run.c (what the workers have),
 * death.c (what a worker leaves), answer.c, dispatch.c and info.c (what others call). All are
 * called with dispatch.lock held; unlock_and_tell releases it.
 */
#ifndef RK_RUNTIME_DISPATCH_INTERNAL_H
#define RK_RUNTIME_DISPATCH_INTERNAL_H

#include "runtime/dispatch/dispatch.h"

#define RK_CANCELLED "cancelled by its caller"

enum rk_notice {
	RK_NOTICE_ROOM = 1,
	RK_NOTICE_UNLOADABLE = 2,
	RK_NOTICE_TRIPPED = 4,
};

/* queue.c: the moves of a message */

/* Have the observer called for @k by unlock_and_tell. */
void rk_dispatch_notice_locked(struct rk_dispatch *d, struct rk_kernel *k, enum rk_notice what);
void rk_dispatch_count_locked(struct rk_dispatch *d, struct rk_kernel *k, enum rk_counter counter);
/* What is wrong with a request (EINVAL) is told with names, numbers and sizes of it: hide in @err,
 * which begins with the id of @k, all behind that. */
void rk_dispatch_hide(const struct rk_kernel *k, struct rk_error *err);
/* The sentence that last_error shows, of a request of @uid. */
void rk_dispatch_remember_locked(struct rk_kernel *k, const struct rk_error *err, uid_t uid);

/* The turn of @uid at @k, made where there is none yet; NULL = no memory. To be given a message. */
struct rk_turn *rk_dispatch_turn_locked(struct rk_kernel *k, uid_t uid);
/* Take @m off the list of those that wait for room. */
void rk_dispatch_unwait_locked(struct rk_dispatch *d, struct rk_message *m);
/* Accept @m, whose turn is set; takes over a reference. */
void rk_dispatch_enqueue_locked(struct rk_dispatch *d, struct rk_message *m);
/* @m, which was handed out but not begun, is the first of its turn again. False: no memory. */
bool rk_dispatch_put_back_locked(struct rk_dispatch *d, struct rk_message *m);
/* Take @m off its queue; a probe is on none. */
void rk_dispatch_unqueue_locked(struct rk_dispatch *d, struct rk_message *m);
/* What @k has queued may be handed out, unless it is a ring kernel of which one runs. */
void rk_dispatch_ready_locked(struct rk_dispatch *d, struct rk_kernel *k);
/* The list of the turns of @k that may run: its lane's, where it is bound to one. */
struct rk_turn_list *rk_dispatch_list_locked(struct rk_dispatch *d, const struct rk_kernel *k);
/* Nothing of @k is to be handed out for now. */
void rk_dispatch_unready_locked(struct rk_dispatch *d, struct rk_kernel *k);

/* How many messages of one user at @k may be queued. */
uint64_t rk_dispatch_depth_locked(const struct rk_dispatch *d, const struct rk_kernel *k);
bool rk_dispatch_full_locked(const struct rk_dispatch *d, const struct rk_turn *t);
/* Whether a message of @uid would find room at @k; whoever is told no is noticed once it does. */
bool rk_dispatch_has_room_locked(const struct rk_dispatch *d, const struct rk_kernel *k, uid_t uid);
/* A place in a queue of @k is free: accept who waits for it, or tell who polls. */
void rk_dispatch_room_locked(struct rk_dispatch *d, struct rk_kernel *k);
/* Nothing of @k is queued or runs, nor a probe of it. */
bool rk_dispatch_idle_locked(const struct rk_dispatch *d, const struct rk_kernel *k);

/* @m, on no list any more, is done; its dispatch reference goes to the finished list. */
void rk_dispatch_done_locked(struct rk_dispatch *d, struct rk_message *m, int code,
			     const char *why);
/* The same for one that was in flight: counted, measured. */
void rk_dispatch_finish_locked(struct rk_dispatch *d, struct rk_message *m, int code,
			       const char *why);
/* Tell the caller of a RUNNING message at once; it stays in flight. */
void rk_dispatch_cancel_running_locked(struct rk_dispatch *d, struct rk_message *m);
/* End a message that waits for room: it was never accepted. */
void rk_dispatch_refuse_waiting_locked(struct rk_dispatch *d, struct rk_message *m, int code,
				       const char *why);
/* End the messages of @k that are queued. Returns how many. */
uint64_t rk_dispatch_end_queued_locked(struct rk_dispatch *d, struct rk_kernel *k, int code,
				       const char *why);
/* End the probes of @k that wait for their lane; @k NULL: of all kernels. */
void rk_dispatch_end_probes_locked(struct rk_dispatch *d, const struct rk_kernel *k, int code,
				   const char *why);

/* Unlock, then make the calls that the critical section asked for. */
void rk_dispatch_unlock_and_tell(struct rk_dispatch *d);

/* lane.c: which lane takes what */

/*
 * A lane with a free slot and the turn it takes next (*@turn), but for the lanes @except (1 <<
 * index); NULL where there is none. The one that runs least comes first.
 */
struct rk_lane *rk_dispatch_free_lane_locked(struct rk_dispatch *d, uint32_t except,
					     struct rk_turn **turn);
/* @lane took @turn: others are before it now. */
void rk_dispatch_took_locked(struct rk_dispatch *d, struct rk_lane *lane, struct rk_turn *turn);
/* The oldest probe that @lane may be given now, or NULL. A ring kernel runs one message at a time.
 */
struct rk_message *rk_dispatch_next_probe_locked(const struct rk_dispatch *d,
						 const struct rk_lane *lane);

/* @lane has @k loaded, or has it no more. */
void rk_dispatch_loaded_locked(struct rk_dispatch *d, struct rk_lane *lane, struct rk_kernel *k,
			       bool loaded);

/* run.c: what the workers have */

/* Give queued messages to free slots of lanes, and a probe to each one's own; turns go round. */
void rk_dispatch_hand_out_locked(struct rk_dispatch *d);
/* The message @id that runs in @slot of @lane, or NULL. */
struct rk_message *rk_dispatch_running_locked(const struct rk_lane *lane, uint32_t slot,
					      uint64_t id);
/* @m runs no more: its slot is free where nothing ran with it. To be finished. */
void rk_dispatch_left_locked(struct rk_dispatch *d, struct rk_message *m);

/* death.c: what a worker leaves */

/* The kernel of @m killed its worker, which counts once; once too often, it is disabled. */
void rk_dispatch_blame_locked(struct rk_dispatch *d, const struct rk_message *m);
/*
 * The worker of @lane is gone: end what ran on it, but for what was decided already; where its
 * death is certain, what it had not begun is queued again. Returns how many were ended, without
 * probes.
 */
uint32_t rk_dispatch_end_running_locked(struct rk_dispatch *d, struct rk_lane *lane,
					const struct rk_death *death, struct rk_message_list *held);

#endif
