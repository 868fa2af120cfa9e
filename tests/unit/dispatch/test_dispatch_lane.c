/* SPDX-License-Identifier: MIT */
/* Several lanes: which of them takes what, whose answer is whose, and what one takes along. */
#include "tests/unit/dispatch/run_rig.h"

#define LANES 3

static int fds[LANES][2]; /* the daemon's and the worker's ends */

static void attach(struct rig *r, uint32_t lane, uint32_t slots)
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds[lane]), 0);
	for (unsigned int k = 0; k < KERNELS; k++)
		rk_dispatch_kernel_loaded(&r->d, lane, r->k[k], true);
	rk_dispatch_attach(&r->d, lane, fds[lane][0], NULL, slots, 1);
}

static uint32_t lose(struct rig *r, uint32_t lane, uint64_t blamed)
{
	uint32_t running = rk_dispatch_detach(&r->d, lane, "its worker died", blamed, &r->held);

	for (unsigned int k = 0; k < KERNELS; k++)
		rk_dispatch_kernel_loaded(&r->d, lane, r->k[k], false);
	close(fds[lane][0]);
	close(fds[lane][1]);
	fds[lane][0] = fds[lane][1] = -1;
	check_books(r);
	return running;
}

static int lanes_setup(void **state)
{
	memset(fds, -1, sizeof(fds));
	return run_setup(state);
}

static int lanes_teardown(void **state)
{
	for (unsigned int i = 0; i < LANES; i++)
		for (unsigned int end = 0; end < 2; end++)
			if (fds[i][end] >= 0)
				close(fds[i][end]);
	return rig_teardown(state);
}

#define LANE_TEST(name) TEST_WITH(name, lanes_setup, lanes_teardown)

/* @lane gets @m next. */
static struct rk_wire_run expect_on(uint32_t lane, const struct rk_message *m)
{
	struct rk_wire_run run = {0};

	assert_true(recv(fds[lane][1], &run, sizeof(run), MSG_DONTWAIT) > 0);
	assert_int_equal(run.id, m->id);
	assert_int_equal(run.slot, m->slot);
	assert_int_equal(m->lane, lane);
	return run;
}

static void expect_none_on(uint32_t lane)
{
	struct rk_wire_run run;

	assert_true(recv(fds[lane][1], &run, sizeof(run), MSG_DONTWAIT) < 0);
}

static int answer_from(struct rig *r, uint32_t lane, const struct rk_wire_run *run)
{
	const struct rk_wire_done done = {.id = run->id, .slot = run->slot, .run_ns = RK_NS_PER_MS};
	struct rk_error err = {0};
	int rc =
		rk_dispatch_complete(&r->d, lane, &done, offsetof(struct rk_wire_done, text), &err);

	check_books(r);
	return rc;
}

/* The lane that runs least takes the next one; a free one takes what waits. */
LANE_TEST(spread)
{
	struct rig *r = *state;
	struct rk_message *m[6];
	struct rk_wire_run run[6];

	for (uint32_t lane = 0; lane < LANES; lane++)
		attach(r, lane, lane ? 1 : 2);
	for (unsigned int i = 0; i < 6; i++)
		m[i] = submit(r, PLAIN);
	for (unsigned int i = 0; i < 4; i++)
		run[i] = expect_on(i % LANES, m[i]);
	assert_int_equal(m[4]->state, RK_MESSAGE_QUEUED);
	answer_from(r, 2, &run[2]);
	run[4] = expect_on(2, m[4]);
	answer_from(r, 0, &run[0]);
	run[5] = expect_on(0, m[5]);
	answer_from(r, 1, &run[1]);
	answer_from(r, 0, &run[3]);
	answer_from(r, 2, &run[4]);
	answer_from(r, 0, &run[5]);
	expect_counts(r, "6 6 0 0 0 0");
}

