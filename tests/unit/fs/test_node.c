/* SPDX-License-Identifier: MIT */
/* The tree, unmounted, over a real runtime and its worker. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/stats.h"
#include "runtime/base/clock.h"
#include "tests/unit/fs/tree.h"
#include "tests/unit/unit.h"

#define BIG (1 << 20)

static const struct rk_caller nobody = {.uid = 65534, .gid = 65534, .pid = 1};

static int setup(void **state)
{
	static const char *const options[] = {"preset=testing", "worker_threads=2",
					      "drain_timeout=30s", NULL};

	(void)state;
	return tree_open(RK_WORKER_PATH, options);
}

static int teardown(void **state)
{
	(void)state;
	assert_true(TAILQ_EMPTY(&fs.files));
	tree_close();
	return 0;
}

/* --- helpers --- */

static struct rkfs_file *open_file(const char *path, int flags)
{
	struct rkfs_file *file = NULL;

	assert_int_equal(rkfs_open(&fs, find(path), &nobody, flags, &file), 0);
	return file;
}

static int open_error(const char *path, int flags)
{
	struct rkfs_file *file = NULL;
	int rc = rkfs_open(&fs, find(path), &nobody, flags, &file);

	assert_int_not_equal(rc, 0);
	assert_null(file);
	return rc;
}

struct bytes {
	char data[4096];
	size_t len;
	int calls;
};

static void take(void *ctx, const void *data, size_t len)
{
	struct bytes *b = ctx;

	b->calls++;
	b->len = len < sizeof(b->data) ? len : sizeof(b->data) - 1;
	memcpy(b->data, data, b->len);
	b->data[b->len] = '\0';
}

static void take_length(void *ctx, const void *data, size_t len)
{
	struct bytes *b = ctx;

	(void)data;
	b->calls++;
	b->len = len;
}

/* One read; the text that came, or fails the test. */
static const char *read_at(struct rkfs_file *file, uint64_t offset, size_t size)
{
	static struct bytes b;

	b.calls = 0;
	assert_int_equal(rkfs_read(file, &nobody, offset, size, 0, take, &b), 0);
	assert_int_equal(b.calls, 1);
	return b.data;
}

static int read_error(struct rkfs_file *file)
{
	struct bytes b = {.calls = 0};
	int rc = rkfs_read(file, &nobody, 0, BIG, 0, take, &b);

	assert_int_not_equal(rc, 0);
	assert_int_equal(b.calls, 0);
	return rc;
}

static const char *cat(const char *path)
{
	struct rkfs_file *file = open_file(path, O_RDONLY);
	const char *text = read_at(file, 0, BIG);

	rkfs_file_unref(file);
	return text;
}

static int cat_error(const char *path)
{
	struct rkfs_file *file = open_file(path, O_RDONLY);
	int rc = read_error(file);

	rkfs_file_unref(file);
	return rc;
}

static ssize_t echo(const char *text, const char *path)
{
	struct rkfs_file *file = open_file(path, O_WRONLY);
	ssize_t rc;

	/* a command that reads files is waited for */
	while ((rc = rkfs_write(file, &nobody, text, strlen(text))) == -EAGAIN)
		sched_yield();
	rkfs_file_unref(file);
	return rc;
}

struct sleeper {
	struct rkfs_waiter waiter;
	sem_t woken;
};

static void on_wake(struct rkfs_waiter *w)
{
	sem_post(&((struct sleeper *)w)->woken);
}

/* A blocking read, as fs/park.c does it for many. 0 or its error. */
static int read_wait(struct rkfs_file *file, struct bytes *b)
{
	struct sleeper s = {.waiter.wake = on_wake};
	int rc;

	assert_int_equal(sem_init(&s.woken, 0, 0), 0);
	for (;;) {
		uint64_t seq = rkfs_waitq_seq(file->waitq);

		rc = rkfs_read(file, &nobody, 0, BIG, 0, take, b);
		if (rc != -EAGAIN)
			break;
		if (!rkfs_waitq_add(file->waitq, &s.waiter, seq))
			while (sem_wait(&s.woken))
				;
	}
	sem_destroy(&s.woken);
	return rc;
}

static void wait_for(const char *path, const char *expected)
{
	struct rkfs_file *file = open_file(path, O_RDONLY);
	struct bytes b = {.calls = 0};

	assert_int_equal(read_wait(file, &b), 0);
	assert_string_equal(b.data, expected);
	rkfs_file_unref(file);
}

static void start(void)
{
	assert_int_equal(echo("start\n", "control"), 6);
	wait_for("wait/running", "Running\n");
}

/* --- the tree --- */

struct names {
	char all[4096]; /* " NAME NAME " */
	int count, room;
	uint64_t next;
	uint64_t dir;
};

