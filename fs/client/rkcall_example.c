/* SPDX-License-Identifier: MIT */
/* rkcall: a request that a kernel would take, made up from its inputs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/client/rkcall.h"
#include "runtime/kernel/parse.h"

#define EXAMPLE_ELEMENTS 256 /* in one line; more is for a file */

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
