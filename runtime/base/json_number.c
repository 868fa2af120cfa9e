/* SPDX-License-Identifier: MIT */
/* Stores and prints the numbers of JSON. */
#include "runtime/base/json_number.h"

#include <ctype.h>
#include <errno.h>
#include <fenv.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One element of any type. */
union element {
#define X(id, name, st_name, ctype, kind) ctype as_##id;
	RK_DTYPES(X)
#undef X
};

/* Values that JSON has no numbers for. */
static const struct special {
	const char *text;
	double value;
} specials[] = {
	{"NaN", NAN},
	{"Infinity", INFINITY},
	{"-Infinity", -INFINITY},
};

#define NSPECIALS (sizeof(specials) / sizeof(specials[0]))

#define SHOWN_MAX 40 /* bytes of a number's text that a sentence quotes, with the NUL */

/* The parts of a number: its digits, and where its point stands. */
struct decimal {
	bool negative;
	const char *digits; /* the first; a '.' may stand among them */
	const char *end;    /* after the last */
	int64_t point;	    /* how many digits stand before the point, exponent included */
	int64_t count;	    /* of the digits */
};

/* An exponent that is larger than the number of digits of any text. */
#define EXPONENT_MAX ((int64_t)1 << 40)

static struct decimal take_apart(const struct rk_json_token *t)
{
	const char *at = t->text, *end = at + t->len;
	struct decimal d = {.negative = *at == '-'};
	bool negative, fraction = false;
	int64_t exponent = 0;

	at += d.negative;
	d.digits = at;
	for (; at < end && *at != 'e' && *at != 'E'; at++) {
		if (*at == '.') {
			fraction = true;
			continue;
		}
		d.count++;
		d.point += !fraction;
	}
	d.end = at;
	if (at == end)
		return d;
	negative = *++at == '-';
	for (at += negative || *at == '+'; at < end; at++)
		if (exponent < EXPONENT_MAX)
			exponent = exponent * 10 + (*at - '0');
	d.point += negative ? -exponent : exponent;
	return d;
}

static int wrong_kind(const struct rk_json_token *t, enum rk_dtype dtype, struct rk_error *err)
{
	static const char *const wants[] = {
		[RK_KIND_FLOAT] = "a number (or \"NaN\", \"Infinity\", \"-Infinity\")",
		[RK_KIND_SIGNED] = "a number",
		[RK_KIND_UNSIGNED] = "a number",
		[RK_KIND_BOOL] = "true or false",
	};
	const struct rk_dtype_info *info = rk_dtype_info(dtype);

	return rk_error_set(err, EINVAL, "%s where %s wants %s%s", rk_json_kind_name(t->kind),
			    info->name, wants[info->kind],
			    dtype == RK_U64 ? " (or its decimal digits as a string)" : "");
}

/* The number as it is written in the request, for sentences; a long one is cut. */
static const char *show_number(char buf[SHOWN_MAX], const struct rk_json_token *t)
{
	rk_json_show(buf, SHOWN_MAX, t->text, t->len);
	if (t->len >= SHOWN_MAX)
		memcpy(buf + SHOWN_MAX - 4, "...", 4);
	return buf;
}

static int store_bool(const struct rk_json_token *t, enum rk_dtype dtype, void *dst,
		      struct rk_error *err)
{
	uint8_t byte = t->kind == RK_JSON_TRUE;

	if (t->kind != RK_JSON_TRUE && t->kind != RK_JSON_FALSE)
		return wrong_kind(t, dtype, err);
	memcpy(dst, &byte, sizeof(byte));
	return 0;
}

/* Floats. Each type is rounded from the digits; through a wider type it would be rounded twice. */

