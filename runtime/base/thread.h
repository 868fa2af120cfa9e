/* SPDX-License-Identifier: MIT */
/* How threads are started and conditions are made. */
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

/* A condition whose deadlines are CLOCK_MONOTONIC's (rk_timespec). 0 or a positive errno. */
int rk_cond_init(pthread_cond_t *cond);

#endif
