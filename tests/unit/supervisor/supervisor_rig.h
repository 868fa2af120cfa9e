/* SPDX-License-Identifier: MIT */
/* The supervisor with fake workers, and the test in the place of the runtime. */
#ifndef RK_TESTS_SUPERVISOR_RIG_H
#define RK_TESTS_SUPERVISOR_RIG_H

#include "tests/unit/supervisor/fake_worker.h"
#include "tests/unit/message_fixture.h"
#include "tests/unit/payload_used.h"

#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/supervisor/supervisor.h"

#define KERNELS 3

/* Kernels of the rig, by slot - 1. */
enum {
	ON_CPU,
	ON_BOTH, /* slot 2, which fails to load where a mode says so */
	ON_CUDA,
};

#define KERNEL_TEXT(id, code)                                                                      \
	"[kernel]\nid = " id "\nmode = batch\ndescription = test\n"                                \
	"[inputs]\nx = u32[n]\n[outputs]\ny = u32[n]\n" code
#define CPU_CODE  "[cpu]\nlibrary = builtin\nentry = echo\nargs = x, y, n\n"
#define CUDA_CODE "[cuda]\nmodule = builtin\nentry = echo\nargs = x, y, n\ngrid = n\nblock = 4\n"

struct rig {
	struct rk_dispatch d;
	struct rk_registry *reg;
	struct rk_payload *pool;
	struct rk_supervisor *sup;
	struct rk_kernel *k[KERNELS];
	int executable;
	struct rk_supervisor_params params;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* what the observers were told, guarded by lock */
	unsigned int ready, died, failed, checked, refused;
	char backend[RK_WIRE_NAME_MAX];
	char how[RK_ERROR_MAX], why[RK_ERROR_MAX], check_why[RK_ERROR_MAX];
	uint32_t running;
	unsigned int backends; /* of all kernels, when the worker was dead */
	uint64_t number;
	int status;
};

static inline void tell(struct rig *r, unsigned int *counter)
{
	++*counter;
	pthread_cond_broadcast(&r->changed);
	pthread_mutex_unlock(&r->lock);
}

static inline void on_ready(void *ctx, uint32_t lane, pid_t pid, const char *backend,
			    const char *fallback_why)
{
	struct rig *r = ctx;

	(void)lane;
	(void)pid;
	(void)fallback_why;
	pthread_mutex_lock(&r->lock);
	snprintf(r->backend, sizeof(r->backend), "%s", backend);
	tell(r, &r->ready);
}

static inline void on_died(void *ctx, uint32_t lane, pid_t pid, const char *how, uint32_t running)
{
	struct rig *r = ctx;

	(void)lane;
	(void)pid;
	pthread_mutex_lock(&r->lock);
	snprintf(r->how, sizeof(r->how), "%s", how);
	r->running = running;
	r->backends = 0;
	for (unsigned int i = 0; i < KERNELS; i++)
		r->backends += atomic_load(&r->k[i]->backend);
	tell(r, &r->died);
}

static inline void on_failed(void *ctx, const char *why)
{
	struct rig *r = ctx;

	pthread_mutex_lock(&r->lock);
	snprintf(r->why, sizeof(r->why), "%s", why);
	tell(r, &r->failed);
}

static inline void on_kernel(void *ctx, struct rk_kernel *k, const char *why)
{
	struct rig *r = ctx;

	(void)k;
	pthread_mutex_lock(&r->lock);
	if (why)
		snprintf(r->why, sizeof(r->why), "%s", why);
	tell(r, why ? &r->refused : &(unsigned int){0});
}

static inline void on_checked(void *ctx, uint32_t lane, uint64_t number, int status,
			      const char *why)
{
	struct rig *r = ctx;

	(void)lane;
	pthread_mutex_lock(&r->lock);
	r->number = number;
	r->status = status;
	snprintf(r->check_why, sizeof(r->check_why), "%s", why);
	tell(r, &r->checked);
}

static inline void on_abandoned(void *ctx, pid_t pid)
{
	(void)ctx;
	(void)pid;
}

static inline void on_nothing(void *ctx)
{
	(void)ctx;
}

static inline void on_kernel_nothing(void *ctx, struct rk_kernel *k)
{
	(void)ctx;
	(void)k;
}

static inline void on_kernel_moved(void *ctx, struct rk_kernel *k, uint32_t lane)
{
	(void)ctx;
	(void)k;
	(void)lane;
}

static inline void on_out(void *ctx, uint32_t lane, const char *why)
{
	(void)ctx;
	(void)lane;
	(void)why;
}

static inline void on_ended(void *ctx, uint32_t lane)
{
	(void)ctx;
	(void)lane;
}

static inline void on_deadline(void *ctx, uint64_t at_ns)
{
	(void)ctx;
	(void)at_ns;
}

static inline void drop_line(void *ctx, enum rk_log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	(void)line;
}

