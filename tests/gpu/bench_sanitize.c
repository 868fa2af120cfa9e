// SPDX-License-Identifier: MIT
/*
 * Every kernel that ships, once with a few sizes, in this process: compute-sanitizer sees no
 * process that is started by descriptor, as a worker is.
 */
#include <stdio.h>
#include <string.h>

#include "runtime/kernel/parse.h"
#include "tests/gpu/bench.h"

#define CONTROL                                                                                    \
	"[kernel]\nid = bench/control\ndescription = bench\n[inputs]\nx = f32[n]\n"                \
	"[outputs]\ny = f32[n]\n[cuda]\nmodule = %%s/gpu.fatbin\nentry = %s\n"                     \
	"args = x, y, n\ngrid = n\nblock = 128\n"

static void fill_f32(float *x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) /* a race for equal values is none */
		x[i] = (float)i;
}

/* A circle of n - 1 nodes whose last one has two links. */
static void fill_graph(struct bench_message *m, uint64_t n)
{
	uint32_t *offsets = bench_input(m, 0, 0), *targets = bench_input(m, 0, 1);

	for (uint64_t i = 0; i < n; i++) {
		offsets[i] = (uint32_t)i;
		targets[i] = (uint32_t)((i + 1) % (n - 1));
	}
	offsets[n - 1] = (uint32_t)n;
}

/* Independent holdings of one each. */
static void fill_holdings(struct bench_message *m, uint64_t n)
{
	double *weights = bench_input(m, 0, 0), *covariance = bench_input(m, 0, 2);

	for (uint64_t i = 0; i < n; i++) {
		weights[i] = 1;
		covariance[i * n + i] = 1;
	}
}

static void fill(struct bench_message *m, uint64_t n)
{
	const struct rk_manifest *manifest = &m->k->manifest;

	if (strcmp(manifest->id, "graph/pagerank") == 0)
		fill_graph(m, n);
	else if (strcmp(manifest->id, "risk/monte-carlo-var") == 0)
		fill_holdings(m, n);
	else if (manifest->inputs[0].rank == 1 && manifest->inputs[0].dtype == RK_F32)
		fill_f32(bench_input(m, 0, 0), n);
}

static void run_one(struct bench *b, const char *id)
{
	static const uint64_t sizes[] = {2, 33, 257};
	struct bench_kernel k;
	char what[sizeof(k.manifest.id) + 8];

	bench_load(b, &k, id);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct bench_message m;

		bench_message_n(&k, &m, 1, sizes[i]);
		fill(&m, sizes[i]);
		bench_run(&m, NULL);
		bench_forget(&m);
	}
	bench_unload(&k);
	snprintf(what, sizeof(what), "%s runs", k.manifest.id);
	bench_row("pass", what, "it runs", "%zu sizes", ARRAY_SIZE(sizes));
}

void bench_all_kernels(struct bench *b)
{
	size_t count;
	const struct rk_manifest_builtin *all = rk_manifest_builtins(&count);
	struct rk_manifest manifest;
	struct rk_error error = {0};

	for (size_t i = 0; i < count; i++) {
		if (rk_manifest_parse(&manifest, all[i].text, all[i].len, all[i].name, &error))
			bench_fail("%s", error.msg);
		run_one(b, manifest.id);
	}
}

/* A kernel that does wrong on purpose: what the tool says of it is what matters. */
static void run_control(struct bench *b, const char *entry)
{
	struct bench_kernel k;
	struct bench_message m;
	char text[512];

	snprintf(text, sizeof(text), CONTROL, entry);
	bench_load_text(b, &k, text);
	bench_message_n(&k, &m, 1, 1000);
	fill_f32(bench_input(&m, 0, 0), 1000);
	bench_run(&m, NULL);
	bench_forget(&m);
	bench_unload(&k);
	bench_row("pass", "a kernel for the tool to find", "-", "it ran");
}

void bench_control_memcheck(struct bench *b)
{
	run_control(b, "illegal");
}

void bench_control_racecheck(struct bench *b)
{
	run_control(b, "racy");
}
