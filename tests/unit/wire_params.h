/* SPDX-License-Identifier: MIT */
/* Parameters of kernels, in initializers. */
#ifndef RK_TESTS_WIRE_PARAMS_H
#define RK_TESTS_WIRE_PARAMS_H

#include "runtime/base/wire.h"

#define PARAM(what, type)                                                                          \
	{                                                                                          \
		.kind = RK_WIRE_ARG_##what, .dtype = (type)                                        \
	}
#define IN(type)      PARAM(INPUT, type)
#define OUT(type)     PARAM(OUTPUT, type)
#define SCRATCH(type) PARAM(SCRATCH, type)
#define VALUE(type)   PARAM(SCALAR, type)
#define DIM	      PARAM(DIM, RK_U64)
#define STATE	      PARAM(STATE, RK_U8)

#endif
