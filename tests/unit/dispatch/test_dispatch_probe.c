/* SPDX-License-Identifier: MIT */
/* Ring kernels, of which one message runs at a time; and health probes. */
#include "tests/unit/dispatch/run_rig.h"

/* --- ring kernels --- */

/* One message of a ring kernel at a time, in order, however many slots there are. */
RUN_TEST(ring)
{
	struct rig *r = *state;
	struct rk_wire_run run, other;
	struct rk_message *m[3], *plain;

	rig_attach_fusing(r, 4, 100);
	for (unsigned int i = 0; i < 3; i++)
		m[i] = submit(r, RING);
	run = expect_run(r, m[0]);
	expect_no_run(r);
	plain = submit(r, PLAIN); /* is not held up */
	other = expect_run(r, plain);
	answer(r, &other);
	expect_no_run(r);
	for (unsigned int i = 1; i < 3; i++) {
		answer(r, &run);
		run = expect_run(r, m[i]);
		expect_no_run(r);
	}
	answer(r, &run);
	expect_counts(r, "4 4 0 0 0 0");
	m[0] = submit(r, RING); /* and later ones */
	run = expect_run(r, m[0]);
	answer(r, &run);
}

/* With one slot it takes turns with the others. */
RUN_TEST(ring_turns)
{
	static const unsigned int expected[] = {RING, PLAIN, RING, PLAIN, RING, PLAIN};
	struct rig *r = *state;
	struct rk_wire_run run;

	for (unsigned int i = 0; i < 3; i++)
		submit(r, RING);
	for (unsigned int i = 0; i < 3; i++)
		submit(r, PLAIN);
	rig_attach(r, 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(expected); i++) {
		assert_true(take_run(r, &run));
		assert_int_equal(run.kernel, r->k[expected[i]]->slot);
		expect_no_run(r);
		answer(r, &run);
	}
	/* two slots: the others go on beside it */
	for (unsigned int i = 0; i < 3; i++) {
		submit(r, RING);
		submit(r, PLAIN);
	}
	rk_dispatch_detach(&r->d, RK_ONLY_LANE, "", 0, &r->held);
	rig_release_held(r);
	expect_counts(r, "12 6 1 0 0 0");
	rig_attach(r, 2);
	for (unsigned int ring = 0; take_run(r, &run); ring = 0) {
		struct rk_wire_run beside = {0};

		ring += run.kernel == r->k[RING]->slot;
		if (take_run(r, &beside)) {
			ring += beside.kernel == r->k[RING]->slot;
			assert_int_equal(ring, 1);
			answer(r, &beside);
		}
		answer(r, &run);
	}
	expect_counts(r, "12 11 1 0 0 0");
}

/* The next worker begins with the one that is queued; a cancelled one keeps its place. */
RUN_TEST(ring_death)
{
	struct rig *r = *state;
	struct rk_message *m[3];
	struct rk_wire_run run;

	rig_attach(r, 4);
	for (unsigned int i = 0; i < 3; i++)
		m[i] = submit(r, RING);
	assert_int_equal(rk_dispatch_detach(&r->d, RK_ONLY_LANE, "it died", m[0]->id, &r->held), 1);
	expect_done(r, m[0], EIO, "it died in this kernel");
	rig_release_held(r);
	rig_attach(r, 4);
	run = expect_run(r, m[1]);
	expect_no_run(r);
	rk_dispatch_cancel(&r->d, m[1]);
	expect_told(r, m[1], ECANCELED, "cancelled");
	expect_no_run(r); /* it runs still */
	answer(r, &run);
	run = expect_run(r, m[2]);
	answer(r, &run);
	expect_counts(r, "3 1 1 1 0 0");
}

