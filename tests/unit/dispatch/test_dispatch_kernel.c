/* SPDX-License-Identifier: MIT */
/* What dispatch knows of a kernel: its own limits, loading, blame, retirement; messages by id. */
#include "tests/unit/dispatch/dispatch_rig.h"

#define MANY 3000

/* --- limits of its own --- */

RIG_TEST(depth)
{
	struct rig *r = *state;
	struct rk_message *waiting;
	struct rk_wire_run run;

	r->k[0]->manifest.max_queue_depth = 2;
	r->k[1]->manifest.max_queue_depth = 6;
	for (unsigned int i = 0; i < 2; i++)
		submit(r, 0);
	assert_false(rk_dispatch_has_room(&r->d, r->k[0], 1000));
	refuse(r, 0, false, EAGAIN, "test/a: the queue is full (max_queue_depth 2)");
	waiting = submit_waiting(r, 0);
	for (unsigned int i = 0; i < 6; i++)
		submit(r, 1);
	refuse(r, 1, false, EAGAIN, "test/b: the queue is full (max_queue_depth 6)");
	for (unsigned int i = 0; i < 4; i++)
		submit(r, 2);
	refuse(r, 2, false, EAGAIN, "test/c: the queue is full (max_queue_depth 4)");
	rk_dispatch_set_limits(&r->d, 5, 0, 0); /* of those that have none of their own */
	submit(r, 2);
	assert_int_equal(waiting->state, RK_MESSAGE_WAITING);
	assert_int_equal(r->room[0], 0);
	rig_attach(r, 1);
	assert_int_equal(waiting->state, RK_MESSAGE_QUEUED);
	while (take_run(r, &run))
		answer(r, &run);
	expect_counts(r, "14 14 0 0 0 0");
}

RIG_TEST(timeout)
{
	struct rig *r = *state;
	struct rk_message *m[4];
	uint64_t next;

	r->k[0]->manifest.timeout_ms = 500 * 1000;
	r->k[1]->manifest.timeout_ms = 3000 * 1000;
	m[0] = submit(r, 0);
	assert_int_equal(m[0]->deadline_ns, m[0]->accepted_ns + 500 * RK_NS_PER_SEC);
	assert_int_equal(r->deadlines, 1);
	assert_int_equal(r->deadline, m[0]->deadline_ns);
	m[1] = submit(r, 2);
	assert_int_equal(m[1]->deadline_ns, 0);
	rk_dispatch_set_limits(&r->d, 4, 1000 * RK_NS_PER_SEC, 0);
	m[2] = submit(r, 1); /* longer than the runtime's */
	assert_int_equal(m[2]->deadline_ns, m[2]->accepted_ns + 3000 * RK_NS_PER_SEC);
	m[3] = submit(r, 2);
	assert_int_equal(m[3]->deadline_ns, m[3]->accepted_ns + 1000 * RK_NS_PER_SEC);

	assert_false(rk_dispatch_expire(&r->d, m[0]->deadline_ns - 1, &next));
	assert_int_equal(next, m[0]->deadline_ns);
	assert_false(rk_dispatch_expire(&r->d, m[0]->deadline_ns, &next));
	expect_done(r, m[0], ETIMEDOUT, "test/a: message 1: did not start within its timeout");
	assert_int_equal(next, m[3]->deadline_ns);
	assert_false(rk_dispatch_expire(&r->d, m[3]->deadline_ns, &next));
	expect_done(r, m[3], ETIMEDOUT, "did not start");
	assert_int_equal(next, m[2]->deadline_ns);
	assert_false(rk_dispatch_expire(&r->d, UINT64_MAX, &next));
	assert_int_equal(next, 0);
	assert_int_equal(m[1]->state, RK_MESSAGE_QUEUED);
	rk_dispatch_cancel(&r->d, m[1]);
	expect_counts(r, "4 0 0 1 3 0");
}

/* --- loading --- */

