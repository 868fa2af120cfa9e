/* SPDX-License-Identifier: MIT */
/*
 * Philox4x32-10, a counter-based random number generator: J. K. Salmon, M. A. Moraes, R. O. Dror
 * and D. E. Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011. The numbers are a
 * function of counter and key, so any thread of any backend can compute any of them.
 */
#ifndef RK_GPU_KERNELS_PHILOX_H
#define RK_GPU_KERNELS_PHILOX_H

#include <stdint.h>

#define RK_PHILOX_ROUNDS 10

/* nvcc compiles it too, for both sides */
#ifdef __CUDACC__
#define RK_PHILOX_SIDES __host__ __device__
#else
#define RK_PHILOX_SIDES
#endif

/* Replace the 128-bit counter in @x by the random bits that belong to it and @key. */
RK_PHILOX_SIDES static inline void rk_philox4x32(uint32_t x[4], uint64_t key)
{
	uint32_t key0 = (uint32_t)key, key1 = (uint32_t)(key >> 32);

	for (int round = 0; round < RK_PHILOX_ROUNDS; round++) {
		uint64_t product0 = (uint64_t)0xD2511F53u * x[0];
		uint64_t product1 = (uint64_t)0xCD9E8D57u * x[2];

		x[0] = (uint32_t)(product1 >> 32) ^ x[1] ^ key0;
		x[1] = (uint32_t)product1;
		x[2] = (uint32_t)(product0 >> 32) ^ x[3] ^ key1;
		x[3] = (uint32_t)product0;
		key0 += 0x9E3779B9u;
		key1 += 0xBB67AE85u;
	}
}

#endif
