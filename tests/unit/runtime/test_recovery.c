/* SPDX-License-Identifier: MIT */
/* Workers that die, hang, cannot start, or talk nonsense: what becomes of the runtime. */
#include "tests/unit/runtime/runtime_rig.h"

static pid_t kill_worker(struct rig *r, uint64_t from)
{
	pid_t pid = rig_worker_pid(r, from);

	assert_int_equal(kill(pid, SIGKILL), 0);
	return pid;
}

static void expect_event_text(struct rig *r, const char *name, const char *key, const char *part)
{
	json_t *event = rig_wait_event(r, name, 0);
	const char *text = json_string_value(json_object_get(event, key));

	assert_non_null(text);
	if (!strstr(text, part))
		fail_msg("%s: %s", name, text);
	json_decref(event);
}

/* The runtime is Failed and says why, wherever one may ask. */
static void expect_failed(struct rig *r, const char *why)
{
	char text[RK_ERROR_MAX];

	rig_wait_state(r, RK_FAILED);
	rk_runtime_failure(r->rt, text);
	if (!strstr(text, why))
		fail_msg("%s", text);
	expect_event_text(r, "Failed", "reason", why);
	assert_int_equal(rk_runtime_kernels_active(r->rt), 0);
}

static void expect_start_fails(struct rig *r, const char *why)
{
	char text[RK_ERROR_MAX];

	rig_command(r, RK_START);
	expect_failed(r, why);
	rk_runtime_status(r->rt, 0, text);
	assert_memory_equal(text, "start: ", 7);
	assert_non_null(strstr(text, why));
}

/* --- executables that are no workers --- */

static void check_executable(const char *path, const char *why)
{
	char text[RK_ERROR_MAX];
	struct rig r;

	rig_open(&r, path);
	expect_start_fails(&r, why);
	/* ... and from there on */
	rig_command(&r, RK_RESET);
	rk_runtime_failure(r.rt, text);
	assert_string_equal(text, "");
	expect_start_fails(&r, why);
	rig_command(&r, RK_STOP);
	rig_expect_state(&r, RK_STOPPED);
	rk_runtime_failure(r.rt, text);
	assert_string_equal(text, ""); /* it is not Failed */
	rig_close(&r);
}

TEST(not_a_worker)
{
	check_executable("/bin/true", "exited with status 0");
	check_executable("/bin/false", "exited with status 1");
	check_executable("/dev/null", "could not be executed");
	check_executable("/etc/passwd", "could not be executed");
}

struct nonsense {
	const char *mode, *why;
};

/* Workers that cannot or will not serve: Failed, each with its sentence, at the first one. */
TEST(bad_starts)
{
	static const struct nonsense modes[] = {
		{"exit", "exited with status 3"},
		{"abort", "was killed by SIGKILL"},
		{"refuse", "there is no such device"},
		{"eof", "closed its connections"},
		{"bad-version", "malformed control packet"},
		{"bad-type", "malformed control packet"},
		{"bad-status", "malformed control packet"},
		{"bad-text", "malformed control packet"},
		{"bad-backend", "malformed control packet"},
		{"bad-length", "malformed control packet"},
		{"bad-log", "malformed control packet"},
		{"early-loaded", "malformed control packet"},
		{"ready-twice", "malformed control packet"},
		{"bad-slot", "malformed control packet"},
		{"no-kernel", "malformed control packet"},
		{"unasked-unload", "malformed control packet"},
		{"unasked-check", "malformed control packet"},
		{"unknown-backend", "malformed control packet"},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(modes); i++) {
		struct rig r;

		fake_worker_be(modes[i].mode);
		rig_open(&r, FAKE_WORKER);
		expect_start_fails(&r, modes[i].why);
		assert_int_equal(rk_runtime_gpu_memory(r.rt), 0);
		rig_close(&r);
		wait_no_children();
	}
	fake_worker_be(NULL);
}

