/* SPDX-License-Identifier: MIT */
/* Health checks against a worker that answers them as a test says. */
#include "runtime/base/clock.h"
#include "tests/unit/health/health_rig.h"

#define RIG_TEST(name) TEST_WITH(name, setup, teardown)

/* --- the start --- */

RIG_TEST(start)
{
	struct rk_counts counts;
	struct rig r;

	open_health(&r);
	expect_report(&r, RK_HEALTH_UNKNOWN, "the runtime is Created");
	expect_counts(&r, 0, 0, 0);
	assert_true(rk_runtime_live(r.rt));
	rig_start(&r);
	expect_report(&r, RK_HEALTH_HEALTHY, "ok");
	expect_counts(&r, 1, 0, 0);
	expect_end(&r, 0, "healthy", "passed", "ok");
	assert_true(seq_of(&r, "HealthCheckCompleted") < seq_of(&r, "Started"));
	assert_int_equal(atomic_load(&knobs->checks), 1);
	assert_int_equal(atomic_load(&knobs->echoes), 1);
	/* it is in no statistics */
	rk_dispatch_snapshot(rk_runtime_dispatch(r.rt), NULL, &counts);
	for (unsigned int i = 0; i < RK_COUNTER_COUNT; i++)
		assert_int_equal(counts.count[i], 0);
	assert_int_equal(counts.in_flight, 0);
	rig_command(&r, RK_STOP);
	expect_report(&r, RK_HEALTH_UNKNOWN, "the runtime is Stopped");
	expect_counts(&r, 1, 0, 0);
	rig_command(&r, RK_RESET);
	expect_counts(&r, 0, 0, 0);
	rig_start(&r);
	expect_counts(&r, 1, 0, 0);
	rig_close(&r);
}

static void expect_failed_start(struct rig *r, const char *why)
{
	char text[RK_ERROR_MAX];

	rig_command(r, RK_START);
	rig_wait_state(r, RK_FAILED);
	rk_runtime_failure(r->rt, text);
	assert_non_null(strstr(text, "the first health check failed: "));
	assert_non_null(strstr(text, why));
	rk_runtime_status(r->rt, 0, text);
	assert_non_null(strstr(text, why));
	assert_false(rk_runtime_live(r->rt));
	expect_report(r, RK_HEALTH_UNHEALTHY, why);
	expect_counts(r, 0, 1, 0);
	wait_no_children();
	assert_null(rig_find_event(r, "Started", 0));
}

