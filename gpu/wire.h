/* SPDX-License-Identifier: MIT */
/*
 * What the daemon and a worker say to each other: the only thing both share.
 *
 * A worker is started with five descriptors at fixed numbers and closes all others:
 * control (SOCK_SEQPACKET: struct rk_wire_control, one per packet), messages
 * (SOCK_SEQPACKET: struct rk_wire_run towards the worker, struct rk_wire_done
 * back), the payload memfd (owned and sealed by the daemon; every offset below
 * counts from its start) and the shared page (struct rk_wire_shared).
 *
 * Either side may be broken or hostile: a packet is copied out of the socket,
 * and of shared memory, before it is checked, and every length, index and
 * offset is checked by the receiver. A packet that does not fit is a protocol
 * error: the worker exits with RK_WIRE_EXIT_PROTOCOL, the daemon ends the worker.
 * EOF on either socket is the death of the other side.
 */
#ifndef RK_GPU_WIRE_H
#define RK_GPU_WIRE_H

#include <stdatomic.h>
#include <stdint.h>

#define RK_WIRE_VERSION 2

/* Descriptors a worker finds open when it starts. */
#define RK_WIRE_FD_CONTROL  3
#define RK_WIRE_FD_MESSAGES 4
#define RK_WIRE_FD_PAYLOAD  5
#define RK_WIRE_FD_SHARED   6

#define RK_WIRE_EXIT_PROTOCOL 65 /* the worker's exit status after a bad packet */

#define RK_WIRE_NAME_MAX    64	/* with its NUL */
#define RK_WIRE_PATH_MAX    512 /* with its NUL */
#define RK_WIRE_TEXT_MAX    320 /* with its NUL */
#define RK_WIRE_ARGS_MAX    32
#define RK_WIRE_KERNELS_MAX 65536
#define RK_WIRE_THREADS_MAX 256

/*
 * Every output and scratch is followed by this many guard bytes in the payload, set to
 * RK_WIRE_GUARD_BYTE by the daemon before the run and looked at after it.
 */
#define RK_WIRE_ALIGN	   64 /* of every input and output in the payload */
#define RK_WIRE_GUARD	   64
#define RK_WIRE_GUARD_BYTE 0xA5

enum rk_wire_control_type {
	RK_WIRE_HELLO = 1, /* daemon -> worker, first packet: hello */
	RK_WIRE_READY,	   /* worker -> daemon, answer: status + ready */
	RK_WIRE_LOAD,	   /* daemon -> worker: load */
	RK_WIRE_LOADED,	   /* worker -> daemon: status, kernel */
	RK_WIRE_UNLOAD,	   /* daemon -> worker: kernel; no message of it is running */
	RK_WIRE_UNLOADED,  /* worker -> daemon: status, kernel */
	RK_WIRE_SHUTDOWN,  /* daemon -> worker: finish and exit 0 */
	RK_WIRE_LOG,	   /* worker -> daemon: log */
	RK_WIRE_LOG_LEVEL, /* daemon -> worker: log.level */
};

enum rk_wire_arg_kind {
	RK_WIRE_ARG_INPUT = 1, /* const T *, into the payload */
	RK_WIRE_ARG_OUTPUT,    /* T *, into the payload; scalars too */
	RK_WIRE_ARG_SCRATCH,   /* the same, zeroed, and of no interest after the run */
	RK_WIRE_ARG_SCALAR,    /* T by value: a scalar input */
	RK_WIRE_ARG_DIM,       /* uint64_t by value: a dimension */
};

/* What the kernel's C signature looks like: one entry per parameter. */
struct rk_wire_param {
	uint8_t kind;  /* enum rk_wire_arg_kind */
	uint8_t dtype; /* enum rk_dtype (T, but float for RK_F16); RK_U64 for RK_WIRE_ARG_DIM */
	uint8_t reserved[6];
};

