/* SPDX-License-Identifier: MIT */
/* Needs a function that nobody has. */
#include <stdint.h>

void rkfs_test_function_that_nobody_has(void);
void undefined(uint32_t *ended);

void undefined(uint32_t *ended)
{
	rkfs_test_function_that_nobody_has();
	*ended = 1;
}