/* Takes messages before it is loaded; they wait for that, and for nothing else. */
RIG_TEST(loading)
{
	struct rig *r = *state;
	struct rk_message *m[4], *waiting, *other;
	struct rk_wire_run run;

	rig_attach(r, 4);
	rk_dispatch_kernel_state(&r->d, r->k[0], RK_KERNEL_OFF, "off");
	rk_dispatch_kernel_state(&r->d, r->k[0], RK_KERNEL_LOADING, "");
	assert_int_equal(r->d.kernels_active, 2);
	for (unsigned int i = 0; i < 4; i++)
		m[i] = submit(r, 0);
	waiting = submit_waiting(r, 0);
	expect_no_run(r);
	other = submit(r, 1); /* is not held up */
	run = expect_run(r, other);
	answer(r, &run);
	expect_no_run(r);
	rk_dispatch_cancel(&r->d, m[1]);
	expect_done(r, m[1], ECANCELED, "cancelled");
	assert_int_equal(waiting->state, RK_MESSAGE_QUEUED);
	rk_dispatch_kernel_state(&r->d, r->k[0], RK_KERNEL_ACTIVE, "");
	assert_int_equal(r->d.kernels_active, 3);
	for (unsigned int i = 0; i < 4; i++) {
		run = expect_run(r, i == 1 ? m[2] : i == 2 ? m[3] : i == 3 ? waiting : m[0]);
		answer(r, &run);
	}
	expect_counts(r, "6 5 0 1 0 0");
}

/* It cannot be loaded after all. */
RIG_TEST(loading_fails)
{
	struct rig *r = *state;
	struct rk_message *m[4], *waiting;

	rk_dispatch_kernel_state(&r->d, r->k[0], RK_KERNEL_LOADING, "");
	for (unsigned int i = 0; i < 4; i++)
		m[i] = submit(r, 0);
	waiting = submit_waiting(r, 0);
	rig_attach(r, 4);
	expect_no_run(r);
	rk_dispatch_kernel_state(&r->d, r->k[0], RK_KERNEL_OFF, "there is no such entry");
	for (unsigned int i = 0; i < 4; i++)
		expect_done(r, m[i], EIO, "there is no such entry");
	expect_done(r, waiting, ENODEV, "there is no such entry");
	refuse(r, 0, true, ENODEV, "not enabled");
	expect_counts(r, "4 0 4 0 0 2");
}

/* Disabled while it was being loaded: what it has accepted is run once it is. */
RIG_TEST(ending_while_loading)
{
	struct rig *r = *state;
	struct rk_wire_run run;
	struct rk_message *m;

	rig_attach(r, 1);
	rk_dispatch_kernel_state(&r->d, r->k[0], RK_KERNEL_LOADING, "");
	m = submit(r, 0);
	rk_dispatch_kernel_state(&r->d, r->k[0], RK_KERNEL_ENDING, "disabled");
	refuse(r, 0, true, ENODEV, "not enabled");
	expect_no_run(r);
	assert_int_equal(r->unloadable[0], 0);
	rk_dispatch_kernel_state(&r->d, r->k[0], RK_KERNEL_ACTIVE, "");
	rk_dispatch_kernel_state(&r->d, r->k[0], RK_KERNEL_ENDING, "disabled");
	run = expect_run(r, m);
	answer(r, &run);
	assert_int_equal(r->unloadable[0], 1);
}

RIG_TEST(expect)
{
	static const enum rk_kernel_state states[][2] = {
		{RK_KERNEL_OFF, RK_KERNEL_LOADING},
		{RK_KERNEL_LOADING, RK_KERNEL_LOADING},
		{RK_KERNEL_ACTIVE, RK_KERNEL_ACTIVE}, /* it was faster */
		{RK_KERNEL_ENDING, RK_KERNEL_LOADING},
	};
	struct rig *r = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(states); i++) {
		rk_dispatch_kernel_state(&r->d, r->k[0], states[i][0], "");
		rk_dispatch_kernel_expect(&r->d, r->k[0]);
		assert_int_equal(r->k[0]->state, states[i][1]);
		assert_int_equal(r->d.kernels_active, states[i][1] == RK_KERNEL_ACTIVE ? 3 : 2);
	}
}

/* --- blame --- */

