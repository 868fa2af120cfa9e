/* SPDX-License-Identifier: MIT */
/*
 * Every kernel that ships, once with a few sizes, in this process: compute-sanitizer sees no
 * process that is started by descriptor, as a worker is.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gpu/cuda/internal.h"
#include "tests/gpu/bench.h"

#define CONTROL                                                                                    \
	"[kernel]\nid = bench/control\ndescription = bench\n[inputs]\nx = f32[n]\n"                \
	"[outputs]\ny = f32[n]\n[cuda]\nmodule = %%s/%s\nentry = %s\n"                             \
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

/* The module that is for this device alone, in @name; where there is none, the one for all. */
static void find_own_module(const struct bench *b, char *name, size_t size)
{
	const struct rk_cuda_device *device = &((const struct rk_cuda *)b->backend)->device;
	char path[sizeof(b->modules) + 32];

	snprintf(name, size, "gpu.sm_%d%d.fatbin", device->major, device->minor);
	snprintf(path, sizeof(path), "%s/%s", b->modules, name);
	if (access(path, R_OK) < 0)
		snprintf(name, size, "gpu.fatbin");
}

/* A kernel that does wrong on purpose: what the tool says of it is what matters. */
static void run_control(struct bench *b, const char *module, const char *entry)
{
	struct bench_kernel k;
	struct bench_message m;
	char text[512];

	snprintf(text, sizeof(text), CONTROL, module, entry);
	bench_load_text(b, &k, text);
	bench_message_n(&k, &m, 1, 1000);
	fill_f32(bench_input(&m, 0, 0), 1000);
	bench_run(&m, NULL);
	bench_forget(&m);
	bench_unload(&k);
	bench_row("pass", "a kernel for the tool to find", "-", "%s of %s ran", entry, module);
}

void bench_control_memcheck(struct bench *b)
{
	run_control(b, "gpu.fatbin", "illegal");
}

/*
 * Under racecheck the launch of this kernel fails on an H200 where its module is for several kinds
 * of device, and does not where it is for that one alone.
 */
void bench_control_racecheck(struct bench *b)
{
	char module[32];

	find_own_module(b, module, sizeof(module));
	run_control(b, module, "racy");
}
