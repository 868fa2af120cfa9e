/* SPDX-License-Identifier: MIT */
/* The times of contents: a cache of sets, each with the files looked at last in front. */
#include "fs/looks.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/thread.h"

#define SET_BITS 11
#define WAYS	 4

struct look {
	uint64_t number; /* 0 = free, and so are those behind it */
	uint64_t digest;
	struct timespec since;
};

struct set {
	struct look look[WAYS];
	bool forgot; /* one was dropped: a file that is not found may have been here */
};

struct rkfs_looks {
	pthread_mutex_t lock;
	struct set sets[1 << SET_BITS];
};

int rkfs_looks_create(struct rkfs_looks **looks)
{
	struct rkfs_looks *l = calloc(1, sizeof(*l));
	int rc;

	if (!l)
		return -ENOMEM;
	rc = -pthread_mutex_init(&l->lock, NULL);
	if (rc)
		free(l);
	else
		*looks = l;
	return rc;
}

void rkfs_looks_destroy(struct rkfs_looks *looks)
{
	if (!looks)
		return;
	pthread_mutex_destroy(&looks->lock);
	free(looks);
}

/* FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/ */
uint64_t rkfs_looks_digest(const void *data, size_t len)
{
	const unsigned char *byte = data;
	uint64_t digest = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < len; i++)
		digest = (digest ^ byte[i]) * UINT64_C(0x100000001b3);
	return digest;
}

/* Numbers of neighbours differ in few bits, low and high. */
static struct set *set_of(struct rkfs_looks *looks, uint64_t number)
{
	return &looks->sets[(number ^ number >> 32) * UINT64_C(0x9e3779b97f4a7c15) >>
			    (64 - SET_BITS)];
}

struct timespec rkfs_looks_since(struct rkfs_looks *looks, uint64_t number, uint64_t digest,
				 struct timespec born)
{
	struct look found = {.number = number, .digest = digest, .since = born};
	struct set *set = set_of(looks, number);
	struct timespec now;
	size_t i = 0;

	clock_gettime(CLOCK_REALTIME, &now);
	RK_GUARD(&looks->lock);
	while (i < WAYS && set->look[i].number && set->look[i].number != number)
		i++;
	if (i == WAYS) {
		set->forgot = true;
		i--;
	}
	if (set->look[i].number != number)
		found.since = set->forgot ? now : born;
	else
		found.since = set->look[i].digest == digest ? set->look[i].since : now;
	memmove(&set->look[1], &set->look[0], i * sizeof(found));
	set->look[0] = found;
	return found.since;
}
