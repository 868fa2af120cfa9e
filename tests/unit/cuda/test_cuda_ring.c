/* SPDX-License-Identifier: MIT */
/* The host's side of resident kernels, with tests/fake_cuda as the device. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "gpu/cuda/internal.h"
#include "gpu/cuda/ring_internal.h"
#include "runtime/base/tensor.h"
#include "tests/fake_cuda/fake_cuda.h"
#include "tests/unit/unit.h"
#include "tests/unit/wire_params.h"

#define LIBRARY RK_FAKE_CUDA_DIR "/libcuda.so.1"
#define MESSAGE 77 /* id of the message of thread 0 */
#define ROOM	(4U << 20)

#define OK(call) assert_int_equal(call, CUDA_SUCCESS)

static fake_cuda_count_fn *count;
static char trigger[] = "/tmp/cuda_ring_test.XXXXXX";
static struct rk_wire_shared *shared;
static struct rk_cuda_device device;
static struct rk_rings *all;
static struct rk_cuda_memory *memory;
static CUmodule module;
static uint64_t leaked, beside_resident, misuses; /* as a test began */

/* What is to go wrong from now on; NULL = nothing. */
static void triggers(const char *text)
{
	FILE *f = fopen(trigger, "w");

	assert_non_null(f);
	assert_true(fputs(text ? text : "", f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int open_library(void **state)
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	int fd = mkstemp(trigger);

	(void)state;
	if (!library || fd < 0) {
		fprintf(stderr, "%s\n", library ? "mkstemp" : dlerror());
		return -1;
	}
	close(fd);
	setenv("RK_FAKE_CUDA", trigger, 1);
	*(void **)&count = dlsym(library, "fake_cuda_count");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	return count && shared != MAP_FAILED ? 0 : -1;
}

static int close_library(void **state)
{
	(void)state;
	munmap(shared, sizeof(*shared));
	return unlink(trigger);
}

/* A device with no rings. */
static void begin(uint64_t idle_ms)
{
	static const char ptx[] = ".version 8.0\n.entry ring_sum(\n.entry ring_echo(\n"
				  ".entry ring_values(\n.entry ring_wait_for(\n.entry grid(\n"
				  ".entry ring_illegal(\n.entry ring_overrun(\n";
	/* each allocation is a call of the driver */
	static const struct rk_wire_device_settings settings;
	struct rk_error err;

	triggers(NULL);
	memset(shared, 0, sizeof(*shared));
	memset(&device, 0, sizeof(device));
	device.shared = shared;
	device.serves = true;
	device.threads = 4;
	assert_int_equal(rk_cuda_open(&err), 0);
	OK(rk_cu.cuInit(0));
	leaked = count("leaked");
	beside_resident = count("beside_resident");
	misuses = count("misuses");
	OK(rk_cu.cuDevicePrimaryCtxRetain(&device.context, 0));
	OK(rk_cu.cuCtxSetCurrent(device.context));
	OK(rk_cu.cuModuleLoadDataEx(&module, ptx, 0, NULL, NULL));
	assert_int_equal(rk_rings_create(&all, &device, idle_ms, &err), 0);
	assert_int_equal(rk_cuda_memory_create(&memory, &device, all, &settings, &err), 0);
}

static int set_up(void **state)
{
	(void)state;
	begin(0);
	return 0;
}

static int set_up_idle(void **state)
{
	(void)state;
	begin(1);
	return 0;
}

static int tear_down(void **state)
{
	struct rk_cuda_ring *ring;
	unsigned int left = 0;

	(void)state;
	triggers(NULL);
	/* those of a test that failed: what follows would wait for them for ever */
	rk_rings_pause(all);
	while ((ring = LIST_FIRST(&all->list))) {
		rk_ring_close(ring);
		left++;
	}
	rk_cuda_memory_destroy(memory);
	rk_rings_destroy(all);
	OK(rk_cu.cuModuleUnload(module));
	OK(rk_cu.cuDevicePrimaryCtxRelease(0));
	OK(rk_cu.cuCtxSetCurrent(NULL));
	assert_int_equal(left, 0);
	assert_int_equal(count("leaked") - leaked, 0);
	assert_int_equal(count("beside_resident") - beside_resident, 0);
	assert_int_equal(count("misuses") - misuses, 0);
	return 0;
}

/* --- rings and messages --------------------------------------------------------------- */

static struct rk_wire_load load_of(const char *entry, uint32_t nparams,
				   const struct rk_wire_param *params)
{
	struct rk_wire_load load = {.mode = RK_WIRE_RING, .nparams = nparams, .block = {256, 1, 1}};

	snprintf(load.id, sizeof(load.id), "test/%s", entry);
	snprintf(load.entry, sizeof(load.entry), "%s", entry);
	memcpy(load.params, params, nparams * sizeof(*params));
	return load;
}

static int try_open(const struct rk_wire_load *load, struct rk_cuda_ring **ring,
		    struct rk_error *err)
{
	CUfunction function;
	int rc;

	OK(rk_cu.cuModuleGetFunction(&function, module, load->entry));
	rk_rings_pause(all);
	rc = rk_ring_open(all, memory, function, load, ring, err);
	rk_rings_resume(all);
	return rc;
}

static struct rk_cuda_ring *open_load(const struct rk_wire_load *load)
{
	struct rk_cuda_ring *ring = NULL;
	struct rk_error err = {0};

	if (try_open(load, &ring, &err))
		fail_msg("%s", err.msg);
	return ring;
}

static struct rk_wire_load sum_load(void)
{
	static const struct rk_wire_param params[] = {STATE, IN(RK_F64), OUT(RK_F64), DIM};
	struct rk_wire_load load = load_of("ring_sum", 4, params);

	load.state_bytes = sizeof(double);
	return load;
}

static struct rk_wire_load echo_load(void)
{
	static const struct rk_wire_param params[] = {IN(RK_U8), OUT(RK_U8), DIM};

	return load_of("ring_echo", 3, params);
}

static struct rk_cuda_ring *open_sum(void)
{
	struct rk_wire_load load = sum_load();

	return open_load(&load);
}

static struct rk_cuda_ring *open_echo(void)
{
	struct rk_wire_load load = echo_load();

	return open_load(&load);
}

static void close_ring(struct rk_cuda_ring *ring)
{
	rk_rings_pause(all);
	rk_ring_close(ring);
	rk_rings_resume(all);
}

static int run(struct rk_cuda_ring *ring, const struct rk_backend_arg *args, struct rk_error *err)
{
	const struct rk_backend_run r = {.count = 1, .message = MESSAGE, .args = args};
	uint64_t run_ns = 0;
	int rc = rk_ring_run(ring, &r, &run_ns, err);

	assert_true(rc || run_ns > 0);
	return rc;
}

/* Add @x1 and @x2 to what @ring has, and get it. */
static int try_sum(struct rk_cuda_ring *ring, double x1, double x2, double *total,
		   struct rk_error *err)
{
	double x[2] = {x1, x2};
	unsigned char out[sizeof(*total) + RK_WIRE_GUARD], guard[RK_WIRE_GUARD];
	const struct rk_backend_arg args[] = {{.bytes = 0},
					      {.buffer = x, .bytes = sizeof(x)},
					      {.buffer = out, .bytes = sizeof(*total)},
					      {.value = 2, .bytes = 8}};
	int rc;

	memset(out, RK_WIRE_GUARD_BYTE, sizeof(out));
	memset(guard, RK_WIRE_GUARD_BYTE, sizeof(guard));
	rc = run(ring, args, err);
	memcpy(total, out, sizeof(*total));
	assert_memory_equal(out + sizeof(*total), guard, sizeof(guard));
	return rc;
}

static double sum(struct rk_cuda_ring *ring, double x1, double x2)
{
	struct rk_error err = {0};
	double total;

	if (try_sum(ring, x1, x2, &total, &err))
		fail_msg("%s", err.msg);
	return total;
}

static int try_echo(struct rk_cuda_ring *ring, uint64_t bytes, unsigned int seed,
		    struct rk_error *err)
{
	uint8_t *in = malloc(bytes + 1), *out = calloc(1, bytes + RK_WIRE_GUARD);
	const struct rk_backend_arg args[] = {{.buffer = in, .bytes = bytes},
					      {.buffer = out, .bytes = bytes},
					      {.value = bytes, .bytes = 8}};
	int rc;

	for (uint64_t i = 0; i < bytes; i++)
		in[i] = (uint8_t)(i * 31 + seed);
	rc = run(ring, args, err);
	if (rc == 0)
		assert_memory_equal(out, in, bytes);
	free(in);
	free(out);
	return rc;
}

static void echo(struct rk_cuda_ring *ring, uint64_t bytes, unsigned int seed)
{
	struct rk_error err = {0};

	if (try_echo(ring, bytes, seed, &err))
		fail_msg("%s", err.msg);
}

static void wait_until_gone(void)
{
	while (count("resident"))
		sched_yield();
}

/* --- what ends the worker ------------------------------------------------------------- */

static void illegal_address(void)
{
	static const struct rk_wire_param params[] = {IN(RK_F32), OUT(RK_F32), DIM};
	struct rk_wire_load load = load_of("ring_illegal", 3, params);
	struct rk_cuda_ring *ring = open_load(&load);
	float x[1 + RK_WIRE_GUARD / sizeof(float)] = {0};
	const struct rk_backend_arg args[] = {{.buffer = x, .bytes = sizeof(float)},
					      {.buffer = x, .bytes = sizeof(float)},
					      {.value = 1, .bytes = 8}};
	struct rk_error err;

	atomic_store(&device.messages[0], MESSAGE);
	run(ring, args, &err);
}

static void lost_in_a_pause(void)
{
	struct rk_cuda_ring *ring = open_sum();

	sum(ring, 1, 1);
	triggers("lost\n");
	rk_rings_pause(all);
}

/* The driver does not say any more what the kernel does. */
static void cannot_be_watched(void)
{
	struct rk_cuda_ring *ring = open_sum();

	sum(ring, 1, 1);
	triggers("fail cuStreamQuery CUDA_ERROR_NOT_PERMITTED\n");
	rk_rings_pause(all);
}

static void ends_with_a_fault(void (*what)(void), enum rk_wire_fault_kind kind, const char *text)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		begin(0);
		what();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), RK_WIRE_EXIT_FAULT);
	assert_int_equal(atomic_load(&shared->fault), kind);
	if (!strstr(shared->fault_text, text))
		fail_msg("%s", shared->fault_text);
}

