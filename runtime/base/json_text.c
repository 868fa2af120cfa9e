/* SPDX-License-Identifier: MIT */
/* Checks the syntax of a JSON text, and walks a text whose syntax is right. */
#include "runtime/base/json_text.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define NEAR_MAX 24 /* bytes of the user's text that a sentence quotes, with the NUL */

struct checker {
	const char *start, *at, *end;
	unsigned int depth;
	/* a bit for each array or object that is open: whether it is an object */
	uint8_t is_object[RK_JSON_DEPTH_MAX / 8];
};

static const struct word {
	const char *text;
	enum rk_json_kind kind;
} words[] = {
	{"true", RK_JSON_TRUE},
	{"false", RK_JSON_FALSE},
	{"null", RK_JSON_NULL},
};

const char *rk_json_kind_name(enum rk_json_kind kind)
{
	static const char *const names[] = {
		[RK_JSON_OBJECT] = "an object",	   [RK_JSON_ARRAY] = "an array",
		[RK_JSON_STRING] = "a string",	   [RK_JSON_NUMBER] = "a number",
		[RK_JSON_TRUE] = "true",	   [RK_JSON_FALSE] = "false",
		[RK_JSON_NULL] = "null",	   [RK_JSON_CLOSE] = "a bracket",
		[RK_JSON_END] = "the end of file",
	};

	return names[kind];
}

const char *rk_json_show(char *buf, size_t size, const char *text, size_t len)
{
	size_t i;

	for (i = 0; i < size - 1 && i < len; i++)
		buf[i] = text[i] < ' ' || text[i] > '~' ? '?' : text[i];
	buf[i] = '\0';
	return buf;
}

/* What went wrong */

int rk_json_malformed(const char *text, const char *at, const char *what, struct rk_error *err)
{
	unsigned long line = 1, column = 1;

	for (; text < at; text++) {
		if (*text == '\n') {
			line++;
			column = 1;
		} else if (((unsigned char)*text & 0xc0) != 0x80) { /* not inside a character */
			column++;
		}
	}
	return rk_error_set(err, EINVAL, "malformed JSON at line %lu, column %lu: %s", line, column,
			    what);
}

static bool begins(const struct checker *c, const char *word)
{
	size_t len = strlen(word);

	return (size_t)(c->end - c->at) >= len && strncasecmp(c->at, word, len) == 0;
}

/* @what was expected where @c is. */
static int expected(const struct checker *c, const char *what, struct rk_error *err)
{
	char sentence[160], near[NEAR_MAX];
	const char *hint = "";

	if (begins(c, "NaN") || begins(c, "Inf") || begins(c, "-Inf") || begins(c, "-NaN"))
		hint = " (write \"NaN\", \"Infinity\" and \"-Infinity\" as strings)";
	if (c->at == c->end)
		snprintf(sentence, sizeof(sentence), "%s expected, but the text ends", what);
	else
		snprintf(sentence, sizeof(sentence), "%s expected near '%s'%s", what,
			 rk_json_show(near, sizeof(near), c->at, (size_t)(c->end - c->at)), hint);
	return rk_json_malformed(c->start, c->at, sentence, err);
}

/* Strings */

/* The four digits at @at, or -1. */
static int read_hex(const char *at, const char *end)
{
	int i, code = 0;

	if (end - at < 4)
		return -1;
	for (i = 0; i < 4; i++) {
		int digit = tolower((unsigned char)at[i]);

		if (!isxdigit(digit))
			return -1;
		code = code << 4 | (digit <= '9' ? digit - '0' : digit - 'a' + 10);
	}
	return code;
}

/* Past the escape whose backslash is at c->at, or past two \uXXXX that are one character. */
static int check_escape(struct checker *c, struct rk_error *err)
{
	const char *next = c->at + 1;
	int code, low;

	if (next < c->end && *next != '\0' && strchr("\"\\/bfnrt", *next)) {
		c->at += 2;
		return 0;
	}
	code = next < c->end && *next == 'u' ? read_hex(next + 1, c->end) : -1;
	if (code < 0 || (code >= 0xdc00 && code <= 0xdfff))
		return expected(c, "an escape like \\n or \\u00e9", err);
	c->at += 6;
	if (code < 0xd800 || code > 0xdfff)
		return 0;
	low = c->end - c->at >= 6 && c->at[0] == '\\' && c->at[1] == 'u'
		      ? read_hex(c->at + 2, c->end)
		      : -1;
	if (low < 0xdc00 || low > 0xdfff)
		return expected(c, "the other half of a character, \\udc00 to \\udfff,", err);
	c->at += 6;
	return 0;
}