/* Being loaded again while one runs: the others wait for that. */
RUN_TEST(ring_loading)
{
	struct rig *r = *state;
	struct rk_message *m[2];
	struct rk_wire_run run;

	rig_attach(r, 4);
	m[0] = submit(r, RING);
	m[1] = submit(r, RING);
	run = expect_run(r, m[0]);
	rk_dispatch_kernel_state(&r->d, r->k[RING], RK_KERNEL_ENDING, "disabled");
	rk_dispatch_kernel_expect(&r->d, r->k[RING]);
	answer(r, &run);
	expect_no_run(r);
	rk_dispatch_kernel_state(&r->d, r->k[RING], RK_KERNEL_ACTIVE, "");
	run = expect_run(r, m[1]);
	answer(r, &run);
}

/* --- health probes --- */

static struct rk_message *make_probe(struct rig *r, unsigned int k)
{
	struct rk_message *m =
		k == FUSED ? make_fused(r, 4, 1, 0) : make_message(r->k[k], r->pool, 4);

	if (k != FUSED)
		r->all[r->nall++] = m;
	m->done = on_done;
	m->ctx = r;
	m->probe = true;
	return m;
}

static struct rk_message *submit_probe(struct rig *r, unsigned int k)
{
	struct rk_message *m = make_probe(r, k);
	struct rk_error err = {0};

	if (rk_dispatch_submit_probe(&r->d, RK_ONLY_LANE, m, &err))
		fail_msg("%s", err.msg);
	check_books(r);
	return m;
}

/* Nothing in the books, the lists, the queue or the kernel tells of a probe. */
static void expect_nothing_counted(struct rig *r, unsigned int k)
{
	struct rk_message_info info;

	expect_counts(r, "0 0 0 0 0 0");
	assert_int_equal(r->k[k]->queued, 0);
	assert_int_equal(rk_dispatch_newest(&r->d), 0);
	assert_int_equal(rk_dispatch_list(&r->d, 0, &info, 1), 0);
	assert_true(TAILQ_EMPTY(&r->d.busy));
	assert_int_equal(rk_histogram_percentile(&r->k[k]->stats->latency, 500), -1);
	assert_int_equal(kills_of(r->k[k]), 0);
	expect_last_error(r, k, "none");
	assert_int_equal(r->idle, 0);
	assert_int_equal(r->deadlines, 0);
}

RUN_TEST(probe)
{
	struct rig *r = *state;
	struct rk_wire_run run;
	struct rk_message *m;

	rk_dispatch_set_limits(&r->d, 4, 1000 * RK_NS_PER_SEC, 0);
	rk_dispatch_accept(&r->d, false); /* whether messages are accepted or not */
	m = submit_probe(r, PLAIN);
	assert_int_equal(m->state, RK_MESSAGE_QUEUED);
	assert_false(rk_dispatch_is_running(&r->d, m));
	expect_nothing_counted(r, PLAIN);
	rig_attach(r, 1);
	run = expect_run(r, m);
	assert_true(rk_dispatch_is_running(&r->d, m));
	assert_false(rk_dispatch_cancel_id(&r->d, m->id));
	expect_nothing_counted(r, PLAIN);
	answer(r, &run);
	expect_done(r, m, 0, "");
	assert_false(rk_dispatch_is_running(&r->d, m));
	expect_nothing_counted(r, PLAIN);
	m = submit_probe(r, PLAIN);
	run = expect_run(r, m);
	assert_int_equal(answer_one(r, m, EDOM, NULL), 0);
	expect_done(r, m, EDOM, "it failed");
	expect_nothing_counted(r, PLAIN);
}

