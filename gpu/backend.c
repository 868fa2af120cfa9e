// SPDX-License-Identifier: MIT
/* The table of backends: each name that the configuration allows, and what there is for it. */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "gpu/backend.h"
#include "gpu/cpu/backend_cpu.h"

#ifdef RK_HAVE_CUDA
#include "gpu/cuda/backend_cuda.h"
#define CUDA_OPS &rk_backend_cuda
#else
#define CUDA_OPS NULL
#endif

/* Every name the configuration allows; ops is NULL where this build is without it. */
static const struct {
	const char *name;
	const struct rk_backend_ops *ops;
	const char *why_not; /* where ops is NULL */
} backends[] = {
	{"cpu", &rk_backend_cpu, NULL},
	{"cuda", CUDA_OPS, "this build has no CUDA backend; it was built without nvcc"},
};

int rk_backend_find(const char *name, const struct rk_backend_ops **ops, struct rk_error *err)
{
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		if (strcmp(backends[i].name, name) != 0)
			continue;
		if (!backends[i].ops)
			return rk_error_set(err, ENODEV, "%s", backends[i].why_not);
		*ops = backends[i].ops;
		return 0;
	}
	return rk_error_set(err, EINVAL, "'%s' is no backend; see primary_backend in rkfs.conf",
			    name);
}
