/* SPDX-License-Identifier: MIT */
/* core/delay: sleep until a time. */
#include <errno.h>
#include <time.h>

#include "gpu/kernels/kernels.h"
#include "runtime/base/clock.h"

void rk_kernel_delay(uint32_t ms, uint32_t *waited_ms)
{
	const uint64_t start = rk_now_ns();
	/* An absolute deadline, so that signals do not prolong the wait. */
	const struct timespec end = rk_timespec(start + ms * RK_NS_PER_MS);
	uint64_t waited;

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR)
		;
	waited = (rk_now_ns() - start) / RK_NS_PER_MS;
	*waited_ms = waited > UINT32_MAX ? UINT32_MAX : (uint32_t)waited;
}
