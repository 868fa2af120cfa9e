/* SPDX-License-Identifier: MIT */
/* Messages over a Unix socket that may carry one descriptor (SCM_RIGHTS, unix(7)). */
#ifndef RK_RUNTIME_BASE_SCM_H
#define RK_RUNTIME_BASE_SCM_H

#include <sys/types.h>

/*
 * Send @len bytes, with descriptor @fd (-1 = none), which stays the caller's. @flags are sendmsg's;
 * SIGPIPE is never raised. Goes on after a signal. Returns the bytes sent or a negative errno.
 */
ssize_t rk_scm_send(int sock, const void *data, size_t len, int fd, int flags);

/*
 * Receive at most @size bytes; *@fd is the descriptor that came with them, close-on-exec and the
 * caller's, or -1. *@flags are recvmsg's, and then what it says of the message: MSG_CTRUNC where
 * more than one descriptor was sent, or there was no number left for it. Goes on after a signal.
 * Returns as recvmsg does (with MSG_TRUNC the message's own length), 0 at the end, or a negative
 * errno with *@fd -1.
 */
ssize_t rk_scm_receive(int sock, void *data, size_t size, int *fd, int *flags);

#endif
