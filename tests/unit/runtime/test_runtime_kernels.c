/* SPDX-License-Identifier: MIT */
/* kernels_dir of a living runtime: reload under load, and whatever else may happen meanwhile. */
#include "tests/unit/runtime/kernels_rig.h"

/* A new library while messages run and are queued: they end on the old code. */
KERNELS_TEST(new_library)
{
	struct call old[12], young[4], begun;
	struct rk_kernel *before, *after;
	struct rig r;

	install("version_1.so", "lib.so");
	describe("version.ini", VERSION(""));
	open_rig(&r);
	assert_int_equal(rk_registry_count(rk_runtime_registry(r.rt)), BUILTINS + 1);
	rig_start(&r);
	before = user(&r, "version");
	for (unsigned int i = 0; i < 12; i++)
		call_user(&r, &old[i], "version", 50);
	begin(&r, &begun, before, 0);
	install("version_2.so", "lib.so");
	reload(&r);
	json_decref(rig_wait_event(&r, "KernelChanged", 0));
	after = user(&r, "version");
	assert_ptr_not_equal(after, before);
	for (unsigned int i = 0; i < 4; i++)
		call_user(&r, &young[i], "version", 1);
	for (unsigned int i = 0; i < 12; i++)
		expect_version(&old[i], 1);
	for (unsigned int i = 0; i < 4; i++)
		expect_version(&young[i], 2);
	/* a request that was begun keeps the old code there */
	assert_int_equal(before->state, RK_KERNEL_ACTIVE);
	submit_begun(&begun);
	expect_version(&begun, 1);
	wait_forgotten(&r, before);
	assert_int_equal(rk_runtime_kernels_active(r.rt), BUILTINS + 1);
	assert_int_equal(after->stats->books.count[RK_COUNT_PROCESSED], 17);
	rk_kernel_unref(after);
	rig_close(&r);
}

/* One that is begun, and given up. */
KERNELS_TEST(given_up)
{
	struct rk_kernel *before;
	struct call begun;
	struct rig r;

	install("version_1.so", "lib.so");
	describe("version.ini", VERSION(""));
	open_rig(&r);
	rig_start(&r);
	before = user(&r, "version");
	begin(&r, &begun, before, 0);
	describe("version.ini", VERSION("version = 2\n"));
	reload(&r);
	rig_call(&r); /* the supervisor has seen the change */
	assert_false(is_forgotten(&r, &before->slot));
	rk_message_unref(begun.m);
	wait_forgotten(&r, before);
	rig_close(&r);
}

#define CLIENTS 2
#define CALLS	16 /* between two changes */
#define CHANGES 8

struct clients {
	struct rig *rig;
	atomic_bool over;
	atomic_uint calls, failed, mixed;
	char why[RK_ERROR_MAX]; /* of one that failed; read at the end */
};

static void call_once(struct clients *clients)
{
	struct rk_registry *reg = rk_runtime_registry(clients->rig->rt);
	struct rk_error err = {0};
	struct rk_kernel *k;
	struct call c;

	/* as a call file does: the description may change at this very moment */
	do
		k = rk_registry_find(reg, "user", "version");
	while (rk_kernel_pin(k) && (rk_kernel_unref(k), true));
	begin(clients->rig, &c, k, 1);
	rk_kernel_unpin(k);
	rk_kernel_unref(k);
	if (!call_submit(&c, true, &err)) {
		rig_wait(clients->rig, call_is_done, &c, "an answer");
		err = c.m->error;
		if (!output_value(&c, 0) || output_value(&c, 0) != output_value(&c, 1))
			atomic_fetch_add(&clients->mixed, 1);
	}
	if (err.code && !atomic_fetch_add(&clients->failed, 1))
		memcpy(clients->why, err.msg, sizeof(clients->why));
	rk_message_unref(c.m);
	atomic_fetch_add(&clients->calls, 1);
}

static void *call_always(void *arg)
{
	struct clients *clients = arg;

	while (!atomic_load(&clients->over))
		call_once(clients);
	return NULL;
}

