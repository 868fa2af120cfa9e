/* SPDX-License-Identifier: MIT */
/* The supervisor by itself, with fake workers: what it tells them and what it learns from them. */
#include <sys/resource.h>

#include "tests/unit/supervisor/supervisor_rig.h"

/* --- settings --- */

/* A worker begins with the settings of the start, and the newest of those that change. */
RIG_TEST(settings)
{
	struct rig *r = *state;
	enum rk_log_level level = rk_log_level();

	start(r, "settings");
	await_shown(r, 1234, 5678);
	rk_log_set_level(RK_LOG_DEBUG);
	rk_supervisor_settings_changed(r->sup, 99);
	await_shown(r, 99, RK_LOG_DEBUG);
	rk_supervisor_give_up(r->sup, 0, "it is to be another one");
	await(r, &r->ready, 2);
	await_shown(r, 99, 5678);
	rk_log_set_level(level);
	r->params.sample_ms = 77; /* of the next start */
	stop(r);
	start(r, "settings");
	await_shown(r, 77, 5678);
}

/* --- which code --- */

static void expect_backends(struct rig *r, unsigned int cpu, unsigned int cuda, unsigned int both)
{
	assert_int_equal(r->k[ON_CPU]->backend, cpu);
	assert_int_equal(r->k[ON_CUDA]->backend, cuda);
	assert_int_equal(r->k[ON_BOTH]->backend, both);
}

RIG_TEST(backends)
{
	struct rig *r = *state;

	expect_backends(r, 0, 0, 0);
	start(r, "cuda");
	assert_string_equal(r->backend, "cuda");
	await_shown(r, 1 << 2 | 1 << 3, 1 << 1);
	expect_backends(r, 1 + RK_WIRE_CPU, 1 + RK_WIRE_CUDA, 1 + RK_WIRE_CUDA);
	assert_int_equal(r->refused, 0);
	stop(r);
	start(r, "not-cuda");
	await_shown(r, 0, 1 << 1 | 1 << 2);
	expect_backends(r, 1 + RK_WIRE_CPU, 0, 1 + RK_WIRE_CPU);
	await_locked(r, &r->refused, 1);
	assert_string_equal(r->why, "test/cuda: it has only [cuda], and the backend is cpu");
	pthread_mutex_unlock(&r->lock);
	assert_int_equal(r->k[ON_CUDA]->state, RK_KERNEL_OFF);
	expect_refused(
		r, ON_CUDA, ENODEV,
		"test/cuda: the kernel is not loaded: it has only [cuda], and the backend is "
		"cpu");
	stop(r); /* and a worker that can: the reason is gone */
	start(r, "cuda");
	assert_int_equal(r->k[ON_CUDA]->state, RK_KERNEL_ACTIVE);
	rk_dispatch_kernel_state(&r->d, r->k[ON_CUDA], RK_KERNEL_OFF, "disabled");
	expect_refused(r, ON_CUDA, ENODEV, "test/cuda: the kernel is not enabled");
	rk_supervisor_kernels_changed(r->sup); /* it is wanted, and loaded */
	while (atomic_load(&r->k[ON_CUDA]->state) != RK_KERNEL_ACTIVE)
		sched_yield();
	expect_backends(r, 1 + RK_WIRE_CPU, 1 + RK_WIRE_CUDA, 1 + RK_WIRE_CUDA);
}

/* What the worker says of a failed load is told by every call, until it is loaded. */
RIG_TEST(load_fails)
{
	struct rig *r = *state;

	start(r, "load-fails");
	expect_refused(r, ON_BOTH, ENODEV,
		       "test/both: the kernel is not loaded: there is no such entry");
	expect_backends(r, 1 + RK_WIRE_CPU, 0, 0);
	stop(r);
	start(r, "cuda");
	rk_message_unref(submit(r, ON_BOTH));
}

/* A load that takes too long, at the start: another worker serves without the kernel. */
RIG_TEST(load_hangs)
{
	static const char why[] = "test/both: the kernel is not enabled: disabled, loading its "
				  "library took longer than kernel_load_timeout (0.2 s): write 1 "
				  "to its enable to try again";
	struct rig *r = *state;

	r->params.load_timeout_ms = 200;
	r->params.restart_limit = 0;
	start(r, "load-hangs");
	assert_int_equal(r->failed, 0);
	assert_int_equal(r->died, 1);
	assert_false(r->k[ON_BOTH]->wanted);
	assert_int_equal(r->k[ON_CPU]->state, RK_KERNEL_ACTIVE);
	expect_refused(r, ON_BOTH, ENODEV, why);
}

