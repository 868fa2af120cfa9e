/* SPDX-License-Identifier: MIT */
/* Whether the device still does anything: a few bytes of it, and a stream of their own. */
#ifndef RK_GPU_CUDA_TOUCH_H
#define RK_GPU_CUDA_TOUCH_H

#include "gpu/cuda/device.h"

#define RK_CUDA_TOUCH_BYTES 256

/* The bytes are part of no account. For one thread at a time, with the context current. */
struct rk_cuda_touch {
	CUstream stream;
	CUevent done;
	CUdeviceptr at; /* 0: none */
};

/* Returns 0 or fails as rk_cuda_fail does, and leaves what there is for rk_cuda_touch_close. */
int rk_cuda_touch_open(struct rk_cuda_touch *touch, struct rk_cuda_device *device,
		       struct rk_error *err);

/* Close whatever there is of it; a struct of zeroes is fine. */
void rk_cuda_touch_close(struct rk_cuda_touch *touch, struct rk_cuda_device *device);

/*
 * Have the device set the bytes, and wait for as long as that takes. Returns 0 or fails as
 * rk_cuda_fail does.
 */
int rk_cuda_touch(struct rk_cuda_touch *touch, struct rk_cuda_device *device, struct rk_error *err);

#endif
