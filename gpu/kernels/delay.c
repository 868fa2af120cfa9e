// SPDX-License-Identifier: MIT
#include <errno.h>
#include <time.h>

#include "gpu/kernels/kernels.h"

#define MSEC_PER_SEC  1000
#define NSEC_PER_MSEC 1000000L
#define NSEC_PER_SEC  1000000000L

void rk_kernel_delay(uint32_t ms, uint32_t *waited_ms)
{
	struct timespec start, end, now;
	uint64_t waited;

	clock_gettime(CLOCK_MONOTONIC, &start);
	end.tv_sec = start.tv_sec + ms / MSEC_PER_SEC;
	end.tv_nsec = start.tv_nsec + (long)(ms % MSEC_PER_SEC) * NSEC_PER_MSEC;
	if (end.tv_nsec >= NSEC_PER_SEC) {
		end.tv_sec++;
		end.tv_nsec -= NSEC_PER_SEC;
	}
	/* An absolute deadline, so that signals do not prolong the wait. */
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR)
		;
	clock_gettime(CLOCK_MONOTONIC, &now);
	waited = (uint64_t)(now.tv_sec - start.tv_sec) * MSEC_PER_SEC;
	waited += (uint64_t)((now.tv_nsec - start.tv_nsec + NSEC_PER_SEC) / NSEC_PER_MSEC);
	waited -= MSEC_PER_SEC; /* the second added to keep the term above from being negative */
	*waited_ms = waited > UINT32_MAX ? UINT32_MAX : (uint32_t)waited;
}