/* The worker dies with one message of each of @n kernels; that of kernel 0 has killed it. */
static void die(struct rig *r, unsigned int n)
{
	struct rk_message *m[KERNELS];

	rig_attach(r, KERNELS);
	for (unsigned int i = 0; i < n; i++) {
		m[i] = submit(r, i);
		expect_run(r, m[i]);
	}
	assert_int_equal(rk_dispatch_detach(&r->d, RK_ONLY_LANE, "worker 7 was killed by SIGSEGV",
					    m[0]->id, &r->held),
			 n);
	expect_done(r, m[0], EIO, "worker 7 was killed by SIGSEGV in this kernel");
	for (unsigned int i = 1; i < n; i++)
		expect_done(r, m[i], EIO, "worker 7 was killed by SIGSEGV in test/a beside it");
	rig_release_held(r);
}

static void succeed(struct rig *r, unsigned int k)
{
	struct rk_wire_run run;
	struct rk_message *m;

	rig_attach(r, 1);
	m = submit(r, k);
	run = expect_run(r, m);
	answer(r, &run);
	expect_done(r, m, 0, "");
}

static void expect_tripped(struct rig *r, unsigned int k)
{
	for (unsigned int i = 0; i < KERNELS; i++) {
		assert_int_equal(r->tripped[i], i == k);
		assert_int_equal(r->k[i]->wanted, i != k);
	}
}

/* Three workers within a minute: it is disabled; its neighbours are not to blame. */
RIG_TEST(three_kills)
{
	struct rig *r = *state;

	for (unsigned int i = 0; i < RK_KILLS_MAX; i++) {
		expect_tripped(r, KERNELS); /* not yet */
		die(r, KERNELS);
	}
	expect_tripped(r, 0);
	die(r, 1); /* told once */
	expect_tripped(r, 0);
	/* enabled again, it has three lives again */
	rk_dispatch_kernel_state(&r->d, r->k[0], RK_KERNEL_OFF, "it was disabled");
	atomic_store(&r->k[0]->wanted, true);
	r->tripped[0] = 0;
	rk_dispatch_kernel_state(&r->d, r->k[0], RK_KERNEL_ACTIVE, "");
	for (unsigned int i = 0; i < RK_KILLS_MAX; i++) {
		expect_tripped(r, KERNELS);
		die(r, 1);
	}
	expect_tripped(r, 0);
}

/* Within a minute, whatever it does well in between. */
RIG_TEST(within_a_minute)
{
	struct rig *r = *state;

	for (unsigned int i = 0; i < 3 * RK_KILLS_MAX; i++) {
		die(r, 1);
		for (unsigned int j = 0; j < RK_KILLS_MAX; j++)
			if (r->k[0]->kills[j]) /* half a minute passes */
				r->k[0]->kills[j] -= RK_KILLS_NS / 2 + 1;
	}
	expect_tripped(r, KERNELS);
	memset(r->k[0]->kills, 0, sizeof(r->k[0]->kills));
	for (unsigned int i = 0; i < RK_KILLS_MAX; i++) {
		expect_tripped(r, KERNELS);
		succeed(r, 0);
		die(r, 1);
	}
	expect_tripped(r, 0);
}

/* The last worker's end, not that of one before it. */
RIG_TEST(blamed)
{
	struct rig *r = *state;

	assert_false(rk_dispatch_blamed(&r->d, RK_ONLY_LANE) && r->d.workers);
	die(r, 1);
	assert_true(rk_dispatch_blamed(&r->d, RK_ONLY_LANE));
	succeed(r, 0);
	assert_false(rk_dispatch_blamed(&r->d, RK_ONLY_LANE));
	assert_int_equal(
		rk_dispatch_detach(&r->d, RK_ONLY_LANE, "worker 8 was killed", 0, &r->held), 0);
	assert_false(rk_dispatch_blamed(&r->d, RK_ONLY_LANE));
}

/* Nobody is known to be to blame. */
RIG_TEST(no_blame)
{
	struct rig *r = *state;
	struct rk_message *m;

	for (unsigned int i = 0; i < 2 * RK_KILLS_MAX; i++) {
		rig_attach(r, 1);
		m = submit(r, 0);
		expect_run(r, m);
		rk_dispatch_detach(&r->d, RK_ONLY_LANE, "worker 7 was killed by SIGKILL",
				   i % 2 ? 77777 : 0, &r->held);
		expect_done(r, m, EIO, "worker 7 was killed by SIGKILL");
		assert_null(strstr(m->error.msg, "in "));
		rig_release_held(r);
	}
	expect_tripped(r, KERNELS);
}

