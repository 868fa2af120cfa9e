/* SPDX-License-Identifier: MIT */
/* A few bytes of the device, and a stream for them: whether the device still does anything. */
#ifndef RK_GPU_CUDA_TOUCH_H
#define RK_GPU_CUDA_TOUCH_H

#include "gpu/cuda/device.h"

#define RK_CUDA_TOUCH_BYTES 256

/* The bytes are part of no account. All of it is for one thread at a time, the context current. */
struct rk_cuda_touch {
	CUstream stream;
	CUevent done;
	CUdeviceptr at; /* 0: none */
};

/* Returns 0 or as rk_cuda_fail; what there is then is for rk_cuda_touch_close. */
int rk_cuda_touch_open(struct rk_cuda_touch *touch, struct rk_cuda_device *device,
		       struct rk_error *err);

/* What there is of it; zeroes are fine. */
void rk_cuda_touch_close(struct rk_cuda_touch *touch, struct rk_cuda_device *device);

/* Have the device set the bytes. Waits for as long as that takes. Returns 0 or as rk_cuda_fail. */
int rk_cuda_touch(struct rk_cuda_touch *touch, struct rk_cuda_device *device, struct rk_error *err);

#endif
