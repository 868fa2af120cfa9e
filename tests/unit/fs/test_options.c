/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/call/call.h"
#include "fs/files/files.h"
#include "fs/mount/options.h"
#include "tests/unit/unit.h"

#define NO_CONFIG "/nonexistent/rkfs.conf"
#define MAX_ARGS  16

struct command {
	struct rkfs_options opts;
	struct rk_error err;
};

/* Parse @line, split at blanks. */
static int parse(struct command *c, const char *line)
{
	char *copy = strdup(line), *save = NULL, *word;
	char *argv[MAX_ARGS + 1];
	int argc = 0, rc;

	assert_non_null(copy);
	argv[argc++] = (char *)"mount.rkfs";
	for (word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		assert_true(argc < MAX_ARGS);
		argv[argc++] = word;
	}
	argv[argc] = NULL;
	c->err = (struct rk_error){0};
	rkfs_options_init(&c->opts);
	c->opts.default_config = NO_CONFIG;
	rc = rkfs_options_parse(&c->opts, argc, argv, &c->err);
	free(copy);
	return rc;
}

static void accept(struct command *c, const char *line)
{
	int rc = parse(c, line);

	if (rc != 0)
		fail_msg("'%s' was refused: %s", line, c->err.msg);
}

/* @line is refused with @code and a sentence that has @words. */
static void refuse(const char *line, int code, const char *words)
{
	struct command c;
	int rc = parse(&c, line);

	if (rc != -code || c.err.code != code || !strstr(c.err.msg, words))
		fail_msg("'%s' gave %d '%s' instead of %d '...%s...'", line, rc, c.err.msg, -code,
			 words);
	rkfs_options_free(&c.opts);
}

TEST(dir_alone)
{
	struct command c;

	accept(&c, "/mnt/rk");
	assert_string_equal(c.opts.dir, "/mnt/rk");
	assert_string_equal(c.opts.source, "rkfs");
	assert_null(c.opts.config);
	assert_null(c.opts.config_options);
	assert_string_equal(c.opts.fuse_options, "");
	assert_int_equal(c.opts.ready_fd, -1);
	assert_false(c.opts.fake || c.opts.verbose || c.opts.foreground || c.opts.nostart);
	rkfs_options_free(&c.opts);
}

TEST(default_config_is_read_where_it_exists)
{
	char *argv[] = {(char *)"mount.rkfs", (char *)"/mnt/rk", NULL};
	struct rkfs_options opts;

	rkfs_options_init(&opts);
	assert_string_equal(opts.default_config, RKFS_DEFAULT_CONFIG);
	opts.default_config = "/proc/self/exe";
	assert_int_equal(rkfs_options_parse(&opts, 2, argv, NULL), 0);
	assert_string_equal(opts.config, "/proc/self/exe");
	assert_string_equal(opts.source, "rkfs");
	rkfs_options_free(&opts);
}

TEST(config_is_made_absolute)
{
	char cwd[PATH_MAX], full[PATH_MAX + 32];
	struct command c;

	assert_non_null(getcwd(cwd, sizeof(cwd)));
	accept(&c, "etc/my.conf /mnt/rk");
	snprintf(full, sizeof(full), "%s/etc/my.conf", cwd);
	assert_string_equal(c.opts.config, full);
	assert_string_equal(c.opts.source, "etc/my.conf");
	rkfs_options_free(&c.opts);

	accept(&c, "/etc/my.conf /mnt/rk");
	assert_string_equal(c.opts.config, "/etc/my.conf");
	rkfs_options_free(&c.opts);

	accept(&c, "none /mnt/rk");
	assert_null(c.opts.config);
	assert_string_equal(c.opts.source, "none");
	rkfs_options_free(&c.opts);
}

