/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "fs/mount/internal.h"
#include "tests/unit/unit.h"

/* A directory of its own for each test, with a table of mounts that the test writes. */
struct place {
	char dir[PATH_MAX];
	char table[PATH_MAX];
};

static void at(char path[PATH_MAX], const struct place *p, const char *name)
{
	assert_true(snprintf(path, PATH_MAX, "%s/%s", p->dir, name) < PATH_MAX);
}

static void make_dir(const struct place *p, const char *name)
{
	char path[PATH_MAX];

	at(path, p, name);
	assert_int_equal(mkdir(path, 0755), 0);
}

/* The table is the root mount and @lines, where each '@' stands for the place's directory. */
static void write_table(const struct place *p, const char *lines)
{
	FILE *f = fopen(p->table, "w");

	assert_non_null(f);
	fputs("20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n", f);
	for (; *lines; lines++) {
		if (*lines == '@')
			fputs(p->dir, f);
		else
			fputc(*lines, f);
	}
	assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
	struct place *p = calloc(1, sizeof(*p));
	char template[] = "/tmp/rkfs-mountpoint-XXXXXX";

	assert_non_null(p);
	assert_non_null(mkdtemp(template));
	/* /tmp itself may be a link */
	assert_non_null(realpath(template, p->dir));
	at(p->table, p, "mountinfo");
	write_table(p, "");
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	struct place *p = *state;
	char command[PATH_MAX + 16];

	assert_true(snprintf(command, sizeof(command), "rm -rf '%s'", p->dir) <
		    (int)sizeof(command));
	assert_int_equal(system(command), 0);
	free(p);
	return 0;
}

/* @name (relative to the place unless it is absolute) resolves to @want in the place. */
static void resolves(const struct place *p, const char *name, const char *want)
{
	char given[PATH_MAX], expected[PATH_MAX];
	struct rk_error err = {0};
	char *path = NULL;

	at(given, p, name);
	at(expected, p, want);
	if (rkfs_resolve(given, p->table, &path, &err) != 0)
		fail_msg("%s: %s", name, err.msg);
	assert_string_equal(path, expected);
	free(path);
}

/* Preparing @name fails with @code and a sentence that has @words. */
static void refused(const struct place *p, const char *name, int code, const char *words)
{
	char given[PATH_MAX];
	struct rkfs_mountpoint point = {0};
	struct rk_error err = {0};
	int rc;

	at(given, p, name);
	rc = rkfs_mountpoint_prepare(given, p->table, false, &point, &err);
	if (rc != -code || err.code != code || !strstr(err.msg, words))
		fail_msg("%s gave %d '%s' instead of %d '...%s...'", name, rc, err.msg, -code,
			 words);
	assert_null(point.path);
}

#define RIG_TEST(name) TEST_WITH(name, set_up, tear_down)

RIG_TEST(path_is_canonical)
{
	struct place *p = *state;

	make_dir(p, "a");
	make_dir(p, "a/b");
	resolves(p, "a/b", "a/b");
	resolves(p, "a/b/", "a/b");
	resolves(p, "a//b///.", "a/b");
	resolves(p, "./a/../a/./b/./", "a/b");
}

RIG_TEST(root_and_above)
{
	struct place *p = *state;
	char *path = NULL;

	assert_int_equal(rkfs_resolve("/../..//.", p->table, &path, NULL), 0);
	assert_string_equal(path, "/");
	free(path);
}

RIG_TEST(links_are_followed)
{
	struct place *p = *state;
	char link[PATH_MAX], target[PATH_MAX];

	make_dir(p, "a");
	make_dir(p, "a/b");
	at(link, p, "relative");
	assert_int_equal(symlink("a/./b/", link), 0);
	at(link, p, "a/up");
	assert_int_equal(symlink("../relative", link), 0);
	at(link, p, "absolute");
	at(target, p, "a");
	assert_int_equal(symlink(target, link), 0);
	resolves(p, "relative", "a/b");
	resolves(p, "relative/..", "a");
	resolves(p, "a/up/", "a/b");
	resolves(p, "absolute/b", "a/b");
	resolves(p, "absolute/up", "a/b");

	/* a target that fits, and does not with what follows it */
	memset(target, '/', 4000);
	memcpy(target, "a", 1);
	target[4000] = '\0';
	at(link, p, "long");
	assert_int_equal(symlink(target, link), 0);
	resolves(p, "long/b", "a/b");
	memset(target, '/', 200);
	memcpy(target, "long", 4);
	target[200] = '\0';
	refused(p, target, ENAMETOOLONG, "longer than a path may be");

	at(link, p, "loop");
	assert_int_equal(symlink("loop", link), 0);
	refused(p, "loop", ELOOP, "too many symbolic links");
	at(link, p, "dangling");
	assert_int_equal(symlink("nowhere", link), 0);
	refused(p, "dangling", ENOENT, "nowhere does not exist");
}

