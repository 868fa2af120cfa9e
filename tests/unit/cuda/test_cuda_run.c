/* SPDX-License-Identifier: MIT */
/* The CUDA backend: messages on the device. */
#include "tests/unit/cuda/cuda_rig.h"

#include <pthread.h>

/* --- messages ------------------------------------------------------------------------ */

/* Sizes around that of a pinned block, on each kind of memory. */
RIG_TEST(sizes)
{
	static const uint64_t sizes[] = {0,	 1,	 63,	 1000,	  130000, 131040,
					 131072, 200000, 262144, 1000001, 1572864};
	void *kernel;

	for (unsigned int settings = 0; settings < 8; settings++) {
		rig.settings.unified_memory = settings & 1;
		rig.settings.async_memory = settings >> 1 & 1;
		rig.settings.memory_pooling = settings >> 2 & 1;
		open_cuda();
		kernel = load_square();
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			rig.used = 0;
			run_square(kernel, sizes[i], i);
		}
		unload(kernel);
		close_cuda();
	}
}

/* A device that is slow: nothing is used again before it is through with it. */
RIG_TEST(slow_device)
{
	void *kernel;

	open_cuda();
	kernel = load_square();
	triggers("latency 500\n");
	run_square(kernel, 1000, 0);
	run_square(kernel, MIB, 0);
	triggers(NULL);
	unload(kernel);
}

/* A small message is one copy there and one back, and takes no memory from the host. */
RIG_TEST(small_is_cheap)
{
	uint64_t copies, memsets, host, launches;
	void *kernel;

	rig.settings.async_memory = rig.settings.memory_pooling = 1;
	open_cuda();
	kernel = load_square();
	run_square(kernel, 1000, 0);
	copies = rig.count("copies");
	memsets = rig.count("memsets");
	host = rig.count("host_allocations");
	launches = rig.count("launches");
	run_square(kernel, 1000, 1);
	assert_int_equal(rig.count("copies"), copies + 2);
	assert_int_equal(rig.count("memsets"), memsets);
	assert_int_equal(rig.count("host_allocations"), host);
	assert_int_equal(rig.count("launches"), launches + 1);
	/* of a large one only the inputs go there, and only the outputs come back */
	copies = rig.count("bytes_to_device");
	run_square(kernel, MIB, 0);
	assert_int_equal(rig.count("bytes_to_device") - copies, MIB * sizeof(float));
	unload(kernel);
}

RIG_TEST(values)
{
	static const struct rk_wire_param params[] = {
		P(SCALAR, RK_I8),  P(SCALAR, RK_I16), P(SCALAR, RK_I32), P(SCALAR, RK_I64),
		P(SCALAR, RK_U8),  P(SCALAR, RK_U16), P(SCALAR, RK_U32), P(SCALAR, RK_U64),
		P(SCALAR, RK_F16), P(SCALAR, RK_F32), P(SCALAR, RK_F64), P(SCALAR, RK_BOOL),
		P(DIM, RK_U64),	   P(OUTPUT, RK_F64)};
	const uint64_t bits[] = {
		0xf6,	    0xff9c, 0xfffffc18, (uint64_t)-10000,   200, 60000, 4000000000,
		1ULL << 52, 0,	    0x3fc00000, 0x4004000000000000, 1,	 12};
	const double want[] = {
		-10, -100, -1000, -10000, 200, 60000, 4000000000.0, 4503599627370496.0,
		0,   1.5,  2.5,	  1,	  12};
	struct rk_backend_arg args[ARRAY_SIZE(params)];
	struct rk_backend_run run;
	void *kernel;

	open_cuda();
	kernel = load_entry("values", params, ARRAY_SIZE(params));
	for (size_t i = 0; i < ARRAY_SIZE(bits); i++)
		args[i] = value(bits[i], rk_dtype_info(params[i].dtype)->size);
	args[13] = buffer(sizeof(want));
	run = make_run(args, 1, 1);
	run_well(kernel, &run);
	for (size_t i = 0; i < ARRAY_SIZE(want); i++)
		if (((double *)args[13].buffer)[i] != want[i])
			fail_msg("value %zu is %g", i, ((double *)args[13].buffer)[i]);
	unload(kernel);
}

static void run_grid(void *kernel, const uint32_t grid[3], uint32_t seen[8])
{
	struct rk_backend_arg arg = buffer(8 * sizeof(uint32_t));
	struct rk_backend_run run = make_run(&arg, 1, 1);

	memcpy(run.grid, grid, sizeof(run.grid));
	run_well(kernel, &run);
	memcpy(seen, arg.buffer, 8 * sizeof(uint32_t));
}