static inline int setup(void **state)
{
	static const char *const texts[KERNELS] = {
		KERNEL_TEXT("test/cpu", CPU_CODE),
		KERNEL_TEXT("test/both", CPU_CODE CUDA_CODE),
		KERNEL_TEXT("test/cuda", CUDA_CODE),
	};
	struct rig *r = calloc(1, sizeof(*r));
	const struct rk_dispatch_observer dispatch_observer = {
		.idle = on_nothing,
		.lane_idle = on_nothing,
		.deadline = on_deadline,
		.tripped = on_kernel_nothing,
		.unloadable = on_kernel_nothing,
		.ctx = r,
	};
	const struct rk_supervisor_observer observer = {
		.ready = on_ready,
		.died = on_died,
		.abandoned = on_abandoned,
		.out = on_out,
		.moved = on_nothing,
		.ended = on_ended,
		.failed = on_failed,
		.kernel = on_kernel,
		.kernel_moved = on_kernel_moved,
		.checked = on_checked,
		.drain_deadline = on_nothing,
		.ctx = r,
	};
	struct rk_error err;

	assert_non_null(r);
	rk_log_set_sink(drop_line, NULL);
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	r->executable = open(FAKE_WORKER, O_RDONLY | O_CLOEXEC);
	assert_true(r->executable >= 0);
	assert_int_equal(rk_dispatch_init(&r->d, &dispatch_observer), 0);
	assert_int_equal(rk_registry_create(&r->reg), 0);
	assert_int_equal(rk_payload_create(8 << 20, 100, &r->pool, &err), 0);
	for (unsigned int i = 0; i < KERNELS; i++) {
		r->k[i] = add_described(r->reg, texts[i], false);
		assert_int_equal(r->k[i]->slot, i + 1);
	}
	rk_dispatch_set_limits(&r->d, 100, 0, 0);
	rk_dispatch_accept(&r->d, true);
	assert_int_equal(
		rk_supervisor_create(&r->sup, &r->d, r->reg, r->executable, &observer, &err), 0);
	r->params = (struct rk_supervisor_params){
		.payload = r->pool,
		.workers = 1,
		.threads = 4,
		.primary = "cpu",
		.restart_limit = 5,
		.load_timeout_ms = 60000,
		.max_instances = 10,
		.fuse_max = 1,
		.sample_ms = 1234,
		.devices = {"0"},
		.watched = true,
		.device = {.ring_idle_ms = 5678, .pool_growth_factor = 2},
	};
	*state = r;
	return 0;
}

static inline int teardown(void **state)
{
	struct rig *r = *state;

	rk_supervisor_destroy(r->sup);
	fake_worker_be(NULL);
	assert_int_equal(rk_dispatch_in_flight(&r->d), 0);
	for (unsigned int i = 0; i < KERNELS; i++)
		rk_kernel_unref(r->k[i]);
	assert_int_equal(payload_used(r->pool), 0);
	rk_registry_destroy(r->reg);
	rk_payload_unref(r->pool);
	rk_dispatch_destroy(&r->d);
	close(r->executable);
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r);
	return 0;
}

/* Until an observer was called @n times; returns with the lock. */
static inline void await_locked(struct rig *r, const unsigned int *counter, unsigned int n)
{
	struct timespec until = patience();

	pthread_mutex_lock(&r->lock);
	while (*counter < n)
		if (pthread_cond_timedwait(&r->changed, &r->lock, &until)) {
			pthread_mutex_unlock(&r->lock);
			fail_msg("waited in vain; failed: %s; died: %s", r->why, r->how);
		}
}

static inline void await(struct rig *r, const unsigned int *counter, unsigned int n)
{
	await_locked(r, counter, n);
	pthread_mutex_unlock(&r->lock);
}

static inline void start(struct rig *r, const char *mode)
{
	unsigned int ready;

	pthread_mutex_lock(&r->lock);
	ready = r->ready;
	pthread_mutex_unlock(&r->lock);
	fake_worker_be(mode);
	rk_supervisor_start(r->sup, &r->params);
	await(r, &r->ready, ready + 1);
}

static inline void stop(struct rig *r)
{
	struct rk_message_list held = TAILQ_HEAD_INITIALIZER(held);

	rk_dispatch_end_all(&r->d, ECANCELED, "stopped", &held);
	rk_supervisor_stop(r->sup, true, &held);
}

/* The worker shows these numbers. */
static inline void await_shown(struct rig *r, uint64_t now, uint64_t peak)
{
	struct timespec until = patience(), at;
	uint64_t seen[2];

	do {
		sched_yield();
		rk_supervisor_gpu_memory(r->sup, &seen[0], &seen[1]);
		clock_gettime(CLOCK_REALTIME, &at);
	} while ((seen[0] != now || seen[1] != peak) && at.tv_sec < until.tv_sec);
	assert_int_equal(seen[0], now);
	assert_int_equal(seen[1], peak);
}

static inline struct rk_message *submit(struct rig *r, unsigned int k)
{
	struct rk_message *m = make_message(r->k[k], r->pool, 4);
	struct rk_error err;

	if (rk_dispatch_submit(&r->d, m, false, &err))
		fail_msg("%s", err.msg);
	return m;
}

static inline void expect_refused(struct rig *r, unsigned int k, int code, const char *sentence)
{
	struct rk_message *m = make_message(r->k[k], r->pool, 4);
	char last[RK_ERROR_MAX];
	struct rk_error err;

	for (unsigned int i = 0; i < 2; i++) { /* the second one says no less */
		assert_int_equal(rk_dispatch_submit(&r->d, m, false, &err), -code);
		assert_string_equal(err.msg, sentence);
		rk_dispatch_kernel_last_error(&r->d, r->k[k], 0, last);
		assert_string_equal(last, sentence);
	}
	rk_message_unref(m);
}

/* The message failed with its worker; @m is released. */
static inline void expect_failed(struct rig *r, struct rk_message *m, const char *sentence)
{
	while (rk_dispatch_in_flight(&r->d)) /* its end comes before the observer's call */
		sched_yield();
	assert_int_equal(m->error.code, EIO);
	if (!strstr(m->error.msg, sentence))
		fail_msg("%s", m->error.msg);
	rk_message_unref(m);
}

#define RIG_TEST(name) TEST_WITH(name, setup, teardown)

#endif
