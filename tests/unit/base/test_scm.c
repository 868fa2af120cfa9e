/* SPDX-License-Identifier: MIT */
/* Messages that carry a descriptor, or none, or one too many. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/base/scm.h"
#include "tests/unit/unit.h"

static void make_pair(int pair[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

TEST(with_and_without)
{
	int pair[2], pipes[2], fd, flags = 0;
	char text[8] = "";

	make_pair(pair);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(rk_scm_send(pair[0], "with", 4, pipes[1], 0), 4);
	assert_int_equal(rk_scm_send(pair[0], "not", 3, -1, 0), 3);
	assert_int_equal(rk_scm_receive(pair[1], text, sizeof(text), &fd, &flags), 4);
	assert_memory_equal(text, "with", 4);
	assert_true(fd >= 0 && fd != pipes[1]);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(write(fd, "x", 1), 1); /* it is the same pipe */
	assert_int_equal(read(pipes[0], text, sizeof(text)), 1);
	close(fd);
	flags = 0;
	assert_int_equal(rk_scm_receive(pair[1], text, sizeof(text), &fd, &flags), 3);
	assert_int_equal(fd, -1);
	assert_false(flags & MSG_CTRUNC);
	flags = MSG_DONTWAIT;
	assert_int_equal(rk_scm_receive(pair[1], text, sizeof(text), &fd, &flags), -EAGAIN);
	assert_int_equal(fd, -1);
	close(pair[0]);
	flags = 0;
	assert_int_equal(rk_scm_receive(pair[1], text, sizeof(text), &fd, &flags), 0);
	close(pair[1]);
	close(pipes[0]);
	close(pipes[1]);
}

/* The sender is gone: an error, and no SIGPIPE. */
TEST(no_peer)
{
	int pair[2];

	signal(SIGPIPE, SIG_DFL);
	make_pair(pair);
	close(pair[1]);
	assert_int_equal(rk_scm_send(pair[0], "x", 1, -1, 0), -EPIPE);
	close(pair[0]);
}

/* Of two descriptors one comes, and the flags say that another was lost; the length is told too. */
TEST(two_descriptors)
{
	union {
		char room[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {.iov_base = "long", .iov_len = 4};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.room,
			     .msg_controllen = sizeof(control.room)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int pair[2], fd, flags = MSG_TRUNC;
	char byte;

	make_pair(pair);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(2 * sizeof(int));
	memcpy(CMSG_DATA(cmsg), pair, 2 * sizeof(int));
	assert_int_equal(sendmsg(pair[0], &msg, 0), 4);
	assert_int_equal(rk_scm_receive(pair[1], &byte, 1, &fd, &flags), 4);
	assert_true(flags & MSG_CTRUNC);
	assert_true(flags & MSG_TRUNC);
	if (fd >= 0)
		close(fd);
	close(pair[0]);
	close(pair[1]);
}
