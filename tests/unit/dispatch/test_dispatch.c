/* SPDX-License-Identifier: MIT */
/* Submission, queues, hand-out, answers and cancelling. */
#include "tests/unit/dispatch/dispatch_rig.h"

RIG_TEST(hand_out)
{
	struct rig *r = *state;
	struct rk_message *m;
	struct rk_wire_run run;

	rig_attach(r, 1);
	m = submit(r, 0);
	run = expect_run(r, m);
	assert_int_equal(run.nargs, 3);
	assert_int_equal(run.args[0].value, m->block.offset + m->plan.inputs[0].offset);
	assert_int_equal(run.args[0].bytes, 16);
	assert_int_equal(run.args[1].value, m->block.offset + m->plan.outputs[0].offset);
	assert_int_equal(run.args[2].value, 4);
	expect_counts(r, "1 0 0 0 0 0");
	assert_int_equal(r->ndone, 0);
	answer(r, &run);
	expect_done(r, m, 0, "");
	assert_int_equal(m->run_ns, RK_NS_PER_MS);
	expect_counts(r, "1 1 0 0 0 0");
	expect_last_error(r, 0, "none");
}

/* At most nslots at a time; ids ascend; each free slot is used again. */
RIG_TEST(slots)
{
	struct rig *r = *state;
	struct rk_wire_run run[2], third;
	struct rk_message *m[4];

	rig_attach(r, 2);
	for (unsigned int i = 0; i < 4; i++) {
		m[i] = submit(r, 0);
		assert_int_equal(m[i]->id, i + 1);
	}
	run[0] = expect_run(r, m[0]);
	run[1] = expect_run(r, m[1]);
	assert_int_not_equal(run[0].slot, run[1].slot);
	expect_no_run(r);
	assert_int_equal(m[2]->state, RK_MESSAGE_QUEUED);
	assert_int_equal(r->k[0]->queued, 2);
	answer(r, &run[1]); /* the second one is ready first */
	third = expect_run(r, m[2]);
	assert_int_equal(third.slot, run[1].slot);
	expect_no_run(r);
	answer(r, &run[0]);
	run[0] = expect_run(r, m[3]);
	answer(r, &run[0]);
	answer(r, &third);
	assert_ptr_equal(r->done[0], m[1]);
	expect_counts(r, "4 4 0 0 0 0");
}

RIG_TEST(queued_before_attach)
{
	struct rig *r = *state;
	struct rk_message *m = submit(r, 0);
	struct rk_wire_run run;

	assert_int_equal(m->state, RK_MESSAGE_QUEUED);
	rig_attach(r, 4);
	run = expect_run(r, m);
	answer(r, &run);
}

/* Kernels take turns, however many messages one of them has. */
RIG_TEST(round_robin)
{
	static const unsigned int submitted[] = {0, 0, 0, 0, 1, 1, 2};
	static const unsigned int expected[] = {0, 1, 2, 0, 1, 0, 0};
	struct rig *r = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(submitted); i++)
		submit(r, submitted[i]);
	rig_attach(r, 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(expected); i++) {
		struct rk_wire_run run;

		assert_true(take_run(r, &run));
		assert_int_equal(run.kernel, r->k[expected[i]]->slot);
		expect_no_run(r);
		answer(r, &run);
	}
	expect_counts(r, "7 7 0 0 0 0");
}

RIG_TEST(refusals)
{
	struct rig *r = *state;

	rk_dispatch_accept(&r->d, false);
	refuse(r, 0, true, ESHUTDOWN, "test/a: the runtime accepts no messages");
	rk_dispatch_accept(&r->d, true);
	rk_dispatch_kernel_state(&r->d, r->k[0], RK_KERNEL_OFF, "off");
	refuse(r, 0, true, ENODEV, "test/a: the kernel is not enabled");
	expect_last_error(r, 0, "not enabled");
	rk_dispatch_kernel_state(&r->d, r->k[1], RK_KERNEL_ENDING, "ending");
	refuse(r, 1, false, ENODEV, "test/b");
	expect_counts(r, "0 0 0 0 0 3");
	assert_int_equal(r->ndone, 0);
	rk_dispatch_reject(&r->d, r->k[2], 1000,
			   &(struct rk_error){.code = EINVAL, .msg = "not a number"});
	expect_last_error(r, 2, "not a number");
	expect_counts(r, "0 0 0 0 0 4");
}

