/* SPDX-License-Identifier: MIT */
/* [cuda], [state], batchable: what a description says of a launch, and of a resident kernel. */
#include "tests/unit/kernel/manifest_text.h"

static const struct refused refused[] = {
	/* [cuda] */
	{KERNEL IN OUT "[cuda]\nentry = f\nargs = a, c\n", "t.ini: grid is missing in [cuda]"},
	{KERNEL IN OUT CPU "[cuda]\nentry = f\ngrid = n\n", "t.ini: args is missing in [cuda]"},
	{KERNEL IN OUT "[cuda]\nargs = a, c\ngrid = n\n", "t.ini: entry is missing in [cuda]"},
	{KERNEL "[cuda]\nmodule = x.fatbin\n",
	 "t.ini:4: module: 'x.fatbin' is neither builtin nor the absolute path of a CUDA module "
	 "(fatbin, cubin or PTX)"},
	{KERNEL "[cuda]\nmodule =\n", "t.ini:4: module: '' is neither builtin"},
	{KERNEL "[cuda]\nentry = f<int>\n", "t.ini:4: entry: 'f<int>' is no C function's name"},
	{KERNEL IN OUT CPU "[cuda]\nentry = f\ngrid = n\nargs = a\n",
	 "t.ini:13: args: output 'c' is missing"},
	{KERNEL IN OUT CPU "[cuda]\nentry = f\ngrid = n\nargs = c, a, c\n",
	 "t.ini:13: args: output 'c' is repeated"},
	{KERNEL IN OUT "[scratch]\ns = f32\n" CPU "[cuda]\nentry = f\ngrid = n\nargs = s,a,c,s\n",
	 "t.ini:15: args: scratch 's' is repeated: args names it once"},
	{KERNEL IN OUT "[cuda]\nentry = f\nargs = a, c\ngrid =\n", "grid: '' is no dimension"},
	{KERNEL IN OUT "[cuda]\nentry = f\nargs = a, c\ngrid = n,\n", "grid: '' is no dimension"},
	{KERNEL IN OUT "[cuda]\nentry = f\nargs = a, c\ngrid = 0\n", "'0' is no integer from 1"},
	{KERNEL IN OUT "[cuda]\nentry = f\nargs = a, c\ngrid = m\n",
	 "t.ini:10: grid: no input binds the dim 'm'"},
	{KERNEL IN OUT "[cuda]\nentry = f\nargs = a, c\ngrid = a\n",
	 "t.ini:10: grid: no input binds the dim 'a'"},
	{KERNEL IN OUT "[cuda]\nentry = f\nargs = a, c\ngrid = n,n,n,n\n",
	 "t.ini:10: grid: more than 3 axes"},
	{KERNEL "[cuda]\nblock =\n", "t.ini:4: block: '' is no number of threads from 1 to 1024"},
	{KERNEL "[cuda]\nblock = 0\n", "'0' is no number of threads from 1 to 1024 for axis 0"},
	{KERNEL "[cuda]\nblock = 1025\n", "'1025' is no number of threads"},
	{KERNEL "[cuda]\nblock = 4294967297\n", "'4294967297' is no number of threads"},
	{KERNEL "[cuda]\nblock = n\n", "'n' is no number of threads"},
	{KERNEL "[cuda]\nblock = 16,\n", "'' is no number of threads from 1 to 1024 for axis 1"},
	{KERNEL "[cuda]\nblock = 1,1,65\n", "'65' is no number of threads from 1 to 64 for axis 2"},
	{KERNEL "[cuda]\nblock = 1,1,1,1\n", "a block has at most 3 axes"},
	{KERNEL "[cuda]\nblock = 32, 33\n", "a block of 1056 threads; CUDA allows 1024 at most"},
	{KERNEL "[cuda]\nblock = 1024,1024,64\n", "a block of 67108864 threads"},
	{KERNEL "[cuda]\nshared = 228K\n",
	 "t.ini:4: shared: \"228K\" is not allowed; it must be a size such as 512, 64K, 16M or 1G, "
	 "from 0 to 227K"},
	{KERNEL "[cuda]\nshared = -1\n", "it must be a size"},
	{KERNEL "[cuda]\ncooperative = maybe\n",
	 "t.ini:4: cooperative: \"maybe\" is not allowed; it must be yes or no"},
	/* mode = ring */
	{RING CPU CUDA,
	 "t.ini:14: grid: a kernel with mode = ring is one block; leave this key out"},
	{RING CPU "[cuda]\nentry = f\nargs = a, c\ncooperative = no\n",
	 "t.ini:14: cooperative: a kernel with mode = ring is one block"},
	{RING "[cuda]\nentry = f\n", "t.ini: args is missing in [cuda]"},
	{RING CPU "[state]\nbytes = 0\n", "t.ini:12: bytes: \"0\" is not allowed"},
	{RING CPU "[state]\nbytes = 1025M\n", "from 1 to 1G"},
	{RING CPU "[state]\nbytes = 8\n", "t.ini:10: args: 'state' is missing: no args names it"},
	{RING "[cpu]\nentry = f\nargs = state, a, c, state\n[state]\nbytes = 8\n",
	 "t.ini:10: args: 'state' is repeated: args names it once"},
	{RING "[cpu]\nentry = f\nargs = a, c, state\n",
	 "t.ini:10: args: 'state' is no input, no output, no scratch and no dim"},
	{RING "[cpu]\nentry = f\nargs = a, c, in.state\n[state]\nbytes = 8\n",
	 "t.ini:10: args: 'in.state' is no input"},
	{KERNEL IN OUT "[cpu]\nentry = f\nargs = a, c, state\n[state]\nbytes = 8\n",
	 "t.ini:11: bytes: only a kernel with mode = ring keeps a state"},
	{KERNEL "mode = ring\n[state]\nbytes = 8\n[inputs]\nstate = f32[n]\n" OUT
		"[cpu]\nentry = f\nargs = state, c\n",
	 "t.ini:5: bytes: 'state' in args means what [state] describes, so no input can be called"},
	{KERNEL "mode = ring\n[state]\nbytes = 8\n" IN "[outputs]\nstate = f32[n]\n"
		"[cpu]\nentry = f\nargs = a, state\n",
	 "so no output can be called so"},
	{KERNEL "mode = ring\n[state]\nbytes = 8\n[scratch]\nstate = f32[n]\n" IN OUT
		"[cpu]\nentry = f\nargs = a, c, state\n",
	 "so no scratch can be called so"},
	{KERNEL "mode = ring\n[state]\nbytes = 8\n[inputs]\na = f32[state]\n"
		"[outputs]\nc = f32\n[cpu]\nentry = f\nargs = a, c, state\n",
	 "so no dim can be called so"},
};

