/* SPDX-License-Identifier: MIT */
/* A living runtime's configuration and kernels: reload, config/FIELD, enable. */
#include "tests/unit/runtime/runtime_rig.h"

#define SETTERS 2
#define SETS	300

static char path[64];

static void write_file(const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int group_setup(void **state)
{
	int fd;

	(void)state;
	strcpy(path, "/tmp/rkfs-test-XXXXXX");
	fd = mkstemp(path);
	return fd < 0 || close(fd);
}

static int group_teardown(void **state)
{
	(void)state;
	return unlink(path);
}

static void open_with_file(struct rig *r, const char *text)
{
	write_file(text);
	rig_open_options(r, NULL, path, NULL);
}

static void expect_shown(struct rig *r, const char *key, const char *value)
{
	char buf[RK_CONFIG_VALUE_MAX];

	rk_runtime_config_print(r->rt, rk_config_find(key), buf, sizeof(buf));
	assert_string_equal(buf, value);
}

/* @value NULL = nothing pending. */
static void expect_pending(struct rig *r, const char *key, const char *value)
{
	char buf[RK_CONFIG_VALUE_MAX] = "";
	ssize_t len = rk_runtime_config_pending(r->rt, rk_config_find(key), buf, sizeof(buf));

	assert_int_equal(len, value ? (ssize_t)strlen(value) : -ENODATA);
	assert_string_equal(buf, value ? value : "");
}

/* The number of entries in list @key of the last ConfigReloaded event. */
static size_t reloaded(struct rig *r, const char *key, uint64_t from)
{
	json_t *event = rig_find_event(r, "ConfigReloaded", from);
	size_t n;

	assert_non_null(event);
	n = json_array_size(json_object_get(event, key));
	json_decref(event);
	return n;
}

static void expect_status(struct rig *r, const char *part)
{
	char status[RK_ERROR_MAX];

	rk_runtime_status(r->rt, 0, status);
	if (!strstr(status, part))
		fail_msg("%s", status);
}

TEST(reload)
{
	struct rk_error err = {0};
	struct rig r;
	uint64_t seq;

	open_with_file(&r, "[runtime]\nmax_queue_depth = 10\n");
	expect_shown(&r, "max_queue_depth", "10");
	rig_start(&r);
	write_file("[runtime]\nmax_queue_depth = 20\nmetrics_interval = 2s\nrestart_limit = 7\n"
		   "drain_timeout = 9s\n[health]\nhealth_check_interval = 3s\n");
	expect_shown(&r, "max_queue_depth", "10");
	expect_pending(&r, "restart_limit", NULL); /* nobody has read it yet */
	seq = rig_now(&r);
	assert_int_equal(rk_runtime_reload(r.rt, NULL, &err), 0);
	expect_status(&r, "ok");
	expect_shown(&r, "max_queue_depth", "20");
	expect_shown(&r, "metrics_interval", "2s");
	expect_shown(&r, "health_check_interval", "1h"); /* an option is stronger than the file */
	expect_shown(&r, "restart_limit", "5");
	expect_shown(&r, "drain_timeout", "100ms");
	expect_pending(&r, "restart_limit", "7");
	expect_pending(&r, "drain_timeout", "9s");
	expect_pending(&r, "max_queue_depth", NULL);
	expect_pending(&r, "worker_threads", NULL);
	assert_int_equal(reloaded(&r, "changed", seq), 2);
	assert_int_equal(reloaded(&r, "pending", seq), 2);
	rig_expect_state(&r, RK_RUNNING);
	/* the limit is in force, not only shown */
	assert_int_equal(rk_runtime_dispatch(r.rt)->max_queue_depth, 20);
	/* an empty text is a value too */
	write_file("[runtime]\nmax_queue_depth = 20\nlog_file = /x\n");
	rig_command(&r, RK_STOP);
	rig_command(&r, RK_RESET);
	write_file("[runtime]\nmax_queue_depth = 20\n");
	assert_int_equal(rk_runtime_reload(r.rt, NULL, &err), 0);
	expect_pending(&r, "log_file", "");
	/* back: nothing is pending */
	rig_command(&r, RK_STOP);
	rig_command(&r, RK_RESET);
	write_file("[runtime]\nmax_queue_depth = 20\n");
	assert_int_equal(rk_runtime_reload(r.rt, NULL, &err), 0);
	expect_pending(&r, "restart_limit", NULL);
	rig_close(&r);
}

TEST(pending_applies_at_reset)
{
	struct rk_error err = {0};
	struct rig r;

	open_with_file(&r, "[runtime]\nmax_queue_depth = 10\n");
	write_file("[runtime]\nrestart_limit = 7\nmax_buffered_bytes = 128M\n"
		   "max_json_bytes = 2M\n");
	assert_int_equal(rk_runtime_reload(r.rt, NULL, &err), 0);
	expect_pending(&r, "restart_limit", "7");
	rig_command(&r, RK_STOP);
	expect_pending(&r, "restart_limit", "7");
	rig_command(&r, RK_RESET);
	expect_pending(&r, "restart_limit", NULL);
	expect_shown(&r, "restart_limit", "7");
	expect_shown(&r, "max_queue_depth", "100"); /* the preset's again */
	assert_int_equal(rk_runtime_max_json_bytes(r.rt), 2 << 20);
	rig_start(&r);
	rig_call(&r);
	rig_close(&r);
}

/* A file that is wrong anywhere changes nothing, and the sentence says where. */
TEST(malformed)
{
	static const struct {
		const char *text, *where, *key;
	} rows[] = {
		{"[runtime]\nmax_queue_depth = 20\nrestart_limit = many\n", ":3", "restart_limit"},
		{"[runtime]\nmax_queue_depth = 20\nno_such_key = 1\n", ":3", "no_such_key"},
		{"[runtime]\nmax_queue_depth = 0\n", ":2", "max_queue_depth"},
		{"[runtime]\nmax_queue_depth = 20\n[backend]\nrestart_limit = 1\n", ":4",
		 "restart_limit"},
	};
	struct rig r;

	open_with_file(&r, "[runtime]\nmax_queue_depth = 10\n");
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rk_error err = {0};
		uint64_t seq = rig_now(&r);

		write_file(rows[i].text);
		assert_int_equal(rk_runtime_reload(r.rt, NULL, &err), -EINVAL);
		assert_non_null(strstr(err.msg, path));
		assert_non_null(strstr(err.msg, rows[i].where));
		assert_non_null(strstr(err.msg, rows[i].key));
		expect_status(&r, rows[i].where);
		expect_shown(&r, "max_queue_depth", "10");
		expect_pending(&r, "restart_limit", NULL);
		assert_int_equal(rig_now(&r), seq);
	}
	rig_command(&r, RK_STOP);
	struct rk_error err = {0};

	/* nor does a reset, which reads it too */
	assert_int_equal(rk_runtime_command(r.rt, RK_RESET, -1, NULL, &err), -EINVAL);
	assert_memory_equal(err.msg, "reset: ", 7);
	expect_status(&r, "restart_limit");
	rig_expect_state(&r, RK_STOPPED);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rk_runtime_reload(r.rt, NULL, &err), -ENOENT);
	expect_status(&r, path);
	write_file("");
	rig_command(&r, RK_RESET);
	rig_close(&r);
}

