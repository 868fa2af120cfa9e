/* SPDX-License-Identifier: MIT */
/* NVML's library: opened at run time, and its functions found. */
#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "gpu/nvml/internal.h"

#define LIBRARY "libnvidia-ml.so.1"

struct rk_nvml_functions rk_nvml;

static void *library; /* NULL: not open */

enum need {
	OPTIONAL,
	REQUIRED,
};

static const struct symbol {
	const char *name;
	enum need need;
	size_t offset; /* in struct rk_nvml_functions */
} symbols[] = {
#define X(need, result, name, parameters) {#name, need, offsetof(struct rk_nvml_functions, name)},
	RK_NVML_SYMBOLS(X)
#undef X
};

static int find_all(void *lib, struct rk_nvml_functions *functions, struct rk_error *err)
{
	for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		void *fn = dlsym(lib, symbols[i].name);

		if (!fn && symbols[i].need == REQUIRED)
			return rk_error_set(err, ENODEV, LIBRARY " has no %s", symbols[i].name);
		memcpy((char *)functions + symbols[i].offset, &fn, sizeof(fn));
	}
	return 0;
}

int rk_nvml_open(struct rk_error *err)
{
	struct rk_nvml_functions functions;
	const char *why;
	void *lib;
	int rc;

	if (library)
		return 0;
	lib = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!lib) {
		why = dlerror();
		return rk_error_set(err, ENODEV, "%s",
				    why ? why : LIBRARY ": the loader gives no reason");
	}
	rc = find_all(lib, &functions, err);
	if (rc) {
		(void)dlclose(
			lib); /* the library is of no use, and neither is what dlclose says of it */
		return rc;
	}
	rk_nvml = functions;
	library = lib;
	return 0;
}

int rk_nvml_error(int result, struct rk_error *err, const char *call)
{
	const char *text;

	if (result == RK_NVML_SUCCESS)
		return 0;
	text = rk_nvml.nvmlErrorString(result);
	return rk_error_set(err, ENODEV, "%s: %s", call, text ? text : "an unknown error");
}
