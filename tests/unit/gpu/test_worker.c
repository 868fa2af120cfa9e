/* SPDX-License-Identifier: MIT */
/* A worker driven over its sockets as the daemon does it. */
#include <linux/futex.h>
#include <math.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include "tests/unit/gpu/worker_peer.h"

#define NSEC_PER_MSEC 1000000ULL
#define PAYLOAD_END   (PAYLOAD_BYTES - RK_WIRE_GUARD) /* for an output */

static void wait_exit_zero(struct peer *p)
{
	int found;

	assert_int_equal(waitpid(p->pid, &found, 0), p->pid);
	p->pid = 0;
	assert_true(WIFEXITED(found));
	assert_int_equal(WEXITSTATUS(found), 0);
}

static void say_shutdown(struct peer *p)
{
	struct rk_wire_control packet = {.version = RK_WIRE_VERSION, .type = RK_WIRE_SHUTDOWN};

	send_packet(p->control, &packet, sizeof(packet));
}

static struct rk_wire_run make_delay(uint64_t id, uint32_t ms)
{
	return (struct rk_wire_run){
		.id = id,
		.slot = (uint32_t)id % (THREADS + 1),
		.kernel = SLOT,
		.nargs = 2,
		.args = {{ms, sizeof(ms)}, {id * RK_WIRE_ALIGN, sizeof(uint32_t)}}};
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 * NSEC_PER_MSEC + (uint64_t)t.tv_nsec;
}

RIG_TEST(shutdown)
{
	struct peer *p = *state;

	hello_cpu(p);
	load(p, SLOT, &echo); /* left loaded */
	say_shutdown(p);
	expect_exit(p, 0);
}

RIG_TEST(shutdown_before_hello)
{
	say_shutdown(*state);
	expect_exit(*state, 0);
}

/* What was sent before the shutdown runs and is answered. */
RIG_TEST(shutdown_finishes_messages)
{
	struct peer *p = *state;
	unsigned int seen = 0;

	hello_cpu(p);
	load(p, SLOT, &delay);
	for (uint64_t i = 0; i < 2 * THREADS; i++) {
		struct rk_wire_run run = make_delay(i, 50);

		send_run(p, &run);
	}
	say_shutdown(p);
	for (unsigned int i = 0; i < 2 * THREADS; i++) {
		struct rk_wire_done done = recv_done(p);

		assert_int_equal(done.status, 0);
		assert_int_equal(done.slot, done.id % (THREADS + 1));
		seen |= 1U << done.id;
	}
	assert_int_equal(seen, (1U << (2 * THREADS)) - 1);
	expect_exit(p, 0);
}

RIG_TEST(control_eof)
{
	struct peer *p = *state;

	hello_cpu(p);
	close(p->control);
	p->control = -1;
	wait_exit_zero(p);
}

RIG_TEST(messages_eof)
{
	struct peer *p = *state;

	hello_cpu(p);
	close(p->messages);
	p->messages = -1;
	wait_exit_zero(p);
}

/* The daemon's death does not wait for a kernel. */
RIG_TEST(eof_while_running)
{
	struct peer *p = *state;
	struct rk_wire_run run = make_delay(1, UINT32_MAX);
	struct rk_wire_run marker = make_delay(2, 0);

	hello_cpu(p);
	load(p, SLOT, &delay);
	send_run(p, &run);
	send_run(p, &marker);
	assert_int_equal(recv_done(p).id, 2);
	close(p->control);
	p->control = -1;
	wait_exit_zero(p);
}

/* A hello for a backend that cannot be had. */
static struct rk_wire_control hello_cuda(struct peer *p, const char *fallback)
{
	struct rk_wire_control packet = make_hello("cuda", fallback);

	strcpy(packet.hello.device.device, "GPU-00000000-0000-0000-0000-000000000000");
	send_packet(p->control, &packet, sizeof(packet));
	recv_answer(p, &packet, RK_WIRE_READY);
	return packet;
}

/* Why not, in words that say whether it is the build. */
static void expect_no_cuda(const char *text)
{
	const char *why = strstr(text, "backend cuda: ");
	const char *build = "this build has no CUDA backend; it was built without nvcc";

	assert_non_null(why);
#ifdef RK_HAVE_CUDA
	assert_null(strstr(why, build));
#else
	assert_non_null(strstr(why, build));
#endif
}

RIG_TEST(fallback)
{
	struct rk_wire_control ready = hello_cuda(*state, "cpu");

	assert_int_equal(ready.status, 0);
	assert_string_equal(ready.ready.backend, "cpu");
	expect_no_cuda(ready.ready.fallback_why);
	load(*state, SLOT, &echo);
}

