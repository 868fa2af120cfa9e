/* SPDX-License-Identifier: MIT */
/*
 * Counters for reading only (deciding from them loses messages: dispatch decides
 * under its own lock). Each thread adds to a padded slot of its own with plain
 * stores; a read sums the slots. Threads beyond RK_STATS_SLOTS share one slot with
 * atomic adds. A slot is given back at thread exit and keeps what it holds.
 */
#ifndef RK_RUNTIME_BASE_COUNTERS_H
#define RK_RUNTIME_BASE_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

#define RK_STATS_SLOTS 64

/* Rows of stats/messages_NAME. A message counts once in accepted and once in one of the next four.
 */
#define RK_COUNTERS(X)                                                                             \
	X(RK_COUNT_ACCEPTED, "messages_accepted")                                                  \
	X(RK_COUNT_PROCESSED, "messages_processed")                                                \
	X(RK_COUNT_FAILED, "messages_failed")                                                      \
	X(RK_COUNT_CANCELLED, "messages_cancelled")                                                \
	X(RK_COUNT_TIMED_OUT, "messages_timed_out")                                                \
	X(RK_COUNT_REJECTED, "messages_rejected")

enum rk_counter {
#define X(id, name) id,
	RK_COUNTERS(X)
#undef X
	RK_COUNTER_COUNT
};

struct rk_stats_slot {
	_Alignas(64) _Atomic uint64_t count[RK_COUNTER_COUNT];
};

struct rk_stats {
	struct rk_stats_slot slots[RK_STATS_SLOTS + 1]; /* the last one is shared */
	_Atomic uint64_t base[RK_COUNTER_COUNT];	/* sums at the last reset */
};

/* All counters at once. */
struct rk_counts {
	uint64_t count[RK_COUNTER_COUNT];
	uint64_t in_flight;
};

/* "messages_accepted", ...; static storage. */
const char *rk_counter_name(enum rk_counter counter);

/* Everything 0. The structure needs no destructor. */
void rk_stats_init(struct rk_stats *stats);

/* The calling thread's slot: number + 1, RK_STATS_SLOTS + 1 = the shared one, 0 = none yet. */
extern _Thread_local unsigned int rk_stats_my_slot;

/* rk_stats_add for a thread that has no slot of its own yet, or none at all. */
void rk_stats_add_first(struct rk_stats *stats, enum rk_counter counter);

/* Add 1. Never blocks. */
static inline void rk_stats_add(struct rk_stats *stats, enum rk_counter counter)
{
	unsigned int slot = rk_stats_my_slot - 1;
	_Atomic uint64_t *count;

	if (slot >= RK_STATS_SLOTS) {
		rk_stats_add_first(stats, counter);
		return;
	}
	/* nobody else writes here: no read-modify-write needed */
	count = &stats->slots[slot].count[counter];
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
			      memory_order_release);
}

/* The sum since the last reset; exact once writers are still, else a value that held recently. */
uint64_t rk_stats_read(const struct rk_stats *stats, enum rk_counter counter);

/* accepted - (processed + failed + cancelled + timed_out), never negative. */
uint64_t rk_stats_in_flight(const struct rk_stats *stats);

/* Read from 0 again. No message is in flight and no other reset runs. */
void rk_stats_reset(struct rk_stats *stats);

#endif
