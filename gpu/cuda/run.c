/* SPDX-License-Identifier: MIT */
/*
 * One run on the device: a block of device memory for all buffers, their way there and back through
 * pinned memory, and the launch between.
 */
#include <string.h>

#include "gpu/cuda/internal.h"

#define NSEC_PER_MS 1e6

/* --- the launch --------------------------------------------------------------------- */

/* @call is NULL where the kernel failed, which any call after it may be the first to report. */
static int failed(const struct rk_cuda_job *job, CUresult result, const char *call,
		  struct rk_error *err)
{
	if (result == CUDA_SUCCESS)
		return 0;
	if (!call || rk_cuda_fault(result) != RK_WIRE_NO_FAULT)
		return rk_cuda_fail(&job->cuda->device, result, err, "%s", job->k->id);
	return rk_cuda_fail(&job->cuda->device, result, err, "%s: %s", job->k->id, call);
}

/* Cut @grid down to @max blocks: a cooperative kernel does more work per block then. */
static void clamp_grid(uint32_t grid[RK_WIRE_AXES], uint64_t max)
{
	for (unsigned int axis = 0; axis < RK_WIRE_AXES; axis++) {
		if (grid[axis] > max)
			grid[axis] = (uint32_t)max;
		max /= grid[axis];
	}
}

static CUresult launch_kernel(const struct rk_cuda_job *job, void **params)
{
	const struct rk_cuda_kernel *k = job->k;
	unsigned int multiprocessors = (unsigned int)job->cuda->device.multiprocessors;
	uint32_t grid[RK_WIRE_AXES];

	memcpy(grid, job->run->grid, sizeof(grid));
	if (!k->resident)
		return rk_cu.cuLaunchKernel(k->function, grid[0], grid[1], grid[2], k->block[0],
					    k->block[1], k->block[2], k->shared_bytes,
					    job->stream->stream, params, NULL);
	clamp_grid(grid, (uint64_t)k->resident * (multiprocessors - job->cuda->nrings));
	return rk_cu.cuLaunchCooperativeKernel(k->function, grid[0], grid[1], grid[2], k->block[0],
					       k->block[1], k->block[2], k->shared_bytes,
					       job->stream->stream, params);
}

/* The first launch that needs more local memory than any before it waits for the whole context. */
static CUresult launch_beside_rings(const struct rk_cuda_job *job, void **params)
{
	struct rk_rings *rings = job->cuda->rings;
	atomic_int *known = &job->cuda->local_bytes;
	int bytes = job->k->local_bytes, seen = atomic_load(known);
	CUresult result;

	if (bytes <= seen)
		return launch_kernel(job, params);
	rk_rings_pause(rings);
	result = launch_kernel(job, params);
	rk_rings_resume(rings);
	while (result == CUDA_SUCCESS && bytes > seen &&
	       !atomic_compare_exchange_weak(known, &seen, bytes))
		;
	return result;
}

static uint64_t sum_of(const struct rk_cuda_job *job, unsigned int param)
{
	uint64_t sum = 0;

	for (unsigned int m = 0; m < job->run->count; m++)
		sum += rk_job_arg(job, m, param)->value;
	return sum;
}

static int launch(const struct rk_cuda_job *job, struct rk_error *err)
{
	const struct rk_cuda_kernel *k = job->k;
	uint64_t values[RK_WIRE_ARGS_MAX] = {0};
	void *params[RK_WIRE_ARGS_MAX];
	int rc;

	/* a function with more parameters than its description gets zeroes for them */
	for (unsigned int i = 0; i < RK_WIRE_ARGS_MAX; i++)
		params[i] = &values[i];
	for (unsigned int i = 0; i < k->nparams; i++) {
		if (rk_param_is_buffer(&k->params[i]))
			values[i] = job->base + job->layout.at[i];
		else if (k->params[i].fused)
			values[i] = sum_of(job, i);
		else
			values[i] = rk_job_arg(job, 0, i)->value;
	}
	rc = failed(job, rk_cu.cuEventRecord(job->stream->start, job->stream->stream),
		    "cuEventRecord", err);
	if (rc == 0)
		rc = failed(job, launch_beside_rings(job, params),
			    k->resident ? "cuLaunchCooperativeKernel" : "cuLaunchKernel", err);
	if (rc == 0)
		rc = failed(job, rk_cu.cuEventRecord(job->stream->end, job->stream->stream),
			    "cuEventRecord", err);
	return rc;
}

/* --- there and back ----------------------------------------------------------------- */

/* Copy pinned memory to @at of the block. */
static int send(const struct rk_cuda_job *job, const struct rk_cuda_block *block, uint64_t at,
		uint64_t bytes, struct rk_error *err)
{
	return failed(
		job,
		rk_cu.cuMemcpyHtoDAsync(job->base + at, block->host, bytes, job->stream->stream),
		"cuMemcpyHtoDAsync", err);
}

