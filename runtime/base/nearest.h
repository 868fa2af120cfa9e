/* SPDX-License-Identifier: MIT */
/*
 * "did you mean": of the words there are, the one that a misspelt word was probably meant to be.
 * No locks, nothing blocks, no memory is allocated.
 */
#ifndef RK_RUNTIME_BASE_NEAREST_H
#define RK_RUNTIME_BASE_NEAREST_H

#include <stddef.h>

#define RK_NEAREST_MAX	    64			 /* of a word that is suggested, with its NUL */
#define RK_NEAREST_HINT_MAX (2 * RK_NEAREST_MAX) /* of the hint, with its NUL */

/*
 * How many characters of @a have to be changed, put in, left out, or swapped with their neighbour
 * to make @b of it; the case of letters does not count. SIZE_MAX where one is longer than any name.
 */
size_t rk_edit_distance(const char *a, size_t alen, const char *b, size_t blen);

struct rk_nearest {
	const char *word; /* misspelt, of @len bytes; the caller's */
	size_t len;
	size_t distance; /* of best; best is "" as long as nothing is near */
	char best[RK_NEAREST_MAX];
};

/* Begin for @word of @len bytes, which must stay. */
void rk_nearest_init(struct rk_nearest *n, const char *word, size_t len);

/* Offer @candidate. Of equally near ones the first counts. */
void rk_nearest_try(struct rk_nearest *n, const char *candidate);

/*
 * " (did you mean @before BEST?)" into @buf of RK_NEAREST_HINT_MAX, "" where nothing is near enough
 * to be a slip of the pen. Returns @buf.
 */
const char *rk_nearest_hint(const struct rk_nearest *n, const char *before, char *buf);

#endif
