/* SPDX-License-Identifier: MIT */
/* The operations of libfuse, each of which is one call or two of the tree's, and its loop. */
#include "fs/session.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/park.h"
#include "runtime/base/log.h"
#include "runtime/base/thread.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* Of fuse_init_out, which older headers do not show: bit 42 of the flags, and a field. */
#define INIT_REQUEST_TIMEOUT (1U << (42 - 32))
#define INIT_TIMEOUT_OFFSET  (offsetof(struct fuse_init_out, flags2) + 8)
#define MIN_TIMEOUT	     15U /* seconds: the kernel looks that often */

#define WAKE_SIGNAL SIGUSR2
#define WAKE_NS	    1000000
#define FRESH_NODE  (1ULL << 63)
#define MIN_THREADS 4 /* one that waits for the CPU must not keep the others from being served */
#define MAX_WRITE   (1U << 20) /* bytes of one request, reads too */

struct rkfs_session {
	struct rkfs *fs;
	struct fuse_session *fuse;
	struct rkfs_parking *parking; /* requests that wait */
	void (*ready)(void *ctx);
	void *ready_ctx;
	_Atomic uint64_t serial; /* of node ids */
	pthread_mutex_t lock;	 /* the rest */
	bool exiting;
	bool looping;
	timer_t waker; /* while looping: once armed, interrupts its sem_wait again and again */
};

static struct rkfs *fs_of(fuse_req_t req)
{
	const struct rkfs_session *s = fuse_req_userdata(req);

	return s->fs;
}

static struct rkfs_parking *parking_of(fuse_req_t req)
{
	const struct rkfs_session *s = fuse_req_userdata(req);

	return s->parking;
}

static struct rkfs_file *file_of(const struct fuse_file_info *fi)
{
	return (struct rkfs_file *)(uintptr_t)fi->fh;
}

static struct rk_caller caller_of(fuse_req_t req)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);

	return (struct rk_caller){.uid = ctx->uid, .gid = ctx->gid, .pid = ctx->pid};
}

/*
 * The kernel's node ids are the tree's nodes, but of files that get another one with every LOOKUP
 * (RKFS_FRESH): these have a mark, a serial number and, in the low half, the node.
 */
static fuse_ino_t fresh_node(struct rkfs_session *s, uint64_t node)
{
	uint64_t serial = atomic_fetch_add_explicit(&s->serial, 1, memory_order_relaxed);

	return FRESH_NODE | (serial << 32 & ~FRESH_NODE) | node;
}

static uint64_t node_of(fuse_ino_t ino)
{
	return ino & FRESH_NODE ? (uint32_t)ino : ino;
}

/*
 * A reply fails where whoever asked is gone: ENOENT (interrupted) or ENODEV (unmounted). There is
 * nobody to tell, and nothing to undo but in op_open.
 */

/* Between op_init and the reply of libfuse that follows it in the same thread. */
static _Thread_local bool answering_init;

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	struct rkfs_session *s = userdata;

	conn->max_write = MAX_WRITE;
	if (conn->capable & FUSE_CAP_ATOMIC_O_TRUNC)
		conn->want |= FUSE_CAP_ATOMIC_O_TRUNC;
	/* an asynchronous read that waits would take one of few background places, which RELEASE
	 * needs */
	conn->want &= ~FUSE_CAP_ASYNC_DIO;
	answering_init = true;
	if (s->ready)
		s->ready(s->ready_ctx);
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct rkfs_entry found;
	int rc = rkfs_lookup(fs_of(req), parent, name, &found);
	struct fuse_entry_param e = {.generation = 1};

	if (rc) {
		(void)fuse_reply_err(req, -rc);
		return;
	}
	e.ino = found.node;
	e.attr = found.st;
	e.attr_timeout = found.attr_timeout;
	e.entry_timeout = found.entry_timeout;
	if (rkfs_fresh(fs_of(req), found.node)) {
		e.ino = fresh_node(fuse_req_userdata(req), found.node);
		e.entry_timeout = 0;
	}
	(void)fuse_reply_entry(req, &e);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct rkfs_entry found;
	int rc = rkfs_getattr(fs_of(req), node_of(ino), &found);

	(void)fi;
	(void)(rc ? fuse_reply_err(req, -rc) : fuse_reply_attr(req, &found.st, found.attr_timeout));
}

