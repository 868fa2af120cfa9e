/* SPDX-License-Identifier: MIT */
/* Counts its constructor and its calls; its destructor writes a byte to @fd, where there was one.
 */
#include <stdint.h>
#include <unistd.h>

void lifetime(int32_t fd, uint32_t *constructed, uint32_t *calls);

static uint32_t constructors, called;
static int report = -1;

static void __attribute__((constructor)) construct(void)
{
	constructors++;
}

static void __attribute__((destructor)) destruct(void)
{
	if (report >= 0 && write(report, "x", 1) != 1)
		_exit(1);
}

void lifetime(int32_t fd, uint32_t *constructed, uint32_t *calls)
{
	report = fd;
	*constructed = constructors;
	*calls = ++called;
}
