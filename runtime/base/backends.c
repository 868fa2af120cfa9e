/* SPDX-License-Identifier: MIT */
/* The table of backends, and how one is found by its name. */
#include "runtime/base/backends.h"

#include <string.h>

const struct rk_backend_info rk_backends[RK_WIRE_BACKEND_COUNT] = {
#define X(id, name_, library_, what_, launches_)                                                   \
	{.name = #name_, .library = (library_), .what = (what_), .launches = (launches_)},
	RK_BACKENDS(X)
#undef X
};

enum rk_wire_backend rk_backend_named(const char *name)
{
	enum rk_wire_backend backend = 0;

	while (backend < RK_WIRE_BACKEND_COUNT && strcmp(rk_backends[backend].name, name) != 0)
		backend++;
	return backend;
}
