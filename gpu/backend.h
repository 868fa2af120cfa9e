/* SPDX-License-Identifier: MIT */
/* The backends that a worker can be told to use, by name. */
#ifndef RK_GPU_BACKEND_H
#define RK_GPU_BACKEND_H

#include "gpu/base/backend.h"
#include "runtime/base/error.h"

/*
 * The backend called @name. Returns 0; -ENODEV where this build was made without it; -EINVAL
 * where no backend has that name. *@ops is static storage. Never blocks.
 */
int rk_backend_find(const char *name, const struct rk_backend_ops **ops, struct rk_error *err);

#endif
