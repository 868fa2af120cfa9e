/* SPDX-License-Identifier: MIT */
/* One run on the device, for gpu/cuda/run.c and gpu/cuda/job.c. */
#ifndef RK_GPU_CUDA_JOB_H
#define RK_GPU_CUDA_JOB_H

#include "gpu/base/param.h"
#include "gpu/cuda/internal.h"

/*
 * Where the buffers lie in the device block: inputs, then outputs, then scratch. Those of several
 * messages lie one after the other, as one. Every output and scratch has its guard bytes behind it.
 */
struct rk_cuda_layout {
	uint64_t at[RK_WIRE_ARGS_MAX];
	uint64_t bytes[RK_WIRE_ARGS_MAX];
	uint64_t inputs_end;
	uint64_t outputs_at, outputs_end;
	uint64_t total;
};

struct rk_cuda_job {
	struct rk_cuda *cuda;
	struct rk_cuda_kernel *k;
	const struct rk_backend_run *run;
	struct rk_cuda_stream *stream;
	struct rk_cuda_layout layout;
	CUdeviceptr base;
	struct rk_cuda_block *blocks[2];
	unsigned int nblocks;
};

/* A stretch [from, to) of the device block, and where in pinned memory it is, or is to be. */
struct rk_cuda_stretch {
	uint64_t from, to;
	uint8_t *host;
};

static inline const struct rk_backend_arg *rk_job_arg(const struct rk_cuda_job *job,
						      unsigned int message, unsigned int param)
{
	return &job->run->args[(size_t)message * job->k->nparams + param];
}

/* Whether parameter @param has guard bytes: an output or scratch. */
static inline bool rk_job_guarded(const struct rk_cuda_job *job, unsigned int param)
{
	return rk_param_guard(&job->k->params[param]);
}

/* job.c */

void rk_job_lay_out(struct rk_cuda_job *job);

/* Fill the stretch with inputs from the payload. */
void rk_job_gather(const struct rk_cuda_job *job, const struct rk_cuda_stretch *s);

/* Put outputs and guard bytes that lie in the stretch into the payload. */
void rk_job_scatter(const struct rk_cuda_job *job, const struct rk_cuda_stretch *s);

/*
 * Put the @bytes at @host, which are the guard behind parameter @param from @skipped on, into the
 * payload. Several messages have one guard in common: nobody can say which of them was written
 * past, and none can be trusted.
 */
void rk_job_scatter_guard(const struct rk_cuda_job *job, unsigned int param, uint64_t skipped,
			  const uint8_t *host, uint64_t bytes);

#endif
