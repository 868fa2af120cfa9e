/* SPDX-License-Identifier: MIT */
/*
 * The state machine of the runtime: one table, one lock. Which other locks may be taken with it,
 * and with every other lock of the daemon and of the worker, is in doc/ARCHITECTURE.md ("Locks").
 */
#ifndef RK_RUNTIME_LIFECYCLE_H
#define RK_RUNTIME_LIFECYCLE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#define RK_STATES(X)                                                                               \
	X(RK_CREATED, "Created")                                                                   \
	X(RK_STARTING, "Starting")                                                                 \
	X(RK_RUNNING, "Running")                                                                   \
	X(RK_DRAINING, "Draining")                                                                 \
	X(RK_STOPPED, "Stopped")                                                                   \
	X(RK_FAILED, "Failed")

enum rk_state {
#define X(id, name) id,
	RK_STATES(X)
#undef X
	RK_STATE_COUNT
};

/* What may happen to the runtime. READY, DRAINED, DEADLINE and FAULT are internal. */
#define RK_TRIGGERS(X)                                                                             \
	X(RK_START, "start")                                                                       \
	X(RK_READY, "ready")                                                                       \
	X(RK_DRAIN, "drain")                                                                       \
	X(RK_DRAINED, "drained")                                                                   \
	X(RK_DEADLINE, "deadline")                                                                 \
	X(RK_RESUME, "resume")                                                                     \
	X(RK_STOP, "stop")                                                                         \
	X(RK_FAULT, "fault")                                                                       \
	X(RK_RESET, "reset")

enum rk_trigger {
#define X(id, name) id,
	RK_TRIGGERS(X)
#undef X
	RK_TRIGGER_COUNT
};

struct rk_lifecycle {
	pthread_mutex_t lock;
	_Atomic enum rk_state state; /* written under lock */
};

/* Names as files print them; static storage. */
const char *rk_state_name(enum rk_state state);
const char *rk_trigger_name(enum rk_trigger trigger);

/* Returns 0 or the negative errno of the mutex. The state is Created. */
int rk_lifecycle_init(struct rk_lifecycle *lc);
void rk_lifecycle_destroy(struct rk_lifecycle *lc);

/* The state now, without the lock. */
enum rk_state rk_lifecycle_state(const struct rk_lifecycle *lc);

/* Whether the table lists @trigger in the state that holds now. */
bool rk_lifecycle_allows(const struct rk_lifecycle *lc, enum rk_trigger trigger);

void rk_lifecycle_lock(struct rk_lifecycle *lc);
void rk_lifecycle_unlock(struct rk_lifecycle *lc);

/* Test and transition, with the lock held. Returns 0, or -EBUSY with no side effect. */
int rk_lifecycle_fire_locked(struct rk_lifecycle *lc, enum rk_trigger trigger);

#endif
