/* SPDX-License-Identifier: MIT */
/*
 * Inside the fake driver. One lock guards everything; functions that end in _locked are called with
 * it. fake_enter() takes it, fake_leave() gives it back.
 */
#ifndef RK_TESTS_FAKE_CUDA_FAKE_H
#define RK_TESTS_FAKE_CUDA_FAKE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <ffi.h>

#include "gpu/cuda/syms.h"
#include "runtime/base/wire.h"
#include "tests/fake_cuda/fake_cuda.h"
#include "tests/fake_cuda/trigger.h"

#define FAKE_DEVICES	       16
#define FAKE_DRIVER_VERSION    (CUDA_VERSION > 13000 ? CUDA_VERSION : 13000)
#define FAKE_SMS	       8
#define FAKE_CONNECTIONS       8 /* where the environment says nothing */
#define FAKE_GREATEST_PRIORITY (-5)
#define FAKE_CLOCK_KHZ	       1500000
#define FAKE_THREADS	       1024 /* of a block */
#define FAKE_SM_THREADS	       2048
#define FAKE_SM_BLOCKS	       32
#define FAKE_BLOCK_Z	       64
#define FAKE_GRID_X	       0x7fffffff
#define FAKE_GRID_YZ	       65535
#define FAKE_SHARED	       (48 * 1024)
#define FAKE_SHARED_OPTIN      (99 * 1024)

/* Every function of the list, as fake_NAME; one that is missing fails to link. */
#define X(need, name, version) __typeof__(name) fake_##name;
RK_CUDA_SYMBOLS(X)
#undef X

struct fake_counts {
#define X(name) uint64_t name;
	FAKE_CUDA_GAUGES(X) FAKE_CUDA_COUNTERS(X)
#undef X
};

struct CUctx_st {
	CUdevice device;
	unsigned int retained;
};

/* A stretch of memory that the driver gave out. */
enum fake_block_kind {
	FAKE_DEVICE,
	FAKE_MANAGED,
	FAKE_HOST
};
enum fake_block_state {
	FAKE_COMING, /* allocated in the order of a stream that is not there yet */
	FAKE_LIVE,
	FAKE_GOING, /* freed in the order of a stream that is not there yet: good for what came
		       before */
};
struct fake_block {
	LIST_ENTRY(fake_block) link;
	enum fake_block_kind kind;
	enum fake_block_state state;
	uint8_t *at;
	uint64_t bytes; /* as asked for */
	uint8_t *map;	/* with the pages around it that nobody may touch */
	size_t map_bytes;
	CUmemoryPool pool; /* NULL = none */
};

/* A handle is never freed, so that one which is used too long is known for what it is. */
struct CUmemPoolHandle_st {
	LIST_ENTRY(CUmemPoolHandle_st) link;
	bool open;
	uint64_t threshold, reserved, reserved_high, used, used_high;
};

/* What the driver makes when a stream is first used for it, with the whole context waiting. */
enum fake_use {
	FAKE_USE_SET,
	FAKE_USE_COPY_IN,
	FAKE_USE_COPY_OUT,
	FAKE_USE_RECORD,
	FAKE_USE_LAUNCH,
	FAKE_USE_COOPERATIVE,
	FAKE_USE_ALLOC,
};

struct CUstream_st {
	LIST_ENTRY(CUstream_st) link;
	bool open;
	unsigned int connection; /* to the device: streams of one wait for each other */
	unsigned int used;	 /* bits, by enum fake_use */
	bool ending;
	pthread_t thread;
	pthread_cond_t work;
	STAILQ_HEAD(, fake_op) ops; /* the first one is under way */
};

struct CUevent_st {
	LIST_ENTRY(CUevent_st) link;
	bool open;
	bool timed;

	uint64_t wanted, reached; /* numbers of records: called for, and passed by a stream */
	uint64_t at_ns;
};

struct fake_kernel;

struct CUfunc_st {
	LIST_ENTRY(CUfunc_st) link;
	const struct fake_kernel *kernel;
	struct CUmod_st *module;
	int dynamic_shared; /* what one block may have */
	bool resident;	    /* its loop is a ring's */
};

struct CUmod_st {
	LIST_ENTRY(CUmod_st) link;
	bool open;
	char *ptx; /* NULL: a fatbin or cubin */
	LIST_HEAD(, CUfunc_st) functions;
};

struct fake_dims {
	unsigned int grid[3], block[3], shared;
	bool cooperative;
};

enum fake_op_kind {
	FAKE_COPY,
	FAKE_SET,
	FAKE_RECORD,
	FAKE_KERNEL,
	FAKE_ALLOC,
	FAKE_FREE,
};

/* Something that a stream is to do. */
struct fake_op {
	STAILQ_ENTRY(fake_op) link;
	enum fake_op_kind kind;
	uint64_t number; /* in the order of submission, over all streams */
	void *to;
	const void *from;
	uint64_t bytes;
	unsigned char value;
	CUevent event;
	uint64_t record;
	CUfunction function;
	struct fake_dims dims;
	uint64_t args[RK_WIRE_ARGS_MAX];
	struct fake_block *block;
};