/* Up to 15 digits, and 10^22, are exact as doubles, so one operation rounds once. */
static double read_f64(const struct rk_json_token *t)
{
	static const double powers[] = {1e0,  1e1,  1e2,  1e3,	1e4,  1e5,  1e6,  1e7,
					1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
					1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
	struct decimal d = take_apart(t);
	int64_t scale = d.point - d.count;
	uint64_t whole = 0;
	const char *at;
	double value;

	if (d.count > 15 || scale < -22 || scale > 22)
		return strtod(t->text, NULL);
	for (at = d.digits; at < d.end; at++)
		if (*at != '.')
			whole = whole * 10 + (uint64_t)(*at - '0');
	value = scale < 0 ? (double)whole / powers[-scale] : (double)whole * powers[scale];
	return d.negative ? -value : value;
}

static float read_f32(const struct rk_json_token *t)
{
	double wide = read_f64(t);
	uint64_t bits;

	memcpy(&bits, &wide, sizeof(bits));
	/* halfway between two floats: digits that the double lost may decide; small floats differ
	 */
	if ((bits & 0x1fffffff) == 0x10000000 || fabs(wide) < 2 * (double)FLT_MIN)
		return strtof(t->text, NULL);
	return (float)wide;
}

/* The value of @half; an infinity counts as the number after the largest one. */
static double f16_value(uint16_t half)
{
	double value = (double)rk_f16_to_f32(half);

	return isinf(value) ? copysign(65536, value) : value;
}

/*
 * The C library has no strtof16. Digits that the double lost matter only if it lies halfway between
 * two halves; then ask on which side of it they are.
 */
static uint16_t read_f16(const struct rk_json_token *t)
{
	double wide = read_f64(t), side = wide;
	uint16_t below = rk_f16_from_f64(nextafter(wide, -INFINITY));
	uint16_t above = rk_f16_from_f64(nextafter(wide, INFINITY));
	int mode = fegetround();

	if (!isfinite(wide) || wide - f16_value(below) != f16_value(above) - wide)
		return rk_f16_from_f64(wide);
	if (!fesetround(FE_DOWNWARD))
		side = strtod(t->text, NULL);
	if (side == wide && !fesetround(FE_UPWARD))
		side = strtod(t->text, NULL);
	(void)fesetround(mode);
	return side < wide ? below : side > wide ? above : rk_f16_from_f64(wide);
}

static bool store_special(const struct rk_json_token *t, enum rk_dtype dtype, union element *e)
{
	char text[16];
	size_t i;

	rk_json_unescape(t, text, sizeof(text));
	for (i = 0; i < NSPECIALS && strcmp(text, specials[i].text) != 0; i++)
		;
	if (i == NSPECIALS)
		return false;
	if (dtype == RK_F16)
		e->as_RK_F16 = rk_f16_from_f64(specials[i].value);
	else if (dtype == RK_F32)
		e->as_RK_F32 = (float)specials[i].value;
	else
		e->as_RK_F64 = specials[i].value;
	return true;
}

static int store_float(const struct rk_json_token *t, enum rk_dtype dtype, void *dst,
		       struct rk_error *err)
{
	char shown[SHOWN_MAX];
	union element e = {0};
	bool fits = true;

	if (t->kind == RK_JSON_NUMBER && dtype == RK_F16)
		fits = isfinite(rk_f16_to_f32(e.as_RK_F16 = read_f16(t)));
	else if (t->kind == RK_JSON_NUMBER && dtype == RK_F32)
		fits = isfinite(e.as_RK_F32 = read_f32(t));
	else if (t->kind == RK_JSON_NUMBER)
		fits = isfinite(e.as_RK_F64 = read_f64(t));
	else if (t->kind != RK_JSON_STRING || !store_special(t, dtype, &e))
		return wrong_kind(t, dtype, err);
	if (!fits)
		return rk_error_set(err, EINVAL, "%s is out of %s's range", show_number(shown, t),
				    rk_dtype_info(dtype)->name);
	memcpy(dst, &e, rk_dtype_info(dtype)->size);
	return 0;
}

/* Integers */

/* An integer as sign and magnitude, so that one type holds i64 and u64. */
struct integer {
	bool negative;
	bool fraction; /* the number is not an integer */
	bool overflow; /* the magnitude does not fit */
	uint64_t magnitude;
};

static void append_digit(struct integer *n, unsigned int digit)
{
	if (__builtin_mul_overflow(n->magnitude, 10, &n->magnitude) ||
	    __builtin_add_overflow(n->magnitude, digit, &n->magnitude))
		n->overflow = true;
}

/* 1e3 and 1.5e1 are integers too. */
static struct integer integer_from_number(const struct rk_json_token *t)
{
	struct decimal d = take_apart(t);
	struct integer n = {.negative = d.negative};
	int64_t place = 0;
	const char *at;

	for (at = d.digits; at < d.end; at++) {
		if (*at == '.')
			continue;
		if (place++ < d.point)
			append_digit(&n, (unsigned int)(*at - '0'));
		else if (*at != '0')
			n.fraction = true;
	}
	for (; place < d.point && n.magnitude && !n.overflow; place++)
		append_digit(&n, 0);
	return n;
}

static bool integer_from_digits(const struct rk_json_token *t, struct integer *n)
{
	char text[24];
	size_t i, len = rk_json_unescape(t, text, sizeof(text));

	for (i = 0; i < len && i < sizeof(text) - 1; i++) {
		if (!isdigit((unsigned char)text[i]))
			return false;
		append_digit(n, (unsigned int)(text[i] - '0'));
	}
	return len > 0 && len < sizeof(text) && !n->overflow;
}

static int store_integer(const struct rk_json_token *t, enum rk_dtype dtype, void *dst,
			 struct rk_error *err)
{
	const struct rk_dtype_info *info = rk_dtype_info(dtype);
	bool is_signed = info->kind == RK_KIND_SIGNED;
	uint64_t max = UINT64_MAX >> (64 - 8 * info->size + is_signed), bits;
	uint64_t min_magnitude = is_signed ? max + 1 : 0;
	struct integer n = {0};
	union element e = {0};
	char shown[SHOWN_MAX];

	if (t->kind == RK_JSON_NUMBER)
		n = integer_from_number(t);
	else if (t->kind != RK_JSON_STRING || dtype != RK_U64 || !integer_from_digits(t, &n))
		return wrong_kind(t, dtype, err);
	if (n.fraction)
		return rk_error_set(err, EINVAL, "%s is a fraction; %s wants an integer",
				    show_number(shown, t), info->name);
	if (n.overflow || n.magnitude > (n.negative ? min_magnitude : max))
		return rk_error_set(err, EINVAL,
				    "%s is out of %s's range (%s%" PRIu64 " to %" PRIu64 ")",
				    show_number(shown, t), info->name, is_signed ? "-" : "",
				    min_magnitude, max);
	bits = n.negative ? 0 - n.magnitude : n.magnitude;
	switch (dtype) {
#define X(id, name, st_name, ctype, kind)                                                          \
	case id:                                                                                   \
		e.as_##id = (ctype)bits;                                                           \
		break;
		RK_DTYPES(X)
#undef X
	case RK_DTYPE_COUNT:
		break;
	}
	memcpy(dst, &e, info->size);
	return 0;
}

int rk_json_number_store(const struct rk_json_token *t, enum rk_dtype dtype, void *dst,
			 struct rk_error *err)
{
	static int (*const store[])(const struct rk_json_token *t, enum rk_dtype dtype, void *dst,
				    struct rk_error *err) = {
		[RK_KIND_FLOAT] = store_float,
		[RK_KIND_SIGNED] = store_integer,
		[RK_KIND_UNSIGNED] = store_integer,
		[RK_KIND_BOOL] = store_bool,
	};

	return store[rk_dtype_info(dtype)->kind](t, dtype, dst, err);
}

static size_t print_unsigned(char *buf, uint64_t v)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + v % 10);
	while (v /= 10);
	memcpy(buf, digits + at, sizeof(digits) - at);
	return sizeof(digits) - at;
}

