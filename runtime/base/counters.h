/* SPDX-License-Identifier: MIT */
/*
 * The books: how many messages were accepted, how they ended, and how many are in flight. They are
 * written under dispatch's lock, so that they balance; a single number may be read without it.
 */
#ifndef RK_RUNTIME_BASE_COUNTERS_H
#define RK_RUNTIME_BASE_COUNTERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * What is counted, and the name of its files. A message counts once in accepted and once in one of
 * the next four; a rejected one only there.
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

/* The books as they are kept. They begin with all numbers 0. */
struct rk_counters {
	_Atomic uint64_t count[RK_COUNTER_COUNT];
	_Atomic uint64_t in_flight;
};

/* The books at one instant. */
struct rk_counts {
	uint64_t count[RK_COUNTER_COUNT];
	uint64_t in_flight;
};

/* Change @number by @by. The caller holds the lock of all writers. */
static inline void rk_counter_add(_Atomic uint64_t *number, int by)
{
	uint64_t old = atomic_load_explicit(number, memory_order_relaxed);

	/* nobody else writes: no read-modify-write needed */
	atomic_store_explicit(number, old + (uint64_t)by, memory_order_relaxed);
}

/* Copy the books. The caller holds the lock. */
static inline void rk_counters_read(const struct rk_counters *books, struct rk_counts *counts)
{
	for (unsigned int i = 0; i < RK_COUNTER_COUNT; i++)
		counts->count[i] = atomic_load_explicit(&books->count[i], memory_order_relaxed);
	counts->in_flight = atomic_load_explicit(&books->in_flight, memory_order_relaxed);
}

/* Count from 0 again; what is in flight stays. The caller holds the lock. */
static inline void rk_counters_reset(struct rk_counters *books)
{
	for (unsigned int i = 0; i < RK_COUNTER_COUNT; i++)
		atomic_store_explicit(&books->count[i], 0, memory_order_relaxed);
}

/* Whether accepted = processed + failed + cancelled + timed_out + in_flight. */
static inline bool rk_counts_balance(const struct rk_counts *counts)
{
	const uint64_t *n = counts->count;

	return n[RK_COUNT_ACCEPTED] == n[RK_COUNT_PROCESSED] + n[RK_COUNT_FAILED] +
					       n[RK_COUNT_CANCELLED] + n[RK_COUNT_TIMED_OUT] +
					       counts->in_flight;
}

#endif
