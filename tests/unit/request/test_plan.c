/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/kernel/parse.h"
#include "runtime/request/plan.h"
#include "tests/unit/unit.h"

#define HEAD "[kernel]\nid = d/k\n"
#define CPU  "[cpu]\nentry = f\nargs = "

/* a = f32[n,m] times b = f64[m,3], scaled by k, and a scalar count. */
static const char matrix[] =
	HEAD "[inputs]\na = f32[n,m]\nb = f64[m,3]\nk = i32\n"
	     "[outputs]\nc = f32[3,n]\ncount = u8\n" CPU "k, a, out.c, m, b, count, n\n";

static void begin(struct rk_plan *plan, struct rk_manifest *m, const char *text)
{
	struct rk_error err = {0};

	if (rk_manifest_parse(m, text, strlen(text), "t", &err) != 0)
		fail_msg("%s", err.msg);
	rk_plan_init(plan, m);
}

static void bind(struct rk_plan *plan, unsigned int index, unsigned int rank, uint64_t first,
		 uint64_t second)
{
	struct rk_error err = {0};

	if (rk_plan_bind(plan, index, rank, (uint64_t[]){first, second}, &err) != 0)
		fail_msg("%s", err.msg);
}

static void refuse(struct rk_plan *plan, unsigned int index, unsigned int rank, uint64_t first,
		   uint64_t second, const char *words)
{
	struct rk_plan before = *plan;
	struct rk_error err = {0};

	assert_int_equal(rk_plan_bind(plan, index, rank, (uint64_t[]){first, second}, &err),
			 -EINVAL);
	assert_string_equal(err.msg, words);
	assert_int_equal(plan->bound, before.bound);
	assert_int_equal(plan->seen, before.seen);
}

TEST(layout)
{
	struct rk_manifest m;
	struct rk_plan plan;
	uint64_t shape[RK_MAX_RANK] = {9, 9, 9};

	begin(&plan, &m, matrix);
	bind(&plan, 1, 2, 5, 3);
	bind(&plan, 2, 0, 0, 0);
	bind(&plan, 0, 2, 7, 5);
	assert_int_equal(rk_plan_layout(&plan, 1 << 20, NULL), 0);

	/* by hand: 140 bytes, 120, 4; then 84 + 64 guard, 1 + 64 guard */
	assert_int_equal(plan.inputs[0].count, 35);
	assert_int_equal(plan.inputs[0].bytes, 140);
	assert_int_equal(plan.inputs[0].offset, 0);
	assert_int_equal(plan.inputs[1].bytes, 120);
	assert_int_equal(plan.inputs[1].offset, 192);
	assert_int_equal(plan.inputs[2].count, 1);
	assert_int_equal(plan.inputs[2].offset, 320);
	assert_int_equal(plan.outputs[0].bytes, 84);
	assert_int_equal(plan.outputs[0].offset, 384);
	assert_int_equal(plan.outputs[1].bytes, 1);
	assert_int_equal(plan.outputs[1].offset, 576);
	assert_int_equal(plan.block_bytes, 641);
	rk_plan_output_shape(&plan, 0, shape);
	assert_int_equal(shape[0], 3);
	assert_int_equal(shape[1], 7);
	assert_int_equal(shape[2], 9);
}

