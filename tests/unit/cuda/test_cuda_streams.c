/* SPDX-License-Identifier: MIT */
/* Streams as a budget, first uses, and the check that the device itself has to pass. */
#include "tests/unit/cuda/cuda_rig.h"

#include <pthread.h>
#include <sched.h>

#define MANY 64

static struct rk_wire_load ring_load(void)
{
	static const struct rk_wire_param params[] = {P(INPUT, RK_U8), P(OUTPUT, RK_U8),
						      P(DIM, RK_U64)};
	struct rk_wire_load load = make_load("ring_echo", params, ARRAY_SIZE(params));

	load.mode = RK_WIRE_RING;
	return load;
}

static int try_ring(void **kernel, struct rk_error *err)
{
	const struct rk_wire_load load = ring_load();

	return rk_backend_cuda.load(rig.cuda, &load, make_module(PTX, strlen(PTX)), kernel, err);
}

static void *load_ring(void)
{
	struct rk_error err = {0};
	void *kernel;

	if (try_ring(&kernel, &err))
		fail_msg("%s", err.msg);
	return kernel;
}

/* A message to a resident kernel, which is launched by it, and stays where ring_idle_ms is 0. */
static void echo(void *kernel, uint64_t bytes)
{
	struct rk_backend_arg args[3] = {buffer(bytes), buffer(bytes), value(bytes, 8)};
	struct rk_backend_run run = make_run(args, 1, 1);

	memset(args[0].buffer, 0x5a, bytes);
	run_well(kernel, &run);
	assert_memory_equal(args[0].buffer, args[1].buffer, bytes);
}

/* --- the environment ------------------------------------------------------------------ */

/* First of all: the library is opened once in a process, and the fake reads it at its cuInit. */
RIG_TEST(environment)
{
	setenv("CUDA_LAUNCH_BLOCKING", "1", 1);
	setenv("CUDA_DEVICE_MAX_CONNECTIONS", "1", 1);
	setenv("CUDA_MODULE_LOADING", "LAZY", 1);
	unsetenv("CUDA_DEVICE_ORDER");
	open_cuda();
	assert_null(getenv("CUDA_LAUNCH_BLOCKING"));
	assert_string_equal(getenv("CUDA_DEVICE_MAX_CONNECTIONS"), "32");
	assert_string_equal(getenv("CUDA_MODULE_LOADING"), "EAGER");
	assert_string_equal(getenv("CUDA_DEVICE_ORDER"), "PCI_BUS_ID");
	assert_non_null(strstr(rig.log, "CUDA_LAUNCH_BLOCKING=1 of the environment is not used"));
	assert_non_null(
		strstr(rig.log, "CUDA_DEVICE_MAX_CONNECTIONS=1 of the environment is not used"));
	assert_null(strstr(rig.log, "CUDA_DEVICE_ORDER"));
}

/* --- the budget ------------------------------------------------------------------------ */

RIG_TEST(streams_are_bounded)
{
	void *ring;

	rig.env.threads = MANY;
	open_cuda();
	assert_int_equal(rig.count("streams"), RK_CUDA_STREAMS_MAX + RK_CUDA_STREAMS_OWN);
	ring = load_ring();
	assert_int_equal(rig.count("streams"), RK_CUDA_STREAMS_MAX + RK_CUDA_STREAMS_OWN + 1);
	unload(ring);
}

struct runner {
	pthread_t thread;
	void *kernel;
	struct rk_backend_arg args[3];
	struct rk_backend_run run;
	unsigned int index;
};

static void *run_one(void *ctx)
{
	struct runner *r = ctx;
	struct rk_error err = {0};
	uint64_t run_ns;

	return (void *)(intptr_t)rk_backend_cuda.run(rig.cuda, r->kernel, &r->run, &run_ns, &err);
}