/* First, as it forks: threads of the library would not be in the child. */
TEST(an_error_that_spoils_the_device_ends_the_process)
{
	ends_with_a_fault(illegal_address, RK_WIRE_STICKY,
			  "test/ring_illegal, resident: CUDA_ERROR_ILLEGAL_ADDRESS");
	assert_int_equal(atomic_load(&shared->crashed_message), MESSAGE);
	ends_with_a_fault(lost_in_a_pause, RK_WIRE_DEVICE_LOST, "CUDA_ERROR_DEVICE_UNAVAILABLE");
	assert_int_equal(atomic_load(&shared->crashed_message), 0);
	ends_with_a_fault(cannot_be_watched, RK_WIRE_STICKY, "CUDA_ERROR_NOT_PERMITTED");
}

/* --- tests ---------------------------------------------------------------------------- */

#define RIG_TEST(name)	TEST_WITH(name, set_up, tear_down)
#define TEST_IDLE(name) TEST_WITH(name, set_up_idle, tear_down)

RIG_TEST(one_launch_answers_many_messages_in_order)
{
	uint64_t before = count("ring_launches"), copies = count("copies");
	struct rk_cuda_ring *ring = open_sum();

	for (unsigned int i = 1; i <= 5 * RK_RING_SLOTS; i++)
		assert_true(sum(ring, i, 0.5) == i * (i + 1) / 2.0 + 0.5 * i);
	assert_int_equal(count("ring_launches") - before, 2); /* one of them tries it out */
	assert_int_equal(count("copies"), copies);
	assert_int_equal(count("resident"), 1);
	close_ring(ring);
	assert_int_equal(count("resident"), 0);
}