TEST(reload_not_allowed)
{
	struct rk_error err = {0};
	struct rig r;

	rig_open(&r, NULL, "hot_reload_enabled=no");
	assert_int_equal(rk_runtime_reload(r.rt, NULL, &err), -EPERM);
	assert_non_null(strstr(err.msg, "hot_reload_enabled"));
	expect_status(&r, "hot_reload_enabled");
	assert_int_equal(
		rk_runtime_config_set(r.rt, rk_config_find("max_queue_depth"), "5", NULL, &err),
		-EPERM);
	assert_non_null(strstr(err.msg, "hot_reload_enabled"));
	expect_shown(&r, "max_queue_depth", "100");
	rig_close(&r);
}

TEST(set)
{
	const struct rk_config_field *depth = rk_config_find("max_queue_depth");
	const struct rk_config_field *level = rk_config_find("log_level");
	struct rk_error err = {0};
	struct rig r;
	json_t *event;
	uint64_t seq;

	open_with_file(&r, "[runtime]\nmax_queue_depth = 10\n");
	seq = rig_now(&r);
	assert_int_equal(rk_runtime_config_set(r.rt, depth, "12", NULL, &err), 0);
	expect_shown(&r, "max_queue_depth", "12");
	assert_int_equal(rk_runtime_dispatch(r.rt)->max_queue_depth, 12);
	event = rig_find_event(&r, "ConfigChanged", seq);
	assert_string_equal(json_string_value(json_object_get(event, "field")), "max_queue_depth");
	assert_string_equal(json_string_value(json_object_get(event, "value")), "12");
	json_decref(event);
	assert_int_equal(rk_runtime_config_set(r.rt, level, "error", NULL, &err), 0);
	assert_int_equal(rk_log_level(), RK_LOG_ERROR);

	assert_int_equal(rk_runtime_config_set(r.rt, depth, "0", NULL, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "max_queue_depth"));
	assert_int_equal(rk_runtime_config_set(r.rt, level, "loud", NULL, &err), -EINVAL);
	expect_status(&r, "log_level");
	assert_int_equal(
		rk_runtime_config_set(r.rt, rk_config_find("restart_limit"), "9", NULL, &err),
		-EPERM);
	expect_status(&r, "restart_limit");
	expect_shown(&r, "max_queue_depth", "12");
	expect_shown(&r, "log_level", "error");
	expect_shown(&r, "restart_limit", "5");
	/* until the next reload */
	assert_int_equal(rk_runtime_reload(r.rt, NULL, &err), 0);
	expect_shown(&r, "max_queue_depth", "10");
	assert_int_equal(rk_log_level(), RK_LOG_INFO);
	rig_close(&r);
}

