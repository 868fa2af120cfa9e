/* SPDX-License-Identifier: MIT */
/* rkcall's own logic: near names, examples, encodings, finding the mount. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/client/rkcall.h"
#include "tests/unit/unit.h"

/* --- near names --- */

static void check_near(const char *id, const char *want)
{
	static char *ids[] = {"core/delay",	 "core/echo",		"core/matmul",
			      "core/reduce-sum", "core/vector-add",	"graph/pagerank",
			      "my/echo",	 "risk/monte-carlo-var"};
	const struct rkcall_kernels k = {ids, sizeof(ids) / sizeof(ids[0])};
	const char *near[RKCALL_NEAR];
	char all[256] = "";
	size_t count = rkcall_near(&k, id, near);

	for (size_t i = 0; i < count; i++) {
		strcat(all, i ? " " : "");
		strcat(all, near[i]);
	}
	assert_string_equal(all, want);
}

TEST(near_names)
{
	check_near("core/vectoradd", "core/vector-add");
	check_near("vector-add", "core/vector-add");
	check_near("core/vector_add", "core/vector-add");
	check_near("core/pagerank", "graph/pagerank");
	check_near("grph/pagerank", "graph/pagerank");
	check_near("core/monte-carlo", "risk/monte-carlo-var");
	check_near("my/ecko", "my/echo core/echo"); /* the nearest first */
	check_near("echo", "core/echo my/echo");
	check_near("cor/echo", "core/echo my/echo");
	check_near("core/delta", "core/delay");
	check_near("", "");
	check_near("/", "");
	check_near("zzz/nothing", "");
}

TEST(near_names_are_bounded)
{
	static char *ids[] = {"a/xxd", "a/xbc", "a/abd", "a/abc", "b/abc", "a/xxx"};
	const struct rkcall_kernels k = {ids, sizeof(ids) / sizeof(ids[0])};
	const char *near[RKCALL_NEAR];
	char longer[4000];

	assert_int_equal(rkcall_near(&k, "a/abc", near), RKCALL_NEAR);
	assert_string_equal(near[0], "a/abc");
	assert_string_equal(near[1], "a/xbc"); /* of equals the first */
	assert_string_equal(near[2], "a/abd");
	memset(longer, 'a', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(rkcall_near(&k, longer, near), 0);
}

/* --- examples --- */

static void check_example(const char *inputs, const char *want)
{
	char *text = rkcall_example(inputs);

	assert_non_null(text);
	assert_string_equal(text, want);
	free(text);
}

TEST(examples)
{
	char ones[600] = "{\"a\":[[[[0]]]],\"b\":[0";

	for (int i = 1; i < 121; i++)
		snprintf(ones + strlen(ones), sizeof(ones) - strlen(ones), ",%d", i);
	strcat(ones, "]}");
	check_example("a = f32[n]\nb = f32[n]", "{\"a\":[1,2,3],\"b\":[1,2,3]}");
	check_example("ms = u32", "{\"ms\":1}");
	check_example("x = f64", "{\"x\":1}");
	check_example("on = bool\nm = bool[2]", "{\"on\":true,\"m\":[true,false]}");
	check_example("a = f16[m,2]", "{\"a\":[[1,2],[3,4],[5,6]]}");
	check_example("o = u32[n+1]\nt = u32[e]", "{\"o\":[0,1,2,3],\"t\":[0,1,2]}");
	check_example("a = i8[2*n,1]\nk = f64 = 0.5\nb = u64[2]",
		      "{\"a\":[[0],[1],[2],[3],[4],[5]],\"b\":[0,1]}");
	check_example("k = f64 = 0.5", "{}");
	check_example("", "{}");
	/* the usual 3 would make an axis of 0 here */
	check_example("a = u8[n-3]", "{\"a\":[0]}");
	/* with 3, or 2, they would be too many */
	check_example("a = u8[n,n,n,n]\nb = u8[121*n]", ones);
}

TEST(examples_that_are_refused)
{
	assert_null(rkcall_example("image = u8[784]"));
	assert_int_equal(errno, EFBIG);
	assert_null(rkcall_example("a = u8[1000000000000*n*m*k]"));
	assert_int_equal(errno, EFBIG);
	assert_null(rkcall_example("a = complex[n]"));
	assert_int_equal(errno, EINVAL);
	assert_null(rkcall_example("nonsense"));
	assert_int_equal(errno, EINVAL);
}

/* --- encodings --- */

TEST(encodings)
{
	assert_string_equal(rkcall_encoding_find("raw")->file, "call.raw");
	assert_null(rkcall_encoding_find("RAW"));
	assert_null(rkcall_encoding_find(""));
	assert_string_equal(rkcall_encoding_of("a.json")->name, "json");
	assert_string_equal(rkcall_encoding_of("d/a.b.safetensors")->name, "safetensors");
	assert_string_equal(rkcall_encoding_of("a.raw")->name, "raw");
	assert_string_equal(rkcall_encoding_of("a.bin")->name, "raw");
	assert_null(rkcall_encoding_of("a.jsonl"));
	assert_null(rkcall_encoding_of("json"));
	assert_null(rkcall_encoding_of(".json"));
	assert_null(rkcall_encoding_of(""));
}

/* --- the mount --- */

static char top[] = "/tmp/test_rkcall.XXXXXX";

static int make_top(void **state)
{
	char path[64];

	(void)state;
	if (!mkdtemp(top))
		return -1;
	snprintf(path, sizeof(path), "%s/a", top);
	if (mkdir(path, 0755))
		return -1;
	snprintf(path, sizeof(path), "%s/a/state", top);
	if (mknod(path, S_IFREG | 0644, 0))
		return -1;
	snprintf(path, sizeof(path), "%s/a/kernels", top);
	return mkdir(path, 0755);
}

static int remove_top(void **state)
{
	static const char *const names[] = {"/a/kernels", "/a/state", "/a", "/table", ""};
	char path[64];
	int rc = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s%s", top, names[i]);
		rc |= remove(path);
	}
	return rc;
}

