/* SPDX-License-Identifier: MIT */
/* Modules of a user's own, good and bad ones, and messages that run as one. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu/cuda/device.h"
#include "tests/gpu/gpu_test.h"

#define SAXPY_N 100003

/* --- good ones ------------------------------------------------------------------------ */

static void describe_saxpy(struct gpu_rig *r, const char *module)
{
	gpu_describe(r, "saxpy.ini",
		     "[kernel]\nid = user/saxpy\ndescription = test\n"
		     "[inputs]\na = f32\nx = f32[n]\ny = f32[n]\n[outputs]\nout = f32[n]\n"
		     "[cuda]\nmodule = %s\nentry = saxpy\nargs = a, x, y, out, n\n"
		     "grid = n\nblock = 128\n",
		     module);
}

static void call_saxpy(struct gpu_rig *r)
{
	struct rk_kernel *k = gpu_kernel(r, "user/saxpy", RK_WIRE_CUDA);
	const float a = 0.75F;
	struct gpu_call c;
	float *x, *y, *out;

	gpu_call_make_n(r, &c, k, SAXPY_N);
	memcpy(gpu_input(&c, 0), &a, sizeof(a));
	x = gpu_input(&c, 1);
	y = gpu_input(&c, 2);
	for (unsigned int i = 0; i < SAXPY_N; i++) {
		x[i] = (float)(4 * i); /* so that nothing is rounded, fused or not */
		y[i] = (float)(i % 1000);
	}
	gpu_submit(&c);
	gpu_expect(&c, 0, NULL);
	out = gpu_output(&c, 0);
	for (unsigned int i = 0; i < SAXPY_N; i++)
		GPU_EXPECT(out[i] == a * x[i] + y[i], "element %u is %g, not %g", i, (double)out[i],
			   (double)(a * x[i] + y[i]));
	gpu_call_drop(&c);
	rk_kernel_unref(k);
}

static bool is_settled(struct gpu_rig *r, void *arg)
{
	struct rk_kernel *k = arg;
	enum rk_kernel_state state = atomic_load(&k->state);

	(void)r;
	return state == RK_KERNEL_ACTIVE || state == RK_KERNEL_OFF;
}

/* The sentence of a kernel that is not loaded; "" where it is. */
static void why_not(struct gpu_rig *r, const char *name, char why[RK_ERROR_MAX])
{
	struct rk_kernel *k = rk_registry_find(rk_runtime_registry(r->rt), "user", name);

	GPU_EXPECT(k, "there is no user/%s", name);
	gpu_wait(r, is_settled, k, "the module to load or not");
	why[0] = '\0';
	if (atomic_load(&k->state) != RK_KERNEL_ACTIVE)
		rk_dispatch_kernel_last_error(rk_runtime_dispatch(r->rt), k, 0, why);
	rk_kernel_unref(k);
}

