/* SPDX-License-Identifier: MIT */
/* Recurses until its stack overflows, of SIGSEGV, where @crash is not 0. */
#include <stdint.h>

void crash_stack(uint32_t crash, uint32_t *survived);

/* A frame is small enough not to reach over the guard page. */
static uint32_t __attribute__((noinline)) dig(uint32_t depth)
{
	volatile uint32_t frame[64];

	frame[0] = depth;
	return depth ? dig(depth + 2) + frame[0] : 0; /* an odd depth stays odd */
}

void crash_stack(uint32_t crash, uint32_t *survived)
{
	*survived = dig(crash ? 1 : 0) + 1;
}
