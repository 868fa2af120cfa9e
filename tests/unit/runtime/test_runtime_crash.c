/* SPDX-License-Identifier: MIT */
/* Kernels that crash, hang, or die while they are loaded: each contained, counted, named. */
#include "tests/unit/runtime/kernels_rig.h"

#define CRASH(name)                                                                                \
	"[kernel]\nid = user/crash\ndescription = test\n"                                          \
	"[inputs]\ncrash = u32\n[outputs]\nsurvived = u32\n"                                       \
	"[cpu]\nlibrary = crash.so\nentry = " name "\nargs = crash, survived\n"
#define CRASH_LOAD                                                                                 \
	"[kernel]\nid = user/crash-load\ndescription = test\n"                                     \
	"[outputs]\nsurvived = u32\n"                                                              \
	"[cpu]\nlibrary = crash_load.so\nentry = crash_load\nargs = survived\n"

static void expect_disabled(struct rig *r, const char *name, const char *why)
{
	struct rk_kernel *k = user(r, name);
	struct rk_error err = {0};
	struct call c;

	assert_false(k->wanted);
	expect_last_error(r, k, why);
	begin(r, &c, k, 0);
	assert_int_equal(call_submit(&c, true, &err), -ENODEV);
	rk_message_unref(c.m);
	rk_kernel_unref(k);
}

/* Three crashes within a minute, and it is disabled, until it is enabled; its neighbours go on. */
KERNELS_TEST(circuit_breaker)
{
	struct call bad, queued;
	struct rk_kernel *k;
	struct rig r;

	install("crash_null.so", "crash.so");
	describe("crash.ini", CRASH("crash_null"));
	open_rig(&r, "worker_threads=1");
	rig_start(&r);
	k = user(&r, "crash");
	for (unsigned int i = 1; i <= RK_KILLS_MAX; i++) {
		assert_true(k->wanted);
		call_user(&r, &bad, "crash", 1);
		call_delay(&r, &queued, 0);
		expect_error(&bad, EIO, "in this kernel");
		call_expect(&queued, 0);
	}
	json_decref(rig_wait_event(&r, "KernelDisabled", 0));
	expect_disabled(&r, "crash", "disabled, it killed its worker 3 times within a minute");
	rig_call(&r);
	rig_expect_state(&r, RK_RUNNING);
	rk_runtime_enable(r.rt, k, true, NULL);
	call_user(&r, &bad, "crash", 0);
	rig_wait(&r, call_is_done, &bad, "an answer");
	assert_int_equal(output_value(&bad, 0), 1);
	call_expect(&bad, 0);
	rk_kernel_unref(k);
	rig_close(&r);
}

/* What a kernel that is disabled has queued would kill more workers. */
KERNELS_TEST(tripped_with_queue)
{
	struct call bad[8];
	unsigned int failed = 0;
	struct rk_counts n;
	struct rig r;

	install("crash_null.so", "crash.so");
	describe("crash.ini", CRASH("crash_null"));
	open_rig(&r, "worker_threads=1");
	rig_start(&r);
	for (unsigned int i = 0; i < 8; i++)
		call_user(&r, &bad[i], "crash", 1);
	for (unsigned int i = 0; i < 8; i++) {
		rig_wait(&r, call_is_done, &bad[i], "an answer");
		failed += strstr(bad[i].m->error.msg, "in this kernel") != NULL;
		call_expect(&bad[i], EIO);
	}
	assert_int_equal(failed, RK_KILLS_MAX);
	rk_dispatch_snapshot(rk_runtime_dispatch(r.rt), NULL, &n);
	assert_int_equal(n.count[RK_COUNT_FAILED], 8);
	rig_call(&r);
	rig_close(&r);
}

/* One that loops for ever: its own timeout ends it, what others have queued survives. */
KERNELS_TEST(timeout_of_kernel)
{
	struct call bad, queued[3];
	struct rig r;

	install("spin.so", "spin.so");
	describe("spin.ini", "[kernel]\nid = user/spin\ndescription = test\ntimeout = 200ms\n"
			     "[inputs]\nspin = u32\n[outputs]\nended = u32\n"
			     "[cpu]\nlibrary = spin.so\nentry = spin\nargs = spin, ended\n");
	open_rig(&r, "worker_threads=1");
	rig_start(&r);
	call_user(&r, &bad, "spin", 1);
	for (unsigned int i = 0; i < 3; i++)
		call_delay(&r, &queued[i], 0);
	expect_error(&bad, ETIMEDOUT, "ran longer than its timeout; the worker was replaced");
	for (unsigned int i = 0; i < 3; i++)
		call_expect(&queued[i], 0);
	call_user(&r, &bad, "spin", 0);
	call_expect(&bad, 0);
	rig_close(&r);
}

