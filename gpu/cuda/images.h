/* SPDX-License-Identifier: MIT */
/* The CUDA kernels that are compiled in: nvcc's output, embedded by gpu/cuda.mk. */
#ifndef RK_GPU_CUDA_IMAGES_H
#define RK_GPU_CUDA_IMAGES_H

#include <stddef.h>

struct rk_cuda_image {
	const char *name;	     /* of its source, for sentences */
	const unsigned char *fatbin; /* for drivers as new as the toolkit that built it */
	size_t fatbin_size;
	const char *ptx; /* the same kernels as text for any driver; a NUL is behind it */
	size_t ptx_size; /* without the NUL */
};

/* All of them, *@count rows; static storage. An entry's name is in one of them only. */
const struct rk_cuda_image *rk_cuda_images(size_t *count);

#endif
