/* SPDX-License-Identifier: MIT */
/* Calls abort() where @crash is not 0. */
#include <stdint.h>
#include <stdlib.h>

void crash_abort(uint32_t crash, uint32_t *survived);

void crash_abort(uint32_t crash, uint32_t *survived)
{
	if (crash)
		abort();
	*survived = 1;
}
