/* SPDX-License-Identifier: MIT */
/* A living runtime, who watches it, and calls to its kernels, for the tests of runtime/. */
#ifndef RK_TESTS_RUNTIME_RIG_H
#define RK_TESTS_RUNTIME_RIG_H

#include <jansson.h>
#include <poll.h>
#include <sched.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "runtime/base/log.h"
#include "runtime/runtime.h"
#include "tests/unit/supervisor/fake_worker.h"
#include "tests/unit/message_fixture.h"

struct rig {
	struct rk_runtime *rt;
	int worker_fd;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct rk_runtime_observer observer;
	unsigned int states;	 /* how often it was told of one */
	unsigned int unbalanced; /* snapshots in which the books did not balance */
	pthread_t owner;
	void (*on_event)(struct rig *r); /* called too, but by other threads than the owner's */
};

/* One message and what became of it. */
struct call {
	struct rig *rig;
	struct rk_message *m;
	bool done; /* guarded by rig->lock */
};

static inline void rig_tell(struct rig *r, unsigned int *counter)
{
	char text[RK_ERROR_MAX];
	bool balanced;

	if (!r->rt) /* events of its creation: nobody waits yet */
		return;
	/* Called with no lock held: each of these would hang if it were. */
	balanced = books_balance(rk_runtime_dispatch(r->rt), NULL);
	rk_runtime_status(r->rt, 0, text);
	(void)rk_events_end(rk_runtime_events(r->rt));
	pthread_mutex_lock(&r->lock);
	if (counter)
		++*counter;
	r->unbalanced += !balanced;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

static inline void rig_on_news(void *ctx, enum rk_news news)
{
	struct rig *r = ctx;

	if (news == RK_NEWS_EVENT && r->on_event && !pthread_equal(r->owner, pthread_self()))
		r->on_event(r);
	rig_tell(r, news == RK_NEWS_STATE ? &r->states : NULL);
}

static inline void rig_on_room(void *ctx, struct rk_kernel *k)
{
	(void)k;
	rig_tell(ctx, NULL);
}

static inline void rig_drop_line(void *ctx, enum rk_log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	if (getenv("RK_TEST_VERBOSE"))
		fprintf(stderr, "# %s\n", line);
}

/* Options that every runtime here has; others follow and win. */
#define RIG_OPTIONS                                                                                \
	"preset=testing", "log_level=info", "hot_reload_enabled=yes", "worker_threads=4",          \
		"health_check_interval=1h", "max_buffered_bytes=64M", "max_message_bytes=16M",     \
		"max_kernel_instances=100"

/* Returns what rk_runtime_create does. @worker: a path, NULL = the real one. */
static inline int rig_try_open(struct rig *r, const char *worker, const char *file,
			       const char *const *more, struct rk_error *err)
{
	const char *options[32] = {RIG_OPTIONS};
	const struct rk_config_sources sources = {.file = file, .options = options};
	unsigned int n = 0;
	int rc;

	while (options[n])
		n++;
	while (more && *more)
		options[n++] = *more++;
	memset(r, 0, sizeof(*r));
	r->owner = pthread_self();
	r->observer = (struct rk_runtime_observer){.tell = rig_on_news, .ctx = r};
	rk_log_set_sink(rig_drop_line, NULL);
	assert_int_equal(pthread_mutex_init(&r->lock, NULL), 0);
	assert_int_equal(pthread_cond_init(&r->changed, NULL), 0);
	r->worker_fd = open(worker ? worker : RK_WORKER_PATH, O_RDONLY | O_CLOEXEC);
	assert_true(r->worker_fd >= 0);
	rc = rk_runtime_create(&r->rt, &sources, r->worker_fd, &r->observer, err);
	if (!rc)
		rk_dispatch_on_room(rk_runtime_dispatch(r->rt), rig_on_room, r);
	return rc;
}

#define rig_open(r, worker, ...)                                                                   \
	rig_open_options(r, worker, NULL, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

static inline void rig_open_options(struct rig *r, const char *worker, const char *file,
				    const char *const *options)
{
	struct rk_error err = {0};

	if (rig_try_open(r, worker, file, options, &err))
		fail_msg("%s", err.msg);
}

static inline void rig_close(struct rig *r)
{
	rk_runtime_destroy(r->rt);
	assert_int_equal(r->unbalanced, 0);
	close(r->worker_fd);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
}

static inline unsigned int rig_states(struct rig *r)
{
	unsigned int states;

	pthread_mutex_lock(&r->lock);
	states = r->states;
	pthread_mutex_unlock(&r->lock);
	return states;
}

/* Wait, woken by the observers, until @holds does; fails the test where that never is. */
static inline void rig_wait(struct rig *r, bool (*holds)(struct rig *r, void *arg), void *arg,
			    const char *what)
{
	struct timespec until = patience();
	int rc = 0;

	pthread_mutex_lock(&r->lock);
	while (!holds(r, arg) && !rc)
		rc = pthread_cond_timedwait(&r->changed, &r->lock, &until);
	pthread_mutex_unlock(&r->lock);
	if (rc)
		fail_msg("waited in vain for %s; the state is %s", what,
			 rk_state_name(rk_runtime_state(r->rt)));
}

static inline bool rig_state_is(struct rig *r, void *arg)
{
	return rk_runtime_state(r->rt) == *(enum rk_state *)arg;
}

static inline void rig_wait_state(struct rig *r, enum rk_state state)
{
	rig_wait(r, rig_state_is, &state, rk_state_name(state));
}

#define rig_command(r, trigger) rig_command_secs(r, trigger, -1)
#define rig_drain(r, secs)	rig_command_secs(r, RK_DRAIN, secs)
#define rig_expect_state(r, expect)                                                                \
	assert_string_equal(rk_state_name(rk_runtime_state((r)->rt)), rk_state_name(expect))

static inline void rig_command_secs(struct rig *r, enum rk_trigger trigger, int64_t secs)
{
	struct rk_error err = {0};

	if (rk_runtime_command(r->rt, trigger, secs < 0 ? -1 : secs * 1000, NULL, &err))
		fail_msg("%s", err.msg);
}

static inline void rig_start(struct rig *r)
{
	rig_command(r, RK_START);
	rig_wait_state(r, RK_RUNNING);
}

/* --- events --- */

/* The first event called @name numbered @from or above, with a reference; NULL = none yet. */
static inline json_t *rig_find_event(struct rig *r, const char *name, uint64_t from)
{
	uint64_t seq = from;
	char *line;

	while (rk_events_next(rk_runtime_events(r->rt), &seq, &line) > 0) {
		json_t *event = json_loads(line, 0, NULL);

		free(line);
		if (!strcmp(json_string_value(json_object_get(event, "event")), name))
			return event;
		json_decref(event);
	}
	return NULL;
}

struct rig_event {
	const char *name;
	uint64_t from;
	json_t *found;
};

static inline bool rig_event_is_there(struct rig *r, void *arg)
{
	struct rig_event *e = arg;

	e->found = rig_find_event(r, e->name, e->from);
	return e->found;
}

static inline json_t *rig_wait_event(struct rig *r, const char *name, uint64_t from)
{
	struct rig_event e = {.name = name, .from = from};

	rig_wait(r, rig_event_is_there, &e, name);
	return e.found;
}

/* The number that the next event will have. */
static inline uint64_t rig_now(struct rig *r)
{
	return rk_events_end(rk_runtime_events(r->rt));
}

/* The process of the last WorkerStarted at @from or above. */
static inline pid_t rig_worker_pid(struct rig *r, uint64_t from)
{
	json_t *event = rig_wait_event(r, "WorkerStarted", from);
	pid_t pid = (pid_t)json_integer_value(json_object_get(event, "pid"));

	json_decref(event);
	assert_true(pid > 0);
	return pid;
}

/* Wait until the process that @pidfd stands for is dead; closes @pidfd. */
static inline void wait_dead(int pidfd)
{
	struct pollfd p = {.fd = pidfd, .events = POLLIN};

	assert_int_equal(poll(&p, 1, PATIENCE_SECS * 1000), 1);
	close(pidfd);
}

/* Until the supervisor has collected every child; without consuming anything. */
static inline void wait_no_children(void)
{
	siginfo_t info;

	while (!waitid(P_ALL, 0, &info, WEXITED | WNOWAIT))
		sched_yield(); /* dead, not collected yet */
	assert_int_equal(errno, ECHILD);
}

/* --- calls --- */

static inline void call_on_done(struct rk_message *m, void *ctx)
{
	struct call *c = ctx;

	(void)m;
	pthread_mutex_lock(&c->rig->lock);
	c->done = true;
	pthread_cond_broadcast(&c->rig->changed);
	pthread_mutex_unlock(&c->rig->lock);
}

static inline bool call_is_done(struct rig *r, void *arg)
{
	(void)r;
	return ((struct call *)arg)->done;
}

static inline struct rk_kernel *rig_kernel(struct rig *r, const char *name)
{
	struct rk_kernel *k = rk_registry_find(rk_runtime_registry(r->rt), "core", name);

	assert_non_null(k);
	return k;
}

/* Make a call of core/@name with axes of @n; the caller of a delay sets its milliseconds. */
static inline void call_make(struct rig *r, struct call *c, const char *name, uint64_t n)
{
	struct rk_payload *pool = rk_runtime_payload(r->rt);
	struct rk_kernel *k = rig_kernel(r, name);

	*c = (struct call){.rig = r, .m = make_message(k, pool, n)};
	c->m->done = call_on_done;
	c->m->ctx = c;
	rk_kernel_unref(k);
	rk_payload_unref(pool);
}

static inline int call_submit(struct call *c, bool may_wait, struct rk_error *err)
{
	return rk_dispatch_submit(rk_runtime_dispatch(c->rig->rt), c->m, may_wait, err);
}

static inline void call_delay(struct rig *r, struct call *c, uint32_t ms)
{
	struct rk_error err = {0};

	call_make(r, c, "delay", 1);
	memcpy(input_of(c->m, 0), &ms, sizeof(ms));
	if (call_submit(c, false, &err))
		fail_msg("%s", err.msg);
}

/* The worker has it; a health check may have had the thread until now. */
static inline void call_await_running(struct call *c)
{
	struct timespec until = patience(), now;

	do {
		sched_yield();
		clock_gettime(CLOCK_REALTIME, &now);
	} while (!rk_dispatch_is_running(rk_runtime_dispatch(c->rig->rt), c->m) &&
		 now.tv_sec < until.tv_sec);
	assert_true(rk_dispatch_is_running(rk_runtime_dispatch(c->rig->rt), c->m));
}

/* Wait for the answer, check its errno, forget the call. */
static inline void call_expect(struct call *c, int code)
{
	rig_wait(c->rig, call_is_done, c, "an answer");
	if (c->m->error.code != code)
		fail_msg("%d instead of %d: %s", c->m->error.code, code, c->m->error.msg);
	rk_message_unref(c->m);
	c->m = NULL;
}

/* A whole call that must succeed. */
static inline void rig_call(struct rig *r)
{
	struct call c;

	call_delay(r, &c, 0);
	call_expect(&c, 0);
}

/* --- a runtime in a given state --- */

static inline bool rig_was_told(struct rig *r, void *arg)
{
	return r->states == *(unsigned int *)arg;
}

/* In Running and Draining @c is in flight. */
static inline void rig_enter(struct rig *r, enum rk_state state, struct call *c)
{
	static const unsigned int transitions[] = {
		[RK_CREATED] = 0,  [RK_STARTING] = 1, [RK_RUNNING] = 2,
		[RK_DRAINING] = 3, [RK_STOPPED] = 1,  [RK_FAILED] = 2,
	};

	if (state == RK_CREATED || state == RK_STARTING || state == RK_FAILED) {
		fake_worker_be(state == RK_FAILED ? "exit" : "silent");
		rig_open(r, FAKE_WORKER);
	} else {
		rig_open(r, NULL);
	}
	switch (state) {
	case RK_RUNNING:
	case RK_DRAINING:
		rig_start(r);
		call_delay(r, c, UINT32_MAX);
		if (state == RK_DRAINING)
			rig_drain(r, 86400);
		break;
	case RK_STARTING:
	case RK_FAILED:
		rig_command(r, RK_START);
		rig_wait_state(r, state);
		break;
	case RK_STOPPED:
		rig_command(r, RK_STOP);
		break;
	default:
		break;
	}
	rig_expect_state(r, state);
	/* the state can be seen before its observer was called */
	rig_wait(r, rig_was_told, &(unsigned int){transitions[state]}, "its observer");
}

static inline void rig_leave(struct rig *r, struct call *c)
{
	rig_command(r, RK_STOP);
	if (c->m)
		call_expect(c, ECANCELED);
	rig_close(r);
	fake_worker_be(NULL);
}

#endif