static bool collect(void *ctx, const char *name, const struct stat *st, uint64_t next)
{
	struct names *n = ctx;
	struct rkfs_entry found;
	ino_t number;

	if (n->count == n->room)
		return false;
	n->count++;
	n->next = next;
	strcat(strcat(n->all, name), " ");
	if (!strcmp(name, ".") || !strcmp(name, ".."))
		return true;
	/* what is listed can be looked up, with the same number and type, and stat'ed */
	assert_int_equal(rkfs_lookup(&fs, n->dir, name, &found), 0);
	number = found.st.st_ino;
	assert_int_equal(number, st->st_ino);
	assert_in_range(number, 2, UINT32_MAX);
	assert_int_equal(found.st.st_mode & S_IFMT, st->st_mode & S_IFMT);
	assert_int_equal(rkfs_getattr(&fs, found.node, &found), 0);
	assert_int_equal(found.st.st_ino, number);
	assert_int_equal(found.st.st_blocks, (found.st.st_size + 511) / 512);
	assert_true(found.attr_timeout == 0 || S_ISDIR(found.st.st_mode));
	assert_int_equal(found.st.st_uid, n->dir == find("inflight") ? nobody.uid : fs.access.uid);
	return true;
}

/* The names in @path, listed @step at a time. */
static const char *ls_until(const char *path, int step, uint64_t end)
{
	static struct names n;
	int count;

	memset(&n, 0, sizeof(n));
	strcpy(n.all, " ");
	n.dir = find(path);
	do {
		count = n.count;
		n.room = n.count + step;
		assert_int_equal(rkfs_readdir(&fs, n.dir, n.next, end, collect, &n), 0);
	} while (n.count > count);
	return n.all;
}

static const char *ls(const char *path, int step)
{
	return ls_until(path, step, rkfs_dir_end(&fs));
}

#define RIG_TEST(name) TEST_WITH(name, setup, teardown)

RIG_TEST(listing)
{
	static const char stats[] = " . .. "
#define RK_STAT(name, metric, type, help, value) #name " "
#include "runtime/stats.def"
				    "all ";

	for (int step = 1; step < 100; step += 33) {
		assert_string_equal(
			ls("", step),
			" . .. version state control last_cmd_status "
			"metrics events stats config health wait drain inflight kernels "
			"devices workers ");
		assert_string_equal(ls("health", step),
				    " . .. live ready status reason last_check_age_secs "
				    "checks_passed checks_failed checks_overdue check ");
		assert_string_equal(ls("devices", step), " . .. ");
		assert_string_equal(ls("workers", step), " . .. 0 ");
		assert_string_equal(ls("wait", step), " . .. ");
		assert_string_equal(ls("drain", step), " . .. deadline_secs remaining stuck ");
		assert_string_equal(ls("kernels", step), " . .. core risk graph ");
		assert_string_equal(ls("inflight", step), " . .. ");
		assert_non_null(strstr(ls("kernels/core", step), " vector-add "));
		assert_string_equal(
			ls("kernels/core/echo", step),
			" . .. mode description version backend enable queue_depth inputs outputs example "
			"messages_accepted messages_processed messages_failed messages_cancelled "
			"messages_timed_out messages_rejected messages_in_flight last_error "
			"latency_p50_usecs latency_p99_usecs call.json call.safetensors call.raw ");
		/* two lengths do not tell three dims */
		assert_non_null(strstr(ls("kernels/core/matmul", step), " call.safetensors "));
		assert_null(strstr(ls("kernels/core/matmul", step), " call.raw "));
		assert_string_equal(ls("stats", step), stats);
		assert_non_null(strstr(ls("config", step), " worker_threads "));
		assert_non_null(strstr(ls("config", step), " pending "));
	}
}

RIG_TEST(lookup)
{
	char longest[300];
	struct rkfs_entry entry;

	memset(longest, 'x', sizeof(longest));
	longest[256] = '\0';
	assert_int_equal(rkfs_lookup(&fs, RKFS_ROOT_INO, longest, &entry), -ENAMETOOLONG);
	longest[255] = '\0';
	assert_int_equal(rkfs_lookup(&fs, RKFS_ROOT_INO, longest, &entry), -ENOENT);
	assert_int_equal(rkfs_lookup(&fs, RKFS_ROOT_INO, "", &entry), -ENOENT);
	assert_int_equal(rkfs_lookup(&fs, find("state"), "x", &entry), -ENOTDIR);
	assert_int_equal(rkfs_lookup(&fs, find("kernels"), "none", &entry), -ENOENT);
	assert_int_equal(rkfs_lookup(&fs, find("kernels/core"), "none", &entry), -ENOENT);
	assert_int_equal(rkfs_lookup(&fs, RKFS_ROOT_INO, "core", &entry), -ENOENT);
	assert_int_equal(rkfs_lookup(&fs, find("kernels/core/matmul"), "call.raw", &entry),
			 -ENOENT);
	assert_int_equal(rkfs_lookup(&fs, find("inflight"), "1", &entry), -ENOENT);
	/* hidden, and there */
	assert_int_equal(rkfs_lookup(&fs, RKFS_ROOT_INO, "events_follow", &entry), 0);
	assert_int_equal(rkfs_lookup(&fs, find("wait"), "stopped", &entry), 0);
	assert_true(entry.entry_timeout > 1);
	/* these can vanish */
	assert_int_equal(rkfs_lookup(&fs, find("kernels"), "core", &entry), 0);
	assert_true(entry.entry_timeout == 0);
	assert_int_equal(rkfs_lookup(&fs, find("kernels/core"), "echo", &entry), 0);
	assert_true(entry.entry_timeout == 0);
}

