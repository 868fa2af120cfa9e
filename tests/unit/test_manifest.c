/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "runtime/manifest.h"

#define KERNEL "[kernel]\nid = d/k\n"
#define IN     "[inputs]\na = f32[n]\n"
#define OUT    "[outputs]\nc = f32[n]\n"
#define CPU    "[cpu]\nentry = f\nargs = a, c, n\n"

static int parse(struct rk_manifest *m, const char *text, struct rk_error *err)
{
	return rk_manifest_parse(m, text, strlen(text), "t.ini", err);
}

static void parse_good(struct rk_manifest *m, const char *text)
{
	struct rk_error err = {0};

	if (parse(m, text, &err) != 0)
		fail_msg("refused: %s\n%s", err.msg, text);
}

static char *read_shipped(const char *name, size_t *len)
{
	char path[1024];
	char *text = malloc(4096);
	FILE *file;

	assert_non_null(text);
	snprintf(path, sizeof(path), "%s/etc/kernels.d/%s", RK_SOURCE_DIR, name);
	file = fopen(path, "r");
	assert_non_null(file);
	*len = fread(text, 1, 4096, file);
	assert_in_range(*len, 1, 4095);
	assert_int_equal(fclose(file), 0);
	return text;
}

static void test_shipped(void **state)
{
	static const struct {
		const char *file, *id, *entry, *ports[4];
		unsigned int nparams;
		struct rk_wire_param params[4];
	} shipped[] = {
		{"echo.ini",
		 "core/echo",
		 "echo",
		 {"data = u8[n]", "data = u8[n]"},
		 3,
		 {{.kind = RK_WIRE_ARG_INPUT, .dtype = RK_U8},
		  {.kind = RK_WIRE_ARG_OUTPUT, .dtype = RK_U8},
		  {.kind = RK_WIRE_ARG_DIM, .dtype = RK_U64}}},
		{"vector-add.ini",
		 "core/vector-add",
		 "vector_add",
		 {"a = f32[n]", "b = f32[n]", "c = f32[n]"},
		 4,
		 {{.kind = RK_WIRE_ARG_INPUT, .dtype = RK_F32},
		  {.kind = RK_WIRE_ARG_INPUT, .dtype = RK_F32},
		  {.kind = RK_WIRE_ARG_OUTPUT, .dtype = RK_F32},
		  {.kind = RK_WIRE_ARG_DIM, .dtype = RK_U64}}},
		{"reduce-sum.ini",
		 "core/reduce-sum",
		 "reduce_sum",
		 {"x = f32[n]", "sum = f64"},
		 3,
		 {{.kind = RK_WIRE_ARG_INPUT, .dtype = RK_F32},
		  {.kind = RK_WIRE_ARG_OUTPUT, .dtype = RK_F64},
		  {.kind = RK_WIRE_ARG_DIM, .dtype = RK_U64}}},
		{"delay.ini",
		 "core/delay",
		 "delay",
		 {"ms = u32", "waited_ms = u32"},
		 2,
		 {{.kind = RK_WIRE_ARG_SCALAR, .dtype = RK_U32},
		  {.kind = RK_WIRE_ARG_OUTPUT, .dtype = RK_U32}}},
	};
	struct rk_manifest m;
	struct rk_wire_load load;
	struct rk_error err;
	char buf[100], *text;
	size_t len, i;
	unsigned int p;

	(void)state;
	for (i = 0; i < sizeof(shipped) / sizeof(shipped[0]); i++) {
		text = read_shipped(shipped[i].file, &len);
		if (rk_manifest_parse(&m, text, len, shipped[i].file, &err) != 0)
			fail_msg("%s", err.msg);
		free(text);
		assert_string_equal(m.id, shipped[i].id);
		assert_string_equal(m.domain, "core");
		assert_string_equal(m.name, strchr(shipped[i].id, '/') + 1);
		assert_string_equal(m.mode, "batch");
		assert_string_equal(m.version, "1.0");
		assert_true(strlen(m.description) > 10);
		for (p = 0; p < m.ninputs + m.noutputs; p++) {
			rk_port_print(&m, p < m.ninputs ? &m.inputs[p] : &m.outputs[p - m.ninputs],
				      buf, sizeof(buf));
			assert_non_null(shipped[i].ports[p]);
			assert_string_equal(buf, shipped[i].ports[p]);
		}
		memset(&load, 0x5a, sizeof(load));
		rk_manifest_wire(&m, &load);
		assert_int_equal(load.kernel, 0x5a5a5a5a); /* not its business */
		assert_int_equal(load.id[0], 0x5a);
		assert_string_equal(load.library, "builtin");
		assert_string_equal(load.entry, shipped[i].entry);
		assert_int_equal(load.nparams, shipped[i].nparams);
		assert_memory_equal(load.params, shipped[i].params, sizeof(shipped[i].params));
		for (p = load.nparams; p < RK_WIRE_ARGS_MAX; p++)
			assert_int_equal(load.params[p].kind, 0);
	}
}

