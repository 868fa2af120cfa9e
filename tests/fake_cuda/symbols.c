/* SPDX-License-Identifier: MIT */
/* What the library exports: the way to its functions, and what tests ask it. */
#include "tests/fake_cuda/fake.h"

#include <stdio.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

/* The results that somebody may meet, or ask for in the trigger file. */
/* clang-format off */
#define RESULTS(X)                                                    \
	X(CUDA_SUCCESS, "no error")                                        \
	X(CUDA_ERROR_INVALID_VALUE, "invalid argument")                    \
	X(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")                       \
	X(CUDA_ERROR_NOT_INITIALIZED, "initialization error")              \
	X(CUDA_ERROR_DEINITIALIZED, "driver shutting down")                \
	X(CUDA_ERROR_STUB_LIBRARY, "CUDA driver is a stub library")        \
	X(CUDA_ERROR_DEVICE_UNAVAILABLE, "CUDA-capable device(s) is/are busy or unavailable") \
	X(CUDA_ERROR_NO_DEVICE, "no CUDA-capable device is detected")      \
	X(CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal")             \
	X(CUDA_ERROR_DEVICE_NOT_LICENSED, "device doesn't have valid Grid license") \
	X(CUDA_ERROR_INVALID_IMAGE, "device kernel image is invalid")      \
	X(CUDA_ERROR_INVALID_CONTEXT, "invalid device context")            \
	X(CUDA_ERROR_MAP_FAILED, "mapping of buffer object failed")        \
	X(CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device") \
	X(CUDA_ERROR_ECC_UNCORRECTABLE, "uncorrectable ECC error encountered") \
	X(CUDA_ERROR_UNSUPPORTED_LIMIT, "limit is not supported on this architecture") \
	X(CUDA_ERROR_INVALID_PTX, "a PTX JIT compilation failed")          \
	X(CUDA_ERROR_NVLINK_UNCORRECTABLE, "uncorrectable NVLink error detected during the execution") \
	X(CUDA_ERROR_JIT_COMPILER_NOT_FOUND, "PTX JIT compiler library not found") \
	X(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, "the provided PTX was compiled with an unsupported toolchain.") \
	X(CUDA_ERROR_JIT_COMPILATION_DISABLED, "PTX JIT compilation was disabled") \
	X(CUDA_ERROR_OPERATING_SYSTEM, "OS call failed or operation not supported on this OS") \
	X(CUDA_ERROR_INVALID_HANDLE, "invalid resource handle")            \
	X(CUDA_ERROR_ILLEGAL_STATE, "the operation cannot be performed in the present state") \
	X(CUDA_ERROR_NOT_FOUND, "named symbol not found")                  \
	X(CUDA_ERROR_NOT_READY, "device not ready")                        \
	X(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered") \
	X(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch") \
	X(CUDA_ERROR_LAUNCH_TIMEOUT, "the launch timed out and was terminated") \
	X(CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed")         \
	X(CUDA_ERROR_ASSERT, "device-side assert triggered")               \
	X(CUDA_ERROR_HARDWARE_STACK_ERROR, "hardware stack error")         \
	X(CUDA_ERROR_ILLEGAL_INSTRUCTION, "an illegal instruction was encountered") \
	X(CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address")             \
	X(CUDA_ERROR_INVALID_ADDRESS_SPACE, "operation not supported on global/shared address space") \
	X(CUDA_ERROR_INVALID_PC, "invalid program counter")                \
	X(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure")          \
	X(CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE, "too many blocks in cooperative launch") \
	X(CUDA_ERROR_NOT_PERMITTED, "operation not permitted")             \
	X(CUDA_ERROR_NOT_SUPPORTED, "operation not supported")             \
	X(CUDA_ERROR_SYSTEM_NOT_READY, "system not yet initialized")       \
	X(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "system has unsupported display driver / cuda driver combination") \
	X(CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE, "forward compatibility was attempted on non supported HW") \
	X(CUDA_ERROR_TIMEOUT, "wait operation timed out")                  \
	X(CUDA_ERROR_EXTERNAL_DEVICE, "an async error has occurred in external entity outside of CUDA") \
	X(CUDA_ERROR_UNKNOWN, "unknown error")