/* Whatever is wrong at the first check: Failed with the sentence; and reset and start recover. */
RIG_TEST(bad_first)
{
	static const struct {
		enum answer check, echo;
		const char *why;
	} cases[] = {
		{WRONG, RIGHT, "the device does not answer: cuMemGetInfo: CUDA_ERROR_UNKNOWN"},
		{RIGHT, WRONG, "core/echo answered with other bytes than it was sent"},
		{SILENT, RIGHT, "the worker does not answer"},
		{RIGHT, SILENT, "core/echo has not answered for "},
		{RIGHT, DEADLY, "exited with status 3"}, /* the echo tells first, or the death */
		{DEADLY, RIGHT, "exited with status 3"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rig r;

		atomic_store(&knobs->check, cases[i].check);
		atomic_store(&knobs->echo, cases[i].echo);
		open_health(&r, "health_check_timeout=250ms");
		expect_failed_start(&r, cases[i].why);
		atomic_store(&knobs->check, RIGHT);
		atomic_store(&knobs->echo, RIGHT);
		rig_command(&r, RK_RESET);
		rig_start(&r);
		expect_report(&r, RK_HEALTH_HEALTHY, "ok");
		rig_close(&r);
	}
}

/* The worker tells nobody what it receives: look again and again. */
static void until_checks(unsigned int n)
{
	uint64_t end = rk_now_ns() + PATIENCE_SECS * RK_NS_PER_SEC;

	while (atomic_load(&knobs->checks) != n) {
		if (rk_now_ns() > end)
			fail_msg("%u checks instead of %u", atomic_load(&knobs->checks), n);
		sched_yield();
	}
}

/* A stop while the first check is under way: it is of no interest any more, nor is its start. */
RIG_TEST(stop_while_starting)
{
	struct rig r;

	open_health(&r, "health_check_timeout=1h");
	for (unsigned int i = 0; i < 2; i++) {
		atomic_store(&knobs->check, SILENT);
		atomic_store(&knobs->echo, i ? SILENT : RIGHT);
		rig_command(&r, RK_START);
		until_checks(2 * i + 1);
		expect_report(&r, RK_HEALTH_UNKNOWN, "the first health check has not ended yet");
		rig_expect_state(&r, RK_STARTING);
		rig_command(&r, RK_STOP);
		expect_report(&r, RK_HEALTH_UNKNOWN, "the runtime is Stopped");
		expect_counts(&r, 0, 0, 0);
		atomic_store(&knobs->check, RIGHT);
		atomic_store(&knobs->echo, RIGHT);
		rig_command(&r, RK_RESET);
		rig_start(&r);
		expect_counts(&r, 1, 0, 0);
		rig_command(&r, RK_STOP);
		rig_command(&r, RK_RESET);
	}
	atomic_store(&knobs->check, SILENT);
	atomic_store(&knobs->echo, SILENT);
	rig_command(&r, RK_START);
	until_checks(5);
	rig_close(&r); /* with a probe under way */
}

static void start_anew(struct rig *r)
{
	json_t *event = rig_find_event(r, "HealthCheckCompleted", 0);

	if (!event)
		return;
	json_decref(event);
	r->on_event = NULL;
	atomic_store(&knobs->check, SILENT);
	rig_command(r, RK_STOP);
	rig_command(r, RK_RESET);
	rig_command(r, RK_START);
}

/* A first check that has ended just when a stop, a reset and a start come says nothing of those. */
RIG_TEST(overtaken)
{
	for (unsigned int i = 0; i < 2; i++) {
		unsigned int before = atomic_load(&knobs->checks);
		struct rig r;

		atomic_store(&knobs->check, i ? WRONG : RIGHT);
		open_health(&r, "health_check_timeout=1h");
		r.on_event = start_anew;
		rig_command(&r, RK_START);
		until_checks(before +
			     2); /* of the second start: the first one is over and done with */
		rig_expect_state(&r, RK_STARTING);
		assert_null(rig_find_event(&r, "Started", 0));
		assert_null(rig_find_event(&r, "Failed", 0));
		expect_counts(&r, 0, 0, 0);
		atomic_store(&knobs->check, RIGHT);
		rig_wait_state(&r, RK_RUNNING);
		expect_counts(&r, 1, 0, 0);
		rig_close(&r);
	}
}

/* --- conclusions --- */

RIG_TEST(thresholds)
{
	struct rig r;

	open_health(&r, "health_failure_threshold=3", "health_success_threshold=2");
	rig_start(&r);
	atomic_store(&knobs->echo, WRONG);
	check_now(&r, "degraded", "failed", "other bytes");
	expect_report(&r, RK_HEALTH_DEGRADED, "other bytes");
	atomic_store(&knobs->check, WRONG); /* a row is one of any failures */
	atomic_store(&knobs->echo, RIGHT);  /* or its answer may come first, and name the reason */
	check_now(&r, "degraded", "failed", "the device does not answer");
	check_now(&r, "unhealthy", "failed", "the device does not answer");
	expect_report(&r, RK_HEALTH_UNHEALTHY, "the device does not answer");
	assert_true(rk_runtime_live(r.rt));
	atomic_store(&knobs->check, RIGHT);
	check_now(&r, "unhealthy", "passed", "the device does not answer");
	expect_report(&r, RK_HEALTH_UNHEALTHY, "the device does not answer");
	check_now(&r, "healthy", "passed", "ok");
	expect_report(&r, RK_HEALTH_HEALTHY, "ok");
	atomic_store(&knobs->echo, WRONG); /* the row begins anew */
	check_now(&r, "degraded", "failed", "other bytes");
	expect_counts(&r, 3, 4, 0);
	rig_expect_state(&r, RK_RUNNING);
	rig_close(&r);
}

/* The only thread runs something else, and more waits for it: a probe has a lane of its own. */
RIG_TEST(busy_threads)
{
	struct call c[3];
	struct rig r;

	open_health(&r, "health_failure_threshold=1");
	rig_start(&r);
	for (size_t i = 0; i < ARRAY_SIZE(c); i++)
		call_delay(&r, &c[i], 1);
	for (unsigned int i = 0; i < 3; i++)
		check_now(&r, "healthy", "passed", "ok");
	expect_report(&r, RK_HEALTH_HEALTHY, "ok");
	expect_counts(&r, 4, 0, 0);
	assert_int_equal(atomic_load(&knobs->others), 1);
	atomic_store(&knobs->others_run, true);
	for (size_t i = 0; i < ARRAY_SIZE(c); i++)
		call_expect(&c[i], 0);
	rig_close(&r);
}

/* It has the echo, and other messages: the device answers, and is busy with those. */
RIG_TEST(busy_device)
{
	struct rig r;
	struct call c;

	open_health(&r, "health_check_timeout=250ms", "health_failure_threshold=1");
	rig_start(&r);
	call_delay(&r, &c, 1);
	atomic_store(&knobs->echo, SILENT);
	check_now(&r, "healthy", "overdue", "the device is busy");
	expect_report(&r, RK_HEALTH_HEALTHY, "ok");
	atomic_store(&knobs->check, WRONG); /* whatever it is busy with */
	check_now(&r, "unhealthy", "failed", "the device does not answer");
	atomic_store(&knobs->check, RIGHT);
	check_now(&r, "healthy", "overdue", "the device is busy");
	atomic_store(&knobs->others_run, true);
	call_expect(&c, 0);
	check_now(&r, "unhealthy", "failed", "core/echo has not answered"); /* with what? */
	atomic_store(&knobs->echo, RIGHT);
	check_now(&r, "healthy", "passed", "ok");
	expect_counts(&r, 2, 2, 2);
	rig_close(&r);
}

/* A check that does not come back from the driver waits for kernels, while answers come. */
RIG_TEST(busy_driver)
{
	struct rig r;
	struct call c;

	open_health(&r, "health_check_timeout=250ms", "health_failure_threshold=1",
		    "health_stall_timeout=1h");
	rig_start(&r);
	call_delay(&r, &c, 1);
	atomic_store(&knobs->echo, SILENT);
	atomic_store(&knobs->hangs, 2);
	for (unsigned int i = 0; i < 2; i++)
		check_now(&r, "healthy", "overdue", "the device is busy: its check has taken ");
	expect_report(&r, RK_HEALTH_HEALTHY, "ok");
	expect_counts(&r, 1, 0, 2);
	atomic_store(&knobs->others_run, true);
	call_expect(&c, 0); /* its worker was not given up */
	atomic_store(&knobs->echo, RIGHT);
	check_now(&r, "healthy", "passed", "ok");
	rig_close(&r);
}

/* No answer for longer than the stated time, and the check does not come back. */
RIG_TEST(stalled_driver)
{
	struct rig r;
	struct call c;

	open_health(&r, "health_check_timeout=250ms", "health_failure_threshold=1",
		    "health_stall_timeout=100ms");
	rig_start(&r);
	call_delay(&r, &c, 1);
	atomic_store(&knobs->echo, SILENT);
	check_now(&r, "healthy", "overdue", "the device is busy"); /* its own check passes */
	atomic_store(&knobs->hangs, 1);
	check_now(&r, "unhealthy", "failed", "the driver hangs: the device's check has not");
	call_expect(&c, EIO);
	rig_close(&r);
}

RIG_TEST(silent_worker)
{
	struct rig r;

	open_health(&r, "health_check_timeout=250ms", "health_failure_threshold=2");
	rig_start(&r);
	atomic_store(&knobs->check, SILENT);
	check_now(&r, "degraded", "failed", "the worker does not answer");
	check_now(&r, "unhealthy", "failed", "the worker does not answer");
	atomic_store(&knobs->check, RIGHT);
	check_now(&r, "healthy", "passed", "ok");
	assert_null(rig_find_event(&r, "WorkerDied", 0)); /* it was not given up */
	rig_close(&r);
}

/* An echo that does not come back is waited for, not sent again and again. */
RIG_TEST(silent_echo)
{
	struct rig r;

	open_health(&r, "health_check_timeout=250ms");
	rig_start(&r);
	atomic_store(&knobs->echo, SILENT);
	check_now(&r, "degraded", "failed", "core/echo has not answered for ");
	check_now(&r, "degraded", "failed", "core/echo has not answered for ");
	assert_int_equal(atomic_load(&knobs->echoes), 2);
	assert_int_equal(atomic_load(&knobs->checks), 3);
	atomic_store(&knobs->echo, RIGHT);
	check_now(&r, "healthy", "passed", "ok");
	atomic_store(&knobs->echo, SILENT);
	check_now(&r, "degraded", "failed", "core/echo has not answered");
	rig_drain(&r, 86400); /* it holds up no drain */
	rig_expect_state(&r, RK_STOPPED);
	rig_close(&r);
}

/* --- workers that go --- */

/* Given up at the threshold, with its worker; the next one is well. */
RIG_TEST(driver_hangs)
{
	struct rig r;
	uint64_t from;

	open_health(&r, "health_check_timeout=250ms", "health_failure_threshold=2");
	rig_start(&r);
	from = rig_now(&r);
	atomic_store(&knobs->hangs, 2);
	check_now(&r, "degraded", "failed", "the driver hangs: the device's check has not");
	assert_null(rig_find_event(&r, "WorkerDied", from));
	check_now(&r, "unhealthy", "failed", "the driver hangs: ");
	json_t *died = rig_wait_event(&r, "WorkerDied", from);

	expect_field(died, "how", "was replaced: the driver hangs: the device's check");
	json_decref(died);
	(void)rig_worker_pid(&r, from);
	from = expect_end(&r, from, "degraded", "failed", "");
	from = expect_end(&r, from, "unhealthy", "failed", "");
	expect_end(&r, from, "healthy", "passed", "ok"); /* at once, without being asked */
	rig_close(&r);
}

static bool is_healthy(struct rig *r, void *arg)
{
	struct rk_health_report report;

	(void)arg;
	rk_runtime_health(r->rt, &report);
	return report.status == RK_HEALTH_HEALTHY;
}

/* Degraded from the death until a check of the next one has passed. */
RIG_TEST(worker_dies)
{
	struct rig r;
	uint64_t from;

	open_health(&r);
	rig_start(&r);
	from = rig_now(&r);
	atomic_store(&knobs->check, SILENT);
	assert_int_equal(kill(rig_worker_pid(&r, 0), SIGKILL), 0);
	(void)rig_worker_pid(&r, from);
	until_checks(2);
	expect_report(&r, RK_HEALTH_DEGRADED, "the worker was killed by SIGKILL");
	atomic_store(&knobs->check, RIGHT);
	expect_end(&r, from, "healthy", "passed", "ok");
	rig_wait(&r, is_healthy, NULL, "health");
	/* with a check under way: that one has failed */
	from = rig_now(&r);
	atomic_store(&knobs->check, SILENT);
	assert_int_equal(rk_runtime_check_now(r.rt, NULL, NULL), 0);
	until_checks(3);
	assert_int_equal(kill(rig_worker_pid(&r, seq_of(&r, "WorkerDied")), SIGKILL), 0);
	expect_end(&r, from, "degraded", "failed", "the worker was killed by SIGKILL");
	rig_close(&r);
}

/* --- the rest --- */

RIG_TEST(disabled_echo)
{
	struct rk_kernel *k;
	struct rig r;

	open_health(&r);
	rig_start(&r);
	k = rig_kernel(&r, "echo");
	rk_runtime_enable(r.rt, k, false, NULL);
	rk_kernel_unref(k);
	json_decref(rig_wait_event(&r, "KernelDeactivated", 0));
	check_now(&r, "healthy", "passed", "ok");
	assert_int_equal(atomic_load(&knobs->echoes), 1);
	assert_int_equal(atomic_load(&knobs->checks), 2);
	atomic_store(&knobs->check, WRONG);
	check_now(&r, "degraded", "failed", "the device does not answer");
	rig_close(&r);
}

RIG_TEST(interval)
{
	const struct rk_config_field *field = rk_config_find("health_check_interval");
	struct rk_error err = {0};
	struct rig r;
	uint64_t from;

	open_health(&r);
	rig_start(&r);
	from = rig_now(&r);
	if (rk_runtime_config_set(r.rt, field, "100ms", NULL, &err))
		fail_msg("%s", err.msg);
	for (unsigned int i = 0; i < 3; i++)
		from = expect_end(&r, from, "healthy", "passed", "ok");
	rig_close(&r);
}

RIG_TEST(refused)
{
	struct rk_error err = {0};
	struct rig r;

	open_health(&r);
	assert_int_equal(rk_runtime_check_now(r.rt, NULL, &err), -EBUSY);
	assert_string_equal(err.msg, "check: the runtime is Created: write start first");
	rig_start(&r);
	rig_command(&r, RK_STOP);
	assert_int_equal(rk_runtime_check_now(r.rt, NULL, &err), -EBUSY);
	assert_non_null(strstr(err.msg, "the runtime is Stopped"));
	expect_counts(&r, 1, 0, 0);
	rig_close(&r);
}

static unsigned int count_events(struct rig *r, const char *name)
{
	unsigned int n = 0;
	json_t *event;
	uint64_t from = 0;

	while ((event = rig_find_event(r, name, from))) {
		from = (uint64_t)json_integer_value(json_object_get(event, "seq")) + 1;
		json_decref(event);
		n++;
	}
	return n;
}

/* A loss is told once, by each start, and another device's too. */
RIG_TEST(device_lost)
{
	struct rk_device device;
	struct rig r;

	atomic_store(&knobs->ndevices, 2);
	open_health(&r, "gpu_enabled=yes");
	assert_false(rk_runtime_device(r.rt, 0, &device));
	rig_start(&r);
	check_now(&r, "healthy", "passed", "ok");
	assert_true(rk_runtime_device(r.rt, 1, &device));
	assert_string_equal(device.name, "Fake 1");
	assert_int_equal(device.memory_total_bytes, 1001);
	assert_false(device.lost);
	assert_false(rk_runtime_device(r.rt, 2, &device));
	atomic_store(&knobs->lost, 2);
	check_now(&r, "degraded", "passed", "device 1 (Fake 1) is lost");
	expect_report(&r, RK_HEALTH_DEGRADED, "device 1 (Fake 1) is lost");
	json_t *event = rig_find_event(&r, "DeviceLost", 0);

	assert_non_null(event);
	expect_field(event, "uuid", "GPU-fake-1");
	json_decref(event);
	atomic_store(&knobs->check, WRONG);
	check_now(&r, "degraded", "failed", "device 1 (Fake 1) is lost: the device does not");
	assert_int_equal(count_events(&r, "DeviceLost"), 1);
	rig_close(&r);
}

/* Each Xid is an event; rows of memory that need a reset are in the reason, and once in the log. */
RIG_TEST(device_ails)
{
	json_t *event;
	struct rig r;

	atomic_store(&knobs->ndevices, 2);
	atomic_store(&knobs->known, RK_WIRE_KNOWS_XID | RK_WIRE_KNOWS_REMAP);
	open_health(&r, "gpu_enabled=yes");
	rig_start(&r);
	check_now(&r, "healthy", "passed", "ok");
	assert_int_equal(count_events(&r, "DeviceXid"), 0);
	atomic_store(&knobs->xid, 31);
	atomic_store(&knobs->xids, 1);
	check_now(&r, "healthy", "passed", "ok");
	check_now(&r, "healthy", "passed", "ok");
	assert_int_equal(count_events(&r, "DeviceXid"), 1);
	event = rig_find_event(&r, "DeviceXid", 0);
	assert_non_null(event);
	expect_field(event, "uuid", "GPU-fake-0");
	expect_field(event, "name", "Fake 0");
	assert_int_equal(json_integer_value(json_object_get(event, "device")), 0);
	assert_int_equal(json_integer_value(json_object_get(event, "xid")), 31);
	json_decref(event);
	atomic_store(&knobs->xids, 2); /* the same again */
	check_now(&r, "healthy", "passed", "ok");
	assert_int_equal(count_events(&r, "DeviceXid"), 2);
	atomic_store(&knobs->remap, 1);
	check_now(&r, "degraded", "passed",
		  "device 0 (Fake 0) has bad rows of memory, which a reset remaps: stop what uses "
		  "it, then reset it (nvidia-smi --gpu-reset)");
	atomic_store(&knobs->remap, 2);
	check_now(&r, "degraded", "passed",
		  "device 0 (Fake 0) has bad rows of memory that could not be remapped: reset it "
		  "(nvidia-smi --gpu-reset), and have it replaced if that does not help");
	atomic_store(&knobs->remap, 0);
	check_now(&r, "healthy", "passed", "ok");
	rig_close(&r);
}

RIG_TEST(fallback)
{
	struct rig r;

	strcpy(knobs->fallback, "libcuda.so.1 is not there");
	open_health(&r);
	rig_start(&r);
	expect_report(&r, RK_HEALTH_DEGRADED, "on the fallback backend: libcuda.so.1 is not there");
	expect_end(&r, 0, "degraded", "passed", "libcuda.so.1");
	rig_close(&r);
}

/* The peak outlives the worker, until a reset. */
RIG_TEST(memory_peak)
{
	struct rig r;

	open_health(&r);
	atomic_store(&knobs->memory, 1000);
	rig_start(&r);
	assert_int_equal(rk_runtime_gpu_memory(r.rt), 500);
	assert_int_equal(rk_runtime_gpu_memory_peak(r.rt), 1000);
	atomic_store(&knobs->memory, 3000);
	check_now(&r, "healthy", "passed", "ok");
	rig_command(&r, RK_STOP); /* nobody has looked meanwhile */
	assert_int_equal(rk_runtime_gpu_memory(r.rt), 0);
	assert_int_equal(rk_runtime_gpu_memory_peak(r.rt), 3000);
	rig_command(&r, RK_RESET);
	assert_int_equal(rk_runtime_gpu_memory_peak(r.rt), 0);
	atomic_store(&knobs->memory, 400);
	rig_start(&r);
	assert_int_equal(rk_runtime_gpu_memory_peak(r.rt), 400);
	rig_close(&r);
}

/* --- what a worker is told of the configuration --- */

static void set(struct rig *r, const char *key, const char *value)
{
	struct rk_error err = {0};

	if (rk_runtime_config_set(r->rt, rk_config_find(key), value, NULL, &err))
		fail_msg("%s", err.msg);
}

RIG_TEST(params)
{
	const struct rk_wire_hello *hello = &knobs->hello;
	struct rig r;

	open_health(&r, "gpu_enabled=yes", "cuda_device=3", "cuda_unified_memory=yes",
		    "async_memory=no", "memory_pooling=yes", "memory_limit_bytes=3M",
		    "pool_initial_bytes=2M", "pool_growth_factor=1.5", "ring_idle=7s",
		    "metrics_interval=11s", "kernel_fusion=yes", "max_batch_size=17");
	rig_start(&r);
	assert_string_equal(hello->device.device, "3");
	assert_int_equal(hello->device.unified_memory, 1);
	assert_int_equal(hello->device.async_memory, 0);
	assert_int_equal(hello->device.memory_pooling, 1);
	assert_int_equal(hello->settings.watched, 1);
	assert_int_equal(hello->device.memory_limit_bytes, 3 << 20);
	assert_int_equal(hello->device.pool_initial_bytes, 2 << 20);
	assert_true(hello->device.pool_growth_factor == 1.5);
	assert_int_equal(hello->device.ring_idle_ms, 7000);
	assert_int_equal(hello->settings.sample_ms, 11000);
	assert_int_equal(hello->settings.log_level, RK_LOG_INFO);
	assert_int_equal(rk_runtime_dispatch(r.rt)->lanes[RK_ONLY_LANE].fuse_max, 17);
	set(&r, "metrics_interval", "12s");
	while (!atomic_load(&knobs->nsettings))
		sched_yield();
	assert_int_equal(knobs->settings.sample_ms, 12000);
	assert_int_equal(knobs->settings.log_level, RK_LOG_INFO);
	set(&r, "log_level", "warn");
	while (atomic_load(&knobs->nsettings) < 2)
		sched_yield();
	assert_int_equal(knobs->settings.sample_ms, 12000);
	assert_int_equal(knobs->settings.log_level, RK_LOG_WARN);
	set(&r, "max_queue_depth", "50"); /* no concern of the worker's */
	rig_command(&r, RK_STOP);
	wait_no_children();
	assert_int_equal(atomic_load(&knobs->nsettings), 2);
	rig_close(&r);
	open_health(&r, "gpu_enabled=no", "kernel_fusion=no", "max_batch_size=17");
	rig_start(&r);
	assert_int_equal(hello->settings.watched, 0);
	assert_int_equal(rk_runtime_dispatch(r.rt)->lanes[RK_ONLY_LANE].fuse_max, 1);
	rig_close(&r);
}

int main(void)
{
	if (fake_worker_mode())
		return be_worker();
	return unit_run(NULL, NULL);
}
