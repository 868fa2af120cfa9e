/* SPDX-License-Identifier: MIT */
/* Messages of one kernel that are handed to the worker as one. */
#include "tests/unit/dispatch/run_rig.h"

/* Those that wait together go as one, each is answered for itself, in any order. */
RUN_TEST(fuse)
{
	struct rig *r = *state;
	struct rk_message **m = r->all;
	struct rk_error err;

	for (unsigned int i = 0; i < 5; i++)
		submit_fused(r, i, 3, 7); /* the first one is empty */
	expect_counts(r, "5 0 0 0 0 0");
	rig_attach_fusing(r, 1, 100);
	expect_fused(r, 0, 5);
	assert_int_equal(r->k[FUSED]->queued, 0);
	assert_int_equal(r->d.lanes[RK_ONLY_LANE].running, 1);
	submit_fused(r, 4, 3, 7); /* comes too late: the slot is taken */
	expect_no_run(r);
	answer_ok(r, m[2]);
	answer_ok(r, m[4]);
	assert_int_equal(answer_one(r, m[0], EDOM, &err), 0);
	expect_done(r, m[0], EDOM, "it failed");
	answer_ok(r, m[1]);
	expect_no_run(r);
	assert_int_equal(m[3]->state, RK_MESSAGE_RUNNING);
	expect_counts(r, "6 3 1 0 0 0");
	answer_ok(r, m[3]); /* the last one frees the slot */
	expect_fused(r, 5, 1);
	answer_ok(r, m[5]);
	expect_counts(r, "6 5 1 0 0 0");
	assert_int_equal(r->d.lanes[RK_ONLY_LANE].running, 0);
}

/* An answer counts once, and only for what runs there. */
RUN_TEST(fuse_stray)
{
	struct rig *r = *state;
	struct rk_error err = {0};

	for (unsigned int i = 0; i < 3; i++)
		submit_fused(r, 4, 1, 0);
	rig_attach_fusing(r, 2, 100);
	expect_fused(r, 0, 3);
	answer_ok(r, r->all[1]);
	assert_int_equal(answer_one(r, r->all[1], 0, &err), -EPROTO);
	assert_int_equal(answer_with(r, &(struct rk_wire_run){.id = 3, .slot = 1}, 0, "", &err),
			 -EPROTO);
	assert_int_equal(answer_with(r, &(struct rk_wire_run){.id = 3, .slot = 99}, 0, "", &err),
			 -EPROTO);
	answer_ok(r, r->all[0]);
	answer_ok(r, r->all[2]);
	expect_counts(r, "3 3 0 0 0 0");
}

RUN_TEST(fuse_max)
{
	struct rig *r = *state;

	for (unsigned int i = 0; i < 5; i++)
		submit_fused(r, 4, 1, 0);
	rig_attach_fusing(r, 3, 2);
	expect_fused(r, 0, 2);
	expect_fused(r, 2, 2);
	expect_fused(r, 4, 1);
	for (unsigned int i = 0; i < 5; i++)
		answer_ok(r, r->all[i]);
}

/* The first that does not go with them ends a run: nobody is overtaken. */
RUN_TEST(fuse_stops)
{
	struct rig *r = *state;
	const uint64_t large = RK_FUSE_BYTES / 4;

	submit_fused(r, 4, 1, 0);
	submit_fused(r, 5, 1, 0);
	submit_fused(r, 4, 1, 1); /* another scalar */
	submit_fused(r, 4, 1, 0);
	submit_fused(r, 4, 2, 0); /* another dim */
	submit_fused(r, 6, 2, 0);
	submit_fused(r, large, 2, 0); /* too large */
	submit_fused(r, 4, 2, 0);
	submit_fused(r, 4, 2, 0);
	rig_attach_fusing(r, 8, 100);
	expect_fused(r, 0, 2);
	expect_fused(r, 2, 1);
	expect_fused(r, 3, 1);
	expect_fused(r, 4, 2);
	expect_fused(r, 6, 1);
	expect_fused(r, 7, 2);
	for (unsigned int i = 0; i < 9; i++)
		answer_ok(r, r->all[i]);
	/* a large one, first in line */
	rk_dispatch_detach(&r->d, RK_ONLY_LANE, "", 0, &r->held);
	submit_fused(r, large, 2, 0);
	submit_fused(r, 4, 2, 0);
	rig_attach_fusing(r, 8, 100);
	expect_fused(r, 9, 1);
	expect_fused(r, 10, 1);
	answer_ok(r, r->all[9]);
	answer_ok(r, r->all[10]);
}

