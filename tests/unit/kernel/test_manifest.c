/* SPDX-License-Identifier: MIT */
#include "tests/unit/kernel/manifest_text.h"

TEST(section_order)
{
	struct rk_manifest ordered, shuffled;

	parse_good(&ordered, KERNEL IN OUT CPU);
	parse_good(&shuffled, CPU OUT IN KERNEL);
	assert_string_equal(shuffled.id, "d/k");
	assert_string_equal(shuffled.dims[0], "n");
	assert_int_equal(shuffled.ninputs, 1);
	assert_int_equal(shuffled.noutputs, 1);
	assert_int_equal(shuffled.code[RK_WIRE_CPU].nparams, 3);
	assert_true(rk_manifest_equal(&ordered, &shuffled));
	parse_good(&ordered, KERNEL "batchable = n\n" IN OUT CPU CUDA);
	parse_good(&shuffled, CUDA CPU OUT IN KERNEL "batchable = n\n");
	assert_true(rk_manifest_equal(&ordered, &shuffled));
}

TEST(all_keys)
{
	const struct rk_code *cpu, *cuda;
	struct rk_manifest m;
	char buf[64];

	cpu = &m.code[RK_WIRE_CPU];
	cuda = &m.code[RK_WIRE_CUDA];
	parse_good(
		&m,
		"[kernel]\ntimeout = 90s\nmax_queue_depth = 7\nid = risk0/var_1-x\nmode = batch\ndescription = A = b, c\n"
		"version = 2.1-rc1\n"
		"[inputs]\nm = f64[rows, cols , 3]\nk = i64\nw = u8[cols]\n"
		"[outputs]\nm = f64[cols,rows]\ns = u64\n"
		"[cuda]\nmodule = /opt/x.cubin\nentry = _Z1fPf\nargs = in.m, k, w, s, out.m\n"
		"grid = rows , 2*cols+1\nblock = 32, 8\nshared = 48K\ncooperative = yes\n"
		"[cpu]\nlibrary = /opt/k.so\nentry = _f9\n"
		"args = rows, in.m, cols, w, out.m, k, s, rows\n");
	assert_string_equal(m.domain, "risk0");
	assert_string_equal(m.name, "var_1-x");
	assert_string_equal(m.description, "A = b, c");
	assert_string_equal(m.version, "2.1-rc1");
	assert_int_equal(m.timeout_ms, 90000);
	assert_int_equal(m.max_queue_depth, 7);
	assert_int_equal(m.ndims, 2);
	assert_true(cpu->given);
	assert_string_equal(cpu->library, "/opt/k.so");
	assert_string_equal(cpu->entry, "_f9");
	assert_int_equal(cpu->nparams, 8);
	assert_int_equal(cpu->params[1].kind, RK_WIRE_ARG_INPUT);
	assert_int_equal(cpu->params[1].index, 0);
	assert_int_equal(cpu->params[4].kind, RK_WIRE_ARG_OUTPUT);
	assert_int_equal(cpu->params[5].kind, RK_WIRE_ARG_SCALAR);
	assert_int_equal(cpu->params[5].index, 1);
	assert_int_equal(cpu->params[7].kind, RK_WIRE_ARG_DIM);
	assert_int_equal(cpu->params[7].index, 0);
	assert_true(cuda->given);
	assert_string_equal(cuda->library, "/opt/x.cubin");
	assert_string_equal(cuda->entry, "_Z1fPf");
	assert_int_equal(cuda->nparams, 5);
	assert_int_equal(cuda->params[1].kind, RK_WIRE_ARG_SCALAR);
	assert_int_equal(cuda->params[3].index, 1);
	assert_int_equal(m.code[RK_WIRE_CUDA].launch.naxes, 2);
	rk_axis_print(&m, &m.code[RK_WIRE_CUDA].launch.grid[0], buf, sizeof(buf));
	assert_string_equal(buf, "rows");
	rk_axis_print(&m, &m.code[RK_WIRE_CUDA].launch.grid[1], buf, sizeof(buf));
	assert_string_equal(buf, "2*cols+1");
	assert_int_equal(m.code[RK_WIRE_CUDA].launch.block[0], 32);
	assert_int_equal(m.code[RK_WIRE_CUDA].launch.block[1], 8);
	assert_int_equal(m.code[RK_WIRE_CUDA].launch.block[2], 1);
	assert_int_equal(m.code[RK_WIRE_CUDA].launch.shared_bytes, 48 << 10);
	assert_true(m.code[RK_WIRE_CUDA].launch.cooperative);
	assert_int_equal(rk_port_print(&m, &m.inputs[0], buf, sizeof(buf)), 20);
	assert_string_equal(buf, "m = f64[rows,cols,3]");
	assert_int_equal(rk_port_print(&m, &m.inputs[0], buf, 8), 20);
	assert_string_equal(buf, "m = f64");
}

