/* SPDX-License-Identifier: MIT */
/*
 * What the daemon and a worker say to each other: the only thing both share.
 *
 * A worker is started with five descriptors at fixed numbers and closes all others:
 * control (SOCK_SEQPACKET: struct rk_wire_control, one per packet), messages
 * (SOCK_SEQPACKET: structs rk_wire_run towards the worker, structs rk_wire_done
 * back, one for each message; of both, a packet has one or several), the payload memfd (owned and
 * sealed by the daemon; every offset below counts from its start) and the shared page (struct
 * rk_wire_shared). Payloads never go by the sockets: that costs the same up to 256 bytes and more
 * beyond (measured: 1.2 times at 1 KiB, 1.4 at 16 KiB).
 *
 * Either side may be broken or hostile: a packet is copied out of the socket,
 * and of shared memory, before it is checked, and every length, index and
 * offset is checked by the receiver. A packet that does not fit is a protocol
 * error: the worker exits with RK_WIRE_EXIT_PROTOCOL, the daemon ends the worker.
 * EOF on either socket is the death of the other side.
 */
#ifndef RK_RUNTIME_BASE_WIRE_H
#define RK_RUNTIME_BASE_WIRE_H

#include <stdatomic.h>
#include <stdint.h>

#include "runtime/base/backends.h"

#define RK_WIRE_VERSION 7

/* Descriptors a worker finds open when it starts. */
#define RK_WIRE_FD_CONTROL  3
#define RK_WIRE_FD_MESSAGES 4
#define RK_WIRE_FD_PAYLOAD  5
#define RK_WIRE_FD_SHARED   6

/*
 * The worker's only option: print the UUID of each device that there is to run on ("unknown" where
 * one does not tell), a line for each in the order of their index, and exit with 0; or the reason
 * why not, and exit with another status.
 */
#define RK_WIRE_LIST_OPTION "--list"
#define RK_WIRE_LISTED_MAX  256 /* lines of that */

#define RK_WIRE_EXIT_PROTOCOL 65 /* the worker's exit status after a bad packet */
#define RK_WIRE_EXIT_FAULT    66 /* the same where it left a struct rk_wire_fault */

#define RK_WIRE_NAME_MAX    64	/* with its NUL */
#define RK_WIRE_PATH_MAX    512 /* with its NUL */
#define RK_WIRE_TEXT_MAX    320 /* with its NUL */
#define RK_WIRE_ARGS_MAX    32
#define RK_WIRE_KERNELS_MAX 65536
#define RK_WIRE_THREADS_MAX 256
#define RK_WIRE_SLOTS_MAX   (RK_WIRE_THREADS_MAX + 1) /* one for a health probe */
#define RK_WIRE_DEVICES_MAX 16
#define RK_WIRE_AXES	    3		/* of a grid */
#define RK_WIRE_RUN_MAX	    (64 * 1024) /* bytes of one packet of runs */
#define RK_WIRE_DONE_MAX    4096	/* bytes of one packet of answers */

/*
 * Set in the ids of health probes. The worker has a thread more than it runs messages at once, so
 * that the one probe that may run beside them never waits for a thread.
 */
#define RK_WIRE_PROBE (1ULL << 63)

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
	RK_WIRE_SETTINGS,  /* daemon -> worker: settings that change while it runs */
	RK_WIRE_CHECK,	   /* daemon -> worker: touch the device; check */
	RK_WIRE_CHECKED,   /* worker -> daemon: status + text, check; never sent where it hangs */
};

/* What a kernel is between two messages. */
enum rk_wire_mode {
	RK_WIRE_BATCH, /* nothing: each message stands alone */
	RK_WIRE_RING,  /* resident: one instance, in order, its state stays */
};

enum rk_wire_arg_kind {
	RK_WIRE_ARG_INPUT = 1, /* const T *, into the payload */
	RK_WIRE_ARG_OUTPUT,    /* T *, into the payload; scalars too */
	RK_WIRE_ARG_SCRATCH,   /* the same, zeroed, and of no interest after the run */
	RK_WIRE_ARG_SCALAR,    /* T by value: a scalar input */
	RK_WIRE_ARG_DIM,       /* uint64_t by value: a dimension */
	RK_WIRE_ARG_STATE,     /* void *: the kernel's own state; ring kernels only, RK_U8 */
};

/* What the kernel's C signature looks like: one entry per parameter. */
struct rk_wire_param {
	uint8_t kind; /* enum rk_wire_arg_kind */
	/* enum rk_dtype (T; RK_F16 is float on cpu, __half on cuda); RK_U64 for RK_WIRE_ARG_DIM */
	uint8_t dtype;
	uint8_t fused; /* DIM: of a run of several messages, the sum of theirs; else 0 */
	uint8_t reserved[5];
};

