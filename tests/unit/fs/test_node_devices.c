/* SPDX-License-Identifier: MIT */
/* devices/, unmounted, with a worker that sees devices, and sees them change. */
#include "tests/unit/fs/tree.h"
#include "tests/unit/health/health_rig.h"

static const struct rk_caller root = {.uid = 0, .gid = 0, .pid = 1};

static int fs_setup(void **state)
{
	static const char *const options[] = {"preset=testing", "gpu_enabled=yes", FOREVER, NULL};

	rk_log_set_sink(rig_drop_line, NULL);
	return setup(state) || tree_open(FAKE_WORKER, options);
}

static int fs_teardown(void **state)
{
	tree_close();
	return teardown(state);
}

static void take(void *ctx, const void *data, size_t len)
{
	char *text = ctx;

	assert_true(len < 128);
	memcpy(text, data, len);
	text[len] = '\0';
}

/* What @path holds, or its error. */
static int read_file(const char *path, char text[128])
{
	struct rkfs_file *file;
	int rc = rkfs_open(&fs, find(path), &root, O_RDONLY, &file);

	if (rc)
		return rc;
	rc = rkfs_read(file, &root, 0, 4096, 0, take, text);
	rkfs_file_unref(file);
	return rc;
}

static void expect_text(const char *path, const char *expected)
{
	char text[128];

	assert_int_equal(read_file(path, text), 0);
	assert_string_equal(text, expected);
}

static void expect_errno(const char *path, int code)
{
	char text[128];

	assert_int_equal(read_file(path, text), -code);
}

static void command(enum rk_trigger trigger)
{
	struct rk_error err = {0};

	if (rk_runtime_command(fs.rt, trigger, -1, NULL, &err))
		fail_msg("%s", err.msg);
}

static void start(void)
{
	command(RK_START);
	while (rk_runtime_state(fs.rt) == RK_STARTING)
		sched_yield();
	assert_int_equal(rk_runtime_state(fs.rt), RK_RUNNING);
}

static bool add_name(void *ctx, const char *name, const struct stat *st, uint64_t next)
{
	(void)next;
	assert_int_equal(st->st_mode & S_IFMT,
			 strlen(name) < 3 ? S_IFDIR : S_IFREG); /* numbers and dots, or files */
	strcat(strcat(ctx, " "), name);
	return true;
}

static void expect_list(const char *path, uint64_t from, const char *expected)
{
	char names[512] = "";

	assert_int_equal(rkfs_readdir(&fs, find(path), from, 0, add_name, names), 0);
	assert_string_equal(names, expected);
}

#define FS_TEST(name) TEST_WITH(name, fs_setup, fs_teardown)

FS_TEST(devices)
{
	double timeout = -1;
	struct rkfs_entry entry;

	assert_int_equal(find("devices/0"), 0);
	atomic_store(&knobs->ndevices, 12);
	atomic_store(&knobs->lost, 2);
	start();
	while (!find("devices/0")) /* the worker tells when it has seen them */
		sched_yield();
	assert_int_not_equal(tree_find("devices/0", &timeout), 0);
	assert_true(timeout == 0); /* the next worker may see fewer */
	assert_int_equal(rkfs_getattr(&fs, find("devices/11"), &entry), 0);
	assert_int_equal(entry.st.st_mode, S_IFDIR | 0555);
	assert_int_equal(find("devices/12"), 0);
	assert_int_equal(find("devices/00"), 0);
	assert_int_equal(find("devices/01"), 0);
	assert_int_equal(find("devices/+1"), 0);
	assert_int_equal(find("devices/1x"), 0);
	assert_int_equal(find("devices/4294967296"), 0);
	expect_list("devices", 0, " . .. 0 1 2 3 4 5 6 7 8 9 10 11");
	expect_list("devices", 4, " 2 3 4 5 6 7 8 9 10 11"); /* after 1 */
	expect_list("devices/11", 0,
		    " . .. name uuid memory_total_bytes memory_used_bytes utilisation_percent "
		    "temperature_celsius power_watts xid_last ecc_uncorrected lost");
	expect_text("devices/0/name", "Fake 0\n");
	expect_text("devices/11/uuid", "GPU-fake-11\n");
	expect_text("devices/11/memory_total_bytes", "1011\n");
	expect_text("devices/11/memory_used_bytes", "0\n"); /* known */
	expect_text("devices/0/lost", "0\n");
	expect_text("devices/1/lost", "1\n");
	expect_errno("devices/0/utilisation_percent", ENODATA);
	expect_errno("devices/0/temperature_celsius", ENODATA);
	expect_errno("devices/0/power_watts", ENODATA);
	expect_errno("devices/0/xid_last", ENODATA);
	expect_errno("devices/0/ecc_uncorrected", ENODATA);
}

FS_TEST(numbers)
{
	atomic_store(&knobs->ndevices, 1);
	atomic_store(&knobs->known, RK_WIRE_KNOWS_UTILISATION | RK_WIRE_KNOWS_TEMPERATURE |
					    RK_WIRE_KNOWS_POWER | RK_WIRE_KNOWS_XID |
					    RK_WIRE_KNOWS_ECC);
	start();
	while (!find("devices/0"))
		sched_yield();
	expect_errno("devices/0/memory_total_bytes", ENODATA);
	expect_errno("devices/0/memory_used_bytes", ENODATA);
	expect_text("devices/0/utilisation_percent", "42\n");
	expect_text("devices/0/temperature_celsius", "61\n");
	expect_text("devices/0/power_watts", "212.007\n");
	expect_text("devices/0/xid_last", "0\n"); /* none was seen */
	expect_text("devices/0/ecc_uncorrected", "5\n");
}

/* What was seen stays when the worker is gone, until another start; an open file's device may go.
 */
FS_TEST(gone)
{
	struct rkfs_file *file;
	char text[128];
	uint64_t dir;

	atomic_store(&knobs->ndevices, 1);
	start();
	while (!find("devices/0"))
		sched_yield();
	dir = find("devices/0");
	assert_int_equal(rkfs_open(&fs, find("devices/0/name"), &root, O_RDONLY, &file), 0);
	command(RK_STOP);
	expect_text("devices/0/name", "Fake 0\n");
	command(RK_RESET);
	atomic_store(&knobs->ndevices, 0);
	start();
	assert_int_equal(find("devices/0"), 0);
	expect_list("devices", 0, " . ..");
	assert_int_equal(rkfs_read(file, &root, 0, 100, 0, take, text), -ENODEV);
	assert_int_equal(rkfs_getattr(&fs, dir, &(struct rkfs_entry){.node = 0}), -ENOENT);
	rkfs_file_unref(file);
}

int main(void)
{
	if (fake_worker_mode())
		return be_worker();
	return unit_run(NULL, NULL);
}
