/* SPDX-License-Identifier: MIT */
/* The environment of a worker. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/supervisor/internal.h"

#define CACHE_PATH    "CUDA_CACHE_PATH="
#define CACHE_DISABLE "CUDA_CACHE_DISABLE=1"
#define VISIBLE	      "CUDA_VISIBLE_DEVICES="

/*
 * What kernels and the libraries under them read: whatever else the daemon was started with is
 * none of their business. Where a prefix ends in "=" it is the whole name.
 */
static const char *const passed[] = {
	"LANG=",    "LANGUAGE=", "LC_",	   "TZ=",   "LD_LIBRARY_PATH=",
	"CUDA_",    "NVIDIA_",	 "RK_",	   "OMP_",  "GOMP_",
	"OPENBLAS", "MKL_",	 "MALLOC", "GLIBC", "ASAN_OPTIONS=",
	"LSAN_",    "TSAN_",	 "UBSAN_",
};

/* What rkfs decides, whatever was set. */
static const char *const ours[] = {CACHE_PATH, "CUDA_CACHE_DISABLE="};

/* The same where a worker has a device of its own. */
static const char *const visible = VISIBLE;

static bool is_among(const char *variable, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strncmp(variable, list[i], strlen(list[i])))
			return true;
	return false;
}

static bool passes(const char *variable)
{
	return is_among(variable, passed, sizeof(passed) / sizeof(passed[0])) &&
	       !is_among(variable, ours, sizeof(ours) / sizeof(ours[0]));
}

int rk_environment_make(char *const *from, const char *cache_dir, const char *device,
			struct rk_environment *env, struct rk_error *err)
{
	size_t n = 0;

	while (from[n])
		n++;
	env->list = calloc(n + 3, sizeof(*env->list));
	if (!env->list)
		return rk_error_set(err, ENOMEM, "no memory for the environment of a worker");
	n = 0;
	for (; *from; from++)
		if (passes(*from) && !(*device && is_among(*from, &visible, 1)))
			env->list[n++] = *from;
	/* code that one kernel's compilation leaves there is run for another */
	snprintf(env->cache, sizeof(env->cache), "%s%s", *cache_dir ? CACHE_PATH : CACHE_DISABLE,
		 cache_dir);
	env->list[n++] = env->cache;
	snprintf(env->visible, sizeof(env->visible), VISIBLE "%s", device);
	if (*device)
		env->list[n] = env->visible;
	return 0;
}