TEST(wire_and_guards)
{
	struct rk_manifest m;
	struct rk_plan plan;
	struct rk_wire_arg args[RK_WIRE_ARGS_MAX];
	struct rk_error err = {0};
	unsigned char *block;
	int32_t k = -2;
	size_t i;

	begin(&plan, &m, matrix);
	bind(&plan, 0, 2, 7, 5);
	bind(&plan, 1, 2, 5, 3);
	bind(&plan, 2, 0, 0, 0);
	assert_int_equal(rk_plan_layout(&plan, 641, NULL), 0);
	block = malloc(plan.block_bytes);
	assert_non_null(block);
	memset(block, 0, plan.block_bytes);
	rk_plan_prepare(&plan, block);
	memcpy(block + plan.inputs[2].offset, &k, sizeof(k));
	memset(args, 0x77, sizeof(args));
	assert_int_equal(rk_plan_wire(&plan, RK_WIRE_CPU, 4096, block, args), 7);
	assert_int_equal(args[7].bytes, 0x7777777777777777); /* not its business */
	assert_int_equal(args[0].value, 0xfffffffe);	     /* k, the upper half clear */
	assert_int_equal(args[0].bytes, 4);
	assert_int_equal(args[1].value, 4096);
	assert_int_equal(args[1].bytes, 140);
	assert_int_equal(args[2].value, 4096 + 384);
	assert_int_equal(args[2].bytes, 84);
	assert_int_equal(args[3].value, 5);
	assert_int_equal(args[3].bytes, 8);
	assert_int_equal(args[4].value, 4096 + 192);
	assert_int_equal(args[5].bytes, 1);
	assert_int_equal(args[6].value, 7);

	for (i = 0; i < 84; i++)
		assert_int_equal(block[384 + i], 0);
	assert_int_equal(rk_plan_check(&plan, block, NULL), 0);
	memset(block + 384, 0xff, 84); /* the whole output may be written */
	block[576] = 0xff;
	assert_int_equal(rk_plan_check(&plan, block, NULL), 0);
	for (i = 0; i < 2 * RK_WIRE_GUARD; i++) {
		size_t at = i < RK_WIRE_GUARD ? 384 + 84 + i : 577 + i - RK_WIRE_GUARD;

		block[at] ^= 1;
		assert_int_equal(rk_plan_check(&plan, block, &err), -EIO);
		assert_non_null(strstr(err.msg, i < RK_WIRE_GUARD ? "'c'" : "'count'"));
		block[at] ^= 1;
	}
	free(block);
}

TEST(bind_refused)
{
	struct rk_manifest m;
	struct rk_plan plan;
	struct rk_error err = {0};

	begin(&plan, &m, matrix);
	refuse(&plan, 0, 1, 7, 0, "input 'a' has 1 axes in the request, not 2");
	refuse(&plan, 2, 1, 1, 0, "input 'k' has 1 axes in the request, not 0");
	refuse(&plan, 1, 2, 5, 4, "axis 1 of input 'b' must be 3, not 4");
	assert_int_equal(plan.bound, 0); /* its first axis alone would have bound m */
	assert_int_equal(rk_plan_layout(&plan, 1 << 20, &err), -EINVAL);
	assert_string_equal(err.msg, "the request lacks the inputs 'a', 'b', 'k'");
	bind(&plan, 0, 2, 7, 5);
	refuse(&plan, 0, 2, 7, 5, "input 'a' is given twice");
	refuse(&plan, 1, 2, 6, 3,
	       "the shapes disagree: dim m is 5 in input 'a' but 6 in input 'b'");
	bind(&plan, 1, 2, 5, 3);
	assert_int_equal(rk_plan_complete(&plan, &err), -EINVAL);
	assert_string_equal(err.msg, "the request lacks the input 'k'");
	bind(&plan, 2, 0, 0, 0);
	assert_int_equal(rk_plan_complete(&plan, &err), 0);
}

TEST(dim_twice_in_one_input)
{
	struct rk_manifest m;
	struct rk_plan plan;

	begin(&plan, &m, HEAD "[inputs]\na = u8[n,n]\n[outputs]\nc = u8\n" CPU "a, c\n");
	refuse(&plan, 0, 2, 3, 4,
	       "the shapes disagree: dim n is 3 in input 'a' but 4 in input 'a'");
	bind(&plan, 0, 2, 4, 4);
}

