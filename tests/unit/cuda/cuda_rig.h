/* SPDX-License-Identifier: MIT */
/*
 * The CUDA backend in this process, on the fake driver of tests/fake_cuda, for the tests of gpu/.
 * To be included by one file of a program.
 */
#ifndef RK_TESTS_CUDA_RIG_H
#define RK_TESTS_CUDA_RIG_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "gpu/cuda/backend_cuda.h"
#include "gpu/cuda/internal.h"
#include "runtime/base/log.h"
#include "runtime/base/tensor.h"
#include "tests/fake_cuda/fake_cuda.h"
#include "tests/unit/unit.h"

#define FAKE_LIBRARY  RK_FAKE_CUDA_DIR "/libcuda.so.1"
#define PAYLOAD_BYTES (64ULL << 20)
#define THREADS	      4
#define MIB	      (1ULL << 20)
#define CYCLE	      4093 /* of a message's data: prime, so that no two pieces are alike */
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

static struct {
	void *library;
	fake_cuda_count_fn *count;
	char trigger[32];
	struct rk_wire_shared *shared; /* shared with children */
	uint8_t *payload;
	uint64_t used; /* of the payload */
	struct rk_wire_device_settings settings;
	struct rk_backend_env env;
	struct rk_cuda *cuda; /* NULL: not open */
	char log[4096];	      /* since the test began */
} rig;

