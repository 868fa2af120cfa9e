/* SPDX-License-Identifier: MIT */
/* rkcall --list and --describe. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fs/client/rkcall.h"
#include "runtime/kernel/parse.h"

#define EXAMPLE_ELEMENTS 256 /* in one line; more is for a file */

/* --- what becomes of a kernel --- */

struct status {
	const char *word; /* for a column */
	char *why;	  /* for a person, or NULL; owned */
};

/* @text without the kernel's name and what the word says already; cuts @text up. */
static char *reason(char *text, const char *kernel)
{
	static const char said[] = "the kernel is not loaded: ";
	size_t len = strlen(kernel);

	if (strncmp(text, kernel, len) == 0 && strncmp(text + len, ": ", 2) == 0)
		text += len + 2;
	if (strncmp(text, said, strlen(said)) == 0)
		text += strlen(said);
	return strcmp(text, "none") == 0 ? NULL : strdup(text);
}

/* A kernel that is enabled may yet not be loaded, where workers are: its last error says why. */
static struct status status_of(const struct rkcall_mount *m, const char *kernel, const char *enable)
{
	struct status s = {.word = *enable == '1' ? "enabled" : "disabled"};
	char *state = rkcall_value(m, NULL, "state");
	char *backend = rkcall_value(m, kernel, "backend");
	char *error = rkcall_value(m, kernel, "last_error");

	if (*enable == '1' && state && backend && strcmp(backend, "none") == 0 &&
	    (strcmp(state, "Running") == 0 || strcmp(state, "Draining") == 0)) {
		s.word = "not loaded";
		s.why = error ? reason(error, kernel) : NULL;
	}
	free(state);
	free(backend);
	free(error);
	return s;
}

/* --- list --- */

static void put_line(FILE *out, const struct rkcall_mount *m, const char *kernel, size_t width)
{
	char *enable = rkcall_value(m, kernel, "enable");
	char *description = rkcall_value(m, kernel, "description");
	struct status status;

	/* else it was removed meanwhile */
	if (enable && description) {
		status = status_of(m, kernel, enable);
		fprintf(out, "%-*s  %-10s  %s", (int)width, kernel, status.word, description);
		if (status.why)
			fprintf(out, " (%s)", status.why);
		fputc('\n', out);
		free(status.why);
	}
	free(enable);
	free(description);
}

int rkcall_list(const struct rkcall_mount *m, FILE *out, struct rk_error *err)
{
	struct rkcall_kernels k;
	size_t width = 0;
	int rc = rkcall_kernels_read(&k, m, err);

	if (rc)
		return rc;
	for (size_t i = 0; i < k.count; i++)
		if (strlen(k.ids[i]) > width)
			width = strlen(k.ids[i]);
	for (size_t i = 0; i < k.count; i++)
		put_line(out, m, k.ids[i], width);
	rkcall_kernels_free(&k);
	return 0;
}

/* --- an example --- */

/* In double precision nothing overflows, and what is exact is as small as an example. */
static double axis_size(const struct rk_axis *axis, double dim)
{
	double size = (double)axis->factor;

	for (unsigned int i = 0; i < axis->ndims; i++)
		size *= dim;
	return size + (double)axis->addend;
}

/* Whether an example with every dim @dim is small, and has no axis that is empty. */
static bool is_fit(const struct rk_manifest *m, double dim)
{
	double all = 0;

	for (unsigned int i = 0; i < m->ninputs; i++) {
		const struct rk_port *port = &m->inputs[i];
		double elements = 1;

		if (port->default_text[0])
			continue;
		for (unsigned int k = 0; k < port->rank; k++) {
			double size = axis_size(&port->axes[k], dim);

			if (size < 1)
				return false;
			elements *= size;
		}
		all += elements;
	}
	return all <= EXAMPLE_ELEMENTS;
}

/*
 * The elements below axis @axis of @port. Arrays of integers count from 0, for indices are common;
 * a single number is 1.
 */
static void put_elements(FILE *out, const struct rk_port *port, unsigned int axis, double dim,
			 unsigned int *next)
{
	enum rk_dtype_kind kind = rk_dtype_info(port->dtype)->kind;
	double size;

	if (axis < port->rank) {
		size = axis_size(&port->axes[axis], dim);
		for (double i = 0; i < size; i++) {
			fputc(i > 0 ? ',' : '[', out);
			put_elements(out, port, axis + 1, dim, next);
		}
		fputc(']', out);
		return;
	}
	if (kind == RK_KIND_BOOL)
		fputs(*next % 2 ? "false" : "true", out);
	else if (kind == RK_KIND_FLOAT || !port->rank)
		fprintf(out, "%u", *next + 1);
	else
		fprintf(out, "%u", *next % 128); /* an i8 ends there */
	(*next)++;
}

