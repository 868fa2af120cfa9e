/* SPDX-License-Identifier: MIT */
/* rkcall: finding the mount, and reading what it says. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/mount/internal.h"
#include "fs/client/rkcall.h"

#define READ_BYTES 4096 /* most values fit */

/* --- the mount --- */

/* Whether row @i is an rkfs that can be reached at its directory; of bind mounts the first. */
static bool is_candidate(const struct rkfs_mounts *mounts, size_t i)
{
	const struct rkfs_mount *row = &mounts->rows[i];

	if (!rkfs_mount_is_rkfs(row) || rkfs_mounts_find(mounts, row->dir) != row)
		return false;
	for (size_t j = 0; j < i; j++)
		if (mounts->rows[j].dev == row->dev && is_candidate(mounts, j))
			return false;
	return true;
}

/*
 * How much a mount is to be preferred, 0 = not at all: it may not be entered. Root's is the
 * machine's, and another user's may be there to be taken for it.
 */
static unsigned int preference(const struct rkfs_mount *row)
{
	if (!row->shared && row->owner != geteuid())
		return 0;
	return row->owner == 0 ? 3 : row->owner == geteuid() ? 2 : 1;
}

static int too_many(const struct rkfs_mounts *mounts, unsigned int best, struct rk_error *err)
{
	char list[RK_ERROR_MAX] = "";
	size_t len = 0;

	for (size_t i = 0; i < mounts->count && len < sizeof(list); i++)
		if (is_candidate(mounts, i) && preference(&mounts->rows[i]) == best)
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%s%s",
						len ? ", " : "", mounts->rows[i].dir);
	return rk_error_set(err, ENOTUNIQ,
			    "several rkfs are mounted: choose one with -m DIR or RKFS_MOUNT: %s",
			    list);
}

