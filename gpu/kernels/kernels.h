/* SPDX-License-Identifier: MIT */
/*
 * The kernels that ship, as C functions. Each is called by many threads at once, on
 * buffers that do not overlap; n may be 0. They need nothing of rkfs.
 */
#ifndef RK_GPU_KERNELS_H
#define RK_GPU_KERNELS_H

#include <stdint.h>

/* out[i] = in[i] */
void rk_kernel_echo(const uint8_t *in, uint8_t *out, uint64_t n);

/* c[i] = a[i] + b[i] */
void rk_kernel_vector_add(const float *a, const float *b, float *c, uint64_t n);

/* *sum = x[0] + ... + x[n - 1] in double, pairwise; an infinity or NaN among them carries over. */
void rk_kernel_reduce_sum(const float *x, double *sum, uint64_t n);

/* Sleep for @ms milliseconds; *waited_ms is what was measured, rounded down, at least @ms. */
void rk_kernel_delay(uint32_t ms, uint32_t *waited_ms);

#endif