RIG_TEST(no_fallback)
{
	struct rk_wire_control ready = hello_cuda(*state, "");

	assert_int_equal(ready.status, ENODEV);
	expect_no_cuda(ready.text);
	assert_string_equal(ready.ready.backend, "");
	say_shutdown(*state);
	expect_exit(*state, 0);
}

RIG_TEST(no_such_backend)
{
	struct rk_wire_control ready = hello_cuda(*state, "abacus");

	assert_int_equal(ready.status, EINVAL);
	assert_non_null(strstr(ready.text, "abacus"));
	expect_no_cuda(ready.text);
}

RIG_TEST(echo)
{
	struct peer *p = *state;
	struct rk_wire_run run = {.id = UINT64_MAX,
				  .slot = THREADS,
				  .kernel = SLOT,
				  .nargs = 3,
				  .args = {{64, 5}, {PAYLOAD_END - 5, 5}, {5, 8}}};

	hello_cpu(p);
	load(p, SLOT, &echo);
	memcpy(p->payload + 64, "hello", 5);
	assert_int_equal(run_one(p, &run).status, 0);
	assert_memory_equal(p->payload + PAYLOAD_END - 5, "hello", 5);
	/* nothing, at the very end */
	run.args[0] = (struct rk_wire_arg){PAYLOAD_BYTES, 0};
	run.args[1] = (struct rk_wire_arg){PAYLOAD_END, 0};
	run.args[2].value = 0;
	assert_int_equal(run_one(p, &run).status, 0);
}

RIG_TEST(vector_add)
{
	struct peer *p = *state;
	const uint64_t n = 1000, bytes = n * sizeof(float);
	float *a = (float *)p->payload, *b = a + 1024, *c = b + 1024;
	struct rk_wire_run run = {
		.id = 9,
		.kernel = RK_WIRE_KERNELS_MAX - 1,
		.nargs = 4,
		.args = {{0, bytes}, {4096, bytes}, {8192, bytes}, {n, sizeof(n)}}};

	hello_cpu(p);
	load(p, RK_WIRE_KERNELS_MAX - 1, &vector_add);
	for (uint64_t i = 0; i < n; i++) {
		a[i] = (float)i;
		b[i] = 0.5F * (float)i - 3;
	}
	c[n] = 42;
	assert_int_equal(run_one(p, &run).status, 0);
	for (uint64_t i = 0; i < n; i++)
		assert_true(c[i] == 1.5F * (float)i - 3);
	assert_true(c[n] == 42);
}

static double sum_of(struct peer *p, uint64_t n)
{
	struct rk_wire_run run = {
		.id = n,
		.kernel = SLOT,
		.nargs = 3,
		.args = {{64, n * sizeof(float)}, {0, sizeof(double)}, {n, sizeof(n)}}};

	*(double *)p->payload = -1;
	assert_int_equal(run_one(p, &run).status, 0);
	return *(double *)p->payload;
}

RIG_TEST(reduce_sum)
{
	struct peer *p = *state;
	float *x = (float *)(p->payload + 64);

	hello_cpu(p);
	load(p, SLOT, &reduce_sum);
	for (uint64_t i = 0; i < 100000; i++)
		x[i] = (float)(i + 1);
	/* around every internal boundary: n(n+1)/2 is exact in double */
	for (uint64_t n = 0; n < 600; n++)
		assert_true(sum_of(p, n) == (double)(n * (n + 1) / 2));
	assert_true(sum_of(p, 100000) == 5000050000.0);
	for (uint64_t i = 0; i < 100000; i++)
		x[i] = 0.1F; /* 24 significant bits */
	assert_true(fabs(sum_of(p, 100000) - (double)0.1F * 100000) < 1e-9);
	x[7] = INFINITY;
	assert_true(isinf(sum_of(p, 100000)));
	x[300] = -INFINITY;
	assert_true(isnan(sum_of(p, 100000)));
}

/* Four at a time take less than the four times they took. */
RIG_TEST(delay_concurrent)
{
	struct peer *p = *state;
	uint64_t start, busy = 0;

	hello_cpu(p);
	load(p, SLOT, &delay);
	start = now_ns();
	for (uint64_t i = 0; i < THREADS; i++) {
		struct rk_wire_run run = make_delay(i, 300);

		send_run(p, &run);
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		struct rk_wire_done done = recv_done(p);
		uint32_t waited_ms;

		memcpy(&waited_ms, p->payload + done.id * RK_WIRE_ALIGN, sizeof(waited_ms));
		assert_int_equal(done.status, 0);
		assert_true(done.run_ns >= 300 * NSEC_PER_MSEC);
		assert_true(waited_ms >= 300 && waited_ms <= done.run_ns / NSEC_PER_MSEC);
		busy += done.run_ns;
	}
	assert_true(now_ns() - start < busy);
}

/*
 * What comes in one packet runs in its order, and is answered together where it is short. True
 * where that was so.
 */
