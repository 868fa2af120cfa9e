/* SPDX-License-Identifier: MIT */
/* Packets over the worker's sockets. Thread-safe; both calls block, and go on after a signal. */
#ifndef RK_GPU_BASE_PACKET_H
#define RK_GPU_BASE_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define RK_WORKER_EXIT_FAILURE 1 /* the worker's exit status after a failure of its own */

/*
 * Send one packet. Returns 0; -EPIPE where the daemon is gone (without SIGPIPE); another negative
 * errno from send(2).
 */
int rk_packet_send(int fd, const void *packet, size_t len);

/*
 * Receive one packet into @buf. Returns the packet's own length, which is above @size where the
 * packet was cut; 0 where the daemon is gone; a negative errno from recv(2).
 */
ssize_t rk_packet_recv(int fd, void *buf, size_t size);

/* What came with a packet by SCM_RIGHTS. */
struct rk_packet_fd {
	int fd;	   /* close-on-exec, the caller's; -1: none came */
	bool lost; /* none came, because this process has no number left for it (RLIMIT_NOFILE) */
};

/*
 * The same for a packet that may carry one descriptor. Returns -EBADMSG, with the packet taken and
 * no descriptor left open, for a packet with more than one. *@with is written unless that fails.
 */
ssize_t rk_packet_recv_fd(int fd, void *buf, size_t size, struct rk_packet_fd *with);

/* Log the sentence and end the process at once with RK_WIRE_EXIT_PROTOCOL. */
_Noreturn void rk_packet_violation(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