/* `echo >file` and truncate(2) set a size, which a file that can be written to has no use for. */
static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	int rc = -EPERM;

	(void)attr;
	if ((to_set & FUSE_SET_ATTR_SIZE) &&
	    !(to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)))
		rc = rkfs_writable(fs_of(req), node_of(ino));
	if (rc)
		(void)fuse_reply_err(req, -rc);
	else
		op_getattr(req, ino, fi);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	const struct rk_caller caller = caller_of(req);
	struct fuse_open_out out = {.open_flags = FOPEN_DIRECT_IO | FOPEN_NOFLUSH};
	struct rkfs_file *file;
	int rc = rkfs_open(fs_of(req), node_of(ino), &caller, fi->flags, &file);

	if (rc) {
		(void)fuse_reply_err(req, -rc);
		return;
	}
	if (file->attr->flags & RKFS_STREAM)
		out.open_flags |= FOPEN_STREAM;
	out.fh = (uintptr_t)file;
	/* raw, since libfuse 3.14 knows no FOPEN_STREAM; where it fails no RELEASE will come */
	if (fuse_reply_buf(req, (const char *)&out, sizeof(out)))
		rkfs_file_unref(file);
}

/*
 * read(2) names the lock owner, whatever the program. The page cache, which reads for sendfile(2),
 * splice(2), copy_file_range(2) and mmap(2), names none: served, it would show one open what was
 * rendered for another before. Who copies takes EINVAL for "not this way", and reads.
 */
static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		    struct fuse_file_info *fi)
{
	const struct rk_caller caller = caller_of(req);
	struct rkfs_file *file;

	(void)ino;
	if (!fi->lock_owner) {
		(void)fuse_reply_err(req, EINVAL);
		return;
	}
	file = rkfs_file_ref(file_of(fi));
	rkfs_park_read(parking_of(req), req, file, &caller, (uint64_t)off, size, fi->flags);
	rkfs_file_unref(file);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
		     struct fuse_file_info *fi)
{
	const struct rk_caller caller = caller_of(req);
	struct rkfs_file *file = rkfs_file_ref(file_of(fi));

	(void)ino;
	(void)off;
	rkfs_park_write(parking_of(req), req, file, &caller, buf, size);
	rkfs_file_unref(file);
}

static void op_poll(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi,
		    struct fuse_pollhandle *ph)
{
	(void)ino;
	rkfs_park_poll(parking_of(req), req, file_of(fi), ph);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct rkfs_file *file = file_of(fi);

	(void)ino;
	rkfs_park_release(parking_of(req), file);
	rkfs_file_unref(file);
	(void)fuse_reply_err(req, 0);
}

struct dirbuf {
	fuse_req_t req;
	char *data;
	size_t len, size;
};

static bool dirbuf_add(void *ctx, const char *name, const struct stat *st, uint64_t next)
{
	struct dirbuf *d = ctx;
	size_t need = fuse_add_direntry(d->req, d->data + d->len, d->size - d->len, name, st,
					(off_t)next);

	if (need > d->size - d->len)
		return false;
	d->len += need;
	return true;
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->fh = rkfs_dir_end(fs_of(req));
	(void)fuse_reply_open(req, fi);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	struct dirbuf d = {.req = req, .data = malloc(size), .size = size};
	uint64_t end = off ? fi->fh : rkfs_dir_end(fs_of(req)); /* it may have been rewound */
	int rc = -ENOMEM;

	if (d.data)
		rc = rkfs_readdir(fs_of(req), ino, (uint64_t)off, end, dirbuf_add, &d);
	(void)(rc ? fuse_reply_err(req, -rc) : fuse_reply_buf(req, d.data, d.len));
	free(d.data);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	const struct statvfs st = {.f_bsize = 4096, .f_frsize = 4096, .f_namemax = 255};

	(void)ino;
	(void)fuse_reply_statfs(req, &st);
}

/* The structure is the runtime's: nobody makes or moves an entry, and only messages are removed. */

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
	(void)parent, (void)name, (void)mode, (void)dev;
	(void)fuse_reply_err(req, EPERM);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	op_mknod(req, parent, name, mode, 0);
}

static void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	(void)fi;
	op_mknod(req, parent, name, mode, 0);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	(void)fuse_reply_err(req, -rkfs_unlink(fs_of(req), parent, name));
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	op_mknod(req, parent, name, 0, 0);
}

static void op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name)
{
	(void)link;
	op_mknod(req, parent, name, 0, 0);
}

static void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	(void)ino;
	op_mknod(req, parent, name, 0, 0);
}

