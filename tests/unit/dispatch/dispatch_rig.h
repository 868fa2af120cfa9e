/* SPDX-License-Identifier: MIT */
/* Dispatch with three kernels, whose worker and supervisor are the test. */
#ifndef RK_TESTS_DISPATCH_RIG_H
#define RK_TESTS_DISPATCH_RIG_H

#include <sys/socket.h>

#include "runtime/base/clock.h"
#include "tests/unit/message_fixture.h"
#include "tests/unit/payload_used.h"

#define KERNELS	     3
#define MESSAGES_MAX 64
#define LIMIT	     (8 << 20)

struct rig {
	struct rk_dispatch d;
	struct rk_registry *reg;
	struct rk_payload *pool;
	struct rk_kernel *k[KERNELS];
	int fd, peer; /* the daemon's and the worker's end */
	struct rk_message *all[MESSAGES_MAX];
	unsigned int nall;
	struct rk_message *done[MESSAGES_MAX]; /* in the order of their callbacks */
	unsigned int ndone;
	unsigned int idle, deadlines, room[KERNELS], unloadable[KERNELS], tripped[KERNELS];
	uint64_t deadline; /* the last one told */
	bool locked;	   /* something was called with dispatch's lock held */
	struct rk_message_list held;
};

/* Whoever is called by dispatch looks here whether he may take its lock. */
static inline void look_at_lock(struct rig *r)
{
	if (pthread_mutex_trylock(&r->d.lock))
		r->locked = true;
	else
		pthread_mutex_unlock(&r->d.lock);
}

static inline unsigned int index_of(const struct rig *r, const struct rk_kernel *k)
{
	unsigned int i = 0;

	while (r->k[i] != k)
		i++;
	return i;
}

static inline void on_idle(void *ctx)
{
	struct rig *r = ctx;

	look_at_lock(r);
	r->idle++;
}

static inline void on_deadline(void *ctx, uint64_t at_ns)
{
	struct rig *r = ctx;

	look_at_lock(r);
	r->deadlines++;
	r->deadline = at_ns;
}

static inline void on_room(void *ctx, struct rk_kernel *k)
{
	struct rig *r = ctx;

	look_at_lock(r);
	r->room[index_of(r, k)]++;
}

static inline void on_unloadable(void *ctx, struct rk_kernel *k)
{
	struct rig *r = ctx;

	look_at_lock(r);
	r->unloadable[index_of(r, k)]++;
}

static inline void on_tripped(void *ctx, struct rk_kernel *k)
{
	struct rig *r = ctx;

	look_at_lock(r);
	r->tripped[index_of(r, k)]++;
}

static inline void on_done(struct rk_message *m, void *ctx)
{
	struct rig *r = ctx;

	look_at_lock(r);
	if (r->ndone < MESSAGES_MAX)
		r->done[r->ndone] = m;
	r->ndone++;
}

static inline void rig_attach_fusing(struct rig *r, uint32_t slots, uint32_t fuse_max)
{
	int pair[2];

	if (r->fd >= 0) {
		close(r->fd);
		close(r->peer);
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	r->fd = pair[0];
	r->peer = pair[1];
	rk_dispatch_attach(&r->d, RK_ONLY_LANE, r->fd, NULL, slots, fuse_max);
}

static inline void rig_attach(struct rig *r, uint32_t slots)
{
	rig_attach_fusing(r, slots, 1);
}

/* Three active kernels, accepting, queues of four, no timeout, no worker yet. */
static inline int rig_setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	const struct rk_dispatch_observer observer = {.idle = on_idle,
						      .deadline = on_deadline,
						      .unloadable = on_unloadable,
						      .tripped = on_tripped,
						      .ctx = r};
	static const char *const names[KERNELS] = {"a", "b", "c"};
	struct rk_error err;

	assert_non_null(r);
	r->fd = r->peer = -1;
	TAILQ_INIT(&r->held);
	assert_int_equal(rk_dispatch_init(&r->d, &observer), 0);
	rk_dispatch_on_room(&r->d, on_room, r);
	assert_int_equal(rk_registry_create(&r->reg), 0);
	assert_int_equal(rk_payload_create(LIMIT, 100, &r->pool, &err), 0);
	rk_dispatch_set_limits(&r->d, 4, 0, 0);
	for (unsigned int i = 0; i < KERNELS; i++) {
		r->k[i] = add_kernel(r->reg, "test", names[i]);
		rk_dispatch_kernel_loaded(&r->d, RK_ONLY_LANE, r->k[i], true);
		rk_dispatch_kernel_state(&r->d, r->k[i], RK_KERNEL_ACTIVE, "");
	}
	assert_int_equal(rk_dispatch_accept(&r->d, true), 0);
	*state = r;
	return 0;
}