/* Numbers that are nobody's never crash, and never are somebody's. */
RIG_TEST(bad_numbers)
{
	static const uint64_t bad[] = {0,
				       0x8000,
				       UINT64_MAX,
				       1ULL << 63,
				       0x10000 + 1,
				       (uint64_t)RKFS_CLASS_COUNT << 48 | 1,
				       (uint64_t)RKFS_DOMAIN << 48 | 1,
				       (uint64_t)RKFS_DOMAIN << 48 | 0xffff0001,
				       (uint64_t)RKFS_KERNEL << 48 | 0xffff0001,
				       (uint64_t)RKFS_INFLIGHT << 48 | 0xffff0001,
				       ((uint64_t)RKFS_INFLIGHT << 48 | 0xffff0000) + 2};
	/* getattr tells no removed kernel's file, which may be open still, from one that never was
	 */
	static const uint64_t removed = ((uint64_t)RKFS_KERNEL << 48 | 0xffff0000) + 2;
	struct rkfs_file *file;
	struct rkfs_entry entry;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		/* ESTALE: a kernel's that was removed; walk again from the top */
		assert_int_equal(rkfs_getattr(&fs, bad[i], &entry),
				 bad[i] >> 48 == RKFS_KERNEL ? -ESTALE : -ENOENT);
		assert_true(rkfs_lookup(&fs, bad[i], "state", &entry) < 0);
		assert_true(rkfs_open(&fs, bad[i], &nobody, O_RDONLY, &file) < 0);
		assert_true(rkfs_writable(&fs, bad[i]) < 0);
		assert_true(rkfs_readdir(&fs, bad[i], 0, 0, collect, NULL) < 0);
	}
	assert_int_equal(rkfs_getattr(&fs, removed, &entry), 0);
	assert_true(rkfs_open(&fs, removed, &nobody, O_RDONLY, &file) < 0);
	assert_true(rkfs_lookup(&fs, removed, "state", &entry) < 0);
	assert_true(rkfs_readdir(&fs, removed, 0, 0, collect, NULL) < 0);
}

RIG_TEST(attributes)
{
	static const struct {
		const char *path;
		mode_t mode;
		nlink_t links;
	} cases[] = {
		{"", S_IFDIR | 0555, 11},
		{"stats", S_IFDIR | 0555, 2},
		{"inflight", S_IFDIR | 01777, 2},
		{"kernels", S_IFDIR | 0555, 1},
		{"kernels/core", S_IFDIR | 0555, 1},
		{"kernels/core/echo", S_IFDIR | 0555, 2},
		{"health", S_IFDIR | 0555, 2},
		{"devices", S_IFDIR | 0555, 1},
		{"workers", S_IFDIR | 0555, 1},
		{"workers/0", S_IFDIR | 0555, 2},
		{"workers/0/enable", S_IFREG | 0644, 1},
		{"health/ready", S_IFREG | 0444, 1},
		{"health/check", S_IFREG | 0200, 1},
		{"state", S_IFREG | 0444, 1},
		{"control", S_IFREG | 0600, 1},
		{"stats/all", S_IFREG | 0444, 1},
		{"wait/stopped", S_IFREG | 0444, 1},
		{"config/log_level", S_IFREG | 0640, 1},
		{"config/worker_threads", S_IFREG | 0440, 1},
		{"config/pending", S_IFREG | 0444, 1},
		{"kernels/core/echo/enable", S_IFREG | 0644, 1},
		{"kernels/core/echo/call.json", S_IFREG | 0600, 1},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct rkfs_entry entry;
		const struct stat *st = &entry.st;

		assert_int_equal(rkfs_getattr(&fs, find(cases[i].path), &entry), 0);
		assert_int_equal(st->st_mode, cases[i].mode);
		assert_int_equal(st->st_nlink, cases[i].links);
		assert_int_equal(st->st_blksize, 4096);
	}
}

static uint64_t nanoseconds(struct timespec t)
{
	return (uint64_t)t.tv_sec * RK_NS_PER_SEC + (uint64_t)t.tv_nsec;
}

static struct stat stat_of(const char *path)
{
	struct rkfs_entry entry;

	assert_int_equal(rkfs_getattr(&fs, find(path), &entry), 0);
	return entry.st;
}

/* The length of the text now; of what only a read can tell, and of what has no value now, a page.
 */
RIG_TEST(sizes)
{
	static const char *const texts[] = {
		"state",
		"control",
		"stats/all",
		"config/pending",
		"config/max_queue_depth",
		"kernels/core/vector-add/inputs",
		"health/check",
		"metrics",
		"events",
	};
	static const char *const unknown[] = {
		"wait/stopped",
		"events_follow",
		"kernels/core/echo/call.json",
		"drain/remaining",
		"drain/stuck",
		"kernels/core/echo/latency_p50_usecs",
		"health/last_check_age_secs",
	};
	struct rkfs_entry entry;
	struct rkfs_file *file;
	struct bytes whole;
	uint64_t node;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		off_t size = stat_of(texts[i]).st_size;

		file = open_file(texts[i], O_RDONLY);
		whole.calls = 0;
		assert_int_equal(rkfs_read(file, &nobody, 0, BIG, 0, take_length, &whole), 0);
		assert_int_equal(size, whole.len);
		rkfs_file_unref(file);
	}
	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		assert_int_equal(stat_of(unknown[i]).st_size, 4096);
		assert_int_equal(stat_of(unknown[i]).st_blocks, 8);
	}
	/* a file of a kernel that was removed since can be open still */
	node = find("kernels/core/echo/inputs");
	file = open_file("kernels/core/echo/inputs", O_RDONLY);
	rk_registry_retire(rk_runtime_registry(fs.rt), file->subject.kernel);
	assert_int_equal(rkfs_getattr(&fs, node, &entry), 0);
	assert_int_equal(entry.st.st_size, strlen(read_at(file, 0, BIG)));
	rk_registry_forget(rk_runtime_registry(fs.rt), file->subject.kernel);
	assert_int_equal(rkfs_getattr(&fs, node, &entry), 0);
	assert_int_equal(entry.st.st_size, 4096);
	rkfs_file_unref(file);
}

