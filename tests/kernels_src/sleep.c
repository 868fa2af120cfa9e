/* SPDX-License-Identifier: MIT */
/* Sleeps for @ms, whether its message is cancelled or not. */
#include <stdint.h>
#include <time.h>

void rk_test_sleep(uint32_t ms, uint32_t *slept);

void rk_test_sleep(uint32_t ms, uint32_t *slept)
{
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	while (nanosleep(&left, &left))
		;
	*slept = ms;
}
