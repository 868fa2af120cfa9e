/* SPDX-License-Identifier: MIT */
/* The driver's library: opened at run time, its functions found, its errors told apart. */
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/cuda/device.h"
#include "runtime/base/log.h"

#define LIBRARY "libcuda.so.1"

/* CUresults that the cuda.h of an older toolkit lacks */
#define CALL_REQUIRES_NEWER_DRIVER 36
#define CONTAINED		   226
#define TENSOR_MEMORY_LEAK	   721
#define MPS_CLIENT_TERMINATED	   810

struct rk_cuda_functions rk_cu;

enum need {
	REQUIRED,
	OPTIONAL,
};

struct symbol {
	const char *name;
	enum need need;
	int version;
	size_t offset; /* in struct rk_cuda_functions */
};

static const struct symbol symbols[] = {
#define X(need, name, version) {#name, need, version, offsetof(struct rk_cuda_functions, name)},
	RK_CUDA_SYMBOLS(X)
#undef X
};

/*
 * What the driver must find in the environment when it is loaded, whatever started the daemon. The
 * rest, such as CUDA_VISIBLE_DEVICES, is the user's.
 */
static const struct {
	const char *name;
	const char *value; /* NULL: it must not be there */
	bool only_if_unset;
} environment[] = {
	/* a kernel that is loaded at its first launch waits for resident ones */
	{"CUDA_MODULE_LOADING", "EAGER", false},
	/* each launch would wait for its end, and for that of a resident kernel for ever */
	{"CUDA_LAUNCH_BLOCKING", NULL, false},
	/* the greatest number there can be; gpu/cuda/internal.h counts on it */
	{"CUDA_DEVICE_MAX_CONNECTIONS", "32", false},
	/* nvidia-smi and devices/N count like this, so cuda_device means the same */
	{"CUDA_DEVICE_ORDER", "PCI_BUS_ID", true},
};

#define SYMBOL_COUNT (sizeof(symbols) / sizeof(symbols[0]))

/*
 * cuGetProcAddress as it is since CUDA 12, and as it was from 11.3 on. A library has one or both
 * under their own names, whatever cuda.h calls them here.
 */
typedef CUresult CUDAAPI lookup_fn(const char *, void **, int, cuuint64_t,
				   CUdriverProcAddressQueryResult *);
typedef CUresult CUDAAPI old_lookup_fn(const char *, void **, int, cuuint64_t);
typedef CUresult CUDAAPI version_fn(int *);

struct lookup {
	lookup_fn *now;
	old_lookup_fn *old;
};

static void *library; /* NULL: not open */

static void *find_plain(void *lib, const char *name)
{
	(void)dlerror();
	return dlsym(lib, name);
}

static bool find_lookup(void *lib, struct lookup *lookup)
{
	*(void **)&lookup->now = find_plain(lib, "cuGetProcAddress_v2");
	*(void **)&lookup->old = find_plain(lib, "cuGetProcAddress");
	return lookup->now || lookup->old;
}

static void *find(const struct lookup *lookup, const struct symbol *symbol)
{
	CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SUCCESS;
	void *fn = NULL;
	CUresult result;

	if (lookup->now)
		result = lookup->now(symbol->name, &fn, symbol->version,
				     CU_GET_PROC_ADDRESS_DEFAULT, &status);
	else
		result = lookup->old(symbol->name, &fn, symbol->version,
				     CU_GET_PROC_ADDRESS_DEFAULT);
	return result == CUDA_SUCCESS && status == CU_GET_PROC_ADDRESS_SUCCESS ? fn : NULL;
}

/* By dlsym, because a driver that is too old has nothing else. */
static int check_version(void *lib, struct rk_error *err)
{
	version_fn *get_version;
	int version = 0;

	*(void **)&get_version = find_plain(lib, "cuDriverGetVersion");
	if (!get_version)
		return rk_error_set(err, ENODEV,
				    LIBRARY " is not a CUDA driver: it has no cuDriverGetVersion");
	if (get_version(&version) != CUDA_SUCCESS)
		return rk_error_set(err, ENODEV, LIBRARY " does not tell its version");
	if (version >= RK_CUDA_DRIVER_MIN)
		return 0;
	return rk_error_set(err, ENODEV,
			    LIBRARY " is of CUDA %d.%d; %d.%d or later is needed: update the "
				    "NVIDIA driver",
			    version / 1000, version % 1000 / 10, RK_CUDA_DRIVER_MIN / 1000,
			    RK_CUDA_DRIVER_MIN % 1000 / 10);
}

static int find_all(void *lib, struct rk_cuda_functions *functions, struct rk_error *err)
{
	struct lookup lookup;

	if (!find_lookup(lib, &lookup))
		return rk_error_set(err, ENODEV, LIBRARY " has no cuGetProcAddress");
	for (size_t i = 0; i < SYMBOL_COUNT; i++) {
		void *fn = find(&lookup, &symbols[i]);

		if (!fn && symbols[i].need == REQUIRED)
			return rk_error_set(err, ENODEV, LIBRARY " has no %s (CUDA %d.%d)",
					    symbols[i].name, symbols[i].version / 1000,
					    symbols[i].version % 1000 / 10);
		memcpy((char *)functions + symbols[i].offset, &fn, sizeof(fn));
	}
	return 0;
}