/* What only the cuda backend makes something of; see rkfs.conf(5), [backend]. */
struct rk_wire_device_settings {
	char device[RK_WIRE_NAME_MAX]; /* an index, or a UUID as "GPU-...": of the device to use */
	uint8_t unified_memory;
	uint8_t async_memory;
	uint8_t memory_pooling;
	uint8_t reserved[5];
	uint64_t memory_limit_bytes; /* 0 = none */
	uint64_t pool_initial_bytes;
	double pool_growth_factor;
	uint64_t ring_idle_ms; /* a resident kernel leaves the device after this time; 0 = never */
};

/* Those that change while the worker runs. */
struct rk_wire_settings {
	uint32_t log_level; /* enum rk_log_level */
	uint32_t watched;   /* whether devices[] of the shared page is to be kept */
	uint64_t sample_ms; /* devices[] of the shared page is refreshed this often */
};

/* The driver's libraries, which run code of their own when they are opened. */
enum rk_wire_library {
	RK_WIRE_LIBCUDA,
	RK_WIRE_LIBNVML,
	RK_WIRE_LIBRARY_COUNT,
};

struct rk_wire_hello {
	uint32_t threads; /* messages that run at once: 1 .. RK_WIRE_THREADS_MAX */
	uint32_t skip;	  /* 1 << enum rk_wire_library: not to be opened, it ended a worker */
	/* how that worker ended */
	char skip_why[RK_WIRE_LIBRARY_COUNT][RK_WIRE_TEXT_MAX];
	uint64_t payload_bytes;		 /* size of the payload memfd */
	char primary[RK_WIRE_NAME_MAX];	 /* backend to try first */
	char fallback[RK_WIRE_NAME_MAX]; /* backend to use where that fails, "" = none */
	struct rk_wire_settings settings;
	struct rk_wire_device_settings device;
};

struct rk_wire_ready {
	char backend[RK_WIRE_NAME_MAX];	     /* the one that runs */
	char fallback_why[RK_WIRE_TEXT_MAX]; /* why the primary does not, "" if it does */
	char uuid[RK_WIRE_NAME_MAX];	     /* of the device: "GPU-..."; "" = it has none */
	uint32_t index;			     /* of the device, as the driver counts it */
	uint32_t reserved;
};

struct rk_wire_load {
	uint32_t kernel; /* slot chosen by the daemon; a loaded slot is not loaded again */
	uint32_t nparams;
	uint8_t backend; /* enum rk_wire_backend, one that the worker has */
	uint8_t mode;	 /* enum rk_wire_mode */
	/* cuda: launch all blocks together, at most as many as fit the device at once */
	uint8_t cooperative;
	uint8_t reserved[5];
	uint64_t state_bytes;	       /* RK_WIRE_RING; 0 = it has no state */
	uint32_t block[RK_WIRE_AXES];  /* cuda: threads of a block, by axis; each at least 1 */
	uint32_t shared_bytes;	       /* cuda: dynamic shared memory of a block */
	char id[2 * RK_WIRE_NAME_MAX]; /* DOMAIN/NAME, for messages */
	/*
	 * "builtin", or the path that the library (cpu) or module (cuda: fatbin, cubin or PTX) came
	 * from, for sentences only: the packet then carries one descriptor (SCM_RIGHTS), a sealed
	 * memfd with its bytes, which the worker owns.
	 */
	char library[RK_WIRE_PATH_MAX];
	char entry[RK_WIRE_NAME_MAX]; /* symbol */
	struct rk_wire_param params[RK_WIRE_ARGS_MAX];
};

struct rk_wire_check {
	uint64_t number; /* echoed in the answer */
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
		struct rk_wire_settings settings;
		struct rk_wire_check check;
		struct rk_wire_log log;
	};
};

/* What the offset of a buffer counts from. A worker refuses those that it does not know. */
enum rk_wire_space {
	RK_WIRE_PAYLOAD, /* the payload memfd */
};

struct rk_wire_arg {
	/*
	 * INPUT, OUTPUT, SCRATCH: payload offset; SCALAR, DIM: the value's bytes, low end;
	 * STATE: 0
	 */
	uint64_t value;
	uint64_t bytes; /* of the buffer, 0 allowed; else the value's size; STATE: 0 */
};

/*
 * Run a message, or several of one kernel as one. Sent with the first nargs entries of args[], then
 * nmore structs rk_wire_more, each with nargs entries of its own. A packet has one or more of
 * these, all with the same slot, RK_WIRE_RUN_MAX bytes at most: they run one after the other, and
 * answers may be sent together. Several messages as one: only where the kernel has a fused DIM
 * parameter, and runs on cuda. Scalars and DIMs that are not fused are the same in all; each input,
 * output and scratch of the run is those of the messages one after the other; grid is for the
 * whole.
 */
