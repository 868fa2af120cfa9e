/* SPDX-License-Identifier: MIT */
/*
 * All functions of libcuda.so.1 that are used, each once: RK_CUDA_SYMBOLS(X) with X(need, name,
 * version), where need is REQUIRED or OPTIONAL, and version is the one that cuGetProcAddress is
 * asked for, 1000 * major + 10 * minor. The loader (gpu/cuda/device.h) and the tests' own
 * libcuda.so.1 (tests/fake_cuda) expand this list.
 *
 * cuda.h renames many of them (cuMemAlloc is cuMemAlloc_v2), so the list is never passed on through
 * a second macro, and #name and ##name give the plain name.
 */
#ifndef RK_GPU_CUDA_SYMS_H
#define RK_GPU_CUDA_SYMS_H

#include <cuda.h>

/* What the cuda.h of older toolkits lacks; tests/lint/cuda_11_8 is the oldest. */
#if CUDA_VERSION < 12000
typedef enum {
	CU_GET_PROC_ADDRESS_SUCCESS = 0,
	CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND = 1,
	CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT = 2,
} CUdriverProcAddressQueryResult;
#endif
#if CUDA_VERSION < 12040
CUresult CUDAAPI cuFuncGetParamInfo(CUfunction function, size_t index, size_t *offset,
				    size_t *size);
#endif

/* clang-format off */
#define RK_CUDA_SYMBOLS(X)                                    \
	X(REQUIRED, cuInit, 2000)                              \
	X(REQUIRED, cuDriverGetVersion, 2020)                  \
	X(REQUIRED, cuGetErrorName, 6000)                      \
	X(REQUIRED, cuGetErrorString, 6000)                    \
	X(REQUIRED, cuDeviceGetCount, 2000)                    \
	X(REQUIRED, cuDeviceGet, 2000)                         \
	X(REQUIRED, cuDeviceGetName, 2000)                     \
	X(REQUIRED, cuDeviceGetUuid, 11040)                    \
	X(REQUIRED, cuDeviceGetAttribute, 2000)                \
	X(REQUIRED, cuDeviceTotalMem, 3020)                    \
	X(REQUIRED, cuDevicePrimaryCtxSetFlags, 11000)         \
	X(REQUIRED, cuDevicePrimaryCtxRetain, 7000)            \
	X(REQUIRED, cuDevicePrimaryCtxRelease, 11000)          \
	X(REQUIRED, cuCtxSetCurrent, 4000)                     \
	X(REQUIRED, cuCtxGetStreamPriorityRange, 5050)         \
	X(REQUIRED, cuMemGetInfo, 3020)                        \
	X(REQUIRED, cuMemAlloc, 3020)                          \
	X(REQUIRED, cuMemAllocManaged, 6000)                   \
	X(REQUIRED, cuMemFree, 3020)                           \
	X(REQUIRED, cuMemHostAlloc, 2020)                      \
	X(REQUIRED, cuMemFreeHost, 2000)                       \
	X(REQUIRED, cuMemHostGetDevicePointer, 3020)           \
	X(REQUIRED, cuMemcpyHtoDAsync, 3020)                   \
	X(REQUIRED, cuMemcpyDtoHAsync, 3020)                   \
	X(REQUIRED, cuMemsetD8Async, 3020)                     \
	X(REQUIRED, cuStreamCreate, 2000)                      \
	X(REQUIRED, cuStreamCreateWithPriority, 5050)          \
	X(REQUIRED, cuStreamDestroy, 4000)                     \
	X(REQUIRED, cuStreamSynchronize, 2000)                 \
	X(REQUIRED, cuStreamQuery, 2000)                       \
	X(REQUIRED, cuEventCreate, 2000)                       \
	X(REQUIRED, cuEventDestroy, 4000)                      \
	X(REQUIRED, cuEventRecord, 2000)                       \
	X(REQUIRED, cuEventQuery, 2000)                        \
	X(REQUIRED, cuEventSynchronize, 2000)                  \
	X(REQUIRED, cuEventElapsedTime, 2000)                  \
	X(REQUIRED, cuModuleLoadDataEx, 2010)                  \
	X(REQUIRED, cuModuleUnload, 2000)                      \
	X(REQUIRED, cuModuleGetFunction, 2000)                 \
	X(REQUIRED, cuFuncGetAttribute, 2020)                  \
	X(REQUIRED, cuFuncSetAttribute, 9000)                  \
	X(REQUIRED, cuOccupancyMaxActiveBlocksPerMultiprocessor, 6050) \
	X(REQUIRED, cuLaunchKernel, 4000)                      \
	X(REQUIRED, cuLaunchCooperativeKernel, 9000)           \
	X(OPTIONAL, cuFuncGetParamInfo, 12040)                 \
	X(OPTIONAL, cuMemAllocAsync, 11020)                    \
	X(OPTIONAL, cuMemFreeAsync, 11020)                     \
	X(OPTIONAL, cuMemPoolCreate, 11020)                    \
	X(OPTIONAL, cuMemPoolDestroy, 11020)                   \
	X(OPTIONAL, cuMemPoolTrimTo, 11020)                    \
	X(OPTIONAL, cuMemPoolSetAttribute, 11020)              \
	X(OPTIONAL, cuMemPoolGetAttribute, 11020)              \
	X(OPTIONAL, cuMemAllocFromPoolAsync, 11020)
/* clang-format on */

/* The oldest driver that will do: it has all that is REQUIRED. */
#define RK_CUDA_DRIVER_MIN 11040

#endif