static void run_module(const void *arg)
{
	char path[sizeof(gpu_options.modules) + 16], why[RK_ERROR_MAX];
	const char *file = arg;
	struct gpu_rig r = {0};

	snprintf(path, sizeof(path), "%s/%s", gpu_options.modules, file);
	gpu_make_dir(&r);
	describe_saxpy(&r, path);
	gpu_open(&r);
	gpu_start(&r, "cuda");
	why_not(&r, "saxpy", why);
	/* PTX is not for drivers that are older than the toolkit it comes from */
	if (strstr(why, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"))
		gpu_unavailable("%s", why);
	GPU_EXPECT(!why[0], "%s", why);
	call_saxpy(&r);
	gpu_note("loaded, n=%d right", SAXPY_N);
	gpu_close(&r);
}

/*
 * The kernels that ship, from the PTX that is there for drivers older than the toolkit: the tests
 * of the groups kernels and rings with small sizes, in this process.
 */
static void run_builtin_ptx(const void *arg)
{
	gpu_tests_fn *const files[] = {gpu_kernel_tests, gpu_model_tests, gpu_ring_tests};
	unsigned int ran = 0;

	(void)arg;
	GPU_EXPECT(setenv("RK_CUDA_IMAGE", "ptx", 1) == 0, "setenv: %s", strerror(errno));
	gpu_options.small = true;
	for (size_t file = 0; file < ARRAY_SIZE(files); file++) {
		size_t count;
		const struct gpu_test *tests = files[file](&count);

		for (size_t i = 0; i < count; i++) {
			if (strcmp(tests[i].group, "kernels") && strcmp(tests[i].group, "rings"))
				continue;
			gpu_log("from PTX: %s", tests[i].what);
			tests[i].run(tests[i].arg);
			ran++;
		}
	}
	GPU_EXPECT(gpu_has_logged("compiled PTX "), "nothing was compiled from PTX");
	gpu_note("%u tests of them, with what the driver compiled", ran);
}

/* --- bad ones ------------------------------------------------------------------------- */

static void run_broken(const void *arg)
{
	char why[RK_ERROR_MAX];
	struct gpu_rig r = {0};

	(void)arg;
	gpu_make_dir(&r);
	gpu_describe(&r, "broken.ptx",
		     ".version 7.0\n.target sm_52\n.address_size 64\n"
		     ".visible .entry saxpy()\n{\n\tthis is no ptx;\n\tret;\n}\n");
	describe_saxpy(&r, "broken.ptx");
	gpu_open(&r);
	gpu_start(&r, "cuda");
	why_not(&r, "saxpy", why);
	GPU_EXPECT(strstr(why, "CUDA_ERROR_INVALID_PTX"), "last_error is: %s",
		   why[0] ? why : "none; it was loaded");
	gpu_vector_add(&r, 1000);
	gpu_note("%s", why);
	gpu_close(&r);
}

static void run_no_entry(const void *arg)
{
	char why[RK_ERROR_MAX];
	struct gpu_rig r = {0};

	(void)arg;
	gpu_make_dir(&r);
	gpu_describe(&r, "nothing.ini",
		     "[kernel]\nid = user/nothing\ndescription = test\n"
		     "[inputs]\nx = f32[n]\n[outputs]\ny = f32[n]\n[cuda]\nmodule = %s/gpu.fatbin\n"
		     "entry = no_such_kernel\nargs = x, y, n\ngrid = n\nblock = 64\n",
		     gpu_options.modules);
	gpu_open(&r);
	gpu_start(&r, "cuda");
	why_not(&r, "nothing", why);
	GPU_EXPECT(strstr(why, "no_such_kernel"), "last_error is: %s",
		   why[0] ? why : "none; it was loaded");
	gpu_vector_add(&r, 1000);
	gpu_note("%s", why);
	gpu_close(&r);
}

static bool driver_tells_parameters(void)
{
	struct rk_error err = {0};

	if (rk_cuda_open(&err))
		gpu_fail("%s", err.msg);
	return rk_cu.cuFuncGetParamInfo != NULL;
}

/* args that the function does not have, and a ring that is none. */
static void run_signature(const void *arg)
{
	static const struct {
		const char *name, *mode, *entry, *inputs, *args, *grid, *words;
	} rows[] = {
		{"fewer", "batch", "square", "", "x, y", "grid = n\n",
		 "'square' takes 3 parameters, args has 2"},
		{"more", "batch", "square", "k = u32\n", "x, y, n, k", "grid = n\n",
		 "'square' takes 3 parameters, args has 4"},
		{"narrow", "batch", "square", "k = u32\n", "x, y, k", "grid = n\n",
		 "parameter 3 of 'square' has 8 bytes, that of args 4"},
		{"noring", "ring", "saxpy", "", "x, y, n", "",
		 "'saxpy' takes 5 parameters, an RK_RING_KERNEL takes 3"},
	};
	char why[RK_ERROR_MAX], file[32];
	struct gpu_rig r = {0};

	(void)arg;
	gpu_make_dir(&r);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		snprintf(file, sizeof(file), "%s.ini", rows[i].name);
		gpu_describe(
			&r, file,
			"[kernel]\nid = user/%s\ndescription = test\nmode = %s\n"
			"[inputs]\nx = f32[n]\n%s[outputs]\ny = f32[n]\n"
			"[cuda]\nmodule = %s/gpu.fatbin\nentry = %s\nargs = %s\n%sblock = 64\n",
			rows[i].name, rows[i].mode, rows[i].inputs, gpu_options.modules,
			rows[i].entry, rows[i].args, rows[i].grid);
	}
	gpu_open(&r);
	gpu_start(&r, "cuda");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		why_not(&r, rows[i].name, why);
		if (!why[0] && !driver_tells_parameters())
			gpu_unavailable("the driver is from before CUDA 12.4");
		GPU_EXPECT(strstr(why, rows[i].words), "%s: last_error is: %s", rows[i].name,
			   why[0] ? why : "none; it was loaded");
		gpu_note("%s", strstr(why, rows[i].words));
	}
	gpu_vector_add(&r, 1000);
	gpu_close(&r);
}

/* What a kernel that misbehaves ends with, and that the next message is answered. */
struct misdeed {
	const char *entry;
	const char *option; /* of the runtime */
	int code;
	const char *words; /* of the sentence */
	bool ring;
};

static void call_misdeed(struct gpu_rig *r, const struct misdeed *d)
{
	struct rk_kernel *k = gpu_kernel(r, "user/bad", RK_WIRE_CUDA);
	struct gpu_call c;

	gpu_call_make_n(r, &c, k, 1000);
	memset(gpu_input(&c, 0), 0, 1000 * sizeof(float));
	gpu_submit(&c);
	gpu_expect(&c, d->code, d->words);
	gpu_note("%s: %s", rk_error_name(d->code), c.m->error.msg);
	gpu_call_drop(&c);
	rk_kernel_unref(k);
}

