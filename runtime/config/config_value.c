/* SPDX-License-Identifier: MIT */
/* Parses one value in the notation of its field. */
#include "runtime/config/config.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORD_MAX     sizeof(((struct rk_config *)NULL)->log_level)
#define DEVICES_MAX  sizeof(((struct rk_config *)NULL)->cuda_device)
#define DIGITS	     "0123456789"
#define PREFIX_LEN   4 /* of a UUID */
#define FACTOR_CHARS 64

/* Units in ascending order; the table ends with a NULL suffix. */
struct unit {
	const char *suffix;
	uint64_t factor;
};

static const struct unit count_units[] = {{"", 1}, {NULL, 0}};
static const struct unit size_units[] = {
	{"", 1},	   {"K", 1ULL << 10}, {"M", 1ULL << 20},
	{"G", 1ULL << 30}, {"T", 1ULL << 40}, {NULL, 0},
};
static const struct unit duration_units[] = {
	/* without a unit: seconds */
	{"ms", 1}, {"", 1000}, {"s", 1000}, {"m", 60 * 1000}, {"h", 60 * 60 * 1000}, {NULL, 0},
};

/* A parsed value of any type, before it is stored. */
union value {
	bool flag;
	uint64_t number;
	double factor;
	char word[WORD_MAX];
	char text[RK_CONFIG_TEXT_MAX];
	char devices[DEVICES_MAX];
};

struct value_type {
	const char *what; /* for sentences: "@what is needed" */
	const struct unit *units;
	/* false: @text is not in the type's notation */
	bool (*parse)(const struct rk_config_field *field, const char *text, union value *value);
	bool (*in_range)(const struct rk_config_field *field, const union value *value);
	size_t (*print)(const struct rk_config_field *field, const void *member, char *buf,
			size_t size);
};

static const struct value_type *type_of(const struct rk_config_field *field);

static bool parse_bool(const struct rk_config_field *field, const char *text, union value *value)
{
	static const struct {
		const char *word;
		bool value;
	} words[] = {
		{"yes", true}, {"true", true},	 {"on", true},	 {"1", true},
		{"no", false}, {"false", false}, {"off", false}, {"0", false},
	};

	(void)field;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(words[i].word, text))
			continue;
		value->flag = words[i].value;
		return true;
	}
	return false;
}

static size_t print_bool(const struct rk_config_field *field, const void *member, char *buf,
			 size_t size)
{
	bool flag;

	(void)field;
	memcpy(&flag, member, sizeof(flag));
	return (size_t)snprintf(buf, size, "%s", flag ? "yes" : "no");
}

/* Digits and one of @unit and those after it. */
static bool parse_units(const struct unit *unit, const char *text, uint64_t *value)
{
	const char *suffix = text + strspn(text, DIGITS);
	uint64_t number = 0;

	if (suffix == text)
		return false;
	for (const char *p = text; p < suffix; p++) {
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(*p - '0'), &number))
			return false;
	}
	while (unit->suffix && strcmp(unit->suffix, suffix))
		unit++;
	return unit->suffix && !__builtin_mul_overflow(number, unit->factor, value);
}

static bool parse_number(const struct rk_config_field *field, const char *text, union value *value)
{
	return parse_units(type_of(field)->units, text, &value->number);
}

bool rk_config_duration(const char *text, uint64_t *ms)
{
	return parse_units(duration_units, text, ms);
}

static bool number_in_range(const struct rk_config_field *field, const union value *value)
{
	union value bound;

	if (field->min &&
	    (!parse_number(field, field->min, &bound) || value->number < bound.number))
		return false;
	return !field->max ||
	       (parse_number(field, field->max, &bound) && value->number <= bound.number);
}

/* In the largest unit that is exact. */
static size_t print_number(const struct rk_config_field *field, const void *member, char *buf,
			   size_t size)
{
	const struct unit *unit = type_of(field)->units;
	uint64_t number;

	memcpy(&number, member, sizeof(number));
	if (number == 0)
		return (size_t)snprintf(buf, size, "0");
	while (unit[1].suffix && number % unit[1].factor == 0)
		unit++;
	return (size_t)snprintf(buf, size, "%" PRIu64 "%s", number / unit->factor, unit->suffix);
}

