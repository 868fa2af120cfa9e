/* SPDX-License-Identifier: MIT */
/* Users' shared libraries: opened by descriptor, shared by kernels, and closed when they can be. */
#include "gpu/cpu/internal.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpu/base/library.h"
#include "runtime/base/log.h"

/*
 * A user's library in this process. The loader knows it by the path /proc/self/fd/N, and gives the
 * old library to whoever opens a path that it knows. So fd stays open, and its number taken, for as
 * long as the loader has the library. That can be longer than its last kernel lives, where the
 * loader keeps it (linked with -z nodelete, or C++ with unique symbols).
 */
struct rk_cpu_library {
	SLIST_ENTRY(rk_cpu_library) link;
	dev_t dev; /* of the memfd: the same one is the same library */
	ino_t ino;
	int fd;
	unsigned int users; /* kernels */
};

static void print_fd_path(char path[32], int fd)
{
	snprintf(path, 32, "/proc/self/fd/%d", fd);
}

static void *open_fd(int fd, int flags)
{
	char path[32];

	print_fd_path(path, fd);
	return dlopen(path, flags);
}

/* What the loader says of the library at descriptor @fd, with its path as the user knows it. */
static int loader_error(int fd, const char *path, struct rk_error *err)
{
	const char *text = dlerror(), *at;
	char fd_path[32];
	size_t len;

	if (!text)
		text = "the loader gives no reason";
	print_fd_path(fd_path, fd);
	len = strlen(fd_path);
	at = strstr(text, fd_path);
	if (!at)
		return rk_error_set(err, ENOEXEC, "%s", text);
	if (at == text && strncmp(at + len, ": ", 2) == 0)
		return rk_error_set(err, ENOEXEC, "%s", at + len + 2);
	return rk_error_set(err, ENOEXEC, "%.*s%s%s", (int)(at - text), text,
			    rk_library_path_shown(path), at + len);
}

/*
 * Forget @lib and close its descriptor, if no kernel uses it and the loader has let go of it too.
 */
static void drop_library(struct rk_cpu_libraries *libraries, struct rk_cpu_library *lib)
{
	void *still;

	if (lib->users)
		return;
	still = open_fd(lib->fd, RTLD_LAZY | RTLD_NOLOAD);
	if (still) {
		(void)dlclose(still);
		return;
	}
	SLIST_REMOVE(libraries, lib, rk_cpu_library, link);
	if (close(lib->fd) < 0)
		rk_log(RK_LOG_WARN, "rk-worker: cannot close a library: %s", strerror(errno));
	free(lib);
}

/*
 * Find the library in the memfd @fd, which this takes, or note it as a new one, which is not open
 * yet.
 */
static int get_library(struct rk_cpu_libraries *libraries, int fd, struct rk_cpu_library **library,
		       struct rk_error *err)
{
	struct rk_cpu_library *lib;
	struct stat st;
	int rc = rk_elf_check(fd, err);

	if (rc == 0 && fstat(fd, &st) < 0)
		rc = rk_error_set(err, errno, "cannot be examined: %m");
	if (rc)
		goto fail;
	SLIST_FOREACH (lib, libraries, link) {
		if (lib->dev != st.st_dev || lib->ino != st.st_ino)
			continue;
		(void)close(fd);
		*library = lib;
		return 0;
	}
	if (open_fd(fd, RTLD_LAZY | RTLD_NOLOAD)) {
		rc = rk_error_set(err, EBADF,
				  "cannot be loaded: some kernel closed a descriptor that is not "
				  "its own (%d)",
				  fd);
		goto fail;
	}
	lib = calloc(1, sizeof(*lib));
	if (!lib) {
		rc = rk_error_set(err, ENOMEM, "no memory to load it");
		goto fail;
	}
	lib->dev = st.st_dev;
	lib->ino = st.st_ino;
	lib->fd = fd;
	SLIST_INSERT_HEAD(libraries, lib, link);
	*library = lib;
	return 0;
fail:
	(void)close(fd);
	return rc;
}

void rk_cpu_library_leave(struct rk_cpu_libraries *libraries, const struct rk_cpu_hold *hold)
{
	if (!hold->library)
		return;
	if (dlclose(hold->handle))
		rk_log(RK_LOG_WARN, "rk-worker: cannot unload a library: %s", dlerror());
	hold->library->users--;
	drop_library(libraries, hold->library);
}

int rk_cpu_library_use(struct rk_cpu_libraries *libraries, const struct rk_wire_load *load, int fd,
		       struct rk_cpu_hold *hold, void (**fn)(void), struct rk_error *err)
{
	struct rk_cpu_hold held = {0};
	int rc = get_library(libraries, fd, &held.library, err);

	if (rc)
		return rc;
	held.handle = open_fd(held.library->fd, RTLD_NOW | RTLD_LOCAL);
	if (!held.handle) {
		rc = loader_error(held.library->fd, load->library, err);
		drop_library(libraries, held.library);
		return rc;
	}
	held.library->users++;
	*(void **)fn = dlsym(held.handle, load->entry);
	if (*fn) {
		*hold = held;
		return 0;
	}
	rk_cpu_library_leave(libraries, &held);
	return rk_error_set(err, ENOENT, "has no function '%s' (nm -D lists those it has)",
			    load->entry);
}

void rk_cpu_libraries_forget(struct rk_cpu_libraries *libraries)
{
	struct rk_cpu_library *lib;

	while ((lib = SLIST_FIRST(libraries))) {
		SLIST_REMOVE_HEAD(libraries, link);
		free(lib);
	}
}
