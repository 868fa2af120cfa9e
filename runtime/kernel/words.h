/* SPDX-License-Identifier: MIT */
/* Words and names in the values of a description. Nothing here fails, locks or allocates. */
#ifndef RK_RUNTIME_KERNEL_WORDS_H
#define RK_RUNTIME_KERNEL_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#define IDENTIFIER_RULE "a letter or '_', then letters, digits and '_', at most 63 in all"

bool rk_is_identifier(const char *s, size_t len);

/* Copy @len bytes and a NUL. */
void rk_copy_text(char *to, const char *from, size_t len);

/* Shrink [*s, *s + *len) to what is between its blanks. */
void rk_trim(const char **s, size_t *len);

/* The next of the words at *@pos, which @sep separates, trimmed; NULL past the last. */
const char *rk_next_word(const char **pos, const char *end, char sep, size_t *len);

#endif