/* In place of kernel @i comes the one that @text describes; the name is the same. */
static inline void rig_describe(struct rig *r, unsigned int i, const char *text)
{
	struct rk_kernel *old = r->k[i];

	r->k[i] = add_described(r->reg, text, true);
	rk_dispatch_kernel_state(&r->d, old, RK_KERNEL_OFF, "replaced");
	rk_registry_forget(r->reg, old);
	rk_kernel_unref(old);
	rk_dispatch_kernel_loaded(&r->d, RK_ONLY_LANE, r->k[i], true);
	rk_dispatch_kernel_state(&r->d, r->k[i], RK_KERNEL_ACTIVE, "");
}

/* Release what running messages were handed over; returns how many. */
static inline unsigned int rig_release_held(struct rig *r)
{
	struct rk_message *m;
	unsigned int n = 0;

	while ((m = TAILQ_FIRST(&r->held))) {
		TAILQ_REMOVE(&r->held, m, queue);
		rk_message_unref(m);
		n++;
	}
	return n;
}

/* Everything has ended and nobody but the test still has a reference to anything. */
static inline int rig_teardown(void **state)
{
	struct rig *r = *state;

	assert_false(r->locked);
	assert_int_equal(rk_dispatch_in_flight(&r->d), 0);
	for (unsigned int i = 0; i < r->nall; i++) {
		assert_int_equal(r->all[i]->refs, 1);
		rk_message_unref(r->all[i]);
	}
	assert_int_equal(payload_used(r->pool), 0);
	for (unsigned int i = 0; i < KERNELS; i++) {
		assert_int_equal(r->k[i]->refs, 2); /* the registry's and this one */
		rk_kernel_unref(r->k[i]);
	}
	if (r->fd >= 0) {
		close(r->fd);
		close(r->peer);
	}
	rk_dispatch_destroy(&r->d);
	rk_registry_destroy(r->reg);
	rk_payload_unref(r->pool);
	free(r);
	return 0;
}

/* All of what is in flight, in the order of its ids, is listed and found. */
static inline void check_list(struct rig *r, uint64_t in_flight)
{
	struct rk_message_info info[MESSAGES_MAX + 1], found;
	size_t n = rk_dispatch_list(&r->d, 0, info, MESSAGES_MAX + 1);

	assert_int_equal(n, in_flight);
	for (size_t i = 0; i < n; i++) {
		assert_true(!i || info[i].id > info[i - 1].id);
		assert_true(rk_dispatch_find(&r->d, (uint32_t)info[i].id, &found));
		assert_int_equal(found.id, info[i].id);
		assert_int_equal(found.state, info[i].state);
	}
}

/* accepted = ended + in_flight, in the whole and for each kernel; the whole is the kernels' sum. */
static inline void check_books(struct rig *r)
{
	struct rk_counts whole, sum = {0}, part;

	assert_true(books_balance(&r->d, NULL));
	rk_dispatch_snapshot(&r->d, NULL, &whole);
	for (unsigned int i = 0; i < KERNELS; i++) {
		assert_true(books_balance(&r->d, r->k[i]));
		rk_dispatch_snapshot(&r->d, r->k[i], &part);
		sum.in_flight += part.in_flight;
		for (unsigned int c = 0; c < RK_COUNTER_COUNT; c++)
			sum.count[c] += part.count[c];
	}
	check_list(r, whole.in_flight);
	assert_memory_equal(&whole, &sum, sizeof(whole));
	assert_int_equal(rk_dispatch_in_flight(&r->d), whole.in_flight);
}

/* What the counters are now. @text: "accepted processed failed cancelled timed_out rejected". */
static inline void expect_counts(struct rig *r, const char *text)
{
	struct rk_counts c;
	char buf[128];

	check_books(r);
	rk_dispatch_snapshot(&r->d, NULL, &c);
	snprintf(buf, sizeof(buf), "%d %d %d %d %d %d", (int)c.count[RK_COUNT_ACCEPTED],
		 (int)c.count[RK_COUNT_PROCESSED], (int)c.count[RK_COUNT_FAILED],
		 (int)c.count[RK_COUNT_CANCELLED], (int)c.count[RK_COUNT_TIMED_OUT],
		 (int)c.count[RK_COUNT_REJECTED]);
	assert_string_equal(buf, text);
}

