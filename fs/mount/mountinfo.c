/* SPDX-License-Identifier: MIT */
/* The table of mounts, read and waited for. */
#include "fs/mount/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "runtime/base/clock.h"

/* Replace \040 and its like by the byte they stand for, in place. */
static void unescape(char *text)
{
	char *out = text;

	while (*text) {
		if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' &&
		    text[2] <= '7' && text[3] >= '0' && text[3] <= '7') {
			*out++ = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + text[3] - '0');
			text += 4;
		} else {
			*out++ = *text++;
		}
	}
	*out = '\0';
}

static void parse_options(const char *options, struct rkfs_mount *m)
{
	const char *user = strstr(options, "user_id=");

	m->owner = user ? (uid_t)strtoul(user + strlen("user_id="), NULL, 10) : 0;
	m->shared = strstr(options, "allow_other");
}

/*
 * "ID PARENT MAJOR:MINOR ROOT DIR OPTIONS [FIELD...] - TYPE SOURCE SUPEROPTIONS". Cuts @line up.
 * Returns 0, -EINVAL or -ENOMEM; *@mount owns its strings.
 */
static int parse_line(char *line, struct rkfs_mount *mount)
{
	struct rkfs_mount m = {0};
	unsigned int major, minor;
	char *dir, *tail, *type, *options;
	int at = -1;

	if (sscanf(line, "%d %d %u:%u %*s %n", &m.id, &m.parent, &major, &minor, &at) != 4 ||
	    at < 0)
		return -EINVAL;
	dir = line + at;
	tail = strstr(dir, " - ");
	if (!tail || *dir != '/')
		return -EINVAL;
	dir[strcspn(dir, " ")] = '\0';
	type = tail + 3;
	options = strrchr(type, ' ');
	if (options)
		parse_options(options, &m);
	type[strcspn(type, " \n")] = '\0';
	unescape(dir);
	unescape(type);
	m.dev = makedev(major, minor);
	m.dir = strdup(dir);
	m.type = strdup(type);
	if (!m.dir || !m.type) {
		free(m.dir);
		free(m.type);
		return -ENOMEM;
	}
	*mount = m;
	return 0;
}

void rkfs_mounts_free(struct rkfs_mounts *mounts)
{
	for (size_t i = 0; i < mounts->count; i++) {
		free(mounts->rows[i].dir);
		free(mounts->rows[i].type);
	}
	free(mounts->rows);
	*mounts = (struct rkfs_mounts){0};
}

static int add_line(struct rkfs_mounts *mounts, char *line)
{
	size_t n = mounts->count;
	int rc;

	/* grown in steps of doubling: at 0, 1, 2, 4, ... */
	if ((n & (n - 1)) == 0) {
		void *grown = reallocarray(mounts->rows, n ? 2 * n : 1, sizeof(*mounts->rows));

		if (!grown)
			return -ENOMEM;
		mounts->rows = grown;
	}
	rc = parse_line(line, &mounts->rows[n]);
	if (rc == 0)
		mounts->count++;
	return rc;
}