/* Neither full slots nor a full queue hold it up, and it holds up no message. */
RUN_TEST(probe_lane)
{
	struct rig *r = *state;
	struct rk_message *m[3], *waiting, *probe;
	struct rk_wire_run run[3], probed;

	rk_dispatch_set_limits(&r->d, 1, 0, 0);
	rig_attach(r, 2);
	for (unsigned int i = 0; i < 2; i++) {
		m[i] = submit(r, PLAIN);
		run[i] = expect_run(r, m[i]);
	}
	m[2] = submit(r, PLAIN);
	waiting = submit_waiting(r, PLAIN);
	probe = submit_probe(r, PLAIN);
	probed = expect_run(r, probe);
	assert_int_equal(probed.slot, 2);
	assert_true(probed.id & RK_WIRE_PROBE);
	assert_int_equal(r->k[PLAIN]->queued, 1);
	expect_no_run(r); /* the messages' slots are full still */
	answer(r, &probed);
	expect_done(r, probe, 0, "");
	expect_no_run(r);
	answer(r, &run[0]);
	run[0] = expect_run(r, m[2]);
	assert_int_equal(run[0].id, 3); /* no number was used up */
	answer(r, &run[0]);
	run[0] = expect_run(r, waiting);
	answer(r, &run[0]);
	answer(r, &run[1]);
	expect_counts(r, "4 4 0 0 0 0");
}

/* The lane holds one; the next one is handed out with the answer. */
RUN_TEST(probe_turns)
{
	struct rig *r = *state;
	struct rk_message *probe[2], *m;
	struct rk_wire_run run;

	rig_attach(r, 1);
	probe[0] = submit_probe(r, PLAIN);
	probe[1] = submit_probe(r, FUSED);
	run = expect_run(r, probe[0]);
	m = submit(r, PLAIN); /* its slot is free */
	answer(r, &run);
	run = expect_run(r, m);
	answer(r, &run);
	assert_true(rk_dispatch_is_running(&r->d, probe[1]));
	expect_fused(r, 1, 1);
	answer_ok(r, probe[1]);
}

/* Which kernel made the worker grow can be told where it is the only one that runs. */
RUN_TEST(only_kernel)
{
	struct rig *r = *state;
	struct rk_message *m[2], *other;

	rig_attach(r, 4);
	submit_probe(r, RING);
	assert_int_equal(rk_dispatch_only_kernel(&r->d, RK_ONLY_LANE), 0);
	m[0] = submit(r, PLAIN);
	assert_int_equal(rk_dispatch_only_kernel(&r->d, RK_ONLY_LANE), m[0]->id);
	m[1] = submit(r, PLAIN);
	assert_int_not_equal(rk_dispatch_only_kernel(&r->d, RK_ONLY_LANE), 0);
	other = submit(r, FUSED);
	assert_int_equal(rk_dispatch_only_kernel(&r->d, RK_ONLY_LANE), 0);
	answer_ok(r, m[0]);
	answer_ok(r, m[1]);
	assert_int_equal(rk_dispatch_only_kernel(&r->d, RK_ONLY_LANE), other->id);
	rk_dispatch_end_all(&r->d, EIO, "the end", &r->held);
	rig_release_held(r);
}

/* Busy is who runs messages, and quiet since an answer came last, or they were handed out. */
RUN_TEST(busy)
{
	struct rig *r = *state;
	struct rk_wire_run run, probed;
	struct rk_message *m, *probe;
	uint64_t quiet;

	rig_attach(r, 2);
	probe = submit_probe(r, PLAIN);
	probed = expect_run(r, probe);
	assert_false(rk_dispatch_is_busy(&r->d, RK_ONLY_LANE, &quiet));
	r->d.lanes[RK_ONLY_LANE].progress_ns -= 100 * RK_NS_PER_SEC; /* long ago */
	m = submit(r, PLAIN);
	run = expect_run(r, m);
	assert_true(rk_dispatch_is_busy(&r->d, RK_ONLY_LANE, &quiet));
	assert_true(quiet < 50 * RK_NS_PER_SEC);
	r->d.lanes[RK_ONLY_LANE].progress_ns -= 100 * RK_NS_PER_SEC;
	m = submit(r, PLAIN); /* what is handed out beside another is no sign of life */
	assert_true(rk_dispatch_is_busy(&r->d, RK_ONLY_LANE, &quiet));
	assert_true(quiet >= 100 * RK_NS_PER_SEC);
	answer(r, &probed);
	assert_true(rk_dispatch_is_busy(&r->d, RK_ONLY_LANE, &quiet));
	assert_true(quiet < 50 * RK_NS_PER_SEC);
	answer(r, &run);
	run = expect_run(r, m);
	answer(r, &run);
	assert_false(rk_dispatch_is_busy(&r->d, RK_ONLY_LANE, &quiet));
}

