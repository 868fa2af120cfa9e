/* SPDX-License-Identifier: MIT */
/* The first use of everything on every stream, before a kernel can be resident. */
#include <errno.h>

#include "gpu/cuda/internal.h"
#include "runtime/base/tensor.h"

#define BYTES 256

struct warm {
	struct rk_cuda *cuda;
	struct rk_cuda_block *block; /* pinned */
	CUfunction function;
};

/* Launch in both ways a kernel that has nothing to do. */
static CUresult launch(const struct warm *w, CUstream stream, CUdeviceptr at, const char **call)
{
	uint64_t n = 0;
	void *params[] = {&at, &at, &n};
	CUresult result;

	*call = "cuLaunchKernel";
	result = rk_cu.cuLaunchKernel(w->function, 1, 1, 1, 1, 1, 1, 0, stream, params, NULL);
	if (result != CUDA_SUCCESS || !w->cuda->device.cooperative)
		return result;
	*call = "cuLaunchCooperativeKernel";
	return rk_cu.cuLaunchCooperativeKernel(w->function, 1, 1, 1, 1, 1, 1, 0, stream, params);
}

/* Do what a run does, in the same order. */
static CUresult use(const struct warm *w, const struct rk_cuda_stream *s, CUdeviceptr at,
		    const char **call)
{
	CUresult result;
	float ms;

	*call = "cuMemsetD8Async";
	result = rk_cu.cuMemsetD8Async(at, 0, BYTES, s->stream);
	if (result == CUDA_SUCCESS) {
		*call = "cuMemcpyHtoDAsync";
		result = rk_cu.cuMemcpyHtoDAsync(at, w->block->host, BYTES, s->stream);
	}
	if (result == CUDA_SUCCESS) {
		*call = "cuEventRecord";
		result = rk_cu.cuEventRecord(s->start, s->stream);
	}
	if (result == CUDA_SUCCESS)
		result = launch(w, s->stream, at, call);
	if (result == CUDA_SUCCESS) {
		*call = "cuEventRecord";
		result = rk_cu.cuEventRecord(s->end, s->stream);
	}
	if (result == CUDA_SUCCESS) {
		*call = "cuMemcpyDtoHAsync";
		result = rk_cu.cuMemcpyDtoHAsync(w->block->host, at, BYTES, s->stream);
	}
	if (result == CUDA_SUCCESS) {
		*call = "cuEventRecord";
		result = rk_cu.cuEventRecord(w->block->done, s->stream);
	}
	if (result == CUDA_SUCCESS) {
		*call = "cuStreamSynchronize";
		result = rk_cu.cuStreamSynchronize(s->stream);
	}
	if (result == CUDA_SUCCESS) {
		*call = "cuEventElapsedTime";
		result = rk_cu.cuEventElapsedTime(&ms, s->start, s->end);
	}
	return result;
}

static int warm_stream(void *ctx, struct rk_cuda_stream *s, struct rk_error *err)
{
	const struct warm *w = ctx;
	struct rk_cuda *cuda = w->cuda;
	const char *call;
	CUresult result;
	CUdeviceptr at;
	int rc = rk_cuda_memory_alloc(cuda->memory, s->stream, true, BYTES, "first use", &at, err);

	if (rc == -ENOMEM) /* messages get no memory either then, and the sentence says why */
		return 0;
	if (rc)
		return rc;
	result = use(w, s, at, &call);
	rc = rk_cuda_fail(&cuda->device, result, err, "first use: %s", call);
	rk_cuda_memory_free(cuda->memory, s->stream, true, at, BYTES);
	return rc;
}

int rk_cuda_warm(struct rk_cuda *cuda, struct rk_error *err)
{
	static const struct rk_wire_load load = {
		.id = "core/echo",
		.entry = "echo",
		.nparams = 3,
		.params = {{.kind = RK_WIRE_ARG_INPUT, .dtype = RK_U8},
			   {.kind = RK_WIRE_ARG_OUTPUT, .dtype = RK_U8},
			   {.kind = RK_WIRE_ARG_DIM, .dtype = RK_U64}},
	};
	struct warm w = {.cuda = cuda};
	int rc = rk_cuda_modules_builtin(cuda->modules, &load, &w.function, err);

	if (rc)
		return rc;
	if (rk_cuda_staging_take(cuda->staging, 1, &w.block) == 1) {
		rc = rk_cuda_streams_each(cuda->streams, warm_stream, &w, err);
		rk_cuda_staging_give(cuda->staging, &w.block, 1);
	}
	return rc ? rc : rk_cuda_touch(&cuda->touch, &cuda->device, err);
}
