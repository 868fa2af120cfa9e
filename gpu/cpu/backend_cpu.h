/* SPDX-License-Identifier: MIT */
/* The CPU backend, for the table of backends. */
#ifndef RK_GPU_CPU_BACKEND_CPU_H
#define RK_GPU_CPU_BACKEND_CPU_H

#include "gpu/base/backend.h"

extern const struct rk_backend_ops rk_backend_cpu;

#endif