/* The mount's time, until a look finds other content. */
RIG_TEST(times)
{
	struct timespec born = fs.born, changed;

	assert_int_equal(nanoseconds(stat_of("version").st_mtim), nanoseconds(born));
	assert_int_equal(nanoseconds(stat_of("state").st_mtim), nanoseconds(born));
	assert_int_equal(nanoseconds(stat_of("wait/stopped").st_mtim), nanoseconds(born));
	assert_in_range(nanoseconds(stat_of("kernels/core/echo").st_mtim), nanoseconds(born),
			nanoseconds(born) + 60 * RK_NS_PER_SEC);
	assert_int_equal(nanoseconds(stat_of("kernels/core/echo/inputs").st_mtim),
			 nanoseconds(stat_of("kernels/core/echo").st_mtim));
	assert_int_equal(echo("stop", "control"), 4);
	changed = stat_of("state").st_mtim;
	assert_true(nanoseconds(changed) > nanoseconds(born));
	assert_int_equal(nanoseconds(stat_of("state").st_mtim), nanoseconds(changed));
	assert_int_equal(nanoseconds(stat_of("version").st_mtim), nanoseconds(born));
	assert_int_equal(nanoseconds(stat_of("stats").st_mtim), nanoseconds(born));
}

RIG_TEST(open)
{
	assert_int_equal(open_error("state", O_WRONLY), -EPERM);
	assert_int_equal(open_error("state", O_RDWR), -EPERM);
	assert_int_equal(open_error("wait/stopped", O_WRONLY), -EPERM);
	assert_int_equal(open_error("stats", O_RDONLY), -EISDIR);
	rkfs_file_unref(open_file("state", O_RDONLY | O_TRUNC));
	rkfs_file_unref(open_file("control", O_WRONLY | O_APPEND | O_TRUNC));
	assert_int_equal(rkfs_writable(&fs, find("control")), 0);
	assert_int_equal(rkfs_writable(&fs, find("state")), -EPERM);
	assert_int_equal(rkfs_writable(&fs, find("stats")), -EISDIR);
	assert_int_equal(rkfs_writable(&fs, find("kernels/core/echo/call.json")), 0);
}

/* --- text --- */

RIG_TEST(content)
{
	assert_string_equal(cat("version"), "rkfs " RK_VERSION "\n");
	assert_string_equal(cat("state"), "Created\n");
	assert_string_equal(cat("last_cmd_status"), "ok\n");
	assert_string_equal(cat("stats/kernels_registered"), "9\n");
	assert_string_equal(cat("stats/messages_in_flight"), "0\n");
	assert_string_equal(cat("config/preset"), "testing\n");
	assert_string_equal(cat("config/worker_threads"), "2\n");
	assert_string_equal(cat("config/pending"), "");
	assert_string_equal(cat("kernels/core/vector-add/mode"), "batch\n");
	assert_string_equal(cat("kernels/core/ring-echo/mode"), "ring\n");
	assert_string_equal(cat("kernels/core/vector-add/inputs"), "a = f32[n]\nb = f32[n]\n");
	assert_string_equal(cat("kernels/core/vector-add/outputs"), "c = f32[n]\n");
	assert_string_equal(cat("kernels/core/vector-add/backend"), "none\n");
	assert_string_equal(cat("kernels/core/vector-add/last_error"), "none\n");
	assert_string_equal(cat("kernels/core/vector-add/queue_depth"), "0\n");
	assert_int_equal(cat_error("kernels/core/vector-add/latency_p50_usecs"), -ENODATA);
	assert_int_equal(cat_error("kernels/core/vector-add/latency_p99_usecs"), -ENODATA);
	assert_int_equal(cat_error("drain/deadline_secs"), -ENODATA);
	assert_int_equal(cat_error("drain/remaining"), -ENODATA);
	assert_int_equal(cat_error("drain/stuck"), -ENODATA);
	assert_string_equal(cat("health/live"), "1\n");
	assert_string_equal(cat("health/ready"), "0\n");
	assert_string_equal(cat("health/status"), "unknown\n");
	assert_string_equal(cat("health/reason"), "the runtime is Created\n");
	assert_int_equal(cat_error("health/last_check_age_secs"), -ENODATA);
	assert_string_equal(cat("health/checks_passed"), "0\n");
	assert_string_equal(cat("health/checks_failed"), "0\n");
	assert_string_equal(cat("health/checks_overdue"), "0\n");
	assert_string_equal(cat("health/check"), "");
}

