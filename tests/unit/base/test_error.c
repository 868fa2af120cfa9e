/* SPDX-License-Identifier: MIT */
/* Sentences that are fit to be shown, whoever wrote them. */
#include <string.h>

#include "runtime/base/error.h"
#include "tests/unit/unit.h"

static void expect_clean(const char *text, const char *keep, const char *want)
{
	char copy[64] = {0};

	assert_true(strlen(text) < sizeof(copy));
	strcpy(copy, text);
	rk_text_clean(copy, sizeof(copy), keep);
	assert_string_equal(copy, want);
}

TEST(text_clean)
{
	expect_clean("", "", "");
	expect_clean("plain ~ text", "", "plain ~ text");
	expect_clean("\033[2Jred\a\b\177\r\n\t", "", "?[2Jred??????");
	expect_clean("a line\n\tand another\033", "\n\t", "a line\n\tand another?");
	expect_clean("gr\303\274n \342\202\254 \360\237\230\200", "",
		     "gr\303\274n \342\202\254 \360\237\230\200");
	expect_clean("\302\233m \302\200 \302\237 \302\240", "", "??m ?? ?? \302\240"); /* C1 */
	expect_clean("\233m", "", "?m"); /* the same in one byte */
	expect_clean("cut \342\202", "", "cut ??");
	expect_clean("\377\376\303.", "", "???.");
}

/* Nothing behind the end is touched, nor is an end needed. */
TEST(text_clean_bounds)
{
	char text[] = {'a', '\b', '\342', '\202', '\254', '\b'};

	rk_text_clean(text, 4, "");
	assert_memory_equal(text, "a???\254\b", sizeof(text));
	text[1] = '\0';
	text[2] = '\b';
	rk_text_clean(text, sizeof(text), "");
	assert_int_equal(text[2], '\b');
}

int main(void)
{
	return unit_run(NULL, NULL);
}
