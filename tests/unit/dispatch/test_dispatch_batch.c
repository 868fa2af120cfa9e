/* SPDX-License-Identifier: MIT */
/* Short messages that go several in one packet: how many, their answers, and what a death leaves.
 */
#include "tests/unit/dispatch/run_rig.h"

#define RUN_LEN	   (offsetof(struct rk_wire_run, args) + 3 * sizeof(struct rk_wire_arg))
#define ANSWER_LEN offsetof(struct rk_wire_done, text)
#define SHORT_NS   1000

static struct rk_wire_shared page;

/* The runs of the next packet. Returns how many. */
static unsigned int take_runs(struct rig *r, struct rk_wire_run *runs)
{
	char bytes[RK_WIRE_RUN_MAX];
	ssize_t len = recv(r->peer, bytes, sizeof(bytes), MSG_DONTWAIT);

	if (len < 0)
		return 0;
	assert_int_equal((size_t)len % RUN_LEN, 0);
	for (size_t i = 0; i < (size_t)len / RUN_LEN; i++)
		memcpy(&runs[i], bytes + i * RUN_LEN, RUN_LEN);
	return (unsigned int)((size_t)len / RUN_LEN);
}

/* Answer @count runs in one packet. */
static void answer_together(struct rig *r, const struct rk_wire_run *runs, unsigned int count)
{
	char bytes[RK_WIRE_DONE_MAX];
	struct rk_error err = {0};

	for (unsigned int i = 0; i < count; i++) {
		const struct rk_wire_done done = {
			.id = runs[i].id, .slot = runs[i].slot, .run_ns = SHORT_NS};

		memcpy(bytes + i * ANSWER_LEN, &done, ANSWER_LEN);
	}
	if (rk_dispatch_complete(&r->d, RK_ONLY_LANE, bytes, count * ANSWER_LEN, &err))
		fail_msg("%s", err.msg);
	check_books(r);
}

/* A worker with one thread, and @n messages of PLAIN, all but the first of which wait. */
static struct rk_wire_run begin(struct rig *r, struct rk_message **m, unsigned int n)
{
	struct rk_wire_run first[1];

	memset(&page, 0, sizeof(page));
	rig_attach(r, 1);
	rk_dispatch_attach(&r->d, RK_ONLY_LANE, r->fd, &page, 1, 1);
	for (unsigned int i = 0; i < n; i++)
		m[i] = submit(r, PLAIN);
	assert_int_equal(take_runs(r, first), 1); /* nothing is known of the kernel */
	return first[0];
}

/* What waits goes together once the kernel is known to be short, and is answered together. */
RUN_TEST(together)
{
	struct rig *r = *state;
	struct rk_wire_run first, runs[64];
	struct rk_message *m[5];

	first = begin(r, m, 5);
	answer_together(r, &first, 1);
	assert_int_equal(take_runs(r, runs), 4);
	for (unsigned int i = 0; i < 4; i++) {
		assert_int_equal(runs[i].id, m[i + 1]->id);
		assert_int_equal(runs[i].slot, 0);
		assert_int_equal(m[i + 1]->state, RK_MESSAGE_RUNNING);
	}
	assert_int_equal(r->d.lanes[RK_ONLY_LANE].running, 1);
	answer_together(r, runs, 4);
	assert_int_equal(r->d.lanes[RK_ONLY_LANE].running, 0);
	expect_counts(r, "5 5 0 0 0 0");
}

/* Each thread that is free gets its share, and none more than a few. */
RUN_TEST(shares)
{
	struct rig *r = *state;
	struct rk_wire_run first, runs[64];
	struct rk_message *m[40];
	unsigned int n;

	first = begin(r, m, 40);
	answer_together(r, &first, 1);
	n = take_runs(r, runs);
	assert_int_equal(n, 16);
	rk_dispatch_attach(&r->d, RK_ONLY_LANE, r->fd, &page, 4, 1); /* three are free */
	for (unsigned int want = 7; want < 10; want++) {
		struct rk_wire_run more[64];
		unsigned int got = take_runs(r, more);

		assert_in_range(got, 7, 9);
		assert_int_equal(more[0].slot, want - 6);
		answer_together(r, more, got);
	}
	answer_together(r, runs, n);
	while ((n = take_runs(r, runs)))
		answer_together(r, runs, n);
	expect_counts(r, "40 40 0 0 0 0");
}

/* A kernel that takes long, and one that keeps its state, get one message at a time. */
RUN_TEST(alone)
{
	struct rig *r = *state;
	struct rk_wire_run run;
	struct rk_message *m[3];

	rig_attach(r, 1);
	for (unsigned int kernel = RING; kernel <= PLAIN; kernel++) {
		for (unsigned int i = 0; i < 3; i++)
			m[i] = submit(r, kernel);
		for (unsigned int i = 0; i < 3; i++) {
			assert_int_equal(take_runs(r, &run), 1);
			assert_int_equal(run.id, m[i]->id);
			if (kernel == RING)
				answer_together(r, &run, 1);
			else
				answer(r, &run); /* a millisecond */
		}
	}
}

