// SPDX-License-Identifier: MIT
/* The same bits as vector_add.c gives: one addition each. */
#include "gpu/kernels/grid.cuh"

extern "C" __global__ void vector_add(const float *a, const float *b, float *c, uint64_t n)
{
	for (uint64_t i = rk_grid_thread(); i < n; i += rk_grid_threads())
		c[i] = a[i] + b[i];
}
