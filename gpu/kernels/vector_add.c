// SPDX-License-Identifier: MIT
#include "gpu/kernels/kernels.h"

void rk_kernel_vector_add(const float *restrict a, const float *restrict b, float *restrict c,
			  uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		c[i] = a[i] + b[i];
}
