/* SPDX-License-Identifier: MIT */
/* The numbers of stats/: what they are called, and how each is read. */
#include "runtime/stats.h"

const struct rk_stat rk_stats_table[RK_STAT_COUNT] = {
#define RK_STAT(name, metric, type, help, value) {#name, metric, type, help},
#include "runtime/stats.def"
};

static uint64_t value_of(struct rk_runtime *rt, enum rk_stat_id id, const struct rk_counts *all)
{
	switch (id) {
#define RK_STAT(name, metric, type, help, value)                                                   \
	case RK_STAT_##name:                                                                       \
		return value;
#include "runtime/stats.def"
	case RK_STAT_COUNT:
		break;
	}
	return 0;
}

uint64_t rk_stat_value(struct rk_runtime *rt, enum rk_stat_id id)
{
	struct rk_counts all;

	rk_dispatch_snapshot(rk_runtime_dispatch(rt), NULL, &all);
	return value_of(rt, id, &all);
}

void rk_stat_values(struct rk_runtime *rt, uint64_t values[RK_STAT_COUNT])
{
	struct rk_counts all;

	rk_dispatch_snapshot(rk_runtime_dispatch(rt), NULL, &all);
	for (unsigned int id = 0; id < RK_STAT_COUNT; id++)
		values[id] = value_of(rt, (enum rk_stat_id)id, &all);
}
