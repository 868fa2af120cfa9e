/* SPDX-License-Identifier: MIT */
/* Starts threads without signals, wakes them, and makes conditions of the monotonic clock. */
#include "runtime/base/thread.h"

#include <signal.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

int rk_thread_start(pthread_t *thread, void *(*main)(void *arg), void *arg)
{
	sigset_t all, old;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(thread, NULL, main, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return rc;
}

void rk_wake(int fd)
{
	const uint64_t one = 1;

	/* fails only where the counter is full, and then it is readable already */
	(void)!write(fd, &one, sizeof(one));
}

void rk_wake_clear(int fd)
{
	uint64_t count;

	(void)!read(fd, &count, sizeof(count)); /* fails where it was not readable */
}

int rk_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;
	int rc = pthread_condattr_init(&attr);

	if (rc)
		return rc;
	rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	if (!rc)
		rc = pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
	return rc;
}