static void test_section_order(void **state)
{
	struct rk_manifest ordered, shuffled;

	(void)state;
	parse_good(&ordered, KERNEL IN OUT CPU);
	parse_good(&shuffled, CPU OUT IN KERNEL);
	assert_string_equal(shuffled.id, "d/k");
	assert_string_equal(shuffled.dims[0], "n");
	assert_int_equal(shuffled.ninputs, 1);
	assert_int_equal(shuffled.noutputs, 1);
	assert_int_equal(shuffled.nparams, 3);
	assert_memory_equal(ordered.params, shuffled.params, 3 * sizeof(ordered.params[0]));
}

static void test_all_keys(void **state)
{
	struct rk_manifest m;
	char buf[64];

	(void)state;
	parse_good(
		&m,
		"[kernel]\ntimeout = 90s\nmax_queue_depth = 7\nid = risk0/var_1-x\nmode = batch\ndescription = A = b, c\n"
		"version = 2.1-rc1\n"
		"[inputs]\nm = f64[rows, cols , 3]\nk = i64\nw = u8[cols]\n"
		"[outputs]\nm = f64[cols,rows]\ns = u64\n"
		"[cuda]\nmodule = x.cubin\nentry = f\nargs = anything\ngrid = n\nblock = 1\n"
		"[cpu]\nlibrary = /opt/k.so\nentry = _f9\n"
		"args = rows, in.m, cols, w, out.m, k, s, rows\n");
	assert_string_equal(m.domain, "risk0");
	assert_string_equal(m.name, "var_1-x");
	assert_string_equal(m.description, "A = b, c");
	assert_string_equal(m.version, "2.1-rc1");
	assert_string_equal(m.library, "/opt/k.so");
	assert_int_equal(m.timeout_ms, 90000);
	assert_int_equal(m.max_queue_depth, 7);
	assert_int_equal(m.ndims, 2);
	assert_int_equal(m.nparams, 8);
	assert_int_equal(m.params[1].kind, RK_WIRE_ARG_INPUT);
	assert_int_equal(m.params[1].index, 0);
	assert_int_equal(m.params[4].kind, RK_WIRE_ARG_OUTPUT);
	assert_int_equal(m.params[5].kind, RK_WIRE_ARG_SCALAR);
	assert_int_equal(m.params[5].index, 1);
	assert_int_equal(m.params[7].kind, RK_WIRE_ARG_DIM);
	assert_int_equal(m.params[7].index, 0);
	assert_int_equal(rk_port_print(&m, &m.inputs[0], buf, sizeof(buf)), 20);
	assert_string_equal(buf, "m = f64[rows,cols,3]");
	assert_int_equal(rk_port_print(&m, &m.inputs[0], buf, 8), 20);
	assert_string_equal(buf, "m = f64");
}

