/* SPDX-License-Identifier: MIT */
/* The lexer of descriptions: what is a name, and where words begin and end. */
#include "runtime/kernel/parse_internal.h"

#include <ctype.h>
#include <string.h>

#include "runtime/kernel/manifest.h"

bool rk_is_identifier(const char *s, size_t len)
{
	if (len == 0 || len >= RK_NAME_MAX || isdigit((unsigned char)s[0]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)s[i]) && s[i] != '_')
			return false;
	return true;
}

void rk_copy_text(char *to, const char *from, size_t len)
{
	memcpy(to, from, len);
	to[len] = '\0';
}

void rk_trim(const char **s, size_t *len)
{
	while (*len && isspace((unsigned char)**s)) {
		(*s)++;
		(*len)--;
	}
	while (*len && isspace((unsigned char)(*s)[*len - 1]))
		(*len)--;
}

const char *rk_next_word(const char **pos, const char *end, char sep, size_t *len)
{
	const char *word = *pos, *stop;

	if (!word)
		return NULL;
	stop = memchr(word, sep, (size_t)(end - word));
	*len = (size_t)((stop ? stop : end) - word);
	*pos = stop ? stop + 1 : NULL;
	rk_trim(&word, len);
	return word;
}