/* As libmount calls it: mount.rkfs SPEC DIR [-sfnv] [-N NS] [-o OPTS] [-t TYPE]. */
TEST(options_stand_anywhere)
{
	static const char *const lines[] = {
		"-s -f -n -v -N 1 -o max_queue_depth=7,nostart -t rkfs none /d",
		"none /d -sfnv -N 1 -o nostart -o max_queue_depth=7 -t rkfs",
		"none -fv -o nostart /d -s -N1 -omax_queue_depth=7",
		"-fvs -onostart -N 1 -o max_queue_depth=7 -- none /d",
	};

	for (int posix = 0; posix < 2; posix++) {
		for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
			struct command c;

			accept(&c, lines[i]);
			assert_string_equal(c.opts.source, "none");
			assert_string_equal(c.opts.dir, "/d");
			assert_string_equal(c.opts.mount_ns, "1");
			assert_true(c.opts.fake && c.opts.sloppy && c.opts.verbose);
			assert_true(c.opts.nostart);
			assert_int_equal(c.opts.nconfig_options, 1);
			assert_string_equal(c.opts.config_options[0], "max_queue_depth=7");
			assert_null(c.opts.config_options[1]);
			rkfs_options_free(&c.opts);
		}
		assert_int_equal(setenv("POSIXLY_CORRECT", "1", 1), 0);
	}
	assert_int_equal(unsetenv("POSIXLY_CORRECT"), 0);
}

TEST(fstab_words_are_accepted)
{
	struct command c;

	accept(&c,
	       "none /d -o rw,nofail,_netdev,user,users,owner,group,user=joe,auto,noauto,exec,"
	       "suid,dev,relatime,noatime,defaults,x-systemd.automount,x-foo=bar=baz,comment=hi");
	assert_string_equal(c.opts.fuse_options, "");
	assert_int_equal(c.opts.nconfig_options, 0);
	rkfs_options_free(&c.opts);
}

TEST(fuse_options_are_passed_on_once)
{
	struct command c;

	accept(&c, "/d -o allow_other,noexec,nosuid,nodev -o default_permissions,nodev,allow_root");
	assert_string_equal(c.opts.fuse_options, "allow_other,noexec,nosuid,nodev,"
						 "default_permissions,allow_root");
	assert_true(c.opts.only_root);
	rkfs_options_free(&c.opts);
}

TEST(labels_are_kept_whole)
{
	struct command c;

	accept(&c, "/d -o context=\"u:r:t:s0:c1,c2\",nostart,rootcontext=a -o context=b\\,c");
	assert_int_equal(c.opts.nlabels, 2);
	assert_string_equal(c.opts.labels[0], "context=b,c");
	assert_string_equal(c.opts.labels[1], "rootcontext=a");
	assert_null(c.opts.labels[2]);
	assert_true(c.opts.nostart);
	rkfs_options_free(&c.opts);
	accept(&c, "/d -o context=\"u:r:t:s0:c1,c2\",nostart");
	assert_string_equal(c.opts.labels[0], "context=u:r:t:s0:c1,c2");
	assert_true(c.opts.nostart);
	rkfs_options_free(&c.opts);
}

TEST(last_value_of_a_field_counts)
{
	struct command c;

	accept(&c, "/d -o max_queue_depth=1,log_level=warn,max_queue_depth=2 -o "
		   "max_queue_depth=3");
	assert_int_equal(c.opts.nconfig_options, 2);
	assert_string_equal(c.opts.config_options[0], "max_queue_depth=3");
	assert_string_equal(c.opts.config_options[1], "log_level=warn");
	rkfs_options_free(&c.opts);
}

TEST(commas_can_be_escaped)
{
	struct command c;

	accept(&c, "/d -o ,log_file=/a\\,b\\\\c\\d=e,,nostart,");
	assert_int_equal(c.opts.nconfig_options, 1);
	assert_string_equal(c.opts.config_options[0], "log_file=/a,b\\c\\d=e");
	assert_true(c.opts.nostart);
	rkfs_options_free(&c.opts);

	accept(&c, "/d -o log_file=x\\");
	assert_string_equal(c.opts.config_options[0], "log_file=x\\");
	rkfs_options_free(&c.opts);
}