/* A lane is given messages of what it has loaded alone. */
LANE_TEST(not_loaded)
{
	struct rig *r = *state;
	struct rk_message *m[2];
	struct rk_wire_run run[2];

	attach(r, 0, 2);
	attach(r, 1, 2);
	rk_dispatch_kernel_loaded(&r->d, 0, r->k[PLAIN], false);
	m[0] = submit(r, PLAIN);
	m[1] = submit(r, PLAIN);
	expect_none_on(0);
	run[0] = expect_on(1, m[0]);
	run[1] = expect_on(1, m[1]);
	rk_dispatch_kernel_loaded(&r->d, 1, r->k[PLAIN], false);
	m[0] = submit(r, PLAIN);
	expect_none_on(1);
	answer_from(r, 1, &run[0]);
	answer_from(r, 1, &run[1]);
	rk_dispatch_kernel_loaded(&r->d, 0, r->k[PLAIN], true); /* at once, then */
	run[0] = expect_on(0, m[0]);
	answer_from(r, 0, &run[0]);
}

/* A lane that was skipped for what it has not does not hold up what it has. */
LANE_TEST(passes_over)
{
	struct rig *r = *state;
	struct rk_message *m[2];
	struct rk_wire_run run;

	attach(r, 0, 1);
	rk_dispatch_kernel_loaded(&r->d, 0, r->k[PLAIN], false);
	m[0] = submit(r, PLAIN);
	m[1] = make_fused(r, 4, 1, 0);
	assert_int_equal(rk_dispatch_submit(&r->d, m[1], false, NULL), 0);
	run = expect_on(0, m[1]);
	answer_from(r, 0, &run);
	rk_dispatch_cancel(&r->d, m[0]);
}

/* An answer is known by its lane, slot and id together. */
LANE_TEST(whose_answer)
{
	struct rig *r = *state;
	struct rk_message *m[2];
	struct rk_wire_run run[2];

	attach(r, 0, 1);
	attach(r, 1, 1);
	for (unsigned int i = 0; i < 2; i++) {
		m[i] = submit(r, PLAIN);
		run[i] = expect_on(i, m[i]);
	}
	assert_int_equal(run[0].slot, run[1].slot);
	assert_int_equal(answer_from(r, 1, &run[0]), -EPROTO);
	assert_int_equal(answer_from(r, 0, &run[1]), -EPROTO);
	assert_int_equal(m[0]->state, RK_MESSAGE_RUNNING);
	assert_int_equal(answer_from(r, 1, &run[1]), 0);
	assert_int_equal(answer_from(r, 0, &run[0]), 0);
}

/* A worker's death is that of what ran on it alone; what waits goes to the others. */
LANE_TEST(death)
{
	struct rig *r = *state;
	struct rk_message *m[3];
	struct rk_wire_run run[3];

	attach(r, 0, 1);
	attach(r, 1, 1);
	for (unsigned int i = 0; i < 3; i++)
		m[i] = submit(r, PLAIN);
	run[1] = expect_on(1, m[1]);
	assert_int_equal(lose(r, 0, m[0]->id), 1);
	expect_told(r, m[0], EIO, "its worker died in this kernel");
	assert_true(rk_dispatch_blamed(&r->d, 0));
	assert_false(rk_dispatch_blamed(&r->d, 1));
	assert_int_equal(m[1]->state, RK_MESSAGE_RUNNING);
	assert_int_equal(answer_from(r, 1, &run[1]), 0);
	run[2] = expect_on(1, m[2]);
	assert_int_equal(answer_from(r, 1, &run[2]), 0);
	expect_counts(r, "3 2 1 0 0 0");
	rig_release_held(r);
}

/* Deaths of one kernel on several lanes are added up: three within a minute disable it. */
LANE_TEST(kills_everywhere)
{
	struct rig *r = *state;
	struct rk_message *m[LANES];

	for (uint32_t lane = 0; lane < LANES; lane++) {
		attach(r, lane, 1);
		m[lane] = submit(r, PLAIN);
	}
	for (uint32_t lane = 0; lane < LANES; lane++) {
		assert_int_equal(r->tripped[PLAIN], 0);
		lose(r, lane, m[lane]->id);
	}
	assert_int_equal(r->tripped[PLAIN], 1);
	rig_release_held(r);
}