/* On the CPU, and where the description does not say so, each goes alone and without a grid. */
RUN_TEST(no_fuse)
{
	struct rig *r = *state;
	struct rk_wire_run run;

	atomic_store(&r->k[FUSED]->backend, 1 + RK_WIRE_CPU);
	for (unsigned int i = 0; i < 2; i++)
		submit_fused(r, 4, 1, 0);
	submit(r, PLAIN);
	submit(r, PLAIN);
	rig_attach_fusing(r, 4, 100);
	for (unsigned int i = 0; i < 4; i++) {
		ssize_t n = recv(r->peer, &run, sizeof(run), MSG_DONTWAIT);

		assert_int_equal(n, offsetof(struct rk_wire_run, args) +
					    run.nargs * sizeof(run.args[0]));
		assert_int_equal(run.nmore, 0);
		assert_int_equal(run.nargs, run.kernel == r->k[FUSED]->slot ? 4 : 3);
		assert_int_equal(run.grid[0] | run.grid[1] | run.grid[2], 0);
		answer(r, &run);
	}
	expect_counts(r, "4 4 0 0 0 0");
}

/* A packet has room for so many. */
RUN_TEST(fuse_packet)
{
	enum {
		FIT = 1 + (RK_WIRE_RUN_MAX - FIRST_LEN) / MORE_LEN,
		MORE_THAN_FIT = FIT + 10
	};
	struct rig *r = *state;
	struct rk_message *m[MORE_THAN_FIT];
	static union packet p;
	size_t len;

	rk_dispatch_set_limits(&r->d, MORE_THAN_FIT, 0, 0);
	for (unsigned int i = 0; i < MORE_THAN_FIT; i++) {
		m[i] = make_fused(r, 1, 1, 0);
		r->nall--; /* these are too many for the rig */
		m[i]->done = NULL;
		assert_int_equal(rk_dispatch_submit(&r->d, m[i], false, NULL), 0);
	}
	rig_attach_fusing(r, 1, 1000000);
	assert_true(take_packet(r, &p, &len));
	assert_int_equal(p.run.nmore, FIT - 1);
	assert_int_equal(len, FIRST_LEN + (FIT - 1) * MORE_LEN);
	assert_int_equal(rk_dispatch_in_flight(&r->d), MORE_THAN_FIT);
	for (unsigned int i = FIT; i > 0; i--) {
		const struct rk_wire_done done = {.id = m[i - 1]->id};

		assert_int_equal(rk_dispatch_complete(&r->d, RK_ONLY_LANE, &done,
						      offsetof(struct rk_wire_done, text), NULL),
				 0);
	}
	assert_true(take_packet(r, &p, &len));
	assert_int_equal(p.run.nmore, MORE_THAN_FIT - FIT - 1);
	assert_int_equal(rk_dispatch_end_all(&r->d, ECANCELED, "enough", &r->held),
			 MORE_THAN_FIT - FIT);
	rig_release_held(r);
	for (unsigned int i = 0; i < MORE_THAN_FIT; i++)
		rk_message_unref(m[i]);
}