TEST(many_fields)
{
	struct command c;

	accept(&c, "/d -o preset=testing,gpu_enabled=no,max_queue_depth=5,drain_timeout=,"
		   "log_level=info,worker_threads=2,log_file=");
	assert_int_equal(c.opts.nconfig_options, 7);
	assert_string_equal(c.opts.config_options[3], "drain_timeout=");
	assert_string_equal(c.opts.config_options[6], "log_file=");
	assert_null(c.opts.config_options[7]);
	rkfs_options_free(&c.opts);
}

TEST(sloppy_ignores_unknown_options)
{
	struct command c;

	accept(&c, "/d -o frobnicate,umask=7,nostart=1,log_level=warn -s");
	assert_int_equal(c.opts.nconfig_options, 1);
	assert_false(c.opts.nostart);
	rkfs_options_free(&c.opts);
	refuse("-s /d -o ro", EINVAL, "read-only");
	refuse("-s /d -o log_level", EINVAL, "needs a value");
	refuse("-s /d -o uid=?", EINVAL, "-o uid=?: there is no such user");
}

TEST(read_only_is_refused_unless_rw_follows)
{
	struct command c;

	refuse("/d -o ro", EINVAL, "-o ro: rkfs is driven by writing");
	refuse("/d -o rw -o ro", EINVAL, "-o ro");
	accept(&c, "/d -o ro,nostart -o rw");
	rkfs_options_free(&c.opts);
}

TEST(wrong_arguments_are_refused_with_a_sentence)
{
	refuse("", EINVAL, "DIR is missing");
	refuse("-o nostart", EINVAL, "DIR is missing");
	refuse("a b c", EINVAL, "'c' is one argument too many");
	refuse("a b -- -f", EINVAL, "'-f' is one argument too many");
	refuse("/d -o", EINVAL, "-o needs an argument");
	refuse("/d -fN", EINVAL, "-N needs an argument");
	refuse("/d --ready-fd", EINVAL, "--ready-fd needs an argument");
	refuse("/d -x", EINVAL, "'-x' is not understood");
	refuse("/d -fx", EINVAL, "'-x' is not understood");
	refuse("/d --frobnicate", EINVAL, "'--frobnicate' is not understood");
	refuse("/d --foreground=yes", EINVAL, "'--foreground=yes' is not understood");
	refuse("/d -o remount", EINVAL, "cannot be remounted");
	refuse("/d -o umask=0", EINVAL, "-o umask=0: there is no such option; mount.rkfs --help");
	refuse("/d -o nostart=1", EINVAL, "-o nostart=1: there is no such option");
	refuse("/d -o =1", EINVAL, "there is no such option");
	refuse("/d -o max_queue_depth", EINVAL, "-o max_queue_depth=VALUE");
	refuse("/d -o x", EINVAL, "-o x: there is no such option; mount.rkfs --help");
	refuse("/d -o alow_other", EINVAL, "no such option (did you mean allow_other?); mount");
	refuse("/d -o drain-timeout=5s", EINVAL, "no such option (did you mean drain_timeout?)");
	refuse("/d -o cal_gid=0", EINVAL, "no such option (did you mean call_gid?)");
	refuse("/d --foregruond", EINVAL, "is not understood (did you mean --foreground?)");
}

TEST(empty_arguments_are_refused)
{
	char *argv[] = {(char *)"mount.rkfs", (char *)"", (char *)"/d", NULL};
	struct rkfs_options opts;
	struct rk_error err = {0};

	rkfs_options_init(&opts);
	assert_int_equal(rkfs_options_parse(&opts, 3, argv, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "empty"));
	rkfs_options_free(&opts);
}

