/* SPDX-License-Identifier: MIT */
/* What a parameter of a kernel is: a buffer, a value or the state. */
#ifndef RK_GPU_BASE_PARAM_H
#define RK_GPU_BASE_PARAM_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/base/wire.h"

/* Whether it is passed as the address of a buffer in the payload. */
static inline bool rk_param_is_buffer(const struct rk_wire_param *param)
{
	return param->kind == RK_WIRE_ARG_INPUT || param->kind == RK_WIRE_ARG_OUTPUT ||
	       param->kind == RK_WIRE_ARG_SCRATCH;
}

/* Whether it is passed by value. */
static inline bool rk_param_is_value(const struct rk_wire_param *param)
{
	return param->kind == RK_WIRE_ARG_SCALAR || param->kind == RK_WIRE_ARG_DIM;
}

/* Bytes behind its buffer that tell of a kernel which writes too far: 0 where it writes nothing. */
static inline uint64_t rk_param_guard(const struct rk_wire_param *param)
{
	return param->kind == RK_WIRE_ARG_OUTPUT || param->kind == RK_WIRE_ARG_SCRATCH
		       ? RK_WIRE_GUARD
		       : 0;
}

#endif