/* Past its deadline: blamed, and however many messages of it were, for one worker. */
RIG_TEST(timeouts_are_kills)
{
	struct rig *r = *state;
	struct rk_message *m[4];
	uint64_t next;

	r->k[0]->manifest.timeout_ms = 1;
	for (unsigned int kills = 1; kills <= RK_KILLS_MAX; kills++) {
		rig_attach(r, 4);
		for (unsigned int i = 0; i < 4; i++) {
			m[i] = submit(r, i < 3 ? 0 : 1);
			expect_run(r, m[i]);
		}
		while (rk_now_ns() < m[2]->deadline_ns)
			;
		assert_true(rk_dispatch_expire(&r->d, rk_now_ns(), &next));
		expect_tripped(r, KERNELS);
		rk_dispatch_detach(&r->d, RK_ONLY_LANE, "it was replaced", 0, &r->held);
		for (unsigned int i = 0; i < 3; i++)
			expect_done(r, m[i], ETIMEDOUT, "ran longer than its timeout");
		expect_done(r, m[3], EIO, "it was replaced");
		rig_release_held(r);
		expect_tripped(r, kills == RK_KILLS_MAX ? 0 : KERNELS);
	}
}

/* Crashed when it was past its deadline already: once. */
RIG_TEST(blamed_once)
{
	struct rig *r = *state;
	struct rk_message *m;

	r->k[0]->manifest.timeout_ms = 1;
	for (unsigned int kills = 1; kills <= RK_KILLS_MAX; kills++) {
		rig_attach(r, 1);
		m = submit(r, 0);
		while (rk_now_ns() < m->deadline_ns)
			;
		rk_dispatch_detach(&r->d, RK_ONLY_LANE, "it crashed", m->id, &r->held);
		expect_done(r, m, ETIMEDOUT, "");
		rig_release_held(r);
		expect_tripped(r, kills == RK_KILLS_MAX ? 0 : KERNELS);
	}
}

/* Writing past an output costs a worker too; cancelled or not. */
RIG_TEST(overruns_are_kills)
{
	struct rig *r = *state;

	for (unsigned int kills = 1; kills <= RK_KILLS_MAX; kills++) {
		struct rk_error err = {0};
		struct rk_wire_run run;
		struct rk_message *m;

		rig_attach(r, 1);
		m = submit(r, 0);
		run = expect_run(r, m);
		if (kills == 2)
			rk_dispatch_cancel(&r->d, m);
		((char *)output_of(m, 0))[m->plan.outputs[0].bytes] = 0;
		assert_int_equal(answer_with(r, &run, 0, "", &err), -EIO);
		rk_dispatch_detach(&r->d, RK_ONLY_LANE, "it was replaced", 0, &r->held);
		expect_tripped(r, kills == RK_KILLS_MAX ? 0 : KERNELS);
	}
}

/* The caller has gone, the kernel is to blame all the same. */
RIG_TEST(cancelled_and_crashed)
{
	struct rig *r = *state;
	struct rk_message *m;

	for (unsigned int i = 0; i < RK_KILLS_MAX; i++) {
		rig_attach(r, 1);
		m = submit(r, 0);
		expect_run(r, m);
		rk_dispatch_cancel(&r->d, m);
		rk_dispatch_detach(&r->d, RK_ONLY_LANE, "it crashed", m->id, &r->held);
		expect_done(r, m, ECANCELED, "cancelled");
		assert_int_equal(rig_release_held(r), 1);
	}
	expect_tripped(r, 0);
	expect_counts(r, "3 0 0 3 0 0");
}

/* --- retirement --- */