static bool run_several(struct peer *p)
{
	char packet[RK_WIRE_RUN_MAX];
	bool together = false;
	size_t len = 0;

	for (uint64_t i = 1; i <= 40; i++) {
		struct rk_wire_run run = make_delay(i, i == 20);

		run.slot = 2;
		memcpy(packet + len, &run, RUN_LEN(run));
		len += RUN_LEN(run);
	}
	send_packet(p->messages, packet, len);
	for (uint64_t i = 1; i <= 40; i++) {
		assert_int_equal(recv_done(p).id, i);
		together |= p->next < p->left;
		if (i == 20) /* it took a millisecond: the others are not kept waiting */
			assert_int_equal(p->next, p->left);
	}
	assert_int_equal(p->next, p->left);
	return together;
}

RIG_TEST(several_runs)
{
	struct peer *p = *state;
	unsigned int tries = 0;

	hello_cpu(p);
	load(p, SLOT, &delay);
	while (!run_several(p)) /* a loaded machine takes its time for each */
		assert_true(++tries < 1000);
}

/* A delay ends when the daemon says that its message was cancelled, before it runs or meanwhile. */
RIG_TEST(delay_cancelled)
{
	struct peer *p = *state;
	struct rk_wire_run run[2] = {make_delay(1, UINT32_MAX), make_delay(2, UINT32_MAX)};
	struct rk_wire_run marker = make_delay(3, 0);
	struct rk_wire_shared *shared =
		mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, p->shared_fd, 0);

	assert_ptr_not_equal(shared, MAP_FAILED);
	hello_cpu(p);
	load(p, SLOT, &delay);
	atomic_store(&shared->cancelled[1], 1);
	send_run(p, &run[0]);
	assert_int_equal(recv_done(p).id, 1);
	send_run(p, &run[1]);
	send_run(p, &marker);
	assert_int_equal(recv_done(p).id, 3);
	atomic_store(&shared->cancelled[2], 1); /* another message, of the same slot */
	syscall(SYS_futex, &shared->cancelled[2], FUTEX_WAKE, 1, NULL, NULL, 0);
	send_run(p, &marker);
	assert_int_equal(recv_done(p).id, 3);
	atomic_store(&shared->cancelled[2], 2);
	syscall(SYS_futex, &shared->cancelled[2], FUTEX_WAKE, 1, NULL, NULL, 0);
	assert_int_equal(recv_done(p).id, 2);
	munmap(shared, sizeof(*shared));
}

/* One more than it was told to run at once, which a probe may be, waits for none of them. */
RIG_TEST(spare_thread)
{
	struct peer *p = *state;

	hello_cpu(p);
	load(p, SLOT, &delay);
	for (uint64_t i = 0; i < THREADS; i++) {
		struct rk_wire_run run = make_delay(i, UINT32_MAX);

		send_run(p, &run);
	}
	for (unsigned int i = 0; i < 3; i++) {
		struct rk_wire_run probe = make_delay(RK_WIRE_PROBE | i, 0);

		send_run(p, &probe);
		assert_true(recv_done(p).id == (RK_WIRE_PROBE | i));
	}
	close(p->control);
	p->control = -1;
	wait_exit_zero(p);
}

RIG_TEST(load_refused)
{
	struct peer *p = *state;
	struct rk_wire_control packet;

	hello_cpu(p);
	packet = make_load(SLOT, &echo);
	strcpy(packet.load.entry, "sort");
	packet = load_packet(p, packet);
	assert_int_equal(packet.status, ENOENT);
	assert_non_null(strstr(packet.text, "'sort'"));
	assert_non_null(strstr(packet.text, "echo, vector_add, reduce_sum, delay"));

	packet = make_load(SLOT, &echo);
	strcpy(packet.load.entry, "vector_add");
	packet = load_packet(p, packet);
	assert_int_equal(packet.status, EINVAL);
	assert_non_null(strstr(packet.text, "(input f32, input f32, output f32, dim)"));

	packet = make_load(SLOT, &vector_add);
	packet.load.params[1].dtype = RK_F64;
	assert_int_equal(load_packet(p, packet).status, EINVAL);
	load(p, SLOT, &echo); /* the slot is still free */
}

RIG_TEST(unload)
{
	struct peer *p = *state;
	struct rk_wire_run run = make_delay(1, 0);
	struct rk_wire_control packet;
	struct rk_wire_done done;

	hello_cpu(p);
	assert_int_equal(unload(p, SLOT).status, ENODEV);
	done = run_one(p, &run);
	assert_int_equal(done.status, ENODEV);
	assert_non_null(strstr(done.text, "slot 7 is not loaded"));
	load(p, SLOT, &delay);
	assert_int_equal(run_one(p, &run).status, 0);
	/* the answer says that the kernel is no longer in use */
	packet = unload(p, SLOT);
	assert_int_equal(packet.status, 0);
	assert_string_equal(packet.text, "");
	assert_int_equal(run_one(p, &run).status, ENODEV);
	load(p, SLOT, &echo);
}