struct rk_wire_run {
	uint64_t id;   /* message, echoed in the answer */
	uint32_t slot; /* below the threads of HELLO, or equal: a probe's; echoed in the answers */
	uint32_t kernel; /* a loaded slot */
	uint32_t nargs;	 /* as in the load packet */
	uint32_t nmore;
	uint32_t grid[RK_WIRE_AXES]; /* cuda: blocks by axis, each at least 1; else 0 */
	uint32_t reserved;
	uint64_t spaces; /* where each argument's buffer lies, 2 bits each: enum rk_wire_space */
	struct rk_wire_arg args[RK_WIRE_ARGS_MAX];
};

struct rk_wire_more {
	uint64_t id;
	struct rk_wire_arg args[];
};

struct rk_wire_done {
	uint64_t id;
	uint32_t slot;
	int32_t status;		     /* 0 or a positive errno */
	uint64_t run_ns;	     /* time spent in the kernel, nanoseconds */
	char text[RK_WIRE_TEXT_MAX]; /* sent only where status is not 0 */
};

/* What ended a worker that ended itself. */
enum rk_wire_fault_kind {
	RK_WIRE_NO_FAULT,
	RK_WIRE_STICKY,	     /* an error that spoils the CUDA context for good */
	RK_WIRE_DEVICE_LOST, /* the device fell off the bus, or cannot be used before a reset */
};

/* Bits of rk_wire_device.known. */
enum {
	RK_WIRE_KNOWS_MEMORY = 1,
	RK_WIRE_KNOWS_UTILISATION = 2,
	RK_WIRE_KNOWS_TEMPERATURE = 4,
	RK_WIRE_KNOWS_POWER = 8,
	RK_WIRE_KNOWS_XID = 16, /* its events arrive */
	RK_WIRE_KNOWS_ECC = 32,
	RK_WIRE_KNOWS_REMAP = 64,
};

/* A device as it was seen last. A reader copies it, and again where sequence was odd or changed. */
struct rk_wire_device {
	_Atomic uint32_t sequence; /* odd while it is being written */
	uint32_t known;		   /* RK_WIRE_KNOWS_*: which numbers below are known */
	char name[96];		   /* with its NUL */
	char uuid[48];		   /* with its NUL: "GPU-..." */
	uint64_t memory_total_bytes;
	uint64_t memory_used_bytes;
	uint64_t power_milliwatts;
	uint32_t utilisation_percent;
	uint32_t temperature_celsius;
	uint64_t ecc_uncorrected; /* since the driver was loaded */
	uint64_t xid_count;	  /* critical ones that this worker has seen; never fewer */
	uint32_t xid_last;	  /* the last of them, 0 = none */
	uint32_t lost;		  /* 1 from the first loss on */
	uint32_t remap_pending;	  /* 1: rows of its memory are remapped by a reset */
	uint32_t remap_failed;	  /* 1: some could not be */
};

/* Written by the worker and read by the daemon, but for what says otherwise. */
struct rk_wire_shared {
	/*
	 * By slot, written by the daemon: the low half of the id of a message that runs there and
	 * was cancelled. The last slot is the probe's. A kernel that can end early waits on it
	 * (futex).
	 */
	_Atomic uint32_t cancelled[RK_WIRE_SLOTS_MAX];
	/*
	 * By slot: the (first) message of the run that was begun there last. What came in the same
	 * packet after it is still to be begun.
	 */
	_Atomic uint64_t begun[RK_WIRE_SLOTS_MAX];
	_Atomic uint64_t gpu_memory_bytes; /* held on the device now */
	_Atomic uint64_t gpu_memory_peak_bytes;
	/*
	 * The message whose kernel is killing the worker right now (a fatal signal in its thread,
	 * exit() from it, a CUDA error that no other message can have caused), written by the
	 * dying thread; 0 = none. So the daemon blames the right kernel.
	 */
	_Atomic uint64_t crashed_message;
	/*
	 * 1 + the slot whose library is being loaded or unloaded right now, which runs code of its
	 * own (constructors and destructors); 0 = none. A worker that dies meanwhile, with no
	 * crashed_message, probably died of it.
	 */
	_Atomic uint32_t loading_kernel;
	/*
	 * 1 << enum rk_wire_library: which are being opened right now. A worker that dies meanwhile
	 * probably died of it, and the next one is told to skip it.
	 */
	_Atomic uint32_t opening;
	/* enum rk_wire_fault_kind, written once, after fault_text and before the exit */
	_Atomic uint32_t fault;
	char fault_text[RK_WIRE_TEXT_MAX];
	/*
	 * When a check went into the driver, CLOCK_MONOTONIC nanoseconds; 0 = none is there. A
	 * worker that does not answer a check hangs in the driver, if this stands.
	 */
	_Atomic uint64_t in_driver_since_ns;
	_Atomic uint32_t ndevices; /* of devices[]; as many as were seen, never fewer again */
	struct rk_wire_device devices[RK_WIRE_DEVICES_MAX];
};

#endif