/* A retired kernel serves until it is unloaded; its successor counts on. */
RIG_TEST(retired)
{
	struct rig *r = *state;
	struct rk_message *m[3];
	struct rk_kernel *old = r->k[2], *k;
	struct rk_counts counts;
	struct rk_wire_run run[3];

	rig_attach(r, 3);
	m[0] = submit(r, 2);
	k = add_kernel_with(r->reg, "test", "c", "version = 2\n", true);
	m[1] = submit(r, 2); /* it was begun before */
	r->k[2] = k;
	m[2] = submit(r, 2); /* nobody finds it closed */
	assert_int_equal(m[2]->state, RK_MESSAGE_QUEUED);
	rk_dispatch_kernel_loaded(&r->d, RK_ONLY_LANE, k, true);
	rk_dispatch_kernel_state(&r->d, k, RK_KERNEL_ACTIVE, "");
	for (unsigned int i = 0; i < 3; i++) {
		run[i] = expect_run(r, m[i]);
		assert_int_equal(run[i].kernel, i < 2 ? old->slot : k->slot);
	}
	for (unsigned int i = 0; i < 2; i++) {
		rk_dispatch_snapshot(&r->d, i ? k : old, &counts);
		assert_int_equal(counts.in_flight, 3);
		assert_int_equal(counts.count[RK_COUNT_ACCEPTED], 3);
	}
	for (unsigned int i = 0; i < 3; i++)
		answer(r, &run[i]);
	expect_counts(r, "3 3 0 0 0 0");
	assert_int_equal(old->pins, 0);
	rk_dispatch_kernel_state(&r->d, old, RK_KERNEL_OFF, "the kernel was removed");
	r->k[2] = old;
	refuse(r, 2, true, ENODEV, "test/c: the kernel was removed");
	r->k[2] = k;
	assert_int_equal(r->d.kernels_active, 3);
	rk_registry_forget(r->reg, old);
	rk_kernel_unref(old);
}

/* --- how long it takes --- */

RIG_TEST(latency)
{
	struct rig *r = *state;
	struct rk_histogram *h = &r->k[0]->stats->latency;
	struct rk_wire_run run[3];
	struct rk_message *m[3];
	struct rk_error err;
	int64_t usecs;

	rig_attach(r, 3);
	for (unsigned int i = 0; i < 3; i++) {
		m[i] = submit(r, 0);
		run[i] = expect_run(r, m[i]);
	}
	answer_with(r, &run[0], EDOM, "it failed", &err);
	rk_dispatch_cancel(&r->d, m[1]);
	answer(r, &run[1]);
	assert_int_equal(rk_histogram_percentile(h, 500), -1); /* none was processed */
	while (rk_now_ns() - m[2]->accepted_ns < 3 * RK_NS_PER_MS)
		;
	answer(r, &run[2]);
	usecs = (int64_t)((rk_now_ns() - m[2]->accepted_ns) / 1000);
	assert_in_range(rk_histogram_percentile(h, 500), 3000, usecs + usecs / 16);
	assert_int_equal(rk_histogram_percentile(&r->k[1]->stats->latency, 500), -1);
	rk_dispatch_reset(&r->d);
	rk_dispatch_reset_kernel(&r->d, r->k[0]);
	assert_int_equal(rk_histogram_percentile(h, 500), -1);
}

/* --- many messages by id --- */

struct many {
	struct rig *rig;
	struct rk_payload *pool;
	struct rk_message *m[MANY];
	unsigned int done;
};

static void many_on_done(struct rk_message *m, void *ctx)
{
	(void)m;
	((struct many *)ctx)->done++;
}

static struct many *many_submit(struct rig *r)
{
	struct many *many = calloc(1, sizeof(*many));
	struct rk_error err = {0};

	assert_non_null(many);
	many->rig = r;
	assert_int_equal(rk_payload_create(64 << 20, 100, &many->pool, &err), 0);
	rk_dispatch_set_limits(&r->d, MANY, 0, 0);
	for (unsigned int i = 0; i < MANY; i++) {
		/* kernels in no order, one of them seldom */
		struct rk_kernel *k = r->k[i % 100 == 50 ? 2 : i * 7 % 11 % 2];

		many->m[i] = make_message(k, many->pool, 4);
		many->m[i]->done = many_on_done;
		many->m[i]->ctx = many;
		if (rk_dispatch_submit(&r->d, many->m[i], false, &err))
			fail_msg("%s", err.msg);
	}
	return many;
}

static void many_free(struct many *many)
{
	for (unsigned int i = 0; i < MANY; i++) {
		assert_int_equal(many->m[i]->refs, 1);
		rk_message_unref(many->m[i]);
	}
	assert_int_equal(many->done, MANY);
	assert_int_equal(payload_used(many->pool), 0);
	rk_payload_unref(many->pool);
	free(many);
}

