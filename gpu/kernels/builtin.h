/* SPDX-License-Identifier: MIT */
/*
 * The kernels that are compiled in, a row each: the entry and its signature. The function is
 * rk_kernel_ENTRY in gpu/kernels/kernels.h. The signature is checked against the description at
 * load, because a C function that is called with other arguments than it was written for takes the
 * worker down.
 *
 * X(entry, parameters...), each of RK_IN, RK_OUT, RK_SCRATCH, RK_VALUE(dtype), RK_DIM, RK_STATE.
 */
#ifndef RK_GPU_KERNELS_BUILTIN_H
#define RK_GPU_KERNELS_BUILTIN_H

#include "gpu/kernels/kernels.h"
#include "runtime/base/tensor.h"
#include "runtime/base/wire.h"

/* clang-format off */
#define RK_BUILTINS(X)                                             \
	X(echo, RK_IN(RK_U8), RK_OUT(RK_U8), RK_DIM)                    \
	X(vector_add, RK_IN(RK_F32), RK_IN(RK_F32), RK_OUT(RK_F32), RK_DIM) \
	X(reduce_sum, RK_IN(RK_F32), RK_OUT(RK_F64), RK_DIM)            \
	X(delay, RK_VALUE(RK_U32), RK_OUT(RK_U32))                      \
	X(matmul, RK_IN(RK_F32), RK_IN(RK_F32), RK_OUT(RK_F32), RK_DIM, RK_DIM, RK_DIM) \
	X(pagerank, RK_IN(RK_U32), RK_IN(RK_U32), RK_VALUE(RK_F64), RK_VALUE(RK_F64),   \
	  RK_VALUE(RK_U32), RK_OUT(RK_F64), RK_OUT(RK_U32), RK_OUT(RK_F64),             \
	  RK_SCRATCH(RK_U32), RK_SCRATCH(RK_U32), RK_SCRATCH(RK_F64), RK_DIM, RK_DIM)   \
	X(monte_carlo_var, RK_IN(RK_F64), RK_IN(RK_F64), RK_IN(RK_F64), RK_VALUE(RK_F64), \
	  RK_VALUE(RK_U64), RK_VALUE(RK_U64), RK_OUT(RK_F64), RK_OUT(RK_F64),           \
	  RK_OUT(RK_F64), RK_SCRATCH(RK_F64), RK_SCRATCH(RK_F64), RK_DIM)               \
	X(ring_echo, RK_IN(RK_U8), RK_OUT(RK_U8), RK_DIM)               \
	X(running_stats, RK_IN(RK_F64), RK_STATE, RK_OUT(RK_U64), RK_OUT(RK_F64),       \
	  RK_OUT(RK_F64), RK_DIM)
/* clang-format on */

/* X(entry, type): what the state of the built-in is, at least. */
#define RK_BUILTIN_STATES(X) X(running_stats, struct rk_running_stats)

/* One parameter, as a struct rk_wire_param. */
#define RK_IN(t)                                                                                   \
	{                                                                                          \
		.kind = RK_WIRE_ARG_INPUT, .dtype = (t)                                            \
	}
#define RK_OUT(t)                                                                                  \
	{                                                                                          \
		.kind = RK_WIRE_ARG_OUTPUT, .dtype = (t)                                           \
	}
#define RK_SCRATCH(t)                                                                              \
	{                                                                                          \
		.kind = RK_WIRE_ARG_SCRATCH, .dtype = (t)                                          \
	}
#define RK_VALUE(t)                                                                                \
	{                                                                                          \
		.kind = RK_WIRE_ARG_SCALAR, .dtype = (t)                                           \
	}
#define RK_DIM                                                                                     \
	{                                                                                          \
		.kind = RK_WIRE_ARG_DIM, .dtype = RK_U64                                           \
	}
#define RK_STATE                                                                                   \
	{                                                                                          \
		.kind = RK_WIRE_ARG_STATE, .dtype = RK_U8                                          \
	}

#endif
