/* SPDX-License-Identifier: MIT */
#include "runtime/base/counters.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

static const char *const counter_names[] = {
#define X(id, name) [id] = name,
	RK_COUNTERS(X)
#undef X
};

/*
 * Slot numbers belong to threads, not to a struct rk_stats: bit i of taken is set while a
 * living thread owns slot i of every instance.
 */
static _Atomic uint64_t taken;
static pthread_key_t exit_key;
static pthread_once_t exit_once = PTHREAD_ONCE_INIT;
static bool exit_key_ok;
_Thread_local unsigned int rk_stats_my_slot;

_Static_assert(RK_STATS_SLOTS == 64, "one bit of `taken` per slot");

static void give_back(void *value)
{
	unsigned int slot = (unsigned int)(uintptr_t)value - 1;

	rk_stats_my_slot = RK_STATS_SLOTS + 1; /* for destructors that still count */
	atomic_fetch_and_explicit(&taken, ~(1ULL << slot), memory_order_release);
}

static void make_key(void)
{
	exit_key_ok = pthread_key_create(&exit_key, give_back) == 0;
}

/* The calling thread's slot number; RK_STATS_SLOTS (the shared one) where all are taken. */
static unsigned int claim_slot(void)
{
	uint64_t old = atomic_load_explicit(&taken, memory_order_relaxed);
	unsigned int slot;

	pthread_once(&exit_once, make_key);
	if (!exit_key_ok)
		return RK_STATS_SLOTS;
	do {
		if (!~old)
			return RK_STATS_SLOTS;
		slot = (unsigned int)__builtin_ctzll(~old);
	} while (!atomic_compare_exchange_weak_explicit(
		&taken, &old, old | 1ULL << slot, memory_order_acquire, memory_order_relaxed));
	if (pthread_setspecific(exit_key, (void *)(uintptr_t)(slot + 1))) {
		give_back((void *)(uintptr_t)(slot + 1));
		return RK_STATS_SLOTS;
	}
	return slot;
}

const char *rk_counter_name(enum rk_counter counter)
{
	return counter_names[counter];
}

void rk_stats_init(struct rk_stats *stats)
{
	memset((void *)stats, 0, sizeof(*stats));
}

void rk_stats_add_first(struct rk_stats *stats, enum rk_counter counter)
{
	if (!rk_stats_my_slot)
		rk_stats_my_slot = claim_slot() + 1;
	if (rk_stats_my_slot > RK_STATS_SLOTS)
		atomic_fetch_add_explicit(&stats->slots[RK_STATS_SLOTS].count[counter], 1,
					  memory_order_relaxed);
	else
		rk_stats_add(stats, counter);
}

static uint64_t sum(const struct rk_stats *stats, enum rk_counter counter)
{
	uint64_t total = 0;

	for (unsigned int i = 0; i <= RK_STATS_SLOTS; i++)
		total +=
			atomic_load_explicit(&stats->slots[i].count[counter], memory_order_acquire);
	return total;
}

uint64_t rk_stats_read(const struct rk_stats *stats, enum rk_counter counter)
{
	/* The base first: the other way round a reset between the two would give less than 0. */
	uint64_t base = atomic_load_explicit(&stats->base[counter], memory_order_acquire);

	return sum(stats, counter) - base;
}

uint64_t rk_stats_in_flight(const struct rk_stats *stats)
{
	/* Ends before beginnings: the other way round the difference could go negative. */
	uint64_t ended =
		rk_stats_read(stats, RK_COUNT_PROCESSED) + rk_stats_read(stats, RK_COUNT_FAILED) +
		rk_stats_read(stats, RK_COUNT_CANCELLED) + rk_stats_read(stats, RK_COUNT_TIMED_OUT);
	uint64_t accepted = rk_stats_read(stats, RK_COUNT_ACCEPTED);

	return accepted > ended ? accepted - ended : 0;
}

void rk_stats_reset(struct rk_stats *stats)
{
	for (unsigned int i = 0; i < RK_COUNTER_COUNT; i++)
		atomic_store_explicit(&stats->base[i], sum(stats, i), memory_order_release);
}