/* Queue full: EAGAIN for who must not wait, a place in line for the others. */
RIG_TEST(full)
{
	struct rig *r = *state;
	struct rk_message *queued[4], *waiting[3];
	struct rk_wire_run run;

	for (unsigned int i = 0; i < 4; i++)
		queued[i] = submit(r, 0);
	assert_false(rk_dispatch_has_room(&r->d, r->k[0], 1000));
	assert_true(rk_dispatch_has_room(&r->d, r->k[1], 1000));
	refuse(r, 0, false, EAGAIN, "test/a: the queue is full (max_queue_depth 4)");
	expect_counts(r, "4 0 0 0 0 0"); /* may be tried again: no refusal */
	for (unsigned int i = 0; i < 3; i++)
		waiting[i] = submit_waiting(r, 0);
	refuse(r, 0, false, EAGAIN, "the queue is full");
	expect_counts(r, "4 0 0 0 0 0");
	rig_attach(r, 1);
	/* one place free: the first in line has it, nobody else */
	run = expect_run(r, queued[0]);
	assert_int_equal(waiting[0]->state, RK_MESSAGE_QUEUED);
	assert_int_equal(waiting[0]->id, 5);
	assert_int_equal(waiting[1]->state, RK_MESSAGE_WAITING);
	expect_counts(r, "5 0 0 0 0 0");
	refuse(r, 0, false, EAGAIN, "the queue is full");
	assert_int_equal(r->room[0], 0);
	for (unsigned int i = 1; i < 7; i++) {
		answer(r, &run);
		run = expect_run(r, i < 4 ? queued[i] : waiting[i - 4]);
	}
	assert_int_equal(r->room[0], 1); /* told once, when room was there */
	answer(r, &run);
	expect_counts(r, "7 7 0 0 0 0");
	for (unsigned int i = 0; i < 4; i++)
		assert_ptr_equal(r->done[i], queued[i]);
	for (unsigned int i = 0; i < 3; i++)
		assert_ptr_equal(r->done[4 + i], waiting[i]);
}

static struct rk_message *submit_as(struct rig *r, unsigned int k, uid_t uid)
{
	struct rk_message *m = make_message(r->k[k], r->pool, 1);
	struct rk_error err = {0};

	m->uid = uid;
	m->done = on_done;
	m->ctx = r;
	r->all[r->nall++] = m;
	if (rk_dispatch_submit(&r->d, m, true, &err))
		fail_msg("%s", err.msg);
	return m;
}

/* The flood of one user does not stand before the single call of another, nor fill his queue. */
RIG_TEST(users_take_turns)
{
	struct rig *r = *state;
	struct rk_message *flood[12], *single[3];
	struct rk_wire_run run;

	for (unsigned int i = 0; i < 12; i++) /* four are queued, the others wait */
		flood[i] = submit_as(r, i < 8 ? 0 : 1, 1000);
	assert_int_equal(flood[7]->state, RK_MESSAGE_WAITING);
	assert_false(rk_dispatch_has_room(&r->d, r->k[0], 1000));
	assert_true(rk_dispatch_has_room(&r->d, r->k[0], 1001));
	for (unsigned int i = 0; i < 3; i++) {
		single[i] = submit_as(r, 0, 1001 + i);
		assert_int_equal(single[i]->state, RK_MESSAGE_QUEUED);
	}
	assert_int_equal(r->k[0]->queued, 7);
	rig_attach(r, 1);
	run = expect_run(r, flood[0]); /* of the flood's two turns... */
	answer(r, &run);
	run = expect_run(r, flood[8]);
	for (unsigned int i = 0; i < 3; i++) { /* ...and then everybody's */
		answer(r, &run);
		run = expect_run(r, single[i]);
	}
	answer(r, &run);
	run = expect_run(r, flood[1]);
	/* one who comes anew is next but those who are there already */
	single[0] = submit_as(r, 0, 1001);
	answer(r, &run);
	run = expect_run(r, flood[9]);
	answer(r, &run);
	run = expect_run(r, flood[2]);
	answer(r, &run);
	run = expect_run(r, single[0]);
	do
		answer(r, &run);
	while (take_run(r, &run));
	expect_counts(r, "16 16 0 0 0 0");
	assert_true(TAILQ_EMPTY(&r->k[0]->turns));
}

