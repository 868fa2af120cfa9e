/* SPDX-License-Identifier: MIT */
/* The kernels that ship, as C functions, found by name and checked against a description. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "gpu/cpu/internal.h"
#include "gpu/kernels/builtin.h"

struct builtin {
	const char *entry;
	void (*fn)(void);
	unsigned int nparams;
	struct rk_wire_param params[RK_WIRE_ARGS_MAX];
};

/* clang-format off */
static const struct builtin builtins[] = {
#define X(name, ...)                                                                               \
	{.entry = #name,                                                                           \
	 .fn = (void (*)(void))rk_kernel_##name,                                                   \
	 .nparams = sizeof((struct rk_wire_param[]){__VA_ARGS__}) / sizeof(struct rk_wire_param),  \
	 .params = {__VA_ARGS__}},
	RK_BUILTINS(X)
#undef X
};
/* clang-format on */

static const struct {
	const char *entry;
	uint64_t bytes;
} builtin_states[] = {
#define X(name, type) {#name, sizeof(type)},
	RK_BUILTIN_STATES(X)
#undef X
};

#define BUILTIN_COUNT (sizeof(builtins) / sizeof(builtins[0]))

static const char *const kind_words[] = {
	[RK_WIRE_ARG_INPUT] = "input",	   [RK_WIRE_ARG_OUTPUT] = "output",
	[RK_WIRE_ARG_SCRATCH] = "scratch", [RK_WIRE_ARG_SCALAR] = "scalar",
	[RK_WIRE_ARG_DIM] = "dim",	   [RK_WIRE_ARG_STATE] = "state",
};

/* Append "input f32, input f32, dim" to the sentence in @buf. */
static void print_signature(char *buf, size_t size, const struct builtin *b)
{
	size_t len = 0;

	buf[0] = '\0';
	for (unsigned int i = 0; i < b->nparams && len < size; i++) {
		bool bare = b->params[i].kind == RK_WIRE_ARG_DIM ||
			    b->params[i].kind == RK_WIRE_ARG_STATE;
		int n = snprintf(buf + len, size - len, "%s%s%s%s", i ? ", " : "",
				 kind_words[b->params[i].kind], bare ? "" : " ",
				 bare ? "" : rk_dtype_info(b->params[i].dtype)->name);

		len += n > 0 ? (size_t)n : 0;
	}
}

static int check_signature(const struct builtin *b, const struct rk_wire_load *load,
			   struct rk_error *err)
{
	bool same = b->nparams == load->nparams;
	char text[RK_ERROR_MAX / 2];

	for (unsigned int i = 0; same && i < b->nparams; i++)
		same = b->params[i].kind == load->params[i].kind &&
		       b->params[i].dtype == load->params[i].dtype;
	if (same)
		return 0;
	print_signature(text, sizeof(text), b);
	return rk_error_set(err, EINVAL,
			    "kernel %s: built-in %s takes (%s); make args in [cpu] say so",
			    load->id, b->entry, text);
}

static int check_state(const struct builtin *b, const struct rk_wire_load *load,
		       struct rk_error *err)
{
	for (size_t i = 0; i < sizeof(builtin_states) / sizeof(builtin_states[0]); i++)
		if (strcmp(builtin_states[i].entry, b->entry) == 0 &&
		    load->state_bytes < builtin_states[i].bytes)
			return rk_error_set(err, EINVAL,
					    "kernel %s: built-in %s needs a state of %" PRIu64
					    " bytes; make bytes in [state] say so",
					    load->id, b->entry, builtin_states[i].bytes);
	return 0;
}

/* NULL where there is none, with the sentence in @err. */
static const struct builtin *find_builtin(const struct rk_wire_load *load, struct rk_error *err)
{
	char names[RK_ERROR_MAX / 2] = "";
	size_t len = 0;

	for (size_t i = 0; i < BUILTIN_COUNT; i++) {
		if (strcmp(builtins[i].entry, load->entry) == 0)
			return &builtins[i];
		if (len < sizeof(names)) {
			int n = snprintf(names + len, sizeof(names) - len, "%s%s", i ? ", " : "",
					 builtins[i].entry);

			len += n > 0 ? (size_t)n : 0;
		}
	}
	rk_error_set(err, ENOENT, "kernel %s: no built-in is called '%s'; there are: %s", load->id,
		     load->entry, names);
	return NULL;
}

int rk_cpu_builtin(const struct rk_wire_load *load, void (**fn)(void), struct rk_error *err)
{
	const struct builtin *builtin = find_builtin(load, err);
	int rc;

	if (!builtin)
		return -ENOENT;
	rc = check_signature(builtin, load, err);
	if (rc == 0)
		rc = check_state(builtin, load, err);
	if (rc)
		return rc;
	*fn = builtin->fn;
	return 0;
}
