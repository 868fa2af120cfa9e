/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "fs/base/attr.h"
#include "tests/unit/unit.h"

static void assert_text(const struct rkfs_textbuf *tb, const char *expected)
{
	assert_int_equal(tb->error, 0);
	assert_int_equal(tb->len, strlen(expected));
	assert_memory_equal(tb->data, expected, tb->len);
}

TEST(append)
{
	struct rkfs_textbuf tb;

	rkfs_textbuf_init(&tb);
	assert_text(&tb, "");
	rkfs_textbuf_append(&tb, "ab", 2);
	rkfs_textbuf_append(&tb, NULL, 0);
	rkfs_textbuf_line(&tb, "cd");
	rkfs_textbuf_printf(&tb, "%d-%s", 7, "x");
	assert_text(&tb, "abcd\n7-x");
	rkfs_textbuf_reset(&tb);
	assert_text(&tb, "");
	rkfs_textbuf_line(&tb, "");
	assert_text(&tb, "\n");
	rkfs_textbuf_free(&tb);
}

TEST(u64)
{
	static const struct {
		unsigned long long n;
		const char *text;
	} cases[] = {
		{0, "0\n"},
		{9, "9\n"},
		{10, "10\n"},
		{1234567890, "1234567890\n"},
		{ULLONG_MAX, "18446744073709551615\n"},
	};
	struct rkfs_textbuf tb;

	rkfs_textbuf_init(&tb);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		rkfs_textbuf_reset(&tb);
		rkfs_textbuf_u64_line(&tb, cases[i].n);
		assert_text(&tb, cases[i].text);
	}
	rkfs_textbuf_free(&tb);
}

/* Every length around the size of the built-in buffer and its doubling, by each function. */
TEST(growth)
{
	char text[600];

	for (size_t len = 100; len < sizeof(text); len++) {
		struct rkfs_textbuf a, p, l;

		memset(text, 'a' + (int)(len % 26), len);
		text[len] = '\0';
		rkfs_textbuf_init(&a);
		rkfs_textbuf_init(&p);
		rkfs_textbuf_init(&l);
		rkfs_textbuf_append(&a, text, len);
		assert_text(&a, text);
		rkfs_textbuf_printf(&p, "%s", text);
		assert_text(&p, text);
		rkfs_textbuf_line(&l, text);
		assert_int_equal(l.len, len + 1);
		assert_memory_equal(l.data, text, len);
		assert_int_equal(l.data[len], '\n');
		rkfs_textbuf_free(&a);
		rkfs_textbuf_free(&p);
		rkfs_textbuf_free(&l);
	}
}

TEST(piecewise)
{
	struct rkfs_textbuf tb;

	rkfs_textbuf_init(&tb);
	for (int i = 0; i < 10000; i++)
		rkfs_textbuf_printf(&tb, "%04d", i);
	assert_int_equal(tb.len, 40000);
	for (int i = 0; i < 10000; i++) {
		char four[5] = {0};

		memcpy(four, tb.data + (size_t)i * 4, 4);
		assert_int_equal(strtol(four, NULL, 10), i);
	}
	rkfs_textbuf_free(&tb);
}

/* Equal texts are one, until either changes; the other sees nothing of that. */
TEST(shared)
{
	struct rkfs_textbuf a, b, other;
	struct rkfs_shared_texts all;
	char text[5000];

	memset(text, 'x', sizeof(text));
	assert_int_equal(rkfs_shared_texts_init(&all), 0);
	rkfs_textbuf_init(&a);
	rkfs_textbuf_init(&b);
	rkfs_textbuf_init(&other);
	rkfs_textbuf_append(&a, text, sizeof(text));
	rkfs_textbuf_append(&b, text, sizeof(text));
	rkfs_textbuf_append(&other, text, sizeof(text));
	other.data[4999] = 'y';
	rkfs_textbuf_share(&a, &all);
	rkfs_textbuf_share(&b, &all);
	rkfs_textbuf_share(&other, &all);
	assert_ptr_equal(a.data, b.data);
	assert_ptr_not_equal(a.data, other.data);
	assert_int_equal(a.size, sizeof(text));
	rkfs_textbuf_line(&a, "more");
	assert_ptr_not_equal(a.data, b.data);
	assert_int_equal(a.len, sizeof(text) + 5);
	assert_memory_equal(a.data, b.data, sizeof(text));
	assert_memory_equal(a.data + sizeof(text), "more\n", 5);
	rkfs_textbuf_reset(&b);
	rkfs_textbuf_line(&b, "new");
	assert_text(&b, "new\n");
	rkfs_textbuf_share(&b, &all); /* short: kept as it is */
	assert_null(b.shared);
	rkfs_textbuf_free(&a);
	rkfs_textbuf_free(&b);
	rkfs_textbuf_free(&other);
	assert_true(LIST_EMPTY(&all.texts));
	rkfs_shared_texts_destroy(&all);
}

/* The bound holds exactly, is remembered, and a failed piece leaves nothing behind. */
TEST(bound)
{
	struct rkfs_textbuf tb;
	char *half = calloc(1, RKFS_TEXTBUF_MAX / 2);

	assert_non_null(half);
	rkfs_textbuf_init(&tb);
	rkfs_textbuf_append(&tb, half, RKFS_TEXTBUF_MAX / 2);
	rkfs_textbuf_append(&tb, half, RKFS_TEXTBUF_MAX / 2);
	assert_int_equal(tb.error, 0);
	assert_int_equal(tb.len, RKFS_TEXTBUF_MAX);
	rkfs_textbuf_append(&tb, "x", 1);
	assert_int_equal(tb.error, EFBIG);
	assert_int_equal(tb.len, RKFS_TEXTBUF_MAX);
	rkfs_textbuf_reset(&tb);
	rkfs_textbuf_append(&tb, half, RKFS_TEXTBUF_MAX / 2);
	rkfs_textbuf_append(&tb, half, SIZE_MAX - 5);
	assert_int_equal(tb.error, EFBIG);
	rkfs_textbuf_append(&tb, "x", 1);
	rkfs_textbuf_printf(&tb, "y");
	rkfs_textbuf_line(&tb, "z");
	rkfs_textbuf_u64_line(&tb, 1);
	assert_int_equal(tb.len, RKFS_TEXTBUF_MAX / 2);
	assert_int_equal(tb.error, EFBIG);
	rkfs_textbuf_reset(&tb);
	rkfs_textbuf_append(&tb, "x", 1);
	assert_text(&tb, "x");
	rkfs_textbuf_free(&tb);
	free(half);
}
