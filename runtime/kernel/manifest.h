/* SPDX-License-Identifier: MIT */
/*
 * A kernel's description (rkfs-kernel(5)) as data: parse.h makes it from text, checks it as a
 * whole, and nobody changes it afterwards.
 */
#ifndef RK_RUNTIME_KERNEL_MANIFEST_H
#define RK_RUNTIME_KERNEL_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/wire.h"
#include "runtime/base/error.h"
#include "runtime/base/ini_file.h"
#include "runtime/base/tensor.h"

#define RK_MAX_PORTS	 16		  /* inputs, outputs, and scratches, of one kernel */
#define RK_MAX_DIMS	 16		  /* names of dimensions in one description */
#define RK_MAX_FACTORS	 7		  /* names in the product of one axis */
#define RK_NAME_MAX	 RK_WIRE_NAME_MAX /* of a domain, kernel, port or dim, with NUL */
#define RK_KERNEL_ID_MAX (2 * RK_NAME_MAX)
#define RK_DEFAULT_MAX	 48 /* of a default's text, with its NUL */

/*
 * One axis of a port: factor * dim * dim ... + addend. Without dims it is a constant, whose
 * value is factor alone; factor is at least 1.
 */
struct rk_axis {
	uint64_t factor;
	int64_t addend;
	uint8_t ndims;
	uint8_t dims[RK_MAX_FACTORS]; /* indices into the description's dims[] */
};

/* The sections of a description that hold ports, in the order in which a message's block has them.
 */
enum rk_port_section {
	RK_SECTION_INPUTS,
	RK_SECTION_OUTPUTS,
	RK_SECTION_SCRATCH,
	RK_SECTION_COUNT,
};

struct rk_port_section_info {
	const char *name; /* "inputs" */
	const char *what; /* "input" */
};
extern const struct rk_port_section_info rk_port_sections[RK_SECTION_COUNT];

/* One input, output or scratch. rank 0 is a scalar. */
struct rk_port {
	char name[RK_NAME_MAX];
	enum rk_dtype dtype;
	unsigned int rank;
	struct rk_axis axes[RK_MAX_RANK];
	/* scalar inputs only: as written, "" = none, and the element itself, in its first bytes */
	char default_text[RK_DEFAULT_MAX];
	unsigned char default_value[8];
};

/* One parameter of the C function: which input, output, scratch or dim it is. */
struct rk_param {
	enum rk_wire_arg_kind kind;
	unsigned int index; /* into inputs[], outputs[], scratch[] or dims[]; of STATE: 0 */
};

/* How many threads a message wants, and in which blocks; all zero where a backend does not ask. */
struct rk_launch {
	unsigned int naxes;		   /* of grid; 1 to 3, 0 for a ring */
	struct rk_axis grid[RK_WIRE_AXES]; /* threads */
	uint32_t block[RK_WIRE_AXES];	   /* threads of a block; at least 1 */
	uint32_t shared_bytes;		   /* dynamic shared memory of a block */
	bool cooperative;		   /* all blocks on the device at once */
};

/*
 * The code of a kernel on one backend, the section of that name, and how it is called. Those of a
 * section that the description does not have are zero.
 */
struct rk_code {
	bool given;
	char library[RK_WIRE_PATH_MAX]; /* "builtin" or an absolute path; of [cuda]: `module` */
	char entry[RK_NAME_MAX];	/* C symbol */
	unsigned int nparams;
	/* every input and output once, every scratch and the state at most once, and once in one */
	struct rk_param params[RK_WIRE_ARGS_MAX];
	struct rk_launch launch;
};

struct rk_manifest {
	char id[RK_KERNEL_ID_MAX]; /* DOMAIN/NAME */
	char domain[RK_NAME_MAX];
	char name[RK_NAME_MAX];
	enum rk_wire_mode mode;
	char description[RK_INI_LINE_MAX + 1];
	char example[RK_INI_LINE_MAX + 1]; /* a request in JSON, "" = none */
	char version[RK_NAME_MAX];	   /* default "1.0" */
	uint64_t timeout_ms;		   /* of one message; 0 = as message_timeout says */
	uint64_t max_queue_depth;	   /* 0 = as the runtime's says */
	union {				   /* by enum rk_port_section, or by name */
		unsigned int nports[RK_SECTION_COUNT];
		struct {
			unsigned int ninputs, noutputs, nscratch;
		};
	};
	union {
		struct rk_port ports[RK_SECTION_COUNT][RK_MAX_PORTS];
		struct {
			struct rk_port inputs[RK_MAX_PORTS];
			struct rk_port outputs[RK_MAX_PORTS];
			struct rk_port scratch[RK_MAX_PORTS];
		};
	};
	unsigned int ndims;
	char dims[RK_MAX_DIMS][RK_NAME_MAX];
	uint64_t state_bytes; /* [state] bytes; ring kernels only */
	/*
	 * `batchable`: 1 + the dim along which messages may be put one after the other, 0 = none.
	 * Every input of rank 0 is then the same in all, every other port has it as its first axis
	 * (plain, and in no other), every output has rank 1 or more, and where the kernel is
	 * launched `grid` grows with it and it is one of the args.
	 */
	unsigned int fused_dim;
	struct rk_code code[RK_WIRE_BACKEND_COUNT]; /* at least one is given */
};

/* The index of the port or dim of that name, or -1. */
int rk_find_port(const struct rk_manifest *m, enum rk_port_section section, const char *name,
		 size_t len);
int rk_find_dim(const struct rk_manifest *m, const char *name, size_t len);

/* Whether @dim is a factor of @axis. */
bool rk_axis_has(const struct rk_axis *axis, unsigned int dim);

/* What an axis comes to with @dims: 0, -EDOM below zero, -ERANGE from 2^64 on. */
int rk_axis_evaluate(const struct rk_axis *axis, const uint64_t *dims, uint64_t *size);

/* The section whose port @param is; RK_SECTION_COUNT where it is none: a dim, the state. */
enum rk_port_section rk_param_section(const struct rk_param *param);

/* Whether both say the same, a comment or the order of sections apart. */
bool rk_manifest_equal(const struct rk_manifest *a, const struct rk_manifest *b);

/* One row per description that is compiled in (etc/kernels.d/, embedded by make). */
struct rk_manifest_builtin {
	const char *name; /* file name, for sentences */
	const char *text;
	size_t len;
};

/* All of them, *@count rows; static storage. */
const struct rk_manifest_builtin *rk_manifest_builtins(size_t *count);

/*
 * A port as its description writes it, "a = f32[2*n,m+1]" or "k = f64 = 0.5", without a newline,
 * into @buf of @size, always NUL-terminated. Returns the length it has or would have.
 */
size_t rk_port_print(const struct rk_manifest *m, const struct rk_port *port, char *buf,
		     size_t size);

/* The same for one axis: "2*n*m-1". */
size_t rk_axis_print(const struct rk_manifest *m, const struct rk_axis *axis, char *buf,
		     size_t size);

/*
 * The load packet for @m on @backend, of which it has code: everything but kernel and id, which are
 * left as they are.
 */
void rk_manifest_wire(const struct rk_manifest *m, enum rk_wire_backend backend,
		      struct rk_wire_load *load);

/* "batch" or "ring"; static storage. */
const char *rk_mode_name(enum rk_wire_mode mode);

#endif
