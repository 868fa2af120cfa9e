/* SPDX-License-Identifier: MIT */
/* A worker as others see it. */
#ifndef RK_RUNTIME_SUPERVISOR_WORKER_H
#define RK_RUNTIME_SUPERVISOR_WORKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "runtime/base/error.h"
#include "runtime/base/wire.h"

/* Where a worker is in its life. */
enum rk_worker_state {
	RK_WORKER_STOPPED,  /* there is no process */
	RK_WORKER_STARTING, /* one comes, or follows one that died */
	RK_WORKER_RUNNING,
	RK_WORKER_DRAINING, /* it ends, and takes nothing more */
	RK_WORKER_OUT,	    /* it was given up */
};

/* "stopped", "starting", "running", "draining", "out". Static storage. */
const char *rk_worker_state_name(enum rk_worker_state state);

/* A worker as it is now. */
struct rk_worker_info {
	enum rk_worker_state state;
	bool enabled;
	pid_t pid;			/* 0 = there is none */
	char backend[RK_WIRE_NAME_MAX]; /* "none" where it is not known yet */
	char device[RK_WIRE_NAME_MAX];	/* its UUID, "" = it has none, or it is not known yet */
	uint32_t index;			/* of that device, as cuda_device counts them */
	uint64_t restarts;		/* since the start */
	uint64_t gpu_memory_bytes;
	char why[RK_ERROR_MAX]; /* it is out; else "" */
};

#endif