static int put_example(FILE *out, const struct rk_manifest *m)
{
	static const double dims[] = {3, 2, 1, 4, 8, 16, 32, 64, 128};
	const char *before = "";
	size_t i = 0;

	while (i < sizeof(dims) / sizeof(dims[0]) && !is_fit(m, dims[i]))
		i++;
	if (i == sizeof(dims) / sizeof(dims[0]))
		return -EFBIG;
	fputc('{', out);
	for (unsigned int p = 0; p < m->ninputs; p++) {
		unsigned int next = 0;

		if (m->inputs[p].default_text[0])
			continue;
		fprintf(out, "%s\"%s\":", before, m->inputs[p].name);
		put_elements(out, &m->inputs[p], 0, dims[i], &next);
		before = ",";
	}
	fputc('}', out);
	return 0;
}

/* Read the lines of `inputs`, which are those of a description. Cuts @text up. */
static int read_inputs(struct rk_manifest *m, char *text)
{
	char *line, *rest = text;
	int rc = 0;

	while (!rc && (line = strsep(&rest, "\n"))) {
		char *value = strstr(line, " = ");

		if (!*line)
			continue;
		if (!value)
			return -EINVAL;
		*value = '\0';
		rc = rk_port_parse(m, RK_SECTION_INPUTS, line, value + 3, NULL);
	}
	return rc;
}

char *rkcall_example(const char *inputs)
{
	struct rk_manifest *m = calloc(1, sizeof(*m));
	char *copy = strdup(inputs), *text = NULL;
	size_t size = 0;
	FILE *out = NULL;
	int rc = -ENOMEM;

	if (m && copy)
		rc = read_inputs(m, copy);
	if (!rc && !(out = open_memstream(&text, &size)))
		rc = -ENOMEM;
	if (!rc)
		rc = put_example(out, m);
	if (out && fclose(out) && !rc)
		rc = -ENOMEM;
	free(copy);
	free(m);
	if (!rc)
		return text;
	free(text);
	errno = -rc;
	return NULL;
}

/* --- describe --- */

/* "LABEL  VALUE", further lines of the value below its first. */
static void put_row(FILE *out, const char *label, char *value)
{
	char *line, *rest = value;

	while ((line = strsep(&rest, "\n"))) {
		fprintf(out, "%-10s  %s\n", label, line);
		label = "";
	}
}

static void put_status(FILE *out, const struct rkcall_mount *m, const char *kernel,
		       const char *enable)
{
	struct status status = status_of(m, kernel, enable);

	fprintf(out, "%-10s  %s\n", "enabled", *enable == '1' ? "yes" : "no");
	if (strcmp(status.word, "not loaded") == 0)
		fprintf(out, "%-10s  no%s%s\n", "loaded", status.why ? ": " : "",
			status.why ? status.why : "");
	free(status.why);
}

/* The description's example, or one made up. */
static void put_call(FILE *out, const struct rkcall_mount *m, const char *kernel,
		     const char *command, const char *encodings, const char *inputs)
{
	char *example = rkcall_value(m, kernel, "example");

	if (!example || strchr(example, '\'')) {
		free(example);
		example = rkcall_example(inputs);
	}
	if (example)
		fprintf(out, "\n%s %s '%s'\n", command, kernel, example);
	else if (strstr(encodings, "safetensors"))
		fprintf(out, "\n%s -f IN.safetensors -o OUT.safetensors %s\n", command, kernel);
	else
		fprintf(out, "\n%s -f IN.json %s\n", command, kernel);
	free(example);
}

int rkcall_describe(const struct rkcall_mount *m, const char *kernel, const char *command,
		    FILE *out, struct rk_error *err)
{
	static const char *const files[] = {"version", "mode", "backend", "inputs", "outputs"};
	char encodings[64];
	char *description = rkcall_value(m, kernel, "description");
	char *enable = rkcall_value(m, kernel, "enable");
	char *inputs = rkcall_value(m, kernel, "inputs");
	int rc = 0;

	if (description && enable && inputs) {
		fprintf(out, "%s: %s\n\n", kernel, description);
		for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
			char *value = rkcall_value(m, kernel, files[i]);

			if (value)
				put_row(out, files[i], value);
			free(value);
		}
		rkcall_encodings_print(m, kernel, encodings, sizeof(encodings));
		put_row(out, "encodings", encodings);
		put_status(out, m, kernel, enable);
		put_call(out, m, kernel, command, encodings, inputs);
	} else {
		rc = errno == ENOENT || errno == ENOTDIR ? rkcall_no_kernel(m, kernel, err)
							 : rkcall_why(m, kernel, errno, err);
	}
	free(description);
	free(enable);
	free(inputs);
	return rc;
}