static inline int try_submit(struct rig *r, unsigned int k, bool may_wait, struct rk_message **m,
			     struct rk_error *err)
{
	int rc;

	assert_true(r->nall < MESSAGES_MAX);
	*m = make_message(r->k[k], r->pool, 4);
	(*m)->done = on_done;
	(*m)->ctx = r;
	r->all[r->nall++] = *m;
	rc = rk_dispatch_submit(&r->d, *m, may_wait, err);
	check_books(r);
	return rc;
}

static inline struct rk_message *submit(struct rig *r, unsigned int k)
{
	struct rk_error err = {0};
	struct rk_message *m;

	if (try_submit(r, k, false, &m, &err))
		fail_msg("%s", err.msg);
	return m;
}

static inline void refuse(struct rig *r, unsigned int k, bool may_wait, int code,
			  const char *sentence)
{
	struct rk_error err = {0};
	struct rk_message *m;

	assert_int_equal(try_submit(r, k, may_wait, &m, &err), -code);
	assert_int_equal(err.code, code);
	if (!strstr(err.msg, sentence))
		fail_msg("%s", err.msg);
	assert_int_equal(m->state, RK_MESSAGE_NEW);
	assert_int_equal(m->refs, 1);
}

static inline struct rk_message *submit_waiting(struct rig *r, unsigned int k)
{
	struct rk_error err = {0};
	struct rk_message *m;

	assert_int_equal(try_submit(r, k, true, &m, &err), 0);
	assert_int_equal(m->state, RK_MESSAGE_WAITING);
	assert_int_equal(m->id, 0);
	return m;
}

static inline bool take_run(struct rig *r, struct rk_wire_run *run)
{
	ssize_t n = recv(r->peer, run, sizeof(*run), MSG_DONTWAIT);

	if (n < 0)
		return false;
	assert_int_equal(n, offsetof(struct rk_wire_run, args) + 3 * sizeof(run->args[0]));
	return true;
}

/* The worker gets @m next. */
static inline struct rk_wire_run expect_run(struct rig *r, const struct rk_message *m)
{
	struct rk_wire_run run;

	assert_true(take_run(r, &run));
	assert_int_equal(run.id, m->id);
	assert_int_equal(run.kernel, m->kernel->slot);
	assert_int_equal(run.slot, m->slot);
	assert_int_equal(m->state, RK_MESSAGE_RUNNING);
	return run;
}

static inline void expect_no_run(struct rig *r)
{
	struct rk_wire_run run;

	assert_false(take_run(r, &run));
}

static inline int answer_with(struct rig *r, const struct rk_wire_run *run, int status,
			      const char *text, struct rk_error *err)
{
	struct rk_wire_done done = {
		.id = run->id, .slot = run->slot, .status = status, .run_ns = RK_NS_PER_MS};
	size_t len = status ? sizeof(done) : offsetof(struct rk_wire_done, text);
	int rc;

	snprintf(done.text, sizeof(done.text), "%s", text);
	rc = rk_dispatch_complete(&r->d, RK_ONLY_LANE, &done, len, err);
	check_books(r);
	return rc;
}

static inline void answer(struct rig *r, const struct rk_wire_run *run)
{
	struct rk_error err = {0};

	if (answer_with(r, run, 0, "", &err))
		fail_msg("%s", err.msg);
}

/* The caller of @m was told, once, that it ended with @code and a sentence that has @why. */
static inline void expect_told(struct rig *r, const struct rk_message *m, int code, const char *why)
{
	unsigned int calls = 0;

	for (unsigned int i = 0; i < r->ndone; i++)
		calls += r->done[i] == m;
	assert_int_equal(calls, 1);
	assert_int_equal(m->error.code, code);
	if (!strstr(m->error.msg, why))
		fail_msg("%s", m->error.msg);
	check_books(r);
}

/* ... and it is done. */
static inline void expect_done(struct rig *r, const struct rk_message *m, int code, const char *why)
{
	assert_int_equal(m->state, RK_MESSAGE_DONE);
	expect_told(r, m, code, why);
}

static inline void expect_last_error(struct rig *r, unsigned int k, const char *sentence)
{
	char msg[RK_ERROR_MAX];

	rk_dispatch_kernel_last_error(&r->d, r->k[k], 0, msg);
	if (!strstr(msg, sentence))
		fail_msg("%s", msg);
}

#define RIG_TEST(name) TEST_WITH(name, rig_setup, rig_teardown)

#endif
