/* SPDX-License-Identifier: MIT */
/* The backend, kernels and messages, as worker and daemon would have them. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpu/base/crash.h"
#include "tests/gpu/bench.h"

#define PAYLOAD_BYTES (768 * MIB)
#define THREADS	      4

/* As the daemon's: a memfd, shared. */
static void *map_shared(const char *name, uint64_t bytes)
{
	int fd = memfd_create(name, MFD_CLOEXEC);
	void *at;

	if (fd < 0 || ftruncate(fd, (off_t)bytes))
		bench_fail("%s: %s", name, strerror(errno));
	at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		bench_fail("%s: %s", name, strerror(errno));
	close(fd);
	return at;
}

/*
 * An error that spoils the device ends the process without a word, as a worker leaves it in the
 * page that it shares with its daemon: another process says it then.
 */
static void say_fault_at_the_end(const struct rk_wire_shared *shared)
{
	int pair[2];
	char byte;
	pid_t pid;

	if (pipe(pair))
		bench_fail("pipe: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		bench_fail("fork: %s", strerror(errno));
	if (pid > 0) {
		close(pair[0]); /* the other end is closed when this process ends */
		return;
	}
	close(pair[1]);
	while (read(pair[0], &byte, 1) < 0 && errno == EINTR)
		;
	if (atomic_load(&shared->fault))
		fprintf(stderr, "bench: %.*s\n", (int)sizeof(shared->fault_text),
			shared->fault_text);
	_exit(0);
}

void bench_open(struct bench *b)
{
	struct rk_error error = {0};

	b->payload = map_shared("payload", PAYLOAD_BYTES);
	b->shared = map_shared("shared", sizeof(*b->shared));
	b->used = 0;
	say_fault_at_the_end(b->shared);
	snprintf(b->settings.device, sizeof(b->settings.device), "0");
	b->settings.async_memory = b->settings.memory_pooling = 1;
	b->settings.pool_initial_bytes = 256 * MIB;
	b->settings.pool_growth_factor = 2;
	b->env = (struct rk_backend_env){.threads = THREADS,
					 .payload = b->payload,
					 .payload_bytes = PAYLOAD_BYTES,
					 .shared = b->shared,
					 .device = &b->settings};
	if (rk_backend_cuda.open(&b->env, &b->backend, &error))
		bench_fail("%s", error.msg);
}

void bench_close(struct bench *b)
{
	rk_backend_cuda.close(b->backend);
	b->backend = NULL;
	munmap(b->payload, PAYLOAD_BYTES);
	munmap(b->shared, sizeof(*b->shared));
}

/* --- kernels -------------------------------------------------------------------------- */

static void load(struct bench_kernel *k, int fd)
{
	struct rk_wire_load packet = {0};
	struct rk_error error = {0};

	rk_manifest_wire(&k->manifest, RK_WIRE_CUDA, &packet);
	snprintf(packet.id, sizeof(packet.id), "%s", k->manifest.id);
	if (rk_backend_cuda.load(k->b->backend, &packet, fd, &k->kernel, &error))
		bench_fail("%s", error.msg);
}

void bench_load(struct bench *b, struct bench_kernel *k, const char *id)
{
	size_t count;
	const struct rk_manifest_builtin *all = rk_manifest_builtins(&count);
	struct rk_error error = {0};

	k->b = b;
	for (size_t i = 0; i < count; i++) {
		if (rk_manifest_parse(&k->manifest, all[i].text, all[i].len, all[i].name, &error))
			bench_fail("%s", error.msg);
		if (strcmp(k->manifest.id, id) == 0) {
			load(k, -1);
			return;
		}
	}
	bench_fail("there is no kernel %s", id);
}

/* The file's bytes in a memfd of the backend's own, as the daemon hands them over. */
static int copy_of(const char *path)
{
	int from = open(path, O_RDONLY | O_CLOEXEC), to = memfd_create("module", MFD_CLOEXEC);
	char buffer[65536];
	ssize_t n = -1;

	if (from < 0 || to < 0)
		bench_fail("%s: %s", path, strerror(errno));
	while ((n = read(from, buffer, sizeof(buffer))) > 0)
		if (write(to, buffer, (size_t)n) != n)
			bench_fail("%s: %s", path, strerror(errno));
	if (n < 0)
		bench_fail("%s: %s", path, strerror(errno));
	close(from);
	return to;
}

void bench_load_text(struct bench *b, struct bench_kernel *k, const char *format)
{
	struct rk_error error = {0};
	char text[2048];

	snprintf(text, sizeof(text), format, b->modules);
	k->b = b;
	if (rk_manifest_parse(&k->manifest, text, strlen(text), "bench", &error))
		bench_fail("%s", error.msg);
	load(k, copy_of(k->manifest.code[RK_WIRE_CUDA].library));
}

void bench_unload(struct bench_kernel *k)
{
	rk_backend_cuda.unload(k->b->backend, k->kernel);
	k->kernel = NULL;
}

/* --- messages ------------------------------------------------------------------------- */

static bool is_buffer(enum rk_wire_arg_kind kind)
{
	return kind == RK_WIRE_ARG_INPUT || kind == RK_WIRE_ARG_OUTPUT ||
	       kind == RK_WIRE_ARG_SCRATCH;
}

/* Message @which has its block, and its scalars are in it. */
static void set_args(struct bench_message *m, unsigned int which)
{
	const struct rk_code *code = &m->k->manifest.code[RK_WIRE_CUDA];
	struct rk_backend_arg *to = &m->args[(size_t)which * code->nparams];
	struct rk_wire_arg args[RK_WIRE_ARGS_MAX];
	uint64_t offset = (uint64_t)(m->blocks[which] - m->k->b->payload);

	rk_plan_wire(&m->plan, RK_WIRE_CUDA, offset, m->blocks[which], args);
	for (unsigned int i = 0; i < code->nparams; i++) {
		to[i].bytes = args[i].bytes;
		if (is_buffer(code->params[i].kind))
			to[i].buffer = m->k->b->payload + args[i].value;
		else
			to[i].value = args[i].value;
	}
}

static uint8_t *take(struct bench *b, uint64_t bytes)
{
	uint8_t *at = b->payload + b->used;

	b->used += (bytes + 4095) / 4096 * 4096;
	if (b->used > PAYLOAD_BYTES)
		bench_fail("the payload is too small");
	memset(at, 0, bytes);
	return at;
}

void bench_message(struct bench_kernel *k, struct bench_message *m, unsigned int count,
		   uint64_t (*shapes)[RK_MAX_RANK])
{
	const struct rk_manifest *manifest = &k->manifest;
	unsigned int nparams = manifest->code[RK_WIRE_CUDA].nparams;
	struct rk_error error = {0};
	uint64_t fused = 0;

	*m = (struct bench_message){.k = k, .count = count};
	m->blocks = calloc(count, sizeof(*m->blocks));
	m->args = calloc((size_t)count * nparams, sizeof(*m->args));
	if (!m->blocks || !m->args)
		bench_fail("no memory");
	rk_plan_init(&m->plan, manifest);
	for (unsigned int i = 0; i < manifest->ninputs; i++)
		if (!manifest->inputs[i].default_text[0] &&
		    rk_plan_bind(&m->plan, i, manifest->inputs[i].rank, shapes[i], &error))
			bench_fail("%s: %s", manifest->id, error.msg);
	if (rk_plan_layout(&m->plan, PAYLOAD_BYTES, &error))
		bench_fail("%s: %s", manifest->id, error.msg);
	for (unsigned int i = 0; i < count; i++) {
		m->blocks[i] = take(k->b, m->plan.block_bytes);
		rk_plan_prepare(&m->plan, m->blocks[i]);
		set_args(m, i);
	}
	if (manifest->fused_dim)
		fused = count * m->plan.dims[manifest->fused_dim - 1];
	m->run = (struct rk_backend_run){.count = count, .message = 1, .args = m->args};
	if (manifest->mode == RK_WIRE_BATCH &&
	    rk_plan_grid(&m->plan, RK_WIRE_CUDA, fused, m->run.grid, &error))
		bench_fail("%s: %s", manifest->id, error.msg);
}

void bench_message_n(struct bench_kernel *k, struct bench_message *m, unsigned int count,
		     uint64_t n)
{
	uint64_t shapes[RK_MAX_PORTS][RK_MAX_RANK];

	for (unsigned int i = 0; i < RK_MAX_PORTS; i++)
		for (unsigned int axis = 0; axis < RK_MAX_RANK; axis++)
			shapes[i][axis] = n;
	bench_message(k, m, count, shapes);
}

void *bench_input(struct bench_message *m, unsigned int which, unsigned int input)
{
	return m->blocks[which] + m->plan.inputs[input].offset;
}

void *bench_output(struct bench_message *m, unsigned int which, unsigned int output)
{
	return m->blocks[which] + m->plan.outputs[output].offset;
}

double bench_run(struct bench_message *m, double *gpu_us)
{
	struct rk_error error = {0};
	uint64_t run_ns = 0;
	double begin = bench_now_us(), end;

	if (rk_backend_cuda.run(m->k->b->backend, m->k->kernel, &m->run, &run_ns, &error))
		bench_fail("%s", error.msg);
	end = bench_now_us();
	if (gpu_us)
		*gpu_us = (double)run_ns / 1e3;
	return end - begin;
}

void bench_forget(struct bench_message *m)
{
	m->k->b->used = (uint64_t)(m->blocks[0] - m->k->b->payload);
	free(m->blocks);
	free(m->args);
}
