/* SPDX-License-Identifier: MIT */
/* The table of the words of -o. */
#include "fs/mount/internal.h"

#include <string.h>

static const struct rkfs_word words[] = {
	{"nostart", RKFS_WORD_NOSTART, false, "mount, but leave the runtime in Created"},
	{"allow_other", RKFS_WORD_FUSE, false,
	 "other users may use the mount (always so for root)"},
	{"allow_root", RKFS_WORD_ONLY_ROOT, false, "root may use the mount"},
	{"context", RKFS_WORD_LABEL, true, NULL},
	{"fscontext", RKFS_WORD_LABEL, true, NULL},
	{"defcontext", RKFS_WORD_LABEL, true, NULL},
	{"rootcontext", RKFS_WORD_LABEL, true, NULL},
	{"default_permissions", RKFS_WORD_FUSE, false, "the kernel checks permissions (always so)"},
	{"noexec", RKFS_WORD_FUSE, false, NULL},
	{"nosuid", RKFS_WORD_FUSE, false, NULL},
	{"nodev", RKFS_WORD_FUSE, false, NULL},
	{"nosymfollow", RKFS_WORD_FUSE, false, NULL},
	{"rw", RKFS_WORD_RW, false, NULL},
	{"ro", RKFS_WORD_RO, false, NULL},
	{"remount", RKFS_WORD_REMOUNT, false, NULL},
	{"defaults", RKFS_WORD_IGNORE, false, NULL},
	{"auto", RKFS_WORD_IGNORE, false, NULL},
	{"noauto", RKFS_WORD_IGNORE, false, NULL},
	{"nofail", RKFS_WORD_IGNORE, false, NULL},
	{"_netdev", RKFS_WORD_IGNORE, false, NULL},
	{"user", RKFS_WORD_IGNORE, true, NULL},
	{"nouser", RKFS_WORD_IGNORE, false, NULL},
	{"users", RKFS_WORD_IGNORE, false, NULL},
	{"nousers", RKFS_WORD_IGNORE, false, NULL},
	{"owner", RKFS_WORD_IGNORE, false, NULL},
	{"noowner", RKFS_WORD_IGNORE, false, NULL},
	{"group", RKFS_WORD_IGNORE, false, NULL},
	{"nogroup", RKFS_WORD_IGNORE, false, NULL},
	{"exec", RKFS_WORD_IGNORE, false, NULL},
	{"suid", RKFS_WORD_IGNORE, false, NULL},
	{"dev", RKFS_WORD_IGNORE, false, NULL},
	{"sync", RKFS_WORD_IGNORE, false, NULL},
	{"async", RKFS_WORD_IGNORE, false, NULL},
	{"dirsync", RKFS_WORD_IGNORE, false, NULL},
	{"atime", RKFS_WORD_IGNORE, false, NULL},
	{"noatime", RKFS_WORD_IGNORE, false, NULL},
	{"diratime", RKFS_WORD_IGNORE, false, NULL},
	{"nodiratime", RKFS_WORD_IGNORE, false, NULL},
	{"relatime", RKFS_WORD_IGNORE, false, NULL},
	{"norelatime", RKFS_WORD_IGNORE, false, NULL},
	{"strictatime", RKFS_WORD_IGNORE, false, NULL},
	{"nostrictatime", RKFS_WORD_IGNORE, false, NULL},
	{"lazytime", RKFS_WORD_IGNORE, false, NULL},
	{"nolazytime", RKFS_WORD_IGNORE, false, NULL},
	{"silent", RKFS_WORD_IGNORE, false, NULL},
	{"loud", RKFS_WORD_IGNORE, false, NULL},
	{"symfollow", RKFS_WORD_IGNORE, false, NULL},
	{"mand", RKFS_WORD_IGNORE, false, NULL},
	{"nomand", RKFS_WORD_IGNORE, false, NULL},
	{"iversion", RKFS_WORD_IGNORE, false, NULL},
	{"noiversion", RKFS_WORD_IGNORE, false, NULL},
	{"seclabel", RKFS_WORD_IGNORE, false, NULL},
	/* of a mount that is there: mount(8) repeats them */
	{"user_id", RKFS_WORD_IGNORE, true, NULL},
	{"group_id", RKFS_WORD_IGNORE, true, NULL},
	{"max_read", RKFS_WORD_IGNORE, true, NULL},
	{"uhelper", RKFS_WORD_IGNORE, true, NULL},
	{"helper", RKFS_WORD_IGNORE, true, NULL},
	{"comment", RKFS_WORD_IGNORE, true, NULL},
	{"x-*", RKFS_WORD_IGNORE, true, NULL},
	{"X-*", RKFS_WORD_IGNORE, true, NULL},
};

#define NWORDS (sizeof(words) / sizeof(words[0]))

static bool matches(const struct rkfs_word *word, const char *item, size_t len)
{
	size_t n = strlen(word->name);

	if (word->name[n - 1] == '*')
		return len >= n - 1 && memcmp(word->name, item, n - 1) == 0;
	return len == n && memcmp(word->name, item, n) == 0;
}

const struct rkfs_word *rkfs_word_find(const char *item, size_t len, bool valued)
{
	for (size_t i = 0; i < NWORDS; i++)
		if (matches(&words[i], item, len) && (words[i].value || !valued))
			return &words[i];
	return NULL;
}

void rkfs_words_nearest(struct rk_nearest *near)
{
	for (size_t i = 0; i < NWORDS; i++)
		rk_nearest_try(near, words[i].name);
}

void rkfs_words_help(FILE *out)
{
	for (size_t i = 0; i < NWORDS; i++)
		if (words[i].help)
			fprintf(out, "  %-31s %s\n", words[i].name, words[i].help);
}

void rkfs_words_accepted(FILE *out)
{
	fputs("Accepted as in fstab:\n ", out);
	for (size_t i = 0; i < NWORDS; i++)
		if (!words[i].help && words[i].action <= RKFS_WORD_LABEL)
			fprintf(out, " %s", words[i].name);
	fputs(" rw\n", out);
}

bool rkfs_words_have(const char *options, const char *name)
{
	size_t len = strlen(name);

	for (; *options; options += strcspn(options, ","), options += *options == ',')
		if (strcspn(options, ",") == len && !memcmp(options, name, len))
			return true;
	return false;
}