static void run_misdeed(const void *arg)
{
	const struct misdeed *d = arg;
	struct gpu_rig r = {0};
	char *event;

	gpu_make_dir(&r);
	gpu_describe(&r, "bad.ini",
		     "[kernel]\nid = user/bad\ndescription = test\nmode = %s\n"
		     "[inputs]\nx = f32[n]\n[outputs]\ny = f32[n]\n"
		     "[cuda]\nmodule = %s/gpu.fatbin\nentry = %s\nargs = x, y, n\n%sblock = 64\n",
		     d->ring ? "ring" : "batch", gpu_options.modules, d->entry,
		     d->ring ? "" : "grid = n\n");
	gpu_open(&r, d->option);
	gpu_start(&r, "cuda");
	gpu_vector_add(&r, 1000);
	call_misdeed(&r, d);
	event = gpu_wait_event(&r, "WorkerDied", 0);
	free(event);
	gpu_vector_add(&r, 100000);
	call_misdeed(&r, d);
	gpu_vector_add(&r, 100000);
	GPU_EXPECT(rk_runtime_state(r.rt) == RK_RUNNING, "the state is %s",
		   rk_state_name(rk_runtime_state(r.rt)));
	gpu_command(&r, RK_DRAIN, 60);
	gpu_wait_state(&r, RK_STOPPED);
	GPU_EXPECT(rk_runtime_gpu_memory(r.rt) == 0, "%llu bytes are held in Stopped",
		   (unsigned long long)rk_runtime_gpu_memory(r.rt));
	gpu_close(&r);
}

/* --- many as one ---------------------------------------------------------------------- */

#define MANY 400

static void run_fusion(const void *arg)
{
	struct gpu_call blockers[4], *calls = calloc(MANY, sizeof(*calls));
	struct gpu_rig r = {0};

	(void)arg;
	GPU_EXPECT(calls, "no memory");
	gpu_open(&r, "kernel_fusion=yes", "max_batch_size=64");
	gpu_start(&r, "cuda");
	for (unsigned int i = 0; i < ARRAY_SIZE(blockers); i++) /* all threads are busy */
		gpu_delay_begin(&r, &blockers[i], 200);
	for (unsigned int i = 0; i < MANY; i++) /* 0 to 1600 elements */
		gpu_vector_add_begin(&r, &calls[i], i * 37 % 1601, i);
	for (unsigned int i = 0; i < ARRAY_SIZE(blockers); i++) {
		gpu_expect(&blockers[i], 0, NULL);
		gpu_call_drop(&blockers[i]);
	}
	for (unsigned int i = 0; i < MANY; i++)
		gpu_vector_add_end(&calls[i], i);
	GPU_EXPECT(gpu_count(&r, RK_COUNT_PROCESSED) == MANY + ARRAY_SIZE(blockers),
		   "%llu messages were processed",
		   (unsigned long long)gpu_count(&r, RK_COUNT_PROCESSED));
	gpu_note("%d messages of 0 to 1600 elements, each with its own answer", MANY);
	gpu_close(&r);
	free(calls);
}

#define MISDEED(name, what, reference, ...)                                                        \
	{                                                                                          \
		"faults", name, what, reference, run_misdeed, &(const struct misdeed)              \
		{                                                                                  \
			__VA_ARGS__                                                                \
		}                                                                                  \
	}

static const struct gpu_test tests[] = {
	{"modules", "fatbin", "a user's module, fatbin", "loaded, right answers", run_module,
	 "gpu.fatbin"},
	{"modules", "builtin-ptx", "the kernels that ship, from their PTX",
	 "as those of the fatbin, against the CPU", run_builtin_ptx, NULL},
	{"modules", "ptx", "a user's module, PTX", "loaded, right answers", run_module, "gpu.ptx"},
	{"modules", "broken", "PTX that does not compile",
	 "CUDA_ERROR_INVALID_PTX and the compiler's words; others run", run_broken, NULL},
	{"modules", "signature", "args that the function does not take",
	 "a sentence with both; others run", run_signature, NULL},
	{"modules", "no-entry", "a module without the entry",
	 "a sentence that names it; others run", run_no_entry, NULL},
	MISDEED("illegal", "a kernel that reads where nothing is",
		"EIO with CUDA_ERROR_ILLEGAL_ADDRESS, the next call is answered", "illegal",
		"log_level=info", EIO, "CUDA_ERROR_ILLEGAL_ADDRESS", false),
	MISDEED("overrun", "a kernel that writes past its output", "EIO, the next call is answered",
		"overrun", "log_level=info", EIO, "y", false),
	MISDEED("endless", "a kernel without end, message_timeout = 2s",
		"ETIMEDOUT, the next call is answered", "forever", "message_timeout=2s", ETIMEDOUT,
		NULL, false),
	MISDEED("ring-illegal", "the same resident: it reads where nothing is",
		"EIO with CUDA_ERROR_ILLEGAL_ADDRESS, the next call is answered", "ring_illegal",
		"log_level=info", EIO, "CUDA_ERROR_ILLEGAL_ADDRESS", true),
	MISDEED("ring-endless", "the same resident: it does not end",
		"ETIMEDOUT, the next call is answered", "ring_forever", "message_timeout=2s",
		ETIMEDOUT, NULL, true),
	{"fusion", "many", "many small messages at once, kernel_fusion = yes", "right answers",
	 run_fusion, NULL},
};

const struct gpu_test *gpu_module_tests(size_t *count)
{
	*count = ARRAY_SIZE(tests);
	return tests;
}
