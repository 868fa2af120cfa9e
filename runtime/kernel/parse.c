/* SPDX-License-Identifier: MIT */
/* The parser of descriptions: its stages, the table of keys, and sections [kernel] and [state]. */
#include "runtime/kernel/parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/config/config.h"
#include "runtime/base/files.h"
#include "runtime/base/json_text.h"
#include "runtime/base/nearest.h"
#include "runtime/kernel/parse_internal.h"

/* The longest prefix of @s that is a name as domains and kernels have it. */
static size_t id_part(const char *s)
{
	size_t len = strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_-");

	return s[0] == '_' || s[0] == '-' || len >= RK_NAME_MAX ? 0 : len;
}

/* [kernel] and [state] */

static int read_id(struct rk_builder *b, const char *value, struct rk_error *err)
{
	struct rk_manifest *m = &b->m;
	size_t domain = id_part(value), name;

	name = domain && value[domain] == '/' ? id_part(value + domain + 1) : 0;
	if (name == 0 || value[domain + 1 + name])
		return rk_error_set(err, EINVAL,
				    "'%s' is no DOMAIN/NAME: each begins with a-z or 0-9, goes on "
				    "with a-z, 0-9, '_' and '-', and has at most %d characters",
				    value, RK_NAME_MAX - 1);
	rk_copy_text(m->domain, value, domain);
	rk_copy_text(m->name, value + domain + 1, name);
	rk_copy_text(m->id, value, domain + 1 + name);
	return 0;
}

static int read_mode(struct rk_builder *b, const char *value, struct rk_error *err)
{
	if (strcmp(value, rk_mode_name(RK_WIRE_RING)) == 0)
		b->m.mode = RK_WIRE_RING;
	else if (strcmp(value, rk_mode_name(RK_WIRE_BATCH)) == 0)
		b->m.mode = RK_WIRE_BATCH;
	else
		return rk_error_set(err, EINVAL, "'%s' is no mode; use batch or ring", value);
	return 0;
}

static int read_description(struct rk_builder *b, const char *value, struct rk_error *err)
{
	struct rk_manifest *m = &b->m;
	size_t len = strlen(value);

	if (len >= sizeof(m->description))
		return rk_error_set(err, EINVAL, "longer than %zu bytes",
				    sizeof(m->description) - 1);
	rk_copy_text(m->description, value, len);
	return 0;
}

/* Of its shape, store and the kernel are the judges; a slip in the syntax is found at once. */
static int read_example(struct rk_builder *b, const char *value, struct rk_error *err)
{
	struct rk_manifest *m = &b->m;
	size_t len = strlen(value);

	if (len >= sizeof(m->example))
		return rk_error_set(err, EINVAL, "longer than %zu bytes", sizeof(m->example) - 1);
	if (rk_json_check(value, len, NULL, err) < 0)
		return rk_error_prefix(err, "not a request in JSON");
	rk_copy_text(m->example, value, len);
	return 0;
}

static int read_version(struct rk_builder *b, const char *value, struct rk_error *err)
{
	struct rk_manifest *m = &b->m;
	size_t i, len = strlen(value);

	for (i = 0; i < len; i++)
		if (!isalnum((unsigned char)value[i]) && !strchr("._+~-", value[i]))
			break;
	if (len == 0 || i < len || len >= sizeof(m->version))
		return rk_error_set(err, EINVAL,
				    "'%s' is no version: 1 to %zu letters, digits and . _ + ~ -",
				    value, sizeof(m->version) - 1);
	rk_copy_text(m->version, value, len);
	return 0;
}

/* Settings of the configuration that a description sets for its kernel alone. */

static int read_timeout(struct rk_builder *b, const char *value, struct rk_error *err)
{
	return rk_config_value_parse(rk_config_find("message_timeout"), value, &b->m.timeout_ms,
				     err);
}

