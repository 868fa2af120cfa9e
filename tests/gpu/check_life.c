/* SPDX-License-Identifier: MIT */
/* From start to Stopped and back, on the GPU; no file system. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "tests/gpu/gpu_test.h"

#define CALLS 12

static void expect_nothing_held(struct gpu_rig *r)
{
	GPU_EXPECT(rk_runtime_gpu_memory(r->rt) == 0, "gpu_memory_bytes is %llu in %s",
		   (unsigned long long)rk_runtime_gpu_memory(r->rt),
		   rk_state_name(rk_runtime_state(r->rt)));
}

/* Where there is a pool it is held from the start on. */
static void expect_held(struct gpu_rig *r)
{
	uint64_t now = rk_runtime_gpu_memory(r->rt), peak = rk_runtime_gpu_memory_peak(r->rt);

	GPU_EXPECT(now > 0, "gpu_memory_bytes is 0 after a message");
	GPU_EXPECT(peak >= now, "gpu_memory_peak_bytes is %llu, gpu_memory_bytes %llu",
		   (unsigned long long)peak, (unsigned long long)now);
}

/* The process that serves now, by its descriptor. */
static int watch_worker(struct gpu_rig *r)
{
	char *event = gpu_wait_event(r, "WorkerStarted", 0);
	const char *at = strstr(event, "\"pid\":");
	int fd;

	GPU_EXPECT(at, "WorkerStarted names no pid: %s", event);
	fd = pidfd_open((pid_t)strtol(at + strlen("\"pid\":"), NULL, 10), 0);
	GPU_EXPECT(fd >= 0, "the worker cannot be watched: %s", strerror(errno));
	free(event);
	return fd;
}

/* Then all that it had of the device is the driver's again. */
static void expect_gone(int worker)
{
	struct pollfd p = {.fd = worker, .events = POLLIN};

	GPU_EXPECT(poll(&p, 1, (int)gpu_options.patience_s * 1000) == 1,
		   "the worker is still there %u s after Stopped", gpu_options.patience_s);
	close(worker);
}

/* --- start ---------------------------------------------------------------------------- */

static bool device_is_known(struct gpu_rig *r, void *arg)
{
	return rk_runtime_device(r->rt, 0, arg);
}

static bool is_checked(struct gpu_rig *r, void *arg)
{
	struct rk_health_report *report = arg;

	rk_runtime_health(r->rt, report);
	return report->passed >= 2 || report->failed > 0;
}

static void run_start(const void *arg)
{
	struct rk_health_report report;
	struct rk_device device = {0};
	struct rk_error error = {0};
	struct gpu_rig r = {0};

	(void)arg;
	gpu_open(&r);
	expect_nothing_held(&r);
	gpu_start(&r, "cuda");
	gpu_vector_add(&r, 100000);
	expect_held(&r);
	GPU_EXPECT(rk_runtime_ready(r.rt), "not ready though it is Running");
	if (rk_runtime_check_now(r.rt, NULL, &error))
		gpu_fail("%s", error.msg);
	gpu_wait(&r, is_checked, &report, "a health check");
	GPU_EXPECT(report.status == RK_HEALTH_HEALTHY && !report.failed, "health: %s",
		   report.reason);
	gpu_wait(&r, device_is_known, &device, "devices/0");
	GPU_EXPECT(device.name[0] && strncmp(device.uuid, "GPU-", 4) == 0,
		   "devices/0 is \"%s\", \"%s\"", device.name, device.uuid);
	gpu_note("%s, healthy, %llu MiB held", device.name,
		 (unsigned long long)(rk_runtime_gpu_memory(r.rt) >> 20));
	gpu_close(&r);
}

/* --- drain, stop, reset --------------------------------------------------------------- */

static void begin_delays(struct gpu_rig *r, struct gpu_call *calls, uint32_t ms)
{
	for (unsigned int i = 0; i < CALLS; i++)
		gpu_delay_begin(r, &calls[i], ms);
}

static void run_drain(const void *arg)
{
	struct gpu_call calls[CALLS];
	struct gpu_rig r = {0};
	int worker;

	(void)arg;
	gpu_open(&r);
	gpu_start(&r, "cuda");
	worker = watch_worker(&r);
	gpu_vector_add(&r, 1000);
	begin_delays(&r, calls, 100); /* four run, the others are queued */
	gpu_command(&r, RK_DRAIN, 3600);
	GPU_EXPECT(rk_runtime_state(r.rt) == RK_DRAINING, "drain does not wait");
	gpu_wait_state(&r, RK_STOPPED);
	for (unsigned int i = 0; i < CALLS; i++) {
		gpu_expect(&calls[i], 0, NULL);
		gpu_call_drop(&calls[i]);
	}
	expect_nothing_held(&r);
	expect_gone(worker);
	GPU_EXPECT(rk_runtime_gpu_memory_peak(r.rt) > 0, "no peak is left of the device memory");
	GPU_EXPECT(gpu_count(&r, RK_COUNT_PROCESSED) == CALLS + 1, "%llu messages were processed",
		   (unsigned long long)gpu_count(&r, RK_COUNT_PROCESSED));
	gpu_note("%d messages in flight, all answered; gpu_memory_bytes 0", CALLS);
	gpu_close(&r);
}