/* Digits with at most one '.' between them: no sign, exponent, hex, inf or nan. */
static bool parse_factor(const struct rk_config_field *field, const char *text, union value *value)
{
	size_t whole = strspn(text, DIGITS);
	const char *rest = text + whole;
	char *end;

	(void)field;
	if (!whole || strlen(text) >= FACTOR_CHARS)
		return false;
	if (*rest == '.') {
		size_t fraction = strspn(rest + 1, DIGITS);

		if (!fraction)
			return false;
		rest += 1 + fraction;
	}
	if (*rest)
		return false;
	value->factor = strtod(text, &end);
	return *end == '\0';
}

static bool factor_in_range(const struct rk_config_field *field, const union value *value)
{
	union value bound;

	if (field->min &&
	    (!parse_factor(field, field->min, &bound) || value->factor < bound.factor))
		return false;
	return !field->max ||
	       (parse_factor(field, field->max, &bound) && value->factor <= bound.factor);
}

/* With the fewest decimals that read back to the same value, at least one. */
static size_t print_factor(const struct rk_config_field *field, const void *member, char *buf,
			   size_t size)
{
	char text[FACTOR_CHARS];
	double factor;

	(void)field;
	memcpy(&factor, member, sizeof(factor));
	for (int decimals = 1; decimals <= 17; decimals++) {
		snprintf(text, sizeof(text), "%.*f", decimals, factor);
		if (strtod(text, NULL) == factor)
			break;
	}
	return (size_t)snprintf(buf, size, "%s", text);
}

static bool parse_choice(const struct rk_config_field *field, const char *text, union value *value)
{
	size_t len = strlen(text);
	const char *word = field->choices;

	while (word) {
		size_t n = strcspn(word, ",");

		if (n == len && n < sizeof(value->word) && !memcmp(word, text, n)) {
			memset(value->word, 0, sizeof(value->word));
			memcpy(value->word, text, n);
			return true;
		}
		word = word[n] ? word + n + strlen(", ") : NULL;
	}
	return false;
}

static bool parse_text(const struct rk_config_field *field, const char *text, union value *value)
{
	size_t len = strlen(text);

	(void)field;
	if (len >= sizeof(value->text))
		return false;
	memset(value->text, 0, sizeof(value->text));
	memcpy(value->text, text, len);
	return true;
}