/* Changed again and again while calls run: none fails, none mixes versions. */
KERNELS_TEST(changes_under_load)
{
	struct clients clients = {.over = false};
	pthread_t threads[CLIENTS];
	struct rk_kernel *k;
	struct call c;
	struct rig r;

	install("version_1.so", "lib.so");
	describe("version.ini", VERSION(""));
	open_rig(&r);
	rig_start(&r);
	clients.rig = &r;
	for (unsigned int i = 0; i < CLIENTS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, call_always, &clients), 0);
	for (unsigned int i = 0; i < CHANGES; i++) {
		unsigned int enough = atomic_load(&clients.calls) + CALLS;

		install(i % 2 ? "version_2.so" : "version_1.so", "lib.so");
		reload(&r);
		while (atomic_load(&clients.calls) < enough)
			sched_yield();
	}
	atomic_store(&clients.over, true);
	for (unsigned int i = 0; i < CLIENTS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_string_equal(clients.why, "");
	assert_int_equal(clients.failed, 0);
	assert_int_equal(clients.mixed, 0);
	call_user(&r, &c, "version", 0);
	expect_version(&c, CHANGES % 2 ? 1 : 2);
	k = user(&r, "version");
	assert_int_equal(k->slot, BUILTINS + 1 + CHANGES);
	assert_int_equal(k->stats->books.count[RK_COUNT_PROCESSED], clients.calls + 1);
	rk_kernel_unref(k);
	rig_close(&r);
}

KERNELS_TEST(added_and_removed)
{
	struct call running, begun, late;
	struct rk_error err = {0};
	struct rk_kernel *k;
	struct rig r;

	install("version_1.so", "lib.so");
	open_rig(&r);
	rig_start(&r);
	describe("version.ini", VERSION(""));
	reload(&r);
	json_decref(rig_wait_event(&r, "KernelRegistered", BUILTINS + 1));
	call_user(&r, &running, "version", 0); /* at once, loaded or not */
	expect_version(&running, 1);
	call_user(&r, &running, "version", 100);
	k = user(&r, "version");
	begin(&r, &begun, k, 0);
	begin(&r, &late, k, 0);
	rk_message_settle(late.m); /* as if it had been begun without a pin */
	assert_int_equal(unlink(path_of("version.ini")), 0);
	reload(&r);
	json_decref(rig_wait_event(&r, "KernelUnregistered", 0));
	assert_null(user(&r, "version"));
	assert_int_equal(rk_kernel_pin(k), -ENODEV);
	submit_begun(&begun);
	expect_version(&running, 1);
	expect_version(&begun, 1);
	rk_kernel_ref(k);
	wait_forgotten(&r, k);
	assert_int_equal(call_submit(&late, true, &err), -ENODEV);
	assert_string_equal(err.msg, "user/version: the kernel was removed");
	rk_message_unref(late.m);
	assert_int_equal(k->refs, 1);
	rk_kernel_unref(k);
	assert_int_equal(rk_runtime_kernels_active(r.rt), BUILTINS);
	rig_close(&r);
}

/* What is refused is told, in the answer and in an event, and is nobody else's trouble. */
KERNELS_TEST(refused)
{
	struct rk_error err = {0};
	json_t *event;
	struct call c;
	struct rig r;

	install("version_1.so", "lib.so");
	open_rig(&r);
	rig_start(&r);
	describe("b\xff.ini", "[kernel]\nid = user/b\ncaf\xe9 = 1\n"); /* not UTF-8 */
	describe("version.ini", VERSION(""));
	assert_int_equal(rk_runtime_reload(r.rt, NULL, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "reload: 1 refused, all else is applied: "));
	assert_non_null(strstr(err.msg, "b\xff.ini:3: "));
	event = rig_wait_event(&r, "KernelRefused", 0);
	assert_non_null(strstr(json_string_value(json_object_get(event, "file")), dir));
	assert_non_null(strstr(json_string_value(json_object_get(event, "why")), ".ini:3: "));
	json_decref(event);
	call_user(&r, &c, "version", 0);
	expect_version(&c, 1);
	rig_close(&r);
}

/* A reset looks at the directory too; a start does not begin without it. */
KERNELS_TEST(reset)
{
	struct rk_kernel *old;
	struct call c;
	struct rig r;

	install("version_1.so", "lib.so");
	describe("version.ini", VERSION(""));
	open_rig(&r);
	rig_start(&r);
	old = user(&r, "version");
	rig_command(&r, RK_STOP);
	install("version_2.so", "lib.so");
	rig_command(&r, RK_RESET);
	wait_forgotten(&r, old);
	rig_start(&r);
	call_user(&r, &c, "version", 0);
	expect_version(&c, 2);
	rig_command(&r, RK_STOP);
	assert_int_equal(unlink(path_of("version.ini")), 0);
	rig_command(&r, RK_RESET);
	assert_null(user(&r, "version"));
	assert_int_equal(rk_registry_count(rk_runtime_registry(r.rt)), BUILTINS);
	rig_close(&r);
}