RUN_TEST(probe_refused)
{
	static const enum rk_kernel_state states[] = {RK_KERNEL_OFF, RK_KERNEL_LOADING,
						      RK_KERNEL_ENDING};
	struct rig *r = *state;

	for (unsigned int i = 0; i < ARRAY_SIZE(states); i++) {
		struct rk_message *m = make_probe(r, PLAIN);
		struct rk_error err = {0};

		rk_dispatch_kernel_state(&r->d, r->k[PLAIN], states[i], "");
		assert_int_equal(rk_dispatch_submit_probe(&r->d, RK_ONLY_LANE, m, &err), -ENODEV);
		assert_non_null(strstr(err.msg, "test/c"));
		assert_int_equal(m->state, RK_MESSAGE_NEW);
	}
	assert_int_equal(r->ndone, 0);
	expect_nothing_counted(r, PLAIN);
}

/* Nothing goes with a probe, and it goes with nothing; a ring kernel's is one of its messages. */
RUN_TEST(probe_alone)
{
	struct rig *r = *state;
	struct rk_wire_run run;
	struct rk_message *m;

	submit_probe(r, FUSED);
	for (unsigned int i = 0; i < 4; i++)
		submit_fused(r, 4, 1, 0);
	rig_attach_fusing(r, 8, 100);
	expect_fused(r, 0, 1);
	expect_fused(r, 1, 4);
	for (unsigned int i = 0; i < 5; i++)
		answer_ok(r, r->all[i]);
	expect_counts(r, "4 4 0 0 0 0");
	submit_probe(r, RING);
	m = submit(r, RING);
	assert_true(take_run(r, &run));
	expect_no_run(r);
	answer(r, &run);
	run = expect_run(r, m);
	submit_probe(r, RING);
	expect_no_run(r);
	answer(r, &run);
	assert_true(take_run(r, &run));
	answer(r, &run);
}

RUN_TEST(probe_cancel)
{
	struct rig *r = *state;
	struct rk_message *m = submit_probe(r, PLAIN);

	rk_dispatch_cancel(&r->d, m);
	expect_done(r, m, ECANCELED, "test/c: health probe: cancelled");
	expect_nothing_counted(r, PLAIN);
	m = submit_probe(r, PLAIN);
	rig_attach(r, 1);
	expect_run(r, m);
	rk_dispatch_cancel(&r->d, m);
	expect_told(r, m, ECANCELED, "cancelled");
	assert_true(rk_dispatch_is_running(&r->d, m));
	rk_dispatch_cancel(&r->d, m); /* told once */
	assert_int_equal(answer_one(r, m, 0, NULL), 0);
	assert_false(rk_dispatch_is_running(&r->d, m));
	expect_done(r, m, ECANCELED, "cancelled");
	expect_nothing_counted(r, PLAIN);
}

/* The worker dies of it: it is told, no kernel is to blame, no message died. */
RUN_TEST(probe_death)
{
	struct rig *r = *state;
	struct rk_message *m, *queued;

	for (unsigned int i = 0; i < RK_KILLS_MAX; i++) {
		rig_attach(r, 1);
		m = submit_probe(r, PLAIN);
		expect_run(r, m);
		queued = submit_probe(r, RING);
		assert_int_equal(
			rk_dispatch_detach(&r->d, RK_ONLY_LANE, "it died", m->id, &r->held), 0);
		expect_done(r, m, EIO, "it died");
		assert_int_equal(rig_release_held(r), 1);
		assert_int_equal(queued->state, RK_MESSAGE_QUEUED);
		rk_dispatch_cancel(&r->d, queued);
		expect_nothing_counted(r, PLAIN);
	}
	assert_int_equal(r->tripped[PLAIN], 0);
}

