/* SPDX-License-Identifier: MIT */
/* JSON's syntax against jansson's, and each number of an accepted text against strtod and strtof.
 */
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "runtime/base/json_number.h"
#include "runtime/base/json_text.h"
#include "tests/fuzz/fuzz.h"

static void check_number(const struct rk_json_token *token)
{
	unsigned char integer[sizeof(uint64_t)];
	double wide, wanted = strtod(token->text, NULL);
	float narrow, wanted_f32 = strtof(token->text, NULL);
	int rc;

	rc = rk_json_number_store(token, RK_F64, &wide, NULL);
	FUZZ_CHECK(!rc == !isinf(wanted));
	FUZZ_CHECK(rc || memcmp(&wide, &wanted, sizeof(wide)) == 0);
	rc = rk_json_number_store(token, RK_F32, &narrow, NULL);
	FUZZ_CHECK(!rc == !isinf(wanted_f32));
	FUZZ_CHECK(rc || memcmp(&narrow, &wanted_f32, sizeof(narrow)) == 0);
	for (int dtype = 0; dtype < RK_DTYPE_COUNT; dtype++)
		(void)rk_json_number_store(token, (enum rk_dtype)dtype, integer, NULL);
}

static void check_tokens(const char *text, size_t len)
{
	const char *at = text, *end = text + len;
	struct rk_json_token token;
	char buf[8];

	do {
		at = rk_json_next(at, end, &token);
		FUZZ_CHECK(at <= end);
		if (token.kind == RK_JSON_NUMBER)
			check_number(&token);
		if (token.kind == RK_JSON_STRING)
			(void)rk_json_unescape(&token, buf, sizeof(buf));
	} while (token.kind != RK_JSON_END);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct rk_error err = {0};
	json_error_t je;
	json_t *json;
	int rc;

	FUZZ_CHECK(text);
	memcpy(text, data, size);
	text[size] = '\0'; /* ends a number that is all of the text */
	rc = rk_json_check(text, size, NULL, &err);
	/* jansson takes a NUL after a number for the end */
	if (!memchr(text, '\0', size)) {
		json = json_loadb(text, size, JSON_DECODE_ANY, &je);
		FUZZ_CHECK(!json == !!rc || json_error_code(&je) == json_error_numeric_overflow ||
			   json_error_code(&je) == json_error_null_character);
		json_decref(json);
	}
	FUZZ_CHECK(!rc == !err.msg[0]);
	if (!rc)
		check_tokens(text, size);
	free(text);
	return 0;
}