TEST(too_large)
{
	static const uint64_t sizes[][2] = {
		{UINT64_MAX, 1}, {1, UINT64_MAX},    {1ULL << 32, 1ULL << 32},
		{1ULL << 62, 1}, {1ULL << 62, 4},    {UINT64_MAX, UINT64_MAX},
		{UINT64_MAX, 0}, {1ULL << 32, 0},    {UINT64_MAX / 4, 1},
		{1ULL << 61, 2}, {(1 << 20) / 4, 1}, {0, (1 << 20) / 4 + 1},
	};
	struct rk_manifest m;
	struct rk_plan plan;
	struct rk_error err;
	size_t i;

	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		begin(&plan, &m,
		      HEAD "[inputs]\na = f32[n,m]\n[outputs]\nc = f32[n,m]\n" CPU "a, c\n");
		bind(&plan, 0, 2, sizes[i][0], sizes[i][1]);
		assert_int_equal(rk_plan_layout(&plan, 1 << 20, &err), -EMSGSIZE);
		assert_non_null(strstr(err.msg, "1048576 bytes that max_message_bytes allows"));
		assert_int_equal(plan.block_bytes, 0);
	}
	/* without a limit only overflow is left: 2^64 - 4 bytes fit 64 bits, their padding not */
	begin(&plan, &m, HEAD "[inputs]\na = f32[n]\n[outputs]\nc = u8\n" CPU "a, c\n");
	bind(&plan, 0, 1, UINT64_MAX / 4, 0);
	assert_int_equal(rk_plan_layout(&plan, UINT64_MAX, &err), -EMSGSIZE);
}

/* The limit is the block's size to the byte. */
TEST(exact_limit)
{
	struct rk_manifest m;
	struct rk_plan plan;

	begin(&plan, &m, HEAD "[inputs]\na = u8[n]\n[outputs]\nc = u8[n]\n" CPU "a, c\n");
	bind(&plan, 0, 1, 64, 0);
	assert_int_equal(rk_plan_layout(&plan, 191, NULL), -EMSGSIZE);
	assert_int_equal(rk_plan_layout(&plan, 192, NULL), 0);
	assert_int_equal(plan.block_bytes, 192);
}

TEST(empty)
{
	struct rk_manifest m;
	struct rk_plan plan;
	unsigned char block[64];
	struct rk_wire_arg args[RK_WIRE_ARGS_MAX];

	begin(&plan, &m, HEAD "[inputs]\na = f32[n]\n[outputs]\nc = f32[n]\n" CPU "a, c, n\n");
	bind(&plan, 0, 1, 0, 0);
	assert_int_equal(rk_plan_layout(&plan, 1024, NULL), 0);
	assert_int_equal(plan.inputs[0].count, 0);
	assert_int_equal(plan.outputs[0].bytes, 0);
	assert_int_equal(plan.block_bytes, RK_WIRE_GUARD);
	rk_plan_prepare(&plan, block);
	assert_int_equal(rk_plan_check(&plan, block, NULL), 0);
	assert_int_equal(rk_plan_wire(&plan, RK_WIRE_CPU, 128, block, args), 3);
	assert_int_equal(args[1].bytes, 0);
	assert_int_equal(args[2].value, 0);
}

TEST(dtypes)
{
	unsigned int i;

	for (i = 0; i < RK_DTYPE_COUNT; i++) {
		const struct rk_dtype_info *info = rk_dtype_info((enum rk_dtype)i);

		assert_int_equal(rk_dtype_find(info->name, strlen(info->name)), i);
		if (i != RK_BOOL)
			assert_int_equal(info->size, strtoul(info->name + 1, NULL, 10) / 8);
	}
	assert_int_equal(rk_dtype_find("f3", 2), RK_DTYPE_COUNT);
	assert_int_equal(rk_dtype_find("f32[", 4), RK_DTYPE_COUNT);
	assert_int_equal(rk_dtype_find("", 0), RK_DTYPE_COUNT);
	assert_int_equal(rk_dtype_info(RK_BOOL)->size, 1);
	assert_string_equal(rk_dtype_info(RK_BOOL)->st_name, "BOOL");
	assert_string_equal(rk_dtype_info(RK_I16)->st_name, "I16");
	assert_string_equal(rk_dtype_names(),
			    "f16, f32, f64, i8, i16, i32, i64, u8, u16, u32, u64, bool");
}

