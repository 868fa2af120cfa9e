/* SPDX-License-Identifier: MIT */
/* A runtime with its real worker: start, drain, stop, reset, and what it leaves behind. */
#include <malloc.h>

#include "tests/unit/runtime/runtime_rig.h"

#define CYCLES 50

static uint64_t count_of(struct rig *r, enum rk_counter counter)
{
	struct rk_counts c;

	rk_dispatch_snapshot(rk_runtime_dispatch(r->rt), NULL, &c);
	return c.count[counter];
}

static void expect_submit(struct rig *r, int code)
{
	struct rk_error err = {0};
	struct call c;

	call_make(r, &c, "delay", 1);
	assert_int_equal(call_submit(&c, false, &err), -code);
	assert_int_equal(err.code, code);
	rk_message_unref(c.m);
}

static json_int_t number_in(json_t *event, const char *key)
{
	json_int_t value = json_integer_value(json_object_get(event, key));

	json_decref(event);
	return value;
}

TEST(created)
{
	char text[RK_ERROR_MAX];
	struct rig r;

	rig_open(&r, NULL);
	rig_expect_state(&r, RK_CREATED);
	rk_runtime_status(r.rt, 0, text);
	assert_string_equal(text, "ok");
	rk_runtime_failure(r.rt, text);
	assert_string_equal(text, "");
	rk_runtime_backend(r.rt, text);
	assert_string_equal(text, "none");
	assert_int_equal(rk_registry_count(rk_runtime_registry(r.rt)), BUILTINS);
	assert_int_equal(rk_runtime_kernels_active(r.rt), 0);
	assert_int_equal(rk_runtime_uptime_secs(r.rt), 0);
	assert_int_equal(rk_runtime_gpu_memory(r.rt), 0);
	assert_int_equal(rk_runtime_gpu_memory_peak(r.rt), 0);
	assert_int_equal(rk_runtime_drain_left_ms(r.rt), -ENODATA);
	assert_int_equal(rk_runtime_max_message_bytes(r.rt), 16 << 20);
	expect_submit(&r, ESHUTDOWN);
	json_decref(rig_wait_event(&r, "KernelRegistered", BUILTINS)); /* the last one */
	rig_close(&r);
}

TEST(start_and_call)
{
	struct rk_error err = {0};
	char backend[RK_WIRE_NAME_MAX];
	struct rig r;
	struct call c;

	rig_open(&r, NULL);
	rig_start(&r);
	rk_runtime_backend(r.rt, backend);
	assert_string_equal(backend, "cpu");
	assert_int_equal(rk_runtime_kernels_active(r.rt), BUILTINS);
	json_decref(rig_wait_event(&r, "Starting", 0));
	json_decref(rig_wait_event(&r, "KernelActivated", 0));
	json_decref(rig_wait_event(&r, "Started", 0));
	call_make(&r, &c, "vector-add", 1000);
	for (unsigned int i = 0; i < 1000; i++) {
		((float *)input_of(c.m, 0))[i] = (float)i;
		((float *)input_of(c.m, 1))[i] = 0.5F;
	}
	assert_int_equal(call_submit(&c, false, &err), 0);
	rk_message_ref(c.m);
	struct rk_message *m = c.m;

	call_expect(&c, 0);
	for (unsigned int i = 0; i < 1000; i++)
		assert_true(((float *)output_of(m, 0))[i] == (float)i + 0.5F);
	rk_message_unref(m);
	assert_int_equal(count_of(&r, RK_COUNT_PROCESSED), 1);
	rig_close(&r);
}

