/* SPDX-License-Identifier: MIT */
/* The rig of dispatch with a kernel whose messages are fused and a ring kernel. */
#ifndef RK_TESTS_RUN_RIG_H
#define RK_TESTS_RUN_RIG_H

#include "tests/unit/dispatch/dispatch_rig.h"

/* Kernels of the rig. */
enum {
	FUSED,
	RING,
	PLAIN, /* as every other test has it */
};

#define FUSED_TEXT                                                                                 \
	"[kernel]\nid = test/a\nmode = batch\ndescription = test\nbatchable = n\n"                 \
	"[inputs]\nx = u32[n]\nk = u32\nw = u32[n,m]\n[outputs]\ny = u32[n]\n"                     \
	"[cpu]\nlibrary = builtin\nentry = echo\nargs = x, k, w, y\n"                              \
	"[cuda]\nmodule = builtin\nentry = echo\nargs = n, x, k, w, y\ngrid = n\nblock = 4\n"
#define RING_TEXT                                                                                  \
	"[kernel]\nid = test/b\nmode = ring\ndescription = test\n"                                 \
	"[inputs]\nx = u32[n]\n[outputs]\ny = u32[n]\n"                                            \
	"[cpu]\nlibrary = builtin\nentry = echo\nargs = x, y, n\n"

#define NARGS	  5
#define ARGS_LEN  (NARGS * sizeof(struct rk_wire_arg))
#define MORE_LEN  (sizeof(struct rk_wire_more) + ARGS_LEN)
#define FIRST_LEN (offsetof(struct rk_wire_run, args) + ARGS_LEN)

static inline int run_setup(void **state)
{
	struct rig *r;
	int rc = rig_setup(state);

	if (rc)
		return rc;
	r = *state;
	rk_dispatch_set_limits(&r->d, MESSAGES_MAX, 0, 0);
	rig_describe(r, FUSED, FUSED_TEXT);
	rig_describe(r, RING, RING_TEXT);
	atomic_store(&r->k[FUSED]->backend, 1 + RK_WIRE_CUDA);
	return 0;
}

/* A message of FUSED, not submitted: @n elements, @m in each of w's rows, scalar @k. */
static inline struct rk_message *make_fused(struct rig *r, uint64_t n, uint64_t m, uint32_t k)
{
	struct rk_message *msg = rk_message_new(r->k[FUSED], 1000, 42);
	const uint64_t shape[2] = {n, m};
	struct rk_error err = {0};

	assert_non_null(msg);
	assert_true(r->nall < MESSAGES_MAX);
	for (unsigned int i = 0; i < 3; i++)
		if (rk_plan_bind(&msg->plan, i, r->k[FUSED]->manifest.inputs[i].rank, shape, &err))
			fail_msg("%s", err.msg);
	if (rk_plan_layout(&msg->plan, LIMIT, &err) ||
	    rk_payload_alloc(r->pool, 0, msg->plan.block_bytes, &msg->block, &err))
		fail_msg("%s", err.msg);
	memset(msg->block.data, 0, msg->plan.block_bytes);
	memcpy(input_of(msg, 1), &k, sizeof(k));
	rk_plan_prepare(&msg->plan, msg->block.data);
	msg->done = on_done;
	msg->ctx = r;
	r->all[r->nall++] = msg;
	return msg;
}

static inline struct rk_message *submit_made(struct rig *r, struct rk_message *m)
{
	struct rk_error err = {0};

	if (rk_dispatch_submit(&r->d, m, false, &err))
		fail_msg("%s", err.msg);
	check_books(r);
	return m;
}

static inline struct rk_message *submit_fused(struct rig *r, uint64_t n, uint64_t m, uint32_t k)
{
	return submit_made(r, make_fused(r, n, m, k));
}

/* --- packets of several messages --- */

union packet {
	struct rk_wire_run run;
	unsigned char bytes[RK_WIRE_RUN_MAX + 1];
};

static inline bool take_packet(struct rig *r, union packet *p, size_t *len)
{
	ssize_t n = recv(r->peer, p, sizeof(*p), MSG_DONTWAIT);

	if (n < 0)
		return false;
	assert_in_range(n, FIRST_LEN, RK_WIRE_RUN_MAX);
	*len = (size_t)n;
	return true;
}

static inline void check_args(const struct rk_message *m, const struct rk_wire_arg *args)
{
	assert_int_equal(args[0].value, m->plan.dims[0]);
	assert_int_equal(args[1].value, m->block.offset + m->plan.inputs[0].offset);
	assert_int_equal(args[1].bytes, 4 * m->plan.dims[0]);
	assert_int_equal(args[3].value, m->block.offset + m->plan.inputs[2].offset);
	assert_int_equal(args[4].value, m->block.offset + m->plan.outputs[0].offset);
}

/* The worker gets @count messages, all[@from] on, as one; returns the slot. */
static inline uint32_t expect_fused(struct rig *r, unsigned int from, unsigned int count)
{
	static union packet p;
	struct rk_message **m = &r->all[from];
	uint64_t sum = 0;
	size_t len;

	assert_true(take_packet(r, &p, &len));
	assert_int_equal(len, FIRST_LEN + (count - 1) * MORE_LEN);
	assert_int_equal(p.run.nargs, NARGS);
	assert_int_equal(p.run.nmore, count - 1);
	assert_int_equal(p.run.kernel, r->k[FUSED]->slot);
	for (unsigned int i = 0; i < count; i++) {
		const struct rk_wire_more *more =
			(void *)(p.bytes + FIRST_LEN + (i - 1) * MORE_LEN);

		assert_int_equal(m[i]->state, RK_MESSAGE_RUNNING);
		assert_int_equal(m[i]->slot, p.run.slot);
		assert_int_equal(i ? more->id : p.run.id, m[i]->id);
		check_args(m[i], i ? more->args : p.run.args);
		sum += m[i]->plan.dims[0];
	}
	assert_int_equal(p.run.grid[0], sum ? (sum + 3) / 4 : 1);
	assert_int_equal(p.run.grid[1], 1);
	assert_int_equal(p.run.grid[2], 1);
	return p.run.slot;
}

static inline int answer_one(struct rig *r, const struct rk_message *m, int status,
			     struct rk_error *err)
{
	const struct rk_wire_run run = {.id = m->id, .slot = m->slot};

	return answer_with(r, &run, status, status ? "it failed" : "", err);
}

static inline void answer_ok(struct rig *r, const struct rk_message *m)
{
	struct rk_error err = {0};

	if (answer_one(r, m, 0, &err))
		fail_msg("%s", err.msg);
	expect_done(r, m, 0, "");
}

#define RUN_TEST(name) TEST_WITH(name, run_setup, rig_teardown)

#endif
