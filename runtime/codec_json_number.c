/* SPDX-License-Identifier: MIT */
#include "runtime/codec_json_number.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From here on a real may have lost digits on its way here, and nobody would see it. */
#define EXACT_REAL_MAX 9007199254740992.0 /* 2^53 */

/* One element of any type. */
union element {
#define X(id, name, st_name, ctype, kind) ctype as_##id;
	RK_DTYPES(X)
#undef X
};

/* What JSON has no numbers for. */
static const struct special {
	const char *text;
	double value;
} specials[] = {
	{"NaN", NAN},
	{"Infinity", INFINITY},
	{"-Infinity", -INFINITY},
};

#define NSPECIALS (sizeof(specials) / sizeof(specials[0]))

const char *rk_json_kind(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
	case JSON_REAL:
		return "a number";
	case JSON_TRUE:
		return "true";
	case JSON_FALSE:
		return "false";
	case JSON_NULL:
		break;
	}
	return "null";
}

const char *rk_json_show(char *buf, size_t size, const char *text)
{
	size_t i;

	for (i = 0; i < size - 1 && text[i]; i++)
		buf[i] = text[i] < ' ' || text[i] > '~' ? '?' : text[i];
	buf[i] = '\0';
	return buf;
}

static int wrong_kind(const json_t *value, enum rk_dtype dtype, struct rk_error *err)
{
	static const char *const wants[] = {
		[RK_KIND_FLOAT] = "a number (or \"NaN\", \"Infinity\", \"-Infinity\")",
		[RK_KIND_SIGNED] = "a number",
		[RK_KIND_UNSIGNED] = "a number",
		[RK_KIND_BOOL] = "true or false",
	};
	const struct rk_dtype_info *info = rk_dtype_info(dtype);

	return rk_error_set(err, EINVAL, "%s where %s wants %s%s", rk_json_kind(value), info->name,
			    wants[info->kind],
			    dtype == RK_U64 ? " (or its decimal digits as a string)" : "");
}

static bool string_is(const json_t *value, const char *text)
{
	size_t len = strlen(text);

	return json_string_length(value) == len && memcmp(json_string_value(value), text, len) == 0;
}

static int store_bool(const json_t *value, enum rk_dtype dtype, void *dst, struct rk_error *err)
{
	uint8_t byte = json_is_true(value);

	if (!json_is_boolean(value))
		return wrong_kind(value, dtype, err);
	memcpy(dst, &byte, sizeof(byte));
	return 0;
}

static int store_float(const json_t *value, enum rk_dtype dtype, void *dst, struct rk_error *err)
{
	union element e;
	double wide;
	float narrow;
	size_t i;

	switch (json_typeof(value)) {
	case JSON_INTEGER:
		/* each straight from the integer: by way of the other it would round twice */
		wide = (double)json_integer_value(value);
		narrow = (float)json_integer_value(value);
		break;
	case JSON_REAL:
		wide = json_real_value(value);
		narrow = (float)wide;
		break;
	case JSON_STRING:
		for (i = 0; i < NSPECIALS && !string_is(value, specials[i].text); i++)
			;
		if (i == NSPECIALS)
			return wrong_kind(value, dtype, err);
		wide = specials[i].value;
		narrow = (float)wide;
		break;
	default:
		return wrong_kind(value, dtype, err);
	}
	if (dtype == RK_F16)
		e.as_RK_F16 = rk_f16_from_f64(wide); /* an integer that is not exact overflows */
	else if (dtype == RK_F32)
		e.as_RK_F32 = narrow;
	else
		e.as_RK_F64 = wide;
	if (isfinite(wide) && ((dtype == RK_F16 && isinf(rk_f16_to_f32(e.as_RK_F16))) ||
			       (dtype == RK_F32 && isinf(narrow))))
		return rk_error_set(err, EINVAL, "%g is out of %s's range", wide,
				    rk_dtype_info(dtype)->name);
	memcpy(dst, &e, rk_dtype_info(dtype)->size);
	return 0;
}

/* An integer as sign and magnitude, so that one type holds i64 and u64. */
struct integer {
	bool negative;
	uint64_t magnitude;
};

static bool integer_from_digits(const json_t *value, struct integer *n)
{
	const char *text = json_string_value(value);
	size_t i, len = json_string_length(value);
	uint64_t sum = 0;

	for (i = 0; i < len; i++)
		if (!isdigit((unsigned char)text[i]) || __builtin_mul_overflow(sum, 10, &sum) ||
		    __builtin_add_overflow(sum, text[i] - '0', &sum))
			return false;
	*n = (struct integer){.magnitude = sum};
	return len > 0;
}

static int integer_from_real(double real, const char *type, struct integer *n, struct rk_error *err)
{
	if (real != trunc(real))
		return rk_error_set(err, EINVAL, "%.17g is a fraction; %s wants an integer", real,
				    type);
	if (fabs(real) >= EXACT_REAL_MAX)
		return rk_error_set(err, EINVAL,
				    "%.17g is too large for a real to be exact; write it for %s "
				    "without '.' and 'e'",
				    real, type);
	*n = (struct integer){.negative = real < 0, .magnitude = (uint64_t)fabs(real)};
	return 0;
}

static int store_integer(const json_t *value, enum rk_dtype dtype, void *dst, struct rk_error *err)
{
	const struct rk_dtype_info *info = rk_dtype_info(dtype);
	bool is_signed = info->kind == RK_KIND_SIGNED;
	uint64_t max = UINT64_MAX >> (64 - 8 * info->size + is_signed), bits;
	uint64_t min_magnitude = is_signed ? max + 1 : 0;
	struct integer n = {0};
	union element e = {0};
	json_int_t i;
	int rc;

	switch (json_typeof(value)) {
	case JSON_INTEGER:
		i = json_integer_value(value);
		n.negative = i < 0;
		n.magnitude = n.negative ? 0 - (uint64_t)i : (uint64_t)i;
		break;
	case JSON_REAL:
		rc = integer_from_real(json_real_value(value), info->name, &n, err);
		if (rc < 0)
			return rc;
		break;
	case JSON_STRING:
		if (dtype != RK_U64 || !integer_from_digits(value, &n))
			return wrong_kind(value, dtype, err);
		break;
	default:
		return wrong_kind(value, dtype, err);
	}
	if (n.magnitude > (n.negative ? min_magnitude : max))
		return rk_error_set(err, EINVAL,
				    "%s%" PRIu64 " is out of %s's range (%s%" PRIu64 " to %" PRIu64
				    ")",
				    n.negative ? "-" : "", n.magnitude, info->name,
				    is_signed ? "-" : "", min_magnitude, max);
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

int rk_json_number_store(const json_t *value, enum rk_dtype dtype, void *dst, struct rk_error *err)
{
	static int (*const store[])(const json_t *value, enum rk_dtype dtype, void *dst,
				    struct rk_error *err) = {
		[RK_KIND_FLOAT] = store_float,
		[RK_KIND_SIGNED] = store_integer,
		[RK_KIND_UNSIGNED] = store_integer,
		[RK_KIND_BOOL] = store_bool,
	};

	return store[rk_dtype_info(dtype)->kind](value, dtype, dst, err);
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
 * Make what %g printed, of @len bytes, a JSON real as jansson writes it: a point whatever the
 * locale says, never like an integer, and an exponent without plus and leading zeros.
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
 * @digits significant digits. Whole numbers of that many take the fast path: it
 * prints what the slow one would, and counts and test data are mostly such.
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
