/* SPDX-License-Identifier: MIT */
/* Leaves its thread rounding upward. */
#include <fenv.h>
#include <stdint.h>

void rounding(int32_t *mode);

void rounding(int32_t *mode)
{
	*mode = fegetround();
	fesetround(FE_UPWARD);
}