TEST(ready_fd)
{
	struct command c;
	char line[64];
	int fd = dup(STDERR_FILENO);

	assert_true(fd >= 3);
	snprintf(line, sizeof(line), "--foreground --ready-fd=%d /d", fd);
	accept(&c, line);
	assert_true(c.opts.foreground);
	assert_int_equal(c.opts.ready_fd, fd);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	rkfs_options_free(&c.opts);

	assert_int_equal(close(fd), 0);
	refuse(line, EBADF, "--ready-fd=");
	refuse("/d --ready-fd=2", EINVAL, "3 or more");
	refuse("/d --ready-fd=3x", EINVAL, "3 or more");
	refuse("/d --ready-fd=", EINVAL, "3 or more");
	refuse("/d --ready-fd=99999999999999999999", EINVAL, "3 or more");
}

static void assert_access(const char *line, uid_t uid, gid_t gid, mode_t control_mode,
			  gid_t call_gid, mode_t call_mode)
{
	struct command c;

	accept(&c, line);
	assert_int_equal(c.opts.access.uid, uid);
	assert_int_equal(c.opts.access.gid, gid);
	assert_int_equal(c.opts.access.control_mode, control_mode);
	assert_int_equal(c.opts.access.call_gid, call_gid);
	assert_int_equal(c.opts.access.call_mode, call_mode);
	assert_string_equal(c.opts.fuse_options, "");
	rkfs_options_free(&c.opts);
}

TEST(access_is_who_mounts_unless_given)
{
	const uid_t uid = geteuid();
	const gid_t gid = getegid();

	assert_access("/d", uid, gid, 0600, gid, 0600);
	assert_access("/d -o uid=12", 12, gid, 0600, gid, 0600);
	assert_access("/d -o gid=13", uid, 13, 0600, 13, 0600);
	assert_access("/d -o call_gid=14", uid, gid, 0600, 14, 0660);
	assert_access("/d -o call_gid=14,call_mode=600", uid, gid, 0600, 14, 0600);
	assert_access("/d -o control_mode=0664,call_mode=0606", uid, gid, 0664, gid, 0606);
	assert_access("/d -o uid=daemon,gid=nogroup,control_mode=620,call_gid=root,call_mode=666",
		      1, 65534, 0620, 0, 0666);
	assert_access("/d -o uid=4294967294,uid=007 -o call_gid=9,gid=8", 7, 8, 0600, 9, 0660);
}

TEST(wrong_access_is_refused)
{
	static const char *const ids[] = {
		"-1",	 "+1",	       "1.5",	     "0x10",
		"1 2",	 "4294967295", "4294967296", "99999999999999999999",
		"root ", "no-such-one"};
	static const char *const modes[] = {
		"0",	"0060", "0400",	 "0200", "0700",
		"0610", "0601", "1600",	 "4600", "0x600",
		"668",	"rw",	"-0660", "u=rw", "99999999999999999999"};
	struct rkfs_access access;
	struct rk_error err;
	char item[64];

	rkfs_access_init(&access);
	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		snprintf(item, sizeof(item), "uid=%s", ids[i]);
		assert_int_equal(rkfs_access_set(&access, item, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "there is no such user"));
		assert_non_null(strstr(err.msg, "from 0 to 4294967294"));
		assert_non_null(strstr(err.msg, item));
		snprintf(item, sizeof(item), "call_gid=%s", ids[i]);
		assert_int_equal(rkfs_access_set(&access, item, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "there is no such group"));
	}
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		snprintf(item, sizeof(item), "control_mode=%s", modes[i]);
		assert_int_equal(rkfs_access_set(&access, item, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "0, 2, 4 or 6 for the group and for others"));
		assert_non_null(strstr(err.msg, item));
		snprintf(item, sizeof(item), "call_mode=%s", modes[i]);
		assert_int_equal(rkfs_access_set(&access, item, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "0 or 6 for the group and for others"));
	}
	refuse("/d -o call_mode=0640", EINVAL, "-o call_mode=0640: must be an octal number");
	refuse("/d -o call_mode=0620", EINVAL, "-o call_mode=0620");
	refuse("/d -o call_mode=0602", EINVAL, "-o call_mode=0602");
	refuse("/d -o uid", EINVAL, "-o uid: needs a value, as in -o uid=USER");
	refuse("/d -o gid=", EINVAL, "as in -o gid=GROUP");
	refuse("/d -o control_mode", EINVAL, "as in -o control_mode=MODE");
	refuse("/d -o call_uid=1", EINVAL, "no such option");
}