TEST(refused_kernel)
{
	struct rk_error err = {0};
	struct rk_kernel *k;
	char last[RK_ERROR_MAX];
	struct rig r;

	fake_worker_be("load-fails");
	rig_open(&r, FAKE_WORKER);
	rig_start(&r); /* the others serve */
	assert_int_equal(rk_runtime_kernels_active(r.rt), BUILTINS - 1);
	expect_event_text(&r, "KernelFailed", "why", "there is no such entry");
	k = rk_registry_slot(rk_runtime_registry(r.rt), 2);
	rk_dispatch_kernel_last_error(rk_runtime_dispatch(r.rt), k, 0, last);
	assert_non_null(strstr(last, "there is no such entry"));
	struct rk_payload *pool = rk_runtime_payload(r.rt);
	struct rk_message *m = make_message(k, pool, 1);

	assert_int_equal(rk_dispatch_submit(rk_runtime_dispatch(r.rt), m, true, &err), -ENODEV);
	rk_message_unref(m);
	rk_payload_unref(pool);
	rk_kernel_unref(k);
	rig_close(&r);
	fake_worker_be(NULL);
}

/* --- workers that served and then do not --- */

/* What is wrong shows with the first message: it fails, the worker is replaced. */
TEST(bad_answers)
{
	static const struct nonsense modes[] = {
		{"crash", "exited with status 3"},
		{"stray", "which does not run"},
		{"stray-slot", "which does not run"},
		{"short", "malformed answer"},
		{"overrun", "wrote past the end of its output"},
		{"sticky", "ended itself after a CUDA error: cuStreamSynchronize: "
			   "CUDA_ERROR_ILLEGAL_ADDRESS"},
		{"lost", "lost its device: it fell?off"},
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(modes); i++) {
		struct call c;
		struct rig r;
		uint64_t seq;

		fake_worker_be(modes[i].mode);
		rig_open(&r, FAKE_WORKER);
		rig_start(&r);
		seq = rig_now(&r);
		call_delay(&r, &c, 0);
		call_expect(&c, EIO);
		expect_event_text(&r, "WorkerDied", "how", modes[i].why);
		(void)rig_worker_pid(&r, seq); /* the next one serves */
		rig_expect_state(&r, RK_RUNNING);
		rig_close(&r);
	}
	fake_worker_be(NULL);
}

TEST(failing_kernel)
{
	char last[RK_ERROR_MAX];
	struct rk_kernel *k;
	struct call c;
	struct rig r;

	fake_worker_be("fails");
	rig_open(&r, FAKE_WORKER);
	rig_start(&r);
	call_delay(&r, &c, 0);
	call_expect(&c, EDOM);
	k = rk_registry_find(rk_runtime_registry(r.rt), "core", "delay");
	rk_dispatch_kernel_last_error(rk_runtime_dispatch(r.rt), k, 0, last);
	rk_kernel_unref(k);
	assert_non_null(strstr(last, "out of?its domain")); /* in one line */
	assert_null(rig_find_event(&r, "WorkerDied", 0));   /* that is its right */
	rig_close(&r);
	fake_worker_be(NULL);
}

/* Four run, four are queued, the worker is killed: the next one runs those that were queued. */
static void kill_with_eight(struct rig *r, bool draining)
{
	struct call c[8];
	json_t *event;
	uint64_t seq = rig_now(r);

	for (unsigned int i = 0; i < 8; i++)
		call_delay(r, &c[i], i < 4 ? UINT32_MAX : 0);
	for (unsigned int i = 0; i < 4; i++)
		call_await_running(&c[i]);
	if (draining)
		rig_drain(r, 86400);
	kill_worker(r, 0);
	for (unsigned int i = 0; i < 8; i++)
		call_expect(&c[i], i < 4 ? EIO : 0);
	event = rig_wait_event(r, "WorkerDied", seq);
	assert_int_equal(json_integer_value(json_object_get(event, "running")), 4);
	assert_string_equal(json_string_value(json_object_get(event, "how")),
			    "was killed by SIGKILL");
	json_decref(event);
}

TEST(killed)
{
	struct rk_counts n;
	struct rig r;

	rig_open(&r, NULL);
	rig_start(&r);
	kill_with_eight(&r, false);
	rig_expect_state(&r, RK_RUNNING);
	rig_call(&r);
	rk_dispatch_snapshot(rk_runtime_dispatch(r.rt), NULL, &n);
	assert_int_equal(n.count[RK_COUNT_FAILED], 4);
	assert_int_equal(n.count[RK_COUNT_PROCESSED], 5);
	assert_int_equal(rk_runtime_kernels_active(r.rt), BUILTINS);
	assert_int_equal(rig_states(&r), 2); /* it never stopped running */
	rig_close(&r);
}

