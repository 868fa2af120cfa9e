/* SPDX-License-Identifier: MIT */
/* How messages end that are not answered: drains, deaths, deadlines, kernels that go. */
#include "tests/unit/dispatch/dispatch_rig.h"

RIG_TEST(accept_false)
{
	struct rig *r = *state;
	struct rk_message *m[5], *waiting[2];
	struct rk_wire_run run;

	rig_attach(r, 1);
	for (unsigned int i = 0; i < 5; i++)
		m[i] = submit(r, 0);
	waiting[0] = submit_waiting(r, 0);
	waiting[1] = submit_waiting(r, 0);
	assert_int_equal(rk_dispatch_accept(&r->d, false), 5);
	/* callbacks are left to flush: the caller of accept holds a lock */
	assert_int_equal(r->ndone, 0);
	rk_dispatch_flush(&r->d);
	expect_done(r, waiting[0], ESHUTDOWN, "accepts no messages");
	expect_done(r, waiting[1], ESHUTDOWN, "accepts no messages");
	expect_counts(r, "5 0 0 0 0 2");
	refuse(r, 0, true, ESHUTDOWN, "accepts no messages");
	for (unsigned int i = 0; i < 5; i++) {
		assert_int_equal(r->idle, 0);
		run = expect_run(r, m[i]); /* those in flight go on */
		answer(r, &run);
	}
	assert_int_equal(r->idle, 1);
	expect_counts(r, "5 5 0 0 0 3");
	assert_int_equal(rk_dispatch_accept(&r->d, false), 0);
	rk_dispatch_flush(&r->d);
	assert_int_equal(r->idle, 1);
}

/* Accepting again before the last one is gone: no idle then. */
RIG_TEST(resume)
{
	struct rig *r = *state;
	struct rk_wire_run run[2];

	rig_attach(r, 2);
	run[0] = expect_run(r, submit(r, 0));
	assert_int_equal(rk_dispatch_accept(&r->d, false), 1);
	rk_dispatch_flush(&r->d);
	assert_int_equal(rk_dispatch_accept(&r->d, true), 1);
	rk_dispatch_flush(&r->d);
	run[1] = expect_run(r, submit(r, 1));
	answer(r, &run[0]);
	answer(r, &run[1]);
	assert_int_equal(r->idle, 0);
	expect_counts(r, "2 2 0 0 0 0");
}

/* Idle comes after the last callback, also where a cancel ended the last one. */
RIG_TEST(idle_by_cancel)
{
	struct rig *r = *state;
	struct rk_message *m = submit(r, 0);

	rk_dispatch_accept(&r->d, false);
	rk_dispatch_flush(&r->d);
	rk_dispatch_cancel(&r->d, m);
	assert_int_equal(r->idle, 1);
	expect_done(r, m, ECANCELED, "");
}

/* The worker died: what ran fails and is held, what is queued goes to the next one. */
RIG_TEST(detach)
{
	struct rig *r = *state;
	struct rk_message *m[4];
	struct rk_error err = {0};
	struct rk_wire_run run[2];

	rig_attach(r, 2);
	for (unsigned int i = 0; i < 4; i++)
		m[i] = submit(r, i % 2);
	run[0] = expect_run(r, m[0]);
	run[1] = expect_run(r, m[1]);
	rk_dispatch_cancel(&r->d, m[1]); /* its verdict is decided */
	assert_int_equal(rk_dispatch_detach(&r->d, RK_ONLY_LANE, "worker 7 was killed by SIGKILL",
					    0, &r->held),
			 2);
	expect_done(r, m[0], EIO, "test/a: message 1: worker 7 was killed by SIGKILL");
	expect_done(r, m[1], ECANCELED, "cancelled by its caller");
	assert_int_equal(m[2]->state, RK_MESSAGE_QUEUED);
	assert_int_equal(m[3]->state, RK_MESSAGE_QUEUED);
	expect_counts(r, "4 0 1 1 0 0");
	/* the dying process may still be writing: the blocks stay */
	assert_int_equal(m[0]->refs, 2);
	assert_true(payload_used(r->pool) >= 4 * 4096);
	/* a late answer of it is of no interest */
	assert_int_equal(answer_with(r, &run[0], 0, "", &err), 0);
	expect_counts(r, "4 0 1 1 0 0");
	assert_int_equal(rig_release_held(r), 2);
	assert_int_equal(rk_dispatch_detach(&r->d, RK_ONLY_LANE, "again", 0, &r->held), 0);

	rig_attach(r, 1); /* the next worker has fewer threads */
	run[0] = expect_run(r, m[2]);
	expect_no_run(r);
	answer(r, &run[0]);
	run[0] = expect_run(r, m[3]);
	answer(r, &run[0]);
	expect_counts(r, "4 2 1 1 0 0");
}

