/* SPDX-License-Identifier: MIT */
/* Processes that touch files which may hang, in place of the daemon. */
#include "runtime/base/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/base/home.h"
#include "runtime/base/scm.h"
#include "runtime/base/thread.h"

#define HELPER_SOCK 3 /* the socket's number in the helper */

struct request {
	rk_helper_fn *fn;
	size_t len;
	char text[RK_HELPER_TEXT_MAX + 1];
};

/* --- in the helper --- */

/*
 * Above all the daemon's descriptors of its own mount, because the mount lives as long as one is
 * open; and its stdio, which may be a pipe that somebody reads until its end.
 */
static bool keep_only(int sock)
{
	if (sock != HELPER_SOCK && dup2(sock, HELPER_SOCK) < 0)
		return false;
	if (fcntl(HELPER_SOCK, F_SETFD, FD_CLOEXEC) || close_range(HELPER_SOCK + 1, ~0U, 0))
		return false;
	for (int fd = 0; fd < HELPER_SOCK; fd++) {
		(void)close(fd); /* it may be closed already */
		if (open("/dev/null", O_RDWR) != fd)
			return false;
	}
	return true;
}

static void __attribute__((noreturn)) serve(int sock, pid_t daemon)
{
	static struct request request;
	sigset_t all;
	ssize_t n;
	int fd, flags = 0;

	sigfillset(&all); /* signals to the terminal's process group are for the daemon */
	if (sigprocmask(SIG_SETMASK, &all, NULL) || prctl(PR_SET_PDEATHSIG, SIGKILL) ||
	    getppid() != daemon || prctl(PR_SET_NAME, "rk-helper") || !rk_home_enter() ||
	    !keep_only(sock))
		_exit(1);
	while ((n = rk_scm_receive(HELPER_SOCK, &request, sizeof(request), &fd, &flags)) > 0) {
		struct rk_helper_reply reply = {.fd = -1};

		request.text[request.len] = '\0';
		request.fn(request.text, request.len, fd, &reply);
		if (fd >= 0)
			close(fd);
		if (rk_scm_send(HELPER_SOCK, &reply, sizeof(reply), reply.fd, 0) < 0)
			break;
		if (reply.fd >= 0)
			close(reply.fd);
		flags = 0;
	}
	_exit(n < 0);
}

/* --- helpers that were given up --- */

struct lost {
	SLIST_ENTRY(lost) link;
	pid_t pid;
};

static pthread_mutex_t lost_lock = PTHREAD_MUTEX_INITIALIZER;
static SLIST_HEAD(, lost) lost_helpers = SLIST_HEAD_INITIALIZER(lost_helpers);

static void collect_lost(void)
{
	struct lost *at, *next;

	RK_GUARD(&lost_lock);
	for (at = SLIST_FIRST(&lost_helpers); at; at = next) {
		next = SLIST_NEXT(at, link);
		if (!waitpid(at->pid, NULL, WNOHANG))
			continue;
		SLIST_REMOVE(&lost_helpers, at, lost, link);
		free(at);
	}
}

static void lose(pid_t pid)
{
	struct lost *lost = malloc(sizeof(*lost));

	if (!lost)
		return; /* a zombie stays until this process ends */
	lost->pid = pid;
	pthread_mutex_lock(&lost_lock);
	SLIST_INSERT_HEAD(&lost_helpers, lost, link);
	pthread_mutex_unlock(&lost_lock);
	collect_lost();
}

/* --- for the daemon --- */

int rk_helper_start(struct rk_helper *h, struct rk_error *err)
{
	pid_t daemon = getpid(), pid;
	int socks[2];

	collect_lost();
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socks))
		return rk_error_set(err, errno, "cannot create a socket pair: %m");
	pid = fork();
	if (pid == 0)
		serve(socks[1], daemon);
	if (pid < 0) {
		int rc = rk_error_set(err, errno, "cannot fork a process that reads files: %m");

		close(socks[0]);
		close(socks[1]);
		return rc;
	}
	close(socks[1]);
	*h = (struct rk_helper){.pid = pid, .sock = socks[0]};
	return 0;
}

void rk_helper_end(struct rk_helper *h)
{
	if (h->sock < 0)
		return;
	close(h->sock);
	(void)kill(h->pid, SIGKILL); /* not reaped yet, so no other process has the number */
	if (h->busy || waitpid(h->pid, NULL, 0) < 0)
		lose(h->pid);
	*h = RK_HELPER_NONE;
}

int rk_helper_send(struct rk_helper *h, rk_helper_fn *fn, const char *text, size_t len, int fd)
{
	struct request request = {.fn = fn, .len = len};
	ssize_t n;

	if (len > RK_HELPER_TEXT_MAX)
		return -EMSGSIZE;
	memcpy(request.text, text, len);
	n = rk_scm_send(h->sock, &request, offsetof(struct request, text) + len, fd, 0);
	if (n < 0)
		return n == -EPIPE ? -EIO : (int)n;
	h->busy = true;
	return 0;
}

int rk_helper_wait(const struct rk_helper *h, int cancel_fd, int timeout_ms)
{
	struct pollfd fds[] = {{.fd = h->sock, .events = POLLIN},
			       {.fd = cancel_fd, .events = POLLIN}};
	int n;

	do
		n = poll(fds, 2, timeout_ms);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (fds[0].revents)
		return 0;
	return n ? -ECANCELED : -ETIMEDOUT;
}

int rk_helper_receive(struct rk_helper *h, struct rk_helper_reply *reply)
{
	struct rk_helper_reply got;
	int fd, flags = MSG_DONTWAIT;
	ssize_t n = rk_scm_receive(h->sock, &got, sizeof(got), &fd, &flags);

	if (n == -EAGAIN)
		return -EAGAIN;
	if (n != sizeof(got)) {
		if (fd >= 0)
			close(fd);
		return -EIO;
	}
	h->busy = false;
	*reply = got;
	reply->fd = fd;
	return 0;
}

int rk_helper_call(struct rk_helper *h, rk_helper_fn *fn, const char *text, size_t len, int fd,
		   int cancel_fd, struct rk_helper_reply *reply, struct rk_error *err)
{
	int rc = rk_helper_send(h, fn, text, len, fd);

	if (!rc)
		rc = rk_helper_wait(h, cancel_fd, -1);
	if (!rc)
		rc = rk_helper_receive(h, reply);
	if (rc == -ECANCELED)
		return rk_error_set(err, ECANCELED, "given up");
	if (rc)
		return rk_error_set(err, -rc, "the process that reads files has died: try again");
	return reply->rc ? rk_error_set(err, -reply->rc, "%s", reply->err.msg) : 0;
}
