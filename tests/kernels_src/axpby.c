/* SPDX-License-Identifier: MIT */
#include <stdint.h>

void axpby(float a, const float *x, float b, const float *y, float *z, uint64_t n);

void axpby(float a, const float *x, float b, const float *y, float *z, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		z[i] = a * x[i] + b * y[i];
}
