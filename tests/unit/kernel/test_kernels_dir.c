/* SPDX-License-Identifier: MIT */
/* Scans of kernels_dir: what is added, changed, removed, refused, and what goes on meanwhile. */
#include <sys/resource.h>
#include <sys/stat.h>

#include "runtime/kernel/kernels_dir.h"
#include "tests/unit/message_fixture.h"

struct fixture {
	struct rk_registry *reg;
	struct rk_kernels_observer observer;
	char dir[2][64];
	char dirs[140];	 /* kernels_dir: both */
	char seen[2048]; /* what the last scan told: "added ID changed ID removed ID refused FILE "
			  */
	char why[2048];	 /* the sentences of what was refused */
};

static void note(struct fixture *f, const char *what, const char *name)
{
	size_t len = strlen(f->seen);

	snprintf(f->seen + len, sizeof(f->seen) - len, "%s %s ", what, name);
}

static void on_added(void *ctx, struct rk_kernel *k)
{
	note(ctx, "added", k->manifest.id);
}

static void on_changed(void *ctx, struct rk_kernel *k)
{
	assert_false(k->retired); /* the new one */
	note(ctx, "changed", k->manifest.id);
}

static void on_removed(void *ctx, struct rk_kernel *k)
{
	assert_true(k->retired);
	note(ctx, "removed", k->manifest.id);
}

static void on_refused(void *ctx, const char *file, const struct rk_error *why)
{
	struct fixture *f = ctx;
	size_t len = strlen(f->why);

	note(f, "refused", strrchr(file, '/') + 1);
	snprintf(f->why + len, sizeof(f->why) - len, "%s\n", why->msg);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f || rk_registry_create(&f->reg))
		return -1;
	f->observer = (struct rk_kernels_observer){.added = on_added,
						   .changed = on_changed,
						   .removed = on_removed,
						   .refused = on_refused,
						   .ctx = f};
	for (unsigned int i = 0; i < 2; i++) {
		strcpy(f->dir[i], "/tmp/rkfs-kernels-XXXXXX");
		if (!mkdtemp(f->dir[i]))
			return -1;
	}
	snprintf(f->dirs, sizeof(f->dirs), "%s:%s", f->dir[0], f->dir[1]);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[256];
	int rc;

	snprintf(command, sizeof(command), "rm -rf '%s' '%s'", f->dir[0], f->dir[1]);
	rc = system(command);
	rk_registry_destroy(f->reg);
	free(f);
	return rc;
}

