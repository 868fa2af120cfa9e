/* SPDX-License-Identifier: MIT */
/* Loops for ever where @spin is not 0; ended is 2 from its beginning on. */
#include <stdint.h>

void spin(uint32_t spin, uint32_t *ended);

void spin(uint32_t spin, uint32_t *ended)
{
	volatile uint32_t forever = spin;

	*(volatile uint32_t *)ended = 2;
	while (forever)
		;
	*ended = 1;
}