/* The same of a ring kernel, of which one message runs at a time. */
RIG_TEST(users_take_turns_at_a_ring)
{
	struct rig *r = *state;
	struct rk_message *flood[4], *single;
	struct rk_wire_run run;

	r->k[0]->manifest.mode = RK_WIRE_RING;
	for (unsigned int i = 0; i < 4; i++)
		flood[i] = submit_as(r, 0, 1000);
	single = submit_as(r, 0, 1001);
	rig_attach(r, 4);
	run = expect_run(r, flood[0]);
	assert_false(take_run(r, &run) && run.id);
	answer(r, &run);
	run = expect_run(r, single);
	for (unsigned int i = 1; i < 4; i++) {
		answer(r, &run);
		run = expect_run(r, flood[i]);
	}
	answer(r, &run);
	expect_counts(r, "5 5 0 0 0 0");
}

/* What ends turns: cancelling, refusing, disabling; whoever polls is told. */
RIG_TEST(turns_end)
{
	struct rig *r = *state;
	struct rk_message *m[6];

	for (unsigned int i = 0; i < 5; i++)
		m[i] = submit_as(r, 0, 1000);
	m[5] = submit_as(r, 0, 1001);
	assert_int_equal(m[4]->state, RK_MESSAGE_WAITING);
	assert_false(rk_dispatch_has_room(&r->d, r->k[0], 1000));
	rk_dispatch_cancel(&r->d, m[4]);
	for (unsigned int i = 0; i < 4; i++)
		rk_dispatch_cancel(&r->d, m[i]);
	assert_int_equal(r->room[0], 1);
	assert_ptr_equal(TAILQ_FIRST(&r->k[0]->turns), m[5]->turn);
	assert_int_equal(r->k[0]->queued, 1);
	for (unsigned int i = 0; i < 5; i++)
		m[i] = submit_as(r, 0, 1000);
	rk_dispatch_kernel_state(&r->d, r->k[0], RK_KERNEL_OFF, "off");
	assert_true(TAILQ_EMPTY(&r->k[0]->turns));
	expect_done(r, m[3], EIO, "off");
	expect_done(r, m[4], ENODEV, "off");
	expect_done(r, m[5], EIO, "off");
}

/* Room is told to who asked, once per full queue, and to nobody who did not ask. */
RIG_TEST(room)
{
	struct rig *r = *state;
	struct rk_wire_run run;

	rig_attach(r, 1);
	for (unsigned int i = 0; i < 5; i++)
		submit(r, 0);
	assert_true(take_run(r, &run));
	answer(r, &run);
	assert_int_equal(r->room[0], 0);
	submit(r, 0);
	assert_false(rk_dispatch_has_room(&r->d, r->k[0], 1000));
	assert_true(take_run(r, &run));
	answer(r, &run);
	assert_int_equal(r->room[0], 1);
	while (take_run(r, &run))
		answer(r, &run);
	assert_int_equal(r->room[0], 1);
	assert_int_equal(r->room[1], 0);
}

/* The limit grows: who waits is let in, who polls is told. */
RIG_TEST(limit_grows)
{
	struct rig *r = *state;
	struct rk_message *waiting;
	struct rk_wire_run run;

	for (unsigned int i = 0; i < 4; i++)
		submit(r, 0);
	waiting = submit_waiting(r, 0);
	rk_dispatch_set_limits(&r->d, 5, 0, 0);
	assert_int_equal(waiting->state, RK_MESSAGE_QUEUED);
	assert_int_equal(r->room[0], 0);
	rk_dispatch_set_limits(&r->d, 6, 0, 0);
	assert_int_equal(r->room[0], 1);
	rk_dispatch_set_limits(&r->d, 1, 0, 0); /* those that are queued stay */
	refuse(r, 0, false, EAGAIN, "max_queue_depth 1");
	expect_counts(r, "5 0 0 0 0 0");
	rig_attach(r, 1);
	while (take_run(r, &run))
		answer(r, &run);
	expect_counts(r, "5 5 0 0 0 0");
}

RIG_TEST(cancel_queued)
{
	struct rig *r = *state;
	struct rk_message *m[5], *waiting;
	struct rk_wire_run run;

	for (unsigned int i = 0; i < 4; i++)
		m[i] = submit(r, 0);
	waiting = submit_waiting(r, 0);
	rk_dispatch_cancel(&r->d, m[1]);
	expect_done(r, m[1], ECANCELED, "test/a: message 2: cancelled by its caller");
	assert_int_equal(waiting->state, RK_MESSAGE_QUEUED); /* has its place now */
	expect_counts(r, "5 0 0 1 0 0");
	rk_dispatch_cancel(&r->d, m[1]); /* again: nothing */
	expect_done(r, m[1], ECANCELED, "");
	rig_attach(r, 4);
	run = expect_run(r, m[0]);
	answer(r, &run);
	run = expect_run(r, m[2]);
	answer(r, &run);
	while (take_run(r, &run))
		answer(r, &run);
	rk_dispatch_cancel(&r->d, m[2]); /* too late: done */
	expect_done(r, m[2], 0, "");
	expect_counts(r, "5 4 0 1 0 0");
}

