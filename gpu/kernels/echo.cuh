/* SPDX-License-Identifier: MIT */
#ifndef RK_GPU_KERNELS_ECHO_CUH
#define RK_GPU_KERNELS_ECHO_CUH

#include <stdint.h>

/* Thread @thread of @threads copies its part of @n bytes. */
static inline __device__ void rk_copy_bytes(const uint8_t *in, uint8_t *out, uint64_t n,
					    uint64_t thread, uint64_t threads)
{
	uint64_t wide = 0;

	if ((((uintptr_t)in | (uintptr_t)out) & (sizeof(uint4) - 1)) == 0) {
		wide = n / sizeof(uint4);
		for (uint64_t i = thread; i < wide; i += threads)
			((uint4 *)out)[i] = ((const uint4 *)in)[i];
	}
	for (uint64_t i = wide * sizeof(uint4) + thread; i < n; i += threads)
		out[i] = in[i];
}

#endif