static const char *path_of(struct fixture *f, unsigned int dir, const char *name)
{
	static char path[4][128];
	static unsigned int n;
	char *p = path[n++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", f->dir[dir], name);
	return p;
}

static void put(struct fixture *f, unsigned int dir, const char *name, const char *text)
{
	FILE *file = fopen(path_of(f, dir, name), "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

/* DIR/@name describes @id, whose description is @text and whose library @library. */
static void describe(struct fixture *f, unsigned int dir, const char *name, const char *id,
		     const char *text, const char *library)
{
	char ini[512];

	snprintf(
		ini, sizeof(ini),
		"[kernel]\nid = %s\ndescription = %s\n[inputs]\nx = u32[n]\n[outputs]\ny = u32[n]\n"
		"[cpu]\nlibrary = %s\nentry = echo\nargs = x, y, n\n",
		id, text, library);
	put(f, dir, name, ini);
}

/* Scan @dirs; it tells @seen, and counts what was refused. */
static void scan_dirs(struct fixture *f, const char *dirs, const char *seen)
{
	struct rk_error err = {0};
	int expect = 0;

	f->seen[0] = f->why[0] = '\0';
	for (const char *p = seen; (p = strstr(p, "refused ")); p++)
		expect++;
	assert_int_equal(rk_kernels_scan(f->reg, NULL, dirs, &f->observer, &err), expect);
	assert_string_equal(f->seen, seen);
	if (expect) /* the first one's sentence */
		assert_memory_equal(f->why, err.msg, strlen(err.msg));
	else
		assert_int_equal(err.code, 0);
}

static void scan(struct fixture *f, const char *seen)
{
	scan_dirs(f, f->dirs, seen);
}

/* The last scan's sentences have one with @part. */
static void expect_why(struct fixture *f, const char *part)
{
	if (!strstr(f->why, part))
		fail_msg("%s", f->why);
}

/* The kernel whose id is user/@name; a reference. */
static struct rk_kernel *user(struct fixture *f, const char *name)
{
	return rk_registry_find(f->reg, "user", name);
}

/* user/@name is registered and described by @text. */
static void expect_text(struct fixture *f, const char *name, const char *text)
{
	struct rk_kernel *k = user(f, name);

	assert_non_null(k);
	assert_string_equal(k->manifest.description, text);
	rk_kernel_unref(k);
}

#define RIG_TEST(name) TEST_WITH(name, setup, teardown)

RIG_TEST(builtin)
{
	struct fixture *f = *state;
	struct rk_kernel *k;
	struct rk_error err = {0};
	size_t count;

	rk_manifest_builtins(&count);
	assert_int_equal(rk_kernels_builtin(f->reg, &f->observer, &err), 0);
	assert_int_equal(rk_registry_count(f->reg), count);
	assert_non_null(strstr(f->seen, "added core/matmul "));
	k = NULL;
	while ((k = rk_registry_after(f->reg, k))) {
		assert_null(k->origin);
		assert_null(k->modules[RK_WIRE_CPU]);
		assert_null(k->modules[RK_WIRE_CUDA]);
	}
	scan(f, ""); /* they belong to no directory and stay */
	scan_dirs(f, "", "");
	assert_int_equal(rk_registry_count(f->reg), count);
	/* a second time: the ids are taken */
	assert_int_equal(rk_kernels_builtin(f->reg, &f->observer, &err), -EEXIST);
}

RIG_TEST(added)
{
	struct fixture *f = *state;
	struct rk_kernel *k;

	scan(f, "");
	describe(f, 0, "b.ini", "user/b", "one", "builtin");
	describe(f, 0, "a.ini", "user/a", "one", "builtin");
	describe(f, 1, "0.ini", "user/c", "one", "builtin");
	/* no descriptions */
	put(f, 0, "README", "nonsense");
	put(f, 0, ".hidden.ini", "nonsense");
	put(f, 0, ".ini", "nonsense");
	put(f, 0, "a.ini~", "nonsense");
	put(f, 0, "a.ini.bak", "nonsense");
	scan(f, "added user/a added user/b added user/c ");
	assert_int_equal(rk_registry_count(f->reg), 3);
	k = user(f, "a");
	assert_string_equal(k->origin, path_of(f, 0, "a.ini"));
	assert_null(k->modules[RK_WIRE_CPU]);
	assert_true(k->wanted);
	assert_int_equal(k->state, RK_KERNEL_OFF);
	scan(f, ""); /* nothing has changed */
	rk_kernel_unref(k);
	k = user(f, "a");
	assert_int_equal(k->slot, 1);
	rk_kernel_unref(k);
}

RIG_TEST(changed)
{
	struct fixture *f = *state;
	struct rk_kernel *old, *k;

	describe(f, 0, "a.ini", "user/a", "one", "builtin");
	describe(f, 0, "b.ini", "user/b", "one", "builtin");
	scan(f, "added user/a added user/b ");
	old = user(f, "a");
	atomic_store(&old->wanted, false);
	describe(f, 0, "a.ini", "user/a", "two", "builtin");
	scan(f, "changed user/a ");
	k = user(f, "a");
	assert_ptr_not_equal(k, old);
	assert_true(k->slot > old->slot);
	assert_true(old->retired);
	assert_string_equal(old->manifest.description, "one");
	assert_string_equal(k->manifest.description, "two");
	assert_ptr_equal(k->stats, old->stats); /* goes on counting */
	assert_false(k->wanted);		/* and stays disabled */
	assert_int_equal(rk_registry_count(f->reg), 2);
	rk_kernel_unref(k);
	rk_kernel_unref(old);

	/* what says the same is the same: comments, blanks, the order of keys */
	put(f, 0, "a.ini",
	    "; a comment\n[outputs]\ny = u32[ n ]\n[inputs]\nx=u32[n]\n"
	    "[cpu]\nargs = x,y,n\nentry = echo\nlibrary = builtin\n"
	    "[kernel]\ndescription = two\nid = user/a\nmode = batch\n");
	scan(f, "");
}

RIG_TEST(removed)
{
	struct fixture *f = *state;
	struct rk_kernel *old;

	describe(f, 0, "a.ini", "user/a", "one", "builtin");
	describe(f, 0, "b.ini", "user/b", "one", "builtin");
	scan(f, "added user/a added user/b ");
	old = user(f, "a");
	assert_int_equal(unlink(path_of(f, 0, "a.ini")), 0);
	scan(f, "removed user/a ");
	assert_null(user(f, "a"));
	assert_true(old->retired);
	assert_int_equal(rk_registry_count(f->reg), 1);
	scan(f, ""); /* once */
	describe(f, 0, "a.ini", "user/a", "again", "builtin");
	scan(f, "added user/a ");
	expect_text(f, "a", "again");
	assert_int_equal(old->stats->refs, 1); /* another kernel: it begins at 0 */
	rk_kernel_unref(old);
	scan_dirs(f, "", "removed user/b removed user/a ");
	assert_int_equal(rk_registry_count(f->reg), 0);
}

/* The id in the file changes: that is one removed and another added. */
RIG_TEST(renamed_id)
{
	struct fixture *f = *state;

	describe(f, 0, "a.ini", "user/a", "one", "builtin");
	scan(f, "added user/a ");
	describe(f, 0, "a.ini", "user/z", "one", "builtin");
	scan(f, "added user/z removed user/a ");
}

/* Another file describes it now. */
RIG_TEST(moved)
{
	struct fixture *f = *state;
	struct rk_kernel *k;

	describe(f, 0, "a.ini", "user/a", "one", "builtin");
	scan(f, "added user/a ");
	assert_int_equal(rename(path_of(f, 0, "a.ini"), path_of(f, 1, "z.ini")), 0);
	scan(f, "changed user/a ");
	k = user(f, "a");
	assert_string_equal(k->origin, path_of(f, 1, "z.ini"));
	rk_kernel_unref(k);
	scan(f, "");
	assert_int_equal(rk_registry_count(f->reg), 1);
}

/* A description that is wrong stops nobody else's, and not even the one that was there before. */
RIG_TEST(refused)
{
	struct fixture *f = *state;
	struct rk_kernel *before, *k;

	describe(f, 0, "a.ini", "user/a", "one", "builtin");
	scan(f, "added user/a ");
	before = user(f, "a");
	put(f, 0, "a.ini", "[kernel]\nid = user/a\nmood = batch\n");
	describe(f, 0, "b.ini", "user/b", "one", "builtin");
	put(f, 0, "c.ini", "");
	put(f, 1, "d.ini", "[kernel]\n\nid = no-slash\n");
	scan(f, "refused a.ini added user/b refused c.ini refused d.ini ");
	expect_why(f, path_of(f, 0, "a.ini:3: mood"));
	expect_why(f, path_of(f, 1, "d.ini:3: id"));
	k = user(f, "a");
	assert_ptr_equal(k, before);
	assert_false(k->retired);
	rk_kernel_unref(k);
	scan(f, "refused a.ini refused c.ini refused d.ini "); /* each time */
	/* right again, and as before */
	describe(f, 0, "a.ini", "user/a", "one", "builtin");
	scan(f, "refused c.ini refused d.ini ");
	describe(f, 0, "a.ini", "user/a", "two", "builtin");
	scan(f, "changed user/a refused c.ini refused d.ini ");
	rk_kernel_unref(before);
	/* wrong, and then gone */
	put(f, 0, "a.ini", "nonsense\n");
	scan(f, "refused a.ini refused c.ini refused d.ini ");
	expect_text(f, "a", "two");
	assert_int_equal(unlink(path_of(f, 0, "a.ini")), 0);
	scan(f, "refused c.ini refused d.ini removed user/a ");
}

RIG_TEST(duplicate_id)
{
	struct fixture *f = *state;

	describe(f, 0, "a.ini", "user/a", "first", "builtin");
	describe(f, 0, "b.ini", "user/a", "second", "builtin");
	scan(f, "added user/a refused b.ini ");
	expect_why(f, "id: user/a is described by ");
	expect_why(f, path_of(f, 0, "a.ini already"));
	expect_text(f, "a", "first");
	scan(f, "refused b.ini ");
	/* the first one goes: now it is the second one's */
	assert_int_equal(unlink(path_of(f, 0, "a.ini")), 0);
	scan(f, "changed user/a ");
	expect_text(f, "a", "second");
	/* one that has the id already does not lose it to a change elsewhere that is refused */
	describe(f, 0, "c.ini", "user/c", "third", "builtin");
	scan(f, "added user/c ");
	describe(f, 0, "c.ini", "user/a", "third", "builtin");
	scan(f, "refused c.ini ");
	expect_text(f, "a", "second");
	expect_text(f, "c", "third");
	assert_int_equal(rk_registry_count(f->reg), 2);
}

RIG_TEST(builtin_id)
{
	struct fixture *f = *state;
	struct rk_kernel *k;
	struct rk_error err;

	assert_int_equal(rk_kernels_builtin(f->reg, &f->observer, &err), 0);
	describe(f, 0, "a.ini", "core/echo", "mine", "builtin");
	describe(f, 0, "b.ini", "core/other", "mine", "builtin");
	scan(f, "refused a.ini added core/other ");
	expect_why(f, "id: core/echo is built in; choose another");
	k = rk_registry_find(f->reg, "core", "echo");
	assert_null(k->origin);
	rk_kernel_unref(k);
}

/* --- directories --- */

RIG_TEST(missing_directory)
{
	struct fixture *f = *state;
	char aside[80];

	describe(f, 0, "a.ini", "user/a", "one", "builtin");
	describe(f, 1, "b.ini", "user/b", "one", "builtin");
	scan(f, "added user/a added user/b ");
	snprintf(aside, sizeof(aside), "%s-aside", f->dir[0]);
	assert_int_equal(rename(f->dir[0], aside), 0);
	snprintf(f->seen, sizeof(f->seen), "refused %s removed user/a ",
		 strrchr(f->dir[0], '/') + 1);
	scan(f, strdupa(f->seen));
	expect_why(f, "kernels_dir ");
	expect_why(f, "No such file or directory");
	expect_text(f, "b", "one"); /* the other directory is scanned all the same */
	assert_int_equal(rename(aside, f->dir[0]), 0);
	scan(f, "added user/a ");
	scan_dirs(f, "::", "removed user/b removed user/a "); /* empty names are none */
}

/* One that cannot be read now is not empty. */
RIG_TEST(unreadable_directory)
{
	struct rlimit limit, none;
	struct fixture *f = *state;
	char seen[256];

	describe(f, 0, "a.ini", "user/a", "one", "builtin");
	describe(f, 1, "b.ini", "user/b", "one", "builtin");
	scan(f, "added user/a added user/b ");
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	snprintf(seen, sizeof(seen), "refused %s refused %s ", strrchr(f->dir[0], '/') + 1,
		 strrchr(f->dir[1], '/') + 1);
	scan(f, seen);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	expect_why(f, "Too many open files");
	expect_text(f, "a", "one");
	expect_text(f, "b", "one");
	scan(f, "");
	/* what is no directory has no kernels */
	scan_dirs(f, path_of(f, 1, "b.ini"), "refused b.ini removed user/a removed user/b ");
}

/* A FIFO, a directory and a dangling link called *.ini. */
RIG_TEST(odd_files)
{
	struct fixture *f = *state;

	assert_int_equal(mkfifo(path_of(f, 0, "a.ini"), 0644), 0);
	assert_int_equal(mkdir(path_of(f, 0, "b.ini"), 0755), 0);
	assert_int_equal(symlink("nothing", path_of(f, 0, "c.ini")), 0);
	describe(f, 1, "text", "user/d", "one", "builtin");
	assert_int_equal(symlink(path_of(f, 1, "text"), path_of(f, 0, "d.ini")), 0);
	scan(f, "refused a.ini refused b.ini refused c.ini added user/d ");
}

/* --- libraries --- */

RIG_TEST(library)
{
	const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct fixture *f = *state;
	struct rk_kernel *first, *k;
	unsigned int fds = open_fds();

	put(f, 0, "lib.so", "library");
	describe(f, 0, "a.ini", "user/a", "one", "lib.so"); /* beside the description */
	describe(f, 0, "b.ini", "user/b", "one", path_of(f, 0, "lib.so"));
	scan(f, "added user/a added user/b ");
	first = user(f, "a");
	assert_string_equal(first->manifest.code[RK_WIRE_CPU].library, path_of(f, 0, "lib.so"));
	assert_non_null(first->modules[RK_WIRE_CPU]);
	scan(f, "");
	/* the description changes, the library does not: it is not read again */
	describe(f, 0, "a.ini", "user/a", "two", "lib.so");
	scan(f, "changed user/a ");
	k = user(f, "a");
	assert_ptr_equal(k->modules[RK_WIRE_CPU], first->modules[RK_WIRE_CPU]);
	rk_kernel_unref(k);
	/* the library changes, the descriptions do not */
	assert_int_equal(utimensat(AT_FDCWD, path_of(f, 0, "lib.so"), times, 0), 0);
	scan(f, "changed user/a changed user/b ");
	k = user(f, "a");
	assert_ptr_not_equal(k->modules[RK_WIRE_CPU], first->modules[RK_WIRE_CPU]);
	rk_kernel_unref(k);
	/* it is gone: what was loaded of it goes on */
	assert_int_equal(unlink(path_of(f, 0, "lib.so")), 0);
	scan(f, "refused a.ini refused b.ini ");
	expect_why(f, "a.ini: library: ");
	expect_why(f, "No such file or directory");
	expect_text(f, "a", "two");
	/* it is back, but nobody can trust it */
	put(f, 0, "lib.so", "library");
	assert_int_equal(chmod(path_of(f, 0, "lib.so"), 0666), 0);
	scan(f, "refused a.ini refused b.ini ");
	expect_why(f, "lib.so is writable by everybody");
	assert_int_equal(chmod(path_of(f, 0, "lib.so"), 0644), 0);
	scan(f, "changed user/a changed user/b ");
	rk_kernel_unref(first);
	scan_dirs(f, "", "removed user/a removed user/b ");
	k = NULL;
	while ((k = rk_registry_any_after(f->reg, k)))
		rk_registry_forget(f->reg, k);
	assert_int_equal(open_fds(), fds);
}

/* A kernel leaves its library for a built-in one, and comes back. */
RIG_TEST(library_and_builtin)
{
	struct fixture *f = *state;
	struct rk_kernel *k;

	put(f, 0, "lib.so", "library");
	describe(f, 0, "a.ini", "user/a", "one", "lib.so");
	scan(f, "added user/a ");
	describe(f, 0, "a.ini", "user/a", "one", "builtin");
	scan(f, "changed user/a ");
	k = user(f, "a");
	assert_null(k->modules[RK_WIRE_CPU]);
	rk_kernel_unref(k);
	describe(f, 0, "a.ini", "user/a", "one", "lib.so");
	scan(f, "changed user/a ");
	k = user(f, "a");
	assert_non_null(k->modules[RK_WIRE_CPU]);
	rk_kernel_unref(k);
}

/* --- CUDA modules --- */

/* DIR/@name describes @id with a library, and a module. */
static void describe_both(struct fixture *f, const char *name, const char *id, const char *library,
			  const char *module)
{
	char ini[512];

	snprintf(ini, sizeof(ini),
		 "[kernel]\nid = %s\n[inputs]\nx = u32[n]\n[outputs]\ny = u32[n]\n"
		 "[cpu]\nlibrary = %s\nentry = echo\nargs = x, y, n\n"
		 "[cuda]\nmodule = %s\nentry = echo\nargs = x, y, n\ngrid = n\n",
		 id, library, module);
	put(f, 0, name, ini);
}

/* As with libraries, and each by itself. */
RIG_TEST(module)
{
	const struct timespec times[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct fixture *f = *state;
	struct rk_kernel *first, *k;
	unsigned int fds = open_fds();

	put(f, 0, "lib.so", "library");
	put(f, 0, "k.fatbin", "module");
	describe_both(f, "a.ini", "user/a", "lib.so", "k.fatbin");
	describe_both(f, "b.ini", "user/b", "builtin", path_of(f, 0, "k.fatbin"));
	scan(f, "added user/a added user/b ");
	first = user(f, "a");
	assert_non_null(first->modules[RK_WIRE_CPU]);
	assert_non_null(first->modules[RK_WIRE_CUDA]);
	assert_ptr_not_equal(first->modules[RK_WIRE_CPU], first->modules[RK_WIRE_CUDA]);
	k = user(f, "b");
	assert_null(k->modules[RK_WIRE_CPU]);
	assert_non_null(k->modules[RK_WIRE_CUDA]);
	rk_kernel_unref(k);
	scan(f, "");
	/* the module changes, nothing else does: the library is not read again */
	assert_int_equal(utimensat(AT_FDCWD, path_of(f, 0, "k.fatbin"), times, 0), 0);
	scan(f, "changed user/a changed user/b ");
	k = user(f, "a");
	assert_ptr_equal(k->modules[RK_WIRE_CPU], first->modules[RK_WIRE_CPU]);
	assert_ptr_not_equal(k->modules[RK_WIRE_CUDA], first->modules[RK_WIRE_CUDA]);
	rk_kernel_unref(first);
	first = k;
	/* and the other way round */
	assert_int_equal(utimensat(AT_FDCWD, path_of(f, 0, "lib.so"), times, 0), 0);
	scan(f, "changed user/a ");
	k = user(f, "a");
	assert_ptr_not_equal(k->modules[RK_WIRE_CPU], first->modules[RK_WIRE_CPU]);
	assert_ptr_equal(k->modules[RK_WIRE_CUDA], first->modules[RK_WIRE_CUDA]);
	rk_kernel_unref(k);
	rk_kernel_unref(first);
	/* a module that is wrong refuses the kernel, library and all; what was loaded goes on */
	assert_int_equal(chmod(path_of(f, 0, "k.fatbin"), 0666), 0);
	put(f, 0, "lib.so", "another library");
	scan(f, "refused a.ini refused b.ini ");
	expect_why(f, "a.ini: module: ");
	expect_why(f, "k.fatbin is writable by everybody");
	assert_int_equal(unlink(path_of(f, 0, "k.fatbin")), 0);
	scan(f, "refused a.ini refused b.ini ");
	expect_why(f, "b.ini: module: ");
	expect_why(f, "No such file or directory");
	assert_int_equal(rk_registry_count(f->reg), 2);
	scan_dirs(f, "", "removed user/b removed user/a ");
	k = NULL;
	while ((k = rk_registry_any_after(f->reg, k)))
		rk_registry_forget(f->reg, k);
	assert_int_equal(open_fds(), fds);
}

/* A kernel that has code for one backend only. */
RIG_TEST(module_alone)
{
	struct fixture *f = *state;
	struct rk_kernel *k;

	put(f, 0, "k.ptx", "module");
	put(f, 0, "a.ini",
	    "[kernel]\nid = user/a\n[inputs]\nx = u32[n]\n[outputs]\ny = u32[n]\n"
	    "[cuda]\nmodule = k.ptx\nentry = echo\nargs = x, y, n\ngrid = n\n");
	scan(f, "added user/a ");
	k = user(f, "a");
	assert_null(k->modules[RK_WIRE_CPU]);
	assert_non_null(k->modules[RK_WIRE_CUDA]);
	assert_string_equal(k->manifest.code[RK_WIRE_CUDA].library, path_of(f, 0, "k.ptx"));
	rk_kernel_unref(k);
	scan(f, "");
}