RIG_TEST(cancel_waiting)
{
	struct rig *r = *state;
	struct rk_message *first, *second;
	struct rk_wire_run run;

	for (unsigned int i = 0; i < 4; i++)
		submit(r, 0);
	first = submit_waiting(r, 0);
	second = submit_waiting(r, 0);
	rk_dispatch_cancel(&r->d, first);
	expect_done(r, first, ECANCELED, "cancelled");
	expect_counts(r, "4 0 0 0 0 0"); /* was never accepted, has not been refused */
	rig_attach(r, 1);
	assert_int_equal(second->state, RK_MESSAGE_QUEUED);
	while (take_run(r, &run))
		answer(r, &run);
	expect_done(r, second, 0, "");
	expect_counts(r, "5 5 0 0 0 0");
}

/* The caller of one that runs is told at once; it is in flight until the worker is done with it. */
RIG_TEST(cancel_running)
{
	struct rig *r = *state;
	struct rk_message_info info;
	struct rk_error err = {0};
	struct rk_wire_run run[2];
	struct rk_message *m[2];

	rig_attach(r, 2);
	for (unsigned int i = 0; i < 2; i++) {
		m[i] = submit(r, i);
		run[i] = expect_run(r, m[i]);
		assert_true(rk_dispatch_find(&r->d, (uint32_t)m[i]->id, &info));
		assert_string_equal(rk_message_info_state(&info), "running");
		rk_dispatch_cancel(&r->d, m[i]);
		assert_int_equal(r->ndone, i + 1);
		expect_told(r, m[i], ECANCELED, "cancelled by its caller");
		assert_int_equal(m[i]->state, RK_MESSAGE_RUNNING);
		assert_true(rk_dispatch_find(&r->d, (uint32_t)m[i]->id, &info));
		assert_string_equal(rk_message_info_state(&info), "cancelling");
		rk_dispatch_cancel(&r->d, m[i]); /* again: nothing */
		assert_true(rk_dispatch_cancel_id(&r->d, m[i]->id));
		assert_int_equal(m[i]->refs, 2); /* the worker may write to its block */
	}
	assert_int_equal(r->ndone, 2);
	expect_last_error(r, 0, "test/a: message 1: cancelled by its caller");
	expect_counts(r, "2 0 0 0 0 0");
	submit(r, 0);
	expect_no_run(r); /* its slot is taken still */
	answer(r, &run[0]);
	expect_done(r, m[0], ECANCELED, "cancelled by its caller");
	assert_int_equal(answer_with(r, &run[1], EDOM, "it failed too", &err), 0);
	expect_done(r, m[1], ECANCELED, "cancelled by its caller");
	assert_false(rk_dispatch_cancel_id(&r->d, m[1]->id));
	expect_counts(r, "3 0 0 2 0 0");
	assert_true(take_run(r, &run[0]));
	answer(r, &run[0]);
	expect_counts(r, "3 1 0 2 0 0");
}

/* The last one in flight of a drain, whose caller knows already: the drain hears of its end. */
RIG_TEST(cancel_running_while_draining)
{
	struct rig *r = *state;
	struct rk_wire_run run;
	struct rk_message *m;

	rig_attach(r, 1);
	m = submit(r, 0);
	run = expect_run(r, m);
	rk_dispatch_accept(&r->d, false);
	rk_dispatch_flush(&r->d);
	rk_dispatch_cancel(&r->d, m);
	assert_int_equal(r->ndone, 1);
	assert_int_equal(r->idle, 0);
	answer(r, &run);
	assert_int_equal(r->idle, 1);
	assert_int_equal(r->ndone, 1);
	expect_counts(r, "1 0 0 1 0 0");
}

RIG_TEST(cancel_new)
{
	struct rig *r = *state;
	struct rk_message *m = make_message(r->k[0], r->pool, 1);

	rk_dispatch_cancel(&r->d, m);
	assert_int_equal(m->state, RK_MESSAGE_NEW);
	assert_int_equal(m->refs, 1);
	rk_message_unref(m);
	expect_counts(r, "0 0 0 0 0 0");
}