RIG_TEST(grid)
{
	static const struct rk_wire_param params[] = {P(OUTPUT, RK_U32)};
	static const uint32_t grid[3] = {7, 5, 3}, want[8] = {7, 5, 3, 8, 4, 2, 60000, 0};
	struct rk_wire_load load = make_load("grid", params, 1);
	uint32_t seen[8];
	void *kernel;

	open_cuda();
	memcpy(load.block, (uint32_t[]){8, 4, 2}, sizeof(load.block));
	load.shared_bytes = 60000; /* more than there is unasked */
	kernel = load_kernel(&load, make_module(PTX, strlen(PTX)));
	run_grid(kernel, grid, seen);
	assert_memory_equal(seen, want, sizeof(want));
	unload(kernel);
}

static void *load_ring_sum(void)
{
	static const struct rk_wire_param params[] = {{RK_WIRE_ARG_STATE, RK_U8, .fused = 0},
						      P(INPUT, RK_F64),
						      P(OUTPUT, RK_F64),
						      P(DIM, RK_U64)};
	struct rk_wire_load load = make_load("ring_sum", params, ARRAY_SIZE(params));

	load.mode = RK_WIRE_RING;
	load.state_bytes = sizeof(double);
	return load_kernel(&load, make_module(PTX, strlen(PTX)));
}

/* 8 blocks of 256 threads find room on each of 4 multiprocessors. */
RIG_TEST(cooperative)
{
	static const struct rk_wire_param params[] = {P(OUTPUT, RK_U32)};
	static const struct {
		uint32_t asked[3], got[3], beside[3];
	} rows[] = {
		{{1, 1, 1}, {1, 1, 1}, {1, 1, 1}},	{{32, 1, 1}, {32, 1, 1}, {24, 1, 1}},
		{{1000, 1, 1}, {32, 1, 1}, {24, 1, 1}}, {{8, 9, 1}, {8, 4, 1}, {8, 3, 1}},
		{{5, 3, 7}, {5, 3, 2}, {5, 3, 1}},
	};
	struct rk_wire_load load = make_load("grid", params, 1);
	void *kernel, *ring;
	uint32_t seen[8];

	triggers("multiprocessors 4\n");
	open_cuda();
	load.cooperative = 1;
	kernel = load_kernel(&load, make_module(PTX, strlen(PTX)));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		run_grid(kernel, rows[i].asked, seen);
		assert_memory_equal(seen, rows[i].got, sizeof(rows[i].got));
		assert_int_equal(seen[7], 1);
	}
	/* a resident kernel takes a multiprocessor */
	ring = load_ring_sum();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		run_grid(kernel, rows[i].asked, seen);
		assert_memory_equal(seen, rows[i].beside, sizeof(rows[i].beside));
	}
	unload(ring);
	run_grid(kernel, rows[2].asked, seen);
	assert_memory_equal(seen, rows[2].got, sizeof(rows[2].got));
	unload(kernel);
}

/* What a kernel writes behind an output, or scratch, is there for the daemon to see. */
RIG_TEST(overrun)
{
	static const uint64_t sizes[] = {100, 300000, 1048576};
	struct rk_wire_param params[] = {P(INPUT, RK_F32), P(OUTPUT, RK_F32), P(DIM, RK_U64)};
	struct rk_backend_arg args[3];
	struct rk_backend_run run;
	void *kernel;

	open_cuda();
	for (unsigned int scratch = 0; scratch <= 1; scratch++) {
		params[1].kind = scratch ? RK_WIRE_ARG_SCRATCH : RK_WIRE_ARG_OUTPUT;
		kernel = load_entry("overrun", params, ARRAY_SIZE(params));
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			rig.used = 0;
			square_message(args, sizes[i], 3);
			run = make_run(args, 1, sizes[i]);
			run_well(kernel, &run);
			assert_false(guard_is_whole(&args[1]));
			/* scratch itself does not come back */
			assert_true(((float *)args[1].buffer)[0] == (scratch ? 0 : 9));
		}
		unload(kernel);
	}
}

/* Outputs and scratch are zero and have guards, wherever the memory was before. */
RIG_TEST(scratch_is_clear)
{
	static const uint64_t sizes[] = {1000, 400000};
	struct rk_wire_param params[] = {P(SCALAR, RK_F32), P(INPUT, RK_F32), P(OUTPUT, RK_F32),
					 P(DIM, RK_U64)};
	const float two = 2;
	uint32_t bits;

	rig.settings.memory_pooling = 1;
	open_cuda();
	memcpy(&bits, &two, sizeof(bits));
	for (unsigned int round = 0; round < 2; round++) {
		/* y = 2 x + y: twice, in the same memory */
		void *kernel = load_entry("saxpy_in_place", params, ARRAY_SIZE(params));

		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			struct rk_backend_arg args[4] = {value(bits, 4)};
			struct rk_backend_run run;

			rig.used = 0;
			args[1] = buffer(sizes[i] * sizeof(float));
			args[2] = buffer(sizes[i] * sizeof(float));
			args[3] = value(sizes[i], 8);
			for (uint64_t at = 0; at < sizes[i]; at++)
				((float *)args[1].buffer)[at] = (float)at;
			run = make_run(args, 1, sizes[i]);
			run_well(kernel, &run);
			for (uint64_t at = 0; at < sizes[i]; at++)
				assert_true(((float *)args[2].buffer)[at] == 2 * (float)at);
			assert_true(guard_is_whole(&args[2]));
		}
		unload(kernel);
	}
}

