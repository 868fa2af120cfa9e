/* SPDX-License-Identifier: MIT */
/* What there is for each row of runtime/base/backends.h. */
#ifndef RK_GPU_BACKEND_H
#define RK_GPU_BACKEND_H

#include "gpu/base/backend.h"
#include "runtime/base/error.h"

/*
 * What @backend does. Returns 0, or -ENODEV where this build was made without it. *@ops is static
 * storage. Never blocks.
 */
int rk_backend_find(enum rk_wire_backend backend, const struct rk_backend_ops **ops,
		    struct rk_error *err);

#endif