/* Have the event of @block happen when what is under way with it is over. */
static int mark(const struct rk_cuda_job *job, struct rk_cuda_block *block, struct rk_error *err)
{
	return failed(job, rk_cu.cuEventRecord(block->done, job->stream->stream), "cuEventRecord",
		      err);
}

/* Copy from @at of the device block to @host, which is in @block. */
static int fetch(const struct rk_cuda_job *job, struct rk_cuda_block *block, uint8_t *host,
		 uint64_t at, uint64_t bytes, struct rk_error *err)
{
	int rc = failed(job,
			rk_cu.cuMemcpyDtoHAsync(host, job->base + at, bytes, job->stream->stream),
			"cuMemcpyDtoHAsync", err);

	return rc ? rc : mark(job, block, err);
}

static int wait_for(const struct rk_cuda_job *job, const struct rk_cuda_block *block,
		    struct rk_error *err)
{
	return failed(job, rk_cuda_wait(block->done), NULL, err);
}

static void set_guards(const struct rk_cuda_job *job, uint8_t *host)
{
	for (unsigned int i = 0; i < job->k->nparams; i++)
		if (rk_job_guarded(job, i))
			memset(host + job->layout.at[i] + job->layout.bytes[i], RK_WIRE_GUARD_BYTE,
			       RK_WIRE_GUARD);
}

/* All fits one block of pinned memory: one copy there, one back. */
static int run_small(const struct rk_cuda_job *job, struct rk_error *err)
{
	const struct rk_cuda_layout *l = &job->layout;
	struct rk_cuda_block *block = job->blocks[0];
	struct rk_cuda_stretch in = {.from = 0, .to = l->inputs_end, .host = block->host};
	struct rk_cuda_stretch out = {
		.from = l->outputs_at, .to = l->total, .host = block->host + l->outputs_at};
	int rc;

	rk_job_gather(job, &in);
	memset(block->host + l->inputs_end, 0, l->total - l->inputs_end);
	set_guards(job, block->host);
	rc = send(job, block, 0, l->total, err);
	if (rc == 0)
		rc = launch(job, err);
	if (rc == 0 && out.to > out.from)
		rc = fetch(job, block, out.host, out.from, out.to - out.from, err);
	if (rc == 0)
		rc = wait_for(job, block, err);
	if (rc == 0)
		rk_job_scatter(job, &out);
	return rc;
}

/* Inputs, block by block: one is filled while another is on its way. */
static int send_inputs(const struct rk_cuda_job *job, struct rk_error *err)
{
	uint64_t end = job->layout.inputs_end;
	unsigned int turn = 0;
	int rc = 0;

	for (uint64_t at = 0; rc == 0 && at < end; at += RK_STAGING_BYTES, turn++) {
		struct rk_cuda_block *block = job->blocks[turn % job->nblocks];
		struct rk_cuda_stretch s = {
			.from = at, .to = at + RK_STAGING_BYTES, .host = block->host};

		if (s.to > end)
			s.to = end;
		if (turn >= job->nblocks)
			rc = wait_for(job, block, err);
		if (rc)
			break;
		rk_job_gather(job, &s);
		rc = send(job, block, s.from, s.to - s.from, err);
		if (rc == 0)
			rc = mark(job, block, err);
	}
	return rc;
}

/* Zero outputs and scratch, and set their guards. */
static int clear(const struct rk_cuda_job *job, struct rk_error *err)
{
	const struct rk_cuda_layout *l = &job->layout;
	CUstream stream = job->stream->stream;
	CUresult result = CUDA_SUCCESS;

	if (l->total > l->outputs_at)
		result = rk_cu.cuMemsetD8Async(job->base + l->outputs_at, 0,
					       l->total - l->outputs_at, stream);
	for (unsigned int i = 0; result == CUDA_SUCCESS && i < job->k->nparams; i++)
		if (rk_job_guarded(job, i))
			result = rk_cu.cuMemsetD8Async(job->base + l->at[i] + l->bytes[i],
						       RK_WIRE_GUARD_BYTE, RK_WIRE_GUARD, stream);
	return failed(job, result, "cuMemsetD8Async", err);
}

/* The stretch of the outputs that is fetched in turn @turn. */
static struct rk_cuda_stretch output_stretch(const struct rk_cuda_job *job, uint64_t turn)
{
	struct rk_cuda_stretch s = {.host = job->blocks[turn % job->nblocks]->host};

	s.from = job->layout.outputs_at + turn * RK_STAGING_BYTES;
	s.to = s.from + RK_STAGING_BYTES;
	if (s.to > job->layout.outputs_end)
		s.to = job->layout.outputs_end;
	return s;
}

