/* SPDX-License-Identifier: MIT */
/* The descriptions that ship, against what the kernels in gpu/kernels/ take. */
#include "tests/unit/kernel/manifest_text.h"

#define PARAM(kind_, dtype_)                                                                       \
	{                                                                                          \
		.kind = RK_WIRE_ARG_##kind_, .dtype = (dtype_)                                     \
	}
#define FUSED                                                                                      \
	{                                                                                          \
		.kind = RK_WIRE_ARG_DIM, .dtype = RK_U64, .fused = 1                               \
	}

static const struct shipped {
	const char *file, *id, *entry, *ports[4];
	struct rk_wire_param params[RK_WIRE_BACKEND_COUNT][16];
	enum rk_wire_mode mode;
	uint64_t state_bytes;
	const char *grid;
	uint32_t block[RK_WIRE_AXES];
	bool cooperative;
} shipped[] = {
	{.file = "echo.ini",
	 .id = "core/echo",
	 .entry = "echo",
	 .ports = {"data = u8[n]", "data = u8[n]"},
	 .params = {{PARAM(INPUT, RK_U8), PARAM(OUTPUT, RK_U8), PARAM(DIM, RK_U64)},
		    {PARAM(INPUT, RK_U8), PARAM(OUTPUT, RK_U8), PARAM(DIM, RK_U64)}},
	 .grid = "n",
	 .block = {256, 1, 1}},
	{.file = "vector-add.ini",
	 .id = "core/vector-add",
	 .entry = "vector_add",
	 .ports = {"a = f32[n]", "b = f32[n]", "c = f32[n]"},
	 .params = {{PARAM(INPUT, RK_F32), PARAM(INPUT, RK_F32), PARAM(OUTPUT, RK_F32),
		     PARAM(DIM, RK_U64)},
		    {PARAM(INPUT, RK_F32), PARAM(INPUT, RK_F32), PARAM(OUTPUT, RK_F32), FUSED}},
	 .grid = "n",
	 .block = {256, 1, 1}},
	{.file = "reduce-sum.ini",
	 .id = "core/reduce-sum",
	 .entry = "reduce_sum",
	 .ports = {"x = f32[n]", "sum = f64"},
	 .params = {{PARAM(INPUT, RK_F32), PARAM(OUTPUT, RK_F64), PARAM(DIM, RK_U64)},
		    {PARAM(INPUT, RK_F32), PARAM(OUTPUT, RK_F64), PARAM(DIM, RK_U64),
		     PARAM(SCRATCH, RK_F64), PARAM(SCRATCH, RK_U64)}},
	 .grid = "131072",
	 .block = {256, 1, 1}},
	{.file = "delay.ini",
	 .id = "core/delay",
	 .entry = "delay",
	 .ports = {"ms = u32", "waited_ms = u32"},
	 .params = {{PARAM(SCALAR, RK_U32), PARAM(OUTPUT, RK_U32)},
		    {PARAM(SCALAR, RK_U32), PARAM(OUTPUT, RK_U32)}},
	 .grid = "1",
	 .block = {1, 1, 1}},
	{.file = "matmul.ini",
	 .id = "core/matmul",
	 .entry = "matmul",
	 .ports = {"a = f32[m,k]", "b = f32[k,n]", "c = f32[m,n]"},
	 .params = {{PARAM(INPUT, RK_F32), PARAM(INPUT, RK_F32), PARAM(OUTPUT, RK_F32),
		     PARAM(DIM, RK_U64), PARAM(DIM, RK_U64), PARAM(DIM, RK_U64)},
		    {PARAM(INPUT, RK_F32), PARAM(INPUT, RK_F32), PARAM(OUTPUT, RK_F32),
		     PARAM(DIM, RK_U64), PARAM(DIM, RK_U64), PARAM(DIM, RK_U64)}},
	 .grid = "16896",
	 .block = {16, 16, 1}},
	{.file = "ring-echo.ini",
	 .id = "core/ring-echo",
	 .entry = "ring_echo",
	 .ports = {"data = u8[n]", "data = u8[n]"},
	 .params = {{PARAM(INPUT, RK_U8), PARAM(OUTPUT, RK_U8), PARAM(DIM, RK_U64)},
		    {PARAM(INPUT, RK_U8), PARAM(OUTPUT, RK_U8), PARAM(DIM, RK_U64)}},
	 .mode = RK_WIRE_RING,
	 .block = {256, 1, 1}},
	{.file = "running-stats.ini",
	 .id = "core/running-stats",
	 .entry = "running_stats",
	 .ports = {"x = f64[n]", "count = u64", "mean = f64", "variance = f64"},
	 .params = {{PARAM(INPUT, RK_F64), PARAM(STATE, RK_U8), PARAM(OUTPUT, RK_U64),
		     PARAM(OUTPUT, RK_F64), PARAM(OUTPUT, RK_F64), PARAM(DIM, RK_U64)},
		    {PARAM(INPUT, RK_F64), PARAM(STATE, RK_U8), PARAM(OUTPUT, RK_U64),
		     PARAM(OUTPUT, RK_F64), PARAM(OUTPUT, RK_F64), PARAM(DIM, RK_U64)}},
	 .mode = RK_WIRE_RING,
	 .state_bytes = 24,
	 .block = {256, 1, 1}},
};

