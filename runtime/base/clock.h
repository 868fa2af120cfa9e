/* SPDX-License-Identifier: MIT */
#ifndef RK_RUNTIME_BASE_CLOCK_H
#define RK_RUNTIME_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define RK_NS_PER_MS  1000000ULL
#define RK_NS_PER_SEC 1000000000ULL

/*
 * Everything that waits, measures or has a deadline uses CLOCK_MONOTONIC: it neither jumps when the
 * time is set, nor goes on while the machine is suspended. So a drain, a timeout or an interval has
 * as much time left after a suspend as before, like a kernel, which was suspended too.
 * CLOCK_REALTIME is for what people and other programs read: the times of events, log lines and
 * files.
 */

/* CLOCK_MONOTONIC in nanoseconds. */
static inline uint64_t rk_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * RK_NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

/* Bring *@first, a time or 0 for none, forward to @at, where that is one and is earlier. */
static inline void rk_earlier(uint64_t *first, uint64_t at)
{
	if (at && (!*first || at < *first))
		*first = at;
}

/* @ns for pthread_cond_timedwait on a condition of rk_cond_init. */
static inline struct timespec rk_timespec(uint64_t ns)
{
	return (struct timespec){(time_t)(ns / RK_NS_PER_SEC), (long)(ns % RK_NS_PER_SEC)};
}

#endif