struct rk_wire_hello {
	uint32_t threads;		 /* 1 .. RK_WIRE_THREADS_MAX */
	uint32_t log_level;		 /* enum rk_log_level */
	uint64_t payload_bytes;		 /* size of the payload memfd */
	char primary[RK_WIRE_NAME_MAX];	 /* backend to try first */
	char fallback[RK_WIRE_NAME_MAX]; /* backend to use where that fails, "" = none */
};

struct rk_wire_ready {
	char backend[RK_WIRE_NAME_MAX];	     /* the one that runs */
	char fallback_why[RK_WIRE_TEXT_MAX]; /* why the primary does not, "" if it does */
};

struct rk_wire_load {
	uint32_t kernel; /* slot chosen by the daemon; a loaded slot is not loaded again */
	uint32_t nparams;
	char id[2 * RK_WIRE_NAME_MAX]; /* DOMAIN/NAME, for messages */
	/*
	 * "builtin", or the path that the library came from, for sentences only: the packet then
	 * carries one descriptor (SCM_RIGHTS), a sealed memfd with the library's bytes, which the
	 * worker owns.
	 */
	char library[RK_WIRE_PATH_MAX];
	char entry[RK_WIRE_NAME_MAX]; /* symbol */
	struct rk_wire_param params[RK_WIRE_ARGS_MAX];
};

struct rk_wire_log {
	uint32_t level; /* enum rk_log_level */
	char text[RK_WIRE_TEXT_MAX];
};

/* One control packet; always sent and received whole. */
struct rk_wire_control {
	uint32_t version;	     /* RK_WIRE_VERSION */
	uint32_t type;		     /* enum rk_wire_control_type */
	uint32_t kernel;	     /* LOADED, UNLOAD, UNLOADED: the slot */
	int32_t status;		     /* READY, LOADED, UNLOADED: 0 or a positive errno */
	char text[RK_WIRE_TEXT_MAX]; /* the sentence that goes with status */
	union {
		struct rk_wire_hello hello;
		struct rk_wire_ready ready;
		struct rk_wire_load load;
		struct rk_wire_log log;
	};
};

struct rk_wire_arg {
	/* INPUT, OUTPUT, SCRATCH: payload offset; SCALAR, DIM: the value's bytes, low end */
	uint64_t value;
	uint64_t bytes; /* of the buffer, 0 allowed; otherwise the value's size */
};

/* Run one message. Sent with the first nargs entries of args[] only. */
struct rk_wire_run {
	uint64_t id;	 /* message, echoed in the answer */
	uint32_t slot;	 /* the daemon's index of it, echoed in the answer */
	uint32_t kernel; /* a loaded slot */
	uint32_t nargs;	 /* as in the load packet */
	uint32_t reserved;
	struct rk_wire_arg args[RK_WIRE_ARGS_MAX];
};

struct rk_wire_done {
	uint64_t id;
	uint32_t slot;
	int32_t status;		     /* 0 or a positive errno */
	uint64_t run_ns;	     /* time spent in the kernel, nanoseconds */
	char text[RK_WIRE_TEXT_MAX]; /* sent only where status is not 0 */
};

/* Written by the worker, read by the daemon; one page. */
struct rk_wire_shared {
	_Atomic uint64_t gpu_memory_bytes; /* held on the device now */
	_Atomic uint64_t gpu_memory_peak_bytes;
	/*
	 * The message whose kernel is killing the worker right now (a fatal signal in its thread,
	 * exit() from it), written by the dying thread; 0 = none. So the daemon blames the right
	 * kernel.
	 */
	_Atomic uint64_t crashed_message;
	/*
	 * 1 + the slot whose library is being loaded or unloaded right now, which runs code of its
	 * own (constructors and destructors); 0 = none. A worker that dies meanwhile, with no
	 * crashed_message, probably died of it.
	 */
	_Atomic uint32_t loading_kernel;
};

#endif