/* Every listed file but control and the calls shows something, or says why not. */
RIG_TEST(stats_all)
{
	char line[64], path[64], key[48], value[16];
	const char *all;
	int rows = 0;

	all = strdup(cat("stats/all"));
	for (const char *p = all; *p; p = strchr(p, '\n') + 1) {
		assert_int_equal(sscanf(p, "%47s %15s", key, value), 2);
		snprintf(path, sizeof(path), "stats/%s", key);
		snprintf(line, sizeof(line), "%s\n", value);
		assert_string_equal(cat(path), line);
		rows++;
	}
	assert_int_equal(rows, RK_STAT_COUNT);
	free((void *)all);
}

RIG_TEST(offsets)
{
	struct rkfs_file *file = open_file("state", O_RDONLY);

	/* a first read in the middle renders too */
	assert_string_equal(read_at(file, 4, 2), "te");
	assert_string_equal(read_at(file, 0, 3), "Cre");
	/* the rest is of the same rendering, whatever has happened since */
	assert_int_equal(echo("stop", "control"), 4);
	assert_string_equal(read_at(file, 3, 100), "ated\n");
	assert_string_equal(read_at(file, 8, 100), "");
	assert_string_equal(read_at(file, UINT64_MAX, 100), "");
	assert_string_equal(read_at(file, 0, 100), "Stopped\n");
	rkfs_file_unref(file);
}

RIG_TEST(write)
{
	struct rkfs_file *file;
	char *big = calloc(1, BIG);

	assert_non_null(big);
	file = open_file("control", O_RDWR);
	assert_int_equal(rkfs_write(file, &nobody, big, BIG), -EMSGSIZE);
	assert_non_null(strstr(cat("last_cmd_status"), "4096"));
	memset(big, 's', 4096);
	assert_int_equal(rkfs_write(file, &nobody, big, 4096), -EINVAL);
	assert_string_equal(read_at(file, 0, 5), "start");
	assert_int_equal(rkfs_write(file, &nobody, "stop", 4), 4);
	/* what was rendered before the write is not shown after it */
	assert_string_equal(read_at(file, 1, 4), "rain");
	rkfs_file_unref(file);
	free(big);
}

RIG_TEST(config)
{
	/* the testing preset has hot_reload_enabled off */
	assert_int_equal(echo("warn\n", "config/log_level"), -EPERM);
	assert_non_null(strstr(cat("last_cmd_status"), "hot_reload_enabled"));
	assert_int_equal(echo("4\n", "config/worker_threads"), -EPERM);
	assert_non_null(strstr(cat("last_cmd_status"), "worker_threads"));
	assert_int_equal(echo("a\nb", "config/log_level"), -EINVAL);
	assert_non_null(strstr(cat("last_cmd_status"), "log_level"));
	assert_string_equal(cat("config/worker_threads"), "2\n");
}

RIG_TEST(enable)
{
	assert_string_equal(cat("kernels/core/echo/enable"), "1\n");
	assert_int_equal(echo("yes\n", "kernels/core/echo/enable"), -EINVAL);
	assert_non_null(strstr(cat("last_cmd_status"), "core/echo"));
	assert_int_equal(echo(" 0 \n", "kernels/core/echo/enable"), 4);
	assert_string_equal(cat("kernels/core/echo/enable"), "0\n");
	assert_string_equal(cat("last_cmd_status"), "ok\n");
	assert_string_equal(cat("kernels/core/delay/enable"), "1\n");
}

RIG_TEST(kernel_backend)
{
	start();
	assert_string_equal(cat("kernels/core/echo/backend"), "cpu\n");
	assert_int_equal(echo("stop", "control"), 4);
	assert_string_equal(cat("kernels/core/echo/backend"), "none\n");
}

RIG_TEST(health)
{
	assert_int_equal(echo("1", "health/check"), -EBUSY);
	assert_string_equal(cat("last_cmd_status"),
			    "check: the runtime is Created: write start first\n");
	start();
	assert_string_equal(cat("health/ready"), "1\n");
	assert_string_equal(cat("health/status"), "healthy\n");
	assert_string_equal(cat("health/reason"), "ok\n");
	assert_string_equal(cat("health/last_check_age_secs"), "0\n");
	assert_string_equal(cat("health/checks_passed"), "1\n");
	assert_int_equal(echo(" 1\n", "health/check"), 3);
	assert_string_equal(cat("last_cmd_status"), "ok\n");
	assert_int_equal(echo("0", "health/check"), -EINVAL);
	assert_string_equal(cat("last_cmd_status"), "check: write 1 to probe now\n");
	assert_int_equal(echo("stop", "control"), 4);
	assert_string_equal(cat("health/ready"), "0\n");
	assert_string_equal(cat("health/status"), "unknown\n");
	assert_int_equal(echo("1", "health/check"), -EBUSY);
}

/* --- what waits --- */

