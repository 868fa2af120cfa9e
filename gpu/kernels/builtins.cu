/* SPDX-License-Identifier: MIT */
/* All CUDA kernels that ship, as one source, so that nvcc reads its headers once per architecture. */
#include "gpu/kernels/delay.cu"
#include "gpu/kernels/echo.cu"
#include "gpu/kernels/matmul.cu"
#include "gpu/kernels/monte_carlo_var.cu"
#include "gpu/kernels/pagerank.cu"
#include "gpu/kernels/reduce_sum.cu"
#include "gpu/kernels/ring_echo.cu"
#include "gpu/kernels/running_stats.cu"
#include "gpu/kernels/vector_add.cu"