struct setter {
	struct rig *rig;
	unsigned int first;
};

static void *set_always(void *arg)
{
	const struct rk_config_field *depth = rk_config_find("max_queue_depth");
	const struct rk_config_field *level = rk_config_find("log_level");
	struct setter *s = arg;
	struct rk_error err;
	char text[16];

	for (unsigned int i = 0; i < SETS; i++) {
		snprintf(text, sizeof(text), "%u", s->first + i);
		(void)rk_runtime_config_set(s->rig->rt, depth, text, NULL, &err);
		(void)rk_runtime_config_set(s->rig->rt, level, i % 2 ? "error" : "warn", NULL,
					    &err);
	}
	return NULL;
}

/* What is shown at the end is what is in force, whoever was the last one. */
TEST(setters)
{
	struct setter s[SETTERS];
	pthread_t threads[SETTERS];
	char shown[RK_CONFIG_VALUE_MAX], real[16];
	struct rig r;

	rig_open(&r, NULL);
	for (unsigned int round = 0; round < 10; round++) {
		for (unsigned int i = 0; i < SETTERS; i++) {
			s[i] = (struct setter){&r, (i + 1) * 1000};
			assert_int_equal(pthread_create(&threads[i], NULL, set_always, &s[i]), 0);
		}
		for (unsigned int i = 0; i < SETTERS; i++)
			assert_int_equal(pthread_join(threads[i], NULL), 0);
		rk_runtime_config_print(r.rt, rk_config_find("max_queue_depth"), shown,
					sizeof(shown));
		snprintf(real, sizeof(real), "%u", rk_runtime_dispatch(r.rt)->max_queue_depth);
		assert_string_equal(shown, real);
		rk_runtime_config_print(r.rt, rk_config_find("log_level"), shown, sizeof(shown));
		assert_string_equal(shown, rk_log_level_name(rk_log_level()));
	}
	rig_close(&r);
}