/* What the fake does from now on; NULL = nothing out of the way. */
static inline void triggers(const char *text)
{
	FILE *f = fopen(rig.trigger, "w");

	assert_non_null(f);
	assert_true(fputs(text ? text : "", f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static inline void keep_log(void *ctx, enum rk_log_level level, const char *line)
{
	size_t len = strlen(rig.log);

	(void)ctx;
	(void)level;
	snprintf(rig.log + len, sizeof(rig.log) - len, "%s\n", line);
}

static inline void *shared_memory(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(at != MAP_FAILED);
	return at;
}

/* The driver is there by its soname: rk_cuda_open finds what is loaded already. */
static inline int open_library(void **state)
{
	int fd;

	(void)state;
	rig.library = dlopen(FAKE_LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!rig.library) {
		fprintf(stderr, "%s\n", dlerror());
		return -1;
	}
	*(void **)&rig.count = dlsym(rig.library, "fake_cuda_count");
	snprintf(rig.trigger, sizeof(rig.trigger), "/tmp/cuda_rig.XXXXXX");
	fd = mkstemp(rig.trigger);
	if (!rig.count || fd < 0 || close(fd) || setenv("RK_FAKE_CUDA", rig.trigger, 1))
		return -1;
	rig.shared = shared_memory(sizeof(*rig.shared));
	rig.payload = shared_memory(PAYLOAD_BYTES);
	rk_log_set_sink(keep_log, NULL);
	return 0;
}

static inline int close_library(void **state)
{
	(void)state;
	rk_log_set_sink(NULL, NULL);
	return unlink(rig.trigger);
}

/* Before each test: settings with which nothing is kept, allocated or limited beforehand. */
static inline int set_up(void **state)
{
	(void)state;
	triggers(NULL);
	memset(&rig.settings, 0, sizeof(rig.settings));
	snprintf(rig.settings.device, sizeof(rig.settings.device), "0");
	rig.settings.pool_initial_bytes = MIB;
	rig.settings.pool_growth_factor = 2;
	rig.settings.ring_idle_ms = 1000;
	rig.env = (struct rk_backend_env){.threads = THREADS,
					  .payload = rig.payload,
					  .payload_bytes = PAYLOAD_BYTES,
					  .shared = rig.shared,
					  .device = &rig.settings};
	memset(rig.shared, 0, sizeof(*rig.shared));
	rig.used = 0;
	rig.log[0] = '\0';
	return 0;
}

/* The stream of the last run, where there was one; no run is under way. */
static inline CUstream last_stream(void)
{
	struct rk_cuda_stream *last = rk_cuda_streams_take(rig.cuda->streams);

	rk_cuda_streams_give(rig.cuda->streams, last);
	return last->stream;
}

/* Everything that was taken from the driver is back. */
static inline void check_nothing_left(void)
{
#define X(name) #name,
	static const char *const gauges[] = {FAKE_CUDA_GAUGES(X)};
#undef X

	for (size_t i = 0; i < ARRAY_SIZE(gauges); i++)
		if (rig.count(gauges[i]) != 0)
			fail_msg("%llu %s are left", (unsigned long long)rig.count(gauges[i]),
				 gauges[i]);
	assert_int_equal(atomic_load(&rig.shared->gpu_memory_bytes), 0);
	assert_int_equal(rig.count("leaked"), 0);
	assert_int_equal(rig.count("misuses"), 0);
	assert_int_equal(rig.count("beside_resident"), 0);
}

static inline int try_open(struct rk_error *err)
{
	void *backend = NULL;
	int rc = rk_backend_cuda.open(&rig.env, &backend, err);

	if (rc == 0)
		rig.cuda = backend;
	return rc;
}

static inline void open_cuda(void)
{
	struct rk_error err = {0};

	if (try_open(&err))
		fail_msg("%s", err.msg);
}

static inline void close_cuda(void)
{
	rk_backend_cuda.close(rig.cuda);
	rig.cuda = NULL;
	check_nothing_left();
}

static inline int tear_down(void **state)
{
	(void)state;
	triggers(NULL);
	if (rig.cuda)
		close_cuda();
	return 0;
}

#define RIG_TEST(name) TEST_WITH(name, set_up, tear_down)

/* --- kernels ------------------------------------------------------------------------- */

#define PTX                                                                                        \
	".version 8.0\n.target sm_75\n.address_size 64\n"                                          \
	".visible .entry square()\n.visible .entry saxpy_in_place()\n.visible .entry overrun()\n"  \
	".visible .entry grid()\n.visible .entry values()\n.visible .entry illegal()\n"            \
	".visible .entry forever()\n.visible .entry wait_for()\n.visible .entry ring_sum()\n"      \
	".visible .entry ring_echo()\n.visible .entry saxpy()\n"

#define P(k, t)                                                                                    \
	{                                                                                          \
		.kind = RK_WIRE_ARG_##k, .dtype = (t)                                              \
	}

static const struct rk_wire_param square_params[] = {
	P(INPUT, RK_F32), P(OUTPUT, RK_F32), {RK_WIRE_ARG_DIM, RK_U64, .fused = 1}};

static inline struct rk_wire_load make_load(const char *entry, const struct rk_wire_param *params,
					    uint32_t nparams)
{
	struct rk_wire_load load = {
		.nparams = nparams, .backend = RK_WIRE_CUDA, .block = {256, 1, 1}};

	snprintf(load.id, sizeof(load.id), "user/%s", entry);
	snprintf(load.library, sizeof(load.library), "/somewhere/module");
	snprintf(load.entry, sizeof(load.entry), "%s", entry);
	memcpy(load.params, params, nparams * sizeof(params[0]));
	return load;
}

static inline int make_module(const void *data, size_t size)
{
	int fd = memfd_create("module", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, size), size);
	return fd;
}

static inline void *load_kernel(const struct rk_wire_load *load, int fd)
{
	struct rk_error err = {0};
	void *kernel;

	if (rk_backend_cuda.load(rig.cuda, load, fd, &kernel, &err))
		fail_msg("%s", err.msg);
	return kernel;
}

static inline void *load_entry(const char *entry, const struct rk_wire_param *params,
			       uint32_t nparams)
{
	struct rk_wire_load load = make_load(entry, params, nparams);

	return load_kernel(&load, make_module(PTX, strlen(PTX)));
}

static inline void *load_square(void)
{
	return load_entry("square", square_params, ARRAY_SIZE(square_params));
}

static inline void unload(void *kernel)
{
	rk_backend_cuda.unload(rig.cuda, kernel);
}

/* --- messages ------------------------------------------------------------------------ */

/* @bytes of payload, with guard bytes behind, as the daemon prepares them. */
static inline struct rk_backend_arg buffer(uint64_t bytes)
{
	struct rk_backend_arg arg = {.buffer = rig.payload + rig.used, .bytes = bytes};

	rig.used += (bytes + RK_WIRE_GUARD + RK_WIRE_ALIGN - 1) / RK_WIRE_ALIGN * RK_WIRE_ALIGN;
	assert_true(rig.used <= PAYLOAD_BYTES);
	memset(arg.buffer, 0, bytes);
	memset((uint8_t *)arg.buffer + bytes, RK_WIRE_GUARD_BYTE, RK_WIRE_GUARD);
	return arg;
}

static inline struct rk_backend_arg value(uint64_t bits, uint64_t bytes)
{
	struct rk_backend_arg arg = {.value = bits, .bytes = bytes};

	return arg;
}

static inline bool guard_is_whole(const struct rk_backend_arg *arg)
{
	const uint8_t *guard = (const uint8_t *)arg->buffer + arg->bytes;

	for (unsigned int i = 0; i < RK_WIRE_GUARD; i++)
		if (guard[i] != RK_WIRE_GUARD_BYTE)
			return false;
	return true;
}

/* The three arguments of square for @n elements, which are @first, @first + 1, ... */
static inline void square_message(struct rk_backend_arg args[3], uint64_t n, uint64_t first)
{
	args[0] = buffer(n * sizeof(float));
	args[1] = buffer(n * sizeof(float));
	args[2] = value(n, sizeof(uint64_t));
	for (uint64_t i = 0; i < n; i++)
		((float *)args[0].buffer)[i] = (float)((first + i) % CYCLE);
}

static inline void check_square(const struct rk_backend_arg args[3], uint64_t first)
{
	const float *out = args[1].buffer;

	for (uint64_t i = 0; i < args[2].value; i++) {
		float x = (float)((first + i) % CYCLE);

		if (out[i] != x * x)
			fail_msg("element %llu is %g, not %g", (unsigned long long)i,
				 (double)out[i], (double)(x * x));
	}
	assert_true(guard_is_whole(&args[1]));
}

static inline struct rk_backend_run make_run(const struct rk_backend_arg *args, unsigned int count,
					     uint64_t threads)
{
	struct rk_backend_run run = {.count = count, .message = 77, .args = args};

	run.grid[0] = (uint32_t)((threads + 255) / 256);
	run.grid[1] = run.grid[2] = 1;
	if (run.grid[0] == 0)
		run.grid[0] = 1;
	return run;
}

static inline int run_kernel(void *kernel, const struct rk_backend_run *run, struct rk_error *err)
{
	uint64_t run_ns = UINT64_MAX;
	int rc = rk_backend_cuda.run(rig.cuda, kernel, run, &run_ns, err);

	if (rc == 0)
		assert_true(run_ns < UINT64_MAX);
	return rc;
}

static inline void run_well(void *kernel, const struct rk_backend_run *run)
{
	struct rk_error err = {0};

	if (run_kernel(kernel, run, &err))
		fail_msg("%s", err.msg);
}

/* One message to square, and its answer. */
static inline void run_square(void *kernel, uint64_t n, uint64_t first)
{
	struct rk_backend_arg args[3];
	struct rk_backend_run run;

	square_message(args, n, first);
	run = make_run(args, 1, n);
	run_well(kernel, &run);
	check_square(args, first);
}

#endif
