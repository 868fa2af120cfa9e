/* SPDX-License-Identifier: MIT */
/* One worker process: its birth, its descriptors, its death. Used by the supervisor thread only. */
#ifndef RK_RUNTIME_SUPERVISOR_PROCESS_H
#define RK_RUNTIME_SUPERVISOR_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "runtime/base/wire.h"
#include "runtime/base/error.h"
#include "runtime/request/payload.h"

struct rk_process {
	pid_t pid;
	int pidfd;
	int control; /* our ends, non-blocking */
	int messages;
	struct rk_wire_shared *shared; /* mapped page */
	struct rk_payload *payload;    /* a reference: it may be writing there */
};

/*
 * Fork and execute @worker_fd with fresh sockets, a fresh shared page and @payload. It dies with
 * the calling thread, which must live as long as the worker shall. Returns 0 or a negative errno;
 * that the executable cannot be run shows as an exit status of 127. Blocks for the fork only.
 */
int rk_process_spawn(struct rk_process *p, int worker_fd, struct rk_payload *payload,
		     struct rk_error *err);

/* Send one control packet, with descriptor @fd (-1 = none), without waiting. 0, -EAGAIN, or -EPIPE
 * and the like where it is dead. */
int rk_process_send(const struct rk_process *p, const struct rk_wire_control *packet, int fd);

/* SIGKILL; a dead process is fine. */
void rk_process_kill(const struct rk_process *p);

#define RK_PROCESS_SIGKILL "was killed by SIGKILL"

/*
 * Reap without waiting. True where it is dead: @how says it in words ("was killed by SIGSEGV",
 * "exited with status 3"), and *@clean whether it exited with 0.
 */
bool rk_process_reap(const struct rk_process *p, char *how, size_t size, bool *clean);

/*
 * Why it ended itself, where it left word of that in the shared page: "ended itself after a CUDA
 * error: ..." or "lost its device: ..." into @how, and true. Else false, and @how is left alone.
 */
bool rk_process_fault(const struct rk_process *p, char *how, size_t size);

/* Close and unmap everything; the process is dead or abandoned. */
void rk_process_release(struct rk_process *p);

#endif