/* More threads than streams, beside a resident kernel: each gets its turn, and its answer. */
RIG_TEST(more_threads_than_streams)
{
	static struct runner runners[MANY];
	void *square, *ring, *failed;

	rig.env.threads = MANY;
	rig.settings.ring_idle_ms = 0;
	rig.settings.async_memory = rig.settings.memory_pooling = 1;
	open_cuda();
	square = load_square();
	ring = load_ring();
	echo(ring, 100);
	assert_int_equal(rig.count("resident"), 1);
	triggers("latency 200\n");
	for (unsigned int i = 0; i < MANY; i++) {
		struct runner *r = &runners[i];

		r->kernel = square;
		square_message(r->args, 1000 + i, i);
		r->run = make_run(r->args, 1, 1000 + i);
		r->run.thread = i;
		assert_int_equal(pthread_create(&r->thread, NULL, run_one, r), 0);
	}
	echo(ring, 200);
	for (unsigned int i = 0; i < MANY; i++) {
		assert_int_equal(pthread_join(runners[i].thread, &failed), 0);
		assert_null(failed);
		check_square(runners[i].args, i);
	}
	triggers(NULL);
	unload(ring);
	unload(square);
}

/* The first that does not fit is refused in words; when one goes another one fits. */
RIG_TEST(room_for_rings)
{
	static const struct {
		const char *trigger;
		unsigned int room;
		const char *words;
	} rows[] = {
		{"multiprocessors 4\n", 3,
		 "3 kernels are resident, each on one of 4 multiprocessors, and the last is for all"},
		{"multiprocessors 64\n", RK_CUDA_RINGS_MAX,
		 "14 kernels are resident, and the device has no connection left for one more"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		void *rings[RK_CUDA_RINGS_MAX] = {0}, *more;
		struct rk_error err = {0};

		triggers(rows[i].trigger);
		open_cuda();
		for (unsigned int j = 0; j < rows[i].room; j++)
			rings[j] = load_ring();
		assert_int_equal(try_ring(&more, &err), -ENOSPC);
		if (!strstr(err.msg, rows[i].words))
			fail_msg("%s", err.msg);
		unload(rings[0]);
		rings[0] = load_ring();
		echo(rings[0], 10);
		for (unsigned int j = 0; j < rows[i].room; j++)
			unload(rings[j]);
		close_cuda();
	}
}

RIG_TEST(device_that_ends_kernels)
{
	struct rk_error err = {0};
	void *kernel;

	triggers("exec_timeout\n");
	open_cuda();
	assert_non_null(strstr(rig.log, "no kernel can be resident"));
	assert_int_equal(try_ring(&kernel, &err), -ENOTSUP);
	assert_non_null(
		strstr(err.msg, "the driver ends kernels on Fake GPU 0 after some seconds"));
	kernel = load_square();
	unload(kernel);
}

/* --- first uses ------------------------------------------------------------------------ */

static int use_all(void *ctx, struct rk_cuda_stream *s, struct rk_error *err)
{
	CUfunction *function = ctx;
	CUdeviceptr at = rig.cuda->touch.at;
	uint64_t n = 0;
	void *params[] = {&at, &at, &n}, *host;
	struct rk_cuda_block *block;

	(void)err;
	assert_int_equal(rk_cuda_staging_take(rig.cuda->staging, 1, &block), 1);
	host = block->host;
	assert_int_equal(rk_cu.cuMemsetD8Async(at, 0, 1, s->stream), 0);
	assert_int_equal(rk_cu.cuMemcpyHtoDAsync(at, host, 1, s->stream), 0);
	assert_int_equal(rk_cu.cuMemcpyDtoHAsync(host, at, 1, s->stream), 0);
	assert_int_equal(
		rk_cu.cuLaunchKernel(*function, 1, 1, 1, 1, 1, 1, 0, s->stream, params, NULL), 0);
	assert_int_equal(
		rk_cu.cuLaunchCooperativeKernel(*function, 1, 1, 1, 1, 1, 1, 0, s->stream, params),
		0);
	assert_int_equal(rk_cu.cuEventRecord(s->end, s->stream), 0);
	assert_int_equal(rk_cu.cuStreamSynchronize(s->stream), 0);
	rk_cuda_staging_give(rig.cuda->staging, &block, 1);
	return 0;
}

/* The driver makes nothing beside a resident kernel: all was done once before it came. */
RIG_TEST(nothing_is_new_beside_a_resident_kernel)
{
	const struct rk_wire_load load = {
		.entry = "echo",
		.nparams = 3,
		.params = {P(INPUT, RK_U8), P(OUTPUT, RK_U8), P(DIM, RK_U64)}};
	struct rk_error err = {0};
	CUfunction function;
	uint64_t beside;
	void *ring, *square;

	rig.env.threads = MANY;
	rig.settings.ring_idle_ms = 0;
	rig.settings.async_memory = rig.settings.memory_pooling = 1;
	rig.settings.pool_initial_bytes = 16 * MIB;
	open_cuda();
	assert_int_equal(rk_cuda_modules_builtin(rig.cuda->modules, &load, &function, &err), 0);
	square = load_square();
	ring = load_ring();
	echo(ring, 10);
	beside = rig.count("beside_resident");
	assert_int_equal(rig.count("resident"), 1);
	assert_int_equal(rk_cuda_streams_each(rig.cuda->streams, use_all, &function, &err), 0);
	assert_int_equal(rk_backend_cuda.check(rig.cuda, &err), 0);
	for (unsigned int i = 0; i < RK_CUDA_STREAMS_MAX; i++) {
		struct rk_backend_arg args[3];
		struct rk_backend_run run;

		rig.used = 0;
		square_message(args, 100, i);
		run = make_run(args, 1, 100);
		run_well(square, &run);
	}
	assert_int_equal(rig.count("beside_resident"), beside);
	assert_int_equal(rig.count("resident"), 1);
	unload(ring);
	unload(square);
}

/* --- what a message costs, and the check ------------------------------------------------ */

RIG_TEST(calls_of_a_small_message)
{
	struct rk_backend_arg args[3];
	struct rk_backend_run run;
	uint64_t before;
	void *kernel;

	rig.settings.async_memory = rig.settings.memory_pooling = 1;
	open_cuda();
	kernel = load_square();
	square_message(args, 100, 0);
	run = make_run(args, 1, 100);
	run_well(kernel, &run);
	before = rig.count("calls") - rig.count("polls");
	run_well(kernel, &run);
	/*
	 * memory from the pool, and a look at the pool; there, an event, the launch, an event,
	 * back, an event, and once asleep for it; the time between two; the memory is given back
	 */
	assert_in_range(rig.count("calls") - rig.count("polls") - before, 10, 12);
	unload(kernel);
}

static void *check(void *ctx)
{
	atomic_bool *done = ctx;
	struct rk_error err = {0};
	int rc = rk_backend_cuda.check(rig.cuda, &err);

	atomic_store(done, true);
	return (void *)(intptr_t)rc;
}

/* A driver that answers from its books does not hide a device that does nothing. */
RIG_TEST(check_touches_the_device)
{
	atomic_bool done = false;
	uint64_t memsets;
	pthread_t thread;
	size_t bytes;
	void *rc;

	open_cuda();
	triggers("stalled\n");
	memsets = rig.count("memsets");
	assert_int_equal(rk_cuda_enter(&rig.cuda->device, NULL), 0);
	assert_int_equal(rk_cu.cuMemGetInfo(&bytes, &bytes), CUDA_SUCCESS);
	assert_int_equal(pthread_create(&thread, NULL, check, &done), 0);
	while (rig.count("memsets") == memsets && !atomic_load(&done))
		sched_yield();
	for (unsigned int i = 0; i < 100; i++)
		sched_yield();
	assert_false(atomic_load(&done));
	triggers(NULL);
	assert_int_equal(pthread_join(thread, &rc), 0);
	assert_null(rc);
}

int main(void)
{
	return unit_run(open_library, close_library);
}