RIG_TEST(relative_paths_begin_at_the_working_directory)
{
	struct place *p = *state;
	char *path = NULL;
	int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char want[PATH_MAX];

	assert_true(here >= 0);
	make_dir(p, "a");
	assert_int_equal(chdir(p->dir), 0);
	assert_int_equal(rkfs_resolve("a", p->table, &path, NULL), 0);
	at(want, p, "a");
	assert_string_equal(path, want);
	free(path);
	assert_int_equal(rkfs_resolve(".", p->table, &path, NULL), 0);
	assert_string_equal(path, p->dir);
	free(path);
	assert_int_equal(fchdir(here), 0);
	close(here);
}

/* What is mounted is not looked at: here it is a link and missing, and neither is noticed. */
RIG_TEST(mount_points_are_not_touched)
{
	struct place *p = *state;
	char link[PATH_MAX];

	write_table(p, "21 20 0:40 / @/dead rw - fuse.rkfs rkfs rw\n"
		       "22 20 0:41 / @/link\\040x rw shared:7 master:1 - fuse.rkfs rkfs rw\n");
	at(link, p, "link x");
	assert_int_equal(symlink("nowhere", link), 0);
	resolves(p, "dead", "dead");
	resolves(p, "dead/", "dead");
	resolves(p, "dead/.", "dead");
	resolves(p, "dead/../dead", "dead");
	resolves(p, "link x", "link x");
	refused(p, "dead/stats", EBUSY, "lies inside the rkfs that is mounted at");
	refused(p, "dead/../dead/stats", EBUSY, "lies inside the rkfs");
}

RIG_TEST(unusable_directories_are_refused)
{
	struct place *p = *state;
	char long_name[300], path[PATH_MAX];
	struct rk_error err = {0};
	struct rkfs_mountpoint point = {0};
	char *huge;

	make_dir(p, "full");
	make_dir(p, "full/sub");
	refused(p, "missing", ENOENT, "missing does not exist; make it with mkdir -p");
	refused(p, "missing/sub", ENOENT, "missing does not exist");
	refused(p, "mountinfo", ENOTDIR, "is not a directory");
	refused(p, "mountinfo/sub", ENOTDIR, "Not a directory");
	refused(p, "full", ENOTEMPTY, "would hide sub; empty it");
	make_dir(p, "stray");
	make_dir(p, "stray/control");
	refused(p, "stray", ENOTEMPTY, "would hide control, which a script may have written");
	memset(long_name, 'x', sizeof(long_name) - 1);
	long_name[sizeof(long_name) - 1] = '\0';
	refused(p, long_name, ENAMETOOLONG, "too long");
	huge = malloc(3 * PATH_MAX);
	assert_non_null(huge);
	for (size_t i = 0; i < 3 * PATH_MAX - 1; i++)
		huge[i] = "/a"[i % 2];
	huge[3 * PATH_MAX - 1] = '\0';
	assert_int_equal(rkfs_mountpoint_prepare(huge, p->table, false, &point, &err),
			 -ENAMETOOLONG);
	free(huge);
	assert_int_equal(rkfs_mountpoint_prepare("", p->table, false, &point, &err), -EINVAL);
	at(path, p, "no-table");
	assert_int_equal(rkfs_mountpoint_prepare(p->dir, path, false, &point, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "no-table"));
	assert_null(point.path);
}

