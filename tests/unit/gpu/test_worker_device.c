/* SPDX-License-Identifier: MIT */
/* A worker with a device: a backend called cuda of this file, beside the real one for the CPU. */
#include <sched.h>
#include <time.h>

#include "gpu/backend.h"
#include "gpu/base/crash.h"
#include "gpu/base/packet.h"
#include "gpu/cpu/backend_cpu.h"
#include "tests/unit/gpu/worker_peer.h"

#define MANY	 64 /* messages in one run */
#define SCALAR	 0x5A
#define HEAD_LEN offsetof(struct rk_wire_run, args)

/* Shown to the test through the shared page: what the device was last told to run. */
#define NOTE_COUNT gpu_memory_peak_bytes

static int answers[2]; /* a pipe: one byte ends each check */
static struct rk_wire_shared *device_page;

static int device_open(const struct rk_backend_env *env, void **backend, struct rk_error *err)
{
	if (strcmp(env->device->device, "gone") == 0)
		return rk_error_set(err, ENODEV, "no device %s", env->device->device);
	device_page = env->shared;
	atomic_fetch_add(&env->shared->gpu_memory_bytes, 1);
	*backend = NULL;
	return 0;
}

static void device_close(void *backend)
{
	(void)backend;
	atomic_fetch_sub(&device_page->gpu_memory_bytes, 1);
}

static int device_load(void *backend, const struct rk_wire_load *load, int library_fd,
		       void **kernel, struct rk_error *err)
{
	struct rk_wire_load *copy = malloc(sizeof(*copy));

	(void)backend;
	if (library_fd >= 0 || !copy) {
		free(copy);
		return rk_error_set(err, ENOTSUP, "not for this device");
	}
	*copy = *load;
	*kernel = copy;
	return 0;
}

static void device_unload(void *backend, void *kernel)
{
	(void)backend;
	free(kernel);
}

/* (input u8, scalar u32, output u8, dim): every byte plus the scalar, message by message. */
static void add_scalar(const struct rk_backend_run *run)
{
	for (unsigned int m = 0; m < run->count; m++) {
		const struct rk_backend_arg *row = run->args + 4 * (size_t)m;
		const uint8_t *in = row[0].buffer;
		uint8_t *out = row[2].buffer;

		for (uint64_t i = 0; i < row[3].value; i++)
			out[i] = (uint8_t)(in[i] + row[1].value);
	}
}

static int device_run(void *backend, void *kernel, const struct rk_backend_run *run,
		      uint64_t *run_ns, struct rk_error *err)
{
	const struct rk_wire_load *load = kernel;

	(void)backend;
	atomic_store(&device_page->NOTE_COUNT, run->count);
	if (strcmp(load->entry, "fail") == 0)
		return rk_error_set(err, EIO, "it broke");
	if (strcmp(load->entry, "fatal") == 0)
		rk_fatal(device_page, RK_WIRE_STICKY, run->message, "error %d of %s", 700,
			 load->id);
	add_scalar(run);
	*run_ns = run->grid[0] + 100 * run->grid[1] + 10000 * run->grid[2];
	return 0;
}

static int device_check(void *backend, struct rk_error *err)
{
	char answer = 0;

	(void)backend;
	while (read(answers[0], &answer, 1) < 0)
		;
	if (answer == 's')
		rk_fatal(device_page, RK_WIRE_DEVICE_LOST, 0, "lost");
	return answer == 'o' ? 0 : rk_error_set(err, EIO, "the device is upset");
}

static const struct rk_backend_ops device_ops = {
	.fuses = true,
	.driver = 1 + RK_WIRE_LIBCUDA,
	.open = device_open,
	.close = device_close,
	.load = device_load,
	.unload = device_unload,
	.run = device_run,
	.check = device_check,
};

/* In place of the one of gpu/backend.c. */
int rk_backend_find(enum rk_wire_backend backend, const struct rk_backend_ops **ops,
		    struct rk_error *err)
{
	(void)err;
	*ops = backend == RK_WIRE_CUDA ? &device_ops : &rk_backend_cpu;
	return 0;
}

/* The pipe first: the worker has it too. */
static int setup_device(void **state)
{
	return pipe(answers) ? -1 : setup(state);
}

static int teardown_device(void **state)
{
	close(answers[0]);
	close(answers[1]);
	return teardown(state);
}

static void answer(char c)
{
	assert_int_equal(write(answers[1], &c, 1), 1);
}