RIG_TEST(wait)
{
	struct rkfs_file *stopped = open_file("wait/stopped", O_RDONLY);
	struct rkfs_file *running = open_file("wait/running", O_RDONLY);

	assert_int_equal(read_error(stopped), -EAGAIN);
	assert_int_equal(rkfs_poll(stopped), 0);
	start();
	assert_int_equal(rkfs_poll(running), POLLIN);
	wait_for("wait/ready", "Running\n");
	/* a line in pieces, then EOF, also where the state has moved on */
	assert_string_equal(read_at(running, 0, 3), "Run");
	assert_int_equal(echo("drain", "control"), 5);
	wait_for("wait/stopped", "Stopped\n");
	wait_for("wait/drained", "Stopped\n");
	assert_string_equal(read_at(running, 0, 100), "ning\n");
	assert_string_equal(read_at(running, 0, 100), "");
	assert_string_equal(read_at(stopped, 0, 100), "Stopped\n");
	assert_string_equal(read_at(stopped, 0, 100), "");
	rkfs_file_unref(stopped);
	rkfs_file_unref(running);
}

static int setup_broken(void **state)
{
	static const char *const options[] = {"preset=testing", "restart_limit=0", NULL};

	(void)state;
	return tree_open("/dev/null", options);
}

/* A worker that cannot be executed: the runtime fails, and what cannot come says so. */
TEST_WITH(wait_failed, setup_broken, teardown)
{
	static const char *const hopeless[] = {"wait/running", "wait/ready", "wait/drained"};
	struct rkfs_file *files[3], *stopped = open_file("wait/stopped", O_RDONLY);
	struct bytes b;

	for (int i = 0; i < 3; i++)
		files[i] = open_file(hopeless[i], O_RDONLY);
	assert_int_equal(echo("start", "control"), 5);
	for (int i = 0; i < 3; i++)
		assert_int_equal(read_wait(files[i], &b), -EIO);
	assert_string_equal(cat("state"), "Failed\n");
	assert_string_equal(cat("health/live"), "0\n");
	assert_string_equal(cat("health/status"), "unhealthy\n");
	for (int i = 0; i < 3; i++) {
		assert_int_equal(rkfs_poll(files[i]), POLLIN | POLLERR);
		rkfs_file_unref(files[i]);
	}
	assert_int_equal(read_error(stopped), -EAGAIN);
	assert_int_equal(echo("stop", "control"), 4);
	assert_string_equal(read_at(stopped, 0, 100), "Stopped\n");
	rkfs_file_unref(stopped);
}

RIG_TEST(poll_state)
{
	struct rkfs_file *file = open_file("state", O_RDONLY);
	struct rkfs_file *version = open_file("version", O_RDONLY);
	struct rkfs_file *control = open_file("control", O_RDWR);

	assert_int_equal(rkfs_poll(file), POLLIN);
	assert_int_equal(echo("stop", "control"), 4);
	assert_int_equal(rkfs_poll(file), POLLIN | POLLPRI | POLLERR);
	assert_int_equal(rkfs_poll(file), POLLIN | POLLPRI | POLLERR);
	assert_string_equal(read_at(file, 0, 100), "Stopped\n");
	assert_int_equal(rkfs_poll(file), POLLIN);
	assert_int_equal(rkfs_poll(version), POLLIN);
	assert_int_equal(rkfs_poll(control), POLLIN | POLLOUT);
	rkfs_file_unref(file);
	rkfs_file_unref(version);
	rkfs_file_unref(control);
}

static void add_events(int n)
{
	for (int i = 0; i < n; i++)
		rk_events_add(rk_runtime_events(fs.rt), "Test", NULL);
}

RIG_TEST(events)
{
	struct rkfs_file *follow = open_file("events_follow", O_RDONLY);
	const char *text;
	char *all;

	add_events(3);
	all = strdup(cat("events"));
	assert_non_null(strstr(all, "\"event\":\"Test\""));
	assert_int_equal(rkfs_poll(follow), POLLIN);
	assert_string_equal(read_at(follow, 0, BIG), all);
	assert_int_equal(rkfs_poll(follow), 0);
	assert_int_equal(read_error(follow), -EAGAIN);
	add_events(2);
	/* whole lines while they fit; a line longer than the read comes in pieces */
	text = read_at(follow, 0, 100);
	assert_int_equal(text[strlen(text) - 1], '\n');
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
	assert_string_equal(read_at(follow, 0, 5), "{\"seq");
	assert_int_equal(rkfs_poll(follow), POLLIN);
	text = read_at(follow, 0, 100);
	assert_memory_equal(text, "\":", 2);
	assert_int_equal(text[strlen(text) - 1], '\n');
	assert_int_equal(read_error(follow), -EAGAIN);
	rkfs_file_unref(follow);
	free(all);
}

static size_t length_at(struct rkfs_file *file, off_t offset, size_t size)
{
	struct bytes whole = {.calls = 0};

	assert_int_equal(rkfs_read(file, &nobody, (uint64_t)offset, size, 0, take_length, &whole),
			 0);
	return whole.len;
}

/*
 * A log is followed by reading at its end, as tail -f does, which takes a size that falls for a
 * truncation and reads no more than the size has grown by.
 */