RIG_TEST(an_empty_directory_will_do)
{
	struct place *p = *state;
	char given[PATH_MAX];
	struct rkfs_mountpoint point;

	make_dir(p, "empty");
	at(given, p, "./empty/");
	assert_int_equal(rkfs_mountpoint_prepare(given, p->table, false, &point, NULL), 0);
	at(given, p, "empty");
	assert_string_equal(point.path, given);
	assert_true(fcntl(point.fd, F_GETFD) & FD_CLOEXEC);
	rkfs_mountpoint_free(&point);
	/* so will one on which another file system is mounted */
	write_table(p, "21 20 0:40 / @/empty rw - tmpfs tmpfs rw\n");
	assert_int_equal(rkfs_mountpoint_prepare(given, p->table, false, &point, NULL), 0);
	rkfs_mountpoint_free(&point);
}

RIG_TEST(a_second_rkfs_is_refused)
{
	struct place *p = *state;

	make_dir(p, "rk");
	write_table(p, "21 20 0:40 / @/rk rw - fuse.rkfs rkfs rw\n");
	refused(p, "rk", EBUSY, "is already an rkfs mount; umount");
	/* the topmost mount counts, wherever it stands in the table */
	write_table(p, "22 21 0:41 / @/rk rw - fuse.rkfs rkfs rw\n"
		       "21 20 0:40 / @/rk rw - tmpfs tmpfs rw\n");
	refused(p, "rk", EBUSY, "is already an rkfs mount");
}

RIG_TEST(malformed_table_is_refused)
{
	static const char *const lines[] = {
		"21 20 0:40 / @/rk rw fuse.rkfs rkfs rw\n",
		"21 x 0:40 / @/rk rw - fuse.rkfs rkfs rw\n",
		"21 20 0:40 / relative rw - fuse.rkfs rkfs rw\n",
		"\n",
		"21 20\n",
	};
	struct place *p = *state;
	struct rkfs_mounts mounts;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct rk_error err = {0};

		write_table(p, lines[i]);
		assert_int_equal(rkfs_mounts_read(&mounts, p->table, &err), -EINVAL);
		assert_non_null(strstr(err.msg, ":2: not a line of mountinfo"));
	}
}

static const struct rkfs_mount *find(const struct rkfs_mounts *mounts, const char *path, int id)
{
	const struct rkfs_mount *m = rkfs_mounts_find(mounts, path);

	if ((m ? m->id : 0) != id)
		fail_msg("%s: mount %d instead of %d", path, m ? m->id : 0, id);
	return m;
}

RIG_TEST(table_is_understood)
{
	struct place *p = *state;
	struct rkfs_mounts mounts;

	write_table(p, "21 20 0:40 / /mnt rw shared:2 - tmpfs tmp\\040fs rw\n"
		       "22 21 0:41 /sub /mnt/a\\040b\\134\\011 rw - fuse.rkfs none rw,user_id=0\n"
		       "23 20 0:42 / /hidden/rk rw - fuse.rkfs rkfs rw\n"
		       "24 20 0:43 / /hidden rw - tmpfs tmpfs rw\n"
		       "25 21 300:1048575 / /mnt/two rw - ext4  rw\n"
		       "26 25 0:45 / /mnt/two rw - fuse.sshfs host: rw\n"
		       "28 29 0:47 / /ring rw - fuse.rkfs rkfs rw\n"
		       "29 28 0:47 / /ring rw - fuse.rkfs rkfs rw\n");
	assert_int_equal(rkfs_mounts_read(&mounts, p->table, NULL), 0);
	assert_int_equal(mounts.count, 9);
	find(&mounts, "/", 20);
	find(&mounts, "/mnt", 21);
	assert_true(rkfs_mount_is_rkfs(find(&mounts, "/mnt/a b\\\t", 22)));
	find(&mounts, "/mnt/a", 0);
	find(&mounts, "/mn", 0);
	find(&mounts, "/mnt/a b\\\t/c", 0);
	assert_false(rkfs_mount_is_rkfs(find(&mounts, "/hidden", 24)));
	find(&mounts, "/hidden/rk", 0);
	assert_string_equal(find(&mounts, "/mnt/two", 26)->type, "fuse.sshfs");
	assert_true(mounts.rows[5].dev == makedev(300, 1048575));
	find(&mounts, "/ring", 0);
	rkfs_mounts_free(&mounts);
	assert_int_equal(mounts.count, 0);
}

