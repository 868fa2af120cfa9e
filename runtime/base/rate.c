/* SPDX-License-Identifier: MIT */
/* A bound on lines within each second, and the count of those beyond it. */
#include "runtime/base/rate.h"

#include "runtime/base/clock.h"

bool rk_rate_allows(struct rk_rate *rate, uint32_t limit, uint64_t now_ns, uint64_t *unsaid)
{
	if (!rate->said || now_ns - rate->since_ns >= RK_NS_PER_SEC) {
		rate->since_ns = now_ns;
		rate->said = 0;
	}
	if (rate->said >= limit) {
		rate->unsaid++;
		return false;
	}
	rate->said++;
	*unsaid = rate->unsaid;
	rate->unsaid = 0;
	return true;
}
