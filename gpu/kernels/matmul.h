/* SPDX-License-Identifier: MIT */
/* What is inside rk_kernel_matmul(), for tests: each CPU takes one row of the table only. */
#ifndef RK_GPU_KERNELS_MATMUL_H
#define RK_GPU_KERNELS_MATMUL_H

#include <stdbool.h>
#include <stdint.h>

#define RK_MATMUL_MR 6 /* rows of what a micro-kernel computes */

struct rk_matmul_micro {
	bool (*supported)(void); /* by this CPU */
	/* out[MR][columns] = the product of two packed panels, a[kc][MR] and b[kc][columns] */
	void (*run)(const float *a, const float *b, uint64_t kc, float *out);
	unsigned int columns;
};

/* All of them, *@count rows, the fastest first; the last one is always supported. Static. */
const struct rk_matmul_micro *rk_matmul_micros(unsigned int *count);

/* rk_kernel_matmul() with @micro, which must be supported. */
void rk_matmul_with(const struct rk_matmul_micro *micro, const float *a, const float *b, float *c,
		    uint64_t m, uint64_t k, uint64_t n);

#endif