/* Every axis an expression; c and d are checked against what a and b bind, in any order. */
static const char expressions[] =
	HEAD "[inputs]\nc = u8[n*m,2*n]\nd = u8[3*n*m-1]\na = u8[n+1]\nb = u8[m-2,4]\n"
	     "[outputs]\no = u8[n-1,2*n*m+3]\n[scratch]\ns = f32[m]\n" CPU "c,d,a,b,o,s,n\n";

TEST(expressions)
{
	/* all orders of four inputs */
	static const unsigned int orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {2, 0, 3, 1},
						 {1, 3, 0, 2}, {2, 3, 0, 1}, {0, 3, 1, 2}};
	/* n = 3, m = 5 */
	static const uint64_t shapes[][2] = {{15, 6}, {44, 0}, {4, 0}, {3, 4}};
	static const unsigned int ranks[] = {2, 1, 1, 2};
	uint64_t shape[RK_MAX_RANK];
	struct rk_manifest m;
	struct rk_plan plan;
	struct rk_error err;
	size_t o, i;

	for (o = 0; o < sizeof(orders) / sizeof(orders[0]); o++) {
		begin(&plan, &m, expressions);
		for (i = 0; i < 4; i++)
			bind(&plan, orders[o][i], ranks[orders[o][i]], shapes[orders[o][i]][0],
			     shapes[orders[o][i]][1]);
		if (rk_plan_layout(&plan, 1 << 20, &err) != 0)
			fail_msg("%s", err.msg);
		rk_plan_output_shape(&plan, 0, shape);
		assert_int_equal(shape[0], 2);
		assert_int_equal(shape[1], 33);
		assert_int_equal(plan.scratch[0].bytes, 20);
		/* inputs of 90, 44, 4, 12 bytes, an output of 66, the scratch */
		assert_int_equal(plan.inputs[1].offset, 128);
		assert_int_equal(plan.inputs[3].offset, 256);
		assert_int_equal(plan.outputs[0].offset, 320);
		assert_int_equal(plan.scratch[0].offset, 512);
		assert_int_equal(plan.block_bytes, 512 + 20 + RK_WIRE_GUARD);
	}
}

TEST(expressions_refused)
{
	static const struct {
		uint64_t c0, c1, d, a, b;
		const char *words;
	} cases[] = {
		{15, 7, 44, 4, 3, "axis 1 of input 'c' (2*n) must be 6, not 7"},
		{14, 6, 44, 4, 3, "axis 0 of input 'c' (n*m) must be 15, not 14"},
		{15, 6, 45, 4, 3, "axis 0 of input 'd' (3*n*m-1) must be 44, not 45"},
		{15, 6, 44, 5, 3, "axis 0 of input 'c' (n*m) must be 20, not 15"},
		{0, 0, 0, 1, 3,
		 "axis 0 of input 'd' (3*n*m-1) would be negative with the shapes of this "
		 "request"},
	};
	struct rk_manifest m;
	struct rk_plan plan;
	struct rk_error err;
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin(&plan, &m, expressions);
		bind(&plan, 0, 2, cases[i].c0, cases[i].c1);
		bind(&plan, 1, 1, cases[i].d, 0);
		bind(&plan, 2, 1, cases[i].a, 0);
		bind(&plan, 3, 2, cases[i].b, 4);
		assert_int_equal(rk_plan_layout(&plan, 1 << 20, &err), -EINVAL);
		assert_string_equal(err.msg, cases[i].words);
		assert_int_equal(plan.block_bytes, 0);
	}
	begin(&plan, &m, expressions);
	refuse(&plan, 2, 1, 0, 0, "axis 0 of input 'a' (n+1) must be at least 1, not 0");
	refuse(&plan, 3, 2, UINT64_MAX, 4, "axis 0 of input 'b' (m-2) is too large");
	bind(&plan, 3, 2, UINT64_MAX - 2, 4);
	assert_true(plan.dims[1] == UINT64_MAX);

	/* an output's axis below zero */
	begin(&plan, &m, HEAD "[inputs]\na = u8[n]\n[outputs]\no = u8[n-2]\n" CPU "a,o\n");
	bind(&plan, 0, 1, 1, 0);
	assert_int_equal(rk_plan_layout(&plan, 1 << 20, &err), -EINVAL);
	assert_string_equal(
		err.msg,
		"axis 0 of output 'o' (n-2) would be negative with the shapes of this request");
}

