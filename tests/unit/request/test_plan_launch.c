/* SPDX-License-Identifier: MIT */
/* What a plan says of a launch on CUDA: blocks, arguments, and which messages can go together. */
#include "tests/unit/kernel/manifest_text.h"

#include "runtime/request/plan.h"

static void begin(struct rk_plan *plan, struct rk_manifest *m, const char *text)
{
	parse_good(m, text);
	rk_plan_init(plan, m);
}

static void bind(struct rk_plan *plan, unsigned int index, uint64_t first, uint64_t second)
{
	const uint64_t shape[RK_MAX_RANK] = {first, second};
	struct rk_error err = {0};

	if (rk_plan_bind(plan, index, plan->manifest->inputs[index].rank, shape, &err) != 0)
		fail_msg("%s", err.msg);
}

static void lay_out(struct rk_plan *plan)
{
	struct rk_error err = {0};

	if (rk_plan_layout(plan, UINT64_MAX, &err) != 0)
		fail_msg("%s", err.msg);
}

/* a = u8[n,m] */
TEST(grid)
{
	static const struct {
		const char *lines;
		uint64_t n, m;
		uint32_t grid[RK_WIRE_AXES];
	} rows[] = {
		{"grid = n\n", 1, 1, {1, 1, 1}},
		{"grid = n\n", 256, 1, {1, 1, 1}},
		{"grid = n\n", 257, 1, {2, 1, 1}},
		{"grid = n\n", 0, 1, {1, 1, 1}},
		{"grid = 2*n*m+1\nblock = 10\n", 5, 1, {2, 1, 1}},
		{"grid = n, m\n", 17, 32, {2, 2, 1}},
		{"grid = m, n, 9\n", 17, 32, {4, 3, 3}},
		{"grid = n, m\nblock = 32\n", 33, 7, {2, 7, 1}},
		/* the block has an axis that the grid does not */
		{"grid = n\nblock = 8, 8\n", 64, 1, {8, 1, 1}},
		{"grid = 1048576\n", 0, 0, {4096, 1, 1}},
		/* fewer than none */
		{"grid = n-3\n", 2, 1, {1, 1, 1}},
		{"grid = n-3, m\n", 2, 17, {1, 2, 1}},
		/* all that CUDA has */
		{"grid = n\nblock = 1\n", INT32_MAX, 0, {INT32_MAX, 1, 1}},
		{"grid = 1, n, m\nblock = 1\n", 65535, 65535, {1, 65535, 65535}},
	};
	uint32_t grid[RK_WIRE_AXES];
	struct rk_manifest m;
	struct rk_plan plan;
	char text[256];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(text, sizeof(text), "%s%s",
			 KERNEL "[inputs]\na = u8[n,m]\n[outputs]\nc = u8\n"
				"[cuda]\nentry = f\nargs = a, c\n",
			 rows[i].lines);
		begin(&plan, &m, text);
		bind(&plan, 0, rows[i].n, rows[i].m);
		lay_out(&plan);
		memset(grid, 0x55, sizeof(grid));
		assert_int_equal(rk_plan_grid(&plan, RK_WIRE_CUDA, 12345, grid, NULL), 0);
		assert_memory_equal(grid, rows[i].grid, sizeof(grid));
	}
}

/* A message that cannot be launched is refused before it is a message. */
TEST(grid_too_large)
{
	static const struct {
		const char *lines;
		uint64_t n, m;
		const char *words;
	} rows[] = {
		{"grid = n\nblock = 1\n", 1ULL << 31, 0,
		 "axis 0 of the grid (n) needs 2147483648 blocks of 1 threads; CUDA has 2147483647 at "
		 "most"},
		{"grid = m, 2*n\nblock = 1\n", 32768, 1,
		 "axis 1 of the grid (2*n) needs 65536 blocks of 1 threads; CUDA has 65535 at most"},
		{"grid = 1, 1, n+1\n", 1ULL << 18, 1,
		 "axis 2 of the grid (n+1) needs 65537 blocks of 4 threads; CUDA has 65535 at most"},
		{"grid = 4611686018427387904*n\nblock = 1024\n", 4, 1,
		 "axis 0 of the grid (4611686018427387904*n) needs more than 18014398509481983 blocks "
		 "of 1024 threads"},
	};
	struct rk_plan plan, before;
	struct rk_manifest m;
	struct rk_error err;
	char text[256];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(text, sizeof(text), "%s%s",
			 KERNEL "[inputs]\na = u8[n,m]\n[outputs]\nc = u8\n"
				"[cuda]\nentry = f\nargs = a, c\n",
			 rows[i].lines);
		begin(&plan, &m, text);
		bind(&plan, 0, rows[i].n, rows[i].m);
		before = plan;
		assert_int_equal(rk_plan_layout(&plan, UINT64_MAX, &err), -EINVAL);
		if (!strstr(err.msg, rows[i].words))
			fail_msg("%s", err.msg);
		assert_memory_equal(&plan, &before, sizeof(plan));
	}
	/* without [cuda] there is nothing to launch */
	begin(&plan, &m,
	      KERNEL "[inputs]\na = u8[n,m]\n[outputs]\nc = u8\n[cpu]\nentry = f\nargs = a, c\n");
	bind(&plan, 0, UINT32_MAX, 0);
	lay_out(&plan);
}