struct fake {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* an operation ended, or the device is spoiled */
	bool initialised;
	CUresult spoiled; /* sticky or lost: from then on the answer to everything */
	uint64_t numbers; /* of operations */
	struct CUctx_st contexts[FAKE_DEVICES];
	LIST_HEAD(, fake_block) blocks;
	LIST_HEAD(, CUstream_st) streams;
	unsigned int connections, next_connection;
	bool blocking; /* CUDA_LAUNCH_BLOCKING: a launch returns when the kernel has ended */
	LIST_HEAD(, CUevent_st) events;
	LIST_HEAD(, CUmod_st) modules;
	LIST_HEAD(, CUmemPoolHandle_st) pools;
	struct fake_counts counts;
};

extern struct fake fake;

/* What a call is like. */
enum {
	FAKE_EARLY = 1,	  /* works before cuInit() */
	FAKE_CONTEXT = 2, /* needs a current context, and fails on a spoiled one */
	FAKE_SYNCS = 4,	  /* waits for the whole context */
};

/*
 * Begin the call @name: CUDA_SUCCESS with the lock held, or what the call is to return at once,
 * without. Hangs where the trigger file or a resident kernel says so.
 */
CUresult fake_enter(const char *name, unsigned int flags);
CUresult fake_leave(CUresult result);

/* The calling thread's context; NULL = none. */
CUcontext fake_current(void);
void fake_set_current(CUcontext context);

/* The CUresult called @name; @otherwise where @name is "" or unknown. */
CUresult fake_result(const char *name, CUresult otherwise);

/* A caller did something that is an error on any device: count it, say it, return @result. */
CUresult fake_misuse_locked(CUresult result, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* From now on the device answers @result, and what runs on it is over. */
void fake_spoil_locked(CUresult result);

/* Wait until all that was submitted by now is done, or the device is spoiled. */
CUresult fake_wait_all_locked(void);

/* The same for the call @name, which does so by itself: counted, and a misuse beside a ring. */
CUresult fake_synchronise_locked(const char *name);

/* A line for the ledger, if there is one. */
void fake_ledger_locked(const char *why);

/* Whether this allocation is the one that is to fail. */
bool fake_oom_locked(const char *name);

int fake_multiprocessors(void);

uint64_t fake_now_ns(void);
void fake_nap(void); /* a moment, for those that poll */

/* memory.c: the block in which @bytes at @at lie, NULL where there is none */
struct fake_block *fake_block_at_locked(const void *at, uint64_t bytes);
/* Take the memory of one that is accounted for no more. */
void fake_block_end_locked(struct fake_block *block);
bool fake_is_device(const struct fake_block *block);
struct fake_block *fake_pool_block_locked(CUmemoryPool pool, uint64_t bytes);
/* The block at @at, from now on freed; NULL with a complaint. */
struct fake_block *fake_block_free_locked(const char *name, CUdeviceptr at);
/* What is left: freed, and counted. */
uint64_t fake_memory_drop_locked(void);

/* pool.c */
void fake_pools_trim_locked(void); /* as any synchronisation does */
void fake_pool_give_locked(CUmemoryPool pool, uint64_t bytes);
uint64_t fake_pools_drop_locked(void);

/* stream.c: submitting takes @op, which is of malloc, whatever it returns */
CUresult fake_submit_locked(CUstream stream, struct fake_op *op);
struct fake_op *fake_op_new(enum fake_op_kind kind);
bool fake_stream_open_locked(CUstream stream);
/*
 * Before something of that kind is submitted: the first time, @name waits for resident kernels, for
 * which the driver makes what it needs.
 */
CUresult fake_stream_use_locked(CUstream stream, enum fake_use use, const char *name);
uint64_t fake_streams_drop_locked(void);
uint64_t fake_events_drop_locked(void); /* event.c */

/* module.c */
bool fake_function_ok_locked(CUfunction function); /* complains where not */
uint64_t fake_modules_drop_locked(void);

/* kernels.c */
struct fake_kernel {
	const char *name;
	void (*fn)(void);
	unsigned int nparams;
	struct rk_wire_param params[RK_WIRE_ARGS_MAX];
	unsigned int scratch; /* pointers that the CUDA kernel has behind those of the C function */
	ffi_cif cif;
	ffi_type *types[RK_WIRE_ARGS_MAX];
};
/* The kernel of the entry @name, and whether it is a resident one; NULL where there is none. */
const struct fake_kernel *fake_kernel_find(const char *name, bool *resident);
void fake_kernel_call(const struct fake_kernel *kernel, const struct fake_dims *dims,
		      uint64_t *args);
/* Of the launch that the calling thread runs. */
const struct fake_dims *fake_kernel_dims(void);
/* Whether the pointers among @args lead to memory of the driver; complains where not. */
bool fake_kernel_args_ok_locked(const struct fake_kernel *kernel, const uint64_t *args);
bool fake_kernel_is_pointer(const struct rk_wire_param *param);
/* Of parameter @i of the CUDA kernel; 0 where it has no such. */
size_t fake_kernel_param_bytes(const struct fake_kernel *kernel, bool resident, size_t i);

/* Whether what runs on the device is over. Takes the lock. */
bool fake_spoiled(void);

#define FAKE_RING_PARAMS 3
/* ring.c: the loop of a resident kernel, until it leaves; without the lock meanwhile */
void fake_ring_run_locked(const struct fake_kernel *kernel, const struct fake_dims *dims,
			  const uint64_t *args);

#endif
