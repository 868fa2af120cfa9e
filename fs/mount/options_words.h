/* SPDX-License-Identifier: MIT */
/* The words of -o that are neither configuration fields nor options of access. */
#ifndef RKFS_MOUNT_OPTIONS_WORDS_H
#define RKFS_MOUNT_OPTIONS_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "runtime/base/nearest.h"

enum rkfs_word_action {
	RKFS_WORD_IGNORE, /* says nothing that rkfs would do differently */
	RKFS_WORD_FUSE,	  /* passed on to the FUSE mount */
	RKFS_WORD_ONLY_ROOT,
	RKFS_WORD_LABEL, /* NAME=VALUE, for SELinux */
	RKFS_WORD_NOSTART,
	RKFS_WORD_RO,
	RKFS_WORD_RW,
	RKFS_WORD_REMOUNT,
};

struct rkfs_word {
	const char *name; /* "NAME*": what begins with NAME */
	enum rkfs_word_action action;
	bool value; /* NAME=VALUE is allowed too */
	const char *help;
};

/* The word of option text @item, which has @len bytes before any '='; @valued: it has one. NULL
 * where it is none. */
const struct rkfs_word *rkfs_word_find(const char *item, size_t len, bool valued);

/* Offer all of them to @near. */
void rkfs_words_nearest(struct rk_nearest *near);

/* For --help: those with a description; the names of those that are accepted as in fstab. */
void rkfs_words_help(FILE *out);
void rkfs_words_accepted(FILE *out);

/* Whether @options, separated by commas, has one that is @name. */
bool rkfs_words_have(const char *options, const char *name);

#endif
