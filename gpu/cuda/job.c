/* SPDX-License-Identifier: MIT */
/* Where a run's buffers lie on the device, and copying between the payload and pinned memory. */
#include <string.h>

#include "gpu/base/parallel.h"
#include "gpu/cuda/internal.h"

#define ALIGN	   256		/* of a buffer, as of what cuMemAlloc gives */
#define COPY_GRAIN (256U << 10) /* bytes that one thread copies at a time */

/*
 * Place the buffers of one kind from @at on. Nothing overflows, as all of them lie in the payload.
 */
static uint64_t place(struct rk_cuda_job *job, uint8_t kind, uint64_t at)
{
	struct rk_cuda_layout *l = &job->layout;

	for (unsigned int i = 0; i < job->k->nparams; i++) {
		if (job->k->params[i].kind != kind)
			continue;
		at = (at + ALIGN - 1) / ALIGN * ALIGN;
		l->at[i] = at;
		l->bytes[i] = 0;
		for (unsigned int m = 0; m < job->run->count; m++)
			l->bytes[i] += rk_job_arg(job, m, i)->bytes;
		at += l->bytes[i];
		if (kind != RK_WIRE_ARG_INPUT)
			at += RK_WIRE_GUARD;
	}
	return at;
}

void rk_job_lay_out(struct rk_cuda_job *job)
{
	struct rk_cuda_layout *l = &job->layout;

	l->inputs_end = place(job, RK_WIRE_ARG_INPUT, 0);
	l->outputs_at = (l->inputs_end + ALIGN - 1) / ALIGN * ALIGN;
	l->outputs_end = place(job, RK_WIRE_ARG_OUTPUT, l->outputs_at);
	l->total = place(job, RK_WIRE_ARG_SCRATCH, l->outputs_end);
	if (l->total == 0)
		l->total = ALIGN;
}

struct copy {
	uint8_t *to;
	const uint8_t *from;
};

static void copy_range(void *ctx, uint64_t begin, uint64_t end)
{
	const struct copy *copy = ctx;

	memcpy(copy->to + begin, copy->from + begin, end - begin);
}

static void copy_bytes(uint8_t *to, const uint8_t *from, uint64_t bytes)
{
	struct copy copy = {.to = to, .from = from};

	rk_parallel_for(bytes, COPY_GRAIN, copy_range, &copy);
}

/*
 * How many bytes of a piece of the device block lie in the stretch; @skipped is how many of it come
 * before.
 */
static uint64_t overlap(const struct rk_cuda_stretch *s, uint64_t at, uint64_t bytes,
			uint64_t *skipped)
{
	uint64_t begin = at > s->from ? at : s->from;
	uint64_t end = at + bytes < s->to ? at + bytes : s->to;

	*skipped = begin - at;
	return begin < end ? end - begin : 0;
}

void rk_job_gather(const struct rk_cuda_job *job, const struct rk_cuda_stretch *s)
{
	for (unsigned int i = 0; i < job->k->nparams; i++) {
		uint64_t at = job->layout.at[i], skipped, n;

		if (job->k->params[i].kind != RK_WIRE_ARG_INPUT)
			continue;
		for (unsigned int m = 0; m < job->run->count; m++) {
			const struct rk_backend_arg *arg = rk_job_arg(job, m, i);

			n = overlap(s, at, arg->bytes, &skipped);
			if (n)
				copy_bytes(s->host + (at + skipped - s->from),
					   (const uint8_t *)arg->buffer + skipped, n);
			at += arg->bytes;
		}
	}
}

void rk_job_scatter_guard(const struct rk_cuda_job *job, unsigned int param, uint64_t skipped,
			  const uint8_t *host, uint64_t bytes)
{
	for (unsigned int m = 0; m < job->run->count; m++) {
		const struct rk_backend_arg *arg = rk_job_arg(job, m, param);

		memcpy((uint8_t *)arg->buffer + arg->bytes + skipped, host, bytes);
	}
}

void rk_job_scatter(const struct rk_cuda_job *job, const struct rk_cuda_stretch *s)
{
	for (unsigned int i = 0; i < job->k->nparams; i++) {
		uint8_t kind = job->k->params[i].kind;
		uint64_t at = job->layout.at[i], skipped, n;

		if (!rk_job_guarded(job, i))
			continue;
		for (unsigned int m = 0; m < job->run->count; m++) {
			const struct rk_backend_arg *arg = rk_job_arg(job, m, i);

			n = kind == RK_WIRE_ARG_OUTPUT ? overlap(s, at, arg->bytes, &skipped) : 0;
			if (n)
				copy_bytes((uint8_t *)arg->buffer + skipped,
					   s->host + (at + skipped - s->from), n);
			at += arg->bytes;
		}
		n = overlap(s, at, RK_WIRE_GUARD, &skipped);
		if (n)
			rk_job_scatter_guard(job, i, skipped, s->host + (at + skipped - s->from),
					     n);
	}
}