/* Stopped comes with the last answer, by notification: the deadline is a day away. */
TEST(drain)
{
	struct call c[8];
	struct rig r;

	rig_open(&r, NULL);
	rig_start(&r);
	for (unsigned int i = 0; i < 8; i++) /* four run, four are queued */
		call_delay(&r, &c[i], 60);
	rig_drain(&r, 86400);
	rig_expect_state(&r, RK_DRAINING);
	expect_submit(&r, ESHUTDOWN);
	assert_true(rk_runtime_drain_left_ms(r.rt) > 86000000);
	rig_wait_state(&r, RK_STOPPED);
	for (unsigned int i = 0; i < 8; i++) {
		assert_true(c[i].done); /* before the state could be seen */
		call_expect(&c[i], 0);
	}
	assert_int_equal(count_of(&r, RK_COUNT_PROCESSED), 8);
	assert_int_equal(rk_runtime_drain_left_ms(r.rt), -ENODATA);
	assert_int_equal(rk_runtime_kernels_active(r.rt), 0);
	json_t *stopped = rig_wait_event(&r, "Stopped", 0);

	assert_string_equal(json_string_value(json_object_get(stopped, "by")), "drain");
	json_decref(stopped);
	rig_close(&r);
}

TEST(drain_of_idle)
{
	struct rig r;

	rig_open(&r, NULL);
	rig_start(&r);
	rig_drain(&r, 86400);
	rig_expect_state(&r, RK_STOPPED);
	rig_close(&r);
}

/* The deadline comes: what is left is cancelled, named, counted. */
static void expect_cancelled(struct rig *r, struct call *c, unsigned int n)
{
	json_t *event, *named;

	rig_wait_state(r, RK_STOPPED);
	event = rig_wait_event(r, "MessagesCancelled", 0);
	named = json_object_get(event, "messages");
	assert_int_equal(json_array_size(named), n);
	assert_string_equal(json_string_value(json_object_get(json_array_get(named, 0), "kernel")),
			    "core/delay");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(named, 0), "uid")),
			 1000);
	assert_int_equal(number_in(event, "count"), n);
	assert_int_equal(count_of(r, RK_COUNT_CANCELLED), n);
	for (unsigned int i = 0; i < n; i++)
		call_expect(&c[i], ECANCELED);
}

TEST(drain_deadline)
{
	struct call c[6];
	struct rig r;

	rig_open(&r, NULL, "drain_timeout=50ms");
	rig_start(&r);
	for (unsigned int i = 0; i < 6; i++)
		call_delay(&r, &c[i], UINT32_MAX);
	rig_command(&r, RK_DRAIN);
	expect_cancelled(&r, c, 6);
	json_t *stopped = rig_wait_event(&r, "Stopped", 0);

	assert_string_equal(json_string_value(json_object_get(stopped, "by")), "deadline");
	json_decref(stopped);
	rig_close(&r);
}

/* drain SECS while Draining replaces the deadline; a bare drain does not. */
TEST(drain_again)
{
	struct rig r;
	struct call c;

	rig_open(&r, NULL, "drain_timeout=0");
	rig_start(&r);
	call_delay(&r, &c, UINT32_MAX);
	rig_drain(&r, 3600);
	rig_command(&r, RK_DRAIN);
	assert_in_range(rk_runtime_drain_left_ms(r.rt), 3500000, 3600000);
	rig_drain(&r, 7200);
	assert_in_range(rk_runtime_drain_left_ms(r.rt), 7100000, 7200000);
	rig_drain(&r, 0);
	expect_cancelled(&r, &c, 1);
	rig_close(&r);
}

TEST(resume)
{
	struct call slow, other;
	struct rig r;

	rig_open(&r, NULL);
	rig_start(&r);
	call_delay(&r, &slow, 300);
	rig_drain(&r, 86400);
	rig_command(&r, RK_RESUME);
	rig_expect_state(&r, RK_RUNNING);
	assert_int_equal(rk_runtime_drain_left_ms(r.rt), -ENODATA);
	call_delay(&r, &other, 0);
	call_expect(&other, 0);
	call_expect(&slow, 0); /* the last one in flight, and no drain ends with it */
	rig_expect_state(&r, RK_RUNNING);
	rig_drain(&r, 86400);
	rig_expect_state(&r, RK_STOPPED);
	rig_close(&r);
}