/* --- kernels --- */

/* Enable or disable core/delay and wait until that has happened. */
static void enable(struct rig *r, bool on)
{
	enum rk_kernel_state want = on ? RK_KERNEL_ACTIVE : RK_KERNEL_OFF;
	struct rk_kernel *k = rig_kernel(r, "delay");
	struct timespec until = patience(), now;

	rk_runtime_enable(r->rt, k, on, NULL);
	do { /* no event where it was not unloaded yet */
		sched_yield();
		clock_gettime(CLOCK_REALTIME, &now);
	} while (atomic_load(&k->state) != want && now.tv_sec < until.tv_sec);
	assert_int_equal(atomic_load(&k->state), want);
	rk_kernel_unref(k);
}

static void expect_not_enabled(struct rig *r)
{
	struct rk_error err = {0};
	struct call c;

	call_make(r, &c, "delay", 1);
	assert_int_equal(call_submit(&c, true, &err), -ENODEV);
	assert_non_null(strstr(err.msg, "core/delay"));
	rk_message_unref(c.m);
}

TEST(enable)
{
	struct rk_kernel *k;
	struct call slow;
	struct rig r;
	uint64_t seq;

	rig_open(&r, NULL);
	rig_start(&r);
	call_delay(&r, &slow, 100);
	k = rig_kernel(&r, "delay");
	seq = rig_now(&r);
	rk_runtime_enable(r.rt, k, false, NULL);
	assert_int_equal(rk_runtime_kernels_active(r.rt), BUILTINS - 1); /* at once */
	expect_not_enabled(&r);
	call_expect(&slow, 0); /* what was in flight ends as ever */
	json_decref(rig_wait_event(&r, "KernelDeactivated", seq));
	assert_int_equal(atomic_load(&k->state), RK_KERNEL_OFF);
	expect_not_enabled(&r);
	enable(&r, true);
	rig_call(&r);
	assert_int_equal(rk_runtime_kernels_active(r.rt), BUILTINS);
	/* enabled again before it could be unloaded: that does not wait for what is in flight */
	call_delay(&r, &slow, UINT32_MAX);
	rk_runtime_enable(r.rt, k, false, NULL);
	enable(&r, true);
	rig_call(&r);
	rig_command(&r, RK_STOP);
	call_expect(&slow, ECANCELED);
	rk_kernel_unref(k);
	rig_close(&r);
}

/* A kernel that is disabled before the start, and over a restart, is not loaded. */
TEST(disabled_at_start)
{
	struct rig r;

	rig_open(&r, NULL);
	enable(&r, false);
	rig_start(&r);
	assert_int_equal(rk_runtime_kernels_active(r.rt), BUILTINS - 1);
	expect_not_enabled(&r);
	rig_command(&r, RK_STOP);
	rig_command(&r, RK_RESET);
	rig_start(&r);
	expect_not_enabled(&r);
	enable(&r, true);
	rig_call(&r);
	rig_close(&r);
}

/* The worker dies while a kernel that is being disabled has messages: the next one runs them. */
TEST(disabled_and_killed)
{
	struct call running[4], queued[2];
	struct rk_kernel *k;
	struct rig r;
	uint64_t seq;

	rig_open(&r, NULL);
	rig_start(&r);
	for (unsigned int i = 0; i < 4; i++)
		call_delay(&r, &running[i], UINT32_MAX);
	for (unsigned int i = 0; i < 2; i++)
		call_delay(&r, &queued[i], 0);
	k = rig_kernel(&r, "delay");
	rk_runtime_enable(r.rt, k, false, NULL);
	seq = rig_now(&r);
	assert_int_equal(kill(rig_worker_pid(&r, 0), SIGKILL), 0);
	for (unsigned int i = 0; i < 4; i++)
		call_expect(&running[i], EIO);
	for (unsigned int i = 0; i < 2; i++)
		call_expect(&queued[i], 0);
	json_decref(rig_wait_event(&r, "KernelDeactivated", seq));
	assert_int_equal(rk_runtime_kernels_active(r.rt), BUILTINS - 1);
	rk_kernel_unref(k);
	rig_close(&r);
}