RIG_TEST(every_ring_begins_with_zeroes)
{
	struct rk_cuda_ring *ring = open_sum(), *other = open_sum();

	assert_true(sum(ring, 1, 2) == 3);
	assert_true(sum(other, 10, 20) == 30);
	assert_true(sum(ring, 4, 0) == 7);
	close_ring(ring);
	ring = open_sum();
	assert_true(sum(ring, 1, 0) == 1);
	assert_true(sum(other, 1, 0) == 31);
	close_ring(ring);
	close_ring(other);
}

RIG_TEST(values_and_guards_come_through)
{
	static const struct rk_wire_param params[] = {
		VALUE(RK_I8),  VALUE(RK_I16),  VALUE(RK_I32), VALUE(RK_I64), VALUE(RK_U8),
		VALUE(RK_U16), VALUE(RK_U32),  VALUE(RK_U64), VALUE(RK_F32), VALUE(RK_F32),
		VALUE(RK_F64), VALUE(RK_BOOL), DIM,	      OUT(RK_F64)};
	static const struct rk_wire_param past[] = {IN(RK_F32), OUT(RK_F32), DIM};
	struct rk_wire_load load = load_of("ring_values", 14, params);
	struct rk_cuda_ring *ring = open_load(&load);
	struct rk_backend_arg args[14] = {{.bytes = 0}};
	double out[13 + RK_WIRE_GUARD / sizeof(double)] = {0};
	float x[2] = {3, 4}, y[2 + RK_WIRE_GUARD / sizeof(float)] = {0}, single = 1.5F;
	struct rk_error err = {0};

	for (unsigned int i = 0; i < 13; i++)
		args[i].value = i + 1;
	args[8].value = args[9].value = 0;
	memcpy(&args[8].value, &single, sizeof(single));
	memcpy(&args[9].value, &single, sizeof(single));
	args[10].value = 0x4004000000000000; /* 2.5 */
	args[13] = (struct rk_backend_arg){.buffer = out, .bytes = 13 * sizeof(double)};
	assert_int_equal(run(ring, args, &err), 0);
	for (unsigned int i = 0; i < 13; i++)
		assert_true(out[i] == (i == 8 || i == 9 ? 1.5 : i == 10 ? 2.5 : i + 1));
	close_ring(ring);

	/* what is written past the end is for the daemon to see */
	load = load_of("ring_overrun", 3, past);
	ring = open_load(&load);
	args[0] = (struct rk_backend_arg){.buffer = x, .bytes = sizeof(x)};
	args[1] = (struct rk_backend_arg){.buffer = y, .bytes = 2 * sizeof(float)};
	args[2] = (struct rk_backend_arg){.value = 2, .bytes = 8};
	assert_int_equal(run(ring, args, &err), 0);
	assert_true(y[0] == 9 && y[1] == 16 && y[2] == 1 && y[3] == 0);
	close_ring(ring);
}