static void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
		      const char *newname, unsigned int flags)
{
	(void)newparent, (void)newname, (void)flags;
	op_mknod(req, parent, name, 0, 0);
}

/*
 * What is missing is ENOSYS, which the kernel remembers: attributes are not asked for again, fsync
 * is success, locks are the kernel's own.
 */
static const struct fuse_lowlevel_ops ops = {
	.init = op_init,
	.lookup = op_lookup,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.poll = op_poll,
	.release = op_release,
	.opendir = op_opendir,
	.readdir = op_readdir,
	.statfs = op_statfs,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.create = op_create,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.link = op_link,
	.rename = op_rename,
};

/* --- mount, loop, end --- */

/* libfuse's last words in this thread: why a mount failed. */
static _Thread_local char last_words[RK_ERROR_MAX];

static void log_line(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char line[RK_ERROR_MAX];
	const char *text = line;

	vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	if (!strncmp(line, "fuse: ", 6))
		text += 6;
	snprintf(last_words, sizeof(last_words), "%s", text);
	rk_log(level <= FUSE_LOG_WARNING ? RK_LOG_WARN : RK_LOG_DEBUG, "fuse: %s", text);
}

static ssize_t read_request(int fd, void *buf, size_t len, void *userdata)
{
	(void)userdata;
	return read(fd, buf, len);
}

/* The sysctl fs.fuse.@which_request_timeout in seconds; 0: none, or an older kernel. */
static unsigned int request_timeout(const char *which)
{
	char path[64];
	unsigned int secs = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/sys/fs/fuse/%s_request_timeout", which);
	f = fopen(path, "re");
	if (!f)
		return 0;
	if (fscanf(f, "%u", &secs) != 1)
		secs = 0;
	fclose(f);
	return secs;
}

bool rkfs_session_limit(char *why, size_t size)
{
	unsigned int most = request_timeout("max"), usual = request_timeout("default");

	if (most)
		snprintf(why, size,
			 "fs.fuse.max_request_timeout is %u: the kernel ends the mount when a read "
			 "waits for more than %u seconds; set it to 0 with sysctl, and mount again",
			 most, most < MIN_TIMEOUT ? MIN_TIMEOUT : most);
	else if (usual)
		snprintf(
			why, size,
			"fs.fuse.default_request_timeout is %u: the kernel ends the mount when a "
			"read waits for more than 18 hours, which is the most that can be asked for",
			usual);
	return most || usual;
}

/*
 * A request timeout of the system's (fs.fuse.default_request_timeout, Linux 6.14) has the kernel
 * end the whole connection because one reader waits. It cannot be turned off, but the longest one
 * there is can be asked for, which libfuse does not know of: it is written into its answer to
 * INIT. Where none is set none is asked for.
 */
static void ask_for_patience(struct iovec *iov, int count)
{
	struct fuse_init_out *out = count == 2 ? iov[1].iov_base : NULL;

	if (!out || iov[1].iov_len < INIT_TIMEOUT_OFFSET + sizeof(uint16_t) ||
	    !(out->flags & FUSE_INIT_EXT) || !request_timeout("default"))
		return;
	out->flags2 |= INIT_REQUEST_TIMEOUT;
	memcpy((char *)out + INIT_TIMEOUT_OFFSET, &(uint16_t){UINT16_MAX}, sizeof(uint16_t));
}

static ssize_t write_reply(int fd, struct iovec *iov, int count, void *userdata)
{
	(void)userdata;
	if (answering_init)
		ask_for_patience(iov, count);
	answering_init = false;
	return writev(fd, iov, count);
}

static int session_connect(struct rkfs_session *s, int fuse, bool only_root, struct rk_error *err)
{
	static const struct fuse_custom_io io = {.read = read_request, .writev = write_reply};
	char name[] = "rkfs", allow_root[] = "-oallow_root";
	char *argv[] = {name, allow_root};
	struct fuse_args args = FUSE_ARGS_INIT(only_root ? 2 : 1, argv);
	int rc;

	fuse_set_log_func(log_line);
	last_words[0] = '\0';
	s->fuse = fuse_session_new(&args, &ops, sizeof(ops), s);
	fuse_opt_free_args(&args);
	if (!s->fuse)
		return rk_error_set(err, EINVAL, "cannot create a FUSE session: %s",
				    *last_words ? last_words : "no memory");
	rc = fuse_session_custom_io(s->fuse, &io, fuse);
	if (!rc)
		return 0;
	fuse_session_destroy(s->fuse);
	return rk_error_set(err, -rc, "cannot create a FUSE session: %m");
}

