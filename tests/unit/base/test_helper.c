/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/base/helper.h"
#include "tests/unit/unit.h"

/* What helpers are asked to do. */

static void count(const char *text, size_t len, int fd, struct rk_helper_reply *reply)
{
	(void)text, (void)fd;
	reply->st.st_size = (off_t)len;
}

static void refuse(const char *text, size_t len, int fd, struct rk_helper_reply *reply)
{
	(void)len, (void)fd;
	reply->rc = rk_error_set(&reply->err, ENOENT, "%s is not there", text);
}

/* The descriptor back that was sent. */
static void give_back(const char *text, size_t len, int fd, struct rk_helper_reply *reply)
{
	(void)text, (void)len;
	reply->fd = dup(fd);
}

static void hang(const char *text, size_t len, int fd, struct rk_helper_reply *reply)
{
	(void)text, (void)len, (void)fd, (void)reply;
	for (;;)
		poll(NULL, 0, -1);
}

static void die(const char *text, size_t len, int fd, struct rk_helper_reply *reply)
{
	(void)text, (void)len, (void)fd, (void)reply;
	_exit(3);
}

static int ask(struct rk_helper *h, rk_helper_fn *fn, int cancel, struct rk_helper_reply *reply,
	       struct rk_error *err)
{
	return rk_helper_call(h, fn, "it", 2, -1, cancel, reply, err);
}

TEST(answers)
{
	struct rk_helper h = RK_HELPER_NONE;
	struct rk_helper_reply reply;
	struct rk_error err = {0};
	int pipes[2];
	char c = 0;

	assert_int_equal(rk_helper_start(&h, &err), 0);
	assert_int_equal(ask(&h, count, -1, &reply, &err), 0);
	assert_int_equal(reply.st.st_size, 2);
	assert_int_equal(reply.fd, -1);
	assert_int_equal(ask(&h, refuse, -1, &reply, &err), -ENOENT);
	assert_string_equal(err.msg, "it is not there");
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(rk_helper_call(&h, give_back, "", 0, pipes[1], -1, &reply, &err), 0);
	assert_int_equal(write(reply.fd, "x", 1), 1);
	assert_int_equal(read(pipes[0], &c, 1), 1);
	assert_int_equal(c, 'x');
	close(reply.fd);
	close(pipes[0]);
	close(pipes[1]);
	assert_int_equal(rk_helper_send(&h, count, "", RK_HELPER_TEXT_MAX + 1, -1), -EMSGSIZE);
	rk_helper_end(&h);
	assert_int_equal(h.sock, -1);
	rk_helper_end(&h); /* nothing is fine */
}

TEST(is_given_up)
{
	struct rk_helper h = RK_HELPER_NONE;
	struct rk_helper_reply reply;
	struct rk_error err = {0};
	int cancel = eventfd(1, 0);
	pid_t pid;

	assert_int_equal(rk_helper_start(&h, &err), 0);
	assert_int_equal(ask(&h, hang, cancel, &reply, &err), -ECANCELED);
	assert_true(h.busy);
	assert_int_equal(rk_helper_wait(&h, -1, 0), -ETIMEDOUT);
	assert_int_equal(rk_helper_receive(&h, &reply), -EAGAIN);
	pid = h.pid;
	rk_helper_end(&h);
	/* the next one collects what is left of it, once it is dead */
	while (!kill(pid, 0)) {
		assert_int_equal(rk_helper_start(&h, &err), 0);
		assert_int_equal(ask(&h, count, -1, &reply, &err), 0);
		rk_helper_end(&h);
	}
	close(cancel);
}

TEST(dies)
{
	struct rk_helper h = RK_HELPER_NONE;
	struct rk_helper_reply reply;
	struct rk_error err = {0};

	assert_int_equal(rk_helper_start(&h, &err), 0);
	assert_int_equal(ask(&h, die, -1, &reply, &err), -EIO);
	assert_int_equal(ask(&h, count, -1, &reply, &err), -EIO);
	rk_helper_end(&h);
}