static struct rk_wire_shared read_shared(const struct peer *p)
{
	struct rk_wire_shared shared;

	assert_int_equal(pread(p->shared_fd, (void *)&shared, sizeof(shared), 0), sizeof(shared));
	return shared;
}

static void hello_device(struct peer *p)
{
	struct rk_wire_control ready = hello(p, "cuda", "cpu");

	assert_int_equal(ready.status, 0);
	assert_string_equal(ready.ready.backend, "cuda");
	assert_string_equal(ready.ready.fallback_why, "");
}

static const struct signature add = {"add", 4, {IN(RK_U8), VALUE(RK_U32), OUT(RK_U8), DIM}};

static struct rk_wire_control make_device_load(uint32_t slot, const char *entry)
{
	struct rk_wire_control packet = make_load(slot, &add);

	packet.load.backend = RK_WIRE_CUDA;
	packet.load.params[3].fused = 1;
	for (int i = 0; i < RK_WIRE_AXES; i++)
		packet.load.block[i] = 1;
	snprintf(packet.load.entry, sizeof(packet.load.entry), "%s", entry);
	return packet;
}

static void load_device(struct peer *p, uint32_t slot, const char *entry)
{
	assert_int_equal(load_packet(p, make_device_load(slot, entry)).status, 0);
}

/* A run of @count messages, message m of which has m + 1 bytes, in and out in blocks of 256. */
struct several {
	union {
		struct rk_wire_run run;
		unsigned char bytes[RK_WIRE_RUN_MAX];
	};
	size_t len;
};

static struct rk_wire_more *more_of(struct several *s, uint32_t m)
{
	return (void *)(s->bytes + RUN_LEN(s->run) +
			(m - 1) * (sizeof(struct rk_wire_more) +
				   s->run.nargs * sizeof(struct rk_wire_arg)));
}

static void make_row(struct rk_wire_arg *row, uint32_t m)
{
	uint64_t at = m * 512;

	row[0] = (struct rk_wire_arg){at, m + 1};
	row[1] = (struct rk_wire_arg){SCALAR, 4};
	row[2] = (struct rk_wire_arg){at + 256, m + 1};
	row[3] = (struct rk_wire_arg){m + 1, 8};
}

static void make_several(struct several *s, uint32_t count)
{
	memset(s, 0, sizeof(*s));
	s->run = (struct rk_wire_run){.id = 1000,
				      .slot = 3,
				      .kernel = SLOT,
				      .nargs = 4,
				      .nmore = count - 1,
				      .grid = {1, 2, 3}};
	make_row(s->run.args, 0);
	for (uint32_t m = 1; m < count; m++) {
		more_of(s, m)->id = 1000 + m;
		make_row(more_of(s, m)->args, m);
	}
	s->len = (size_t)((unsigned char *)more_of(s, count) - s->bytes);
}

#define DEVICE_TEST(name) TEST_WITH(name, setup_device, teardown_device)

DEVICE_TEST(both_backends)
{
	struct peer *p = *state;
	struct rk_wire_run run = {
		.kernel = SLOT + 1, .nargs = 3, .args = {{0, 5}, {64, 5}, {5, 8}}};
	struct several s;

	hello_device(p);
	load_device(p, SLOT, "add");
	load(p, SLOT + 1, &echo);
	memcpy(p->payload, "hello", 5);
	assert_int_equal(run_one(p, &run).status, 0);
	assert_memory_equal(p->payload + 64, "hello", 5);
	make_several(&s, 1);
	assert_int_equal(run_one(p, &s.run).run_ns, 30201);
	assert_int_equal(p->payload[256], 'h' + SCALAR);
	assert_int_equal(read_shared(p).gpu_memory_bytes, 1);
}

DEVICE_TEST(fallback)
{
	struct peer *p = *state;
	struct rk_wire_control packet = make_hello("cuda", "cpu");

	strcpy(packet.hello.device.device, "gone");
	send_packet(p->control, &packet, sizeof(packet));
	recv_answer(p, &packet, RK_WIRE_READY);
	assert_int_equal(packet.status, 0);
	assert_string_equal(packet.ready.backend, "cpu");
	assert_string_equal(packet.ready.fallback_why, "backend cuda: no device gone");
	load(p, SLOT + 1, &echo);
	packet = make_device_load(SLOT, "add");
	send_packet(p->control, &packet, sizeof(packet));
	expect_exit(p, RK_WIRE_EXIT_PROTOCOL);
	assert_non_null(strstr(p->last_log, "backend 1 is not here"));
}