RIG_TEST(detach_past_deadline)
{
	struct rig *r = *state;
	struct rk_message *late, *in_time;
	uint64_t next;

	rk_dispatch_set_limits(&r->d, 4, 1, 0); /* a nanosecond */
	rig_attach(r, 2);
	late = submit(r, 0);
	rk_dispatch_set_limits(&r->d, 4, 3600 * RK_NS_PER_SEC, 0);
	in_time = submit(r, 0);
	assert_true(rk_dispatch_expire(&r->d, rk_now_ns(), &next));
	assert_int_equal(rk_dispatch_detach(&r->d, RK_ONLY_LANE, "it was replaced", 0, &r->held),
			 2);
	expect_done(r, late, ETIMEDOUT,
		    "test/a: message 1: ran longer than its timeout; the worker was replaced");
	expect_done(r, in_time, EIO, "it was replaced");
	expect_counts(r, "2 0 1 0 1 0");
	rig_release_held(r);
}

RIG_TEST(end_all)
{
	struct rig *r = *state;
	struct rk_message *m[6], *waiting;

	rig_attach(r, 2);
	for (unsigned int i = 0; i < 6; i++)
		m[i] = submit(r, i < 5 ? 0 : 1);
	submit(r, 0);
	waiting = submit_waiting(r, 0);
	rk_dispatch_accept(&r->d, false);
	assert_int_equal(
		rk_dispatch_end_all(&r->d, ECANCELED, "the drain deadline passed", &r->held), 7);
	rk_dispatch_flush(&r->d);
	for (unsigned int i = 0; i < 6; i++)
		expect_done(r, m[i], ECANCELED, "the drain deadline passed");
	expect_done(r, waiting, ESHUTDOWN, "accepts no messages");
	expect_counts(r, "7 0 0 7 0 1");
	assert_true(r->idle >= 1);
	assert_int_equal(rig_release_held(r), 2);
	/* the worker is still there, but gets nothing more */
	struct rk_wire_run run;

	while (take_run(r, &run))
		;
	rk_dispatch_accept(&r->d, true);
	m[0] = submit(r, 0);
	expect_no_run(r);
	assert_int_equal(rk_dispatch_end_all(&r->d, EIO, "it failed", &r->held), 1);
	expect_done(r, m[0], EIO, "it failed");
	expect_counts(r, "8 0 1 7 0 1");
	assert_int_equal(rk_dispatch_end_all(&r->d, EIO, "nothing left", &r->held), 0);
}

/* Who polls for room must hear that a queue was emptied by force. */
RIG_TEST(end_all_makes_room)
{
	struct rig *r = *state;

	for (unsigned int i = 0; i < 4; i++)
		submit(r, 0);
	assert_false(rk_dispatch_has_room(&r->d, r->k[0], 1000));
	rk_dispatch_accept(&r->d, false);
	rk_dispatch_end_all(&r->d, ECANCELED, "stopped", &r->held);
	rk_dispatch_flush(&r->d);
	assert_true(rk_dispatch_has_room(&r->d, r->k[0], 1000));
	assert_int_equal(r->room[0], 1);
}

