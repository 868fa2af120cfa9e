/* SPDX-License-Identifier: MIT */
/*
 * nvcc's output, as part of the program. The assembler puts it in, which is quicker than a C array
 * and knows the size. A struct rk_cuda_image is five words of 64 bits wherever CUDA is.
 */
#include "gpu/cuda/internal.h"

_Static_assert(sizeof(struct rk_cuda_image) == 40, "as below");

/* clang-format off */
__asm__(".pushsection .rodata.rk_cuda, \"a\"\n"
	".balign 64\n"
	".Lrk_cuda_fatbin:\n"
	".incbin \"" RK_CUDA_BUILTINS ".fatbin\"\n"
	".Lrk_cuda_fatbin_end:\n"
	".Lrk_cuda_ptx:\n"
	".incbin \"" RK_CUDA_BUILTINS ".ptx\"\n"
	".Lrk_cuda_ptx_end:\n"
	".byte 0\n"
	".Lrk_cuda_name:\n"
	".asciz \"builtins.cu\"\n"
	".popsection\n"
	".pushsection .data.rel.ro.rk_cuda, \"aw\"\n"
	".balign 8\n"
	"rk_cuda_image_table:\n"
	".quad .Lrk_cuda_name\n"
	".quad .Lrk_cuda_fatbin\n"
	".quad .Lrk_cuda_fatbin_end - .Lrk_cuda_fatbin\n"
	".quad .Lrk_cuda_ptx\n"
	".quad .Lrk_cuda_ptx_end - .Lrk_cuda_ptx\n"
	".popsection\n");
/* clang-format on */

extern const struct rk_cuda_image rk_cuda_image_table[1] __attribute__((visibility("hidden")));

const struct rk_cuda_image *rk_cuda_images(size_t *count)
{
	*count = sizeof(rk_cuda_image_table) / sizeof(rk_cuda_image_table[0]);
	return rk_cuda_image_table;
}
