/* SPDX-License-Identifier: MIT */
/*
 * Configuration: one table of fields (config.def), four sources.
 *
 * preset < INI file < environment (RKFS_KEY) < options (-o key=value). The preset
 * itself is the field `preset`, looked up in the same four places first.
 * struct rk_config is plain data: it may be copied; the caller locks.
 * Nothing here keeps state or logs, and nothing blocks longer than reading a file does.
 */
#ifndef RK_RUNTIME_CONFIG_CONFIG_H
#define RK_RUNTIME_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/base/error.h"
#include "runtime/base/nearest.h"

#define RK_CONFIG_TEXT_MAX  1024	       /* of a text field, with its NUL */
#define RK_CONFIG_VALUE_MAX RK_CONFIG_TEXT_MAX /* any field as text, with its NUL */

struct rk_files;

enum rk_config_type {
	RK_CONFIG_BOOL,	    /* bool: yes / no (also true, false, on, off, 1, 0) */
	RK_CONFIG_COUNT,    /* uint64_t: 0, 17 */
	RK_CONFIG_SIZE,	    /* uint64_t, bytes: 512, 64K, 16M, 1G, 1T (powers of 1024) */
	RK_CONFIG_DURATION, /* uint64_t, milliseconds: 100ms, 5s, 1m, 2h; 5 is 5s */
	RK_CONFIG_FACTOR,   /* double: 1.5 */
	RK_CONFIG_CHOICE,   /* char[]: one of the words in choices */
	RK_CONFIG_TEXT,	    /* char[]: printable ASCII, may be empty */
	RK_CONFIG_DEVICES,  /* char[]: indices, 0 to 1023, or UUIDs, GPU- and 36 characters; by
			       commas */
};

/* One member per row of config.def. */
struct rk_config {
#define RK_CTYPE_BOOL(name)		   bool name;
#define RK_CTYPE_COUNT(name)		   uint64_t name;
#define RK_CTYPE_SIZE(name)		   uint64_t name;
#define RK_CTYPE_DURATION(name)		   uint64_t name;
#define RK_CTYPE_FACTOR(name)		   double name;
#define RK_CTYPE_CHOICE(name)		   char name[32];
#define RK_CTYPE_TEXT(name)		   char name[RK_CONFIG_TEXT_MAX];
#define RK_CTYPE_DEVICES(name)		   char name[RK_CONFIG_TEXT_MAX];
#define RK_FIELD(section, name, type, ...) RK_CTYPE_##type(name)
#include "runtime/config/config.def"
#undef RK_FIELD
};

enum rk_preset {
	RK_PRESET_DEVELOPMENT,
	RK_PRESET_PRODUCTION,
	RK_PRESET_HIGH_PERFORMANCE,
	RK_PRESET_TESTING,
	RK_PRESET_COUNT,
};

/* What the table says of a field. */
struct rk_config_field {
	const char *section; /* "runtime", "backend", "health" */
	const char *key;
	enum rk_config_type type;
	bool hot;	       /* may change while running */
	size_t offset;	       /* in struct rk_config */
	size_t size;	       /* of the member, bytes */
	const char *min, *max; /* as text in the field's notation, NULL = no bound */
	const char *choices;   /* ", "-separated words; NULL unless RK_CONFIG_CHOICE */
	const char *preset[RK_PRESET_COUNT]; /* default as text, per preset */
	const char *help;		     /* one line: what it does */
};

/* Where values come from. Everything is borrowed and must live as long as it is used. */
struct rk_config_sources {
	const char *file;	    /* INI file, NULL = none */
	const char *const *options; /* NULL-terminated "key=value" strings, NULL = none */
	const char *const *environ; /* NULL-terminated "NAME=value" strings, NULL = none */
	uint64_t payload_bytes;	    /* the memory for payloads that the machine has, 0 = enough */
	struct rk_files *files;	    /* the session that reads the file; NULL = no session */
	/* what was loaded from all these already, and is not to be read again; NULL = nothing */
	const struct rk_config *loaded;
};

/* The whole table; *@count is its length; static storage. */
const struct rk_config_field *rk_config_fields(size_t *count);

/* The row called @key, or NULL. */
const struct rk_config_field *rk_config_find(const char *key);

/* Offer all keys to @near. */
void rk_config_nearest(struct rk_nearest *near);

/*
 * Fill *@config from @sources. All or nothing. Fails with EINVAL (unknown key,
 * section or RKFS_* variable, but for those that Kubernetes and scripts set; repeated key, bad
 * value, out of range, malformed line, value combinations that make no sense), or the errno of
 * opening or reading the file; the sentence names file:line or the variable or the option, the key,
 * and what is allowed. A value is checked even if another source overrides it; an option may
 * be repeated, and the last one wins (mount(8)). Paths must be absolute. A fallback_backend that no
 * source sets becomes none if it would equal primary_backend. A max_buffered_bytes or
 * max_message_bytes that no source sets is at most payload_bytes, and max_json_bytes a part of it.
 */
int rk_config_load(struct rk_config *config, const struct rk_config_sources *sources,
		   struct rk_error *err);

/*
 * Set one field from text, validated alone. Returns 0 or -EINVAL with a sentence
 * naming key, value and what is allowed; *@config is unchanged then.
 * The caller decides whether the field may be changed now.
 */
int rk_config_set(struct rk_config *config, const struct rk_config_field *field, const char *value,
		  struct rk_error *err);

/*
 * The field's value in the notation that rk_config_set reads (durations and
 * sizes in the largest unit that is exact, an empty text as no characters), NUL-terminated.
 * @size of RK_CONFIG_VALUE_MAX always suffices. Returns the length.
 */
size_t rk_config_print(const struct rk_config *config, const struct rk_config_field *field,
		       char *buf, size_t size);

/* Read @text in the notation of a duration into *@ms, in milliseconds. False if it is none. */
bool rk_config_duration(const char *text, uint64_t *ms);

#define RK_CONFIG_WORKERS_MAX 32
#define RK_CONFIG_ALL_DEVICES "all" /* the value of cuda_device */

/* How many workers @config makes: on cuda, so many for each device; for all devices, of one. */
uint32_t rk_config_workers(const struct rk_config *config);

/* Whether they run on all devices that there are; on several, which need to be told apart. */
bool rk_config_all_devices(const struct rk_config *config);
bool rk_config_several_devices(const struct rk_config *config);

/*
 * The device of worker @index, as cuda_device has it, into @name of @size bytes; the first, where
 * it has all of them.
 */
void rk_config_device(const struct rk_config *config, uint32_t index, char *name, size_t size);

/* Whether both hold the same value of @field. */
bool rk_config_equal(const struct rk_config *a, const struct rk_config *b,
		     const struct rk_config_field *field);

/* Copy the value of @field from @from to @to. */
void rk_config_copy(struct rk_config *to, const struct rk_config *from,
		    const struct rk_config_field *field);

/*
 * config_value.c: one value in the notation of a field, of the configuration or of a kernel's
 * description.
 */

/*
 * Read @value into *@to, which has field->size bytes. Returns 0, or -EINVAL with a sentence that
 * says what @field takes, without its key.
 */
int rk_config_value_parse(const struct rk_config_field *field, const char *value, void *to,
			  struct rk_error *err);

#endif