/* No product and no sum wraps around. */
TEST(expressions_overflow)
{
	static const struct {
		const char *output;
		uint64_t n, m;
	} cases[] = {
		{"n*m", 1ULL << 32, 1ULL << 32},
		{"9223372036854775807*n*m", 1ULL << 33, 3},
		{"n+9223372036854775807", (1ULL << 63) + 1, 0},
		{"n*n*n*n*n*n*n", 1ULL << 10, 0},
		{"4*n-3", 1ULL << 62, 0},
		{"n*m-1", 1ULL << 32, 1ULL << 32},
	};
	struct rk_manifest m;
	struct rk_plan plan;
	struct rk_error err;
	char text[256];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(text, sizeof(text),
			 HEAD "[inputs]\na = u8[n,2]\nb = u8[m,2]\n[outputs]\no = u8[%s]\n" CPU
			      "a,b,o\n",
			 cases[i].output);
		begin(&plan, &m, text);
		/* as raw would: no input is too large itself */
		rk_plan_set_dim(&plan, 0, cases[i].n);
		rk_plan_set_dim(&plan, 1, cases[i].m);
		plan.seen = 3;
		m.ninputs = 0;
		assert_int_equal(rk_plan_layout(&plan, UINT64_MAX, &err), -EMSGSIZE);
		assert_non_null(strstr(err.msg, "would be 2^64 or more"));
	}
	/* zero times anything is zero */
	begin(&plan, &m,
	      HEAD "[inputs]\na = u8[n]\nb = u8[m]\n[outputs]\no = u8[m*m*n]\n" CPU "a,b,o\n");
	rk_plan_set_dim(&plan, 0, 0);
	rk_plan_set_dim(&plan, 1, UINT64_MAX);
	plan.seen = 3;
	m.ninputs = 0;
	assert_int_equal(rk_plan_layout(&plan, 1 << 20, &err), 0);
	assert_int_equal(plan.outputs[0].bytes, 0);
}

/* What an empty array does not show is what the others say, or the least that is allowed. */
TEST(hidden_axes)
{
	struct rk_manifest m;
	struct rk_plan plan;
	uint64_t shape[RK_MAX_RANK];
	struct rk_error err;

	begin(&plan, &m,
	      HEAD "[inputs]\na = u8[n,m-3,k+2,n*k]\n[outputs]\no = u8[n,m,k]\n" CPU "a,o\n");
	assert_int_equal(rk_plan_bind_shown(&plan, 0, 1, (uint64_t[]){0}, NULL), 0);
	assert_int_equal(rk_plan_layout(&plan, 1 << 20, NULL), 0);
	rk_plan_output_shape(&plan, 0, shape);
	assert_int_equal(shape[0], 0);
	assert_int_equal(shape[1], 3);
	assert_int_equal(shape[2], 0);

	begin(&plan, &m,
	      HEAD "[inputs]\na = u8[n,m-3]\nb = u8[m]\n[outputs]\no = u8[m]\n" CPU "a,b,o\n");
	assert_int_equal(rk_plan_bind_shown(&plan, 0, 1, (uint64_t[]){0}, NULL), 0);
	bind(&plan, 1, 1, 7, 0);
	assert_int_equal(rk_plan_layout(&plan, 1 << 20, NULL), 0);
	assert_int_equal(plan.dims[1], 7);
	begin(&plan, &m,
	      HEAD "[inputs]\na = u8[n,m-3]\nb = u8[m]\n[outputs]\no = u8[m]\n" CPU "a,b,o\n");
	assert_int_equal(rk_plan_bind_shown(&plan, 0, 1, (uint64_t[]){0}, NULL), 0);
	bind(&plan, 1, 1, 2, 0);
	assert_int_equal(rk_plan_layout(&plan, 1 << 20, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "axis 1 of input 'a' (m-3) would be negative"));
}