static const struct refused refused[] = {
	{"", "t.ini: id is missing in [kernel]"},
	{IN OUT CPU, "id is missing in [kernel]"},
	{KERNEL IN CPU, "[outputs] is missing"},
	{KERNEL IN OUT, "[cpu] and [cuda] are missing; describe the kernel's code"},
	{KERNEL IN OUT "[cpu]\nlibrary = builtin\n", "entry is missing in [cpu]"},
	{KERNEL IN OUT "[cpu]\nentry = f\n", "args is missing in [cpu]"},
	{KERNEL IN OUT "[cpu]\nargs = a, c, n\n", "entry is missing in [cpu]"},
	{"id = d/k\n", "t.ini:1: id: this line is in no section"},
	{"[kernel]\nid = d/k\n[nope]\nx = 1\n", "t.ini:3: unknown section [nope]"},
	{"[kernel]\nname = x\n", "t.ini:2: name: unknown key; [kernel] has id, mode"},
	{KERNEL "[cuda]\nlibrary = builtin\n",
	 "[cuda] has module, entry, args, grid, block, shared, cooperative"},
	{KERNEL "[cpu]\nmodule = builtin\n", "[cpu] has library, entry, args"},
	{KERNEL "[cpu]\ngrid = 1\n", "t.ini:4: grid: unknown key"},
	{KERNEL "[kernel]\nmdoe = batch\n", "mdoe: unknown key (did you mean mode?); [kernel] has"},
	{KERNEL "[cudaa]\n", "unknown section [cudaa] (did you mean cuda?); there"},
	{KERNEL "[inptus]\nx = f32\n", "unknown section [inptus] (did you mean inputs?); there"},
	{KERNEL "[state]\nsize = 1\n", "t.ini:4: size: unknown key; [state] has bytes"},
	{KERNEL IN OUT CPU "[cuda]\ngrid = 1\nentry = f\ngrid = 1\nargs = a, c\n",
	 "t.ini:13: grid: this key is given twice"},
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
	{KERNEL "mode = Batch\n", "t.ini:3: mode: 'Batch' is no mode; use batch or ring"},
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
	{KERNEL "timeout = 5d\n", "t.ini:3: timeout: \"5d\" is not allowed; it must be a duration"},
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
	{KERNEL IN OUT "[scratch]\ns = f32\n" CPU, "t.ini:11: args: scratch 's' is missing"},
	{KERNEL IN OUT "[scratch]\ns = f32\n" CPU CUDA, "t.ini:11: args: scratch 's' is missing"},
	{KERNEL IN OUT "[scratch]\ns = f32\n[cpu]\nentry = f\nargs = a, c, s, s\n",
	 "scratch 's' is repeated"},
	{KERNEL IN OUT "[scratch]\ns = f32\n[cpu]\nentry = f\nargs = a, c, out.s\n",
	 "'out.s' is no input"},
	{KERNEL IN OUT "[cpu]\nentry = f\nargs = "
		       "n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n,n\n",
	 "more than 32 arguments"},
};

TEST(refused)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		check_refused(&refused[i]);
}