/* A socket that takes no packet of that size: one by one, then. */
RUN_TEST(fuse_small_socket)
{
	struct rig *r = *state;
	const int bytes = 1; /* as few as there can be */

	rig_attach_fusing(r, 0, 100);
	assert_int_equal(setsockopt(r->fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes)), 0);
	for (unsigned int i = 0; i < MESSAGES_MAX; i++)
		submit_fused(r, 4, 1, 0);
	rk_dispatch_attach(&r->d, RK_ONLY_LANE, r->fd, NULL, 1, 100);
	for (unsigned int i = 0; i < 8; i++) { /* the rest fits even that */
		expect_fused(r, i, 1);
		answer_ok(r, r->all[i]);
	}
	rk_dispatch_end_all(&r->d, ECANCELED, "enough", &r->held);
	rig_release_held(r);
}

/* Together they would need more blocks than there can be. */
RUN_TEST(fuse_grid)
{
	struct rig *r = *state;
	struct rk_launch *launch = &r->k[FUSED]->manifest.code[RK_WIRE_CUDA].launch;

	launch->grid[0].factor = 8 * 65535ULL; /* 65535 blocks along z, ... */
	launch->naxes = 3;
	launch->grid[2] = launch->grid[0];
	launch->grid[1] = (struct rk_axis){.factor = 1};
	launch->block[2] = 8; /* ... for each element of n */
	submit_fused(r, 0, 1, 0);
	submit_fused(r, 1, 1, 0);
	submit_fused(r, 1, 1, 0);
	rig_attach_fusing(r, 2, 100);
	for (unsigned int i = 0; i < 2; i++) {
		static union packet p;
		size_t len;

		assert_true(take_packet(r, &p, &len));
		assert_int_equal(p.run.id, r->all[i ? 2 : 0]->id);
		assert_int_equal(p.run.nmore, i ? 0 : 1);
		assert_int_equal(p.run.grid[2], 65535);
	}
	for (unsigned int i = 0; i < 3; i++)
		answer_ok(r, r->all[i]);
	/* one that does not fit alone: made when it was to run on the CPU */
	launch->block[2] = 4;
	struct rk_message *m = make_fused(r, 0, 1, 0);

	m->plan.dims[0] = 1;
	submit_made(r, m);
	expect_done(r, m, EINVAL, "grid");
	expect_no_run(r);
	expect_counts(r, "4 3 1 0 0 0");
}

/* Each of them is in flight, runs, can be cancelled, and is listed so. */
RUN_TEST(fuse_cancel)
{
	struct rig *r = *state;
	struct rk_message_info info[4];

	for (unsigned int i = 0; i < 3; i++)
		submit_fused(r, 4, 1, 0);
	rig_attach_fusing(r, 1, 100);
	expect_fused(r, 0, 3);
	assert_true(rk_dispatch_cancel_id(&r->d, r->all[1]->id));
	expect_told(r, r->all[1], ECANCELED, "cancelled");
	assert_int_equal(rk_dispatch_list(&r->d, 0, info, 4), 3);
	for (unsigned int i = 0; i < 3; i++)
		assert_string_equal(rk_message_info_state(&info[i]),
				    i == 1 ? "cancelling" : "running");
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(answer_one(r, r->all[i], 0, NULL), 0);
	expect_done(r, r->all[1], ECANCELED, "cancelled");
	expect_done(r, r->all[2], 0, "");
	expect_counts(r, "3 2 0 1 0 0");
}

/* One of them wrote past its output: that one fails, then the worker is replaced with the rest. */
RUN_TEST(fuse_guard)
{
	struct rig *r = *state;
	struct rk_error err = {0};
	struct rk_message *m;

	for (unsigned int i = 0; i < 3; i++)
		submit_fused(r, 4, 1, 0);
	rig_attach_fusing(r, 1, 100);
	expect_fused(r, 0, 3);
	m = r->all[1];
	((char *)output_of(m, 0))[m->plan.outputs[0].bytes] = 0;
	answer_ok(r, r->all[0]);
	assert_int_equal(answer_one(r, m, 0, &err), -EIO);
	expect_done(r, m, EIO, "wrote past the end of its output");
	assert_int_equal(kills_of(r->k[FUSED]), 1);
	assert_int_equal(rk_dispatch_detach(&r->d, RK_ONLY_LANE, "it was replaced", 0, &r->held),
			 1);
	expect_done(r, r->all[2], EIO, "it was replaced");
	assert_int_equal(rig_release_held(r), 1);
	expect_counts(r, "3 1 2 0 0 0");
}

