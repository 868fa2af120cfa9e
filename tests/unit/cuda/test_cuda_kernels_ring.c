/* SPDX-License-Identifier: MIT */
/*
 * gpu/kernels/ring.cuh and the resident kernels, run as C++ by tests/cuda_emu, with the host of
 * gpu/kernels/ring.h played here.
 */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/kernels/kernels.h"
#include "gpu/kernels/ring.h"
#include "tests/cuda_emu/cuda_emu.h"
#include "tests/cuda_emu/kernels.h"
#include "tests/unit/unit.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct host {
	struct rk_ring *ring;
	const char *entry;
	uint32_t blocks, threads;
	uint64_t launch, next; /* next: the first message without an answer */
	uint64_t posted;       /* messages */
	pthread_t device;
};

static struct host make_host(const char *entry, uint32_t threads, uint64_t nargs)
{
	struct host h = {.entry = entry, .blocks = 1, .threads = threads};

	h.ring = calloc(1, sizeof(*h.ring));
	assert_non_null(h.ring);
	h.ring->version = RK_RING_VERSION;
	h.ring->nargs = nargs;
	return h;
}

static void *run_device(void *arg)
{
	struct host *h = arg;
	int rc = rk_emu_launch(h->entry, (uint32_t[]){h->blocks, 1, 1},
			       (uint32_t[]){h->threads, 1, 1}, 0,
			       (void *[]){&h->ring, &h->launch, &h->next});

	return rc ? h : NULL;
}

static void start(struct host *h)
{
	h->launch++;
	assert_int_equal(pthread_create(&h->device, NULL, run_device, h), 0);
}

/* Wait until the kernel has returned. */
static void join(struct host *h)
{
	void *failed;

	assert_int_equal(pthread_join(h->device, &failed), 0);
	assert_null(failed);
}

static void quiesce(struct host *h)
{
	__atomic_store_n(&h->ring->quiesce, 1, __ATOMIC_RELEASE);
	join(h);
	assert_int_equal(__atomic_load_n(&h->ring->exited, __ATOMIC_ACQUIRE), h->launch);
	h->ring->quiesce = 0;
}

static void post(struct host *h, const uint64_t *args, size_t nargs)
{
	struct rk_ring_slot *slot = &h->ring->slots[h->posted % RK_RING_SLOTS];

	memcpy(slot->args, args, nargs * sizeof(*args));
	__atomic_store_n(&slot->request, ++h->posted, __ATOMIC_RELEASE);
}

static bool is_answered(const struct host *h, uint64_t message)
{
	return __atomic_load_n(&h->ring->answers[message % RK_RING_SLOTS], __ATOMIC_ACQUIRE) ==
	       message + 1;
}

static void wait_answer(struct host *h)
{
	while (!is_answered(h, h->next))
		sched_yield();
	h->next++;
}

static uint64_t word(const void *at)
{
	return (uint64_t)(uintptr_t)at;
}

/* --- the loop -------------------------------------------------------------- */