/* What is past its deadline names its lanes; the others go on. */
LANE_TEST(expiry)
{
	struct rig *r = *state;
	struct rk_message *m[LANES], *queued;
	struct rk_wire_run run;
	uint64_t next;

	for (uint32_t lane = 0; lane < LANES; lane++) {
		attach(r, lane, 1);
		rk_dispatch_set_limits(&r->d, MESSAGES_MAX, lane == 1 ? 0 : RK_NS_PER_MS, 0);
		m[lane] =
			lane == 1 ? make_fused(r, 4, 1, 0) : make_message(r->k[PLAIN], r->pool, 4);
		r->all[r->nall] = m[lane];
		r->nall += lane != 1; /* make_fused has noted it */
		m[lane]->done = on_done;
		m[lane]->ctx = r;
		assert_int_equal(rk_dispatch_submit(&r->d, m[lane], false, NULL), 0);
	}
	run = expect_on(1, m[1]);
	while (rk_now_ns() < m[2]->deadline_ns)
		;
	assert_int_equal(rk_dispatch_expire(&r->d, rk_now_ns(), &next), 1 << 0 | 1 << 2);
	rk_dispatch_set_limits(&r->d, MESSAGES_MAX, 0, 0);
	queued = submit(r, PLAIN); /* the two are about to be replaced */
	assert_int_equal(queued->state, RK_MESSAGE_QUEUED);
	lose(r, 0, 0);
	lose(r, 2, 0);
	expect_told(r, m[0], ETIMEDOUT, "");
	expect_told(r, m[2], ETIMEDOUT, "");
	answer_from(r, 1, &run);
	run = expect_on(1, queued);
	answer_from(r, 1, &run);
	rig_release_held(r);
}

/* A ring kernel stays on one lane, in order; when that is gone, another lane has it. */
LANE_TEST(ring)
{
	struct rig *r = *state;
	struct rk_message *m[3];
	struct rk_wire_run run;

	rk_dispatch_kernel_loaded(&r->d, 0, r->k[RING], false);
	attach(r, 1, 4);
	for (unsigned int i = 0; i < 3; i++)
		m[i] = submit(r, RING);
	run = expect_on(1, m[0]);
	expect_none_on(1);
	answer_from(r, 1, &run);
	(void)expect_on(1, m[1]);
	lose(r, 1, 0);
	expect_told(r, m[1], EIO, "");
	attach(r, 2, 4);
	run = expect_on(2, m[2]);
	answer_from(r, 2, &run);
	expect_counts(r, "3 2 1 0 0 0");
	rig_release_held(r);
}

/* Neither what is bound to a lane nor what all may take keeps the other waiting. */
LANE_TEST(alternates)
{
	struct rig *r = *state;
	struct rk_message *m[6], *next;
	struct rk_wire_run run;

	attach(r, 0, 1);
	for (unsigned int i = 0; i < 6; i++)
		m[i] = submit(r, i < 3 ? RING : PLAIN);
	for (unsigned int i = 0; i < 6; i++) {
		next = m[i % 2 * 3 + i / 2];
		run = expect_on(0, next);
		answer_from(r, 0, &run);
	}
}

/* Each lane has a place of its own for a probe, all at once. */
LANE_TEST(probes)
{
	struct rig *r = *state;
	struct rk_wire_run run[LANES];
	struct rk_message *m[LANES], *busy[LANES];

	for (uint32_t lane = 0; lane < LANES; lane++) {
		attach(r, lane, 1);
		busy[lane] = submit(r, PLAIN);
		run[lane] = expect_on(lane, busy[lane]);
	}
	for (uint32_t lane = 0; lane < LANES; lane++) {
		m[lane] = make_message(r->k[PLAIN], r->pool, 4);
		r->all[r->nall++] = m[lane];
		m[lane]->probe = true;
		assert_int_equal(rk_dispatch_submit_probe(&r->d, lane, m[lane], NULL), 0);
	}
	for (uint32_t lane = 0; lane < LANES; lane++) {
		struct rk_wire_run probed = expect_on(lane, m[lane]);

		assert_int_equal(answer_from(r, lane, &probed), 0);
		assert_int_equal(m[lane]->state, RK_MESSAGE_DONE);
	}
	for (uint32_t lane = 0; lane < LANES; lane++)
		answer_from(r, lane, &run[lane]);
}