/* Every refusal, and the words that tell the user what and where. */
static const struct {
	const char *text, *words;
} refused[] = {
	{"", "t.ini: id is missing in [kernel]"},
	{IN OUT CPU, "id is missing in [kernel]"},
	{KERNEL IN CPU, "[outputs] is missing"},
	{KERNEL IN OUT, "entry is missing in [cpu]"},
	{KERNEL IN OUT "[cpu]\nentry = f\n", "args is missing in [cpu]"},
	{KERNEL IN OUT "[cpu]\nargs = a, c, n\n", "entry is missing in [cpu]"},
	{"id = d/k\n", "t.ini:1: id: this line is in no section"},
	{"[kernel]\nid = d/k\n[nope]\nx = 1\n", "t.ini:4: x: unknown section [nope]"},
	{"[kernel]\nname = x\n", "t.ini:2: name: unknown key; [kernel] has id, mode"},
	{KERNEL "[cuda]\nshared = 1\n", "[cuda] has module, entry, args, grid, block"},
	{KERNEL "[cuda]\ngrid = 1\ngrid = 1\n", "t.ini:5: grid: this key is given twice"},
	{KERNEL "id = d/l\n", "t.ini:3: id: this key is given twice"},
	{"[kernel]\nid\n", "t.ini:2:"},
	{"[kernel]\nid = core\n", "is no DOMAIN/NAME"},
	{"[kernel]\nid = core/\n", "is no DOMAIN/NAME"},
	{"[kernel]\nid = /x\n", "is no DOMAIN/NAME"},
	{"[kernel]\nid = a/b/c\n", "is no DOMAIN/NAME"},
	{"[kernel]\nid = a/B\n", "is no DOMAIN/NAME"},
	{"[kernel]\nid = a/..\n", "is no DOMAIN/NAME"},
	{"[kernel]\nid = -a/b\n", "is no DOMAIN/NAME"},
	{"[kernel]\nid = a/_b\n", "is no DOMAIN/NAME"},
	{"[kernel]\nid = a/"
	 "0123456789012345678901234567890123456789012345678901234567890123\n",
	 "at most 63 characters"},
	{KERNEL "mode = ring\n", "t.ini:3: mode: this version has no ring kernels"},
	{KERNEL "mode = Batch\n", "'Batch' is no mode; use batch"},
	{KERNEL "version = 1 0\n", "version: '1 0' is no version"},
	{KERNEL "version =\n", "is no version"},
	{KERNEL "[cpu]\nlibrary = lib/x.so\n", "neither builtin nor the absolute path"},
	{KERNEL "[cpu]\nentry = 9f\n", "'9f' is no C function's name"},
	{KERNEL "[inputs]\na = f8[n]\n", "'f8' is no element type; there are f16, f32, f64, i8"},
	{KERNEL "[inputs]\na =\n", "'' is no element type"},
	{KERNEL "[inputs]\na = f32[n\n", "does not end in its one ']'"},
	{KERNEL "[inputs]\na = f32[n]]\n", "does not end in its one ']'"},
	{KERNEL "[inputs]\na = f32[n]x\n", "does not end in its one ']'"},
	{KERNEL "[inputs]\na = f32[]\n", "'' is no dimension"},
	{KERNEL "[inputs]\na = f32[n,]\n", "'' is no dimension"},
	{KERNEL "[inputs]\na = f32[-1]\n", "'-1' is no dimension"},
	{KERNEL "[inputs]\na = f32[0]\n", "'0' is no integer from 1"},
	{KERNEL "[inputs]\na = f32[2x]\n", "'2x' is no integer from 1"},
	{KERNEL "[inputs]\na = f32[18446744073709551616]\n", "is no integer from 1"},
	{KERNEL "[inputs]\na = f32[1,2,3,4,5,6,7,8,9]\n", "more than 8 dimensions"},
	{KERNEL "[inputs]\na-b = f32\n", "'a-b' is no name"},
	{KERNEL "[inputs]\na = f32\na = f64\n", "t.ini:5: a: this input is described twice"},
	{KERNEL IN "[outputs]\nc = f32\nc = f64\n", "this output is described twice"},
	{KERNEL "[inputs]\na = f32[a]\n", "'a' is the name of an input already"},
	{KERNEL "[inputs]\na = f32\nb = f32[a]\n", "'a' is the name of an input already"},
	{KERNEL "[inputs]\nb = f32[a]\na = f32\n", "'a' is the name of a dim already"},
	{KERNEL IN "[outputs]\nn = f32\n", "t.ini:6: n: 'n' is the name of a dim already"},
	{KERNEL IN "[outputs]\nc = f32[m]\n", "t.ini:6: c: no input binds the dim 'm'"},
	{"[outputs]\nc = f32[m]\n" IN KERNEL, "t.ini:2: c: no input binds the dim 'm'"},
	{KERNEL IN OUT "[cpu]\nentry = f\nargs = a, c, m\n",
	 "t.ini:9: args: 'm' is no input, no output, no scratch and no dim"},
	{KERNEL IN OUT "[cpu]\nentry = f\nargs = a,, c\n", "'' is no input"},
	{KERNEL IN OUT "[cpu]\nentry = f\nargs =\n", "'' is no input"},
	{KERNEL IN OUT "[cpu]\nentry = f\nargs = out.a, c\n", "'out.a' is no input"},
	{KERNEL IN OUT "[cpu]\nentry = f\nargs = in.c, a\n", "'in.c' is no input"},
	{KERNEL IN OUT "[cpu]\nentry = f\nargs = in.n, a\n", "'in.n' is no input"},
	{KERNEL IN OUT "[cpu]\nentry = f\nargs = a, n\n", "output 'c' is missing"},
	{KERNEL IN OUT "[cpu]\nentry = f\nargs = c, n\n", "input 'a' is missing"},
	{KERNEL IN OUT "[cpu]\nentry = f\nargs = a, c, a\n", "input 'a' is repeated"},
	{KERNEL IN OUT "[cpu]\nentry = f\nargs = c, a, c\n", "output 'c' is repeated"},
	{KERNEL IN "[outputs]\na = f32\n[cpu]\nentry = f\nargs = a, out.a\n",
	 "'a' is an input and an output: write in.a or out.a"},
	{KERNEL "timeout = 5\n", "t.ini:3: timeout: \"5\" is not allowed; it must be a duration"},
	{KERNEL "timeout = 25h\n", "from 0 to 24h"},
	{KERNEL "max_queue_depth = 0\n", "it must be a whole number, from 1 to 1000000"},
	{KERNEL "[inputs]\na = f32[n*]\n", "'' is no dimension"},
	{KERNEL "[inputs]\na = f32[*n]\n", "'' is no dimension"},
	{KERNEL "[inputs]\na = f32[n+]\n", "the constant '' is no integer"},
	{KERNEL "[inputs]\na = f32[n+m]\n", "the constant 'm' is no integer"},
	{KERNEL "[inputs]\na = f32[n+1+1]\n", "the constant '1+1' is no integer"},
	{KERNEL "[inputs]\na = f32[+1]\n", "'+1' is no dimension"},
	{KERNEL "[inputs]\na = f32[n/2]\n", "'n/2' is no dimension"},
	{KERNEL "[inputs]\na = f32[3-3]\n", "a constant dimension is from 1 to 2^63 - 1"},
	{KERNEL "[inputs]\na = f32[3-4]\n", "a constant dimension is from 1 to 2^63 - 1"},
	{KERNEL "[inputs]\na = f32[9223372036854775807+1]\n", "a constant dimension is from 1"},
	{KERNEL "[inputs]\na = f32[9223372036854775808]\n", "no integer from 1 to 2^63 - 1"},
	{KERNEL "[inputs]\na = f32[4294967296*2147483648*n]\n", "product of the constants exceeds"},
	{KERNEL "[inputs]\na = f32[n*n*n*n*n*n*n*n]\n", "more than 7 names in one dimension"},
	{KERNEL "[inputs]\na = f32[2*n]\n" OUT CPU,
	 "t.ini:4: a: nothing tells the size of the dim 'n': give some input an axis n, n+1"},
	{KERNEL "[inputs]\nb = f32[m]\na = f32[n*m,2]\n" OUT CPU, "t.ini:5: a: nothing tells"},
	{KERNEL "[inputs]\na = f32[n] = 1\n", "only a scalar input can have a default"},
	{KERNEL IN "[outputs]\nc = f32 = 1\n", "only a scalar input can have a default"},
	{KERNEL "[inputs]\na = f32 =\n", "a default has 1 to 47 characters"},
	{KERNEL "[inputs]\na = f32 = x\n", "'x' is no default for f32; write it as in a JSON"},
	{KERNEL "[inputs]\na = u8 = 256\n", "the default: 256 is out of u8's range"},
	{KERNEL "[inputs]\na = u8 = 1 2\n", "'1 2' is no default for u8"},
	{KERNEL "[inputs]\na = bool = 1\n", "the default: a number where bool wants true or false"},
	{KERNEL "[inputs]\n__metadata__ = u8\n", "safetensors keeps this name for itself"},
	{KERNEL IN "[scratch]\na = f32\n", "t.ini:6: a: 'a' is the name of an input already"},
	{KERNEL IN OUT "[scratch]\nc = f32\n", "'c' is the name of an output already"},
	{KERNEL IN "[scratch]\nc = f32\n" OUT, "'c' is the name of an entry of [scratch] already"},
	{KERNEL IN OUT "[scratch]\nn = f32\n", "'n' is the name of a dim already"},
	{KERNEL IN OUT "[scratch]\ns = f32[k]\n", "no input binds the dim 'k'"},
	{KERNEL IN OUT "[scratch]\ns = f32\n" CPU, "scratch 's' is missing"},
	{KERNEL IN OUT "[scratch]\ns = f32\n[cpu]\nentry = f\nargs = a, c, s, s\n",
	 "scratch 's' is repeated"},
	{KERNEL IN OUT "[scratch]\ns = f32\n[cpu]\nentry = f\nargs = a, c, out.s\n",
	 "'out.s' is no input"},
	{KERNEL IN OUT "[cpu]\nentry = f\nargs = "
		       "n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n\n",
	 "more than 32 arguments"},
};