static int read_max_queue_depth(struct rk_builder *b, const char *value, struct rk_error *err)
{
	return rk_config_value_parse(rk_config_find("max_queue_depth"), value,
				     &b->m.max_queue_depth, err);
}

static int read_state(struct rk_builder *b, const char *value, struct rk_error *err)
{
	static const struct rk_config_field field = {
		.type = RK_CONFIG_SIZE, .size = sizeof(uint64_t), .min = "1", .max = "1G"};

	return rk_config_value_parse(&field, value, &b->m.state_bytes, err);
}

static int check_state(struct rk_builder *b, const char *value, struct rk_error *err)
{
	enum rk_port_section section;
	const char *what = NULL;

	(void)value;
	if (b->m.mode != RK_WIRE_RING)
		return rk_error_set(err, EINVAL,
				    "only a kernel with mode = ring keeps a state between its "
				    "messages; leave [state] out, or set mode");
	for (section = 0; section < RK_SECTION_COUNT; section++)
		if (rk_find_port(&b->m, section, "state", strlen("state")) >= 0)
			what = rk_port_sections[section].what;
	if (rk_find_dim(&b->m, "state", strlen("state")) >= 0)
		what = "dim";
	if (!what)
		return 0;
	return rk_error_set(err, EINVAL,
			    "'state' in args means what [state] describes, so no %s can be called "
			    "so; rename it",
			    what);
}

enum need {
	OPTIONAL,
	ALWAYS,
	WITH_SECTION, /* where there is anything of its section, which is a backend's */
	WITH_BATCH,   /* the same, but not in a kernel with mode = ring */
};