TEST_IDLE(an_idle_kernel_leaves_and_comes_back)
{
	uint64_t before;
	struct rk_cuda_ring *ring = open_sum();

	before = count("ring_launches");
	for (unsigned int i = 1; i <= 20; i++) {
		assert_true(sum(ring, 1, 1) == 2 * i);
		wait_until_gone();
	}
	assert_int_equal(count("ring_launches") - before, 20);
	close_ring(ring);
}

/* It leaves where it finds nothing once: messages come before, while and after it does. */
RIG_TEST(no_message_is_lost_to_an_idle_exit)
{
	struct rk_cuda_ring *ring = open_sum();
	uint64_t before = count("ring_launches");

	ring->shared->idle_ns = 1;
	for (unsigned int i = 1; i <= 4000; i++) {
		for (unsigned int spin = i % 8; spin; spin--)
			sched_yield();
		assert_true(sum(ring, 1, 1) == 2 * i);
	}
	assert_true(count("ring_launches") - before > 100);
	close_ring(ring);
}

RIG_TEST(messages_grow_the_memory)
{
	static const uint64_t sizes[] = {0, 1, 4096, 70000, 65536, 1000000, 0, 1000001, ROOM, 17};
	struct rk_cuda_ring *ring = open_echo(), *other = open_echo();
	uint64_t held = count("host_blocks");

	echo(other, 100, 1);
	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		echo(ring, sizes[i], i);
	assert_int_equal(count("host_blocks"), held);
	echo(other, 100, 2);
	close_ring(ring);
	close_ring(other);
}

