/* SPDX-License-Identifier: MIT */
/* The numbers of stats/, which `metrics` has too: each is a row of stats.def. Thread-safe. */
#ifndef RK_RUNTIME_STATS_H
#define RK_RUNTIME_STATS_H

#include <stdint.h>

#include "runtime/runtime.h"

enum rk_stat_id {
#define RK_STAT(name, metric, type, help, value) RK_STAT_##name,
#include "runtime/stats.def"
	RK_STAT_COUNT
};

struct rk_stat {
	const char *name;		  /* of the file in stats/, and of the line in stats/all */
	const char *metric, *type, *help; /* the family in `metrics`, without its rkfs_ */
};

/* In the order of stats/all. */
extern const struct rk_stat rk_stats_table[RK_STAT_COUNT];

/* The number @id as of now. */
uint64_t rk_stat_value(struct rk_runtime *rt, enum rk_stat_id id);

/* All numbers; those of messages are of one instant, so that they balance. */
void rk_stat_values(struct rk_runtime *rt, uint64_t values[RK_STAT_COUNT]);

#endif
