/* SPDX-License-Identifier: MIT */
/* How threads are started, locks are held and conditions are made. */
#ifndef RK_RUNTIME_BASE_THREAD_H
#define RK_RUNTIME_BASE_THREAD_H

#include <pthread.h>

/*
 * Start a thread with all signals blocked: signals are for the main program. Returns 0 or the
 * positive errno of pthread_create. The caller joins it.
 */
int rk_thread_start(pthread_t *thread, void *(*main)(void *arg), void *arg);

/* Make the eventfd @fd readable. Whoever waits for that calls rk_wake_clear. Neither fails. */
void rk_wake(int fd);
void rk_wake_clear(int fd);

/* For RK_GUARD alone. */
static inline pthread_mutex_t *rk_guard_begin(pthread_mutex_t *lock)
{
	pthread_mutex_lock(lock);
	return lock;
}

static inline void rk_guard_end(pthread_mutex_t **lock)
{
	pthread_mutex_unlock(*lock);
}

/* Hold the mutex @lock from here to the end of the block, however that is left. One in a block. */
#define RK_GUARD(lock)                                                                             \
	pthread_mutex_t *guard __attribute__((cleanup(rk_guard_end), unused)) = rk_guard_begin(lock)

/* A condition whose deadlines are CLOCK_MONOTONIC's (rk_timespec). 0 or a positive errno. */
int rk_cond_init(pthread_cond_t *cond);

#endif
