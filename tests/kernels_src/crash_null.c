/* SPDX-License-Identifier: MIT */
/* Dies of SIGSEGV where @crash is not 0. */
#include <stdint.h>

void crash_null(uint32_t crash, uint32_t *survived);

void crash_null(uint32_t crash, uint32_t *survived)
{
	/* volatile: a compiler that knows the address makes it a SIGILL */
	volatile uint32_t *volatile nothing = 0;

	if (crash)
		*nothing = crash;
	*survived = 1;
}