/* clang-format off */
#define CODE_KEYS(id, backend, library, what, launches)                                            \
	{#backend, library, RK_STAGE_INPUTS, OPTIONAL, rk_manifest_read_library, NULL},            \
	{#backend, "entry", RK_STAGE_INPUTS, WITH_SECTION, rk_manifest_read_entry, NULL},          \
	{#backend, "args", RK_STAGE_ARGS, WITH_SECTION, rk_manifest_read_args,                     \
	 rk_manifest_check_args},                                                                  \
	LAUNCH_KEYS_##launches(#backend)
#define LAUNCH_KEYS_0(section)
#define LAUNCH_KEYS_1(section)                                                                     \
	{section, "grid", RK_STAGE_ARGS, WITH_BATCH, rk_manifest_read_grid,                        \
	 rk_manifest_check_batch},                                                                 \
	{section, "block", RK_STAGE_INPUTS, OPTIONAL, rk_manifest_read_block, NULL},               \
	{section, "shared", RK_STAGE_INPUTS, OPTIONAL, rk_manifest_read_shared, NULL},             \
	{section, "cooperative", RK_STAGE_INPUTS, OPTIONAL, rk_manifest_read_cooperative,          \
	 rk_manifest_check_batch},
/* clang-format on */

/* The keys with a fixed meaning. */
static const struct key {
	const char *section, *name;
	enum rk_manifest_stage stage;
	enum need need;
	rk_manifest_reader *read;  /* in the stage */
	rk_manifest_reader *check; /* in RK_STAGE_CHECK; NULL = there is nothing to check */
} keys[] = {{"kernel", "id", RK_STAGE_INPUTS, ALWAYS, read_id, NULL},
	    {"kernel", "mode", RK_STAGE_INPUTS, OPTIONAL, read_mode, NULL},
	    {"kernel", "description", RK_STAGE_INPUTS, OPTIONAL, read_description, NULL},
	    {"kernel", "version", RK_STAGE_INPUTS, OPTIONAL, read_version, NULL},
	    {"kernel", "example", RK_STAGE_INPUTS, OPTIONAL, read_example, NULL},
	    {"kernel", "timeout", RK_STAGE_INPUTS, OPTIONAL, read_timeout, NULL},
	    {"kernel", "max_queue_depth", RK_STAGE_INPUTS, OPTIONAL, read_max_queue_depth, NULL},
	    {"kernel", "batchable", RK_STAGE_ARGS, OPTIONAL, rk_manifest_read_batchable,
	     rk_manifest_check_batchable},
	    {"state", "bytes", RK_STAGE_INPUTS, OPTIONAL, read_state, check_state},
	    RK_BACKENDS(CODE_KEYS)};

#define NKEYS (sizeof(keys) / sizeof(keys[0]))
_Static_assert(NKEYS <= 32, "rk_builder.given has a bit for each");

static int check_section(const char *section, struct rk_error *err)
{
	char hint[RK_NEAREST_HINT_MAX];
	struct rk_nearest near;

	rk_nearest_init(&near, section, strlen(section));
	for (size_t i = 0; i < NKEYS; i++) {
		if (strcmp(keys[i].section, section) == 0)
			return 0;
		rk_nearest_try(&near, keys[i].section);
	}
	for (size_t i = 0; i < RK_SECTION_COUNT; i++) {
		if (strcmp(rk_port_sections[i].name, section) == 0)
			return 0;
		rk_nearest_try(&near, rk_port_sections[i].name);
	}
	return rk_error_set(err, EINVAL,
			    "unknown section [%s]%s; there are [kernel], [inputs], [outputs], "
			    "[scratch], [state], %s",
			    section, rk_nearest_hint(&near, "", hint), RK_BACKEND_SECTIONS);
}

static int unknown_key(const char *section, const char *key, struct rk_error *err)
{
	char names[128] = "", hint[RK_NEAREST_HINT_MAX];
	struct rk_nearest near;
	size_t i, len = 0;

	rk_nearest_init(&near, key, strlen(key));
	for (i = 0; i < NKEYS; i++) {
		if (strcmp(keys[i].section, section) != 0)
			continue;
		rk_nearest_try(&near, keys[i].name);
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", len ? ", " : "",
					keys[i].name);
	}
	if (!len)
		return rk_error_set(err, EINVAL,
				    "%s: this line is in no section; begin with [kernel]", key);
	return rk_error_set(err, EINVAL, "%s: unknown key%s; [%s] has %s", key,
			    rk_nearest_hint(&near, "", hint), section, names);
}

static int read_key(struct rk_builder *b, size_t i, const char *value, struct rk_error *err)
{
	int rc = 0;

	b->backend = rk_backend_named(keys[i].section);
	if (b->backend < RK_WIRE_BACKEND_COUNT)
		b->m.code[b->backend].given = true;
	if (keys[i].stage == b->stage) {
		if (b->given & 1u << i)
			return rk_error_set(err, EINVAL, "%s: this key is given twice",
					    keys[i].name);
		b->given |= 1u << i;
		rc = keys[i].read(b, value, err);
	} else if (b->stage == RK_STAGE_CHECK && keys[i].check) {
		rc = keys[i].check(b, value, err);
	}
	if (rc < 0)
		rk_error_prefix(err, "%s", keys[i].name);
	return rc;
}

static int on_port(struct rk_builder *b, enum rk_port_section section, const char *key,
		   const char *value, struct rk_error *err)
{
	bool is_input = section == RK_SECTION_INPUTS;
	int rc = 0;

	if (b->stage == (is_input ? RK_STAGE_INPUTS : RK_STAGE_OUTPUTS))
		rc = rk_port_parse(&b->m, section, key, value, err);
	else if (is_input && b->stage == RK_STAGE_OUTPUTS)
		rc = rk_port_check_bound(&b->m, key, err);
	if (rc < 0)
		rk_error_prefix(err, "%s", key);
	return rc;
}

static int on_pair(void *ctx, const char *section, const char *key, const char *value,
		   struct rk_error *err)
{
	struct rk_builder *b = ctx;

	if (!key)
		return check_section(section, err);
	for (size_t i = 0; i < RK_SECTION_COUNT; i++)
		if (strcmp(section, rk_port_sections[i].name) == 0)
			return on_port(b, (enum rk_port_section)i, key, value, err);
	for (size_t i = 0; i < NKEYS; i++)
		if (strcmp(keys[i].section, section) == 0 && strcmp(keys[i].name, key) == 0)
			return read_key(b, i, value, err);
	return unknown_key(section, key, err);
}

static bool is_needed(const struct rk_builder *b, const struct key *key)
{
	if (key->need == OPTIONAL || key->need == ALWAYS)
		return key->need == ALWAYS;
	return b->m.code[rk_backend_named(key->section)].given &&
	       (key->need == WITH_SECTION || b->m.mode == RK_WIRE_BATCH);
}

static bool has_code(const struct rk_manifest *m)
{
	enum rk_wire_backend backend = 0;

	while (backend < RK_WIRE_BACKEND_COUNT && !m->code[backend].given)
		backend++;
	return backend < RK_WIRE_BACKEND_COUNT;
}

/* What should have been read by now. What is wrong in a line is said first, as it may be why. */
static int check_complete(const struct rk_builder *b, const char *name, struct rk_error *err)
{
	if (b->stage < RK_STAGE_OUTPUTS)
		return 0;
	for (size_t i = 0; i < NKEYS; i++)
		if (keys[i].stage <= b->stage && !(b->given & 1u << i) && is_needed(b, &keys[i]))
			return rk_error_set(err, EINVAL, "%s: %s is missing in [%s]", name,
					    keys[i].name, keys[i].section);
	if (b->m.noutputs == 0)
		return rk_error_set(err, EINVAL,
				    "%s: [outputs] is missing or empty; a kernel answers with at "
				    "least one output",
				    name);
	if (!has_code(&b->m))
		return rk_error_set(err, EINVAL,
				    "%s: %s are missing; describe the kernel's code for at least "
				    "one of them",
				    name, RK_BACKEND_SECTIONS);
	return 0;
}

static void set_defaults(struct rk_manifest *m)
{
	enum rk_wire_backend backend;

	if (!m->version[0])
		strcpy(m->version, "1.0");
	for (backend = 0; backend < RK_WIRE_BACKEND_COUNT; backend++)
		if (m->code[backend].given && !m->code[backend].library[0])
			strcpy(m->code[backend].library, "builtin");
	rk_manifest_default_block(m);
}

static int parse(struct rk_manifest *m, const char *text, size_t len, const char *name,
		 const char *dir, size_t dir_len, struct rk_error *err)
{
	struct rk_builder b;
	int rc;

	memset(&b, 0, sizeof(b)); /* padding too: rk_manifest_equal compares bytes */
	b.dir = dir;
	b.dir_len = dir_len;
	for (b.stage = RK_STAGE_INPUTS; b.stage < RK_STAGE_COUNT; b.stage++) {
		rc = rk_ini_parse(text, len, name, on_pair, &b, err);
		if (rc < 0)
			return rc;
		rc = check_complete(&b, name, err);
		if (rc < 0)
			return rc;
	}
	set_defaults(&b.m);
	memcpy(m, &b.m, sizeof(*m));
	return 0;
}

int rk_manifest_parse(struct rk_manifest *m, const char *text, size_t len, const char *name,
		      struct rk_error *err)
{
	return parse(m, text, len, name, NULL, 0, err);
}

int rk_manifest_parse_file(struct rk_manifest *m, struct rk_files *files, const char *path,
			   struct rk_error *err)
{
	const char *dir = path[0] == '/' ? path : NULL;
	size_t dir_len = dir ? (size_t)(strrchr(path, '/') + 1 - path) : 0;
	struct rk_ini_text text;
	int rc = rk_files_read(files, path, true, &text, err);

	if (rc < 0)
		return rc;
	rc = parse(m, text.data, text.len, path, dir, dir_len, err);
	if (rc)
		rk_ini_hide(&text, path, err);
	free(text.data);
	return rc;
}