TEST(defaults_and_scratch)
{
	struct rk_manifest m;
	struct rk_plan plan;
	struct rk_wire_arg args[RK_WIRE_ARGS_MAX];
	struct rk_error err;
	unsigned char *block;
	double value;
	uint64_t i;

	begin(&plan, &m,
	      HEAD "[inputs]\na = u8[n]\nk = f64 = 0.85\nj = i8 = -3\n[outputs]\nc = u8[n]\n"
		   "[scratch]\ns = u8[2*n]\nt = u32\n" CPU "a,k,j,t,s,c\n");
	bind(&plan, 0, 1, 3, 0);
	bind(&plan, 2, 0, 0, 0); /* j is given */
	assert_int_equal(rk_plan_layout(&plan, 1 << 20, NULL), 0);
	block = malloc(plan.block_bytes);
	assert_non_null(block);
	memset(block, 0xee, plan.block_bytes);
	rk_plan_prepare(&plan, block);
	memcpy(&value, block + plan.inputs[1].offset, sizeof(value));
	assert_true(value == 0.85);
	assert_int_equal(block[plan.inputs[2].offset], 0xee); /* the request's own */
	for (i = 0; i < 6; i++) /* is zero in a new block: not a page of it is touched */
		assert_int_equal(block[plan.scratch[0].offset + i], 0xee);
	assert_int_equal(rk_plan_wire(&plan, RK_WIRE_CPU, 4096, block, args), 6);
	assert_int_equal(args[1].bytes, 8);
	assert_memory_equal(&args[1].value, &value, sizeof(value));
	assert_int_equal(args[3].value, 4096 + plan.scratch[1].offset);
	assert_int_equal(args[3].bytes, 4);
	assert_int_equal(args[4].value, 4096 + plan.scratch[0].offset);
	assert_int_equal(args[4].bytes, 6);
	assert_int_equal(rk_plan_check(&plan, block, &err), 0);
	for (i = 0; i < RK_WIRE_GUARD; i++) {
		block[plan.scratch[0].offset + 6 + i] ^= 1;
		assert_int_equal(rk_plan_check(&plan, block, &err), -EIO);
		assert_non_null(strstr(err.msg, "past the end of its scratch 's'"));
		block[plan.scratch[0].offset + 6 + i] ^= 1;
	}
	free(block);
}

TEST(bools)
{
	struct rk_manifest m;
	struct rk_plan plan;
	struct rk_error err;
	unsigned char block[256] = {0};

	begin(&plan, &m,
	      HEAD "[inputs]\na = u8[n]\nb = bool[n]\n[outputs]\nc = bool\n" CPU "a,b,c\n");
	bind(&plan, 0, 1, 3, 0);
	bind(&plan, 1, 1, 3, 0);
	assert_int_equal(rk_plan_layout(&plan, sizeof(block), NULL), 0);
	memset(block, 1, sizeof(block));
	block[0] = 7;
	block[plan.inputs[1].offset + 3] = 7; /* behind it */
	assert_int_equal(rk_plan_check_bools(&plan, block, &err), 0);
	block[plan.inputs[1].offset + 2] = 2;
	assert_int_equal(rk_plan_check_bools(&plan, block, &err), -EINVAL);
	assert_string_equal(err.msg, "input 'b': element 2 is 2; a bool is 0 or 1");
}
