/* SPDX-License-Identifier: MIT */
/* The kernels of the tests' own, as RK_BUILTINS() has those that ship. */
#ifndef RK_TESTS_FAKE_CUDA_TEST_KERNELS_H
#define RK_TESTS_FAKE_CUDA_TEST_KERNELS_H

#include <stdint.h>

#include "gpu/kernels/builtin.h"

/* clang-format off */
#define FAKE_KERNELS(X)                                                                            \
	X(saxpy_in_place, RK_VALUE(RK_F32), RK_IN(RK_F32), RK_OUT(RK_F32), RK_DIM)                          \
	X(saxpy, RK_VALUE(RK_F32), RK_IN(RK_F32), RK_IN(RK_F32), RK_OUT(RK_F32), RK_DIM)       \
	X(square, RK_IN(RK_F32), RK_OUT(RK_F32), RK_DIM)                                           \
	X(overrun, RK_IN(RK_F32), RK_OUT(RK_F32), RK_DIM)                                          \
	X(grid, RK_OUT(RK_U32))                                                                    \
	X(values, RK_VALUE(RK_I8), RK_VALUE(RK_I16), RK_VALUE(RK_I32), RK_VALUE(RK_I64),           \
	  RK_VALUE(RK_U8), RK_VALUE(RK_U16), RK_VALUE(RK_U32), RK_VALUE(RK_U64),                   \
	  RK_VALUE(RK_F16), RK_VALUE(RK_F32), RK_VALUE(RK_F64), RK_VALUE(RK_BOOL), RK_DIM,         \
	  RK_OUT(RK_F64))                                                                          \
	X(wait_for, RK_IN(RK_U32), RK_OUT(RK_U32))                                                 \
	X(forever, RK_IN(RK_F32), RK_OUT(RK_F32), RK_DIM)                                          \
	X(illegal, RK_IN(RK_F32), RK_OUT(RK_F32), RK_DIM)                                          \
	X(ring_sum, RK_STATE, RK_IN(RK_F64), RK_OUT(RK_F64), RK_DIM)                             \
	X(ring_forever, RK_IN(RK_F32), RK_OUT(RK_F32), RK_DIM)                                     \
	X(ring_illegal, RK_IN(RK_F32), RK_OUT(RK_F32), RK_DIM)
/* clang-format on */

/* y[i] = a * x[i] + y[i], and with the sum elsewhere */
void fake_kernel_saxpy_in_place(float a, const float *x, float *y, uint64_t n);
void fake_kernel_saxpy(float a, const float *x, const float *y, float *out, uint64_t n);

/* y[i] = x[i]^2; overrun writes one element too many */
void fake_kernel_square(const float *x, float *y, uint64_t n);
void fake_kernel_overrun(const float *x, float *y, uint64_t n);

/* out[8]: the grid's three axes, the block's, dynamic shared bytes, 1 where cooperative */
void fake_kernel_grid(uint32_t *out);

/* out[13]: the values, as they came */
void fake_kernel_values(int8_t i8, int16_t i16, int32_t i32, int64_t i64, uint8_t u8, uint16_t u16,
			uint32_t u32, uint64_t u64, float f16, float f32, double f64, uint8_t b,
			uint64_t n, double *out);

/* Run until *@flag is not 0, in memory that the host writes too; *@seen is what it was then. */
void fake_kernel_wait_for(const uint32_t *flag, uint32_t *seen);

/* Run until the device is spoiled; write where there is nothing. */
void fake_kernel_forever(const float *x, float *y, uint64_t n);
void fake_kernel_illegal(const float *x, float *y, uint64_t n);

/* The same, resident. *@total is the sum of all x of all messages, which is what @state keeps. */
void fake_kernel_ring_sum(void *state, const double *x, double *total, uint64_t n);
void fake_kernel_ring_forever(const float *x, float *y, uint64_t n);
void fake_kernel_ring_illegal(const float *x, float *y, uint64_t n);

#endif
