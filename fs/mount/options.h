/* SPDX-License-Identifier: MIT */
/*
 * The command line of mount.rkfs: mount.rkfs [-o OPTS] [CONFIG|none] DIR, as typed by a person
 * and as mount(8) calls its helpers. No locks; for the main thread (getopt keeps global state).
 */
#ifndef RKFS_MOUNT_OPTIONS_H
#define RKFS_MOUNT_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "fs/base/access.h"
#include "runtime/base/error.h"

#define RKFS_DEFAULT_CONFIG "/etc/rkfs/rkfs.conf"

/* Exit codes of mount.rkfs: those of mount(8). */
enum rkfs_exit {
	RKFS_EXIT_OK = 0,
	RKFS_EXIT_USAGE = 1,  /* wrong arguments, or not permitted */
	RKFS_EXIT_SYSTEM = 2, /* out of memory, cannot fork */
	RKFS_EXIT_MOUNT = 32, /* the mount or the start failed */
};

struct rkfs_options {
	char *source; /* what mountinfo shows: the first argument as given, "rkfs" with DIR alone */
	char *config; /* absolute path of the configuration file, NULL = none */
	char *dir;    /* as given; NULL where help or version is asked for */
	char *mount_ns;	       /* -N: a path or a process id, NULL = not given */
	char **config_options; /* "key=value" of configuration fields, NULL-terminated, each key
				  once */
	size_t nconfig_options;
	char *fuse_options; /* for rkfs_attach, comma-separated, "" = none */
	char **labels;	    /* "context=LABEL" and its family, NULL-terminated, each key once */
	size_t nlabels;
	struct rkfs_access access; /* complete */
	int ready_fd; /* write a newline there and close it once ready; at least 3, -1 = none */
	bool fake;    /* -f: check everything, do not mount */
	bool verbose; /* -v */
	bool sloppy;  /* -s: unknown -o options are ignored */
	bool foreground;
	bool only_root; /* allow_root: nobody but root and the owner */
	bool nostart;	/* the runtime stays in Created */
	bool help;	/* print help (rkfs_options_help) and exit 0; nothing else is set */
	bool version;	/* likewise */
	const char *default_config; /* read with DIR alone, where it exists; borrowed */
};

/* Defaults; default_config is RKFS_DEFAULT_CONFIG. */
void rkfs_options_init(struct rkfs_options *opts);

/*
 * Fill @opts (initialised) from the command line. Strings are owned by @opts: rkfs_options_free,
 * after a failure too. -EINVAL: a wrong argument, -EPERM: one that only root may give, -EBADF:
 * --ready-fd is not open, -ENOENT: the working directory is gone and CONFIG is relative (all
 * RKFS_EXIT_USAGE); -ENOMEM (RKFS_EXIT_SYSTEM). Values of configuration fields are not looked at:
 * rk_config_load does that. ready_fd is made close-on-exec.
 */
int rkfs_options_parse(struct rkfs_options *opts, int argc, char *const argv[],
		       struct rk_error *err);

/* Free what @opts owns and make it empty. */
void rkfs_options_free(struct rkfs_options *opts);

/* Usage, options and all configuration fields with their limits. -EIO where @out fails. */
int rkfs_options_help(FILE *out);

#endif
