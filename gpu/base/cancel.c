/* SPDX-License-Identifier: MIT */
/* Waiting that ends when the message of the thread is cancelled. */
#include "gpu/base/cancel.h"

#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "runtime/base/clock.h"

static const _Atomic uint32_t nobody;

static _Thread_local struct {
	const _Atomic uint32_t *word; /* NULL: the thread runs no message */
	uint32_t message;
} self;

void rk_cancel_enter(const _Atomic uint32_t *word, uint64_t message)
{
	self.word = word;
	self.message = (uint32_t)message;
}

void rk_cancel_leave(void)
{
	self.word = NULL;
}

bool rk_cancel_wait(uint64_t until_ns)
{
	const _Atomic uint32_t *word = self.word ? self.word : &nobody;
	const struct timespec until = rk_timespec(until_ns);
	uint32_t seen;

	while (rk_now_ns() < until_ns) {
		seen = atomic_load(word);
		if (self.word && self.message && seen == self.message) /* 0: none was */
			return true;
		/* an absolute time; woken for another message, or by a signal, it waits again */
		(void)syscall(SYS_futex, word, FUTEX_WAIT_BITSET, seen, &until, NULL,
			      FUTEX_BITSET_MATCH_ANY);
	}
	return false;
}