static void test_refused(void **state)
{
	struct rk_manifest m, before;
	struct rk_error err;
	size_t i;

	(void)state;
	memset(&before, 0x11, sizeof(before));
	for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		m = before;
		memset(&err, 0, sizeof(err));
		if (parse(&m, refused[i].text, &err) != -EINVAL)
			fail_msg("accepted:\n%s", refused[i].text);
		assert_int_equal(err.code, EINVAL);
		if (strncmp(err.msg, "t.ini:", 6) != 0 || !strstr(err.msg, refused[i].words))
			fail_msg("\"%s\" lacks \"%s\"", err.msg, refused[i].words);
		assert_memory_equal(&m, &before, sizeof(m));
		assert_int_equal(parse(&m, refused[i].text, NULL), -EINVAL);
	}
}

/* Axes read back as they were meant, if not as they were written. */
static void test_axes(void **state)
{
	static const struct {
		const char *written, *printed;
	} axes[] = {
		{"4", "4"},
		{" n ", "n"},
		{"n*m", "n*m"},
		{"2 * n", "2*n"},
		{"n*2*m*3", "6*n*m"},
		{"n + 1", "n+1"},
		{"n-9223372036854775807", "n-9223372036854775807"},
		{"2*n*m-5", "2*n*m-5"},
		{"n*n", "n*n"},
		{"3+4", "7"},
		{"2*5-9", "1"},
		{"1*n", "n"},
	};
	struct rk_manifest m;
	char text[256], buf[64], want[64];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(axes) / sizeof(axes[0]); i++) {
		snprintf(text, sizeof(text),
			 KERNEL "[inputs]\na = f32[n,m]\nb = i16[%s]\n[outputs]\nc = bool[%s]\n"
				"[scratch]\ns = f16[%s,2]\n[cpu]\nentry = f\nargs = a,b,c,s\n",
			 axes[i].written, axes[i].written, axes[i].written);
		parse_good(&m, text);
		snprintf(want, sizeof(want), "b = i16[%s]", axes[i].printed);
		rk_port_print(&m, &m.inputs[1], buf, sizeof(buf));
		assert_string_equal(buf, want);
		snprintf(want, sizeof(want), "s = f16[%s,2]", axes[i].printed);
		rk_port_print(&m, &m.scratch[0], buf, sizeof(buf));
		assert_string_equal(buf, want);
		assert_int_equal(rk_axis_print(&m, &m.outputs[0].axes[0], buf, sizeof(buf)),
				 strlen(axes[i].printed));
		assert_string_equal(buf, axes[i].printed);
	}
}