RIG_TEST(failure_of_kernel)
{
	struct rig *r = *state;
	struct rk_error err = {0};
	struct rk_wire_run run;
	struct rk_message *m;

	rig_attach(r, 1);
	m = submit(r, 1);
	run = expect_run(r, m);
	assert_int_equal(answer_with(r, &run, EDOM, "out of its domain", &err), 0);
	expect_done(r, m, EDOM, "test/b: message 1: out of its domain");
	expect_last_error(r, 1, "test/b: message 1: out of its domain");
	expect_last_error(r, 0, "none");
	expect_counts(r, "1 0 1 0 0 0");
}

/* A kernel that wrote past its output: its message fails, the worker gets nothing more. */
RIG_TEST(guard)
{
	struct rig *r = *state;
	struct rk_error err = {0};
	struct rk_wire_run run;
	struct rk_message *m, *next;

	rig_attach(r, 1);
	m = submit(r, 0);
	next = submit(r, 1);
	run = expect_run(r, m);
	((char *)output_of(m, 0))[m->plan.outputs[0].bytes] = 0;
	assert_int_equal(answer_with(r, &run, 0, "", &err), -EIO);
	assert_non_null(strstr(err.msg, "test/a wrote past the end of its output 'y'"));
	expect_done(r, m, EIO, "wrote past the end of its output 'y'");
	expect_counts(r, "2 0 1 0 0 0");
	/* what is queued must not go to a worker that is about to be killed */
	expect_no_run(r);
	assert_int_equal(next->state, RK_MESSAGE_QUEUED);
	assert_int_equal(rk_dispatch_detach(&r->d, RK_ONLY_LANE, "it was replaced", 0, &r->held),
			 0);
	rig_attach(r, 1);
	run = expect_run(r, next);
	answer(r, &run);
}

/* Also where the message was cancelled, whose caller knows already, and failed. */
RIG_TEST(guard_of_cancelled)
{
	struct rig *r = *state;
	struct rk_error err = {0};
	struct rk_wire_run run;
	struct rk_message *m;

	rig_attach(r, 1);
	m = submit(r, 0);
	run = expect_run(r, m);
	rk_dispatch_cancel(&r->d, m);
	((char *)output_of(m, 0))[m->plan.outputs[0].bytes + RK_WIRE_GUARD - 1] = 0;
	expect_told(r, m, ECANCELED, "cancelled by its caller");
	assert_int_equal(answer_with(r, &run, EDOM, "it failed", &err), -EIO);
	assert_non_null(strstr(err.msg, "test/a wrote past the end of its output 'y'"));
	expect_done(r, m, ECANCELED, "cancelled by its caller");
	expect_counts(r, "1 0 0 1 0 0");
	/* the worker is about to be killed */
	submit(r, 1);
	expect_no_run(r);
	assert_int_equal(rk_dispatch_end_all(&r->d, EIO, "over", &r->held), 1);
}

/* Answers that make no sense: EPROTO, and nothing has changed. */
RIG_TEST(malformed)
{
	const size_t ok = offsetof(struct rk_wire_done, text), all = sizeof(struct rk_wire_done);
	struct rig *r = *state;
	struct rk_wire_run run;
	struct rk_message *m;

	rig_attach(r, 2);
	m = submit(r, 0);
	run = expect_run(r, m);
	struct rk_wire_done good = {.id = run.id, .slot = run.slot}, no_nul = good;

	no_nul.status = EIO;
	memset(no_nul.text, 'x', sizeof(no_nul.text));
	const struct {
		struct rk_wire_done done;
		size_t len;
	} bad[] = {
		{good, 0},
		{good, 1},
		{good, ok - 1},
		{good, ok + 1},
		{good, all}, /* with a text, but status 0 */
		{good, all + 1},
		{{.id = run.id, .slot = run.slot, .status = EIO}, ok},
		{{.id = run.id, .slot = run.slot, .status = EIO}, all - 1},
		{{.id = run.id, .slot = run.slot, .status = EIO}, all + 1},
		{{.id = run.id, .slot = run.slot, .status = -1}, all},
		{{.id = run.id, .slot = run.slot, .status = 4096}, all},
		{no_nul, all},
		{{.id = run.id + 1, .slot = run.slot}, ok},
		{{.id = 0, .slot = run.slot}, ok},
		{{.id = run.id, .slot = run.slot + 1}, ok}, /* a free slot */
		{{.id = run.id, .slot = 2}, ok},	    /* no slot */
		{{.id = run.id, .slot = UINT32_MAX}, ok},
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		struct rk_error err = {0};

		assert_int_equal(
			rk_dispatch_complete(&r->d, RK_ONLY_LANE, &bad[i].done, bad[i].len, &err),
			-EPROTO);
		assert_int_equal(err.code, EPROTO);
		assert_int_equal(m->state, RK_MESSAGE_RUNNING);
		expect_counts(r, "1 0 0 0 0 0");
	}
	answer(r, &run);
	expect_done(r, m, 0, "");
	struct rk_error err = {0};

	assert_int_equal(answer_with(r, &run, 0, "", &err), -EPROTO); /* a second time */
	expect_counts(r, "1 1 0 0 0 0");
}