/* A small socket: what does not fit together goes alone. */
RUN_TEST(small_socket)
{
	struct rig *r = *state;
	struct rk_wire_run first, runs[64];
	struct rk_message *m[17];
	int small = 1;

	first = begin(r, m, 17);
	assert_int_equal(setsockopt(r->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	answer_together(r, &first, 1);
	for (unsigned int i = 1; i < 17; i++) {
		unsigned int n = take_runs(r, runs);

		if (n == 16) /* it was large enough, whatever was asked for */
			i = 16;
		assert_true(n == 1 || n == 16);
		answer_together(r, runs, n);
	}
	expect_counts(r, "17 17 0 0 0 0");
}

/* Answers that are wrong within a packet: those before count, and the worker must go. */
RUN_TEST(wrong_among_good)
{
	struct rig *r = *state;
	struct rk_wire_done done[2] = {0};
	struct rk_wire_run first, runs[64];
	char bytes[2 * ANSWER_LEN];
	struct rk_message *m[3];
	struct rk_error err;

	first = begin(r, m, 3);
	answer_together(r, &first, 1);
	assert_int_equal(take_runs(r, runs), 2);
	done[0].id = m[1]->id;
	done[1].id = 12345;
	for (unsigned int i = 0; i < 2; i++)
		memcpy(bytes + i * ANSWER_LEN, &done[i], ANSWER_LEN);
	/* cut short it is malformed, and nothing of it counts */
	assert_int_equal(rk_dispatch_complete(&r->d, RK_ONLY_LANE, bytes, sizeof(bytes) - 1, &err),
			 -EPROTO);
	assert_int_equal(m[1]->state, RK_MESSAGE_RUNNING);
	assert_int_equal(rk_dispatch_complete(&r->d, RK_ONLY_LANE, bytes, sizeof(bytes), &err),
			 -EPROTO);
	expect_done(r, m[1], 0, "");
	assert_int_equal(m[2]->state, RK_MESSAGE_RUNNING);
	rk_dispatch_detach(&r->d, RK_ONLY_LANE, "it was replaced", 0, &r->held);
	expect_done(r, m[2], EIO, "it was replaced");
	rig_release_held(r);
}

/* --- deaths --- */

/* @n messages are with the worker in one packet; the first of them is m[1]. */
static void hand_out(struct rig *r, struct rk_message **m, unsigned int n)
{
	struct rk_wire_run first = begin(r, m, n + 1), runs[64];

	answer_together(r, &first, 1);
	assert_int_equal(take_runs(r, runs), n);
}

/* Those that it had not begun run on the next worker, in their order, before others. */
RUN_TEST(unbegun_is_queued_again)
{
	struct rig *r = *state;
	struct rk_wire_run runs[64];
	struct rk_message *m[6], *later;

	hand_out(r, m, 5);
	page.begun[0] = m[2]->id; /* m[1] has ended, its answer was not sent */
	later = submit(r, PLAIN);
	assert_int_equal(rk_dispatch_bury(&r->d, RK_ONLY_LANE, "it died", m[2]->id, &r->held), 2);
	expect_done(r, m[1], EIO, "it died");
	expect_done(r, m[2], EIO, "it died in this kernel");
	for (unsigned int i = 3; i < 6; i++)
		assert_int_equal(m[i]->state, RK_MESSAGE_QUEUED);
	assert_int_equal(r->k[PLAIN]->queued, 4);
	check_books(r);
	rig_attach(r, 1);
	assert_int_equal(take_runs(r, runs), 4);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(runs[i].id, m[3 + i]->id);
	assert_int_equal(runs[3].id, later->id);
	answer_together(r, runs, 4);
	expect_counts(r, "7 5 2 0 0 0");
	assert_int_equal(rig_release_held(r), 2);
}

/* Where nothing is known of what it began, the first one counts as begun. */
RUN_TEST(first_counts_as_begun)
{
	struct rig *r = *state;
	struct rk_message *m[4];

	hand_out(r, m, 3);
	page.begun[0] = m[0]->id; /* of the packet before */
	rk_dispatch_bury(&r->d, RK_ONLY_LANE, "it died", 0, &r->held);
	expect_done(r, m[1], EIO, "it died");
	assert_int_equal(m[2]->state, RK_MESSAGE_QUEUED);
	assert_int_equal(m[3]->state, RK_MESSAGE_QUEUED);
	rk_dispatch_end_all(&r->d, ECANCELED, "enough", &r->held);
	rig_release_held(r);
}

/* One that may still run may still begin them, and write to their memory. */
RUN_TEST(unsure_of_its_death)
{
	struct rig *r = *state;
	struct rk_message *m[4];

	hand_out(r, m, 3);
	page.begun[0] = m[1]->id;
	assert_int_equal(rk_dispatch_detach(&r->d, RK_ONLY_LANE, "it was replaced", 0, &r->held),
			 3);
	for (unsigned int i = 1; i < 4; i++)
		expect_done(r, m[i], EIO, "it was replaced");
	assert_int_equal(rig_release_held(r), 3);
}

/* What was cancelled meanwhile, or has no time left, is not queued again. */
RUN_TEST(over_meanwhile)
{
	struct rig *r = *state;
	struct rk_message *m[5];

	rk_dispatch_set_limits(&r->d, MESSAGES_MAX, 3600 * RK_NS_PER_SEC, RK_NS_PER_SEC);
	hand_out(r, m, 4);
	page.begun[0] = m[1]->id;
	rk_dispatch_cancel(&r->d, m[2]);
	m[3]->deadline_ns = 1;
	rk_dispatch_bury(&r->d, RK_ONLY_LANE, "it died", m[1]->id, &r->held);
	expect_done(r, m[1], EIO, "it died in this kernel");
	expect_done(r, m[2], ECANCELED, "cancelled by its caller");
	expect_done(r, m[3], ETIMEDOUT, "did not start within its timeout");
	assert_int_equal(m[4]->state, RK_MESSAGE_QUEUED);
	rk_dispatch_cancel(&r->d, m[4]);
	expect_counts(r, "5 1 1 2 1 0");
	rig_release_held(r);
}
