/* SPDX-License-Identifier: MIT */
/* Reads files that may be on a dead file system, through a helper process. */
#include "runtime/base/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/base/helper.h"
#include "runtime/base/ini_file.h"
#include "runtime/base/module.h"
#include "runtime/base/thread.h"
#include "runtime/base/trust.h"

struct rk_files {
	struct rk_helper helper;
	int cancel;
	pthread_mutex_t lock; /* guards the members below; no other lock is taken inside */
	char path[PATH_MAX];
};

int rk_files_create(struct rk_files **files, int cancel_fd, struct rk_error *err)
{
	struct rk_files *f = calloc(1, sizeof(*f));

	if (!f || pthread_mutex_init(&f->lock, NULL)) {
		free(f);
		return rk_error_set(err, ENOMEM, "no memory to read files");
	}
	f->helper = RK_HELPER_NONE;
	f->cancel = cancel_fd;
	*files = f;
	return 0;
}

void rk_files_rest(struct rk_files *files)
{
	if (files)
		rk_helper_end(&files->helper);
}

void rk_files_destroy(struct rk_files *files)
{
	if (!files)
		return;
	rk_helper_end(&files->helper);
	pthread_mutex_destroy(&files->lock);
	free(files);
}

static void set_path(struct rk_files *files, const char *path)
{
	RK_GUARD(&files->lock);
	snprintf(files->path, sizeof(files->path), "%s", path);
}

void rk_files_path(struct rk_files *files, char path[PATH_MAX])
{
	RK_GUARD(&files->lock);
	memcpy(path, files->path, PATH_MAX);
}

/* Let the helper run @fn with @path and a second string behind it, @more. */
static int ask(struct rk_files *files, rk_helper_fn *fn, const char *path, const char *more,
	       struct rk_helper_reply *reply, struct rk_error *err)
{
	char text[RK_HELPER_TEXT_MAX];
	int len = snprintf(text, sizeof(text), "%s%c%s", path, '\0', more);
	int rc = 0;

	if ((size_t)len >= sizeof(text))
		return rk_error_set(err, ENAMETOOLONG, "%s: the path is too long", path);
	if (files->helper.sock < 0)
		rc = rk_helper_start(&files->helper, err);
	if (rc)
		return rc;
	set_path(files, path);
	rc = rk_helper_call(&files->helper, fn, text, (size_t)len, -1, files->cancel, reply, err);
	set_path(files, "");
	if (rc == -ECANCELED || files->helper.busy)
		rk_helper_end(&files->helper);
	return rc == -ECANCELED
		       ? rk_error_set(err, ECANCELED, "%s: given up, as the mount ends", path)
		       : rc;
}

/* --- texts, which come in a memfd --- */

/* In the helper: hand @text over. */
static void reply_text(struct rk_helper_reply *reply, const char *text, size_t len)
{
	size_t at = 0;

	reply->fd = memfd_create("rkfs-text", MFD_CLOEXEC);
	if (reply->fd < 0) {
		reply->rc = rk_error_set(&reply->err, errno, "cannot create memory: %m");
		return;
	}
	while (at < len) {
		ssize_t n = write(reply->fd, text + at, len - at);

		if (n < 0) {
			reply->rc = rk_error_set(&reply->err, errno, "cannot fill memory: %m");
			return;
		}
		at += (size_t)n;
	}
}

/* The text that reply_text handed over, malloc'ed. Closes the descriptor. */
static int take_text(struct rk_helper_reply *reply, const char *path, struct rk_ini_text *text,
		     struct rk_error *err)
{
	off_t size = reply->fd < 0 ? -1 : lseek(reply->fd, 0, SEEK_END);
	char *buf = size < 0 ? NULL : malloc((size_t)size + 1);
	int rc = 0;

	if (!buf || pread(reply->fd, buf, (size_t)size, 0) != size)
		rc = rk_error_set(err, ENOMEM, "%s: not enough memory to read it", path);
	if (reply->fd >= 0)
		close(reply->fd);
	if (rc) {
		free(buf);
		return rc;
	}
	*text = (struct rk_ini_text){buf, (size_t)size, reply->is_private};
	return 0;
}

static int ask_text(struct rk_files *files, rk_helper_fn *fn, const char *path, const char *more,
		    struct rk_ini_text *text, struct rk_error *err)
{
	struct rk_helper_reply reply = {.fd = -1};
	int rc = ask(files, fn, path, more, &reply, err);