/* Axes read back as they were meant, if not as they were written. */
TEST(axes)
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

TEST(defaults)
{
	struct rk_manifest m;
	uint64_t u64 = UINT64_MAX;
	double f64 = 0.85;
	uint16_t f16 = 0x3c00;
	char buf[64];

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

TEST(scratch_on_the_wire)
{
	struct rk_manifest m;
	struct rk_wire_load load;

	parse_good(&m, KERNEL IN OUT "[scratch]\ns = u16[n+1]\nt = f16\n[cpu]\nentry = f\n"
				     "args = t, a, s, c\n");
	assert_int_equal(m.nscratch, 2);
	rk_manifest_wire(&m, RK_WIRE_CPU, &load);
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

TEST(file)
{
	static const char relative[] =
		KERNEL IN OUT "[cpu]\nlibrary = lib/x.so\nentry = f\nargs = a, c\n"
			      "[cuda]\nmodule = x.fatbin\nentry = f\nargs = a, c\ngrid = n\n";
	char dir[] = "/tmp/test_manifest.XXXXXX", path[64], want[128];
	struct rk_manifest m, again;
	struct rk_error err;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/k.ini", dir);
	write_file(path, relative);
	if (rk_manifest_parse_file(&m, NULL, path, &err) != 0)
		fail_msg("%s", err.msg);
	snprintf(want, sizeof(want), "%s/lib/x.so", dir);
	assert_string_equal(m.code[RK_WIRE_CPU].library, want);
	snprintf(want, sizeof(want), "%s/x.fatbin", dir);
	assert_string_equal(m.code[RK_WIRE_CUDA].library, want);

	/* what is the same and what is not */
	memset(&again, 0x55, sizeof(again));
	assert_int_equal(rk_manifest_parse_file(&again, NULL, path, NULL), 0);
	assert_true(rk_manifest_equal(&m, &again));
	write_file(path,
		   "# a comment\n[cuda]\nargs = a, c\ngrid = n\nblock = 256\nentry = f\n"
		   "module = x.fatbin\n[cpu]\nlibrary = lib/x.so\nargs = a, c\nentry = f\n" OUT IN
			   KERNEL);
	assert_int_equal(rk_manifest_parse_file(&again, NULL, path, NULL), 0);
	assert_true(rk_manifest_equal(&m, &again));
	write_file(path, KERNEL IN OUT "[cpu]\nlibrary = lib/x.so\nentry = f\nargs = a, c, n\n");
	assert_int_equal(rk_manifest_parse_file(&again, NULL, path, NULL), 0);
	assert_false(rk_manifest_equal(&m, &again));

	write_file(path, KERNEL IN OUT "[cpu]\nentry = f\nargs = a, d\n");
	m = again;
	assert_int_equal(rk_manifest_parse_file(&m, NULL, path, &err), -EINVAL);
	snprintf(want, sizeof(want), "%s:9: args: 'd' is no input", path);
	assert_non_null(strstr(err.msg, want));
	assert_true(rk_manifest_equal(&m, &again));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rk_manifest_parse_file(&m, NULL, path, &err), -ENOENT);
	assert_int_equal(rk_manifest_parse_file(&m, NULL, dir, &err), -EISDIR);
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

TEST(limits)
{
	static const char dims[] = KERNEL "[inputs]\na = f32[a1,a2,a3,a4,a5,a6,a7,a8]\n"
					  "b = f32[b1,b2,b3,b4,b5,b6,b7,b8]\nc = f32[c1]\n";
	struct rk_manifest m;
	struct rk_error err;
	char text[1024];

	many_lines(text, sizeof(text), "[inputs]\n", "p", "[n]", RK_MAX_PORTS);
	assert_int_equal(parse(&m, text, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "[outputs] is missing")); /* the ports are all right */
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
TEST(damaged)
{
	struct rk_manifest m;
	struct rk_error err;
	size_t len, i;
	char *text = read_shipped("vector-add.ini", &len), *copy;
	int refusals = 0;

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
