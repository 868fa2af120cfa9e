/* SPDX-License-Identifier: MIT */
/* Dies of SIGABRT as soon as it is loaded. */
#include <stdint.h>
#include <stdlib.h>

void crash_load(uint32_t *survived);

static void __attribute__((constructor)) die(void)
{
	abort();
}

void crash_load(uint32_t *survived)
{
	*survived = 1;
}