/* A deadline that a resume made void ends no later drain before its own. */
TEST(resume_voids_deadline)
{
	struct call slow, marker;
	struct rig r;

	rig_open(&r, NULL);
	rig_start(&r);
	call_delay(&r, &slow, UINT32_MAX);
	rig_drain(&r, 1);
	rig_command(&r, RK_RESUME);
	call_delay(&r, &marker, 1200); /* until after the void deadline */
	rig_drain(&r, 86400);
	call_expect(&marker, 0);
	rig_expect_state(&r, RK_DRAINING);
	rig_command(&r, RK_STOP);
	call_expect(&slow, ECANCELED);
	rig_close(&r);
}

struct watcher {
	struct rig *rig;
	enum rk_state expect;
	pthread_barrier_t ready;
	int code;     /* of a call at the moment when the state could be seen */
	int64_t left; /* of the drain then */
};

static void *watch_state(void *arg)
{
	struct watcher *w = arg;
	struct rk_error err = {0};
	struct call c;

	call_make(w->rig, &c, "delay", 1);
	c.m->done = NULL;
	pthread_barrier_wait(&w->ready);
	while (rk_runtime_state(w->rig->rt) != w->expect)
		;
	w->left = rk_runtime_drain_left_ms(w->rig->rt);
	w->code = call_submit(&c, false, &err);
	rk_message_unref(c.m);
	return NULL;
}

/* Give @trigger while somebody looks for @expect all the time. */
static struct watcher command_watched(struct rig *r, enum rk_trigger trigger, enum rk_state expect)
{
	struct watcher w = {.rig = r, .expect = expect};
	pthread_t thread;

	assert_int_equal(pthread_barrier_init(&w.ready, NULL, 2), 0);
	assert_int_equal(pthread_create(&thread, NULL, watch_state, &w), 0);
	pthread_barrier_wait(&w.ready);
	rig_command(r, trigger);
	assert_int_equal(pthread_join(thread, NULL), 0);
	pthread_barrier_destroy(&w.ready);
	return w;
}

/* Who sees a state finds what it promises: calls in Running, a deadline in Draining. */
TEST(state_is_true)
{
	struct call slow;
	struct rig r;

	rig_open(&r, NULL, "drain_timeout=1h");
	for (unsigned int i = 0; i < CYCLES; i++) {
		struct watcher w = command_watched(&r, RK_START, RK_RUNNING);

		assert_int_equal(w.code, 0);
		call_delay(&r, &slow, UINT32_MAX);
		w = command_watched(&r, RK_DRAIN, RK_DRAINING);
		assert_int_equal(w.code, -ESHUTDOWN);
		assert_in_range(w.left, 3590000, 3600000);
		w = command_watched(&r, RK_RESUME, RK_RUNNING);
		assert_int_equal(w.code, 0);
		rig_command(&r, RK_STOP);
		call_expect(&slow, ECANCELED);
		rig_command(&r, RK_RESET);
	}
	rig_close(&r);
}

TEST(stop)
{
	char backend[RK_WIRE_NAME_MAX];
	struct call c[6];
	struct rig r;
	int pidfd;

	rig_open(&r, NULL);
	rig_start(&r);
	pidfd = pidfd_open(rig_worker_pid(&r, 0), 0);
	assert_true(pidfd >= 0);
	for (unsigned int i = 0; i < 6; i++)
		call_delay(&r, &c[i], UINT32_MAX);
	rig_command(&r, RK_STOP);
	rig_expect_state(&r, RK_STOPPED);
	for (unsigned int i = 0; i < 6; i++)
		assert_true(c[i].done);
	expect_cancelled(&r, c, 6);
	expect_submit(&r, ESHUTDOWN);
	wait_dead(pidfd);
	assert_int_equal(rk_runtime_kernels_active(r.rt), 0);
	rk_runtime_backend(r.rt, backend);
	assert_string_equal(backend, "none");
	assert_null(rig_find_event(&r, "WorkerDied", 0)); /* it was told to */
	rig_close(&r);
}

