/* SPDX-License-Identifier: MIT */
/* Opens, checks and copies the libraries of users. */
#include "runtime/base/module.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "runtime/base/memfd.h"
#include "runtime/base/trust.h"

#define MAX_BYTES (1LL << 30)

struct rk_module {
	atomic_uint refs;
	int fd;
	struct stat st; /* of the file, when it was copied */
};

static int copy(struct rk_module *m, int from, const char *path, struct rk_error *err)
{
	const char *slash = strrchr(path, '/');
	off_t left;

	if (fstat(from, &m->st))
		return rk_error_set(err, errno, "%s: %m", path);
	if (!S_ISREG(m->st.st_mode))
		return rk_error_set(err, EACCES, "%s is no regular file", path);
	if (m->st.st_size > MAX_BYTES)
		return rk_error_set(err, EFBIG, "%s is larger than 1 GiB", path);
	m->fd = rk_memfd_create(slash ? slash + 1 : path);
	if (m->fd < 0)
		return rk_error_set(err, -m->fd, "cannot create memory for %s: %m", path);
	for (left = m->st.st_size; left > 0;) {
		ssize_t n = sendfile(m->fd, from, NULL, (size_t)left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return rk_error_set(err, errno, "cannot copy %s: %m", path);
		if (n == 0)
			return rk_error_set(err, EIO, "%s shrank while it was copied: reload again",
					    path);
		left -= n;
	}
	if (fcntl(m->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL))
		return rk_error_set(err, errno, "cannot seal the copy of %s: %m", path);
	return 0;
}

int rk_module_open(const char *path, struct rk_module **module, struct rk_error *err)
{
	struct rk_module *m;
	int rc, fd = rk_trust_open(path, O_RDONLY | O_NONBLOCK, err);

	if (fd < 0)
		return fd;
	m = calloc(1, sizeof(*m));
	if (m) {
		atomic_init(&m->refs, 1);
		m->fd = -1;
		rc = copy(m, fd, path, err);
	} else {
		rc = rk_error_set(err, ENOMEM, "no memory for %s", path);
	}
	close(fd);
	if (rc)
		rk_module_unref(m);
	else
		*module = m;
	return rc;
}

int rk_module_adopt(int fd, const struct stat *st, struct rk_module **module, struct rk_error *err)
{
	struct rk_module *m = calloc(1, sizeof(*m));

	if (!m)
		return rk_error_set(err, ENOMEM, "no memory for a library");
	atomic_init(&m->refs, 1);
	m->fd = fd;
	m->st = *st;
	*module = m;
	return 0;
}

bool rk_module_matches(const struct rk_module *module, const struct stat *st)
{
	return st->st_dev == module->st.st_dev && st->st_ino == module->st.st_ino &&
	       st->st_size == module->st.st_size &&
	       st->st_mtim.tv_sec == module->st.st_mtim.tv_sec &&
	       st->st_mtim.tv_nsec == module->st.st_mtim.tv_nsec &&
	       st->st_ctim.tv_sec == module->st.st_ctim.tv_sec &&
	       st->st_ctim.tv_nsec == module->st.st_ctim.tv_nsec;
}

const struct stat *rk_module_stat(const struct rk_module *module)
{
	return &module->st;
}

int rk_module_fd(const struct rk_module *module)
{
	return module->fd;
}

struct rk_module *rk_module_ref(struct rk_module *module)
{
	if (module)
		atomic_fetch_add_explicit(&module->refs, 1, memory_order_relaxed);
	return module;
}

void rk_module_unref(struct rk_module *module)
{
	if (!module || atomic_fetch_sub_explicit(&module->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (module->fd >= 0)
		close(module->fd);
	free(module);
}