/* Once, before other threads of the driver are there to read it. */
static int set_environment(struct rk_error *err)
{
	for (size_t i = 0; i < sizeof(environment) / sizeof(environment[0]); i++) {
		const char *name = environment[i].name, *value = environment[i].value;
		const char *was = getenv(name);
		int rc;

		if (was && !environment[i].only_if_unset && (!value || strcmp(was, value) != 0))
			rk_log(RK_LOG_WARN, "rk-worker: %s=%s of the environment is not used", name,
			       was);
		rc = value ? setenv(name, value, !environment[i].only_if_unset) : unsetenv(name);
		if (rc < 0)
			return rk_error_set(err, errno,
					    "cannot set %s, for the driver, in the environment: %m",
					    name);
	}
	return 0;
}

int rk_cuda_open(struct rk_error *err)
{
	struct rk_cuda_functions functions;
	const char *why;
	void *lib;
	int rc;

	if (library)
		return 0;
	rc = set_environment(err);
	if (rc)
		return rc;
	lib = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!lib) {
		why = dlerror();
		return rk_error_set(err, ENODEV, "cannot load the NVIDIA driver's library: %s",
				    why ? why : LIBRARY ": the loader gives no reason");
	}
	rc = check_version(lib, err);
	if (rc == 0)
		rc = find_all(lib, &functions, err);
	if (rc) {
		(void)dlclose(
			lib); /* the library is of no use, and neither is what dlclose says of it */
		return rc;
	}
	rk_cu = functions;
	library = lib;
	return 0;
}

bool rk_cuda_has_async_memory(void)
{
	return rk_cu.cuMemAllocAsync && rk_cu.cuMemFreeAsync && rk_cu.cuMemPoolCreate &&
	       rk_cu.cuMemPoolDestroy && rk_cu.cuMemPoolTrimTo && rk_cu.cuMemPoolSetAttribute &&
	       rk_cu.cuMemPoolGetAttribute && rk_cu.cuMemAllocFromPoolAsync;
}

const char *rk_cuda_name(CUresult result)
{
	const char *name = NULL;

	if (!rk_cu.cuGetErrorName || rk_cu.cuGetErrorName(result, &name) != CUDA_SUCCESS || !name)
		return "an unknown CUresult";
	return name;
}

static int error_code(CUresult result)
{
	switch ((int)result) {
	case CUDA_ERROR_OUT_OF_MEMORY:
		return ENOMEM;
	case CUDA_ERROR_STUB_LIBRARY:
	case CALL_REQUIRES_NEWER_DRIVER:
	case CUDA_ERROR_DEVICE_UNAVAILABLE:
	case CUDA_ERROR_NO_DEVICE:
	case CUDA_ERROR_INVALID_DEVICE:
	case CUDA_ERROR_SYSTEM_NOT_READY:
	case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
	case CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
		return ENODEV;
	default:
		return EIO;
	}
}

int rk_cuda_error(CUresult result, struct rk_error *err, const char *what, ...)
{
	const char *text = NULL;
	char doing[RK_ERROR_MAX];
	va_list ap;

	if (result == CUDA_SUCCESS)
		return 0;
	va_start(ap, what);
	vsnprintf(doing, sizeof(doing), what, ap);
	va_end(ap);
	if (!rk_cu.cuGetErrorString || rk_cu.cuGetErrorString(result, &text) != CUDA_SUCCESS ||
	    !text)
		return rk_error_set(err, error_code(result), "%s: %s, %d", doing,
				    rk_cuda_name(result), (int)result);
	return rk_error_set(err, error_code(result), "%s: %s (%s)", doing, rk_cuda_name(result),
			    text);
}

enum rk_wire_fault_kind rk_cuda_fault(CUresult result)
{
	switch ((int)result) {
	case CUDA_ERROR_DEVICE_UNAVAILABLE:
	case CUDA_ERROR_NO_DEVICE:
	case CUDA_ERROR_INVALID_DEVICE:
		return RK_WIRE_DEVICE_LOST;
	/* "leaves the process in an inconsistent state", "the context cannot be used anymore" */
	case CONTAINED:
	case CUDA_ERROR_ILLEGAL_ADDRESS:
	case CUDA_ERROR_LAUNCH_TIMEOUT:
	case CUDA_ERROR_CONTEXT_IS_DESTROYED:
	case CUDA_ERROR_ASSERT:
	case CUDA_ERROR_HARDWARE_STACK_ERROR:
	case CUDA_ERROR_ILLEGAL_INSTRUCTION:
	case CUDA_ERROR_MISALIGNED_ADDRESS:
	case CUDA_ERROR_INVALID_ADDRESS_SPACE:
	case CUDA_ERROR_INVALID_PC:
	case CUDA_ERROR_LAUNCH_FAILED:
	case TENSOR_MEMORY_LEAK:
	case MPS_CLIENT_TERMINATED:
	case CUDA_ERROR_EXTERNAL_DEVICE:
	/* memory or a link of the device has lost data: no result of this context can be trusted */
	case CUDA_ERROR_ECC_UNCORRECTABLE:
	case CUDA_ERROR_NVLINK_UNCORRECTABLE:
	/* "the driver is in the process of shutting down" */
	case CUDA_ERROR_DEINITIALIZED:
	/* nobody knows what is left of the context; a lost device may say this too */
	case CUDA_ERROR_UNKNOWN:
		return RK_WIRE_STICKY;
	default:
		return RK_WIRE_NO_FAULT;
	}
}