static uint64_t bits_of_float(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static uint64_t bits_of_double(double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

struct recording {
	struct host host;
	struct emu_record state;
	uint32_t in[RK_RING_SLOTS];
	uint64_t out[RK_RING_SLOTS];
};

static struct recording *make_recording(uint32_t threads)
{
	struct recording *r = calloc(1, sizeof(*r));

	assert_non_null(r);
	r->host = make_host("emu_record", threads, 7);
	return r;
}

static void free_recording(struct recording *r)
{
	free(r->host.ring);
	free(r);
}

/* The upper bytes of small values are not for the kernel to look at. */
static void record(struct recording *r)
{
	uint64_t s = r->host.posted, junk = 0xabcdef0000000000;

	r->in[s % RK_RING_SLOTS] = (uint32_t)(s * 7);
	r->out[s % RK_RING_SLOTS] = 0;
	post(&r->host,
	     (uint64_t[]){junk | (s & 0xff), junk | (uint16_t)(int16_t) - (int64_t)(s % 1000),
			  junk << 4 | bits_of_float((float)s), bits_of_double((double)s / 3),
			  word(&r->in[s % RK_RING_SLOTS]), word(&r->out[s % RK_RING_SLOTS]),
			  word(&r->state)},
	     7);
}

static void expect_record(struct recording *r)
{
	uint64_t s = r->host.next;

	wait_answer(&r->host);
	assert_int_equal(r->out[s % RK_RING_SLOTS], s * r->host.threads + (uint32_t)(s * 7));
}

/* The state as message @s, the last one, has left it. */
static void expect_state(const struct recording *r, uint64_t s)
{
	assert_int_equal(r->state.calls, s + 1);
	assert_int_equal(r->state.a, s & 0xff);
	assert_int_equal(r->state.b, -(int64_t)(s % 1000));
	assert_true(r->state.c == (float)s);
	assert_true(r->state.d == (double)s / 3);
}

/* As many in the ring as @window allows; @messages in all. */
static void stream(struct recording *r, uint64_t messages, uint64_t window)
{
	uint64_t end = r->host.posted + messages;

	while (r->host.next < end) {
		while (r->host.posted < end && r->host.posted - r->host.next < window)
			record(r);
		expect_record(r);
	}
}

TEST(messages)
{
	static const uint32_t threads[] = {1, 7, 31, 32, 33, EMU_RECORD_THREADS};
	static const uint64_t windows[] = {1, 5, 33, RK_RING_SLOTS};

	for (size_t i = 0; i < COUNT(threads); i++)
		for (size_t j = 0; j < COUNT(windows); j++) {
			struct recording *r = make_recording(threads[i]);

			start(&r->host);
			stream(r, 300, windows[j]);
			quiesce(&r->host);
			expect_state(r, 299);
			free_recording(r);
		}
}

/* What was posted before the start, a full ring of it, and the next start goes on. */
TEST(launches)
{
	struct recording *r = make_recording(33);

	for (int i = 0; i < 5; i++) {
		for (int j = 0; j < RK_RING_SLOTS; j++)
			record(r);
		start(&r->host);
		for (int j = 0; j < RK_RING_SLOTS; j++)
			expect_record(r);
		stream(r, 3, 2);
		quiesce(&r->host);
		expect_state(r, r->host.posted - 1);
	}
	free_recording(r);
}

/* With the flag up nothing is run any more; what is there is for the next launch. */
TEST(quiesce_first)
{
	struct recording *r = make_recording(33);

	record(r);
	r->host.ring->quiesce = 1;
	start(&r->host);
	quiesce(&r->host);
	assert_false(is_answered(&r->host, 0));
	assert_int_equal(r->state.calls, 0);
	start(&r->host);
	expect_record(r);
	quiesce(&r->host);
	free_recording(r);
}

TEST(idle)
{
	struct recording *r = make_recording(33);

	r->host.ring->idle_ns = 2000000;
	record(r);
	start(&r->host);
	expect_record(r);
	join(&r->host); /* by itself */
	assert_int_equal(r->host.ring->exited, 1);
	start(&r->host);
	join(&r->host);
	assert_int_equal(r->host.ring->exited, 2);
	free_recording(r);
}

/* The second message is there and the first is not. */
TEST(gap)
{
	struct recording *r = make_recording(33);

	r->host.ring->idle_ns = 1000000;
	record(r);
	record(r);
	r->host.ring->slots[0].request = 0;
	start(&r->host);
	join(&r->host);
	assert_int_equal(r->state.calls, 0);
	r->host.ring->slots[0].request = 1;
	start(&r->host);
	expect_record(r);
	expect_record(r);
	join(&r->host);
	free_recording(r);
}

/* A slot with the number of a message from a former round is not the next message. */
TEST(old_requests)
{
	struct recording *r = make_recording(33);

	start(&r->host);
	stream(r, RK_RING_SLOTS + 3, 1);
	quiesce(&r->host);
	r->host.ring->idle_ns = 1000000;
	start(&r->host);
	join(&r->host);
	expect_state(r, RK_RING_SLOTS + 2);
	free_recording(r);
}

TEST(refuses)
{
	struct recording *r = make_recording(33);

	record(r);
	/* the layout is another one then: nothing of it is touched */
	r->host.ring->version = RK_RING_VERSION + 1;
	start(&r->host);
	join(&r->host);
	assert_int_equal(r->host.ring->exited, 0);
	r->host.ring->version = RK_RING_VERSION;
	r->host.ring->nargs = 6;
	start(&r->host);
	join(&r->host);
	assert_int_equal(r->host.ring->exited, 2);
	assert_false(is_answered(&r->host, 0));
	assert_int_equal(r->state.calls, 0);
	free_recording(r);
}

/* One block serves a ring; others return. */
TEST(more_blocks)
{
	struct recording *r = make_recording(33);

	r->host.blocks = 3;
	start(&r->host);
	stream(r, 10, 4);
	quiesce(&r->host);
	expect_state(r, 9);
	free_recording(r);
}

/* --- the kernels ----------------------------------------------------------- */

TEST(echo)
{
	static const uint64_t sizes[] = {0, 1, 16, 33, 5000};
	struct host h = make_host("ring_echo", 64, 3);
	uint8_t in[5000], out[5000];

	start(&h);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		for (uint64_t j = 0; j < sizes[i]; j++)
			in[j] = (uint8_t)(j * 7 + i);
		memset(out, 0xee, sizeof(out));
		post(&h, (uint64_t[]){word(in), word(out), sizes[i]}, 3);
		wait_answer(&h);
		assert_memory_equal(in, out, sizes[i]);
		assert_true(sizes[i] == sizeof(out) || out[sizes[i]] == 0xee);
	}
	quiesce(&h);
	free(h.ring);
}

struct moments {
	uint64_t count;
	double mean, variance;
};

/* gpu/kernels/nan.h */
static void check_nan(double x)
{
	uint64_t bits;

	memcpy(&bits, &x, sizeof(bits));
	assert_true(!isnan(x) || bits == 0x7FF8000000000000ULL);
}

static void check_moments(struct host *h, struct rk_running_stats *device,
			  struct rk_running_stats *cpu, const double *x, uint64_t n)
{
	struct moments got, want;
	double most = 1;

	for (uint64_t i = 0; i < n; i++)
		most = fmax(most, fabs(x[i]));
	post(h,
	     (uint64_t[]){word(x), word(device), word(&got.count), word(&got.mean),
			  word(&got.variance), n},
	     6);
	rk_kernel_running_stats(x, cpu, &want.count, &want.mean, &want.variance, n);
	wait_answer(h);
	assert_int_equal(got.count, want.count);
	if (isnan(want.variance)) {
		assert_true(!isfinite(got.mean) || !isfinite(got.variance));
		check_nan(got.mean);
		check_nan(got.variance);
		return;
	}
	assert_true(fabs(got.mean - want.mean) <= 1e-14 * most);
	assert_true(fabs(got.variance - want.variance) <= 1e-14 * most * most);
}

TEST(running_stats)
{
	static const uint64_t sizes[] = {0, 1, 0, 2, 3, 31, 32, 33, 100, 1, 1, 999};
	struct host h = make_host("running_stats", 33, 6);
	struct rk_running_stats device = {0}, cpu = {0};
	double x[999];

	start(&h);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		/* far from 0, where the naive formula fails */
		for (uint64_t j = 0; j < sizes[i]; j++)
			x[j] = 1e4 + (double)((j * 7919 + i * 31) % 1000) / 1000;
		check_moments(&h, &device, &cpu, x, sizes[i]);
	}
	assert_true(cpu.n == 1203);
	x[0] = INFINITY;
	check_moments(&h, &device, &cpu, x, 1);
	x[0] = 1;
	check_moments(&h, &device, &cpu, x, 1);
	x[0] = -NAN; /* from here on there is nothing else */
	check_moments(&h, &device, &cpu, x, 1);
	check_moments(&h, &device, &cpu, x, 0);
	quiesce(&h);
	free(h.ring);
}