/* Look for a mount in a table of @format, whose %1$s is the temporary directory. */
static int open_in(const char *dir, const char *format, struct rkcall_mount *m,
		   struct rk_error *err)
{
	char table[64];
	FILE *f;

	snprintf(table, sizeof(table), "%s/table", top);
	f = fopen(table, "w");
	assert_non_null(f);
	assert_true(fprintf(f, format, top) >= 0);
	assert_int_equal(fclose(f), 0);
	return rkcall_mount_open(m, dir, table, err);
}

#define ROOT	  "20 1 8:1 / / rw - ext4 /dev/root rw\n"
#define RK_A	  "30 20 0:40 / %1$s/a rw - fuse.rkfs none rw,allow_other\n"
#define RK_A_BIND "31 20 0:40 / %1$s/bind rw - fuse.rkfs none rw,allow_other\n"
#define RK_B	  "32 20 0:41 / %1$s/b rw - fuse.rkfs none rw,allow_other\n"
#define OVER_B	  "33 32 0:42 / %1$s/b rw - tmpfs none rw\n"

TEST(the_only_mount)
{
	static const char *const tables[] = {ROOT RK_A, ROOT RK_A RK_A_BIND, ROOT RK_A RK_B OVER_B};
	struct rkcall_mount m;
	struct rk_error err;
	char want[64];

	snprintf(want, sizeof(want), "%s/a", top);
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		assert_int_equal(open_in(NULL, tables[i], &m, &err), 0);
		assert_string_equal(m.dir, want);
		rkcall_mount_close(&m);
		assert_int_equal(m.fd, -1);
	}
}

TEST(no_mount)
{
	struct rkcall_mount m;
	struct rk_error err;

	assert_int_equal(open_in(NULL, ROOT, &m, &err), -ENOENT);
	assert_string_equal(err.msg, "no rkfs is mounted: as root, mount.rkfs DIR mounts one");
}

TEST(several_mounts)
{
	struct rkcall_mount m;
	struct rk_error err;
	char want[300];

	assert_int_equal(open_in("", ROOT RK_A RK_B, &m, &err), -ENOTUNIQ);
	snprintf(want, sizeof(want),
		 "several rkfs are mounted: choose one with -m DIR or RKFS_MOUNT: %s/a, %s/b", top,
		 top);
	assert_string_equal(err.msg, want);
}

/* Another user's mount cannot take the place of root's, nor one's own; of those alone one is told.
 */
TEST(whose_mount)
{
#define OF(id, name, options) id " 20 0:" id " / %1$s/" name " rw - fuse.rkfs none rw," options "\n"
#define ROOTS		      OF("40", "a", "user_id=0,group_id=0,allow_other")
#define ROOTS_B		      OF("41", "b", "user_id=0,group_id=0")
#define THEIRS		      OF("42", "b", "user_id=4711,group_id=0,allow_other")
#define CLOSED		      OF("43", "c", "user_id=4711,group_id=0")
	static const char *const tables[] = {ROOT CLOSED THEIRS ROOTS, ROOT ROOTS CLOSED THEIRS};
	struct rkcall_mount m;
	struct rk_error err;
	char want[64];

	if (geteuid() != 0)
		return; /* whose mounts these are */
	snprintf(want, sizeof(want), "%s/a", top);
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (open_in(NULL, tables[i], &m, &err))
			fail_msg("%s", err.msg);
		assert_string_equal(m.dir, want);
		rkcall_mount_close(&m);
	}
	assert_int_equal(open_in(NULL, ROOT ROOTS ROOTS_B CLOSED, &m, &err), -ENOTUNIQ);
	assert_null(strstr(err.msg, "/c"));
	assert_int_equal(open_in(NULL, ROOT CLOSED, &m, &err), -EACCES);
	assert_non_null(strstr(err.msg, "is another user's alone"));
	assert_int_equal(open_in(NULL, ROOT THEIRS, &m, &err), -ENOENT); /* it is tried */
	assert_non_null(strstr(err.msg, "/b"));
}

TEST(a_directory)
{
	struct rkcall_mount m;
	struct rk_error err;
	char dir[64];

	snprintf(dir, sizeof(dir), "%s/a", top);
	assert_int_equal(open_in(dir, "\n", &m, &err), 0); /* no table is asked */
	rkcall_mount_close(&m);
	assert_int_equal(open_in(top, "\n", &m, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "is not an rkfs"));
	assert_int_equal(open_in("/nonexistent", "\n", &m, &err), -ENOENT);
	assert_string_equal(err.msg, "/nonexistent: No such file or directory");
}

int main(void)
{
	return unit_run(make_top, remove_top);
}
