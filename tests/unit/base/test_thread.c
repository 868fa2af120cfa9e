/* SPDX-License-Identifier: MIT */
/* How threads are started and woken, and that conditions wait by the monotonic clock. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/base/thread.h"
#include "tests/unit/unit.h"

static void *read_mask(void *arg)
{
	pthread_sigmask(SIG_SETMASK, NULL, arg);
	return arg;
}

TEST(signals_are_blocked)
{
	sigset_t mine, before, after, its;
	pthread_t thread;
	void *result;

	sigemptyset(&its);
	sigemptyset(&mine);
	sigaddset(&mine, SIGUSR2);
	assert_int_equal(pthread_sigmask(SIG_BLOCK, &mine, NULL), 0);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &before), 0);
	assert_int_equal(rk_thread_start(&thread, read_mask, &its), 0);
	assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &after), 0);
	assert_int_equal(pthread_join(thread, &result), 0);
	assert_ptr_equal(result, &its);
	for (int sig = 1; sig < NSIG; sig++)
		assert_int_equal(sigismember(&after, sig), sigismember(&before, sig));
	assert_int_equal(sigismember(&its, SIGTERM), 1);
	assert_int_equal(sigismember(&its, SIGCHLD), 1);
	assert_int_equal(sigismember(&its, SIGUSR1), 1);
}

/* By the time of day its deadline, which counts from the machine's start, would have passed. */
TEST(condition_is_monotonic)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	const uint64_t end = rk_now_ns() + 20 * RK_NS_PER_MS;
	const struct timespec until = rk_timespec(end);
	pthread_cond_t cond;
	int rc = 0;

	assert_int_equal(rk_cond_init(&cond), 0);
	pthread_mutex_lock(&lock);
	while (!rc) /* nobody signals; a wake-up may be spurious */
		rc = pthread_cond_timedwait(&cond, &lock, &until);
	pthread_mutex_unlock(&lock);
	assert_int_equal(rc, ETIMEDOUT);
	assert_true(rk_now_ns() >= end);
	pthread_cond_destroy(&cond);
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* However often it is woken, whoever waits clears it once. */
TEST(wake)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	assert_false(readable(fd));
	rk_wake(fd);
	rk_wake(fd);
	assert_true(readable(fd));
	rk_wake_clear(fd);
	assert_false(readable(fd));
	rk_wake_clear(fd); /* nothing there: it does not wait */
	close(fd);
}
