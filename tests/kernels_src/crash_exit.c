/* SPDX-License-Identifier: MIT */
/* Calls exit(@status) where @status is not below 0. */
#include <stdint.h>
#include <stdlib.h>

void crash_exit(int32_t status, uint32_t *survived);

void crash_exit(int32_t status, uint32_t *survived)
{
	if (status >= 0)
		exit(status);
	*survived = 1;
}
