/* SPDX-License-Identifier: MIT */
/* core/vector-add: add element by element. */
#include "gpu/kernels/kernels.h"
#include "gpu/kernels/nan.h"

void rk_kernel_vector_add(const float *restrict a, const float *restrict b, float *restrict c,
			  uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		c[i] = rk_one_nan_f32(a[i] + b[i]);
}