TEST(killed_while_draining)
{
	struct rig r;

	rig_open(&r, NULL);
	rig_start(&r);
	kill_with_eight(&r, true);
	rig_wait_state(&r, RK_STOPPED);
	rig_close(&r);
}

TEST(killed_when_idle)
{
	struct rig r;
	uint64_t seq;

	rig_open(&r, NULL);
	rig_start(&r);
	seq = rig_now(&r);
	kill_worker(&r, 0);
	(void)rig_worker_pid(&r, seq);
	rig_call(&r);
	rig_close(&r);
}

/* Deaths within the budget are made good, the next one is one too many. */
TEST(budget)
{
	struct call running[4], queued;
	uint64_t seq = 0;
	struct rig r;

	rig_open(&r, NULL, "restart_limit=2");
	rig_start(&r);
	for (unsigned int i = 0; i < 2; i++) {
		uint64_t next = rig_now(&r);

		kill_worker(&r, seq);
		seq = next;
		(void)rig_worker_pid(&r, seq);
		rig_call(&r);
	}
	for (unsigned int i = 0; i < 4; i++)
		call_delay(&r, &running[i], UINT32_MAX);
	for (unsigned int i = 0; i < 4; i++)
		call_await_running(&running[i]);
	call_delay(&r, &queued, 0);
	kill_worker(&r, seq);
	expect_failed(&r, "3 deaths within a minute are more than restart_limit 2");
	for (unsigned int i = 0; i < 4; i++)
		call_expect(&running[i], EIO);
	call_expect(&queued, EIO);
	/* a reset forgives */
	rig_command(&r, RK_RESET);
	seq = rig_now(&r);
	rig_start(&r);
	uint64_t next = rig_now(&r);

	kill_worker(&r, seq);
	(void)rig_worker_pid(&r, next);
	rig_call(&r);
	rig_close(&r);
}

TEST(no_budget)
{
	struct rig r;

	rig_open(&r, NULL, "restart_limit=0");
	rig_start(&r);
	kill_worker(&r, 0);
	expect_failed(&r, "restart_limit 0");
	rig_close(&r);
}

/* --- time --- */

/* A message that runs too long costs its worker; one that waited too long only itself. */
TEST(timeout)
{
	struct call slow, queued;
	struct rk_counts n;
	struct rig r;
	uint64_t seq;

	rig_open(&r, NULL, "message_timeout=200ms", "worker_threads=1");
	rig_start(&r);
	seq = rig_now(&r);
	call_delay(&r, &slow, UINT32_MAX);
	call_delay(&r, &queued, 0);
	call_expect(&slow, ETIMEDOUT);
	call_expect(&queued, ETIMEDOUT);
	expect_event_text(&r, "WorkerDied", "how", "ran longer than its timeout");
	(void)rig_worker_pid(&r, seq);
	rig_call(&r);
	rk_dispatch_snapshot(rk_runtime_dispatch(r.rt), NULL, &n);
	assert_int_equal(n.count[RK_COUNT_TIMED_OUT], 2);
	assert_int_equal(n.count[RK_COUNT_FAILED], 0);
	rig_expect_state(&r, RK_RUNNING);
	rig_close(&r);
}

/* A worker that does not end when it is told to is killed a second later; nothing waits for it. */
TEST(deaf)
{
	struct rig r;
	int pidfd;

	fake_worker_be("deaf");
	rig_open(&r, FAKE_WORKER);
	rig_start(&r);
	pidfd = pidfd_open(rig_worker_pid(&r, 0), 0);
	assert_true(pidfd >= 0);
	rig_drain(&r, 86400);
	rig_expect_state(&r, RK_STOPPED); /* at once */
	rig_command(&r, RK_RESET);
	wait_dead(pidfd);
	rig_close(&r);
	fake_worker_be(NULL);
}

