/* SPDX-License-Identifier: MIT */
/* As delay.c, with the device's clock. One thread; it leaves its multiprocessor to others. */
#include "gpu/kernels/grid.cuh"

#define NSEC_PER_MSEC 1000000ULL
#define NAP_NS	      500000 /* the device sleeps for 1 ms at most */

extern "C" __global__ void delay(uint32_t ms, uint32_t *waited_ms)
{
	uint64_t begin, waited;

	if (rk_grid_thread() != 0)
		return;
	begin = rk_grid_now();
	while ((waited = rk_grid_now() - begin) < ms * NSEC_PER_MSEC) {
		uint64_t left = ms * NSEC_PER_MSEC - waited;

		__nanosleep(left < NAP_NS ? (unsigned int)left : NAP_NS);
	}
	waited /= NSEC_PER_MSEC;
	*waited_ms = waited > UINT32_MAX ? UINT32_MAX : (uint32_t)waited;
}