TEST(toggle)
{
	struct rk_kernel *k;
	struct rig r;

	rig_open(&r, NULL);
	rig_start(&r);
	k = rig_kernel(&r, "delay");
	for (unsigned int i = 0; i < 200; i++) /* faster than the worker can follow */
		rk_runtime_enable(r.rt, k, i % 2, NULL);
	rk_kernel_unref(k);
	enable(&r, true);
	rig_call(&r);
	assert_int_equal(rk_runtime_kernels_active(r.rt), BUILTINS);
	enable(&r, false);
	assert_int_equal(rk_runtime_kernels_active(r.rt), BUILTINS - 1);
	rig_close(&r);
}

TEST(max_instances)
{
	struct rk_error err = {0};
	char last[RK_ERROR_MAX];
	struct rk_kernel *k = NULL;
	unsigned int refused = 0;
	struct rig r;

	rig_open(&r, NULL, "max_kernel_instances=2");
	rig_start(&r);
	assert_int_equal(rk_runtime_kernels_active(r.rt), 2);
	while ((k = rk_registry_after(rk_runtime_registry(r.rt), k))) {
		struct rk_payload *pool = rk_runtime_payload(r.rt);
		struct rk_message *m = make_message(k, pool, 1);

		rk_dispatch_kernel_last_error(rk_runtime_dispatch(r.rt), k, 0, last);
		if (strstr(last, "max_kernel_instances")) {
			refused++;
			assert_int_equal(
				rk_dispatch_submit(rk_runtime_dispatch(r.rt), m, true, &err),
				-ENOSPC);
			assert_non_null(strstr(err.msg, "max_kernel_instances"));
		}
		rk_message_unref(m);
		rk_payload_unref(pool);
	}
	assert_int_equal(refused, BUILTINS - 2);
	json_decref(rig_wait_event(&r, "KernelFailed", 0));
	rig_close(&r);
}

/* --- events of messages --- */

TEST(message_events)
{
	static const struct {
		uint64_t id;
		int code;
		const char *event; /* NULL = none */
	} rows[] = {
		{7, EIO, "MessageFailed"},	{7, ETIMEDOUT, "MessageFailed"},
		{0, EINVAL, "MessageRejected"}, {0, EMSGSIZE, "MessageRejected"},
		{7, ECANCELED, NULL},		{0, ESHUTDOWN, NULL},
	};
	const struct rk_caller caller = {.uid = 5, .pid = 6};
	struct rk_kernel *k;
	struct rig r;

	rig_open(&r, NULL);
	k = rig_kernel(&r, "echo");
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		/* a sentence that was cut in the middle of a character */
		const struct rk_error err = {.code = rows[i].code, .msg = "unknown name 'caf\xc3"};
		uint64_t seq = rig_now(&r);
		json_t *event;

		rk_runtime_message_failed(r.rt, k, rows[i].id, &caller, &err);
		if (!rows[i].event) {
			assert_int_equal(rig_now(&r), seq);
			continue;
		}
		event = rig_find_event(&r, rows[i].event, seq);
		assert_non_null(event);
		assert_int_equal(json_integer_value(json_object_get(event, "id")), rows[i].id);
		assert_int_equal(json_integer_value(json_object_get(event, "uid")), 5);
		assert_int_equal(json_integer_value(json_object_get(event, "pid")), 6);
		assert_string_equal(json_string_value(json_object_get(event, "kernel")),
				    "core/echo");
		assert_string_equal(json_string_value(json_object_get(event, "errno")),
				    rk_error_name(rows[i].code));
		assert_string_equal(json_string_value(json_object_get(event, "why")),
				    "unknown name 'caf?");
		json_decref(event);
	}
	rk_kernel_unref(k);
	rig_close(&r);
}

int main(void)
{
	return unit_run(group_setup, group_teardown);
}