/* Whether an rkfs answers in the directory @fd: 0 or a negative errno. */
static int check_mount(int fd)
{
	struct stat st;
	/* the kernel may still know the directory of a dead daemon, but asks for each open */
	int state = openat(fd, "state", O_RDONLY | O_CLOEXEC);

	if (state < 0)
		return -errno;
	close(state); /* nothing was read */
	if (fstatat(fd, "kernels", &st, 0))
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

/* The directory of the only rkfs that is to be preferred; *@dir is owned by the caller. */
static int find_dir(const char *mountinfo, char **dir, struct rk_error *err)
{
	struct rkfs_mounts mounts;
	const struct rkfs_mount *found = NULL;
	unsigned int best = 0;
	size_t count = 0, closed = 0;
	int rc = rkfs_mounts_read(&mounts, mountinfo, err);

	if (rc)
		return rc;
	for (size_t i = 0; i < mounts.count; i++) {
		unsigned int is = preference(&mounts.rows[i]);

		if (!is_candidate(&mounts, i))
			continue;
		closed += !is;
		if (is > best) {
			best = is;
			found = &mounts.rows[i];
			count = 0;
		}
		count += is && is == best;
	}
	if (count == 0 && closed)
		rc = rk_error_set(err, EACCES,
				  "what rkfs is mounted is another user's alone: as root, "
				  "mount.rkfs DIR mounts one for all");
	else if (count == 0)
		rc = rk_error_set(err, ENOENT,
				  "no rkfs is mounted: as root, mount.rkfs DIR mounts one");
	else if (count > 1)
		rc = too_many(&mounts, best, err);
	else if (!(*dir = strdup(found->dir)))
		rc = rk_error_set(err, ENOMEM, "no memory");
	rkfs_mounts_free(&mounts);
	return rc;
}

static int no_mount(const char *dir, int code, struct rk_error *err)
{
	switch (code) {
	case ENOTCONN:
	case ECONNABORTED:
		return rk_error_set(
			err, ENOTCONN,
			"%s: the daemon of this mount is dead; mount.rkfs %s replaces it", dir,
			dir);
	case EACCES:
		return rk_error_set(
			err, EACCES,
			"%s: permission denied: a mount is its user's alone unless it was "
			"made with allow_other, or by root",
			dir);
	default:
		return rk_error_set(err, code, "%s: %m", dir);
	}
}

int rkcall_mount_open(struct rkcall_mount *m, const char *dir, const char *mountinfo,
		      struct rk_error *err)
{
	struct rkcall_mount found = {.fd = -1};
	int rc = 0;

	if (!dir || !*dir)
		rc = find_dir(mountinfo, &found.dir, err);
	else if (!(found.dir = strdup(dir)))
		rc = rk_error_set(err, ENOMEM, "no memory");
	if (rc)
		return rc;
	found.fd = open(found.dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (found.fd < 0)
		rc = no_mount(found.dir, errno, err);
	else if ((rc = check_mount(found.fd)) == -ENOENT)
		rk_error_set(err, ENOENT, "%s is not an rkfs: mount.rkfs %s mounts one there",
			     found.dir, found.dir);
	else if (rc)
		no_mount(found.dir, -rc, err);
	if (rc)
		rkcall_mount_close(&found);
	else
		*m = found;
	return rc;
}

void rkcall_mount_close(struct rkcall_mount *m)
{
	if (m->fd >= 0)
		close(m->fd);
	free(m->dir);
	*m = (struct rkcall_mount){.fd = -1};
}

/* --- values --- */

/* All of @fd, NUL-terminated; NULL with errno. */
static char *read_all(int fd, size_t *len)
{
	size_t size = READ_BYTES, n = 0;
	char *text = malloc(size);
	ssize_t got = 1;

	while (text && got > 0) {
		if (n + 1 == size) {
			char *grown = realloc(text, size * 2);

			if (!grown)
				break;
			text = grown;
			size *= 2;
		}
		do
			got = read(fd, text + n, size - n - 1);
		while (got < 0 && errno == EINTR);
		if (got > 0)
			n += (size_t)got;
	}
	if (!text || got) {
		free(text);
		return NULL;
	}
	text[n] = '\0';
	*len = n;
	return text;
}

char *rkcall_value(const struct rkcall_mount *m, const char *kernel, const char *name)
{
	char path[PATH_MAX];
	size_t len = 0;
	char *text;
	int fd, code;

	if (snprintf(path, sizeof(path), "%s%s%s%s", kernel ? "kernels/" : "", kernel ? kernel : "",
		     kernel ? "/" : "", name) >= (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return NULL;
	}
	fd = openat(m->fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	text = read_all(fd, &len);
	code = errno;
	close(fd); /* was only read */
	if (text && len && text[len - 1] == '\n')
		text[len - 1] = '\0';
	if (text)
		rk_text_clean(text, len, "\n\t"); /* the mount may be a stranger's */
	errno = code;
	return text;
}

/* --- kernels --- */

static int not_hidden(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int add_kernel(struct rkcall_kernels *k, const char *domain, const char *name)
{
	void *grown = reallocarray(k->ids, k->count + 1, sizeof(*k->ids));

	if (!grown)
		return -ENOMEM;
	k->ids = grown;
	if (asprintf(&k->ids[k->count], "%s/%s", domain, name) < 0)
		return -ENOMEM;
	rk_text_clean(k->ids[k->count], strlen(k->ids[k->count]), "");
	k->count++;
	return 0;
}

/* The names in kernels/@domain. One that is gone meanwhile has none. */
static int add_domain(struct rkcall_kernels *k, const struct rkcall_mount *m, const char *domain)
{
	char path[PATH_MAX];
	struct dirent **names;
	int count, rc = 0;

	if (snprintf(path, sizeof(path), "kernels/%s", domain) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	count = scandirat(m->fd, path, &names, not_hidden, NULL);
	if (count < 0)
		return errno == ENOENT ? 0 : -errno;
	for (int i = 0; i < count; i++) {
		if (!rc)
			rc = add_kernel(k, domain, names[i]->d_name);
		free(names[i]);
	}
	free(names);
	return rc;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int rkcall_kernels_read(struct rkcall_kernels *k, const struct rkcall_mount *m,
			struct rk_error *err)
{
	struct rkcall_kernels found = {0};
	struct dirent **domains;
	int count = scandirat(m->fd, "kernels", &domains, not_hidden, NULL);
	int rc = 0;

	if (count < 0)
		return rk_error_set(err, errno, "%s/kernels: %m", m->dir);
	for (int i = 0; i < count; i++) {
		if (!rc)
			rc = add_domain(&found, m, domains[i]->d_name);
		free(domains[i]);
	}
	free(domains);
	if (rc) {
		rkcall_kernels_free(&found);
		return rk_error_set(err, -rc, "%s/kernels: %m", m->dir);
	}
	if (found.count)
		qsort(found.ids, found.count, sizeof(*found.ids), by_name);
	*k = found;
	return 0;
}

void rkcall_kernels_free(struct rkcall_kernels *k)
{
	for (size_t i = 0; i < k->count; i++)
		free(k->ids[i]);
	free(k->ids);
	*k = (struct rkcall_kernels){0};
}