/* All of max_kernel_instances are loaded: a changed kernel takes the place of its predecessor. */
KERNELS_TEST(changed_at_the_limit)
{
	struct call running, c;
	struct rk_kernel *old;
	char limit[64];
	struct rig r;

	install("version_1.so", "lib.so");
	describe("version.ini", VERSION(""));
	snprintf(limit, sizeof(limit), "max_kernel_instances=%u", BUILTINS + 1);
	open_rig(&r, limit);
	rig_start(&r);
	assert_int_equal(rk_runtime_kernels_active(r.rt), BUILTINS + 1);
	old = user(&r, "version");
	call_user(&r, &running, "version", 100);
	install("version_2.so", "lib.so");
	reload(&r);
	call_user(&r, &c, "version", 0);
	expect_version(&c, 2);
	expect_version(&running, 1);
	wait_forgotten(&r, old);
	assert_int_equal(rk_runtime_kernels_active(r.rt), BUILTINS + 1);
	assert_null(rig_find_event(&r, "KernelFailed", 0));
	rig_close(&r);
}

/* A disabled kernel that changes stays disabled. */
KERNELS_TEST(changed_and_disabled)
{
	struct rk_error err = {0};
	struct rk_kernel *old, *k;
	struct call c;
	struct rig r;

	install("version_1.so", "lib.so");
	describe("version.ini", VERSION(""));
	open_rig(&r);
	rig_start(&r);
	old = user(&r, "version");
	rk_runtime_enable(r.rt, old, false, NULL);
	wait_state(old, RK_KERNEL_OFF);
	install("version_2.so", "lib.so");
	reload(&r);
	wait_forgotten(&r, old);
	k = user(&r, "version");
	begin(&r, &c, k, 0);
	assert_int_equal(call_submit(&c, true, &err), -ENODEV);
	rk_message_unref(c.m);
	assert_int_equal(rk_runtime_kernels_active(r.rt), BUILTINS);
	rk_runtime_enable(r.rt, k, true, NULL);
	rk_kernel_unref(k);
	call_user(&r, &c, "version", 0); /* at once */
	expect_version(&c, 2);
	rig_close(&r);
}

/* Two callers, one of whom enables and one disables: nothing is accepted that nobody will run. */
KERNELS_TEST(enabled_and_disabled)
{
	struct rk_kernel *k;
	struct rig r;

	open_rig(&r);
	rig_start(&r);
	k = rig_kernel(&r, "delay");
	rk_runtime_enable(r.rt, k, false, NULL);
	wait_state(k, RK_KERNEL_OFF);
	/* what the one who enables does last, after the other one's doings: it does not stay
	 * LOADING */
	rk_dispatch_kernel_expect(rk_runtime_dispatch(r.rt), k);
	reload(&r); /* the supervisor looks, if it has not yet */
	wait_state(k, RK_KERNEL_OFF);
	rk_kernel_unref(k);
	rig_close(&r);
}

static void change_when_dead(struct rig *r)
{
	json_t *event = rig_find_event(r, "WorkerDied", 0);

	if (!event)
		return;
	json_decref(event);
	r->on_event = NULL;
	describe("version.ini", VERSION("version = 2\n"));
	reload(r);
}

/* Changed between two workers: the old one, which no worker has, is forgotten, and counted off. */
KERNELS_TEST(changed_without_worker)
{
	struct rk_kernel *old;
	struct call c;
	struct rig r;
	uint64_t seq;

	install("version_1.so", "lib.so");
	describe("version.ini", VERSION(""));
	open_rig(&r);
	r.on_event = change_when_dead;
	rig_start(&r);
	old = user(&r, "version");
	seq = rig_now(&r);
	assert_int_equal(kill(rig_worker_pid(&r, 0), SIGKILL), 0);
	(void)rig_worker_pid(&r, seq);
	wait_forgotten(&r, old);
	call_user(&r, &c, "version", 0);
	expect_version(&c, 1);
	assert_int_equal(rk_runtime_kernels_active(r.rt), BUILTINS + 1);
	rig_close(&r);
}

int main(void)
{
	umask(022);
	return unit_run(NULL, NULL);
}