int rkfs_session_create(struct rkfs *fs, int fuse, bool only_root, struct rkfs_session **session,
			struct rk_error *err)
{
	struct rkfs_session *s = calloc(1, sizeof(*s));
	char why[RK_ERROR_MAX];
	int rc;

	if (!s)
		return rk_error_set(err, ENOMEM, "no memory for a FUSE session");
	s->fs = fs;
	rc = -pthread_mutex_init(&s->lock, NULL);
	if (rc)
		goto free_session;
	rc = rkfs_parking_create(&s->parking);
	if (rc)
		goto free_lock;
	rc = session_connect(s, fuse, only_root, err);
	if (!rc) {
		if (rkfs_session_limit(why, sizeof(why)))
			rk_log(RK_LOG_WARN, "%s", why);
		*session = s;
		return 0;
	}
	rkfs_parking_destroy(s->parking);
	pthread_mutex_destroy(&s->lock);
	free(s);
	return rc;
free_lock:
	pthread_mutex_destroy(&s->lock);
free_session:
	free(s);
	return rk_error_set(err, -rc, "cannot create a FUSE session: %m");
}

void rkfs_session_on_ready(struct rkfs_session *session, void (*fn)(void *ctx), void *ctx)
{
	session->ready = fn;
	session->ready_ctx = ctx;
}

static unsigned int loop_threads(void)
{
	cpu_set_t set;
	long n = sched_getaffinity(0, sizeof(set), &set) ? sysconf(_SC_NPROCESSORS_ONLN)
							 : CPU_COUNT(&set);

	return n > MIN_THREADS ? (unsigned int)n : MIN_THREADS;
}

static void on_wake_signal(int sig)
{
	(void)sig;
}

/*
 * The loop waits in sem_wait, which a signal interrupts; one that comes just before it is lost. So
 * the wake-up is a timer that fires until the loop has ended.
 */
static int waker_create(timer_t *waker)
{
	struct sigaction sa = {.sa_handler = on_wake_signal}; /* no SA_RESTART */
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = WAKE_SIGNAL};
	sigset_t set;

	event.sigev_notify_thread_id = gettid();
	sigemptyset(&sa.sa_mask);
	sigemptyset(&set);
	sigaddset(&set, WAKE_SIGNAL);
	if (sigaction(WAKE_SIGNAL, &sa, NULL) || timer_create(CLOCK_MONOTONIC, &event, waker))
		return -errno;
	return -pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static int serve(struct rkfs_session *s)
{
	struct fuse_loop_config *config = fuse_loop_cfg_create();
	int rc;

	if (!config)
		return -ENOMEM;
	fuse_loop_cfg_set_clone_fd(config, 1);
	fuse_loop_cfg_set_max_threads(config, loop_threads());
	/* fewer than there are would end and start threads all the time */
	fuse_loop_cfg_set_idle_threads(config, loop_threads());
	rc = fuse_session_loop_mt(s->fuse, config);
	fuse_loop_cfg_destroy(config);
	return rc > 0 ? -rc : rc;
}

int rkfs_session_loop(struct rkfs_session *session)
{
	int rc = 0;

	pthread_mutex_lock(&session->lock);
	if (!session->exiting)
		rc = waker_create(&session->waker);
	session->looping = !session->exiting && !rc;
	pthread_mutex_unlock(&session->lock);
	if (!session->looping)
		return rc;
	rc = serve(session);
	pthread_mutex_lock(&session->lock);
	session->looping = false;
	timer_delete(session->waker);
	pthread_mutex_unlock(&session->lock);
	return rc;
}

void rkfs_session_exit(struct rkfs_session *session)
{
	const struct itimerspec soon = {.it_interval = {.tv_nsec = WAKE_NS},
					.it_value = {.tv_nsec = 1}};

	RK_GUARD(&session->lock);
	session->exiting = true;
	if (session->looping) {
		fuse_session_exit(session->fuse);
		timer_settime(session->waker, 0, &soon, NULL);
	}
}

void rkfs_session_destroy(struct rkfs_session *session)
{
	rkfs_parking_destroy(session->parking);
	rkfs_close_files(session->fs);
	fuse_session_destroy(session->fuse);
	pthread_mutex_destroy(&session->lock);
	free(session);
}