/* A caller who gives up a running one is told at once, and the drain waits for its end. */
KERNELS_TEST(cancel_running)
{
	struct rk_message_info info;
	struct call c;
	uint64_t id;
	struct rig r;

	install("version_1.so", "lib.so");
	describe("version.ini", VERSION(""));
	open_rig(&r);
	rig_start(&r);
	call_user(&r, &c, "version", 300);
	id = c.m->id;
	assert_true(rk_dispatch_cancel_id(rk_runtime_dispatch(r.rt), id));
	assert_true(c.done);
	call_expect(&c, ECANCELED);
	assert_true(rk_dispatch_find(rk_runtime_dispatch(r.rt), (uint32_t)id, &info));
	assert_string_equal(rk_message_info_state(&info), "cancelling");
	rig_drain(&r, 86400);
	rig_wait_state(&r, RK_STOPPED); /* by the worker's answer: the deadline is a day away */
	rig_close(&r);
}

/* A library whose constructor crashes: the start goes on without it. */
KERNELS_TEST(crash_at_start)
{
	struct call c;
	json_t *event;
	struct rig r;

	install("crash_load.so", "crash_load.so");
	describe("a.ini", CRASH_LOAD);
	install("version_1.so", "lib.so");
	describe("version.ini", VERSION(""));
	open_rig(&r, "restart_limit=0", "max_kernel_instances=100");
	rig_start(&r);
	event = rig_wait_event(&r, "KernelFailed", 0);
	assert_string_equal(json_string_value(json_object_get(event, "id")), "user/crash-load");
	json_decref(event);
	expect_disabled(&r, "crash-load", "while loading its library");
	assert_int_equal(rk_runtime_kernels_active(r.rt), BUILTINS + 1);
	call_user(&r, &c, "version", 0);
	expect_version(&c, 1);
	/* the disabled one stays so */
	rig_command(&r, RK_STOP);
	rig_command(&r, RK_RESET);
	rig_start(&r);
	expect_disabled(&r, "crash-load", "");
	rig_close(&r);
}

/* A call that is accepted, and then cannot be run; or comes too late even for that. */
static void expect_cannot(struct rig *r, const char *name, const char *why)
{
	struct rk_kernel *k = user(r, name);
	struct rk_error err = {0};
	struct call c;

	begin(r, &c, k, 0);
	rk_kernel_unref(k);
	if (!call_submit(&c, true, &err)) {
		expect_error(&c, EIO, why);
		return;
	}
	assert_int_equal(err.code, ENODEV);
	if (!strstr(err.msg, why))
		fail_msg("%s", err.msg);
	rk_message_unref(c.m);
}

/* The same by a reload: what runs in that worker fails, what is queued does not. */
KERNELS_TEST(crash_at_reload)
{
	struct call running, queued;
	struct rk_kernel *k;
	struct rig r;
	uint64_t seq;

	install("version_1.so", "lib.so");
	describe("version.ini", VERSION(""));
	open_rig(&r, "worker_threads=1", "max_kernel_instances=100");
	rig_start(&r);
	for (unsigned int i = 0; i < 2; i++) { /* by the reload, and by the enable */
		call_user(&r, &running, "version", UINT32_MAX);
		call_await_running(&running);
		call_user(&r, &queued, "version", 0);
		seq = rig_now(&r);
		if (i) {
			k = user(&r, "crash-load");
			rk_runtime_enable(r.rt, k, true, NULL);
			rk_kernel_unref(k);
		} else {
			install("crash_load.so", "crash_load.so");
			describe("a.ini", CRASH_LOAD);
			reload(&r);
		}
		expect_cannot(&r, "crash-load", "while loading its library");
		expect_error(&running, EIO, "worker");
		expect_version(&queued, 1);
		json_decref(rig_wait_event(&r, "KernelFailed", seq));
		expect_disabled(&r, "crash-load", "while loading its library");
		(void)rig_worker_pid(&r, seq);
	}
	assert_int_equal(rk_runtime_kernels_active(r.rt), BUILTINS + 1);
	rig_close(&r);
}

/* --- whom a death while a library is loaded is not blamed on --- */

static void check_blame(const char *mode, bool blamed)
{
	struct rk_kernel *k;
	struct call c;
	struct rig r;
	uint64_t seq;

	fake_worker_be(mode);
	rig_open(&r, FAKE_WORKER, "message_timeout=300ms");
	rig_start(&r);
	k = rk_registry_slot(rk_runtime_registry(r.rt), FAKE_LOADING);
	seq = rig_now(&r);
	call_delay(&r, &c, 0);
	rig_wait(&r, call_is_done, &c, "an answer");
	assert_int_not_equal(c.m->error.code, 0);
	rk_message_unref(c.m);
	(void)rig_worker_pid(&r, seq); /* the next one */
	assert_int_equal(k->wanted, !blamed);
	assert_int_equal(rk_runtime_kernels_active(r.rt), blamed ? BUILTINS - 1 : BUILTINS);
	rk_kernel_unref(k);
	rig_close(&r);
	fake_worker_be(NULL);
}

KERNELS_TEST(blame)
{
	check_blame("dies-loading", true);
	check_blame("crash-beside-load", false); /* the message did it */
	check_blame("stuck-beside-load", false); /* it was killed for the message's sake */
}

int main(void)
{
	if (fake_worker_mode())
		return fake_worker();
	umask(022);
	return unit_run(NULL, NULL);
}
