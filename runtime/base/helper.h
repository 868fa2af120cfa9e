/* SPDX-License-Identifier: MIT */
/*
 * A process that does for us what may never return: to open, read or write a file of the user's,
 * whose file system may be dead. A thread could do it too, but one that hangs beyond SIGKILL keeps
 * its whole process from ending, and with it the mount. Whoever waits for a helper waits for a
 * socket, and can give up at any time; the helper is then left to its fate.
 *
 * A helper is forked and executes nothing new, so a request is a function of this program. It runs
 * in the child of a program with threads: it may use malloc, but no lock of ours, and no rk_log.
 * The helper has no descriptor but those that it opens or is sent, blocks all signals, and ends
 * with the thread that has started it.
 */
#ifndef RK_RUNTIME_BASE_HELPER_H
#define RK_RUNTIME_BASE_HELPER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "runtime/base/error.h"

#define RK_HELPER_TEXT_MAX 8192 /* bytes that a request may carry */

/* Used by one thread at a time. All zero with sock -1 (RK_HELPER_NONE) is one that is not there. */
struct rk_helper {
	pid_t pid;
	int sock;
	bool busy; /* a request was sent and not answered */
};

#define RK_HELPER_NONE                                                                             \
	(struct rk_helper)                                                                         \
	{                                                                                          \
		.sock = -1                                                                         \
	}

/* What a request came to. */
struct rk_helper_reply {
	int rc;		     /* 0 or a negative errno */
	struct rk_error err; /* the sentence, where rc is not 0 */
	struct stat st;
	int fd; /* -1 = none; the receiver's */
};

/*
 * A request, in the helper: @text of @len bytes with a NUL behind them; @fd was sent along (-1 =
 * none) and is closed afterwards. *@reply is zero, with fd -1; its descriptor is closed once sent.
 */
typedef void rk_helper_fn(const char *text, size_t len, int fd, struct rk_helper_reply *reply);

/* Start @h, which is RK_HELPER_NONE. 0, or the errno of socketpair or fork with a sentence. */
int rk_helper_start(struct rk_helper *h, struct rk_error *err);

/*
 * End it. One that is busy gets SIGKILL, and what is left of it is collected whenever it dies.
 * Returns at once. RK_HELPER_NONE is fine, and what @h is afterwards.
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
 * Take the answer without waiting. 0, with *@reply filled; -EAGAIN where there is none yet; -EIO
 * where the helper has died.
 */
int rk_helper_receive(struct rk_helper *h, struct rk_helper_reply *reply);

/* All three. The request's own outcome, with its sentence, or what prevented it. */
int rk_helper_call(struct rk_helper *h, rk_helper_fn *fn, const char *text, size_t len, int fd,
		   int cancel_fd, struct rk_helper_reply *reply, struct rk_error *err);

#endif
