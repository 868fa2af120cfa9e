/* SPDX-License-Identifier: MIT */
/* Which libraries are trusted, and what is kept of them. */
#include <limits.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "runtime/base/files.h"
#include "runtime/base/module.h"
#include "tests/unit/message_fixture.h"

#define FOREIGN	  65534 /* a user who is neither root nor this one */
#define CONTENT	  "not really a library\n"
#define LONGEST	  255 /* bytes in a file's name */
#define ALL_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

/* DIR/sub/lib.so, for each test */
static char dir[64], sub[80], lib[96];

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/rkfs-module-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(sub, sizeof(sub), "%s/sub", dir);
	snprintf(lib, sizeof(lib), "%s/lib.so", sub);
	if (mkdir(sub, 0755))
		return -1;
	write_file(lib, CONTENT);
	return chmod(lib, 0644);
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command);
}

static void expect_trusted(const char *path)
{
	struct rk_module *module = NULL;
	struct rk_error err = {0};

	if (rk_module_open(path, &module, &err))
		fail_msg("%s", err.msg);
	assert_non_null(module);
	rk_module_unref(module);
}

/* Refused with @code, a sentence that has @part, nothing returned and nothing left open. */
static void expect_refused(const char *path, int code, const char *part)
{
	struct rk_module *const untouched = (struct rk_module *)(uintptr_t)dir;
	struct rk_module *module = untouched;
	unsigned int fds = open_fds();
	struct rk_error err = {0};

	assert_int_equal(rk_module_open(path, &module, &err), -code);
	assert_int_equal(err.code, code);
	if (!strstr(err.msg, part))
		fail_msg("%s", err.msg);
	assert_ptr_equal(module, untouched);
	assert_int_equal(open_fds(), fds);
}

/* A sentence names the part of the path and not what is below it. */
static void expect_blames(const char *path, const char *culprit, const char *why)
{
	char sentence[256];

	snprintf(sentence, sizeof(sentence), "%s %s", culprit, why);
	expect_refused(path, EACCES, sentence);
}

static void expect_holds(const struct rk_module *module, const char *text)
{
	char found[128] = {0};

	assert_int_equal(pread(rk_module_fd(module), found, sizeof(found) - 1, 0), strlen(text));
	assert_string_equal(found, text);
}

#define RIG_TEST(name) TEST_WITH(name, setup, teardown)

/* --- what is kept --- */