/* The worker dies with two runs: all of them fail, one is to blame, once. */
RUN_TEST(fuse_death)
{
	struct rig *r = *state;
	struct rk_message *plain;

	for (unsigned int i = 0; i < 4; i++)
		submit_fused(r, 4, 1, 0);
	plain = submit(r, PLAIN);
	rk_dispatch_cancel(&r->d, r->all[3]); /* ends at once: it is queued */
	submit_fused(r, 4, 1, 0);
	rig_attach_fusing(r, 2, 100);
	rk_dispatch_cancel(&r->d, r->all[0]);
	submit_fused(r, 4, 1, 0); /* queued: it survives */
	assert_int_equal(
		rk_dispatch_detach(&r->d, RK_ONLY_LANE, "it died", r->all[2]->id, &r->held), 5);
	assert_int_equal(r->d.lanes[RK_ONLY_LANE].running, 0);
	expect_done(r, r->all[0], ECANCELED, "cancelled");
	expect_done(r, r->all[1], EIO, "it died");
	assert_null(strstr(r->all[1]->error.msg, "beside"));
	expect_done(r, r->all[2], EIO, "it died in this kernel");
	expect_done(r, r->all[5], EIO, "it died");
	expect_done(r, plain, EIO, "it died in test/a beside it");
	assert_int_equal(rig_release_held(r), 5);
	assert_int_equal(kills_of(r->k[FUSED]), 1);
	assert_int_equal(r->k[FUSED]->running, 0);
	expect_counts(r, "7 0 4 2 0 0");
	rig_attach_fusing(r, 2, 100);
	answer_ok(r, r->all[6]);
}

/* One of them is past its deadline: the worker is to be replaced, and each has its own verdict. */
RUN_TEST(fuse_deadline)
{
	struct rig *r = *state;
	uint64_t next;

	r->k[FUSED]->manifest.timeout_ms = 1;
	submit_fused(r, 4, 1, 0);
	r->k[FUSED]->manifest.timeout_ms = 1000 * 1000;
	submit_fused(r, 4, 1, 0);
	rig_attach_fusing(r, 1, 100);
	expect_fused(r, 0, 2);
	while (rk_now_ns() < r->all[0]->deadline_ns)
		;
	assert_true(rk_dispatch_expire(&r->d, rk_now_ns(), &next));
	assert_int_equal(next, r->all[1]->deadline_ns);
	assert_int_equal(rk_dispatch_detach(&r->d, RK_ONLY_LANE, "it was replaced", 0, &r->held),
			 2);
	expect_done(r, r->all[0], ETIMEDOUT, "ran longer than its timeout");
	expect_done(r, r->all[1], EIO, "it was replaced");
	rig_release_held(r);
	expect_counts(r, "2 0 1 0 1 0");
}

/* A drain waits for each of them. */
RUN_TEST(fuse_drain)
{
	struct rig *r = *state;

	for (unsigned int i = 0; i < 3; i++)
		submit_fused(r, 4, 1, 0);
	rig_attach_fusing(r, 1, 100);
	assert_int_equal(rk_dispatch_accept(&r->d, false), 3);
	answer_ok(r, r->all[2]);
	answer_ok(r, r->all[0]);
	assert_int_equal(r->idle, 0);
	rk_dispatch_kernel_state(&r->d, r->k[FUSED], RK_KERNEL_ENDING, "disabled");
	assert_false(rk_dispatch_kernel_idle(&r->d, r->k[FUSED]));
	answer_ok(r, r->all[1]);
	assert_int_equal(r->idle, 1);
	assert_int_equal(r->unloadable[FUSED], 1);
	assert_true(rk_dispatch_kernel_idle(&r->d, r->k[FUSED]));
}
