/* SPDX-License-Identifier: MIT */
/*
 * A process that does what may never return: it opens, reads or writes a file of the user's, whose
 * file system may be dead. A thread could do that too, but a thread that hangs beyond SIGKILL keeps
 * its whole process, and with it the mount, from ending. Whoever waits for a helper waits for a
 * socket and can give up at any time; the helper is then left behind.
 *
 * A helper is forked and executes nothing new, so a request is a function of this program. It runs
 * in the child of a program with threads: it may use malloc, but none of our locks and not rk_log.
 * The helper has no descriptor but those that it opens or is sent, blocks all signals, and ends
 * with the thread that has started it.
 */
#ifndef RK_RUNTIME_BASE_HELPER_H
#define RK_RUNTIME_BASE_HELPER_H

#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "runtime/base/error.h"

#define RK_HELPER_TEXT_MAX 8192 /* bytes that a request may carry */

/* Used by one thread at a time. RK_HELPER_NONE, all zero with sock -1, means no helper. */
struct rk_helper {
	pid_t pid;
	int sock;
	bool busy; /* a request has been sent and not been answered */
};

#define RK_HELPER_NONE                                                                             \
	(struct rk_helper)                                                                         \
	{                                                                                          \
		.sock = -1                                                                         \
	}

/* The result of a request. */
struct rk_helper_reply {
	int rc;		     /* 0 or a negative errno */
	struct rk_error err; /* the sentence if rc is not 0 */
	struct stat st;
	bool is_private; /* of a text: not everybody may read its file */
	int fd;		 /* owned by the receiver; -1 = none */
};

/*
 * A request, in the helper: @text of @len bytes with a NUL behind them; @fd was sent along (-1 =
 * none) and is closed afterwards. *@reply is zero, with fd -1; its descriptor is closed once sent.
 */
typedef void rk_helper_fn(const char *text, size_t len, int fd, struct rk_helper_reply *reply);

/* Start @h, which is RK_HELPER_NONE. 0, or the errno of socketpair or fork with a sentence. */
int rk_helper_start(struct rk_helper *h, struct rk_error *err);

/*
 * End @h, with SIGKILL if it is busy; it is reaped whenever it dies. Returns at once. @h may be
 * RK_HELPER_NONE, and is that afterwards.
 */
void rk_helper_end(struct rk_helper *h);

/* Send a request to @h, which is not busy; @fd may be -1. 0 or a negative errno; never waits. */
int rk_helper_send(struct rk_helper *h, rk_helper_fn *fn, const char *text, size_t len, int fd);

/*
 * Wait until an answer can be received. 0; -ECANCELED once @cancel_fd (-1 = none) is readable;
 * -ETIMEDOUT after @timeout_ms (-1 = never). The request goes on in all cases.
 */
int rk_helper_wait(const struct rk_helper *h, int cancel_fd, int timeout_ms);

/*
 * Take the answer without waiting. Returns 0 and fills *@reply, -EAGAIN if there is none yet, or
 * -EIO if the helper has died.
 */
int rk_helper_receive(struct rk_helper *h, struct rk_helper_reply *reply);

/* Send, wait and receive. Returns the result of the request, or what prevented it. */
int rk_helper_call(struct rk_helper *h, rk_helper_fn *fn, const char *text, size_t len, int fd,
		   int cancel_fd, struct rk_helper_reply *reply, struct rk_error *err);

#endif
