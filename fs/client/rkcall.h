/* SPDX-License-Identifier: MIT */
/*
 * The parts of rkcall(1), which calls kernels from the command line. It opens the files of a mount
 * as anybody may, and shares nothing with the daemon but small helpers. One thread; no locks.
 * Everything that touches the mount may block while its daemon does not answer.
 */
#ifndef RKFS_CLIENT_RKCALL_H
#define RKFS_CLIENT_RKCALL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "runtime/base/error.h"

/* rkcall_mount.c */

struct rkcall_mount {
	char *dir; /* as sentences and examples name it; owned */
	int fd;	   /* the directory (O_PATH), -1: closed */
};

/*
 * Open the mount at @dir, or, where that is NULL or empty, the only rkfs in the table @mountinfo
 * (RKFS_MOUNTINFO, or another for tests). *@m is for rkcall_mount_close(). -ENOENT: none is
 * mounted, or there is none at @dir; -ENOTUNIQ: several are; -ENOTCONN: its daemon is dead;
 * -EACCES, -ENOMEM, those of rkfs_mounts_read().
 */
int rkcall_mount_open(struct rkcall_mount *m, const char *dir, const char *mountinfo,
		      struct rk_error *err);
void rkcall_mount_close(struct rkcall_mount *m);

/*
 * Read the whole file "kernels/@kernel/@name" (@kernel NULL: "@name") without its final newline.
 * Returns a string that the caller frees, or NULL with errno set.
 */
char *rkcall_value(const struct rkcall_mount *m, const char *kernel, const char *name);

/* Ids of kernels, sorted. */
struct rkcall_kernels {
	char **ids;
	size_t count;
};

/* All kernels of the mount, for rkcall_kernels_free(). The errno of reading, -ENOMEM. */
int rkcall_kernels_read(struct rkcall_kernels *k, const struct rkcall_mount *m,
			struct rk_error *err);
void rkcall_kernels_free(struct rkcall_kernels *k);

/* rkcall_encoding.c */

struct rkcall_encoding {
	const char *name;	   /* of --encoding */
	const char *file;	   /* the call file */
	const char *extensions[3]; /* of files in it, NULL-terminated */
	bool binary;
};

/* All of them, ended by a row without a name; static storage. */
extern const struct rkcall_encoding rkcall_encodings[];

/* The row called @name, or the one for the file @path; NULL: there is none. */
const struct rkcall_encoding *rkcall_encoding_find(const char *name);
const struct rkcall_encoding *rkcall_encoding_of(const char *path);

/* "kernels/@kernel/FILE", its call file, into @path; false where that does not fit. */
bool rkcall_call_path(char path[PATH_MAX], const char *kernel,
		      const struct rkcall_encoding *encoding);

/* Names of those that @kernel has a call file for, with blanks between, into @buf of @size. */
void rkcall_encodings_print(const struct rkcall_mount *m, const char *kernel, char *buf,
			    size_t size);

/* rkcall_call.c */

struct rkcall_request {
	const char *kernel;
	const struct rkcall_encoding *encoding;
	const char *text;   /* the request, or NULL: it is read from fd */
	int fd;		    /* until its end */
	const char *input;  /* what sentences call fd */
	const char *output; /* file for the answer; NULL: standard output */
};

/*
 * Call: write the request, wait, write the answer. @output is made or cut once the answer is there,
 * not before. Blocks. Returns 0, or a negative errno with the sentence behind it: of the call, of
 * reading the input, of writing the output (-EPIPE for the latter alone).
 */
int rkcall_call(const struct rkcall_mount *m, const struct rkcall_request *r, struct rk_error *err);

/* rkcall_near.c */

#define RKCALL_NEAR 3 /* kernels that a sentence suggests */

/*
 * Pick the ids of @k that @id may be a slip of, the nearest first, into @near, borrowed from @k.
 * Returns how many.
 */
size_t rkcall_near(const struct rkcall_kernels *k, const char *id, const char *near[RKCALL_NEAR]);

/* rkcall_why.c */

/*
 * Why opening @kernel's call file, or using it, failed with errno @code. They ask the mount for
 * what it knows. @told: what the call file said of the error, NULL where it said nothing.
 * Return -@code.
 */
int rkcall_why_not_open(const struct rkcall_mount *m, const char *kernel,
			const struct rkcall_encoding *encoding, int code, struct rk_error *err);
int rkcall_why(const struct rkcall_mount *m, const char *kernel, int code, const char *told,
	       struct rk_error *err);

/* @sentence without "@kernel: " in front, for a caller who says that himself. */
const char *rkcall_without_kernel(const char *sentence, const char *kernel);

/* There is no @kernel: says which ones are called nearly so. Returns -ENOENT. */
int rkcall_no_kernel(const struct rkcall_mount *m, const char *kernel, struct rk_error *err);

/* rkcall_example.c */

/*
 * A request in JSON for a kernel whose `inputs` file reads @inputs: small numbers, dims of a few
 * elements, inputs with a default left out. Returns a string that the caller frees; NULL with
 * errno: EFBIG where constant axes make it long, EINVAL where @inputs is not understood, ENOMEM.
 */
char *rkcall_example(const char *inputs);

/* rkcall_show.c */

/* One line per kernel. Those of rkcall_kernels_read(). What @out cannot take shows in ferror(). */
int rkcall_list(const struct rkcall_mount *m, FILE *out, struct rk_error *err);

/* All about @kernel, with an example that begins with @command. -ENOENT, -ENOMEM. */
int rkcall_describe(const struct rkcall_mount *m, const char *kernel, const char *command,
		    FILE *out, struct rk_error *err);

#endif