RIG_TEST(deadlines)
{
	struct rig *r = *state;
	struct rk_message *running, *queued, *later;
	struct rk_wire_run run;
	uint64_t next = 77;

	assert_false(rk_dispatch_expire(&r->d, UINT64_MAX, &next));
	assert_int_equal(next, 0);
	submit(r, 2); /* no timeout */
	assert_int_equal(r->deadlines, 0);
	rk_dispatch_set_limits(&r->d, 4, 1000 * RK_NS_PER_SEC, 0);
	rig_attach(r, 2);
	assert_true(take_run(r, &run));
	running = submit(r, 0);
	assert_int_equal(r->deadlines, 1);
	assert_int_equal(r->deadline, running->deadline_ns);
	assert_int_equal(running->deadline_ns, running->accepted_ns + 1000 * RK_NS_PER_SEC);
	queued = submit(r, 0);
	later = submit(r, 1);

	assert_false(rk_dispatch_expire(&r->d, running->deadline_ns - 1, &next));
	assert_int_equal(next, running->deadline_ns);
	assert_int_equal(r->ndone, 0);
	/* the one that runs: the worker must go; the queued one is ended here */
	assert_true(rk_dispatch_expire(&r->d, queued->deadline_ns, &next));
	assert_int_equal(running->state, RK_MESSAGE_RUNNING);
	expect_done(r, queued, ETIMEDOUT, "test/a: message 3: did not start within its timeout");
	assert_int_equal(next, later->deadline_ns > queued->deadline_ns ? later->deadline_ns : 0);
	assert_true(rk_dispatch_expire(&r->d, later->deadline_ns, &next));
	expect_done(r, later, ETIMEDOUT, "did not start");
	assert_int_equal(next, 0);
	expect_counts(r, "4 0 0 0 2 0");
	answer(r, &run);
	run = expect_run(r, running);
	rk_dispatch_detach(&r->d, RK_ONLY_LANE, "replaced", 0, &r->held);
	rig_release_held(r);
	expect_counts(r, "4 1 1 0 2 0");
}

/* Nothing is handed to a worker that must be replaced: it would fail with it. */
RIG_TEST(no_hand_out_when_stuck)
{
	struct rig *r = *state;
	struct rk_message *stuck, *next_one;
	struct rk_wire_run run;
	uint64_t next;

	rk_dispatch_set_limits(&r->d, 4, 1, 0);
	rig_attach(r, 2);
	stuck = submit(r, 0);
	expect_run(r, stuck);
	rk_dispatch_set_limits(&r->d, 4, 0, 0);
	assert_true(rk_dispatch_expire(&r->d, rk_now_ns(), &next));
	next_one = submit(r, 0);
	expect_no_run(r);
	rk_dispatch_detach(&r->d, RK_ONLY_LANE, "replaced", 0, &r->held);
	rig_release_held(r);
	expect_done(r, stuck, ETIMEDOUT, "ran longer than its timeout");
	rig_attach(r, 2);
	run = expect_run(r, next_one);
	answer(r, &run);
}

/* A cancelled message has a while to end in; then its worker must go, and its kernel is to blame.
 */
RIG_TEST(grace)
{
	struct rig *r = *state;
	struct rk_message *cancelled[2], *beside;
	struct rk_wire_run run[2];
	uint64_t next;

	rk_dispatch_set_limits(&r->d, 4, 0, RK_NS_PER_MS);
	rig_attach(r, 3);
	for (unsigned int i = 0; i < 2; i++) {
		cancelled[i] = submit(r, 0);
		run[i] = expect_run(r, cancelled[i]);
	}
	beside = submit(r, 1);
	assert_int_equal(r->deadlines, 0);
	for (unsigned int i = 0; i < 2; i++)
		rk_dispatch_cancel(&r->d, cancelled[i]);
	assert_int_equal(r->deadlines, 2);
	assert_int_equal(r->deadline, cancelled[1]->cancel_by_ns);
	answer(r, &run[0]); /* this one ends in time */
	assert_false(rk_dispatch_expire(&r->d, cancelled[1]->cancel_by_ns - 1, &next));
	assert_int_equal(next, cancelled[1]->cancel_by_ns);
	while (rk_now_ns() < cancelled[1]->cancel_by_ns)
		;
	assert_int_equal(rk_dispatch_expire(&r->d, rk_now_ns(), &next), 1 << RK_ONLY_LANE);
	assert_int_equal(next, 0);
	assert_string_equal(rk_dispatch_why_overdue(&r->d, RK_ONLY_LANE),
			    "a cancelled message did not end within cancel_grace");
	rk_dispatch_detach(&r->d, RK_ONLY_LANE, "it was replaced", 0, &r->held);
	assert_true(rk_dispatch_blamed(&r->d, RK_ONLY_LANE));
	assert_int_equal(r->k[0]->killed, r->d.workers);
	expect_done(r, beside, EIO, "it was replaced");
	expect_done(r, cancelled[1], ECANCELED, "cancelled by its caller");
	rig_release_held(r);
	expect_counts(r, "3 0 1 2 0 0");
}