/* ... while messages run: one beside it is told who it was. */
RIG_TEST(load_hangs_later)
{
	struct rig *r = *state;
	struct rk_message *m;

	r->params.load_timeout_ms = 200;
	atomic_store(&r->k[ON_BOTH]->wanted, false);
	start(r, "stuck-load-hangs");
	m = submit(r, ON_CPU);
	assert_false(rk_supervisor_is_loading(r->sup, 0));
	atomic_store(&r->k[ON_BOTH]->wanted, true);
	rk_supervisor_kernels_changed(r->sup);
	expect_failed(r, m, "was replaced: loading test/both took longer than kernel_load_timeout");
	await(r, &r->ready, 2);
	assert_false(r->k[ON_BOTH]->wanted);
	assert_false(rk_supervisor_is_loading(r->sup, 0));
}

/* That it loads shows meanwhile. */
RIG_TEST(loading)
{
	struct rig *r = *state;

	atomic_store(&r->k[ON_BOTH]->wanted, false);
	start(r, "load-hangs");
	assert_false(rk_supervisor_is_loading(r->sup, 0));
	atomic_store(&r->k[ON_BOTH]->wanted, true);
	rk_supervisor_kernels_changed(r->sup);
	while (!rk_supervisor_is_loading(r->sup, 0))
		sched_yield();
	stop(r);
	while (rk_supervisor_is_loading(r->sup, 0))
		sched_yield();
}

RIG_TEST(unload_hangs)
{
	struct rig *r = *state;
	char last[RK_ERROR_MAX];

	r->params.load_timeout_ms = 200;
	start(r, "unload-hangs");
	atomic_store(&r->k[ON_BOTH]->wanted, false);
	rk_dispatch_kernel_state(&r->d, r->k[ON_BOTH], RK_KERNEL_ENDING, "disabled");
	rk_supervisor_kernels_changed(r->sup);
	await(r, &r->ready, 2);
	assert_int_equal(r->k[ON_BOTH]->state, RK_KERNEL_OFF);
	rk_dispatch_kernel_last_error(&r->d, r->k[ON_BOTH], 0, last);
	assert_non_null(strstr(last, "disabled, unloading its library took longer than"));
	assert_int_equal(r->k[ON_CPU]->state, RK_KERNEL_ACTIVE);
}

/* Nobody knows which kernel it was: none is disabled, and the budget counts. */
RIG_TEST(load_unanswered)
{
	struct rig *r = *state;

	r->params.load_timeout_ms = 200;
	r->params.restart_limit = 0;
	atomic_store(&r->k[ON_BOTH]->wanted, false);
	start(r, "load-unanswered");
	atomic_store(&r->k[ON_BOTH]->wanted, true);
	rk_supervisor_kernels_changed(r->sup);
	await_locked(r, &r->failed, 1);
	assert_non_null(strstr(r->how, "did not answer within kernel_load_timeout (0.2 s)"));
	pthread_mutex_unlock(&r->lock);
	assert_true(r->k[ON_BOTH]->wanted);
}

/* No backend, no worker; and none of that while it is not there. */
RIG_TEST(no_worker)
{
	struct rig *r = *state;
	struct rk_device device;

	rk_supervisor_check(r->sup, 0, 1);
	rk_supervisor_give_up(r->sup, 0, "there is none");
	rk_supervisor_settings_changed(r->sup, 1);
	assert_int_equal(rk_supervisor_in_driver_ns(r->sup, 0), 0);
	assert_false(rk_supervisor_device(r->sup, 0, &device));
	start(r, "cuda");
	rk_supervisor_check(r->sup, 0, 2);
	await_locked(r, &r->checked, 1);
	assert_int_equal(r->number, 2); /* not 1 */
	pthread_mutex_unlock(&r->lock);
	assert_int_equal(r->died, 0);
	rk_supervisor_give_up(r->sup, 0, "it was there");
	await(r, &r->ready, 2);
	assert_int_equal(r->died, 1);
	assert_int_equal(r->backends, 0);
	expect_backends(r, 1 + RK_WIRE_CPU, 1 + RK_WIRE_CUDA, 1 + RK_WIRE_CUDA);
}