/* The list, @step at a time, has those that are not done: each once, by id. */
static void expect_listed(struct many *many, size_t step)
{
	struct rk_message_info info[100];
	uint64_t from = 0;
	unsigned int i = 0;
	size_t n;

	while ((n = rk_dispatch_list(&many->rig->d, from, info, step))) {
		for (size_t j = 0; j < n; j++) {
			while (many->m[i]->state == RK_MESSAGE_DONE)
				i++;
			assert_int_equal(info[j].id, many->m[i]->id);
			assert_string_equal(info[j].kernel, many->m[i]->kernel->manifest.id);
			assert_int_equal(info[j].state, many->m[i]->state);
			i++;
		}
		from = info[n - 1].id + 1;
	}
	while (i < MANY && many->m[i]->state == RK_MESSAGE_DONE)
		i++;
	assert_int_equal(i, MANY);
}

static void expect_found(struct many *many)
{
	struct rk_dispatch *d = &many->rig->d;

	for (unsigned int i = 0; i < MANY; i++) {
		const struct rk_message *m = many->m[i];
		struct rk_message_info info = {.id = 77};
		bool there = m->state != RK_MESSAGE_DONE;

		assert_int_equal(rk_dispatch_find(d, (uint32_t)m->id, &info), there);
		assert_int_equal(info.id, there ? m->id : 77);
		assert_string_equal(info.kernel, there ? m->kernel->manifest.id : "");
	}
}

RIG_TEST(many)
{
	struct rig *r = *state;
	struct many *many = many_submit(r);
	struct rk_message_info info;
	struct rk_wire_run run;

	rig_attach(r, 2);
	expect_listed(many, 100);
	expect_found(many);
	assert_false(rk_dispatch_find(&r->d, 0, &info));
	assert_false(rk_dispatch_find(&r->d, MANY + 1, &info));
	assert_false(rk_dispatch_cancel_id(&r->d, 0));
	assert_false(rk_dispatch_cancel_id(&r->d, MANY + 1));
	assert_false(rk_dispatch_cancel_id(&r->d, (1ULL << 32) + 5)); /* another's low half */
	for (unsigned int i = 0; i < MANY; i += 3)
		assert_true(rk_dispatch_cancel_id(&r->d, many->m[i]->id));
	for (unsigned int i = 1; i < MANY; i++) { /* the first one runs */
		assert_int_equal(many->m[i]->state == RK_MESSAGE_DONE, i % 3 == 0);
		if (many->m[i]->state == RK_MESSAGE_DONE)
			assert_int_equal(many->m[i]->error.code, ECANCELED);
	}
	assert_int_equal(many->done, MANY / 3);
	expect_listed(many, 1);
	expect_listed(many, 7);
	expect_found(many);
	for (unsigned int i = 0; take_run(r, &run); i++) {
		struct rk_wire_done done = {.id = run.id, .slot = run.slot, .run_ns = RK_NS_PER_MS};
		struct rk_error err;

		assert_int_equal(rk_dispatch_complete(&r->d, RK_ONLY_LANE, &done,
						      offsetof(struct rk_wire_done, text), &err),
				 0);
		if (i % 500 == 0)
			expect_listed(many, 64);
	}
	expect_listed(many, 64);
	expect_found(many);
	expect_counts(r, "3000 2000 0 1000 0 0");
	many_free(many);
}

/* The low half of an id is part of an inode number: never 0, and found beyond 2^32. */
RIG_TEST(large_ids)
{
	struct rig *r = *state;
	struct rk_message_info info;
	struct rk_message *m[3];

	r->d.next_id = UINT32_MAX - 1ULL;
	for (unsigned int i = 0; i < 3; i++)
		m[i] = submit(r, 0);
	assert_int_equal(m[0]->id, UINT32_MAX);
	assert_int_equal(m[1]->id, (1ULL << 32) + 1);
	assert_int_equal(m[2]->id, (1ULL << 32) + 2);
	assert_true(rk_dispatch_find(&r->d, 1, &info));
	assert_int_equal(info.id, m[1]->id);
	assert_false(rk_dispatch_cancel_id(&r->d, 1));
	for (unsigned int i = 0; i < 3; i++) {
		assert_true(rk_dispatch_cancel_id(&r->d, m[i]->id));
		expect_done(r, m[i], ECANCELED, "cancelled");
	}
}
