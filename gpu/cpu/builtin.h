/* SPDX-License-Identifier: MIT */
/* The built-in kernels on the CPU. */
#ifndef RK_GPU_CPU_BUILTIN_H
#define RK_GPU_CPU_BUILTIN_H

#include "runtime/base/error.h"
#include "runtime/base/wire.h"

/*
 * The C function of the built-in that @load names. Returns 0; -ENOENT: there is none; -EINVAL: it
 * takes other arguments than @load says, or a larger state. Never blocks.
 */
int rk_cpu_builtin(const struct rk_wire_load *load, void (**fn)(void), struct rk_error *err);

#endif
