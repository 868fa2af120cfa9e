/* SPDX-License-Identifier: MIT */
/* The parts of the parser of descriptions: manifest.c (keys), manifest_port.c ([inputs] ...). */
#ifndef RK_RUNTIME_MANIFEST_INTERNAL_H
#define RK_RUNTIME_MANIFEST_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

#include "runtime/manifest.h"

#define IDENTIFIER_RULE "a letter or '_', then letters, digits and '_', at most 63 in all"

/* The sections that hold ports. */
enum rk_port_section {
	RK_SECTION_INPUTS,
	RK_SECTION_OUTPUTS,
	RK_SECTION_SCRATCH,
	RK_SECTION_COUNT,
};

/* What the sections are called, and where their ports go. */
struct rk_port_section_info {
	const char *section; /* "inputs" */
	const char *what;    /* "input" */
	size_t ports, count; /* offsets in struct rk_manifest */
};
extern const struct rk_port_section_info rk_port_sections[RK_SECTION_COUNT];

/* Add the port that a line describes. 0, -EINVAL or -ENOMEM; the sentence is without the key. */
int rk_manifest_read_port(struct rk_manifest *m, enum rk_port_section section, const char *key,
			  const char *value, struct rk_error *err);

/* Once all inputs are read: whether some input binds every dim of the one called @key. */
int rk_manifest_check_bound(const struct rk_manifest *m, const char *key, struct rk_error *err);

bool rk_is_identifier(const char *s, size_t len);
void rk_copy_text(char *to, const char *from, size_t len);

/* Shrink [*s, *s + *len) to what is between its blanks. */
void rk_trim(const char **s, size_t *len);

/* The next of the words at *@pos, which @sep separates, trimmed; NULL past the last. */
const char *rk_next_word(const char **pos, const char *end, char sep, size_t *len);

/* The index of the port or dim of that name, or -1. */
int rk_find_port(const struct rk_manifest *m, enum rk_port_section section, const char *name,
		 size_t len);
int rk_find_dim(const struct rk_manifest *m, const char *name, size_t len);

/* The ports of a section, and how many they are. */
struct rk_port *rk_section_ports(struct rk_manifest *m, enum rk_port_section section,
				 unsigned int **count);

#endif