/* --- checks --- */

RIG_TEST(check)
{
	struct rig *r = *state;
	unsigned int n;

	start(r, "cuda");
	for (uint64_t number = 1; number < 1ULL << 60; number *= 1000) {
		n = r->checked;
		rk_supervisor_check(r->sup, 0, number);
		await_locked(r, &r->checked, n + 1);
		assert_int_equal(r->number, number);
		assert_int_equal(r->status, 0);
		assert_string_equal(r->check_why, "");
		pthread_mutex_unlock(&r->lock);
	}
	stop(r);
	start(r, "check-fails");
	n = r->checked;
	rk_supervisor_check(r->sup, 0, 7);
	await_locked(r, &r->checked, n + 1);
	assert_int_equal(r->number, 7);
	assert_int_equal(r->status, EIO);
	assert_string_equal(r->check_why, "the device does not answer");
	pthread_mutex_unlock(&r->lock);
	assert_int_equal(r->died, 0);
}

static void count_chatter(void *ctx, enum rk_log_level level, const char *line)
{
	(void)level;
	if (strstr(line, "and another thing?[2J??"))
		atomic_fetch_add((atomic_uint *)ctx, 1);
}

/* What a worker says is in the log, up to so many lines a second, without control characters. */
RIG_TEST(chatter)
{
	struct rig *r = *state;
	atomic_uint lines = 0;

	rk_log_set_sink(count_chatter, &lines);
	start(r, "chatters");
	rk_supervisor_check(r->sup, 0, 1);
	await(r, &r->checked, 1);
	rk_log_set_sink(drop_line, NULL);
	assert_in_range(lines, 1, FAKE_LINES / 2);
	assert_int_equal(r->died, 0);
}

RIG_TEST(malformed)
{
	static const char *const modes[] = {"unasked-check", "unknown-backend"};
	struct rig *r = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(modes); i++) {
		fake_worker_be(modes[i]);
		rk_supervisor_start(r->sup, &r->params);
		await_locked(r, &r->failed, i + 1);
		assert_non_null(strstr(r->why, "malformed control packet"));
		pthread_mutex_unlock(&r->lock);
		stop(r);
	}
}

/* It hangs in the driver: that shows; given up, another one serves. */
RIG_TEST(hang)
{
	struct rig *r = *state;

	start(r, "check-hangs");
	assert_int_equal(rk_supervisor_in_driver_ns(r->sup, 0), 0);
	rk_supervisor_check(r->sup, 0, 1);
	while (rk_supervisor_in_driver_ns(r->sup, 0) < RK_NS_PER_MS)
		sched_yield();
	rk_supervisor_give_up(r->sup, 0, "the driver hangs");
	await_locked(r, &r->died, 1);
	assert_string_equal(r->how, "was replaced: the driver hangs");
	assert_int_equal(r->checked, 0);
	pthread_mutex_unlock(&r->lock);
	await(r, &r->ready, 2);
	assert_int_equal(rk_supervisor_in_driver_ns(r->sup, 0), 0);
	assert_int_equal(r->failed, 0);
}

RIG_TEST(give_up_running)
{
	struct rig *r = *state;
	struct rk_message *m;

	start(r, "stuck");
	m = submit(r, ON_CPU);
	rk_supervisor_give_up(r->sup, 0, "it is stuck");
	expect_failed(r, m, "was replaced: it is stuck");
	await_locked(r, &r->died, 1);
	assert_int_equal(r->running, 1);
	pthread_mutex_unlock(&r->lock);
}

/* --- faults --- */

/* A CUDA error: that is how it died, for everybody who asks, and the message's kernel did it. */
RIG_TEST(sticky)
{
	static const char how[] = "ended itself after a CUDA error: cuStreamSynchronize: "
				  "CUDA_ERROR_ILLEGAL_ADDRESS";
	struct rig *r = *state;

	start(r, "sticky");
	expect_failed(r, submit(r, ON_CPU), how);
	await_locked(r, &r->died, 1);
	assert_string_equal(r->how, how);
	assert_int_equal(r->running, 1);
	pthread_mutex_unlock(&r->lock);
	assert_int_equal(kills_of(r->k[ON_CPU]), 1);
	await(r, &r->ready, 2); /* another one */
}

