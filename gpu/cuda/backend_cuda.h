/* SPDX-License-Identifier: MIT */
/* The CUDA backend, for the table of backends. It is there only where RK_HAVE_CUDA is defined. */
#ifndef RK_GPU_CUDA_BACKEND_CUDA_H
#define RK_GPU_CUDA_BACKEND_CUDA_H

#include "gpu/base/backend.h"

extern const struct rk_backend_ops rk_backend_cuda;

#endif