/* In a chroot the root itself need not be listed. */
RIG_TEST(table_of_a_chroot)
{
	struct place *p = *state;
	struct rkfs_mounts mounts;
	FILE *f = fopen(p->table, "w");

	assert_non_null(f);
	fputs("30 20 0:40 / /mnt rw - tmpfs tmpfs rw\n"
	      "31 30 0:41 / /mnt/rk rw - fuse.rkfs rkfs rw\n"
	      "32 31 0:42 / /elsewhere rw - fuse.rkfs rkfs rw\n"
	      "33 33 0:43 / /self rw - tmpfs tmpfs rw\n"
	      "34 33 0:44 / /self/rk rw - fuse.rkfs rkfs rw\n",
	      f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(rkfs_mounts_read(&mounts, p->table, NULL), 0);
	find(&mounts, "/", 0);
	find(&mounts, "/mnt/rk", 31);
	find(&mounts, "/elsewhere", 0);
	find(&mounts, "/self", 33);
	find(&mounts, "/self/rk", 34);
	rkfs_mounts_free(&mounts);
}

/* The kernel writes no such thing; the search ends all the same. */
RIG_TEST(table_with_a_loop)
{
	struct place *p = *state;
	struct rkfs_mounts mounts;

	write_table(p, "21 20 0:40 / /ring rw - tmpfs tmpfs rw\n"
		       "20 21 0:41 / /ring rw - tmpfs tmpfs rw\n");
	assert_int_equal(rkfs_mounts_read(&mounts, p->table, NULL), 0);
	assert_non_null(rkfs_mounts_find(&mounts, "/ring"));
	rkfs_mounts_free(&mounts);
}

TEST(own_table_can_be_read)
{
	struct rkfs_mounts mounts;
	struct rk_error err = {0};

	if (rkfs_mounts_read(&mounts, RKFS_MOUNTINFO, &err) != 0)
		fail_msg("%s", err.msg);
	assert_non_null(rkfs_mounts_find(&mounts, "/proc"));
	rkfs_mounts_free(&mounts);
}

struct waiter {
	dev_t dev;
	int stop;
	int rc;
};

static void *wait_gone(void *arg)
{
	struct waiter *w = arg;

	w->rc = rkfs_mounts_wait_gone(w->dev, w->stop, -1, RKFS_MOUNTINFO, NULL);
	return NULL;
}

TEST(waiting_for_a_mount_to_go)
{
	struct waiter w = {.rc = -1};
	struct rkfs_mounts mounts;
	pthread_t thread;
	int pipe_fds[2];

	/* not there: gone */
	assert_int_equal(rkfs_mounts_wait_gone(makedev(4095, 1), -1, -1, RKFS_MOUNTINFO, NULL), 0);
	/* there: waits until it is told to stop */
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(rkfs_mounts_read(&mounts, RKFS_MOUNTINFO, NULL), 0);
	w.dev = rkfs_mounts_find(&mounts, "/proc")->dev;
	rkfs_mounts_free(&mounts);
	w.stop = pipe_fds[0];
	assert_int_equal(pthread_create(&thread, NULL, wait_gone, &w), 0);
	close(pipe_fds[1]);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(w.rc, 1);
	close(pipe_fds[0]);
	/* or for some time */
	assert_int_equal(rkfs_mounts_wait_gone(w.dev, -1, 1, RKFS_MOUNTINFO, NULL), 1);
}

TEST(namespace_must_be_one)
{
	struct rk_error err = {0};

	assert_int_equal(rkfs_mountpoint_enter_ns("/nonexistent", &err), -ENOENT);
	assert_non_null(strstr(err.msg, "-N /nonexistent"));
	assert_int_equal(rkfs_mountpoint_enter_ns("999999999", &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/proc/999999999/ns/mnt"));
	assert_true(rkfs_mountpoint_enter_ns("/dev/null", &err) < 0);
	assert_true(rkfs_mountpoint_enter_ns("", &err) < 0);
	assert_int_equal(rkfs_mountpoint_enter_ns("1111111111111111111111111111111111111111111111"
						  "1111111111111111111111111111",
						  &err),
			 -EINVAL);
}