static size_t print_signed(char *buf, int64_t v)
{
	if (v >= 0)
		return print_unsigned(buf, (uint64_t)v);
	buf[0] = '-';
	return 1 + print_unsigned(buf + 1, 0 - (uint64_t)v);
}

/*
 * Turn the @len bytes that %g printed into a JSON real as jansson writes it: with a point whatever
 * the locale, never like an integer, and with an exponent without plus and leading zeros.
 */
static size_t tidy_real(char *buf, size_t len)
{
	bool real = false;
	size_t from, to = 0;

	for (from = 0; from < len && buf[from] != 'e'; from++) {
		if (!isdigit((unsigned char)buf[from]) && buf[from] != '-') {
			buf[from] = '.';
			real = true;
		}
	}
	to = from;
	if (from < len) {
		real = true;
		to++;
		if (buf[++from] == '-')
			to++;
		for (from++; from < len - 1 && buf[from] == '0'; from++)
			;
		memmove(buf + to, buf + from, len - from);
		to += len - from;
	}
	if (!real) {
		buf[to++] = '.';
		buf[to++] = '0';
	}
	return to;
}

/*
 * @digits significant digits. Whole numbers of at most that many take a fast path, which prints
 * the same; most counts and test data are whole numbers.
 */
static size_t print_real(char *buf, double v, int digits, double whole_limit)
{
	size_t len, i;

	if (!isfinite(v)) {
		i = isnan(v) ? 0 : v > 0 ? 1 : 2;
		return (size_t)snprintf(buf, RK_JSON_NUMBER_MAX, "\"%s\"", specials[i].text);
	}
	if (fabs(v) < whole_limit && v == trunc(v) && !(v == 0 && signbit(v))) {
		len = print_signed(buf, (int64_t)v);
		memcpy(buf + len, ".0", 2);
		return len + 2;
	}
	len = (size_t)snprintf(buf, RK_JSON_NUMBER_MAX, "%.*g", digits, v);
	return tidy_real(buf, len);
}

