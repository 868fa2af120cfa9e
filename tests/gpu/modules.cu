/* SPDX-License-Identifier: MIT */
/*
 * Kernels of a user's own: good ones, and one for each way to go wrong. tests/fake_cuda has C
 * functions with these names.
 */
#include "gpu/kernels/ring.cuh"

static __device__ inline uint64_t my_index()
{
	return (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

extern "C" __global__ void square(const float *x, float *y, uint64_t n)
{
	uint64_t i = my_index();

	if (i < n)
		y[i] = x[i] * x[i];
}

extern "C" __global__ void saxpy(float a, const float *x, const float *y, float *out, uint64_t n)
{
	uint64_t i = my_index();

	if (i < n)
		out[i] = a * x[i] + y[i];
}

/* One element too many. */
extern "C" __global__ void overrun(const float *x, float *y, uint64_t n)
{
	uint64_t i = my_index();

	if (i < n)
		y[i] = x[i] * x[i];
	if (i == 0)
		y[n] = 1;
}

/* Where nothing is. */
extern "C" __global__ void illegal(const float *x, float *y, uint64_t n)
{
	if (my_index() == 0 && n)
		*(volatile float *)8 = x[0] + y[0];
}

/* Neither the compiler nor anybody else knows when this ends. */
static __device__ void spin(const float *x)
{
	while (*(const volatile float *)x >= 0)
		;
}

extern "C" __global__ void forever(const float *x, float *y, uint64_t n)
{
	spin(x);
	y[0] = (float)n;
}

/* For racecheck to find: each reads what a thread of another warp writes, with no barrier. */
extern "C" __global__ void racy(const float *x, float *y, uint64_t n)
{
	__shared__ float places[1024];
	uint64_t i = my_index();
	unsigned int other = (threadIdx.x + 32) % blockDim.x;

	places[threadIdx.x] = i < n ? x[i] : 0;
	if (i < n)
		y[i] = places[other];
}

/* --- resident ------------------------------------------------------------------------- */

static __device__ void sum_message(void *state, const double *x, double *total, uint64_t n)
{
	double *sum = (double *)state;

	if (threadIdx.x != 0)
		return;
	for (uint64_t i = 0; i < n; i++)
		*sum += x[i];
	*total = *sum;
}

static __device__ void forever_message(const float *x, float *y, uint64_t n)
{
	spin(x);
	y[0] = (float)n;
}

static __device__ void illegal_message(const float *x, float *y, uint64_t n)
{
	if (threadIdx.x == 0 && n)
		*(volatile float *)8 = x[0] + y[0];
}

RK_RING_KERNEL(ring_sum, sum_message)
RK_RING_KERNEL(ring_forever, forever_message)
RK_RING_KERNEL(ring_illegal, illegal_message)