/* The drain's deadline ends one that hangs in a kernel. */
TEST(stuck)
{
	struct call c;
	struct rig r;
	int pidfd;

	fake_worker_be("stuck");
	rig_open(&r, FAKE_WORKER);
	rig_start(&r);
	pidfd = pidfd_open(rig_worker_pid(&r, 0), 0);
	assert_true(pidfd >= 0);
	call_delay(&r, &c, 0);
	rig_drain(&r, 0);
	call_expect(&c, ECANCELED);
	rig_wait_state(&r, RK_STOPPED);
	wait_dead(pidfd);
	rig_close(&r);
	fake_worker_be(NULL);
}

static void stop_when_all_is_said(struct rig *r)
{
	json_t *event = rig_find_event(r, "KernelActivated", 0);

	if (!event)
		return;
	json_decref(event);
	r->on_event = NULL;
	assert_int_equal(rk_runtime_kernels_active(r->rt), 1);
	while (rk_runtime_gpu_memory(r->rt) != 4)
		sched_yield();
	rig_command(r, RK_STOP);
}

/* A stop while kernels are loaded: answers that are under way activate nothing any more. */
TEST(stop_while_loading)
{
	struct rig r;

	fake_worker_be("loads-at-once");
	rig_open(&r, FAKE_WORKER);
	r.on_event = stop_when_all_is_said;
	rig_command(&r, RK_START);
	rig_wait_state(&r, RK_STOPPED);
	wait_no_children();
	assert_int_equal(rk_runtime_kernels_active(r.rt), 0);
	rig_expect_state(&r, RK_STOPPED);
	rig_close(&r);
	fake_worker_be(NULL);
}

static void overtake_first_worker(struct rig *r)
{
	json_t *event = rig_find_event(r, "WorkerStarted", 0);

	if (!event)
		return;
	json_decref(event);
	r->on_event = NULL;
	rig_command(r, RK_STOP);
	rig_command(r, RK_RESET);
	rig_command(r, RK_START);
}

/* A worker that is ready just after another one was asked for does not make the runtime Running. */
TEST(overtaken)
{
	json_t *first, *started;
	struct rig r;
	json_int_t seq;

	rig_open(&r, NULL);
	r.on_event = overtake_first_worker;
	rig_command(&r, RK_START);
	started = rig_wait_event(&r, "Started", 0);
	seq = json_integer_value(json_object_get(started, "seq"));
	json_decref(started);
	first = rig_wait_event(&r, "WorkerStarted", 0);
	started = rig_wait_event(&r, "WorkerStarted",
				 (uint64_t)json_integer_value(json_object_get(first, "seq")) + 1);
	json_decref(first);
	assert_true(json_integer_value(json_object_get(started, "seq")) < seq);
	json_decref(started);
	rig_call(&r);
	rig_close(&r);
}

TEST(gpu_memory)
{
	struct rig r;

	fake_worker_be("loads-at-once");
	rig_open(&r, FAKE_WORKER);
	rig_start(&r);
	while (rk_runtime_gpu_memory_peak(r.rt) != 5)
		sched_yield(); /* it writes them after its last answer */
	assert_int_equal(rk_runtime_gpu_memory(r.rt), 4);
	rig_command(&r, RK_STOP);
	wait_no_children();
	assert_int_equal(rk_runtime_gpu_memory(r.rt), 0);
	rig_close(&r);
	fake_worker_be(NULL);
}

/* --- what a worker is born with --- */

static void expect_link(pid_t pid, int fd, const char *target)
{
	char path[64], found[128] = {0};

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
	if (readlink(path, found, sizeof(found) - 1) < 0)
		fail_msg("%s: %m", path);
	if (strncmp(found, target, strlen(target)))
		fail_msg("%s -> %s", path, found);
}

/* Standard streams on /dev/null, its four descriptors, and nothing else that was open here. */
static void check_descriptors(void)
{
	char path[64];
	struct rig r;
	pid_t pid;

	rig_open(&r, NULL);
	rig_start(&r);
	pid = rig_worker_pid(&r, 0);
	for (int fd = 0; fd < 3; fd++)
		expect_link(pid, fd, "/dev/null");
	expect_link(pid, RK_WIRE_FD_CONTROL, "socket:");
	expect_link(pid, RK_WIRE_FD_MESSAGES, "socket:");
	expect_link(pid, RK_WIRE_FD_PAYLOAD, "/memfd:rkfs-payload");
	expect_link(pid, RK_WIRE_FD_SHARED, "/memfd:rkfs-shared");
	for (int fd = 100; fd < 110; fd++) {
		snprintf(path, sizeof(path), "/proc/%d/fd/%d", pid, fd);
		assert_int_equal(access(path, F_OK), -1);
	}
	rig_close(&r);
}