/* Messages that run as one: small together, and large together, empty ones among them. */
RIG_TEST(fused)
{
	static const uint64_t sizes[][5] = {{1, 100, 0, 7, 1000}, {100000, 0, 90001, 1, 150000}};
	struct rk_backend_arg args[5][3];
	struct rk_backend_run run;
	uint64_t launches;
	void *kernel;

	open_cuda();
	kernel = load_square();
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t all = 0;

		rig.used = 0;
		for (size_t m = 0; m < 5; m++) {
			square_message(args[m], sizes[i][m], 100 * m);
			all += sizes[i][m];
		}
		run = make_run(args[0], 5, all);
		launches = rig.count("launches");
		run_well(kernel, &run);
		assert_int_equal(rig.count("launches"), launches + 1);
		for (size_t m = 0; m < 5; m++)
			check_square(args[m], 100 * m);
	}
	unload(kernel);
	/* one that writes too far spoils them all, as nobody knows whose it was */
	kernel = load_entry("overrun", square_params, ARRAY_SIZE(square_params));
	run_well(kernel, &run);
	for (size_t m = 0; m < 5; m++)
		assert_false(guard_is_whole(&args[m][1]));
	unload(kernel);
}

static void run_sum(void *ring, double x, double want)
{
	struct rk_backend_arg args[4] = {value(0, 0), buffer(8), buffer(8), value(1, 8)};
	struct rk_backend_run run = make_run(args, 1, 1);

	*(double *)args[1].buffer = x;
	run_well(ring, &run);
	assert_true(*(double *)args[2].buffer == want);
	assert_true(guard_is_whole(&args[2]));
}

/* Whatever waits for the whole device is done while no kernel is resident, and its state stays. */
RIG_TEST(beside_a_ring)
{
	uint64_t syncs;
	void *kernel, *ring;

	rig.settings.ring_idle_ms = 0; /* it would not leave by itself */
	for (unsigned int settings = 0; settings < 8; settings++) {
		rig.settings.unified_memory = settings & 1;
		rig.settings.async_memory = settings >> 1 & 1;
		rig.settings.memory_pooling = settings >> 2 & 1;
		open_cuda();
		ring = load_ring_sum();
		assert_true(atomic_load(&rig.shared->gpu_memory_bytes) > 0); /* its state */
		run_sum(ring, 1, 1);
		rig.used = 0;
		syncs = rig.count("synchronising");
		kernel = load_square();
		assert_true(rig.count("synchronising") > syncs);
		run_sum(ring, 2, 3);
		run_square(kernel, 1000, 0);
		run_square(kernel, 2000000, 0); /* another pinned block, a larger pool */
		run_sum(ring, 4, 7);
		unload(kernel);
		run_sum(ring, 8, 15);
		unload(ring);
		close_cuda();
		rig.used = 0;
	}
}

/* --- several threads ----------------------------------------------------------------- */

#define ROUNDS 20

static void *shared_kernel;

struct caller {
	unsigned int index;
	struct rk_backend_arg args[3];
	bool went_well;
};

static void *call_often(void *arg)
{
	struct caller *c = arg;
	struct rk_backend_run run = make_run(c->args, 1, c->args[2].value);
	struct rk_error err;

	run.thread = c->index;
	run.message = c->index + 1;
	c->went_well = true;
	for (unsigned int i = 0; i < ROUNDS && c->went_well; i++) {
		memset(c->args[1].buffer, 0, c->args[1].bytes);
		c->went_well = run_kernel(shared_kernel, &run, &err) == 0 &&
			       ((float *)c->args[1].buffer)[c->args[2].value - 1] != 0;
	}
	return NULL;
}

RIG_TEST(threads)
{
	static const uint64_t sizes[THREADS] = {100, 300000, 5000, 700000};
	struct caller callers[THREADS];
	pthread_t threads[THREADS];
	void *other, *ring;

	for (unsigned int settings = 0; settings < 4; settings++) {
		rig.settings.async_memory = settings & 1;
		rig.settings.memory_pooling = settings >> 1;
		rig.used = 0;
		open_cuda();
		shared_kernel = load_square();
		for (unsigned int i = 0; i < THREADS; i++) {
			callers[i].index = i;
			square_message(callers[i].args, sizes[i], i + 1);
			assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]),
					 0);
		}
		/* the control thread goes on loading meanwhile */
		ring = load_ring_sum();
		other = load_square();
		unload(other);
		unload(ring);
		for (unsigned int i = 0; i < THREADS; i++) {
			assert_int_equal(pthread_join(threads[i], NULL), 0);
			assert_true(callers[i].went_well);
			check_square(callers[i].args, i + 1);
		}
		unload(shared_kernel);
		close_cuda();
	}
}

int main(void)
{
	return unit_run(open_library, close_library);
}
