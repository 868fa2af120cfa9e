/* SPDX-License-Identifier: MIT */
/* Two versions of a library: after @ms milliseconds each says twice which one it is. */
#include <errno.h>
#include <stdint.h>
#include <time.h>

void version(uint32_t ms, uint32_t *first, uint32_t *second);

void version(uint32_t ms, uint32_t *first, uint32_t *second)
{
	struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

	*first = VERSION;
	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
	*second = VERSION;
}
