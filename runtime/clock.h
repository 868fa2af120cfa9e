/* SPDX-License-Identifier: MIT */
#ifndef RK_RUNTIME_CLOCK_H
#define RK_RUNTIME_CLOCK_H

#include <stdint.h>
#include <time.h>

#define RK_NS_PER_MS  1000000ULL
#define RK_NS_PER_SEC 1000000000ULL

/* CLOCK_MONOTONIC in nanoseconds. */
static inline uint64_t rk_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * RK_NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

#endif
