/* SPDX-License-Identifier: MIT */
/* Whether the device still does anything: it sets a few bytes, on a stream of their own. */
#include "gpu/cuda/internal.h"

int rk_cuda_touch_open(struct rk_cuda_touch *touch, struct rk_cuda_device *device,
		       struct rk_error *err)
{
	CUresult result;
	int rc = rk_cuda_stream_urgent(device, &touch->stream, err);

	if (rc)
		return rc;
	result =
		rk_cu.cuEventCreate(&touch->done, CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING);
	if (result != CUDA_SUCCESS) {
		touch->done = NULL;
		return rk_cuda_fail(device, result, err, "cuEventCreate");
	}
	result = rk_cu.cuMemAlloc(&touch->at, RK_CUDA_TOUCH_BYTES);
	if (result == CUDA_SUCCESS)
		return 0;
	touch->at = 0;
	return rk_cuda_fail(device, result, err, "health check: cuMemAlloc");
}

void rk_cuda_touch_close(struct rk_cuda_touch *touch, struct rk_cuda_device *device)
{
	if (touch->at)
		rk_cuda_release(device, rk_cu.cuMemFree(touch->at), "cuMemFree");
	if (touch->done)
		rk_cuda_release(device, rk_cu.cuEventDestroy(touch->done), "cuEventDestroy");
	if (touch->stream)
		rk_cuda_release(device, rk_cu.cuStreamDestroy(touch->stream), "cuStreamDestroy");
}

int rk_cuda_touch(struct rk_cuda_touch *touch, struct rk_cuda_device *device, struct rk_error *err)
{
	const char *call = "cuMemsetD8Async";
	CUresult result = rk_cu.cuMemsetD8Async(touch->at, 0, RK_CUDA_TOUCH_BYTES, touch->stream);

	if (result == CUDA_SUCCESS) {
		call = "cuEventRecord";
		result = rk_cu.cuEventRecord(touch->done, touch->stream);
	}
	if (result == CUDA_SUCCESS) {
		call = "the device sets a few bytes";
		result = rk_cuda_wait(touch->done);
	}
	if (result == CUDA_SUCCESS)
		return 0;
	return rk_cuda_fail(device, result, err, "%s", call);
}