RIG_TEST(no_memory_to_grow_is_said)
{
	struct rk_cuda_ring *ring = open_echo();
	struct rk_error err;

	/* 64 KiB for it and its echo is too little: 128 KiB would be comfortable, and fail */
	triggers("once oom_at 1 cuMemHostAlloc\n");
	echo(ring, 40000, 1);
	assert_true(ring->data_bytes < 2 * 65536);
	triggers("oom_at 1 cuMemHostAlloc\noom_at 2 cuMemHostAlloc\n");
	assert_int_equal(try_echo(ring, ROOM, 2, &err), -ENOMEM);
	assert_non_null(strstr(err.msg, "test/ring_echo: cannot pin"));
	assert_non_null(strstr(err.msg, "CUDA_ERROR_OUT_OF_MEMORY"));
	triggers(NULL);
	echo(ring, 40000, 3);
	echo(ring, ROOM, 4);
	close_ring(ring);
}

/* --- beside pauses -------------------------------------------------------------------- */

#define RUNNERS	 2
#define PAUSERS	 2
#define MESSAGES 300U

static atomic_uint running;
static atomic_uint pauses, pausing;

static void *keep_summing(void *ctx)
{
	struct rk_cuda_ring *ring = ctx;

	OK(rk_cu.cuCtxSetCurrent(device.context));
	for (unsigned int i = 1; i <= MESSAGES; i++)
		if (sum(ring, 1, 1) != 2 * i)
			abort();
	atomic_fetch_sub(&running, 1);
	return NULL;
}

static void *keep_growing(void *ctx)
{
	struct rk_cuda_ring *ring = ctx;

	OK(rk_cu.cuCtxSetCurrent(device.context));
	for (unsigned int i = 1; i <= MESSAGES; i++)
		echo(ring, 1000 * i, i);
	atomic_fetch_sub(&running, 1);
	return NULL;
}

/* Does what waits for the whole context, again and again without a rest. */
static void *keep_pausing(void *ctx)
{
	CUdeviceptr at;

	(void)ctx;
	OK(rk_cu.cuCtxSetCurrent(device.context));
	while (atomic_load(&running)) {
		rk_rings_pause(all);
		if (atomic_fetch_add(&pausing, 1) || count("resident"))
			abort();
		OK(rk_cu.cuMemAlloc(&at, 100));
		OK(rk_cu.cuMemFree(at));
		atomic_fetch_sub(&pausing, 1);
		rk_rings_resume(all);
		atomic_fetch_add(&pauses, 1);
	}
	return NULL;
}

