/* SPDX-License-Identifier: MIT */
/* What only the tests' kernels have, for both sides. */
#ifndef RK_TESTS_CUDA_EMU_KERNELS_H
#define RK_TESTS_CUDA_EMU_KERNELS_H

#include <stdint.h>

/* The state of the ring kernel emu_record(u8 a, i16 b, f32 c, f64 d, u32 in, u64 out, state). */
struct emu_record {
	uint64_t calls;
	double d;
	float c;
	int16_t b;
	uint8_t a;
};
#define EMU_RECORD_THREADS 40 /* at most; out = calls before this one * threads + in */

/* As VAR_KEEP of monte_carlo_var_small. */
#define EMU_VAR_KEEP  64
#define EMU_VAR_ROUND 2

#endif