static void test_defaults(void **state)
{
	struct rk_manifest m;
	uint64_t u64 = UINT64_MAX;
	double f64 = 0.85;
	uint16_t f16 = 0x3c00;
	char buf[64];

	(void)state;
	parse_good(&m, KERNEL "[inputs]\na = f32[n]\nk=f64=0.85\nh = f16 = 1\nb = bool = true\n"
			      "u = u64 = \"18446744073709551615\"\ni = i8 = -128\n"
			      "x = f32 = \"-Infinity\"\n" OUT
			      "[cpu]\nentry = f\nargs = a, c, k, h, b, u, i, x\n");
	assert_memory_equal(m.inputs[1].default_value, &f64, sizeof(f64));
	assert_memory_equal(m.inputs[2].default_value, &f16, sizeof(f16));
	assert_int_equal(m.inputs[3].default_value[0], 1);
	assert_memory_equal(m.inputs[4].default_value, &u64, sizeof(u64));
	assert_int_equal(m.inputs[5].default_value[0], 0x80);
	assert_string_equal(m.inputs[0].default_text, "");
	rk_port_print(&m, &m.inputs[1], buf, sizeof(buf));
	assert_string_equal(buf, "k = f64 = 0.85");
	rk_port_print(&m, &m.inputs[6], buf, sizeof(buf));
	assert_string_equal(buf, "x = f32 = \"-Infinity\"");
}