/* Past the string whose quote is at c->at. */
static int check_string(struct checker *c, struct rk_error *err)
{
	char what[64];
	size_t len;
	int rc;

	for (c->at++; c->at < c->end && *c->at != '"';) {
		unsigned char byte = (unsigned char)*c->at;

		if (byte == '\\') {
			rc = check_escape(c, err);
			if (rc < 0)
				return rc;
			continue;
		}
		len = byte < 0x80 ? byte >= ' ' : rk_utf8_length(c->at, (size_t)(c->end - c->at));
		if (len == 0) {
			snprintf(what, sizeof(what),
				 byte < ' ' ? "byte 0x%02x has to be escaped in a string"
					    : "byte 0x%02x is not UTF-8",
				 byte);
			return rk_json_malformed(c->start, c->at, what, err);
		}
		c->at += len;
	}
	if (c->at == c->end)
		return expected(c, "'\"' (the end of a string)", err);
	c->at++;
	return 0;
}

/* Other values */

static int check_digits(struct checker *c, struct rk_error *err)
{
	if (c->at == c->end || !isdigit((unsigned char)*c->at))
		return expected(c, "a digit", err);
	while (c->at < c->end && isdigit((unsigned char)*c->at))
		c->at++;
	return 0;
}

static int check_number(struct checker *c, struct rk_error *err)
{
	int rc = 0;

	if (*c->at == '-')
		c->at++;
	if (c->at < c->end && *c->at == '0')
		c->at++; /* no digit follows a leading zero */
	else
		rc = check_digits(c, err);
	if (rc == 0 && c->at < c->end && *c->at == '.') {
		c->at++;
		rc = check_digits(c, err);
	}
	if (rc == 0 && c->at < c->end && (*c->at == 'e' || *c->at == 'E')) {
		c->at++;
		if (c->at < c->end && (*c->at == '+' || *c->at == '-'))
			c->at++;
		rc = check_digits(c, err);
	}
	return rc;
}

static void skip_space(struct checker *c)
{
	while (c->at < c->end &&
	       (*c->at == ' ' || *c->at == '\n' || *c->at == '\t' || *c->at == '\r'))
		c->at++;
}

/* The word at @at, or NULL. */
static const struct word *find_word(const char *at, const char *end)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		size_t len = strlen(words[i].text);

		if ((size_t)(end - at) >= len && memcmp(at, words[i].text, len) == 0)
			return &words[i];
	}
	return NULL;
}

/* A value that is neither an array nor an object. */
static int check_scalar(struct checker *c, struct rk_error *err)
{
	const struct word *word;

	if (c->at < c->end && *c->at == '"')
		return check_string(c, err);
	if (c->at < c->end && isdigit((unsigned char)*c->at))
		return check_number(c, err);
	if (c->end - c->at > 1 && *c->at == '-' && isdigit((unsigned char)c->at[1]))
		return check_number(c, err);
	word = find_word(c->at, c->end);
	if (!word)
		return expected(c, "a value", err);
	c->at += strlen(word->text);
	return 0;
}

/* Arrays and objects */

static bool in_object(const struct checker *c)
{
	return c->is_object[(c->depth - 1) / 8] >> (c->depth - 1) % 8 & 1;
}

/* Past the opening bracket at c->at. */
static int open_bracket(struct checker *c, struct rk_error *err)
{
	uint8_t bit = (uint8_t)(1 << c->depth % 8);

	if (c->depth == RK_JSON_DEPTH_MAX)
		return rk_json_malformed(c->start, c->at, "the maximum parsing depth is 2048", err);
	if (*c->at == '{')
		c->is_object[c->depth / 8] |= bit;
	else
		c->is_object[c->depth / 8] &= (uint8_t)~bit;
	c->depth++;
	c->at++;
	return 0;
}

static bool close_bracket(struct checker *c)
{
	if (c->at == c->end || *c->at != (in_object(c) ? '}' : ']'))
		return false;
	c->at++;
	c->depth--;
	return true;
}