static void check_wire(const struct rk_manifest *m, const struct shipped *want,
		       enum rk_wire_backend backend)
{
	static const uint32_t none[RK_WIRE_AXES];
	const struct rk_wire_param *params = want->params[backend];
	bool is_cuda = backend == RK_WIRE_CUDA;
	struct rk_wire_load load;
	unsigned int n = 0;

	while (params[n].kind)
		n++;
	memset(&load, 0x5a, sizeof(load));
	rk_manifest_wire(m, backend, &load);
	assert_int_equal(load.kernel, 0x5a5a5a5a); /* not its business */
	assert_int_equal(load.id[0], 0x5a);
	assert_int_equal(load.backend, backend);
	assert_int_equal(load.mode, want->mode);
	assert_int_equal(load.state_bytes, want->state_bytes);
	assert_int_equal(load.cooperative, is_cuda && want->cooperative);
	assert_memory_equal(load.block, is_cuda ? want->block : none, sizeof(load.block));
	assert_int_equal(load.shared_bytes, 0);
	assert_memory_equal(load.reserved, none, sizeof(load.reserved));
	assert_string_equal(load.library, "builtin");
	assert_string_equal(load.entry, want->entry);
	assert_int_equal(load.nparams, n);
	assert_memory_equal(load.params, params, sizeof(want->params[0]));
	for (n = 16; n < RK_WIRE_ARGS_MAX; n++)
		assert_int_equal(load.params[n].kind, 0);
}

TEST(shipped)
{
	struct rk_manifest m;
	struct rk_error err;
	char buf[100], *text;
	size_t len, i;
	unsigned int p;

	for (i = 0; i < sizeof(shipped) / sizeof(shipped[0]); i++) {
		text = read_shipped(shipped[i].file, &len);
		if (rk_manifest_parse(&m, text, len, shipped[i].file, &err) != 0)
			fail_msg("%s", err.msg);
		free(text);
		assert_string_equal(m.id, shipped[i].id);
		assert_string_equal(m.domain, "core");
		assert_string_equal(m.name, strchr(shipped[i].id, '/') + 1);
		assert_string_equal(rk_mode_name(m.mode), shipped[i].mode ? "ring" : "batch");
		assert_string_equal(m.version, "1.0");
		assert_true(strlen(m.description) > 10);
		for (p = 0; p < m.ninputs + m.noutputs; p++) {
			rk_port_print(&m, p < m.ninputs ? &m.inputs[p] : &m.outputs[p - m.ninputs],
				      buf, sizeof(buf));
			assert_non_null(shipped[i].ports[p]);
			assert_string_equal(buf, shipped[i].ports[p]);
		}
		assert_int_equal(m.code[RK_WIRE_CUDA].launch.naxes, shipped[i].grid ? 1 : 0);
		if (shipped[i].grid) {
			rk_axis_print(&m, &m.code[RK_WIRE_CUDA].launch.grid[0], buf, sizeof(buf));
			assert_string_equal(buf, shipped[i].grid);
		}
		check_wire(&m, &shipped[i], RK_WIRE_CPU);
		check_wire(&m, &shipped[i], RK_WIRE_CUDA);
	}
}

/* Those whose blocks wait for each other, which needs them all on the device. */
TEST(shipped_cooperative)
{
	static const struct {
		const char *file;
		uint32_t block;
	} files[] = {{"pagerank.ini", 512}, {"monte-carlo-var.ini", 256}};
	const struct rk_code *cpu, *cuda;
	struct rk_manifest m;
	struct rk_error err;
	unsigned int last;
	size_t len, i;
	char *text;

	for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		text = read_shipped(files[i].file, &len);
		if (rk_manifest_parse(&m, text, len, files[i].file, &err) != 0)
			fail_msg("%s", err.msg);
		free(text);
		assert_true(m.code[RK_WIRE_CUDA].launch.cooperative);
		assert_int_equal(m.code[RK_WIRE_CUDA].launch.block[0], files[i].block);
		cpu = &m.code[RK_WIRE_CPU];
		cuda = &m.code[RK_WIRE_CUDA];
		assert_string_equal(cuda->entry, cpu->entry);
		/* the same, and one more scratch */
		last = cpu->nparams;
		assert_int_equal(cuda->nparams, last + 1);
		assert_memory_equal(cuda->params, cpu->params, last * sizeof(cpu->params[0]));
		assert_int_equal(cuda->params[last].kind, RK_WIRE_ARG_SCRATCH);
		assert_string_equal(m.scratch[cuda->params[last].index].name, "work");
	}
}