RIG_TEST(events_tail)
{
	struct rkfs_file *tail = open_file("events", O_RDONLY), *cat;
	off_t size, at = stat_of("events").st_size;

	assert_int_equal(length_at(tail, 0, BIG), at);
	assert_string_equal(read_at(tail, (uint64_t)at, BIG), "");
	for (int i = 0; i < RK_EVENTS_HELD / RK_EVENTS_RETAINED - 1; i++) {
		add_events(RK_EVENTS_RETAINED);
		size = stat_of("events").st_size;
		assert_true(size > at);
		assert_int_equal(length_at(tail, at, 100), 100);
		assert_int_equal(length_at(tail, at + 100, BIG), size - at - 100);
		at = size;
		assert_string_equal(read_at(tail, (uint64_t)at, BIG), "");
	}
	assert_true(tail->text.size < BIG);
	/* another one sees the same, also where it begins at the end */
	cat = open_file("events", O_RDONLY);
	assert_int_equal(length_at(cat, at - 10, BIG), 10);
	assert_int_equal(length_at(cat, 0, 2 * BIG), at);
	/* this is the bound; and who is too slow is told */
	add_events(RK_EVENTS_RETAINED);
	assert_true(stat_of("events").st_size < at);
	assert_memory_equal(read_at(cat, (uint64_t)at, BIG), "{\"seq\":", 7);
	assert_memory_equal(read_at(tail, 0, 100), "{\"seq\":", 7);
	assert_int_equal(length_at(tail, 0, 2 * BIG), stat_of("events").st_size);
	rkfs_file_unref(cat);
	rkfs_file_unref(tail);
	/* nobody looks */
	add_events(RK_EVENTS_RETAINED);
	at = stat_of("events").st_size;
	add_events(RK_EVENTS_RETAINED);
	assert_in_range(stat_of("events").st_size, at, at + RK_EVENTS_RETAINED);
}

/* One that falls behind the ring learns how much it has missed. */
RIG_TEST(events_lost)
{
	struct rkfs_file *follow = open_file("events_follow", O_RDONLY);
	const char *text;

	add_events(RK_EVENTS_RETAINED + 10);
	text = read_at(follow, 0, 10);
	assert_memory_equal(text, "{\"seq\":", 7); /* what it never had is not lost */
	read_at(follow, 0, BIG);
	while (rkfs_poll(follow))
		read_at(follow, 0, BIG);
	add_events(RK_EVENTS_RETAINED + 7);
	text = read_at(follow, 0, 100);
	assert_memory_equal(text, "{\"event\":\"Lost\",\"count\":7}\n{\"seq\":", 34);
	rkfs_file_unref(follow);
}

RIG_TEST(ending)
{
	struct rkfs_file *follow = open_file("events_follow", O_RDONLY);
	struct rkfs_file *wait = open_file("wait/stopped", O_RDONLY);

	add_events(1);
	rkfs_end_waiters(&fs);
	assert_int_equal(rkfs_poll(wait), POLLIN);
	assert_string_equal(read_at(wait, 0, 100), "");
	/* what had happened is still given out */
	assert_int_equal(rkfs_poll(follow), POLLIN);
	assert_memory_equal(read_at(follow, 0, BIG), "{\"seq\":", 7);
	assert_string_equal(read_at(follow, 0, 100), "");
	assert_string_equal(read_at(follow, 0, 100), "");
	rkfs_file_unref(follow);
	rkfs_file_unref(wait);
}

/* --- a drain that is held up --- */

RIG_TEST(drain)
{
	struct rkfs_file *call, *follow;
	char kernel[64], where[32];
	unsigned int uid, pid;
	unsigned long long id, age;
	struct bytes b;

	start();
	call = open_file("kernels/core/delay/call.json", O_RDWR);
	assert_int_equal(rkfs_write(call, &nobody, "{\"ms\":60000}", 12), 12);
	assert_int_equal(read_error(call), -EAGAIN); /* submitted */
	assert_string_equal(cat("stats/messages_in_flight"), "1\n");
	assert_string_equal(cat("kernels/core/delay/messages_in_flight"), "1\n");
	assert_int_equal(echo("drain 3600", "control"), 10);
	assert_string_equal(cat("state"), "Draining\n");
	while (rk_runtime_drain_left_ms(fs.rt) == 3600000)
		; /* a part of the first second has to pass: a started one counts */
	assert_string_equal(cat("drain/deadline_secs"), "3600\n");
	assert_string_equal(cat("drain/remaining"), "1\n");
	assert_int_equal(sscanf(cat("drain/stuck"),
				"%llu kernel=%63s state=%31s age_ms=%llu uid=%u pid=%u\n", &id,
				kernel, where, &age, &uid, &pid),
			 6);
	assert_string_equal(kernel, "core/delay");
	assert_string_equal(where, "running");
	assert_int_equal(uid, nobody.uid);
	assert_int_equal(pid, nobody.pid);
	follow = open_file("wait/stopped", O_RDONLY);
	assert_int_equal(read_error(follow), -EAGAIN);
	assert_int_equal(echo("stop", "control"), 4);
	assert_int_equal(read_wait(follow, &b), 0);
	assert_int_equal(read_wait(call, &b), -ECANCELED);
	assert_int_equal(cat_error("drain/remaining"), -ENODATA);
	assert_string_equal(cat("stats/messages_accepted"), "1\n");
	assert_string_equal(cat("stats/messages_cancelled"), "1\n");
	assert_string_equal(cat("stats/messages_processed"), "0\n");
	assert_string_equal(cat("stats/messages_failed"), "0\n");
	assert_string_equal(cat("stats/messages_timed_out"), "0\n");
	assert_string_equal(cat("stats/messages_rejected"), "0\n");
	assert_string_equal(cat("stats/messages_in_flight"), "0\n");
	assert_string_equal(cat("kernels/core/delay/messages_cancelled"), "1\n");
	assert_string_equal(cat("kernels/core/echo/messages_cancelled"), "0\n");
	rkfs_file_unref(follow);
	rkfs_file_unref(call);
}