static void go_on_beside_pauses(void)
{
	struct rk_cuda_ring *rings[RUNNERS + 1];
	pthread_t threads[RUNNERS + 1 + PAUSERS];
	uint64_t before;
	unsigned int n = 0;

	for (unsigned int i = 0; i < RUNNERS; i++)
		rings[i] = open_sum();
	rings[RUNNERS] = open_echo();
	before = count("ring_launches");
	atomic_store(&running, RUNNERS + 1);
	atomic_store(&pauses, 0);
	for (unsigned int i = 0; i <= RUNNERS; i++)
		assert_int_equal(pthread_create(&threads[n++], NULL,
						i < RUNNERS ? keep_summing : keep_growing,
						rings[i]),
				 0);
	for (unsigned int i = 0; i < PAUSERS; i++)
		assert_int_equal(pthread_create(&threads[n++], NULL, keep_pausing, NULL), 0);
	while (n > 0)
		assert_int_equal(pthread_join(threads[--n], NULL), 0);
	assert_true(atomic_load(&pauses) > 0);
	/* each message is driven off once at most */
	assert_true(count("ring_launches") - before <= 2ULL * (RUNNERS + 1) * MESSAGES);
	for (unsigned int i = 0; i <= RUNNERS; i++)
		close_ring(rings[i]);
}

RIG_TEST(messages_go_on_beside_pauses)
{
	go_on_beside_pauses();
}

TEST_IDLE(messages_go_on_beside_pauses_and_idle_exits)
{
	go_on_beside_pauses();
}

static atomic_bool has_paused;

static void *pause_once(void *ctx)
{
	(void)ctx;
	OK(rk_cu.cuCtxSetCurrent(device.context));
	rk_rings_pause(all);
	atomic_store(&has_paused, true);
	rk_rings_resume(all);
	return NULL;
}

static void *run_wait_for(void *ctx)
{
	uint32_t flag = 0, seen[1 + RK_WIRE_GUARD / sizeof(uint32_t)] = {0};
	const struct rk_backend_arg args[] = {{.buffer = &flag, .bytes = sizeof(flag)},
					      {.buffer = seen, .bytes = sizeof(flag)}};
	struct rk_error err;

	OK(rk_cu.cuCtxSetCurrent(device.context));
	return (void *)(intptr_t)(run(ctx, args, &err) == 0 && seen[0] == 5);
}

RIG_TEST(a_pause_waits_for_the_message_that_runs)
{
	static const struct rk_wire_param params[] = {IN(RK_U32), OUT(RK_U32)};
	struct rk_wire_load load = load_of("ring_wait_for", 2, params);
	struct rk_cuda_ring *ring = open_load(&load);
	unsigned int driven_off = 0;
	pthread_t runner, pauser;
	void *ok;

	assert_int_equal(pthread_create(&runner, NULL, run_wait_for, ring), 0);
	while (!__atomic_load_n(&ring->shared->slots[0].request, __ATOMIC_ACQUIRE) ||
	       count("resident") == 0)
		sched_yield();
	/*
	 * A pause may come before the kernel has taken the message, which is then driven off, once:
	 * the next one waits for it before it raises the flag.
	 */
	for (;;) {
		atomic_store(&has_paused, false);
		assert_int_equal(pthread_create(&pauser, NULL, pause_once, NULL), 0);
		while (!__atomic_load_n(&ring->shared->quiesce, __ATOMIC_ACQUIRE) &&
		       !atomic_load(&has_paused) && !driven_off)
			sched_yield();
		usleep(1000); /* time for a pause that does not wait to be over */
		if (!atomic_load(&has_paused))
			break;
		assert_int_equal(pthread_join(pauser, NULL), 0);
		assert_true(++driven_off < 2);
	}
	/* the kernel reads it where it was copied to */
	__atomic_store_n((uint32_t *)ring->data, 5, __ATOMIC_RELEASE);
	assert_int_equal(pthread_join(runner, &ok), 0);
	assert_int_equal(pthread_join(pauser, NULL), 0);
	assert_true(ok != NULL);
	close_ring(ring);
}

/* --- what goes wrong ------------------------------------------------------------------ */