static size_t print_u64(char *buf, uint64_t v)
{
	size_t len;

	if (v <= INT64_MAX)
		return print_unsigned(buf, v);
	buf[0] = '"';
	len = 1 + print_unsigned(buf + 1, v);
	buf[len] = '"';
	return len + 1;
}

static size_t print_word(char *buf, const char *word)
{
	size_t len = strlen(word);

	memcpy(buf, word, len);
	return len;
}

size_t rk_json_number_print(enum rk_dtype dtype, const void *src, char *buf)
{
	union element e = {0};

	memcpy(&e, src, rk_dtype_info(dtype)->size);
	/* @src may change under us: the compiler must not read it a second time */
	__asm__ volatile("" : "+m"(e));
	switch (dtype) {
	case RK_F16:
		return print_real(buf, (double)rk_f16_to_f32(e.as_RK_F16), 5, 1e5);
	case RK_F32:
		return print_real(buf, (double)e.as_RK_F32, 9, 1e9);
	case RK_F64:
		return print_real(buf, e.as_RK_F64, 17, 1e17);
	case RK_I8:
		return print_signed(buf, e.as_RK_I8);
	case RK_I16:
		return print_signed(buf, e.as_RK_I16);
	case RK_I32:
		return print_signed(buf, e.as_RK_I32);
	case RK_I64:
		return print_signed(buf, e.as_RK_I64);
	case RK_U8:
		return print_unsigned(buf, e.as_RK_U8);
	case RK_U16:
		return print_unsigned(buf, e.as_RK_U16);
	case RK_U32:
		return print_unsigned(buf, e.as_RK_U32);
	case RK_U64:
		return print_u64(buf, e.as_RK_U64);
	case RK_BOOL:
		return print_word(buf, e.as_RK_BOOL ? "true" : "false");
	case RK_DTYPE_COUNT:
		break;
	}
	return 0;
}
