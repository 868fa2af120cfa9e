/* SPDX-License-Identifier: MIT */
/* What there is for each row of runtime/base/backends.h. */
#include <errno.h>
#include <stddef.h>

#include "gpu/backend.h"
#include "gpu/cpu/backend_cpu.h"

#ifdef RK_HAVE_CUDA
#include "gpu/cuda/backend_cuda.h"
#define CUDA_OPS &rk_backend_cuda
#else
#define CUDA_OPS NULL
#endif

/* ops is NULL where this build is without it. */
static const struct {
	const struct rk_backend_ops *ops;
	const char *why_not; /* where ops is NULL */
} backends[RK_WIRE_BACKEND_COUNT] = {
	[RK_WIRE_CPU] = {&rk_backend_cpu, NULL},
	[RK_WIRE_CUDA] = {CUDA_OPS, "this build has no CUDA backend; it was built without nvcc"},
};

int rk_backend_find(enum rk_wire_backend backend, const struct rk_backend_ops **ops,
		    struct rk_error *err)
{
	if (!backends[backend].ops)
		return rk_error_set(err, ENODEV, "%s", backends[backend].why_not);
	*ops = backends[backend].ops;
	return 0;
}