static void test_scratch_on_the_wire(void **state)
{
	struct rk_manifest m;
	struct rk_wire_load load;

	(void)state;
	parse_good(&m, KERNEL IN OUT "[scratch]\ns = u16[n+1]\nt = f16\n[cpu]\nentry = f\n"
				     "args = t, a, s, c\n");
	assert_int_equal(m.nscratch, 2);
	rk_manifest_wire(&m, &load);
	assert_int_equal(load.params[0].kind, RK_WIRE_ARG_SCRATCH);
	assert_int_equal(load.params[0].dtype, RK_F16);
	assert_int_equal(load.params[2].kind, RK_WIRE_ARG_SCRATCH);
	assert_int_equal(load.params[2].dtype, RK_U16);
}

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
	assert_int_equal(fclose(file), 0);
}

static void test_file(void **state)
{
	static const char relative[] =
		KERNEL IN OUT "[cpu]\nlibrary = lib/x.so\nentry = f\nargs = a, c\n";
	char dir[] = "/tmp/test_manifest.XXXXXX", path[64], want[128];
	struct rk_manifest m, again;
	struct rk_error err;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/k.ini", dir);
	write_file(path, relative);
	if (rk_manifest_parse_file(&m, path, &err) != 0)
		fail_msg("%s", err.msg);
	snprintf(want, sizeof(want), "%s/lib/x.so", dir);
	assert_string_equal(m.library, want);

	/* what is the same and what is not */
	memset(&again, 0x55, sizeof(again));
	assert_int_equal(rk_manifest_parse_file(&again, path, NULL), 0);
	assert_true(rk_manifest_equal(&m, &again));
	write_file(
		path,
		"# a comment\n[cpu]\nlibrary = lib/x.so\nargs = a, c\nentry = f\n" OUT IN KERNEL);
	assert_int_equal(rk_manifest_parse_file(&again, path, NULL), 0);
	assert_true(rk_manifest_equal(&m, &again));
	write_file(path, KERNEL IN OUT "[cpu]\nlibrary = lib/x.so\nentry = f\nargs = a, c, n\n");
	assert_int_equal(rk_manifest_parse_file(&again, path, NULL), 0);
	assert_false(rk_manifest_equal(&m, &again));

	write_file(path, KERNEL IN OUT "[cpu]\nentry = f\nargs = a, d\n");
	m = again;
	assert_int_equal(rk_manifest_parse_file(&m, path, &err), -EINVAL);
	snprintf(want, sizeof(want), "%s:9: args: 'd' is no input", path);
	assert_non_null(strstr(err.msg, want));
	assert_true(rk_manifest_equal(&m, &again));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rk_manifest_parse_file(&m, path, &err), -ENOENT);
	assert_int_equal(rk_manifest_parse_file(&m, dir, &err), -EISDIR);
	assert_int_equal(rmdir(dir), 0);
}