/* Past "NAME": if an object is open. */
static int check_name(struct checker *c, struct rk_error *err)
{
	int rc;

	if (!in_object(c))
		return 0;
	skip_space(c);
	if (c->at == c->end || *c->at != '"')
		return expected(c, "a name in double quotes", err);
	rc = check_string(c, err);
	if (rc < 0)
		return rc;
	skip_space(c);
	if (c->at == c->end || *c->at != ':')
		return expected(c, "':'", err);
	c->at++;
	return 0;
}

/*
 * Past all closing brackets after a value, up to where the next value begins. Returns 1, 0 if the
 * text's one value is complete, or -EINVAL.
 */
static int check_after(struct checker *c, struct rk_error *err)
{
	int rc;

	for (; c->depth > 0;) {
		skip_space(c);
		if (close_bracket(c))
			continue;
		if (c->at == c->end || *c->at != ',')
			return expected(c, in_object(c) ? "',' or '}'" : "',' or ']'", err);
		c->at++;
		rc = check_name(c, err);
		return rc < 0 ? rc : 1;
	}
	skip_space(c);
	return c->at == c->end ? 0 : expected(c, "end of file", err);
}

/*
 * Past the next value. Returns 0; 1 if only its opening bracket was passed, because the first value
 * inside it is next; or -EINVAL.
 */
static int check_value(struct checker *c, struct rk_error *err)
{
	int rc;

	skip_space(c);
	if (c->at == c->end || (*c->at != '{' && *c->at != '['))
		return check_scalar(c, err);
	rc = open_bracket(c, err);
	if (rc < 0)
		return rc;
	skip_space(c);
	if (close_bracket(c))
		return 0;
	rc = check_name(c, err);
	return rc < 0 ? rc : 1;
}

int rk_json_check(const char *text, size_t len, const atomic_bool *stop, struct rk_error *err)
{
	struct checker c = {.start = text, .at = text, .end = text + len};
	int rc;

	do {
		if (stop && atomic_load_explicit(stop, memory_order_relaxed))
			return rk_error_set(err, ECANCELED, "nobody waits for it any more");
		rc = check_value(&c, err);
		if (rc == 0)
			rc = check_after(&c, err);
	} while (rc > 0);
	return rc;
}

/* Walking */

static bool is_number_byte(char c)
{
	return isdigit((unsigned char)c) || c == '-' || c == '+' || c == '.' || c == 'e' ||
	       c == 'E';
}

const char *rk_json_next(const char *at, const char *end, struct rk_json_token *token)
{
	const char *from;

	while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r' || *at == ',' ||
			    *at == ':'))
		at++;
	*token = (struct rk_json_token){.kind = RK_JSON_END, .text = at};
	if (at == end)
		return at;
	from = at;
	switch (*at) {
	case '{':
	case '[':
	case '}':
	case ']':
		token->kind = *at == '{'   ? RK_JSON_OBJECT
			      : *at == '[' ? RK_JSON_ARRAY
					   : RK_JSON_CLOSE;
		at++;
		break;
	case '"':
		token->kind = RK_JSON_STRING;
		token->text = ++from;
		for (at++; *at != '"'; at++)
			if (*at == '\\')
				at++;
		token->len = (size_t)(at - from);
		return at + 1;
	case 't':
	case 'f':
	case 'n':
		token->kind = find_word(at, end)->kind;
		at += token->kind == RK_JSON_FALSE ? 5 : 4;
		break;
	default:
		token->kind = RK_JSON_NUMBER;
		while (at < end && is_number_byte(*at))
			at++;
	}
	token->len = (size_t)(at - from);
	return at;
}

size_t rk_json_unescape(const struct rk_json_token *token, char *buf, size_t size)
{
	const char *at = token->text, *end = at + token->len;
	size_t len = 0;
	int c;

	for (; at < end; len++) {
		if (*at == '\\' && at[1] == 'u') {
			c = read_hex(at + 2, end);
			at += 6;
		} else if (*at == '\\') {
			c = strchr("bfnrt", at[1]) ? '?' : at[1];
			at += 2;
		} else {
			c = *at++;
		}
		if (len < size - 1)
			buf[len] = (char)(c < ' ' || c > '~' ? '?' : c);
	}
	buf[len < size ? len : size - 1] = '\0';
	return len;
}
