/* SPDX-License-Identifier: MIT */
/* Hangs as soon as it is loaded; with HANG_UNLOAD, when it is unloaded. */
#include <stdint.h>
#include <unistd.h>

void hang_load(uint32_t x, uint32_t *y);

#ifdef HANG_UNLOAD
static void __attribute__((destructor)) hang(void)
#else
static void __attribute__((constructor)) hang(void)
#endif
{
	for (;;)
		pause();
}

void hang_load(uint32_t x, uint32_t *y)
{
	*y = x;
}
