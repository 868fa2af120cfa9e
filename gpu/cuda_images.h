/* SPDX-License-Identifier: MIT */
/* The CUDA kernels that are compiled in: nvcc's output, embedded by gpu/cuda.mk. */
#ifndef RK_GPU_CUDA_IMAGES_H
#define RK_GPU_CUDA_IMAGES_H

#include <stddef.h>

struct rk_cuda_image {
	const char *name;	   /* of its source, for sentences */
	const unsigned char *data; /* a fatbin */
	size_t size;
};

/* All of them, *@count rows; static storage. An entry's name is in one of them only. */
const struct rk_cuda_image *rk_cuda_images(size_t *count);

#endif