/* Outputs, block by block: one is emptied while another is on its way. */
static int fetch_outputs(const struct rk_cuda_job *job, struct rk_error *err)
{
	uint64_t bytes = job->layout.outputs_end - job->layout.outputs_at;
	uint64_t turns = (bytes + RK_STAGING_BYTES - 1) / RK_STAGING_BYTES, asked = 0;
	int rc = 0;

	for (uint64_t turn = 0; turn < turns; turn++) {
		struct rk_cuda_stretch s;

		for (; asked < turns && asked < turn + job->nblocks; asked++) {
			s = output_stretch(job, asked);
			rc = fetch(job, job->blocks[asked % job->nblocks], s.host, s.from,
				   s.to - s.from, err);
			if (rc)
				return rc;
		}
		rc = wait_for(job, job->blocks[turn % job->nblocks], err);
		if (rc)
			return rc;
		s = output_stretch(job, turn);
		rk_job_scatter(job, &s);
	}
	return 0;
}

/* Of scratch only the guard bytes come back: all of them at once. */
static int fetch_scratch_guards(const struct rk_cuda_job *job, struct rk_error *err)
{
	struct rk_cuda_block *block = job->blocks[0];
	unsigned int n = 0;
	int rc = 0;

	for (unsigned int i = 0; rc == 0 && i < job->k->nparams; i++)
		if (job->k->params[i].kind == RK_WIRE_ARG_SCRATCH)
			rc = fetch(job, block, block->host + RK_WIRE_GUARD * n++,
				   job->layout.at[i] + job->layout.bytes[i], RK_WIRE_GUARD, err);
	if (rc || n == 0)
		return rc;
	rc = wait_for(job, block, err);
	n = 0;
	for (unsigned int i = 0; rc == 0 && i < job->k->nparams; i++)
		if (job->k->params[i].kind == RK_WIRE_ARG_SCRATCH)
			rk_job_scatter_guard(job, i, 0, block->host + RK_WIRE_GUARD * n++,
					     RK_WIRE_GUARD);
	return rc;
}

static int run_large(const struct rk_cuda_job *job, struct rk_error *err)
{
	int rc = send_inputs(job, err);

	if (rc == 0)
		rc = clear(job, err);
	if (rc == 0)
		rc = launch(job, err);
	if (rc == 0)
		rc = fetch_outputs(job, err);
	if (rc == 0)
		rc = fetch_scratch_guards(job, err);
	return rc;
}

static int transfer_and_run(const struct rk_cuda_job *job, uint64_t *run_ns, struct rk_error *err)
{
	struct rk_error ignored;
	float ms = 0;
	int rc = job->layout.total <= RK_STAGING_BYTES ? run_small(job, err) : run_large(job, err);

	if (rc == 0) /* a kernel without outputs has not been waited for yet */
		rc = failed(job, rk_cuda_wait(job->stream->end), NULL, err);
	if (rc) {
		/* what is on its way must not arrive where others work by then */
		(void)failed(job, rk_cu.cuStreamSynchronize(job->stream->stream), NULL, &ignored);
		return rc;
	}
	rc = failed(job, rk_cu.cuEventElapsedTime(&ms, job->stream->start, job->stream->end),
		    "cuEventElapsedTime", err);
	if (rc == 0)
		*run_ns = (uint64_t)((double)ms * NSEC_PER_MS);
	return rc;
}

/* Run a cooperative kernel, which finds its place beside the resident kernels that there are. */
static int run_cooperative(struct rk_cuda_job *job, uint64_t *run_ns, struct rk_error *err)
{
	struct rk_cuda *cuda = job->cuda;
	int rc;

	pthread_rwlock_rdlock(&cuda->cooperative);
	rc = transfer_and_run(job, run_ns, err);
	pthread_rwlock_unlock(&cuda->cooperative);
	return rc;
}

int rk_cuda_run(struct rk_cuda_kernel *k, const struct rk_backend_run *run, uint64_t *run_ns,
		struct rk_error *err)
{
	struct rk_cuda *cuda = k->cuda;
	struct rk_cuda_job job = {.cuda = cuda, .k = k, .run = run};
	CUstream stream;
	unsigned int want;
	int rc;

	rk_job_lay_out(&job);
	job.stream = rk_cuda_streams_take(cuda->streams);
	stream = job.stream->stream;
	rc = rk_cuda_memory_alloc(cuda->memory, stream, false, job.layout.total, k->id, &job.base,
				  err);
	if (rc)
		goto out;
	want = job.layout.total <= RK_STAGING_BYTES ? 1 : 2;
	job.nblocks = rk_cuda_staging_take(cuda->staging, want, job.blocks);
	if (k->resident)
		rc = run_cooperative(&job, run_ns, err);
	else
		rc = transfer_and_run(&job, run_ns, err);
	rk_cuda_staging_give(cuda->staging, job.blocks, job.nblocks);
	rk_cuda_memory_free(cuda->memory, stream, false, job.base, job.layout.total);
out:
	rk_cuda_streams_give(cuda->streams, job.stream);
	return rc;
}