	if (!rc)
		return take_text(&reply, path, text, err);
	if (reply.fd >= 0)
		close(reply.fd);
	return rc;
}

static void read_there(const char *path, size_t size, int fd, struct rk_helper_reply *reply)
{
	struct rk_ini_text text;

	(void)size, (void)fd;
	reply->rc = rk_ini_read_file(path, path[strlen(path) + 1], &text, &reply->err);
	if (reply->rc)
		return;
	reply_text(reply, text.data, text.len);
	reply->is_private = text.is_private;
	free(text.data);
}

int rk_files_read(struct rk_files *files, const char *path, bool trusted, struct rk_ini_text *text,
		  struct rk_error *err)
{
	if (!files)
		return rk_ini_read_file(path, trusted, text, err);
	return ask_text(files, read_there, path, trusted ? "trusted" : "", text, err);
}

/* --- directories --- */

static bool is_wanted(const char *name, const char *suffix)
{
	size_t len = strlen(name), end = strlen(suffix);

	return name[0] != '.' && len > end && !strcmp(name + len - end, suffix);
}

static int list_here(const char *dir, const char *suffix, char **names, size_t *len,
		     struct rk_error *err)
{
	struct dirent **entries;
	size_t size = 0;
	int n, fd = rk_trust_open(dir, O_RDONLY | O_DIRECTORY | O_NONBLOCK, err);
	int rc = 0;
	char *block, *at;

	if (fd < 0)
		return fd;
	n = scandirat(fd, ".", &entries, NULL, alphasort);
	if (n < 0)
		rc = rk_error_set(err, errno, "%s: %m", dir);
	close(fd);
	if (rc)
		return rc;
	for (int i = 0; i < n; i++)
		if (is_wanted(entries[i]->d_name, suffix))
			size += strlen(entries[i]->d_name) + 1;
	at = block = malloc(size + 1);
	for (int i = 0; i < n; i++) {
		if (block && is_wanted(entries[i]->d_name, suffix))
			at = stpcpy(at, entries[i]->d_name) + 1;
		free(entries[i]);
	}
	free(entries);
	if (!block)
		return rk_error_set(err, ENOMEM, "%s: not enough memory to list it", dir);
	*names = block;
	*len = size;
	return 0;
}

static void list_there(const char *dir, size_t size, int fd, struct rk_helper_reply *reply)
{
	size_t len;
	char *names;

	(void)size, (void)fd;
	reply->rc = list_here(dir, dir + strlen(dir) + 1, &names, &len, &reply->err);
	if (reply->rc)
		return;
	reply_text(reply, names, len);
	free(names);
}

int rk_files_list(struct rk_files *files, const char *dir, const char *suffix, char **names,
		  size_t *len, struct rk_error *err)
{
	struct rk_ini_text text;
	int rc;

	if (!files)
		return list_here(dir, suffix, names, len, err);
	rc = ask_text(files, list_there, dir, suffix, &text, err);
	if (!rc) {
		*names = text.data;
		*len = text.len;
	}
	return rc;
}

/* --- libraries --- */

static void module_there(const char *path, size_t size, int fd, struct rk_helper_reply *reply)
{
	struct rk_module *module;

	(void)size, (void)fd;
	reply->rc = rk_module_open(path, &module, &reply->err);
	if (reply->rc)
		return;
	reply->fd = rk_module_fd(module); /* only it is closed; the module stays allocated */
	reply->st = *rk_module_stat(module);
}

int rk_files_module(struct rk_files *files, const char *path, struct rk_module **module,
		    struct rk_error *err)
{
	struct rk_helper_reply reply = {.fd = -1};
	int rc;

	if (!files)
		return rk_module_open(path, module, err);
	rc = ask(files, module_there, path, "", &reply, err);
	if (!rc)
		rc = rk_module_adopt(reply.fd, &reply.st, module, err);
	if (rc && reply.fd >= 0)
		close(reply.fd);
	return rc;
}

static void stat_there(const char *path, size_t size, int fd, struct rk_helper_reply *reply)
{
	(void)size, (void)fd;
	if (stat(path, &reply->st))
		reply->rc = rk_error_set(&reply->err, errno, "%s: %m", path);
}

bool rk_files_current(struct rk_files *files, const char *path, const struct rk_module *module)
{
	struct rk_helper_reply reply = {.fd = -1};

	if (!files)
		stat_there(path, 0, -1, &reply);
	else if (ask(files, stat_there, path, "", &reply, NULL))
		return false;
	return !reply.rc && rk_module_matches(module, &reply.st);
}