/* The socket is full: what did not go goes with the next answer, in order, once. */
RIG_TEST(full_socket)
{
	struct rig *r = *state;
	struct rk_message *m[24];
	struct rk_wire_run run;
	unsigned int taken = 0, sent = 0;
	int small = 1; /* the kernel makes it a few KiB */

	rig_attach(r, 24);
	assert_int_equal(setsockopt(r->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	rk_dispatch_set_limits(&r->d, 24, 0, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(m); i++)
		m[i] = submit(r, 0);
	while (sent < ARRAY_SIZE(m) && m[sent]->state == RK_MESSAGE_RUNNING)
		sent++;
	assert_in_range(sent, 1, ARRAY_SIZE(m) - 1); /* else this tests nothing */
	for (; taken < ARRAY_SIZE(m); taken++) {
		run = expect_run(r, m[taken]);
		answer(r, &run);
	}
	expect_no_run(r);
	expect_counts(r, "24 24 0 0 0 0");
}

/* A dead worker's socket: the message stays queued, nothing is lost, no SIGPIPE. */
RIG_TEST(dead_socket)
{
	struct rig *r = *state;
	struct rk_message *m;
	struct rk_wire_run run;

	rig_attach(r, 2);
	close(r->peer);
	r->peer = dup(r->fd); /* so that teardown has something to close */
	m = submit(r, 0);
	assert_int_equal(m->state, RK_MESSAGE_QUEUED);
	assert_int_equal(rk_dispatch_detach(&r->d, RK_ONLY_LANE, "it died", 0, &r->held), 0);
	rig_attach(r, 1);
	run = expect_run(r, m);
	answer(r, &run);
}

RIG_TEST(list)
{
	struct rig *r = *state;
	struct rk_message_info info[3] = {0};
	struct rk_wire_run run;

	rig_attach(r, 1);
	for (unsigned int i = 0; i < 3; i++)
		submit(r, 0);
	submit(r, 1);
	assert_int_equal(rk_dispatch_list(&r->d, 0, info, 2), 2);
	assert_int_equal(info[0].id, 1);
	assert_int_equal(info[0].state, RK_MESSAGE_RUNNING);
	assert_string_equal(info[0].kernel, "test/a");
	assert_int_equal(info[0].uid, 1000);
	assert_int_equal(info[0].pid, 42);
	assert_true(info[0].age_ms < PATIENCE_SECS * 1000);
	assert_int_equal(info[1].id, 2);
	assert_int_equal(info[1].state, RK_MESSAGE_QUEUED);
	assert_int_equal(info[2].id, 0); /* beyond max */
	assert_int_equal(rk_dispatch_list(&r->d, 3, info, 3), 2);
	assert_string_equal(info[0].kernel, "test/a");
	assert_int_equal(info[1].id, 4);
	assert_string_equal(info[1].kernel, "test/b");
	assert_int_equal(rk_dispatch_list(&r->d, 5, info, 3), 0);
	while (take_run(r, &run))
		answer(r, &run);
	assert_int_equal(rk_dispatch_list(&r->d, 0, info, 3), 0);
}

RIG_TEST(reset)
{
	struct rig *r = *state;
	struct rk_error err = {0};
	struct rk_wire_run run;
	struct rk_message *m;

	rig_attach(r, 1);
	m = submit(r, 0);
	run = expect_run(r, m);
	assert_int_equal(answer_with(r, &run, EDOM, "bad", &err), 0);
	rk_dispatch_reset(&r->d);
	rk_dispatch_reset_kernel(&r->d, r->k[0]);
	expect_counts(r, "0 0 0 0 0 0");
	expect_last_error(r, 0, "none");
	m = submit(r, 0);
	assert_int_equal(m->id, 2); /* ids are never used twice */
	run = expect_run(r, m);
	answer(r, &run);
	expect_counts(r, "1 1 0 0 0 0");
}
