/* SPDX-License-Identifier: MIT */
/* Files that the CUDA driver loads as modules: fatbin, cubin and PTX. Nothing here calls it. */
#ifndef RK_GPU_CUDA_FORMAT_H
#define RK_GPU_CUDA_FORMAT_H

#include <stddef.h>

#include "runtime/base/error.h"

#define RK_CUDA_FORMAT_MAX 128 /* of what rk_cuda_format_describe says, with the NUL */

/*
 * Whether the driver can be given the file. It gets an address without a length, and believes what
 * it finds there, so a file that is cut off, or no module at all, would have it read beyond the
 * end. A NUL is behind the @size bytes. Returns 0 or -ENOEXEC.
 */
int rk_cuda_format_check(const char *data, size_t size, struct rk_error *err);

/*
 * Describe the module, which has passed the check: for which devices it is, and which toolkit built
 * it, where it says so: "PTX 9.0 for sm_75, of CUDA 13.0". A list that is too long is cut.
 */
void rk_cuda_format_describe(const char *data, size_t size, char text[RK_CUDA_FORMAT_MAX]);

#endif