RIG_TEST(unload_while_running)
{
	struct peer *p = *state;
	struct rk_wire_run longer = make_delay(1, UINT32_MAX), marker = make_delay(2, 0);
	struct rk_wire_control packet;

	hello_cpu(p);
	load(p, SLOT, &delay);
	for (;;) {
		send_run(p, &longer);
		assert_int_equal(run_one(p, &marker).status, 0);
		packet = unload(p, SLOT);
		if (packet.status)
			break;
		/* A thread has the message but did not look the kernel up yet: it finds none. */
		assert_int_equal(recv_done(p).status, ENODEV);
		load(p, SLOT, &delay);
	}
	assert_int_equal(packet.status, EBUSY);
	assert_non_null(strstr(packet.text, "test/delay"));
	assert_int_equal(run_one(p, &marker).status, 0);
}

RIG_TEST(log_level)
{
	struct peer *p = *state;

	hello_cpu(p);
	assert_string_equal(p->last_log, ""); /* at info */
	send_settings(p, RK_LOG_DEBUG, false, 1000);
	load(p, SLOT, &echo);
	assert_non_null(strstr(p->last_log, "loaded test/echo in slot 7"));
}

/* One running_stats message: @n numbers, and the three answers. */
static struct rk_wire_run make_stats(uint64_t n)
{
	return (struct rk_wire_run){
		.id = 3,
		.kernel = SLOT,
		.nargs = 6,
		.args = {{0, n * sizeof(double)}, {0, 0}, {4096, 8}, {4224, 8}, {4352, 8}, {n, 8}}};
}

static void expect_stats(struct peer *p, uint64_t n, double first, uint64_t count, double mean,
			 double variance)
{
	struct rk_wire_run run = make_stats(n);
	double *x = (double *)p->payload;
	uint64_t found;

	for (uint64_t i = 0; i < n; i++)
		x[i] = first + (double)i;
	assert_int_equal(run_one(p, &run).status, 0);
	memcpy(&found, p->payload + 4096, sizeof(found));
	assert_int_equal(found, count);
	memcpy(x, p->payload + 4224, sizeof(*x));
	assert_true(isnan(mean) ? isnan(*x) : *x == mean);
	memcpy(x, p->payload + 4352, sizeof(*x));
	assert_true(isnan(variance) ? isnan(*x) : *x == variance);
}

/* The state of a ring kernel stays until it is unloaded, and begins as zeroes. */
RIG_TEST(ring_state)
{
	struct peer *p = *state;
	struct rk_wire_control packet = make_ring_load(SLOT, &running_stats, 24);

	hello_cpu(p);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(load_packet(p, packet).status, 0);
		expect_stats(p, 0, 0, 0, (double)NAN, (double)NAN);
		expect_stats(p, 2, 1, 2, 1.5, 0.25);
		expect_stats(p, 3, 3, 5, 3, 2);
		expect_stats(p, 0, 0, 5, 3, 2);
		assert_int_equal(unload(p, SLOT).status, 0);
	}
}

RIG_TEST(ring_refused)
{
	struct peer *p = *state;
	struct rk_wire_control packet = make_ring_load(SLOT, &running_stats, 23);

	hello_cpu(p);
	packet = load_packet(p, packet);
	assert_int_equal(packet.status, EINVAL);
	assert_non_null(strstr(packet.text, "running_stats needs a state of 24 bytes"));
	packet = make_ring_load(SLOT, &running_stats, UINT64_MAX);
	packet = load_packet(p, packet);
	assert_int_equal(packet.status, ENOMEM);
	assert_non_null(strstr(packet.text, "18446744073709551615 bytes"));
	packet = make_ring_load(SLOT, &running_stats, 24);
	packet.load.params[1] = (struct rk_wire_param)OUT(RK_U8);
	packet = load_packet(p, packet);
	assert_int_equal(packet.status, EINVAL);
	assert_non_null(strstr(packet.text, "(input f64, state, output u64,"));
	packet = make_ring_load(SLOT, &ring_echo, 0);
	assert_int_equal(load_packet(p, packet).status, 0);
}

/* There is no device that could not answer. */
RIG_TEST(check)
{
	struct peer *p = *state;
	struct rk_wire_control in;

	hello_cpu(p);
	for (uint64_t number = UINT64_MAX; number > UINT64_MAX - 3; number--) {
		send_check(p, number);
		recv_answer(p, &in, RK_WIRE_CHECKED);
		assert_int_equal(in.status, 0);
		assert_int_equal(in.check.number, number);
	}
}
