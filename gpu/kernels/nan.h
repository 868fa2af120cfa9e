/* SPDX-License-Identifier: MIT */
/*
 * One NaN for all backends. IEEE 754 leaves open which one an operation gives: x86 gives the
 * negative one, or that of an operand; a GPU gives 0x7FFFFFFF. What a kernel computes goes through
 * these on its way out, so that a NaN has the same bits wherever it was made.
 */
#ifndef RK_GPU_KERNELS_NAN_H
#define RK_GPU_KERNELS_NAN_H

#include <math.h>

/* nvcc compiles it too, for both sides */
#ifdef __CUDACC__
#define RK_NAN_SIDES __host__ __device__
#else
#define RK_NAN_SIDES
#endif

/* @x, or where that is a NaN the one with the bits 0x7FC00000. */
RK_NAN_SIDES static inline float rk_one_nan_f32(float x)
{
	return x == x ? x : (float)NAN;
}

/* The same with the bits 0x7FF8000000000000. */
RK_NAN_SIDES static inline double rk_one_nan_f64(double x)
{
	return x == x ? x : (double)NAN;
}

#endif
