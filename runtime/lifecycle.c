/* SPDX-License-Identifier: MIT */
/* The state machine of the runtime: the table of transitions, and the state. */
#include "runtime/lifecycle.h"

#include <errno.h>
#include <stddef.h>

static const struct {
	enum rk_state from;
	enum rk_trigger trigger;
	enum rk_state to;
} transitions[] = {
	{RK_CREATED, RK_START, RK_STARTING},   {RK_CREATED, RK_STOP, RK_STOPPED},
	{RK_STARTING, RK_READY, RK_RUNNING},   {RK_STARTING, RK_STOP, RK_STOPPED},
	{RK_STARTING, RK_FAULT, RK_FAILED},    {RK_RUNNING, RK_DRAIN, RK_DRAINING},
	{RK_RUNNING, RK_STOP, RK_STOPPED},     {RK_RUNNING, RK_FAULT, RK_FAILED},
	{RK_DRAINING, RK_DRAINED, RK_STOPPED}, {RK_DRAINING, RK_DEADLINE, RK_STOPPED},
	{RK_DRAINING, RK_RESUME, RK_RUNNING},  {RK_DRAINING, RK_STOP, RK_STOPPED},
	{RK_DRAINING, RK_FAULT, RK_FAILED},    {RK_STOPPED, RK_RESET, RK_CREATED},
	{RK_FAILED, RK_STOP, RK_STOPPED},      {RK_FAILED, RK_RESET, RK_CREATED},
};

static const char *const state_names[] = {
#define X(id, name) [id] = name,
	RK_STATES(X)
#undef X
};

static const char *const trigger_names[] = {
#define X(id, name) [id] = name,
	RK_TRIGGERS(X)
#undef X
};

const char *rk_state_name(enum rk_state state)
{
	return state < RK_STATE_COUNT ? state_names[state] : "?";
}

const char *rk_trigger_name(enum rk_trigger trigger)
{
	return trigger < RK_TRIGGER_COUNT ? trigger_names[trigger] : "?";
}

/* Where @trigger leads from @from, or RK_STATE_COUNT where the table does not list it. */
static enum rk_state next(enum rk_state from, enum rk_trigger trigger)
{
	for (size_t i = 0; i < sizeof(transitions) / sizeof(transitions[0]); i++)
		if (transitions[i].from == from && transitions[i].trigger == trigger)
			return transitions[i].to;
	return RK_STATE_COUNT;
}

int rk_lifecycle_init(struct rk_lifecycle *lc)
{
	atomic_init(&lc->state, RK_CREATED);
	return -pthread_mutex_init(&lc->lock, NULL);
}

void rk_lifecycle_destroy(struct rk_lifecycle *lc)
{
	pthread_mutex_destroy(&lc->lock);
}

enum rk_state rk_lifecycle_state(const struct rk_lifecycle *lc)
{
	return atomic_load_explicit(&lc->state, memory_order_acquire);
}

bool rk_lifecycle_allows(const struct rk_lifecycle *lc, enum rk_trigger trigger)
{
	return next(rk_lifecycle_state(lc), trigger) != RK_STATE_COUNT;
}

void rk_lifecycle_lock(struct rk_lifecycle *lc)
{
	pthread_mutex_lock(&lc->lock);
}

void rk_lifecycle_unlock(struct rk_lifecycle *lc)
{
	pthread_mutex_unlock(&lc->lock);
}

int rk_lifecycle_fire_locked(struct rk_lifecycle *lc, enum rk_trigger trigger)
{
	enum rk_state to = next(rk_lifecycle_state(lc), trigger);

	if (to == RK_STATE_COUNT)
		return -EBUSY;
	atomic_store_explicit(&lc->state, to, memory_order_release);
	return 0;
}
