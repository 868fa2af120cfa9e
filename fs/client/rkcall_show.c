/* SPDX-License-Identifier: MIT */
/* rkcall --list and --describe. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/client/rkcall.h"

/* --- what becomes of a kernel --- */

struct status {
	const char *word; /* for a column */
	char *why;	  /* for a person, or NULL; owned */
};

/* @text without the kernel's name and what the word says already; NULL where none is left. */
static char *reason(const char *text, const char *kernel)
{
	static const char said[] = "the kernel is not loaded: ";

	text = rkcall_without_kernel(text, kernel);
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

	/* a kernel that was removed meanwhile has neither */
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
							 : rkcall_why(m, kernel, errno, NULL, err);
	}
	free(description);
	free(enable);
	free(inputs);
	return rc;
}