/* --- messages in flight --- */

static struct rkfs_file *submit_delay(const char *request)
{
	struct rkfs_file *call = open_file("kernels/core/delay/call.json", O_RDWR);

	assert_int_equal(rkfs_write(call, &nobody, request, strlen(request)), strlen(request));
	assert_int_equal(read_error(call), -EAGAIN); /* submitted */
	return call;
}

static void expect_message(const char *id, const char *state)
{
	unsigned long long age;
	char path[32], text[160];

	snprintf(path, sizeof(path), "inflight/%s", id);
	snprintf(text, sizeof(text),
		 "kernel core/delay\nstate %s\nage_ms %%llu\nuid 65534\npid 1\n", state);
	assert_int_equal(sscanf(cat(path), text, &age), 1);
}

/* A file for each message, its caller's, whose removal cancels. */
RIG_TEST(inflight)
{
	struct rkfs_file *call[3], *file;
	struct timespec before, after;
	unsigned long long usecs;
	struct rkfs_entry entry;
	struct bytes b;

	start();
	clock_gettime(CLOCK_REALTIME, &before);
	for (int i = 0; i < 3; i++) /* two threads */
		call[i] = submit_delay(i < 2 ? "{\"ms\":60000}" : "{\"ms\":0}");
	clock_gettime(CLOCK_REALTIME, &after);
	assert_string_equal(ls("inflight", 1), " . .. 1 2 3 ");
	assert_string_equal(ls_until("inflight", 1, 2),
			    " . .. 1 2 "); /* begun before 3 was there */
	assert_int_equal(rkfs_getattr(&fs, find("inflight/1"), &entry), 0);
	assert_int_equal(entry.st.st_mode, S_IFREG | 0444);
	assert_int_equal(entry.st.st_uid, nobody.uid);
	/* of its acceptance: neither the mount's nor that of the look */
	assert_in_range(nanoseconds(entry.st.st_mtim), nanoseconds(before), nanoseconds(after));
	assert_int_equal(nanoseconds(entry.st.st_ctim), nanoseconds(entry.st.st_mtim));
	expect_message("1", "running");
	expect_message("3", "queued");
	file = open_file("inflight/3", O_RDONLY);
	assert_int_equal(rkfs_unlink(&fs, find("inflight"), "4"), -ENOENT);
	assert_int_equal(rkfs_unlink(&fs, find("inflight"), "03"), -ENOENT);
	assert_int_equal(rkfs_unlink(&fs, find("inflight"), "4294967299"), -ENOENT);
	assert_int_equal(rkfs_unlink(&fs, find("stats"), "all"), -EPERM);
	assert_int_equal(find("inflight/4294967299"), 0); /* another's low half */
	assert_int_equal(rkfs_unlink(&fs, find("inflight"), "3"), 0);
	assert_int_equal(read_wait(call[2], &b), -ECANCELED);
	assert_int_equal(read_error(file), -ESRCH);
	assert_int_equal(rkfs_unlink(&fs, find("inflight"), "3"), -ENOENT);
	assert_int_equal(rkfs_unlink(&fs, find("inflight"), "2"), 0);
	assert_int_equal(read_wait(call[1], &b), -ECANCELED);  /* at once */
	while (strcmp(cat("stats/messages_in_flight"), "1\n")) /* the worker ends it early */
		sched_yield();
	assert_string_equal(ls("inflight", 100), " . .. 1 ");
	assert_int_equal(cat_error("kernels/core/delay/latency_p50_usecs"), -ENODATA);
	rkfs_file_unref(file);
	assert_int_equal(echo("stop", "control"), 4);
	assert_int_equal(read_wait(call[0], &b), -ECANCELED);
	assert_string_equal(ls("inflight", 1), " . .. ");
	assert_string_equal(cat("stats/messages_cancelled"), "3\n");
	for (int i = 0; i < 3; i++)
		rkfs_file_unref(call[i]);
	assert_int_equal(echo("reset", "control"), 5);
	start();
	call[0] = submit_delay("{\"ms\":20}");
	assert_int_equal(read_wait(call[0], &b), 0);
	rkfs_file_unref(call[0]);
	assert_int_equal(sscanf(cat("kernels/core/delay/latency_p50_usecs"), "%llu", &usecs), 1);
	assert_in_range(usecs, 20000, 60 * 1000000);
	assert_string_equal(cat("kernels/core/delay/latency_p99_usecs"),
			    cat("kernels/core/delay/latency_p50_usecs"));
}

/* A connection that ends brings no RELEASE. */
RIG_TEST(close_files)
{
	start();
	open_file("state", O_RDONLY);
	open_file("events_follow", O_RDONLY);
	open_file("kernels/core/echo/mode", O_RDONLY);
	assert_int_equal(rkfs_write(open_file("kernels/core/delay/call.json", O_RDWR), &nobody,
				    "{\"ms\":1", 7),
			 7);
	rkfs_close_files(&fs);
	assert_true(TAILQ_EMPTY(&fs.files));
}
