/* SPDX-License-Identifier: MIT */
/* core/delay: wait until a time, or until the message is cancelled. */
#include "gpu/base/cancel.h"
#include "gpu/kernels/kernels.h"
#include "runtime/base/clock.h"

void rk_kernel_delay(uint32_t ms, uint32_t *waited_ms)
{
	const uint64_t start = rk_now_ns();
	uint64_t waited;

	(void)rk_cancel_wait(start +
			     ms * RK_NS_PER_MS); /* nobody reads what a cancelled one says */
	waited = (rk_now_ns() - start) / RK_NS_PER_MS;
	*waited_ms = waited > UINT32_MAX ? UINT32_MAX : (uint32_t)waited;
}