TEST(refused)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		check_refused(&refused[i]);
}

/* batchable = n, with [cuda] args = a, c, k, n and grid = n */
static const struct {
	const char *ports, *words; /* NULL = it is taken */
} batchable[] = {
	{"[inputs]\na = f32[n]\nk = f32\n[outputs]\nc = f32[n]\n", NULL},
	{"[inputs]\na = f32[n,4]\nk = f32\n[outputs]\nc = f32[n,2,3]\n", NULL},
	{"[inputs]\na = f32[n,m]\nk = f32[n,m+1]\n[outputs]\nc = f32[n,m*m]\n", NULL},
	{"[inputs]\na = f32[n]\nk = f32\n[outputs]\nc = f32\n",
	 "the first axis of output 'c' is not n: messages are put one after the other along it, so "
	 "all but scalar inputs have n as their first axis"},
	{"[inputs]\na = f32[n]\nk = f32\n[outputs]\nc = f32[2*n]\n",
	 "the first axis of output 'c' is not n"},
	{"[inputs]\na = f32[n]\nk = f32\n[outputs]\nc = f32[n+1]\n",
	 "the first axis of output 'c' is not n"},
	{"[inputs]\na = f32[n]\nk = f32[m]\n[outputs]\nc = f32[n,m]\n",
	 "the first axis of input 'k' is not n"},
	{"[inputs]\na = f32[n+1]\nk = f32\n[outputs]\nc = f32[n]\n",
	 "the first axis of input 'a' is not n"},
	{"[inputs]\na = f32[n]\nk = f32[m,n]\n[outputs]\nc = f32[n,m]\n",
	 "the first axis of input 'k' is not n"},
	{"[inputs]\na = f32[n]\nk = f32[n,2,n]\n[outputs]\nc = f32[n]\n",
	 "axis 2 of input 'k' has n in it, which only the first axis may have"},
	{"[inputs]\na = f32[n,m]\nk = f32\n[outputs]\nc = f32[n,m*n]\n",
	 "axis 1 of output 'c' has n in it"},
};