/* The device is lost: remembered beyond the worker, until the next start. */
RIG_TEST(lost)
{
	struct rig *r = *state;
	struct rk_device device;

	start(r, "lost");
	assert_true(rk_supervisor_device(r->sup, 0, &device));
	assert_false(device.lost);
	assert_false(rk_supervisor_device(r->sup, 1, &device));
	expect_failed(r, submit(r, ON_CPU), "lost its device: it fell?off xxx");
	await_locked(r, &r->died, 1);
	assert_int_equal(strlen(r->how), strlen("lost its device: ") + 280); /* cut */
	pthread_mutex_unlock(&r->lock);
	assert_int_equal(kills_of(r->k[ON_CPU]), 0); /* nobody is to blame */
	assert_true(rk_supervisor_device(r->sup, 0, &device));
	assert_true(device.lost);
	await(r, &r->ready, 2);
	assert_true(rk_supervisor_device(r->sup, 0, &device)); /* for which it is in order */
	assert_string_equal(device.uuid, "GPU-fake");
	assert_true(device.lost);
	stop(r);
	assert_true(rk_supervisor_device(r->sup, 0, &device));
	assert_true(device.lost);
	fake_worker_be("silent"); /* says nothing of devices */
	rk_supervisor_start(r->sup, &r->params);
	assert_false(rk_supervisor_device(r->sup, 0, &device));
	stop(r);
	start(r, "lost");
	assert_true(rk_supervisor_device(r->sup, 0, &device));
	assert_false(device.lost);
}

/* One that cannot end for the fault, and is killed: the fault is why. */
RIG_TEST(fault_stays)
{
	struct rig *r = *state;

	start(r, "fault-stays");
	expect_failed(r, submit(r, ON_CPU), "lost its device: it fell?off");
	await_locked(r, &r->died, 1);
	assert_memory_equal(r->how, "lost its device: ", 17);
	pthread_mutex_unlock(&r->lock);
	await(r, &r->ready, 2);
}

/* --- no worker can be had for a while --- */

/* Nothing more can be opened. */
static rlim_t take_descriptors(void)
{
	struct rlimit limit;
	rlim_t old;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	old = limit.rlim_cur;
	limit.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	return old;
}

static void give_descriptors(rlim_t soft)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = soft;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void count_line(void *ctx, enum rk_log_level level, const char *line)
{
	(void)level;
	if (strstr(line, "no worker: cannot"))
		atomic_fetch_add((atomic_uint *)ctx, 1);
}

/* At a restart that is tried again, as a death is. */
RIG_TEST(cannot_fork)
{
	struct rig *r = *state;
	atomic_uint lines = 0;
	rlim_t old;

	start(r, "cuda");
	old = take_descriptors();
	rk_log_set_sink(count_line, &lines);
	rk_supervisor_give_up(r->sup, 0, "it is to be another one");
	while (atomic_load(&lines) < 2)
		sched_yield();
	give_descriptors(old);
	rk_log_set_sink(drop_line, NULL);
	await(r, &r->ready, 2);
	assert_int_equal(r->failed, 0);
	assert_int_equal(r->died, 1);
}

/* ... within the budget. */
RIG_TEST(cannot_fork_ever)
{
	struct rig *r = *state;
	rlim_t old;

	r->params.restart_limit = 2;
	start(r, "cuda");
	old = take_descriptors();
	rk_supervisor_give_up(r->sup, 0, "it is to be another one");
	await_locked(r, &r->failed, 1);
	give_descriptors(old);
	assert_non_null(strstr(r->why, "cannot open /dev/null"));
	assert_non_null(strstr(r->why, "3 deaths within a minute are more than restart_limit 2"));
	pthread_mutex_unlock(&r->lock);
}

/* The first one: at once. */
RIG_TEST(cannot_start)
{
	struct rig *r = *state;
	rlim_t old = take_descriptors();

	fake_worker_be("cuda");
	rk_supervisor_start(r->sup, &r->params);
	await_locked(r, &r->failed, 1);
	give_descriptors(old);
	assert_memory_equal(r->why, "cannot open /dev/null", 21);
	assert_null(strstr(r->why, "within a minute"));
	pthread_mutex_unlock(&r->lock);
}

int main(void)
{
	if (fake_worker_mode())
		return fake_worker();
	return unit_run(NULL, NULL);
}