/* The worker is told in its page which message of which slot was cancelled. */
RIG_TEST(cancelled_word)
{
	struct rig *r = *state;
	struct rk_wire_shared *page = calloc(1, sizeof(*page));
	struct rk_message *m[2];
	struct rk_wire_run run[2];

	assert_non_null(page);
	rig_attach(r, 2);
	rk_dispatch_attach(&r->d, RK_ONLY_LANE, r->fd, page, 2, 1);
	for (unsigned int i = 0; i < 2; i++) {
		m[i] = submit(r, 0);
		run[i] = expect_run(r, m[i]);
	}
	rk_dispatch_cancel(&r->d, m[1]);
	assert_int_equal(page->cancelled[m[0]->slot], 0);
	assert_int_equal(page->cancelled[m[1]->slot], m[1]->id);
	for (unsigned int i = 0; i < 2; i++)
		answer(r, &run[i]);
	rk_dispatch_detach(&r->d, RK_ONLY_LANE, "it ended", 0, &r->held);
	free(page);
}

/* One that gets its place because others expired has a deadline of its own to be watched. */
RIG_TEST(deadline_of_promoted)
{
	struct rig *r = *state;
	struct rk_message *queued, *waiting;
	uint64_t next = 0;

	rk_dispatch_set_limits(&r->d, 1, 1000 * RK_NS_PER_SEC, 0);
	queued = submit(r, 0);
	waiting = submit_waiting(r, 0);
	assert_false(rk_dispatch_expire(&r->d, queued->deadline_ns, &next));
	expect_done(r, queued, ETIMEDOUT, "did not start");
	assert_int_equal(waiting->state, RK_MESSAGE_QUEUED);
	assert_true(waiting->deadline_ns > 0);
	assert_int_equal(next, waiting->deadline_ns);
	rk_dispatch_cancel(&r->d, waiting);
}

RIG_TEST(kernel_ending)
{
	struct rig *r = *state;
	struct rk_message *m[5], *waiting;
	struct rk_wire_run run;

	assert_int_equal(r->d.kernels_active, 3);
	rig_attach(r, 1);
	for (unsigned int i = 0; i < 5; i++)
		m[i] = submit(r, 0);
	waiting = submit_waiting(r, 0);
	rk_dispatch_kernel_state(&r->d, r->k[0], RK_KERNEL_ENDING, "disabled");
	assert_int_equal(r->d.kernels_active, 2);
	expect_done(r, waiting, ENODEV, "disabled");
	refuse(r, 0, true, ENODEV, "not enabled");
	for (unsigned int i = 0; i < 5; i++) {
		assert_int_equal(r->unloadable[0], 0);
		run = expect_run(r, m[i]);
		answer(r, &run);
	}
	assert_int_equal(r->unloadable[0], 1);
	rk_dispatch_kernel_state(&r->d, r->k[0], RK_KERNEL_OFF, "disabled");
	assert_int_equal(r->d.kernels_active, 2);
	rk_dispatch_kernel_state(&r->d, r->k[0], RK_KERNEL_ACTIVE, "");
	rk_dispatch_kernel_state(&r->d, r->k[0], RK_KERNEL_ACTIVE, "");
	assert_int_equal(r->d.kernels_active, 3);
	/* with nothing in flight it is unloadable at once */
	rk_dispatch_kernel_state(&r->d, r->k[1], RK_KERNEL_ENDING, "disabled");
	assert_int_equal(r->unloadable[1], 1);
	expect_counts(r, "5 5 0 0 0 2");
}

RIG_TEST(kernel_off)
{
	struct rig *r = *state;
	struct rk_message *m[5], *waiting, *other;
	struct rk_wire_run run;

	rig_attach(r, 1);
	for (unsigned int i = 0; i < 5; i++)
		m[i] = submit(r, 0);
	waiting = submit_waiting(r, 0);
	other = submit(r, 1);
	run = expect_run(r, m[0]);
	rk_dispatch_kernel_state(&r->d, r->k[0], RK_KERNEL_OFF, "it cannot be loaded");
	for (unsigned int i = 1; i < 5; i++)
		expect_done(r, m[i], EIO, "it cannot be loaded");
	expect_done(r, waiting, ENODEV, "it cannot be loaded");
	assert_int_equal(m[0]->state, RK_MESSAGE_RUNNING);
	assert_int_equal(r->room[0], 1); /* who polls is to see ENODEV */
	answer(r, &run);
	run = expect_run(r, other);
	answer(r, &run);
	expect_counts(r, "6 2 4 0 0 1");
}
