/* SPDX-License-Identifier: MIT */
/*
 * hangfs FROM DIR: shows directory FROM at DIR, in the foreground, and does what a network file
 * system does whose server has died: after SIGUSR1 it takes requests and does not answer them, so
 * that whoever waits cannot be killed; after SIGUSR2 it answers all of them. Says so on
 * standard output: "mounted", "hangs", "holds PATH" for each request, "answers".
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int from;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t answers = PTHREAD_COND_INITIALIZER;
static bool hangs;

static const char *rel(const char *path)
{
	pthread_mutex_lock(&lock);
	if (hangs) {
		printf("holds %s\n", path);
		fflush(stdout);
	}
	while (hangs)
		pthread_cond_wait(&answers, &lock);
	pthread_mutex_unlock(&lock);
	return path[1] ? path + 1 : ".";
}

static void say(const char *line)
{
	puts(line);
	fflush(stdout);
}

static void *heed(void *set)
{
	int sig;

	while (!sigwait(set, &sig)) {
		pthread_mutex_lock(&lock);
		hangs = sig == SIGUSR1;
		pthread_cond_broadcast(&answers);
		pthread_mutex_unlock(&lock);
		say(sig == SIGUSR1 ? "hangs" : "answers");
	}
	return NULL;
}

static void *op_init(struct fuse_conn_info *conn, struct fuse_config *config)
{
	(void)conn;
	config->entry_timeout = config->attr_timeout = config->negative_timeout = 0;
	say("mounted");
	return NULL;
}

static int op_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	(void)fi;
	return fstatat(from, rel(path), st, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

static int op_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off,
		      struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	int fd = openat(from, rel(path), O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	(void)off, (void)fi, (void)flags;
	if (!dir)
		return -errno;
	while ((entry = readdir(dir)))
		fill(buf, entry->d_name, NULL, 0, 0);
	closedir(dir);
	return 0;
}

static int op_open(const char *path, struct fuse_file_info *fi)
{
	int fd = openat(from, rel(path), fi->flags & ~O_CREAT);

	fi->fh = (uint64_t)fd;
	return fd < 0 ? -errno : 0;
}

static int op_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	int fd = openat(from, rel(path), fi->flags | O_CREAT, mode);

	fi->fh = (uint64_t)fd;
	return fd < 0 ? -errno : 0;
}

static int op_read(const char *path, char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	ssize_t n;

	rel(path);
	n = pread((int)fi->fh, buf, size, off);
	return n < 0 ? -errno : (int)n;
}

static int op_write(const char *path, const char *buf, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	ssize_t n;

	rel(path);
	n = pwrite((int)fi->fh, buf, size, off); /* appends where the file was opened to */
	return n < 0 ? -errno : (int)n;
}

/* Sent by close(2), and waited for without a way out. */
static int op_flush(const char *path, struct fuse_file_info *fi)
{
	(void)fi;
	rel(path);
	return 0;
}

static int op_release(const char *path, struct fuse_file_info *fi)
{
	(void)path;
	return close((int)fi->fh) ? -errno : 0;
}

static int op_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
	int fd = openat(from, rel(path), O_WRONLY);
	int rc = fd < 0 || ftruncate(fd, size) ? -errno : 0;

	(void)fi;
	if (fd >= 0)
		close(fd);
	return rc;
}

static int op_chmod(const char *path, mode_t mode, struct fuse_file_info *fi)
{
	(void)fi;
	return fchmodat(from, rel(path), mode, 0) ? -errno : 0;
}

static int op_rename(const char *path, const char *to, unsigned int flags)
{
	(void)flags;
	return renameat(from, rel(path), from, rel(to)) ? -errno : 0;
}

static int op_unlink(const char *path)
{
	return unlinkat(from, rel(path), 0) ? -errno : 0;
}

static const struct fuse_operations ops = {
	.init = op_init,
	.getattr = op_getattr,
	.readdir = op_readdir,
	.open = op_open,
	.create = op_create,
	.read = op_read,
	.write = op_write,
	.flush = op_flush,
	.release = op_release,
	.truncate = op_truncate,
	.chmod = op_chmod,
	.rename = op_rename,
	.unlink = op_unlink,
};

int main(int argc, char **argv)
{
	char *args[] = {argv[0], (char[]){"-f"}, (char[]){"-o"}, (char[]){"fsname=hangfs"}, argv[2],
			NULL};
	static sigset_t set;
	pthread_t thread;

	if (argc != 3)
		errx(2, "usage: hangfs FROM DIR");
	from = open(argv[1], O_PATH | O_DIRECTORY);
	if (from < 0)
		err(1, "%s", argv[1]);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL) || pthread_create(&thread, NULL, heed, &set))
		errx(1, "cannot start a thread");
	umask(0);
	return fuse_main(5, args, &ops, NULL);
}
