/* SPDX-License-Identifier: MIT */
/*
 * Counts its calls in its state, and sleeps @ms in each: count is UINT64_MAX from the first one
 * that came before another had ended.
 */
#include <stdint.h>
#include <time.h>

struct state {
	uint64_t inside, count;
};

void ring_counter(uint32_t ms, struct state *state, uint64_t *count);

void ring_counter(uint32_t ms, struct state *state, uint64_t *count)
{
	const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	if (__atomic_fetch_add(&state->inside, 1, __ATOMIC_SEQ_CST))
		__atomic_store_n(&state->count, UINT64_MAX, __ATOMIC_SEQ_CST);
	(void)nanosleep(&time, 0); /* nothing depends on how long it was */
	if (state->count != UINT64_MAX)
		state->count++;
	*count = state->count;
	__atomic_fetch_sub(&state->inside, 1, __ATOMIC_SEQ_CST);
}
