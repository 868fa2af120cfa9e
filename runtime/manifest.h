/* SPDX-License-Identifier: MIT */
/*
 * A kernel's description (DESIGN section 4, rkfs-kernel(5)): parsed from INI,
 * checked as a whole, immutable afterwards.
 */
#ifndef RK_RUNTIME_MANIFEST_H
#define RK_RUNTIME_MANIFEST_H

#include <stddef.h>
#include <stdint.h>

#include "gpu/wire.h"
#include "runtime/error.h"
#include "runtime/ini_file.h"
#include "runtime/tensor.h"

#define RK_MAX_PORTS	 16		  /* inputs, and outputs, of one kernel */
#define RK_MAX_DIMS	 16		  /* names of dimensions in one description */
#define RK_NAME_MAX	 RK_WIRE_NAME_MAX /* of a domain, kernel, port or dim, with NUL */
#define RK_KERNEL_ID_MAX (2 * RK_NAME_MAX)

/* One axis of a port: a constant, or a named dim bound by the request. */
struct rk_axis {
	int dim;       /* index into dims[], or -1: constant */
	uint64_t size; /* the constant, at least 1 */
};

/* One input or output. rank 0 is a scalar. */
struct rk_port {
	char name[RK_NAME_MAX];
	enum rk_dtype dtype;
	unsigned int rank;
	struct rk_axis axes[RK_MAX_RANK];
};

/* One parameter of the C function: which input, output or dim it is. */
struct rk_param {
	enum rk_wire_arg_kind kind;
	unsigned int index; /* into inputs[], outputs[] or dims[] */
};

struct rk_manifest {
	char id[RK_KERNEL_ID_MAX]; /* DOMAIN/NAME */
	char domain[RK_NAME_MAX];
	char name[RK_NAME_MAX];
	char mode[16]; /* "batch" */
	char description[RK_INI_LINE_MAX + 1];
	char version[RK_NAME_MAX]; /* default "1.0" */
	unsigned int ninputs, noutputs, ndims;
	struct rk_port inputs[RK_MAX_PORTS];
	struct rk_port outputs[RK_MAX_PORTS];
	char dims[RK_MAX_DIMS][RK_NAME_MAX];
	/* [cpu] */
	char library[RK_WIRE_PATH_MAX]; /* "builtin" or a path */
	char entry[RK_NAME_MAX];	/* C symbol */
	unsigned int nparams;
	struct rk_param params[RK_WIRE_ARGS_MAX];
};

/*
 * Parse a description of @len bytes; @name is used in sentences ("NAME:LINE: key: ...").
 * Returns 0 or -EINVAL (malformed line, unknown section or key, missing key, bad
 * id, unknown dtype, dim in an output or in args that no input binds, repeated
 * name, args entry that names nothing, no outputs, ...): the sentence says what is allowed. Or
 * -ENOMEM.
 */
int rk_manifest_parse(struct rk_manifest *m, const char *text, size_t len, const char *name,
		      struct rk_error *err);

/* One row per description that is compiled in (etc/kernels.d/, embedded by make). */
struct rk_manifest_builtin {
	const char *name; /* file name, for sentences */
	const char *text;
	size_t len;
};

/* All of them, *@count rows; static storage. */
const struct rk_manifest_builtin *rk_manifest_builtins(size_t *count);

/*
 * A port as its description writes it, "a = f32[n,4]", without a newline, into
 * @buf of @size, always NUL-terminated. Returns the length it has or would have.
 */
size_t rk_port_print(const struct rk_manifest *m, const struct rk_port *port, char *buf,
		     size_t size);

/* The load packet's library, entry, nparams and params for @m; touches nothing else of @load. */
void rk_manifest_wire(const struct rk_manifest *m, struct rk_wire_load *load);

#endif
