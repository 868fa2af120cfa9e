/* SPDX-License-Identifier: MIT */
/* How often something may be said that others can cause as often as they like. */
#ifndef RK_RUNTIME_BASE_RATE_H
#define RK_RUNTIME_BASE_RATE_H

#include <stdbool.h>
#include <stdint.h>

/* All zero at first. The caller locks. */
struct rk_rate {
	uint64_t since_ns; /* when the second began that is being counted */
	uint32_t said;
	uint64_t unsaid; /* since something was said last */
};

/*
 * Whether it may be said at @now_ns (rk_now_ns), @limit times a second. Where it may, *@unsaid is
 * how many were not, since the last that was. Never blocks.
 */
bool rk_rate_allows(struct rk_rate *rate, uint32_t limit, uint64_t now_ns, uint64_t *unsaid);

#endif
