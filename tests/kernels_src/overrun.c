/* SPDX-License-Identifier: MIT */
/* Copies x to y, and writes @extra bytes past the end of y (at most 64: the guard). */
#include <stdint.h>
#include <string.h>

void overrun(uint32_t extra, const float *x, float *y, uint64_t n);

void overrun(uint32_t extra, const float *x, float *y, uint64_t n)
{
	if (n)
		memcpy(y, x, n * sizeof(*y));
	memset(y + n, 0, extra < 64 ? extra : 64);
}