static const struct {
	CUresult result;
	const char *name, *text;
} results[] = {
#define X(result, text) {result, #result, text},
	RESULTS(X)
#undef X
	/* which the cuda.h of an older toolkit has not */
	{(CUresult)226, "CUDA_ERROR_CONTAINED", "Invalid access of peer GPU memory over nvlink or a hardware error"},
};

static const struct {
	const char *name;
	void *function;
	int version;
} symbols[] = {
#define X(need, name, version) {#name, (void *)fake_##name, version},
	RK_CUDA_SYMBOLS(X)
#undef X
};
/* clang-format on */

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

CUresult fake_result(const char *name, CUresult otherwise)
{
	for (size_t i = 0; i < COUNT(results); i++)
		if (strcmp(results[i].name, name) == 0)
			return results[i].result;
	if (*name)
		fake_complain("the trigger file names %s, which the library does not know", name);
	return otherwise;
}

CUresult fake_cuGetErrorName(CUresult result, const char **name)
{
	*name = NULL;
	for (size_t i = 0; i < COUNT(results); i++)
		if (results[i].result == result)
			*name = results[i].name;
	return *name ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult fake_cuGetErrorString(CUresult result, const char **text)
{
	*text = NULL;
	for (size_t i = 0; i < COUNT(results); i++)
		if (results[i].result == result)
			*text = results[i].text;
	return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static CUdriverProcAddressQueryResult find_symbol(const char *name, int version, void **function)
{
	*function = NULL;
	if (fake_trigger_find("symbol_missing", name))
		return CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
	for (size_t i = 0; i < COUNT(symbols); i++) {
		if (strcmp(symbols[i].name, name) != 0)
			continue;
		if (version < symbols[i].version)
			return CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
		*function = symbols[i].function;
		return CU_GET_PROC_ADDRESS_SUCCESS;
	}
	return CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
}

/* cuda.h calls the one with a status cuGetProcAddress too. */
#undef cuGetProcAddress
EXPORT CUresult cuGetProcAddress_v2(const char *name, void **function, int version,
				    cuuint64_t flags, CUdriverProcAddressQueryResult *status);
EXPORT CUresult cuGetProcAddress(const char *name, void **function, int version, cuuint64_t flags);
EXPORT CUresult cuDriverGetVersion(int *version);
EXPORT fake_cuda_count_fn fake_cuda_count;

CUresult cuGetProcAddress_v2(const char *name, void **function, int version, cuuint64_t flags,
			     CUdriverProcAddressQueryResult *status)
{
	CUdriverProcAddressQueryResult found;
	CUresult result = fake_enter("cuGetProcAddress", FAKE_EARLY);
	int driver;

	(void)flags;
	if (result)
		return result;
	driver = (int)fake_trigger_number("driver_version", FAKE_DRIVER_VERSION);
	if (!name || !function || version > driver)
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	found = find_symbol(name, version, function);
	if (status)
		*status = found;
	return fake_leave(CUDA_SUCCESS);
}

CUresult cuGetProcAddress(const char *name, void **function, int version, cuuint64_t flags)
{
	CUresult result = cuGetProcAddress_v2(name, function, version, flags, NULL);

	if (result == CUDA_SUCCESS && !*function)
		return CUDA_ERROR_NOT_FOUND;
	return result;
}

/* For a loader that says how old a driver is which has no cuGetProcAddress. */
CUresult cuDriverGetVersion(int *version)
{
	return fake_cuDriverGetVersion(version);
}

uint64_t fake_cuda_count(const char *name)
{
	uint64_t value = UINT64_MAX;

	pthread_mutex_lock(&fake.lock);
#define X(field)                                                                                   \
	if (strcmp(name, #field) == 0)                                                             \
		value = fake.counts.field;
	FAKE_CUDA_GAUGES(X)
	FAKE_CUDA_COUNTERS(X)
#undef X
	pthread_mutex_unlock(&fake.lock);
	return value;
}
