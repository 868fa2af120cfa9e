/* SPDX-License-Identifier: MIT */
/* The kernels that ship, and one to see that a ring passes all kinds of parameters. */
#include "tests/cuda_emu/cuda_emu.h"

#include "gpu/kernels/builtins.cu"
#include "tests/cuda_emu/kernels.h"

extern "C" void monte_carlo_var_small(const double *, const double *, const double *, double,
				      uint64_t, uint64_t, double *, double *, double *, double *,
				      double *, uint64_t, struct var_work *);
extern "C" void matmul_large(const float *, const float *, float *, uint64_t, uint64_t, uint64_t);

/* A message: threads take turns with the shared sum, so a missing barrier between calls shows. */
static void record_message(uint8_t a, int16_t b, float c, double d, const uint32_t *in,
			   uint64_t *out, struct emu_record *state)
{
	__shared__ uint64_t sum[EMU_RECORD_THREADS];

	sum[threadIdx.x] = state->calls;
	__syncthreads();
	if (threadIdx.x + 1 == blockDim.x) {
		for (unsigned int i = 0; i + 1 < blockDim.x; i++)
			sum[threadIdx.x] += sum[i];
		*out = sum[threadIdx.x] + *in;
		state->a = a;
		state->b = b;
		state->c = c;
		state->d = d;
		state->calls++;
	}
}

RK_RING_KERNEL(emu_record, record_message)

const struct rk_emu_kernel rk_emu_kernels[] = {
	RK_EMU_KERNEL(delay),
	RK_EMU_KERNEL(echo),
	RK_EMU_KERNEL(matmul),
	RK_EMU_KERNEL(monte_carlo_var),
	RK_EMU_KERNEL(pagerank),
	RK_EMU_KERNEL(reduce_sum),
	RK_EMU_KERNEL(ring_echo),
	RK_EMU_KERNEL(running_stats),
	RK_EMU_KERNEL(vector_add),
	RK_EMU_KERNEL(matmul_large),
	RK_EMU_KERNEL(monte_carlo_var_small),
	RK_EMU_KERNEL(emu_record),
	{nullptr, nullptr},
};
