/* SPDX-License-Identifier: MIT */
/* The syntax of JSON against jansson's, and numbers against the C library's and exact arithmetic.
 */
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/base/json_number.h"
#include "runtime/base/json_text.h"
#include "tests/unit/unit.h"

static uint64_t seed = 1;

static uint64_t below(uint64_t n)
{
	return next_random(&seed) % n;
}

/* Both judge @len bytes of @text alike, but for numbers that jansson cannot hold. */
static void compare(const char *text, size_t len)
{
	char *copy = malloc(len ? len : 1); /* a sanitizer sees a read past it */
	struct rk_error err = {0};
	json_error_t je;
	json_t *json;
	int rc;

	assert_non_null(copy);
	memcpy(copy, text, len);
	rc = rk_json_check(copy, len, NULL, &err);
	json = json_loadb(copy, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
	if (!!json != !rc && (json || json_error_code(&je) != json_error_numeric_overflow))
		fail_msg("%.*s: jansson: %s, we: %s", (int)len, text, json ? "yes" : je.text,
			 rc ? err.msg : "yes");
	if (rc < 0)
		assert_non_null(strstr(err.msg, "malformed JSON at line "));
	json_decref(json);
	free(copy);
}

static const char *const texts[] = {
	"",
	" ",
	"1",
	"-",
	"-1",
	"01",
	"-01",
	"1.",
	".5",
	"1e",
	"1e+",
	"1E-07",
	"0e5",
	"+1",
	"0x10",
	"1 2",
	"1,2",
	"true",
	"truefalse",
	"tru",
	"nul",
	"[]",
	"[",
	"]",
	"{}",
	"{",
	"}",
	"[1,]",
	"[,1]",
	"[1 2]",
	"[[],{},[{}]]",
	"[}",
	"{]",
	"{\"a\":1}",
	"{\"a\" :1 , \"b\":[ ] }",
	"{\"a\":1,}",
	"{\"a\"}",
	"{a:1}",
	"{1:1}",
	"{\"a\":1 \"b\":2}",
	"\"",
	"\"\\\"",
	"\"\\x\"",
	"\"\\u00e9\\n\\/\"",
	"\"\\u12\"",
	"\"\\ud83d\\ude00\"",
	"\"\\ud83d\"",
	"\"\\ude00\"",
	"\"\\ud83d\\u0041\"",
	"\"\\u0000\"",
	"\"a\tb\"",
	"\"\x7f\"",
	"\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"",
	"\"\xff\"",
	"\"\xc3\"",
	"\"\xc0\x80\"",
	"\"\xed\xa0\x80\"",
	"\"\xf4\x90\x80\x80\"",
	"\"\xe0\x80\x80\"",
	"\"\xf5\x80\x80\x80\"",
	"\xef\xbb\xbf{}",
	"{\"a\":[1.5e-3,\"NaN\",true,null],\"b\":{\"c\":[[-0.0]]}}",
};

#define COUNT (sizeof(texts) / sizeof(texts[0]))

TEST(syntax)
{
	static char deep[2 * RK_JSON_DEPTH_MAX + 2];
	unsigned int depth;
	size_t i, cut;

	for (i = 0; i < COUNT; i++)
		for (cut = 0; cut <= strlen(texts[i]); cut++)
			compare(texts[i], cut);
	compare("{}\0", 3);
	compare("\"\0\"", 3);
	for (depth = RK_JSON_DEPTH_MAX - 1; depth <= RK_JSON_DEPTH_MAX + 1; depth++) {
		memset(deep, '[', depth);
		memset(deep + depth, ']', depth < sizeof(deep) / 2 ? depth : sizeof(deep) / 2);
		compare(deep, 2 * depth < sizeof(deep) ? 2 * depth : sizeof(deep));
	}
}

/* Texts of the table with bytes changed, removed and put in. */
/* A text of which nobody wants to know any more is not read on. */
TEST(syntax_stopped)
{
	atomic_bool stop = false;

	assert_int_equal(rk_json_check("[1, 2]", 6, &stop, NULL), 0);
	stop = true;
	assert_int_equal(rk_json_check("[1, 2]", 6, &stop, NULL), -ECANCELED);
}

TEST(syntax_mutated)
{
	static const char bytes[] = "[]{},:\"\\u0de1-+.eE tfn\n\x01\xc3\xa9\xed\xf0\xff";
	char text[128];
	size_t round, len, n, at;

	for (round = 0; round < 200000; round++) {
		const char *from = texts[below(COUNT)];

		len = strlen(from);
		memcpy(text, from, len);
		for (n = 1 + below(3); n; n--) {
			at = below(len + 1);
			if (below(2)) {
				memmove(text + at + 1, text + at, len - at);
				len++;
			}
			if (at < len)
				text[at] = bytes[below(sizeof(bytes) - 1)];
		}
		compare(text, len);
	}
}

static int store(const char *text, enum rk_dtype dtype, void *dst)
{
	size_t len = strlen(text);
	struct rk_json_token token;

	assert_int_equal(rk_json_check(text, len, NULL, NULL), 0);
	assert_ptr_equal(rk_json_next(text, text + len, &token), text + len);
	return rk_json_number_store(&token, dtype, dst, NULL);
}

static void expect_f64(const char *text)
{
	double is = 0, wanted = strtod(text, NULL);
	int rc = store(text, RK_F64, &is);

	if (rc != (isinf(wanted) ? -EINVAL : 0) || (!rc && memcmp(&is, &wanted, sizeof(is)) != 0))
		fail_msg("f64 %s: %d, %a, not %a", text, rc, is, wanted);
}

static void expect_f32(const char *text)
{
	float is = 0, wanted = strtof(text, NULL);
	int rc = store(text, RK_F32, &is);

	if (rc != (isinf(wanted) ? -EINVAL : 0) || (!rc && memcmp(&is, &wanted, sizeof(is)) != 0))
		fail_msg("f32 %s: %d, %a, not %a", text, rc, (double)is, (double)wanted);
}

/* A number as any program may print it: few digits or hundreds, with or without an exponent. */
static void random_number(char *text, size_t size)
{
	size_t len = 0, digits, n;
	bool point = false;

	len += (size_t)snprintf(text, size, "%s", below(2) ? "-" : "");
	digits = 1 + below(below(8) ? 20 : 400);
	for (n = 0; n < digits; n++) {
		char digit = (char)('0' + (below(4) ? below(10) : 0));

		if (n == 0 && digit == '0' && digits > 1)
			digit = '1';
		text[len++] = digit;
		if (!point && n + 1 < digits && below(8) == 0) {
			text[len++] = '.';
			point = true;
		}
	}
	text[len] = '\0';
	if (below(2))
		snprintf(text + len, size - len, "%c%s%u", below(2) ? 'e' : 'E',
			 below(3) == 0 ? "-"
			 : below(2)    ? "+"
				       : "",
			 (unsigned int)below(below(2) ? 30 : 340));
}

TEST(floats)
{
	static const char *const some[] = {
		"0",
		"-0",
		"-0.0",
		"1e22",
		"1e23",
		"123456789012345e22",
		"9007199254740993",
		"9223372036854775808",
		"18446744073709551615",
		"100000000000000000000",
		"999999999999999900000",
		"179769313486231570000000000000000000000e270",
		"1.7976931348623158e308",
		"1.7976931348623159e308",
		"340282346638528859811704183484516925440",
		"340282356779733661637539395458142568447",
		"340282356779733661637539395458142568448",
		"4.9406564584124654e-324",
		"1e-400",
		"1.17549435082228750e-38",
		"7.006492321624085e-46",
		"7.0064923216240854e-46",
	};
	char text[512];
	size_t i;

	for (i = 0; i < sizeof(some) / sizeof(some[0]); i++) {
		expect_f64(some[i]);
		expect_f32(some[i]);
	}
	for (i = 0; i < 300000; i++) {
		random_number(text, sizeof(text));
		expect_f64(text);
		expect_f32(text);
	}
}

/*
 * The exact decimal of @middle, which is not 0: as it is, and with something too small for a double
 * put on it and taken away.
 */
static void around(double middle, char exact[], char more[], char less[], size_t size)
{
	int len = snprintf(exact, size, "%.160f", middle), last = len;

	snprintf(more, size, "%s1", exact);
	while (exact[last - 1] == '0' || exact[last - 1] == '.')
		last--;
	snprintf(less, size, "%s", exact);
	less[last - 1]--;
	for (; last < len; last++)
		if (less[last] == '0')
			less[last] = '9';
	snprintf(less + len, size - (size_t)len, "9");
}

/* Halfway between two floats, decided by a digit that no double holds. */
TEST(ties)
{
	char exact[256], more[256], less[256];
	uint16_t half, up, is;
	float single;
	size_t i;

	for (half = 0; half < 0x7c00; half++) {
		double from = (double)rk_f16_to_f32(half), to;

		up = (uint16_t)(half + 1);
		to = up == 0x7c00 ? 65536 : (double)rk_f16_to_f32(up);
		around((from + to) / 2, exact, more, less, sizeof(exact));
		assert_int_equal(store(less, RK_F16, &is), 0);
		assert_int_equal(is, half);
		if (up == 0x7c00) {
			assert_int_equal(store(exact, RK_F16, &is), -EINVAL);
			assert_int_equal(store(more, RK_F16, &is), -EINVAL);
			continue;
		}
		assert_int_equal(store(exact, RK_F16, &is), 0);
		assert_int_equal(is, half & 1 ? up : half);
		assert_int_equal(store(more, RK_F16, &is), 0);
		assert_int_equal(is, up);
	}
	for (i = 0; i < 20000; i++) {
		uint32_t bits = 0x20000000u + (uint32_t)below(0x3f000000u);

		memcpy(&single, &bits, sizeof(single));
		around(((double)single + (double)nextafterf(single, INFINITY)) / 2, exact, more,
		       less, sizeof(exact));
		expect_f32(exact);
		expect_f32(more);
		expect_f32(less);
	}
}

/* Integers of any size and notation, against 128 bits. */
TEST(integers)
{
	static const char *const ends[] = {"", "e0", "E+00", "e-0"};
	char text[96];
	size_t round;

	for (round = 0; round < 200000; round++) {
		uint64_t value = ((uint64_t)below(UINT32_MAX) << 32 | below(UINT32_MAX)) >>
				 below(64),
			 is = 0;
		bool negative = below(2);
		unsigned int zeros = value ? (unsigned int)below(3) : 0;
		__int128 wanted = value;
		int64_t is_signed = 0;

		snprintf(text, sizeof(text), "%s%llu%.*s%s%s", negative ? "-" : "",
			 (unsigned long long)value, (int)zeros, "000", below(2) ? ".0" : "",
			 ends[below(4)]);
		while (zeros--)
			wanted *= 10;
		wanted = negative ? -wanted : wanted;
		if (store(text, RK_U64, &is) == 0 ? is != wanted
						  : wanted >= 0 && wanted <= UINT64_MAX)
			fail_msg("u64 %s: %llu", text, (unsigned long long)is);
		if (store(text, RK_I64, &is_signed) == 0
			    ? is_signed != wanted
			    : wanted >= INT64_MIN && wanted <= INT64_MAX)
			fail_msg("i64 %s: %lld", text, (long long)is_signed);
	}
}

static void expect_u64(const char *text, uint64_t wanted)
{
	uint64_t is = 0;

	if (store(text, RK_U64, &is) != 0 || is != wanted)
		fail_msg("%s is %llu", text, (unsigned long long)is);
}

/* A real is an integer where it has no fraction: nothing is lost on the way. */
TEST(reals_as_integers)
{
	uint64_t is;

	expect_u64("18446744073709551615", UINT64_MAX);
	expect_u64("18446744073709551615.000", UINT64_MAX);
	expect_u64("1.8446744073709551615e19", UINT64_MAX);
	expect_u64("184467440737095516150000e-4", UINT64_MAX);
	expect_u64("9007199254740993.0", 9007199254740993);
	expect_u64("1e19", 10000000000000000000U);
	expect_u64("0e99999999999999999999", 0);
	expect_u64("0.000e5", 0);
	expect_u64("0.0015e4", 15);
	expect_u64("-0", 0);
	expect_u64("-0.0", 0);
	assert_int_equal(store("0.0015e3", RK_U64, &is), -EINVAL);
	assert_int_equal(store("1.8446744073709551616e19", RK_U64, &is), -EINVAL);
	assert_int_equal(store("-1e-1", RK_I64, &is), -EINVAL);
	assert_int_equal(store("1e99999999999999999999", RK_I64, &is), -EINVAL);
}