TEST_IDLE(a_launch_that_fails_fails_its_message_alone)
{
	struct rk_cuda_ring *ring = open_sum();
	struct rk_error err;
	double total;

	assert_true(sum(ring, 1, 1) == 2);
	wait_until_gone();
	triggers("once launch CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES\n");
	assert_int_equal(try_sum(ring, 10, 10, &total, &err), -EIO);
	assert_non_null(strstr(err.msg, "test/ring_sum: cuLaunchKernel"));
	assert_non_null(strstr(err.msg, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES"));
	assert_true(sum(ring, 1, 1) == 4);
	/* nobody is left waiting for that message */
	rk_rings_pause(all);
	rk_rings_resume(all);
	close_ring(ring);
}

RIG_TEST(a_stranger_is_not_launched_for_ever)
{
	static const struct rk_wire_param params[] = {STATE, IN(RK_F64), OUT(RK_F64)};
	static const struct rk_wire_param grid_params[] = {OUT(RK_U32)};
	struct rk_wire_load load = load_of("ring_sum", 3, params);
	struct rk_cuda_ring *ring;
	struct rk_error err;
	double total;

	/* another number of parameters */
	load.state_bytes = sizeof(double);
	ring = open_load(&load);
	assert_int_equal(try_sum(ring, 1, 1, &total, &err), -EIO);
	assert_non_null(strstr(err.msg, "as many parameters as args, 3?"));
	close_ring(ring);
	/* another version, which leaves without a word */
	ring = open_sum();
	ring->shared->version++;
	assert_int_equal(try_sum(ring, 1, 1, &total, &err), -EIO);
	assert_non_null(strstr(err.msg, "built with another ring.cuh?"));
	assert_int_equal(ring->tries, 4);
	ring->shared->version--;
	assert_true(sum(ring, 1, 1) == 2);
	close_ring(ring);
	/* no resident kernel at all */
	load = load_of("grid", 1, grid_params);
	assert_int_equal(try_open(&load, &ring, &err), -EIO);
	assert_non_null(strstr(err.msg, "built with another ring.cuh?"));
}

RIG_TEST(a_block_that_does_not_fit_is_refused)
{
	struct rk_wire_load load = sum_load();
	struct rk_cuda_ring *ring;
	struct rk_error err;

	load.shared_bytes = 1U << 20;
	assert_int_equal(try_open(&load, &ring, &err), -ENOTSUP);
	assert_non_null(strstr(err.msg, "256 threads with 1048576 bytes of shared memory"));
}

RIG_TEST(what_fails_in_open_leaves_nothing)
{
	static const struct {
		const char *what;
		int rc;
	} faults[] = {
		{"once oom_at 1 cuMemHostAlloc\n", -ENOMEM},
		{"once oom_at 2 cuMemHostAlloc\n", -ENOMEM},
		{"once oom_at 1 cuMemAlloc\n", -ENOMEM},
		{"fail cuStreamCreateWithPriority CUDA_ERROR_OUT_OF_MEMORY\n", -ENOMEM},
		{"fail cuMemHostGetDevicePointer CUDA_ERROR_INVALID_VALUE\n", -EIO},
		{"fail cuMemsetD8Async CUDA_ERROR_INVALID_VALUE\n", -EIO},
		{"fail cuOccupancyMaxActiveBlocksPerMultiprocessor CUDA_ERROR_INVALID_VALUE\n",
		 -EIO},
		{"once launch CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES\n", -EIO},
	};
	struct rk_wire_load load = sum_load();
	uint64_t host = count("host_blocks"), blocks = count("device_blocks");
	uint64_t streams = count("streams");
	struct rk_cuda_ring *ring;
	struct rk_error err;

	for (unsigned int i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		triggers(faults[i].what);
		memset(&err, 0, sizeof(err));
		if (try_open(&load, &ring, &err) != faults[i].rc)
			fail_msg("%s: %s", faults[i].what, err.msg);
		assert_non_null(strstr(err.msg, i == 2 ? "test/ring_sum needs 8 bytes on the device"
						       : "kernel test/ring_sum"));
		assert_int_equal(count("host_blocks"), host);
		assert_int_equal(count("device_blocks"), blocks);
		assert_int_equal(count("streams"), streams);
	}
	triggers(NULL);
	ring = open_sum();
	assert_true(sum(ring, 1, 1) == 2);
	close_ring(ring);
}

int main(void)
{
	return unit_run(open_library, close_library);
}