TEST(reset)
{
	uint64_t events;
	struct rk_error err = {0};
	struct rig r;
	struct call c;

	rig_open(&r, NULL);
	rig_start(&r);
	rig_call(&r);
	rk_dispatch_reject(rk_runtime_dispatch(r.rt), rig_kernel(&r, "echo"), 1000,
			   &(struct rk_error){.code = EINVAL, .msg = "malformed"});
	struct rk_kernel *k = rig_kernel(&r, "echo");

	rk_kernel_unref(k);
	rk_kernel_unref(k);
	rig_command(&r, RK_STOP);
	events = rig_now(&r);
	rig_command(&r, RK_RESET);
	rig_expect_state(&r, RK_CREATED);
	assert_true(rig_now(&r) > events); /* the sequence goes on */
	for (unsigned int i = 0; i < RK_COUNTER_COUNT; i++)
		assert_int_equal(count_of(&r, i), 0);
	char last[RK_ERROR_MAX];

	k = rig_kernel(&r, "echo");
	rk_dispatch_kernel_last_error(rk_runtime_dispatch(r.rt), k, 0, last);
	rk_kernel_unref(k);
	assert_string_equal(last, "none");
	assert_int_equal(rk_runtime_uptime_secs(r.rt), 0);
	call_make(&r, &c, "delay", 1);
	assert_int_equal(call_submit(&c, false, &err), -ESHUTDOWN);
	rk_message_unref(c.m);
	rig_start(&r);
	rig_call(&r);
	assert_int_equal(count_of(&r, RK_COUNT_PROCESSED), 1);
	rig_close(&r);
}

/* Twice around, with the first worker perhaps still dying when the second one starts. */
TEST(restart_at_once)
{
	struct rig r;

	rig_open(&r, NULL);
	for (unsigned int i = 0; i < 10; i++) {
		rig_start(&r);
		rig_call(&r);
		rig_command(&r, RK_STOP);
		rig_command(&r, RK_RESET);
	}
	rig_close(&r);
}

/* Messages in flight when the runtime is destroyed end like everything else. */
TEST(destroy_in_flight)
{
	struct call c[6];
	struct rig r;

	rig_open(&r, NULL);
	rig_start(&r);
	for (unsigned int i = 0; i < 6; i++)
		call_delay(&r, &c[i], UINT32_MAX);
	rk_runtime_destroy(r.rt);
	for (unsigned int i = 0; i < 6; i++) {
		assert_true(c[i].done);
		assert_int_equal(c[i].m->error.code, ECANCELED);
		assert_int_equal(c[i].m->refs, 1);
		rk_message_unref(c[i].m);
	}
	r.rt = NULL;
	rig_close(&r);
}

TEST(bad_config)
{
	static const char *const bad[] = {"worker_threads=many", NULL};
	unsigned int fds = open_fds();
	struct rk_error err = {0};
	struct rig r;

	assert_int_equal(rig_try_open(&r, NULL, NULL, bad, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "worker_threads"));
	close(r.worker_fd);
	memset(&err, 0, sizeof(err));
	assert_int_equal(rig_try_open(&r, NULL, "/nonexistent.conf", NULL, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/nonexistent.conf"));
	close(r.worker_fd);
	assert_int_equal(open_fds(), fds);
	rk_runtime_destroy(NULL);
}

/* --- nothing is left behind --- */

/* Mappings of payload memory and shared pages. */
static unsigned int mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned int n = 0;
	char line[512];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, "rkfs-") != NULL;
	fclose(f);
	return n;
}

static size_t heap(void)
{
	struct mallinfo2 info = mallinfo2(); /* zeros under a sanitizer, which looks itself */

	return info.uordblks + info.hblkhd;
}

static void cycle(void)
{
	struct rig r;

	rig_open(&r, NULL);
	rig_start(&r);
	rig_call(&r);
	rig_close(&r);
}

TEST(cycles)
{
	unsigned int fds;
	size_t bytes;

	cycle(); /* what libraries keep once and for all */
	fds = open_fds();
	bytes = heap();
	for (unsigned int i = 0; i < CYCLES; i++)
		cycle();
	assert_int_equal(open_fds(), fds);
	assert_int_equal(mappings(), 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	assert_true(heap() <= bytes + 4096);
}
