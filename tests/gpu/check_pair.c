/* SPDX-License-Identifier: MIT */
#include "tests/gpu/check_pair.h"

#include <stdio.h>
#include <string.h>

#include "runtime/base/tensor.h"

void gpu_pair_open(struct gpu_pair *p, const char *id)
{
	memset(p, 0, sizeof(*p));
	gpu_open(&p->gpu);
	gpu_open_cpu(&p->cpu);
	gpu_start(&p->gpu, "cuda");
	gpu_start(&p->cpu, "cpu");
	p->on_gpu = gpu_kernel(&p->gpu, id, RK_WIRE_CUDA);
	p->on_cpu = gpu_kernel(&p->cpu, id, RK_WIRE_CPU);
}

void gpu_pair_close(struct gpu_pair *p)
{
	rk_kernel_unref(p->on_gpu);
	rk_kernel_unref(p->on_cpu);
	gpu_close(&p->gpu);
	gpu_close(&p->cpu);
}

void gpu_pair_make(struct gpu_pair *p, uint64_t (*shapes)[RK_MAX_RANK])
{
	gpu_call_make(&p->gpu, &p->got, p->on_gpu, shapes);
	gpu_call_make(&p->cpu, &p->want, p->on_cpu, shapes);
	p->error = p->allowed = 0;
}

void gpu_pair_submit(struct gpu_pair *p)
{
	for (unsigned int i = 0; i < p->on_gpu->manifest.ninputs; i++)
		memcpy(gpu_input(&p->want, i), gpu_input(&p->got, i),
		       p->got.m->plan.inputs[i].bytes);
	gpu_submit(&p->got);
	gpu_submit(&p->want);
}

void gpu_pair_await(struct gpu_pair *p)
{
	gpu_expect(&p->want, 0, NULL);
	gpu_expect(&p->got, 0, NULL);
}

void gpu_pair_done(struct gpu_pair *p)
{
	if (p->allowed > 0)
		gpu_log("%s: max error %.3g, allowed %.3g: ok", p->label, p->error, p->allowed);
	else
		gpu_log("%s: the same bits: ok", p->label);
	p->cases++;
	gpu_call_drop(&p->got);
	gpu_call_drop(&p->want);
}

void gpu_pair_note(const struct gpu_pair *p)
{
	if (p->worst > 0)
		gpu_note("%u cases; largest error %.2g, at most %.2g of what is allowed", p->cases,
			 p->worst_error, p->worst);
	else
		gpu_note("%u cases; the same bits", p->cases);
}

void gpu_pair_same_bits(struct gpu_pair *p, unsigned int index)
{
	const struct rk_port *port = &p->on_gpu->manifest.outputs[index];
	const uint8_t *got = gpu_output(&p->got, index), *want = gpu_output(&p->want, index);
	uint64_t bytes = p->got.m->plan.outputs[index].bytes;
	size_t size = rk_dtype_info(port->dtype)->size;

	if (memcmp(got, want, bytes) == 0)
		return;
	for (uint64_t at = 0; at < bytes; at += size) {
		if (memcmp(got + at, want + at, size) == 0)
			continue;
		gpu_fail("%s: %s differs from the CPU's from element %llu of %llu on", p->label,
			 port->name, (unsigned long long)(at / size),
			 (unsigned long long)(bytes / size));
	}
}

void gpu_pair_error(struct gpu_pair *p, double error, double allowed, const char *what, uint64_t i)
{
	double ratio = allowed > 0 ? error / allowed : 0;

	/* a NaN on one side is one here, and fails */
	GPU_EXPECT(error <= allowed, "%s: %s %llu is off by %.6g, allowed are %.6g", p->label, what,
		   (unsigned long long)i, error, allowed);
	if (allowed > p->allowed)
		p->allowed = allowed;
	if (error > p->error)
		p->error = error;
	if (error > p->worst_error)
		p->worst_error = error;
	if (ratio > p->worst)
		p->worst = ratio;
}

uint64_t gpu_case_seed(const struct gpu_case *c)
{
	return c->a * 1000003 + c->b * 1009 + c->c + 1;
}

void gpu_same_bits(struct gpu_pair *p, const struct gpu_case *c)
{
	(void)c;
	for (unsigned int i = 0; i < p->on_gpu->manifest.noutputs; i++)
		gpu_pair_same_bits(p, i);
}

static void set_label(struct gpu_pair *p, const struct gpu_spec *s, const struct gpu_case *c)
{
	int len = snprintf(p->label, sizeof(p->label), "%s ", s->id);

	snprintf(p->label + len, sizeof(p->label) - (size_t)len, s->label, (unsigned long long)c->a,
		 (unsigned long long)c->b, (unsigned long long)c->c);
}

void gpu_run_spec(const void *spec)
{
	const struct gpu_spec *s = spec;
	uint64_t shapes[RK_MAX_PORTS][RK_MAX_RANK] = {0};
	struct gpu_pair p;

	gpu_pair_open(&p, s->id);
	for (size_t i = 0; i < s->ncases; i++) {
		const struct gpu_case *c = &s->cases[i];

		if (c->large && gpu_options.small)
			continue;
		set_label(&p, s, c);
		s->shapes(c, shapes);
		gpu_pair_make(&p, shapes);
		s->fill(c, &p.got);
		gpu_pair_submit(&p);
		gpu_pair_await(&p);
		s->compare(&p, c);
		gpu_pair_done(&p);
	}
	if (s->result)
		gpu_note("%u cases; %s", p.cases, s->result);
	else
		gpu_pair_note(&p);
	gpu_pair_close(&p);
}
