/* SPDX-License-Identifier: MIT */
/* Computes the edit distance, and finds the nearest of several words by it. */
#include "runtime/base/nearest.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define LEN_MAX 128 /* longer than any name that rkfs knows */

static bool same(char a, char b)
{
	return tolower((unsigned char)a) == tolower((unsigned char)b);
}

static size_t least(size_t a, size_t b, size_t c)
{
	size_t ab = a < b ? a : b;

	return ab < c ? ab : c;
}

/* Optimal string alignment (Damerau's distance restricted), with the last three rows. */
size_t rk_edit_distance(const char *a, size_t alen, const char *b, size_t blen)
{
	size_t rows[3][LEN_MAX + 1], *before = rows[0], *above = rows[1], *row = rows[2], *spare;

	if (alen > LEN_MAX || blen > LEN_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= blen; j++)
		row[j] = j;
	for (size_t i = 1; i <= alen; i++) {
		spare = before;
		before = above;
		above = row;
		row = spare;
		row[0] = i;
		for (size_t j = 1; j <= blen; j++) {
			row[j] = least(above[j - 1] + !same(a[i - 1], b[j - 1]), above[j] + 1,
				       row[j - 1] + 1);
			if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) &&
			    same(a[i - 2], b[j - 1]) && before[j - 2] + 1 < row[j])
				row[j] = before[j - 2] + 1;
		}
	}
	return row[blen];
}

void rk_nearest_init(struct rk_nearest *n, const char *word, size_t len)
{
	*n = (struct rk_nearest){.word = word, .len = len};
}

void rk_nearest_try(struct rk_nearest *n, const char *candidate)
{
	size_t len = strlen(candidate), shorter = len < n->len ? len : n->len;
	size_t longer = len < n->len ? n->len : len, limit = longer < 4 ? 0 : 1 + shorter / 4;
	size_t distance = rk_edit_distance(n->word, n->len, candidate, len);

	/* a third of the letters wrong is a slip; with half of them wrong it is another word */
	if (len >= sizeof(n->best) || distance > limit || distance >= shorter ||
	    (n->best[0] && distance >= n->distance))
		return;
	n->distance = distance;
	memcpy(n->best, candidate, len + 1);
}

const char *rk_nearest_hint(const struct rk_nearest *n, const char *before, char *buf)
{
	if (n->best[0])
		snprintf(buf, RK_NEAREST_HINT_MAX, " (did you mean %s%s?)", before, n->best);
	else
		buf[0] = '\0';
	return buf;
}