/* All answers of a run, in any order. */
static void expect_answers(struct peer *p, uint32_t count, int status, const char *text)
{
	uint64_t seen = 0;

	for (uint32_t m = 0; m < count; m++) {
		struct rk_wire_done done = recv_done(p);

		assert_int_equal(done.slot, 3);
		assert_int_equal(done.status, status);
		assert_string_equal(done.text, text);
		assert_in_range(done.id, 1000, 1000 + count - 1);
		seen |= 1ULL << (done.id - 1000);
	}
	assert_true(seen == UINT64_MAX >> (64 - count));
}

DEVICE_TEST(several_as_one)
{
	struct peer *p = *state;
	struct several s;

	hello_device(p);
	load_device(p, SLOT, "add");
	load_device(p, SLOT + 1, "fail");
	for (uint32_t i = 0; i < MANY * 512; i++)
		p->payload[i] = (uint8_t)(i * 7);
	make_several(&s, MANY);
	send_packet(p->messages, &s, s.len);
	expect_answers(p, MANY, 0, "");
	assert_int_equal(read_shared(p).NOTE_COUNT, MANY);
	for (uint32_t m = 0; m < MANY; m++) {
		const uint8_t *in = p->payload + 512 * m, *out = in + 256;

		for (uint32_t i = 0; i <= m; i++)
			assert_int_equal(out[i], (uint8_t)(in[i] + SCALAR));
		assert_int_equal(out[m + 1], (uint8_t)((512 * m + 257 + m) * 7));
	}
	s.run.kernel++;
	send_packet(p->messages, &s, s.len);
	expect_answers(p, MANY, EIO, "it broke");
}

/* A packet as long as they come. */
DEVICE_TEST(longest_packet)
{
	const uint32_t count = 1 + (RK_WIRE_RUN_MAX - HEAD_LEN - 64) / (8 + 64);
	struct peer *p = *state;
	struct several s;

	hello_device(p);
	load_device(p, SLOT, "add");
	make_several(&s, MANY);
	s.run.nmore = count - 1;
	for (uint32_t m = MANY; m < count; m++)
		memcpy(more_of(&s, m), more_of(&s, 1), 8 + 64);
	send_packet(p->messages, &s,
		    (size_t)((unsigned char *)(more_of(&s, count - 1) + 1) - s.bytes) + 64);
	for (uint32_t m = 0; m < count; m++)
		assert_int_equal(recv_done(p).status, 0);
	assert_int_equal(read_shared(p).NOTE_COUNT, count);
}

typedef void spoil_fn(struct several *s, struct rk_wire_control *load);

#define SPOIL(name, ...)                                                                           \
	static void name(struct several *s, struct rk_wire_control *load)                          \
	{                                                                                          \
		(void)s;                                                                           \
		(void)load;                                                                        \
		__VA_ARGS__;                                                                       \
	}

SPOIL(scalar_differs, more_of(s, 2)->args[1].value++)
SPOIL(scalar_size, more_of(s, 2)->args[1].bytes = 8)
SPOIL(dim_differs, load->load.params[3].fused = 0)
SPOIL(not_fused, load->load.params[3].fused = 0;
      for (uint32_t m = 1; m < 3; m++) more_of(s, m)->args[3].value = 1)
SPOIL(outside, more_of(s, 2)->args[0].value = PAYLOAD_BYTES)
SPOIL(guard_outside, more_of(s, 1)->args[2].value = PAYLOAD_BYTES - RK_WIRE_GUARD)
SPOIL(grid_none, s->run.grid[2] = 0)
SPOIL(too_few, s->run.nmore++)
SPOIL(too_many, s->run.nmore--)
SPOIL(cut, s->len -= 8)
SPOIL(other_nargs, s->run.nargs--)

DEVICE_TEST(bad_runs)
{
	static spoil_fn *const spoils[] = {
		scalar_differs, scalar_size, dim_differs, not_fused, outside,	  guard_outside,
		grid_none,	too_few,     too_many,	  cut,	     other_nargs,
	};
	struct peer *p = *state;

	for (size_t i = 0; i < ARRAY_SIZE(spoils); i++) {
		struct rk_wire_control packet = make_device_load(SLOT, "add");
		struct several s;

		hello_device(p);
		make_several(&s, 3);
		more_of(&s, 1)->args[1].value |= 1ULL << 32; /* beyond the scalar's bytes */
		load_device(p, SLOT + 1, "add");
		s.run.kernel++;
		send_packet(p->messages, &s, s.len);
		expect_answers(p, 3, 0, ""); /* it is good as it is */
		s.run.kernel--;
		spoils[i](&s, &packet);
		assert_int_equal(load_packet(p, packet).status, 0);
		send_packet(p->messages, &s, s.len);
		expect_exit(p, RK_WIRE_EXIT_PROTOCOL);
		assert_non_null(strstr(p->last_log, "protocol error: "));
		reap(p);
		spawn(p, sizeof(struct rk_wire_shared), F_SEAL_SHRINK);
	}
}

