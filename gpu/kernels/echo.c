/* SPDX-License-Identifier: MIT */
/* core/echo: give back the bytes. */
#include <string.h>

#include "gpu/kernels/kernels.h"

void rk_kernel_echo(const uint8_t *in, uint8_t *out, uint64_t n)
{
	memcpy(out, in, n);
}