/* A description with @count numbered ports. */
static void many_lines(char *text, size_t size, const char *section, const char *prefix,
		       const char *suffix, int count)
{
	size_t len = (size_t)snprintf(text, size, "%s%s", KERNEL, section);
	int i;

	for (i = 0; i < count; i++)
		len += (size_t)snprintf(text + len, size - len, "%s%d = f32%s\n", prefix, i,
					suffix);
	assert_true(len < size);
}

static void test_limits(void **state)
{
	static const char dims[] = KERNEL "[inputs]\na = f32[a1,a2,a3,a4,a5,a6,a7,a8]\n"
					  "b = f32[b1,b2,b3,b4,b5,b6,b7,b8]\nc = f32[c1]\n";
	struct rk_manifest m;
	struct rk_error err;
	char text[1024];

	(void)state;
	many_lines(text, sizeof(text), "[inputs]\n", "p", "[n]", RK_MAX_PORTS);
	assert_int_equal(parse(&m, text, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "entry is missing")); /* the ports are all right */
	many_lines(text, sizeof(text), "[inputs]\n", "p", "[n]", RK_MAX_PORTS + 1);
	assert_int_equal(parse(&m, text, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "t.ini:20: p16: more than 16 inputs"));
	many_lines(text, sizeof(text), "[cpu]\nentry = f\n[outputs]\n", "p", "[2]",
		   RK_MAX_PORTS + 1);
	assert_int_equal(parse(&m, text, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "p16: more than 16 outputs"));
	assert_int_equal(parse(&m, dims, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "t.ini:6: c: more than 16 names of dims"));
}

/* Damaged descriptions end in an answer, whatever it is. The sanitizers watch. */
static void test_damaged(void **state)
{
	struct rk_manifest m;
	struct rk_error err;
	size_t len, i;
	char *text = read_shipped("vector-add.ini", &len), *copy;
	int refusals = 0;

	(void)state;
	for (i = 0; i < len; i++) {
		copy = malloc(len);
		assert_non_null(copy);
		memcpy(copy, text, len);
		copy[i] = (char)(copy[i] ^ (1 << i % 8));
		refusals += rk_manifest_parse(&m, copy, len, "t", &err) != 0;
		refusals += rk_manifest_parse(&m, copy, i, "t", &err) != 0;
		free(copy);
	}
	assert_true(refusals > (int)len);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shipped),	 cmocka_unit_test(test_section_order),
		cmocka_unit_test(test_all_keys), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_limits),	 cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_axes),	 cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_file),	 cmocka_unit_test(test_scratch_on_the_wire),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