/* 8-4-4-4-12 hexadecimal digits. */
static bool is_uuid(const char *text)
{
	static const char pattern[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	size_t i;

	for (i = 0; pattern[i]; i++)
		if (pattern[i] == '-' ? text[i] != '-' : !isxdigit((unsigned char)text[i]))
			return false; /* also at the end of a short one */
	return text[i] == '\0';
}

/* "GPU-", or "MIG-" for an instance of one, and a UUID, in lower case as nvidia-smi has it; or an
 * index, without leading zeros. */
static bool parse_one_device(char *text)
{
	static const struct rk_config_field index_field = {
		.type = RK_CONFIG_COUNT, .min = "0", .max = "1023"};
	union value index;

	if (strncmp(text, "GPU-", PREFIX_LEN) == 0 || strncmp(text, "MIG-", PREFIX_LEN) == 0) {
		if (!is_uuid(text + PREFIX_LEN))
			return false;
		for (size_t i = PREFIX_LEN; text[i]; i++)
			text[i] = (char)tolower((unsigned char)text[i]);
		return true;
	}
	if (!parse_number(&index_field, text, &index) || !number_in_range(&index_field, &index))
		return false;
	sprintf(text, "%" PRIu64, index.number); /* which is no longer than what was there */
	return true;
}

/* Whether @list, by commas, names @device. */
static bool is_listed(const char *list, const char *device)
{
	size_t len = strlen(device);

	for (const char *at = list; (at = strstr(at, device)); at += len)
		if ((at == list || at[-1] == ',') && (at[len] == ',' || at[len] == '\0'))
			return true;
	return false;
}

/*
 * All of them, or some separated by commas, or by colons where a comma ends an option; blanks
 * around them are allowed, none is there twice.
 */
static bool parse_devices(const struct rk_config_field *field, const char *text, union value *value)
{
	char copy[DEVICES_MAX], *rest = copy, *word;
	size_t len = strlen(text);

	(void)field;
	if (len >= sizeof(copy))
		return false;
	memcpy(copy, text, len + 1);
	memset(value->devices, 0, sizeof(value->devices));
	if (!strcmp(text, RK_CONFIG_ALL_DEVICES)) {
		memcpy(value->devices, copy, len + 1);
		return true;
	}
	for (len = 0; (word = strsep(&rest, ",:")); len = strlen(value->devices)) {
		char *end;

		word += strspn(word, " \t");
		end = word + strlen(word);
		while (end > word && (end[-1] == ' ' || end[-1] == '\t'))
			*--end = '\0';
		if (!parse_one_device(word) || is_listed(value->devices, word))
			return false;
		snprintf(value->devices + len, sizeof(value->devices) - len, "%s%s", len ? "," : "",
			 word);
	}
	return true;
}

static size_t print_string(const struct rk_config_field *field, const void *member, char *buf,
			   size_t size)
{
	(void)field;
	return (size_t)snprintf(buf, size, "%s", (const char *)member);
}

static const struct value_type value_types[] = {
	[RK_CONFIG_BOOL] = {.what = "yes or no", .parse = parse_bool, .print = print_bool},
	[RK_CONFIG_COUNT] = {.what = "a whole number",
			     .units = count_units,
			     .parse = parse_number,
			     .in_range = number_in_range,
			     .print = print_number},
	[RK_CONFIG_SIZE] = {.what = "a size such as 512, 64K, 16M or 1G",
			    .units = size_units,
			    .parse = parse_number,
			    .in_range = number_in_range,
			    .print = print_number},
	[RK_CONFIG_DURATION] = {.what = "a duration such as 100ms, 5s, 1m or 2h, or seconds",
				.units = duration_units,
				.parse = parse_number,
				.in_range = number_in_range,
				.print = print_number},
	[RK_CONFIG_FACTOR] = {.what = "a number such as 1.5",
			      .parse = parse_factor,
			      .in_range = factor_in_range,
			      .print = print_factor},
	[RK_CONFIG_CHOICE] = {.what = "one of", .parse = parse_choice, .print = print_string},
	[RK_CONFIG_TEXT] = {.what = "text of at most 1023 characters",
			    .parse = parse_text,
			    .print = print_string},
	[RK_CONFIG_DEVICES] =
		{.what = "an index from 0 to 1023, or a UUID as nvidia-smi -L prints "
			 "it: GPU- or MIG- and 8-4-4-4-12 hexadecimal digits; several "
			 "are separated by commas, or by colons in -o, none twice; or all",
		 .parse = parse_devices,
		 .print = print_string},
};

static const struct value_type *type_of(const struct rk_config_field *field)
{
	return &value_types[field->type];
}

/* What @field takes, as the end of a sentence. */
static int refuse(const struct rk_config_field *field, const char *value, struct rk_error *err)
{
	const char *what = type_of(field)->what;

	if (field->choices)
		return rk_error_set(err, EINVAL, "\"%.40s\" is not allowed; it must be %s %s",
				    value, what, field->choices);
	if (field->min && field->max)
		return rk_error_set(err, EINVAL,
				    "\"%.40s\" is not allowed; it must be %s, from %s to %s", value,
				    what, field->min, field->max);
	return rk_error_set(err, EINVAL, "\"%.40s\" is not allowed; it must be %s", value, what);
}

int rk_config_value_parse(const struct rk_config_field *field, const char *value, void *to,
			  struct rk_error *err)
{
	const struct value_type *type = type_of(field);
	union value parsed;

	for (size_t i = 0; value[i]; i++)
		if (value[i] < ' ' || value[i] > '~')
			return rk_error_set(err, EINVAL,
					    "character %zu of the value is a control or non-ASCII "
					    "character; only printable ASCII is allowed",
					    i + 1);
	if (!type->parse(field, value, &parsed) ||
	    (type->in_range && !type->in_range(field, &parsed)))
		return refuse(field, value, err);
	memcpy(to, &parsed, field->size);
	return 0;
}

size_t rk_config_print(const struct rk_config *config, const struct rk_config_field *field,
		       char *buf, size_t size)
{
	return type_of(field)->print(field, (const char *)config + field->offset, buf, size);
}

bool rk_config_equal(const struct rk_config *a, const struct rk_config *b,
		     const struct rk_config_field *field)
{
	const char *x = (const char *)a + field->offset;
	const char *y = (const char *)b + field->offset;

	if (type_of(field)->print == print_string)
		return !strcmp(x, y); /* not the bytes after the NUL */
	return !memcmp(x, y, field->size);
}

void rk_config_copy(struct rk_config *to, const struct rk_config *from,
		    const struct rk_config_field *field)
{
	memcpy((char *)to + field->offset, (const char *)from + field->offset, field->size);
}