/* One launch for several messages: as many threads as all of them want. */
TEST(fused_grid)
{
	uint32_t grid[RK_WIRE_AXES];
	struct rk_manifest m;
	struct rk_plan plan;
	struct rk_error err;

	begin(&plan, &m,
	      KERNEL "batchable = n\n[inputs]\na = u8[n,m]\n[outputs]\nc = u8[n]\n"
		     "[cuda]\nentry = f\nargs = a, c, n\ngrid = n*m, m\nblock = 10\n");
	bind(&plan, 0, 5, 3);
	lay_out(&plan);
	assert_int_equal(rk_plan_grid(&plan, RK_WIRE_CUDA, 5, grid, NULL), 0);
	assert_memory_equal(grid, ((uint32_t[]){2, 3, 1}), sizeof(grid));
	assert_int_equal(rk_plan_grid(&plan, RK_WIRE_CUDA, 70, grid, NULL), 0);
	assert_memory_equal(grid, ((uint32_t[]){21, 3, 1}), sizeof(grid));
	assert_int_equal(plan.dims[0], 5);
	assert_int_equal(rk_plan_grid(&plan, RK_WIRE_CUDA, 1ULL << 40, grid, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "axis 0 of the grid (n*m) needs 329853488333 blocks"));
}

/* Scratch and state of one backend are no arguments on the other. */
TEST(wire)
{
	struct rk_wire_arg args[RK_WIRE_ARGS_MAX];
	uint32_t grid[RK_WIRE_AXES];
	unsigned char block[1024];
	struct rk_manifest m;
	struct rk_plan plan;

	begin(&plan, &m,
	      KERNEL "mode = ring\n[state]\nbytes = 16\n[inputs]\na = u8[n]\nk = u16 = 7\n" OUT
		     "[scratch]\ns = u32[2]\n[cpu]\nentry = f\nargs = state, a, c, n, k\n"
		     "[cuda]\nentry = f\nargs = k, c, s, state, a\n");
	bind(&plan, 0, 5, 0);
	lay_out(&plan);
	assert_true(plan.block_bytes <= sizeof(block));
	memset(block, 0, sizeof(block));
	rk_plan_prepare(&plan, block);
	memset(args, 0x77, sizeof(args));
	assert_int_equal(rk_plan_wire(&plan, RK_WIRE_CPU, 4096, block, args), 5);
	assert_int_equal(args[0].value, 0);
	assert_int_equal(args[0].bytes, 0);
	assert_int_equal(args[1].value, 4096);
	assert_int_equal(args[3].value, 5);
	assert_int_equal(args[3].bytes, 8);
	assert_int_equal(args[4].value, 7);
	assert_int_equal(args[4].bytes, 2);
	memset(args, 0x77, sizeof(args));
	assert_int_equal(rk_plan_wire(&plan, RK_WIRE_CUDA, 4096, block, args), 5);
	assert_int_equal(args[0].value, 7);
	assert_int_equal(args[1].value, 4096 + plan.outputs[0].offset);
	assert_int_equal(args[2].value, 4096 + plan.scratch[0].offset);
	assert_int_equal(args[2].bytes, 8);
	assert_int_equal(args[3].value, 0);
	assert_int_equal(args[3].bytes, 0);
	assert_int_equal(args[4].bytes, 5);
	/* a resident kernel is one block whatever comes */
	assert_int_equal(rk_plan_grid(&plan, RK_WIRE_CUDA, 0, grid, NULL), 0);
	assert_memory_equal(grid, ((uint32_t[]){1, 1, 1}), sizeof(grid));
}

/* A message of the kernel in test_fuses(), with its block. */
struct message {
	struct rk_plan plan;
	unsigned char block[1024];
};

static void make(struct message *msg, struct rk_manifest *m, uint64_t n, uint64_t k, float scale)
{
	rk_plan_init(&msg->plan, m);
	bind(&msg->plan, 0, n, k);
	if (scale != 2)
		bind(&msg->plan, 1, 0, 0);
	lay_out(&msg->plan);
	assert_true(msg->plan.block_bytes <= sizeof(msg->block));
	memset(msg->block, (int)(n * 7), sizeof(msg->block)); /* other data */
	rk_plan_prepare(&msg->plan, msg->block);
	if (scale != 2)
		memcpy(msg->block + msg->plan.inputs[1].offset, &scale, sizeof(scale));
}

static bool fuses(const struct message *a, const struct message *b)
{
	bool yes = rk_plan_fuses(&a->plan, a->block, &b->plan, b->block);

	assert_int_equal(rk_plan_fuses(&b->plan, b->block, &a->plan, a->block), yes);
	return yes;
}

TEST(fuses)
{
	static const char ports[] = "[inputs]\na = u8[n,m]\nscale = f32 = 2\n[outputs]\nc = u8[n]\n"
				    "[cuda]\nentry = f\nargs = a, scale, c, n\ngrid = n\n";
	static struct message first, second;
	struct rk_manifest m;
	char text[512];

	snprintf(text, sizeof(text), "%s%s", KERNEL "batchable = n\n", ports);
	parse_good(&m, text);
	make(&first, &m, 5, 3, 2);
	make(&second, &m, 9, 3, 2);
	assert_true(fuses(&first, &second)); /* the default in both */
	make(&second, &m, 0, 3, 2);
	assert_true(fuses(&first, &second));
	make(&second, &m, 5, 4, 2);
	assert_false(fuses(&first, &second)); /* another dim */
	make(&second, &m, 5, 3, 2.5f);
	assert_false(fuses(&first, &second)); /* another scalar */
	make(&first, &m, 6, 3, 2.5f);
	assert_true(fuses(&first, &second));
	/* what is not batchable never does */
	snprintf(text, sizeof(text), "%s%s", KERNEL, ports);
	parse_good(&m, text);
	make(&first, &m, 5, 3, 2);
	make(&second, &m, 5, 3, 2);
	assert_false(fuses(&first, &second));
}