RIG_TEST(sealed_copy)
{
	struct rk_module *module;
	struct rk_error err = {0};
	char link[64], name[PATH_MAX] = {0};
	int fd;

	assert_int_equal(rk_module_open(lib, &module, &err), 0);
	fd = rk_module_fd(module);
	expect_holds(module, CONTENT);
	/* and since Linux 6.3 that it cannot be executed */
	assert_int_equal(fcntl(fd, F_GET_SEALS) & ALL_SEALS, ALL_SEALS);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(pwrite(fd, "x", 1, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, 1), -1);
	assert_int_equal(ftruncate(fd, 100000), -1);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	assert_true(readlink(link, name, sizeof(name) - 1) > 0);
	assert_non_null(strstr(name, "lib.so"));
	/* what becomes of the file is of no interest */
	write_file(lib, "something else, and longer than before\n");
	expect_holds(module, CONTENT);
	assert_int_equal(unlink(lib), 0);
	expect_holds(module, CONTENT);
	rk_module_unref(module);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

RIG_TEST(references)
{
	struct rk_module *module;
	struct rk_error err = {0};

	assert_null(rk_module_ref(NULL));
	rk_module_unref(NULL);
	assert_int_equal(rk_module_open(lib, &module, &err), 0);
	assert_ptr_equal(rk_module_ref(module), module);
	rk_module_unref(module);
	expect_holds(module, CONTENT);
	rk_module_unref(module);
}

/* More than one call of sendfile can copy, and nothing. */
RIG_TEST(sizes)
{
	static char big[5000001], found[sizeof(big)];
	struct rk_module *module;
	struct rk_error err = {0};
	struct stat st;

	for (size_t i = 0; i < sizeof(big) - 1; i++)
		big[i] = (char)('a' + i % 23);
	write_file(lib, big);
	assert_int_equal(rk_module_open(lib, &module, &err), 0);
	assert_int_equal(pread(rk_module_fd(module), found, sizeof(found), 0), sizeof(big) - 1);
	assert_memory_equal(found, big, sizeof(big) - 1);
	rk_module_unref(module);

	write_file(lib, "");
	assert_int_equal(rk_module_open(lib, &module, &err), 0);
	assert_int_equal(fstat(rk_module_fd(module), &st), 0);
	assert_int_equal(st.st_size, 0);
	rk_module_unref(module);

	assert_int_equal(truncate(lib, (1LL << 30) + 1), 0); /* a hole */
	expect_refused(lib, EFBIG, "is larger than 1 GiB");
}

RIG_TEST(longest_name)
{
	char name[LONGEST + 1], path[512];

	memset(name, 'x', LONGEST);
	name[LONGEST] = '\0';
	snprintf(path, sizeof(path), "%s/%s", sub, name);
	write_file(path, CONTENT);
	expect_trusted(path);
}

/* --- whether it is the same file still --- */

static void set_mtime(const char *path, time_t secs)
{
	const struct timespec times[2] = {{.tv_sec = secs}, {.tv_sec = secs}};

	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static struct rk_module *reopen(struct rk_module *old)
{
	struct rk_module *module;
	struct rk_error err = {0};

	rk_module_unref(old);
	if (rk_module_open(lib, &module, &err))
		fail_msg("%s", err.msg);
	assert_true(rk_files_current(NULL, lib, module));
	return module;
}

RIG_TEST(current)
{
	char other[128], link[128];
	struct rk_module *module;

	snprintf(other, sizeof(other), "%s/other.so", sub);
	snprintf(link, sizeof(link), "%s/link.so", sub);
	set_mtime(lib, 1000);
	module = reopen(NULL);
	set_mtime(lib, 1001); /* touched */
	assert_false(rk_files_current(NULL, lib, module));

	module = reopen(module);
	write_file(other, CONTENT);
	set_mtime(other, 1001);
	assert_int_equal(rename(other, lib), 0); /* another one of the same size and time */
	assert_false(rk_files_current(NULL, lib, module));

	module = reopen(module);
	write_file(lib, "longer than it was before\n");
	set_mtime(lib, 1001);
	assert_false(rk_files_current(NULL, lib, module));

	/* by another name, or through a link, it is the same file */
	module = reopen(module);
	assert_int_equal(symlink("lib.so", link), 0);
	assert_true(rk_files_current(NULL, link, module));
	write_file(other, CONTENT);
	assert_int_equal(unlink(link), 0);
	assert_int_equal(symlink("other.so", link), 0);
	assert_false(rk_files_current(NULL, link, module));

	assert_int_equal(unlink(lib), 0);
	assert_false(rk_files_current(NULL, lib, module));
	rk_module_unref(module);
}

/* --- trust --- */

RIG_TEST(trusted)
{
	static const mode_t modes[] = {0644, 0600, 0755, 0664, 0444};

	for (unsigned int i = 0; i < ARRAY_SIZE(modes); i++) {
		assert_int_equal(chmod(lib, modes[i]), 0);
		expect_trusted(lib);
	}
	assert_int_equal(chmod(sub, 0775), 0);
	expect_trusted(lib);
}

RIG_TEST(world_writable)
{
	static const mode_t modes[] = {0646, 0666, 0777, 0602, 01666};

	for (unsigned int i = 0; i < ARRAY_SIZE(modes); i++) {
		assert_int_equal(chmod(lib, modes[i]), 0);
		expect_blames(lib, lib, "is writable by everybody");
	}
	assert_int_equal(chmod(lib, 0644), 0);
	for (unsigned int i = 0; i < 2; i++) {
		const char *culprit = i ? sub : dir;

		assert_int_equal(chmod(culprit, 0777), 0);
		expect_blames(lib, culprit, "is writable by everybody");
		assert_int_equal(chmod(culprit, 0755), 0);
	}
	expect_trusted(lib);
}

/* Of a group other than root's; an access control list shows as one, whatever the group. */
RIG_TEST(group_writable)
{
	/* version 2: the owner, user 65534, the group, the mask, others; each rw- or r-- */
	static const uint32_t list[] = {
		2, 0x60001, ~0U, 0x60002, FOREIGN, 0x40004, ~0U, 0x60010, ~0U, 0x40020, ~0U,
	};

	if (geteuid() != 0)
		return; /* only root can give away */
	assert_int_equal(chown(lib, 0, FOREIGN), 0);
	assert_int_equal(chmod(lib, 0664), 0);
	expect_blames(lib, lib, "is writable by group 65534: chmod g-w");
	assert_int_equal(chmod(lib, 0644), 0);
	assert_int_equal(chown(sub, 0, FOREIGN), 0);
	assert_int_equal(chmod(sub, 0775), 0);
	expect_blames(lib, sub, "is writable by group 65534");
	assert_int_equal(chown(sub, 0, 0), 0);
	assert_int_equal(chown(lib, 0, 0), 0);
	expect_trusted(lib);
	if (setxattr(lib, "system.posix_acl_access", list, sizeof(list), 0)) {
		assert_int_equal(errno, EOPNOTSUPP); /* of this file system */
		return;
	}
	expect_blames(lib, lib, "has an access control list that lets others write");
	assert_int_equal(chmod(lib, 0644), 0); /* the mask */
	expect_trusted(lib);
}

/* Nobody can rename what is not his in a sticky directory; but its owner can. */
RIG_TEST(sticky)
{
	assert_int_equal(chmod(sub, 01777), 0);
	if (geteuid() == 0) {
		expect_trusted(lib);
		assert_int_equal(chown(sub, FOREIGN, FOREIGN), 0);
		expect_blames(lib, sub, "belongs to uid 65534");
	} else { /* sticky, but not root's */
		expect_blames(lib, sub, "is writable by everybody");
	}
}

RIG_TEST(foreign)
{
	if (geteuid() != 0)
		return; /* only root can give away */
	assert_int_equal(chown(lib, FOREIGN, FOREIGN), 0);
	expect_blames(lib, lib, "belongs to uid 65534: it must belong to root or uid 0");
	assert_int_equal(chown(lib, 0, FOREIGN), 0);
	expect_trusted(lib);
	for (unsigned int i = 0; i < 2; i++) {
		const char *culprit = i ? sub : dir;

		assert_int_equal(chown(culprit, FOREIGN, 0), 0);
		expect_blames(lib, culprit, "belongs to uid 65534");
		assert_int_equal(chown(culprit, 0, 0), 0);
	}
	expect_trusted(lib);
}

/* As a daemon of another user. */
static void expect_as_foreign(int code, const char *part)
{
	struct rk_module *module;
	struct rk_error err = {0};
	int rc;

	assert_int_equal(seteuid(FOREIGN), 0);
	rc = rk_module_open(lib, &module, &err);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(rc, -code);
	if (!rc)
		rk_module_unref(module);
	else if (!strstr(err.msg, part))
		fail_msg("%s", err.msg);
}

/* His own files are his, and root's everybody's; only a sticky directory has to be root's. */
RIG_TEST(other_user)
{
	if (geteuid() != 0)
		return; /* only root can be another */
	assert_int_equal(chmod(dir, 0755), 0);
	expect_as_foreign(0, "");
	assert_int_equal(chown(lib, FOREIGN, FOREIGN), 0);
	expect_as_foreign(0, "");
	assert_int_equal(chown(lib, FOREIGN - 1, FOREIGN), 0);
	expect_as_foreign(EACCES, "belongs to uid 65533: it must belong to root or uid 65534");
	assert_int_equal(chown(lib, 0, 0), 0);
	assert_int_equal(chmod(sub, 01777), 0);
	expect_as_foreign(0, "");
	assert_int_equal(chown(sub, FOREIGN, FOREIGN), 0);
	expect_as_foreign(EACCES, "is writable by everybody");
}

/* The root directory is one of its directories. */
RIG_TEST(root_directory)
{
	int status;
	pid_t pid;

	if (geteuid() != 0)
		return;
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(chmod(sub, i ? 0777 : 0755), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (!pid) {
			struct rk_module *module;
			struct rk_error err = {0};

			if (chroot(sub) || chdir("/"))
				_exit(2);
			_exit(rk_module_open("/lib.so", &module, &err) != (i ? -EACCES : 0) ||
			      (i && !strstr(err.msg, "/ is writable by everybody")));
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
}

/* A link leads to a file, which is looked at with its own directories. */
RIG_TEST(links)
{
	char link[128], open_dir[96], through[128];

	snprintf(open_dir, sizeof(open_dir), "%s/open", dir);
	assert_int_equal(mkdir(open_dir, 0755), 0);
	assert_int_equal(chmod(open_dir, 0777), 0);
	snprintf(link, sizeof(link), "%s/link.so", open_dir);
	assert_int_equal(symlink(lib, link), 0);
	/* whoever may write there could have it lead to something else that is trusted */
	expect_blames(link, open_dir, "is writable by everybody");
	assert_int_equal(chmod(open_dir, 0755), 0);
	expect_trusted(link);
	if (geteuid() == 0) {
		assert_int_equal(lchown(link, FOREIGN, FOREIGN), 0);
		expect_blames(link, link, "belongs to uid 65534");
	}
	assert_int_equal(chmod(open_dir, 0777), 0);

	snprintf(link, sizeof(link), "%s/down", sub);
	assert_int_equal(symlink(open_dir, link), 0);
	snprintf(through, sizeof(through), "%s/down/lib.so", sub);
	assert_int_equal(rename(lib, through), 0); /* into the open directory */
	expect_blames(through, open_dir, "is writable by everybody");

	snprintf(link, sizeof(link), "%s/loop", sub);
	assert_int_equal(symlink("loop", link), 0);
	expect_refused(link, ELOOP, link);
	snprintf(link, sizeof(link), "%s/dangling", sub);
	assert_int_equal(symlink("nothing", link), 0);
	expect_refused(link, ENOENT, link);
}

/* --- what is no library at all --- */

RIG_TEST(not_regular)
{
	char path[128];

	expect_refused("lib.so", EINVAL, "lib.so is no absolute path");
	expect_refused("", EINVAL, "is no absolute path");
	expect_refused("/nonexistent/lib.so", ENOENT, "/nonexistent/lib.so");
	expect_refused(sub, EACCES, "is no regular file");
	expect_refused("/dev/null", EACCES, "/dev/null");
	snprintf(path, sizeof(path), "%s/deeper", lib);
	expect_refused(path, ENOTDIR, path);
	/* opening one must not wait for a writer */
	snprintf(path, sizeof(path), "%s/fifo.so", sub);
	assert_int_equal(mkfifo(path, 0644), 0);
	expect_refused(path, EACCES, "fifo.so is no regular file");
}

int main(void)
{
	umask(022);
	return unit_run(NULL, NULL);
}