static int by_id(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

/* In a chroot, and for the root mount, the parent is not listed. */
static int mark_top(struct rkfs_mounts *mounts)
{
	int *ids = calloc(mounts->count + 1, sizeof(*ids));

	if (!ids)
		return -ENOMEM;
	for (size_t i = 0; i < mounts->count; i++)
		ids[i] = mounts->rows[i].id;
	qsort(ids, mounts->count, sizeof(*ids), by_id);
	for (size_t i = 0; i < mounts->count; i++) {
		struct rkfs_mount *m = &mounts->rows[i];

		m->top = m->parent == m->id ||
			 !bsearch(&m->parent, ids, mounts->count, sizeof(*ids), by_id);
	}
	free(ids);
	return 0;
}

int rkfs_mounts_read(struct rkfs_mounts *mounts, const char *file, struct rk_error *err)
{
	struct rkfs_mounts m = {0};
	char *line = NULL;
	size_t size = 0;
	int rc = 0;
	FILE *f = fopen(file, "re");

	if (!f)
		return rk_error_set(err, errno, "%s: %m", file);
	for (errno = 0; rc == 0 && getline(&line, &size, f) >= 0; errno = 0)
		rc = add_line(&m, line);
	if (rc == 0 && !feof(f))
		rc = errno ? -errno : -EIO;
	free(line);
	if (fclose(f) != 0 && rc == 0)
		rc = -errno;
	if (rc == 0)
		rc = mark_top(&m);
	if (rc < 0) {
		if (rc == -EINVAL)
			rk_error_set(err, EINVAL, "%s:%zu: not a line of mountinfo", file,
				     m.count + 1);
		else
			rk_error_set(err, -rc, "%s: %m", file);
		rkfs_mounts_free(&m);
		return rc;
	}
	*mounts = m;
	return 0;
}

/* What is mounted on @on (NULL: on whatever is not listed) at the first @len bytes of @path. */
static const struct rkfs_mount *mounted_on(const struct rkfs_mounts *mounts,
					   const struct rkfs_mount *on, const char *path,
					   size_t len)
{
	for (size_t i = 0; i < mounts->count; i++) {
		const struct rkfs_mount *m = &mounts->rows[i];

		if (m != on && (on ? m->parent == on->id : m->top) &&
		    strncmp(m->dir, path, len) == 0 && m->dir[len] == '\0')
			return m;
	}
	return NULL;
}

const struct rkfs_mount *rkfs_mounts_find(const struct rkfs_mounts *mounts, const char *path)
{
	const struct rkfs_mount *now = NULL, *at_end = NULL, *next;
	size_t len = 1; /* "/", then "/mnt", then "/mnt/rk" */
	size_t steps = 0;

	for (;;) {
		at_end = NULL;
		/* each step goes one mount up; more steps than mounts is a loop in the table */
		while ((next = mounted_on(mounts, now, path, len)) && steps++ < mounts->count)
			now = at_end = next;
		if (!path[len])
			return at_end;
		len += path[len] == '/';
		len += strcspn(path + len, "/");
	}
}

const struct rkfs_mount *rkfs_mounts_by_id(const struct rkfs_mounts *mounts, int id)
{
	for (size_t i = 0; i < mounts->count; i++)
		if (mounts->rows[i].id == id)
			return &mounts->rows[i];
	return NULL;
}

bool rkfs_mount_is_rkfs(const struct rkfs_mount *mount)
{
	return mount && strcmp(mount->type, RKFS_FSTYPE) == 0;
}

/* 1: a mount of @dev is there, 0: none, or a negative errno. */
static int is_mounted(dev_t dev, const char *file, struct rk_error *err)
{
	struct rkfs_mounts mounts;
	bool found = false;
	int rc = rkfs_mounts_read(&mounts, file, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < mounts.count; i++)
		found = found || mounts.rows[i].dev == dev;
	rkfs_mounts_free(&mounts);
	return found;
}

/* Of the milliseconds until @end (0: for ever) those that are left, as poll takes them. */
static int left_ms(uint64_t end)
{
	uint64_t now = rk_now_ns();

	if (!end)
		return -1;
	return now < end ? (int)((end - now) / RK_NS_PER_MS) + 1 : 0;
}

int rkfs_mounts_wait_gone(dev_t dev, int stop_fd, int timeout_ms, const char *file,
			  struct rk_error *err)
{
	uint64_t end = timeout_ms < 0 ? 0 : rk_now_ns() + (uint64_t)timeout_ms * RK_NS_PER_MS;
	struct pollfd fds[] = {{.events = POLLPRI}, {.fd = stop_fd, .events = POLLIN}};
	int rc;

	/* opened before the first look: a change after that look wakes the poll */
	fds[0].fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fds[0].fd < 0)
		return rk_error_set(err, errno, "%s: %m", file);
	while ((rc = is_mounted(dev, file, err)) == 1) {
		int n;

		while ((n = poll(fds, 2, left_ms(end))) < 0 && errno == EINTR)
			;
		if (n < 0) {
			rc = rk_error_set(err, errno, "%s: poll: %m", file);
			break;
		}
		if (n == 0 || fds[1].revents) {
			rc = 1;
			break;
		}
	}
	close(fds[0].fd);
	return rc;
}