/* The effective ids alone change, so that it can be undone; groups are @group. */
static void become(uid_t uid, gid_t group)
{
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(setgroups(1, &group), 0);
	assert_int_equal(setegid(uid), 0);
	assert_int_equal(seteuid(uid), 0);
}

TEST(who_is_not_root_gives_nothing_away)
{
	become(12, 13);
	assert_access("/d", 12, 12, 0600, 12, 0600);
	assert_access("/d -o uid=12,gid=13,control_mode=0660,call_gid=12", 12, 13, 0660, 12, 0660);
	refuse("/d -o uid=11", EPERM, "-o uid=11: only root may give the files to another user");
	refuse("/d -o uid=0", EPERM, "they belong to user 12");
	refuse("/d -o gid=14", EPERM, "-o gid=14: only root may name a group that he is not in");
	refuse("/d -o call_gid=14", EPERM, "-o call_gid=14: only root");
	become(0, 0);
}

/* The mode that control=@mode gives a text file with the row's @bits. */
static mode_t opened(mode_t bits, mode_t mode)
{
	const struct rkfs_access access = {.gid = 8, .control_mode = mode, .call_gid = 9};
	const struct rkfs_attr attr = {.mode = bits};

	assert_int_equal(rkfs_access_gid(&access, &attr), 8);
	return rkfs_access_mode(&access, &attr);
}

TEST(files_to_command_are_opened_up_with_control)
{
	static const mode_t modes[] = {0600, 0660, 0620, 0664, 0666};
	const struct rkfs_access access = {.gid = 8, .call_gid = 9, .call_mode = 0660};
	struct rkfs_attr attr = {.mode = 0600, .stream = &rkfs_call_ops};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		assert_int_equal(opened(0600, modes[i]), modes[i]);	   /* control */
		assert_int_equal(opened(0644, modes[i]), 0444 | modes[i]); /* enable */
		assert_int_equal(opened(0640, modes[i]), 0440 | modes[i]); /* config/ */
		assert_int_equal(opened(0200, modes[i]), modes[i] & 0222); /* health/check */
		assert_int_equal(opened(0444, modes[i]), 0444);		   /* what is read only */
		assert_int_equal(opened(0440, modes[i]), 0440);
	}
	assert_int_equal(rkfs_access_mode(&access, &attr), 0660);
	assert_int_equal(rkfs_access_gid(&access, &attr), 9);
	attr = (struct rkfs_attr){.mode = 0444, .stream = &rkfs_events_follow_ops};
	assert_int_equal(rkfs_access_mode(&access, &attr), 0444);
	assert_int_equal(rkfs_access_gid(&access, &attr), 8);
}

TEST(help_and_version_need_no_dir)
{
	struct command c;

	accept(&c, "--help -o frobnicate");
	assert_true(c.opts.help);
	rkfs_options_free(&c.opts);
	accept(&c, "/d --version");
	assert_true(c.opts.version);
	rkfs_options_free(&c.opts);
}

TEST(help_lists_what_is_allowed)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	assert_int_equal(rkfs_options_help(out), 0);
	assert_int_equal(fclose(out), 0);
	assert_non_null(strstr(text, "\n  nostart "));
	assert_non_null(strstr(text, "\n  uid=USER "));
	assert_non_null(strstr(text, "\n  call_mode=MODE "));
	assert_non_null(strstr(text, "\n  max_queue_depth=NUMBER "));
	assert_non_null(strstr(text, " nofail"));
	assert_null(strstr(text, " remount"));
	free(text);

	out = fopen("/dev/full", "w");
	assert_non_null(out);
	assert_int_equal(rkfs_options_help(out), -EIO);
	fclose(out);
}