TEST(descriptors)
{
	int leak = fcntl(2, F_DUPFD, 100), saved = fcntl(0, F_DUPFD_CLOEXEC, 200), hole;

	assert_in_range(leak, 100, 109);
	check_descriptors();
	/* standard input is closed: what is opened next gets its number */
	close(0);
	check_descriptors();
	/* ... be it /dev/null for the worker */
	hole = open("/", O_RDONLY | O_CLOEXEC);
	assert_int_equal(hole, 0);
	struct rig r;

	rig_open(&r, NULL);
	close(hole);
	rig_start(&r);
	expect_link(rig_worker_pid(&r, 0), 0, "/dev/null");
	rig_close(&r);
	assert_int_equal(dup2(saved, 0), 0);
	close(saved);
	close(leak);
}

/* --- everything at once --- */

#define COMMANDERS 2
#define COMMANDS   150

struct commander {
	struct rig *rig;
	unsigned int seed;
};

static void storm_on_done(struct rk_message *m, void *ctx)
{
	(void)m;
	atomic_fetch_sub((atomic_uint *)ctx, 1);
}

static atomic_uint storm_calls;

static void storm_call(struct rig *r)
{
	struct rk_payload *pool = rk_runtime_payload(r->rt);
	struct rk_kernel *k = rk_registry_find(rk_runtime_registry(r->rt), "core", "delay");
	struct rk_message *m = make_message(k, pool, 1);

	m->done = storm_on_done;
	m->ctx = &storm_calls;
	atomic_fetch_add(&storm_calls, 1);
	if (rk_dispatch_submit(rk_runtime_dispatch(r->rt), m, true, NULL))
		atomic_fetch_sub(&storm_calls, 1);
	rk_message_unref(m);
	rk_kernel_unref(k);
	rk_payload_unref(pool);
}

static void *command_at_random(void *arg)
{
	static const enum rk_trigger verbs[] = {RK_START, RK_START, RK_DRAIN, RK_RESUME,
						RK_STOP,  RK_RESET, RK_RESET};
	struct commander *c = arg;

	for (unsigned int i = 0; i < COMMANDS; i++) {
		unsigned int n = (unsigned int)rand_r(&c->seed);
		struct rk_error err;

		/* most are refused; each leaves the runtime in one piece */
		(void)rk_runtime_command(c->rig->rt, verbs[n % ARRAY_SIZE(verbs)], n % 2 ? 0 : -1,
					 NULL, &err);
		for (unsigned int k = 0; k < n % 16; k++)
			storm_call(c->rig);
	}
	return NULL;
}

static bool no_calls(struct rig *r, void *arg)
{
	(void)r;
	(void)arg;
	return !atomic_load(&storm_calls);
}

/* Verbs from two threads, calls in between; afterwards it still starts, calls, drains. */
TEST(storm)
{
	struct commander c[COMMANDERS];
	pthread_t threads[COMMANDERS];
	struct rig r;

	rig_open(&r, NULL);
	for (unsigned int i = 0; i < COMMANDERS; i++) {
		c[i] = (struct commander){.rig = &r, .seed = i + 1};
		assert_int_equal(pthread_create(&threads[i], NULL, command_at_random, &c[i]), 0);
	}
	for (unsigned int i = 0; i < COMMANDERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	rig_command(&r, RK_STOP);
	rig_wait(&r, no_calls, NULL, "every call's end");
	wait_no_children();
	assert_int_equal(rk_runtime_kernels_active(r.rt), 0);
	rig_command(&r, RK_RESET);
	rig_start(&r);
	rig_call(&r);
	rig_drain(&r, 86400);
	rig_expect_state(&r, RK_STOPPED);
	rig_close(&r);
}

int main(void)
{
	if (fake_worker_mode())
		return fake_worker();
	return unit_run(NULL, NULL);
}