TEST(batchable)
{
	static const struct refused others[] = {
		{KERNEL "batchable = m\n" IN OUT CUDA,
		 "t.ini:3: batchable: 'm' is no dim of an input"},
		{KERNEL "batchable = a\n" IN OUT CUDA, "'a' is no dim of an input"},
		{KERNEL "batchable = 2*n\n" IN OUT CUDA, "'2*n' is no dim of an input"},
		{KERNEL "batchable =\n" IN OUT CUDA, "'' is no dim of an input"},
		{KERNEL "batchable = n\n" IN OUT CPU,
		 "t.ini:3: batchable: only [cuda] launches messages together"},
		{KERNEL "batchable = n\nmode = ring\n" IN OUT CPU,
		 "t.ini:3: batchable: only messages of a kernel with mode = batch"},
		{KERNEL "batchable = n\n" IN OUT "[cuda]\nentry = f\nargs = a, c, n\ngrid = 64\n",
		 "t.ini:3: batchable: grid of [cuda] does not grow with n"},
		{KERNEL "batchable = n\n[inputs]\na = f32[n,m]\n" OUT
			"[cuda]\nentry = f\nargs = a, c, n\ngrid = m\n",
		 "t.ini:3: batchable: grid of [cuda] does not grow with n"},
		{KERNEL "batchable = n\n" IN OUT CPU "[cuda]\nentry = f\nargs = a, c\ngrid = n\n",
		 "t.ini:3: batchable: args of [cuda] lacks n"},
		{KERNEL "batchable = n\n" IN OUT "[scratch]\ns = f32[4]\n"
			"[cuda]\nentry = f\nargs = a, c, n, s\ngrid = n\n",
		 "t.ini:3: batchable: the first axis of scratch 's' is not n"},
	};
	struct rk_manifest m;
	struct rk_error err;
	char text[512];
	size_t i;

	for (i = 0; i < sizeof(batchable) / sizeof(batchable[0]); i++) {
		snprintf(text, sizeof(text), "%s%s%s%s", KERNEL "batchable = n\n",
			 batchable[i].ports, "[cuda]\nentry = f\nargs = a, c, k, n\n",
			 "grid = 4, 2*n\n");
		if (!batchable[i].words) {
			parse_good(&m, text);
			assert_int_equal(m.fused_dim, 1);
			continue;
		}
		assert_int_equal(parse(&m, text, &err), -EINVAL);
		assert_memory_equal(err.msg, "t.ini:3: batchable: ", 20);
		if (!strstr(err.msg, batchable[i].words))
			fail_msg("%s", err.msg);
	}
	for (i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		check_refused(&others[i]);
}

/* The sum of several messages goes to every argument that is the fused dim, and to no other. */
TEST(fused_on_the_wire)
{
	struct rk_wire_load load;
	struct rk_manifest m;
	unsigned int i;

	parse_good(&m, KERNEL "batchable = n\n[inputs]\na = f32[n,m]\n" OUT CPU
			      "[cuda]\nentry = f\nargs = m, n, a, n, c\ngrid = n\n");
	rk_manifest_wire(&m, RK_WIRE_CUDA, &load);
	for (i = 0; i < 5; i++)
		assert_int_equal(load.params[i].fused, i == 1 || i == 3);
	rk_manifest_wire(&m, RK_WIRE_CPU, &load);
	for (i = 0; i < 5; i++)
		assert_int_equal(load.params[i].fused, 0);
}

TEST(default_blocks)
{
	static const struct {
		const char *lines;
		uint32_t block[RK_WIRE_AXES];
	} blocks[] = {
		{"grid = n\n", {256, 1, 1}},
		{"grid = n, 2\n", {16, 16, 1}},
		{"grid = n, 2, 3\n", {8, 8, 4}},
		{"grid = n, 2, 3\nblock = 32\n", {32, 1, 1}},
		{"grid = n\nblock = 2, 3, 64\n", {2, 3, 64}},
		{"grid = n\nblock = 1024\n", {1024, 1, 1}},
	};
	struct rk_wire_load load;
	struct rk_manifest m;
	char text[256];
	size_t i;

	for (i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
		snprintf(text, sizeof(text), "%s%s",
			 KERNEL IN OUT "[cuda]\nentry = f\nargs = a, c\n", blocks[i].lines);
		parse_good(&m, text);
		rk_manifest_wire(&m, RK_WIRE_CUDA, &load);
		assert_memory_equal(load.block, blocks[i].block, sizeof(load.block));
	}
	parse_good(&m, RING "[cuda]\nentry = f\nargs = a, c\n");
	rk_manifest_wire(&m, RK_WIRE_CUDA, &load);
	assert_memory_equal(load.block, blocks[0].block, sizeof(load.block));
	assert_int_equal(m.code[RK_WIRE_CUDA].launch.naxes, 0);
}

/* What is there for one backend says nothing of the other. */
TEST(one_backend)
{
	static const struct rk_code none;
	struct rk_manifest m;

	parse_good(&m, KERNEL IN OUT CUDA);
	assert_memory_equal(&m.code[RK_WIRE_CPU], &none, sizeof(none));
	assert_true(m.code[RK_WIRE_CUDA].given);
	assert_string_equal(m.code[RK_WIRE_CUDA].library, "builtin");
	parse_good(&m, KERNEL IN OUT CPU);
	assert_memory_equal(&m.code[RK_WIRE_CUDA], &none, sizeof(none));
	assert_true(m.code[RK_WIRE_CPU].given);
	assert_string_equal(m.code[RK_WIRE_CPU].library, "builtin");
	assert_int_equal(m.fused_dim, 0);
}

TEST(ring)
{
	struct rk_wire_load load;
	struct rk_manifest m;

	/* the state on the wire; scratch of one backend alone; a state of one alone */
	parse_good(&m, RING "[scratch]\ns = f32[n]\n[state]\nbytes = 1G\n"
			    "[cpu]\nentry = f\nargs = a, c\n"
			    "[cuda]\nentry = f\nargs = s, state, a, c\nshared = 1K\n");
	assert_int_equal(m.mode, RK_WIRE_RING);
	assert_int_equal(m.state_bytes, 1 << 30);
	rk_manifest_wire(&m, RK_WIRE_CUDA, &load);
	assert_int_equal(load.mode, RK_WIRE_RING);
	assert_int_equal(load.state_bytes, 1 << 30);
	assert_int_equal(load.shared_bytes, 1 << 10);
	assert_int_equal(load.params[0].kind, RK_WIRE_ARG_SCRATCH);
	assert_int_equal(load.params[1].kind, RK_WIRE_ARG_STATE);
	assert_int_equal(load.params[1].dtype, RK_U8);
	rk_manifest_wire(&m, RK_WIRE_CPU, &load);
	assert_int_equal(load.nparams, 2);
	assert_int_equal(load.mode, RK_WIRE_RING);
	assert_int_equal(load.shared_bytes, 0);
	/* without a state, and the word is free then */
	parse_good(&m, KERNEL "mode = ring\n[inputs]\nstate = f32[n]\n" OUT
			      "[cpu]\nentry = f\nargs = state, c\n");
	assert_int_equal(m.state_bytes, 0);
	assert_int_equal(m.code[RK_WIRE_CPU].params[0].kind, RK_WIRE_ARG_INPUT);
}