/* The kernels take an hour: only the end of the worker ends them. */
static void run_stop(const void *arg)
{
	struct gpu_call calls[CALLS];
	struct gpu_rig r = {0};
	int worker;

	(void)arg;
	gpu_open(&r);
	gpu_start(&r, "cuda");
	worker = watch_worker(&r);
	begin_delays(&r, calls, 3600 * 1000);
	gpu_command(&r, RK_STOP, -1);
	gpu_wait_state(&r, RK_STOPPED);
	for (unsigned int i = 0; i < CALLS; i++) {
		gpu_expect(&calls[i], ECANCELED, NULL);
		gpu_call_drop(&calls[i]);
	}
	expect_nothing_held(&r);
	expect_gone(worker);
	gpu_command(&r, RK_RESET, -1);
	gpu_start(&r, "cuda");
	gpu_vector_add(&r, 1000);
	gpu_note("%d messages of an hour each cancelled; the next start works", CALLS);
	gpu_close(&r);
}

static void run_deadline(const void *arg)
{
	struct gpu_call calls[CALLS];
	struct gpu_rig r = {0};
	int worker;

	(void)arg;
	gpu_open(&r);
	gpu_start(&r, "cuda");
	worker = watch_worker(&r);
	begin_delays(&r, calls, 3600 * 1000);
	gpu_command(&r, RK_DRAIN, 1);
	gpu_wait_state(&r, RK_STOPPED);
	for (unsigned int i = 0; i < CALLS; i++) {
		gpu_expect(&calls[i], ECANCELED, NULL);
		gpu_call_drop(&calls[i]);
	}
	expect_nothing_held(&r);
	expect_gone(worker);
	gpu_note("%d messages of an hour each cancelled after 1 s", CALLS);
	gpu_close(&r);
}

static void run_reset(const void *arg)
{
	const unsigned int cycles = gpu_options.small ? 2 : 5;
	struct gpu_rig r = {0};

	(void)arg;
	gpu_open(&r);
	for (unsigned int i = 0; i < cycles; i++) {
		gpu_start(&r, "cuda");
		gpu_vector_add(&r, 4096 + i);
		expect_held(&r);
		GPU_EXPECT(gpu_count(&r, RK_COUNT_PROCESSED) == 1,
			   "%llu messages since the reset, not 1",
			   (unsigned long long)gpu_count(&r, RK_COUNT_PROCESSED));
		gpu_command(&r, i % 2 ? RK_STOP : RK_DRAIN, i % 2 ? -1 : 60);
		gpu_wait_state(&r, RK_STOPPED);
		expect_nothing_held(&r);
		gpu_command(&r, RK_RESET, -1);
	}
	gpu_note("%u times start, call, end, reset", cycles);
	gpu_close(&r);
}

/* --- no such device ------------------------------------------------------------------- */

#define NO_DEVICE "cuda_device=1000"

static bool has_failed(struct gpu_rig *r, void *arg)
{
	(void)arg;
	return rk_runtime_state(r->rt) == RK_FAILED;
}

static void run_no_device(const void *arg)
{
	char why[RK_ERROR_MAX];
	struct gpu_rig r = {0};

	(void)arg;
	gpu_open(&r, NO_DEVICE);
	gpu_command(&r, RK_START, -1);
	gpu_wait(&r, has_failed, NULL, "Failed");
	rk_runtime_failure(r.rt, why);
	GPU_EXPECT(strstr(why, "1000"), "the sentence does not name the device: %s", why);
	gpu_note("Failed: %s", why);
	gpu_close(&r);
}

static void run_fallback(const void *arg)
{
	struct gpu_rig r = {0};
	char *event;

	(void)arg;
	gpu_open(&r, NO_DEVICE, "fallback_backend=cpu");
	gpu_start(&r, "cpu");
	event = gpu_wait_event(&r, "BackendFallback", 0);
	GPU_EXPECT(strstr(event, "1000"), "the event does not say why: %s", event);
	free(event);
	gpu_note("runs on the CPU, and an event says why");
	gpu_close(&r);
}

static const struct gpu_test tests[] = {
	{"lifecycle", "start", "start, a message, health, devices/0", "Running on cuda, healthy",
	 run_start, NULL},
	{"lifecycle", "drain", "drain with messages in flight",
	 "all answered, Stopped, gpu_memory_bytes 0", run_drain, NULL},
	{"lifecycle", "deadline", "a drain whose deadline comes",
	 "ECANCELED, Stopped, gpu_memory_bytes 0", run_deadline, NULL},
	{"lifecycle", "stop", "stop with messages in flight, reset, start",
	 "ECANCELED, Stopped, gpu_memory_bytes 0", run_stop, NULL},
	{"lifecycle", "reset", "start, call, drain or stop, reset, again and again",
	 "gpu_memory_bytes 0 each time, counters anew", run_reset, NULL},
	{"lifecycle", "no-device", "a cuda_device that is not there",
	 "Failed, with a sentence that names it", run_no_device, NULL},
	{"lifecycle", "fallback", "the same with fallback_backend = cpu",
	 "Running on cpu, with an event", run_fallback, NULL},
};

const struct gpu_test *gpu_life_tests(size_t *count)
{
	*count = ARRAY_SIZE(tests);
	return tests;
}
