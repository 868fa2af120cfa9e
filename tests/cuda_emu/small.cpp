/* SPDX-License-Identifier: MIT */
/* Kernels with constants that make paths usual which are rare otherwise. */
#include "tests/cuda_emu/cuda_emu.h"
#include "tests/cuda_emu/kernels.h"

/* keeps little, looks for it in a range that is often the wrong one, adds up in many rounds */
#define VAR_KEEP	EMU_VAR_KEEP
#define VAR_ROUND	EMU_VAR_ROUND
#define VAR_MARGIN	0.5
#define var_work	var_work_small
#define monte_carlo_var monte_carlo_var_small
#include "gpu/kernels/monte_carlo_var.cu"

/* large tiles for any size */
#define MATMUL_ENOUGH 1
#define matmul	      matmul_large
#include "gpu/kernels/matmul.cu"
