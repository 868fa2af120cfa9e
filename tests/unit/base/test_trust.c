/* SPDX-License-Identifier: MIT */
/* Which file is appended to, whoever else may write its directory. */
#include <sys/stat.h>

#include "runtime/base/trust.h"
#include "tests/unit/message_fixture.h"

#define FOREIGN 65534 /* a user who is neither root nor this one */

/* DIR, which everybody may write, DIR/log and DIR/link */
static char dir[64], file[80], link_path[80];

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/rkfs-trust-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(file, sizeof(file), "%s/log", dir);
	snprintf(link_path, sizeof(link_path), "%s/link", dir);
	return chmod(dir, 0777);
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

#define DIR_TEST(name) TEST_WITH(name, setup, teardown)

static void expect_appends(const char *path)
{
	struct rk_error err = {0};
	int fd = rk_trust_append(path, &err);

	if (fd < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(write(fd, "line\n", 5), 5);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(close(fd), 0);
}

static void expect_refused(const char *path, int code, const char *part)
{
	unsigned int fds = open_fds();
	struct rk_error err = {0};

	assert_int_equal(rk_trust_append(path, &err), -code);
	assert_int_equal(err.code, code);
	if (!strstr(err.msg, part))
		fail_msg("%s", err.msg);
	assert_int_equal(open_fds(), fds);
}

static off_t size_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

DIR_TEST(creates_and_appends)
{
	struct stat st;

	expect_appends(file);
	expect_appends(file);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_size, 10);
	assert_int_equal(st.st_mode & 07777, 0640);
	expect_refused("log", EINVAL, "is no absolute path");
	expect_refused(dir, EISDIR, dir);
	expect_refused("/nonexistent/log", ENOENT, "/nonexistent");
}

DIR_TEST(own_links_are_followed)
{
	char through[128];

	assert_int_equal(symlink("log", link_path), 0);
	expect_appends(link_path); /* it leads to what is not there yet */
	assert_int_equal(size_of(file), 5);
	assert_int_equal(unlink(link_path), 0);
	assert_int_equal(symlink(dir, link_path), 0);
	snprintf(through, sizeof(through), "%s//./log", link_path);
	expect_appends(through);
	assert_int_equal(size_of(file), 10);
	assert_int_equal(unlink(link_path), 0);
	assert_int_equal(symlink("link", link_path), 0);
	expect_refused(link_path, ELOOP, "too many symbolic links");
}

DIR_TEST(links_of_others_are_not)
{
	char through[128];

	if (geteuid() != 0)
		return; /* only root can give away */
	assert_int_equal(symlink(file, link_path), 0);
	assert_int_equal(lchown(link_path, FOREIGN, FOREIGN), 0);
	expect_refused(link_path, EACCES, "link belongs to uid 65534");
	assert_int_equal(access(file, F_OK), -1);
	assert_int_equal(unlink(link_path), 0);
	assert_int_equal(symlink(dir, link_path), 0);
	assert_int_equal(lchown(link_path, FOREIGN, FOREIGN), 0);
	snprintf(through, sizeof(through), "%s/log", link_path);
	expect_refused(through, EACCES, "link belongs to uid 65534");
	assert_int_equal(access(file, F_OK), -1);
}

DIR_TEST(what_is_another_s)
{
	expect_appends(file);
	assert_int_equal(link(file, link_path), 0);
	expect_refused(file, EACCES, "has another name");
	assert_int_equal(unlink(link_path), 0);
	expect_appends(file);
	if (geteuid() != 0)
		return;
	assert_int_equal(chown(file, FOREIGN, FOREIGN), 0);
	expect_refused(file, EACCES, "log belongs to uid 65534");
	assert_int_equal(size_of(file), 10);
}

int main(void)
{
	umask(022);
	return unit_run(NULL, NULL);
}
