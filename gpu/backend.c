// SPDX-License-Identifier: MIT
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "gpu/backend.h"

/* Every name the configuration allows; ops is NULL where this build is without it. */
static const struct {
	const char *name;
	const char *title;
	const struct rk_backend_ops *ops;
} backends[] = {
	{"cpu", "CPU", &rk_backend_cpu},
	{"cuda", "CUDA", NULL},
};

int rk_backend_find(const char *name, const struct rk_backend_ops **ops, struct rk_error *err)
{
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		if (strcmp(backends[i].name, name) != 0)
			continue;
		if (!backends[i].ops)
			return rk_error_set(err, ENODEV, "this build has no %s backend",
					    backends[i].title);
		*ops = backends[i].ops;
		return 0;
	}
	return rk_error_set(err, EINVAL, "'%s' is no backend; see primary_backend in rkfs.conf",
			    name);
}
