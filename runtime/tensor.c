/* SPDX-License-Identifier: MIT */
#include "runtime/tensor.h"

#include <string.h>

static const struct rk_dtype_info dtypes[RK_DTYPE_COUNT] = {
#define X(id, name, ctype, kind) [id] = {name, sizeof(ctype), kind},
	RK_DTYPES(X)
#undef X
};

const struct rk_dtype_info *rk_dtype_info(enum rk_dtype dtype)
{
	return &dtypes[dtype];
}

enum rk_dtype rk_dtype_find(const char *name, size_t len)
{
	unsigned int i;

	for (i = 0; i < RK_DTYPE_COUNT; i++)
		if (strlen(dtypes[i].name) == len && memcmp(dtypes[i].name, name, len) == 0)
			break;
	return (enum rk_dtype)i;
}

const char *rk_dtype_names(void)
{
	static const char names[] =
#define X(id, name, ctype, kind) ", " name
		RK_DTYPES(X)
#undef X
		;

	return names + strlen(", ");
}
