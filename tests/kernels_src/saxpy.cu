/* SPDX-License-Identifier: MIT */
extern "C" __global__ void saxpy(float a, const float *x, const float *y, float *z,
				 unsigned long long n)
{
	unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x;

	if (i < n)
		z[i] = a * x[i] + y[i];
}
