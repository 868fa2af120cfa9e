/* SPDX-License-Identifier: MIT */
/* A resident kernel: the sum of all numbers of all messages, which its state keeps. */
#include <rkfs/ring.cuh>

#define THREADS 256 /* of the block, as the description has it */

static __device__ void ring_sum_message(double *sum, const double *x, double *total, uint64_t n)
{
	__shared__ double parts[THREADS];
	double part = 0;

	for (uint64_t i = threadIdx.x; i < n; i += THREADS)
		part += x[i];
	parts[threadIdx.x] = part;
	__syncthreads();
	if (threadIdx.x == 0) {
		for (unsigned int i = 0; i < THREADS; i++)
			*sum += parts[i];
		*total = *sum;
	}
}

RK_RING_KERNEL(ring_sum, ring_sum_message)
