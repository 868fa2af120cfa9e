/* SPDX-License-Identifier: MIT */
/* Launches: checked as a driver checks them, then submitted to a stream. */
#include "tests/fake_cuda/fake.h"

#include <stdlib.h>
#include <string.h>

static uint64_t threads_of(const struct fake_dims *d)
{
	return (uint64_t)d->block[0] * d->block[1] * d->block[2];
}

static int blocks_per_sm(uint64_t threads, uint64_t shared)
{
	uint64_t blocks = threads ? FAKE_SM_THREADS / threads : 0;

	if (blocks > FAKE_SM_BLOCKS)
		blocks = FAKE_SM_BLOCKS;
	if (threads > fake_trigger_number("max_threads", FAKE_THREADS))
		blocks = 0;
	while (blocks && blocks * shared > FAKE_SHARED_OPTIN)
		blocks--;
	return (int)blocks;
}

CUresult fake_cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, CUfunction function,
							  int threads, size_t shared)
{
	CUresult result = fake_enter("cuOccupancyMaxActiveBlocksPerMultiprocessor", FAKE_CONTEXT);

	if (result)
		return result;
	if (!fake_function_ok_locked(function) || threads <= 0)
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	*blocks = blocks_per_sm((uint64_t)threads, shared);
	return fake_leave(CUDA_SUCCESS);
}

static CUresult check_dims(const CUfunction function, const struct fake_dims *d)
{
	if (!threads_of(d) || !d->grid[0] || !d->grid[1] || !d->grid[2])
		return CUDA_ERROR_INVALID_VALUE;
	if (d->block[0] > FAKE_THREADS || d->block[1] > FAKE_THREADS ||
	    d->block[2] > FAKE_BLOCK_Z || threads_of(d) > FAKE_THREADS)
		return CUDA_ERROR_INVALID_VALUE;
	if (d->grid[0] > FAKE_GRID_X || d->grid[1] > FAKE_GRID_YZ || d->grid[2] > FAKE_GRID_YZ)
		return CUDA_ERROR_INVALID_VALUE;
	if (d->shared > (unsigned int)function->dynamic_shared)
		return CUDA_ERROR_INVALID_VALUE;
	if (threads_of(d) > fake_trigger_number("max_threads", FAKE_THREADS))
		return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
	return CUDA_SUCCESS;
}

static CUresult check_cooperative(const struct fake_dims *d)
{
	const struct fake_line *line = fake_trigger_find("cooperative", "no");
	uint64_t blocks = (uint64_t)d->grid[0] * d->grid[1] * d->grid[2];

	if (line)
		return CUDA_ERROR_NOT_SUPPORTED;
	if (blocks > (uint64_t)blocks_per_sm(threads_of(d), d->shared) *
			     (unsigned int)fake_multiprocessors())
		return CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
	return CUDA_SUCCESS;
}

/* The values behind @params, which are the caller's again when the launch returns. */
static CUresult copy_args(struct fake_op *op, const struct fake_kernel *kernel, bool resident,
			  void **params)
{
	unsigned int n = resident ? FAKE_RING_PARAMS : kernel->nparams + kernel->scratch;

	if (!params)
		return n ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
	for (unsigned int i = 0; i < n; i++)
		memcpy(&op->args[i], params[i],
		       resident || i >= kernel->nparams ? sizeof(uint64_t)
							: kernel->types[i]->size);
	return CUDA_SUCCESS;
}

static CUresult launch_fault_locked(void)
{
	struct fake_line *line = fake_trigger_find("launch", NULL);

	if (!line)
		return CUDA_SUCCESS;
	fake_trigger_consume(line);
	return fake_result(line->words[1], CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
}

/* Memory that the threads of kernels have for themselves grows where one needs more of it. */
static CUresult grow_local_locked(const char *name)
{
	static uint64_t most;
	uint64_t bytes = fake_trigger_number("local_bytes", 0);

	if (bytes <= most)
		return CUDA_SUCCESS;
	most = bytes;
	return fake_synchronise_locked(name);
}

static CUresult launch(const char *name, CUfunction function, const struct fake_dims *dims,
		       CUstream stream, void **params, void **extra)
{
	CUresult result = fake_enter(name, FAKE_CONTEXT);
	struct fake_op *op;

	if (result)
		return result;
	if (!fake_function_ok_locked(function) || !fake_stream_open_locked(stream))
		return fake_leave(CUDA_ERROR_INVALID_HANDLE);
	result = launch_fault_locked();
	if (!result && extra)
		result = CUDA_ERROR_NOT_SUPPORTED;
	if (!result)
		result = check_dims(function, dims);
	if (!result && dims->cooperative)
		result = check_cooperative(dims);
	if (!result)
		result = grow_local_locked(name);
	if (!result)
		result = fake_stream_use_locked(
			stream, dims->cooperative ? FAKE_USE_COOPERATIVE : FAKE_USE_LAUNCH, name);
	if (result)
		return fake_leave(result);
	op = fake_op_new(FAKE_KERNEL);
	if (!op)
		return fake_leave(CUDA_ERROR_OUT_OF_MEMORY);
	op->function = function;
	op->dims = *dims;
	result = copy_args(op, function->kernel, function->resident, params);
	if (result) {
		free(op);
		return fake_leave(result);
	}
	fake.counts.launches++;
	fake.counts.cooperative += dims->cooperative;
	if (function->resident) {
		fake.counts.ring_launches++;
		fake.counts.resident++; /* from now on, not only when its stream comes to it */
	}
	result = fake_submit_locked(stream, op);
	return fake_leave(result || !fake.blocking ? result : fake_wait_all_locked());
}

CUresult fake_cuLaunchKernel(CUfunction function, unsigned int gx, unsigned int gy, unsigned int gz,
			     unsigned int bx, unsigned int by, unsigned int bz, unsigned int shared,
			     CUstream stream, void **params, void **extra)
{
	struct fake_dims dims = {.grid = {gx, gy, gz}, .block = {bx, by, bz}, .shared = shared};

	return launch("cuLaunchKernel", function, &dims, stream, params, extra);
}

CUresult fake_cuLaunchCooperativeKernel(CUfunction function, unsigned int gx, unsigned int gy,
					unsigned int gz, unsigned int bx, unsigned int by,
					unsigned int bz, unsigned int shared, CUstream stream,
					void **params)
{
	struct fake_dims dims = {
		.grid = {gx, gy, gz}, .block = {bx, by, bz}, .shared = shared, .cooperative = true};

	return launch("cuLaunchCooperativeKernel", function, &dims, stream, params, NULL);
}