/* A probe that comes back right does not forgive what messages did. */
RUN_TEST(probe_forgives_nothing)
{
	struct rig *r = *state;
	struct rk_wire_run run;
	struct rk_message *m;
	struct rk_error err;

	rig_attach(r, 1);
	m = submit(r, PLAIN);
	rk_dispatch_detach(&r->d, RK_ONLY_LANE, "it died", m->id, &r->held);
	rig_release_held(r);
	assert_int_equal(kills_of(r->k[PLAIN]), 1);
	rig_attach(r, 1);
	m = submit_probe(r, PLAIN);
	run = expect_run(r, m);
	answer(r, &run);
	assert_int_equal(kills_of(r->k[PLAIN]), 1);
	m = submit_probe(r, PLAIN);
	run = expect_run(r, m);
	((char *)output_of(m, 0))[m->plan.outputs[0].bytes] = 0;
	assert_int_equal(answer_with(r, &run, 0, "", &err), -EIO);
	expect_done(r, m, EIO, "wrote past");
	assert_int_equal(kills_of(r->k[PLAIN]), 1);
	rk_dispatch_detach(&r->d, RK_ONLY_LANE, "it was replaced", 0, &r->held);
}

/* All that ends messages ends probes, without counting them. */
RUN_TEST(probe_ends)
{
	struct rig *r = *state;
	struct rk_message *m[3], *message;

	rig_attach(r, 1);
	m[0] = submit_probe(r, PLAIN);
	m[1] = submit_probe(r, PLAIN);
	m[2] = submit_probe(r, RING);
	message = submit(r, RING);
	assert_int_equal(rk_dispatch_end_all(&r->d, ECANCELED, "it was stopped", &r->held), 1);
	for (unsigned int i = 0; i < 3; i++)
		expect_done(r, m[i], ECANCELED, "it was stopped");
	expect_done(r, message, ECANCELED, "it was stopped");
	assert_int_equal(rig_release_held(r), 2); /* what ran */
	m[0] = submit_probe(r, PLAIN);
	m[1] = submit_probe(r, PLAIN);
	m[2] = submit_probe(r, FUSED);
	rk_dispatch_kernel_state(&r->d, r->k[PLAIN], RK_KERNEL_OFF, "it is off");
	expect_done(r, m[0], EIO, "it is off");
	expect_done(r, m[1], EIO, "it is off");
	assert_int_equal(m[2]->state, RK_MESSAGE_QUEUED);
	assert_int_equal(rk_dispatch_end_all(&r->d, EIO, "it failed", &r->held), 0);
	expect_done(r, m[2], EIO, "it failed");
	expect_counts(r, "1 0 0 1 0 0");
	assert_true(TAILQ_EMPTY(&r->d.probes));
}

/* A drain does not wait for it, the unloading of its kernel does. */
RUN_TEST(probe_unload)
{
	struct rig *r = *state;
	struct rk_message *m, *probe[2];

	rig_attach(r, 1);
	probe[0] = submit_probe(r, PLAIN);
	probe[1] = submit_probe(r, PLAIN);
	m = submit(r, PLAIN);
	assert_int_equal(rk_dispatch_accept(&r->d, false), 1);
	rk_dispatch_kernel_state(&r->d, r->k[PLAIN], RK_KERNEL_ENDING, "disabled");
	answer_ok(r, m);
	assert_int_equal(r->idle, 1);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(r->unloadable[PLAIN], 0);
		assert_false(rk_dispatch_kernel_idle(&r->d, r->k[PLAIN]));
		answer_ok(r, probe[i]);
	}
	assert_int_equal(r->unloadable[PLAIN], 1);
	assert_true(rk_dispatch_kernel_idle(&r->d, r->k[PLAIN]));
	assert_int_equal(r->idle, 1);
}
