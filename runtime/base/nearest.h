/* SPDX-License-Identifier: MIT */
/*
 * "did you mean": finds, among the words that exist, the one that a misspelt word was meant to be.
 * No locks, nothing blocks, no memory is allocated.
 */
#ifndef RK_RUNTIME_BASE_NEAREST_H
#define RK_RUNTIME_BASE_NEAREST_H

#include <stddef.h>

#define RK_NEAREST_MAX	    64			 /* of a word that is suggested, with its NUL */
#define RK_NEAREST_HINT_MAX (2 * RK_NEAREST_MAX) /* of the hint, with its NUL */

/*
 * How many characters of @a have to be changed, inserted, removed, or swapped with their neighbour
 * to get @b, ignoring case. SIZE_MAX if one of them is longer than any name.
 */
size_t rk_edit_distance(const char *a, size_t alen, const char *b, size_t blen);

struct rk_nearest {
	const char *word; /* misspelt, of @len bytes; the caller's */
	size_t len;
	size_t distance; /* of best, which is "" as long as nothing is near */
	char best[RK_NEAREST_MAX];
};

/* Begin with @word of @len bytes, which must stay valid. */
void rk_nearest_init(struct rk_nearest *n, const char *word, size_t len);

/* Offer @candidate. Of several that are equally near the first one counts. */
void rk_nearest_try(struct rk_nearest *n, const char *candidate);

/*
 * Print " (did you mean @before BEST?)" into @buf of RK_NEAREST_HINT_MAX, or "" if nothing is near
 * enough to be a slip. Returns @buf.
 */
const char *rk_nearest_hint(const struct rk_nearest *n, const char *before, char *buf);

#endif