DEVICE_TEST(bad_block)
{
	struct rk_wire_control packet = make_device_load(SLOT, "add");

	hello_device(*state);
	packet.load.block[1] = 0;
	send_packet(((struct peer *)*state)->control, &packet, sizeof(packet));
	expect_exit(*state, RK_WIRE_EXIT_PROTOCOL);
}

DEVICE_TEST(fatal)
{
	struct peer *p = *state;
	struct rk_wire_shared shared;
	struct several s;

	hello_device(p);
	load_device(p, SLOT, "fatal");
	make_several(&s, 3);
	send_packet(p->messages, &s, s.len);
	expect_exit(p, RK_WIRE_EXIT_FAULT);
	shared = read_shared(p);
	assert_int_equal(shared.fault, RK_WIRE_STICKY);
	assert_string_equal(shared.fault_text, "error 700 of test/add");
	assert_int_equal(shared.crashed_message, 1000);
}

static void wait_in_driver(const struct peer *p)
{
	time_t end = time(NULL) + PATIENCE_SECS;

	while (!read_shared(p).in_driver_since_ns && time(NULL) < end)
		sched_yield();
	assert_true(read_shared(p).in_driver_since_ns != 0);
}

/* A check that hangs holds up nothing, and is answered by the newest that came meanwhile. */
DEVICE_TEST(check)
{
	struct peer *p = *state;
	struct rk_wire_control in;
	struct timespec now;
	struct several s;
	uint64_t since;

	hello_device(p);
	assert_int_equal(read_shared(p).in_driver_since_ns, 0);
	send_check(p, 1);
	wait_in_driver(p);
	since = read_shared(p).in_driver_since_ns;
	clock_gettime(CLOCK_MONOTONIC, &now);
	assert_true(since <= (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec);
	load_device(p, SLOT, "add");
	make_several(&s, 2);
	send_packet(p->messages, &s, s.len);
	expect_answers(p, 2, 0, "");
	send_check(p, 2);
	send_check(p, 3);
	assert_int_equal(unload(p, SLOT).status, 0); /* they have arrived */
	answer('o');
	answer('f');
	recv_answer(p, &in, RK_WIRE_CHECKED);
	assert_int_equal(in.check.number, 3);
	assert_int_equal(in.status, EIO);
	assert_string_equal(in.text, "the device is upset");
	assert_int_equal(read_shared(p).in_driver_since_ns, 0);
	send_check(p, 4);
	answer('o');
	recv_answer(p, &in, RK_WIRE_CHECKED);
	assert_int_equal(in.check.number, 4);
	assert_int_equal(in.status, 0);
	assert_string_equal(in.text, "");
	send_check(p, 5);
	answer('s');
	expect_exit(p, RK_WIRE_EXIT_FAULT);
	assert_int_equal(read_shared(p).fault, RK_WIRE_DEVICE_LOST);
	assert_int_equal(read_shared(p).crashed_message, 0);
}

static void say_shutdown(struct peer *p)
{
	struct rk_wire_control packet = {.version = RK_WIRE_VERSION, .type = RK_WIRE_SHUTDOWN};

	send_packet(p->control, &packet, sizeof(packet));
}

DEVICE_TEST(shutdown)
{
	struct peer *p = *state;

	hello_device(p);
	load_device(p, SLOT, "add"); /* left loaded */
	say_shutdown(p);
	expect_exit(p, 0);
	assert_int_equal(read_shared(p).gpu_memory_bytes, 0);
}

/* The device cannot be given back under a check that is in the driver. */
DEVICE_TEST(shutdown_in_check)
{
	struct peer *p = *state;

	hello_device(p);
	send_check(p, 1);
	wait_in_driver(p);
	say_shutdown(p);
	expect_exit(p, RK_WORKER_EXIT_FAILURE);
	assert_non_null(strstr(p->last_log, "does not return from a health check"));
	assert_int_equal(read_shared(p).gpu_memory_bytes, 1);
}
