/* SPDX-License-Identifier: MIT */
/* A libcuda.so.1 from before cuGetProcAddress: all that a loader can ask it is its version. */
#include <cuda.h>

#define OLD_VERSION 10020

__attribute__((visibility("default"))) CUresult cuDriverGetVersion(int *version);

CUresult cuDriverGetVersion(int *version)
{
	*version = OLD_VERSION;
	return CUDA_SUCCESS;
}
