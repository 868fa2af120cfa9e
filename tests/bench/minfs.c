/* SPDX-License-Identifier: MIT */
/*
 * minfs DIR: the smallest filesystem with one file, DIR/stat, served the way rkfs is (low level,
 * clone_fd, direct_io, names cached, the size asked for each time, no flush). What a read of it
 * costs is the price of FUSE itself. In the foreground, until it is unmounted.
 */
#include <errno.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/bench/bench.h"

#define TIMEOUT 3600.0
#define STAT	2
#define NAME	"stat"
#define CONTENT "0\n"

static struct stat attr_of(fuse_ino_t ino)
{
	return (struct stat){
		.st_ino = ino,
		.st_mode = ino == STAT ? S_IFREG | 0444 : S_IFDIR | 0555,
		.st_nlink = 1,
		.st_size = ino == STAT ? sizeof(CONTENT) - 1 : 0,
		.st_blocks = ino == STAT,
	};
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->max_write = 1U << 20;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param e = {
		.ino = STAT,
		.attr = attr_of(STAT),
		.attr_timeout = 0,
		.entry_timeout = TIMEOUT,
	};

	(void)parent;
	(void)(strcmp(name, NAME) ? fuse_reply_err(req, ENOENT) : fuse_reply_entry(req, &e));
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct stat st = attr_of(ino);

	(void)fi;
	fuse_reply_attr(req, &st, ino == STAT ? 0 : TIMEOUT);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct fuse_open_out out = {.open_flags = FOPEN_DIRECT_IO | FOPEN_NOFLUSH};

	(void)ino;
	(void)fi;
	/* raw: libfuse 3.14 would not pass FOPEN_NOFLUSH on alone */
	fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	(void)ino;
	(void)size;
	(void)fi;
	fuse_reply_buf(req, CONTENT, off ? 0 : sizeof(CONTENT) - 1);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, 0);
}

static const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.open = op_open,
	.read = op_read,
	.release = op_release,
};

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	struct fuse_session *se;
	unsigned int cpus;
	cpu_set_t set;

	if (argc != 2)
		errx(2, "usage: minfs DIR");
	se = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (sched_getaffinity(0, sizeof(set), &set))
		err(1, "sched_getaffinity");
	cpus = (unsigned int)CPU_COUNT(&set);
	if (!config || !se || fuse_session_mount(se, argv[1]))
		errx(1, "cannot mount at %s", argv[1]);
	fuse_loop_cfg_set_clone_fd(config, 1);
	fuse_loop_cfg_set_max_threads(config, cpus);
	fuse_loop_cfg_set_idle_threads(config, cpus);
	(void)fuse_session_loop_mt(se, config); /* ends with an error where it is unmounted */
	fuse_session_destroy(se);
	fuse_loop_cfg_destroy(config);
	return 0;
}
