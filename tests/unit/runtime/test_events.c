/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/events.h"
#include "tests/unit/unit.h"

#define WRITERS 4
#define EACH	1000

static int setup(void **state)
{
	struct rk_events *ev = calloc(1, sizeof(*ev));

	assert_non_null(ev);
	assert_int_equal(rk_events_init(ev), 0);
	*state = ev;
	return 0;
}

static int teardown(void **state)
{
	rk_events_destroy(*state);
	free(*state);
	return 0;
}

/* The next event, parsed; the line is one line, whole and with its newline. */
static json_t *next(struct rk_events *ev, uint64_t *seq)
{
	char *line = NULL;
	ssize_t len = rk_events_next(ev, seq, &line);
	json_t *event;

	assert_true(len > 0);
	assert_int_equal(len, strlen(line));
	assert_ptr_equal(strchr(line, '\n'), line + len - 1);
	event = json_loadb(line, (size_t)len - 1, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(event);
	free(line);
	return event;
}

static json_int_t seq_of(const json_t *event)
{
	return json_integer_value(json_object_get(event, "seq"));
}

static const char *text_of(const json_t *event, const char *key)
{
	return json_string_value(json_object_get(event, key));
}

static void expect_none(struct rk_events *ev, uint64_t from)
{
	char *line = (char *)1;
	uint64_t seq = from;

	assert_int_equal(rk_events_next(ev, &seq, &line), 0);
	assert_ptr_equal(line, (char *)1);
	assert_int_equal(seq, from);
}

#define RIG_TEST(name) TEST_WITH(name, setup, teardown)

RIG_TEST(empty)
{
	expect_none(*state, 0);
	expect_none(*state, 1);
	expect_none(*state, 7);
	assert_int_equal(rk_events_end(*state), 1);
}

RIG_TEST(line)
{
	static const char stamp[] =
		"^20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\\.[0-9]{6}Z$";
	json_t *fields = json_pack("{s:i,s:[i,i]}", "count", 3, "list", 1, 2), *event;
	uint64_t seq = 0;
	regex_t re;

	assert_int_equal(regcomp(&re, stamp, REG_EXTENDED | REG_NOSUB), 0);
	json_incref(fields);
	rk_events_add(*state, "Draining", fields);
	assert_int_equal(fields->refcount, 1); /* one reference was stolen, none is kept */
	json_decref(fields);
	event = next(*state, &seq);
	assert_int_equal(seq, 2);
	assert_int_equal(seq_of(event), 1);
	assert_string_equal(text_of(event, "event"), "Draining");
	assert_int_equal(regexec(&re, text_of(event, "time"), 0, NULL, 0), 0);
	assert_int_equal(json_integer_value(json_object_get(event, "count")), 3);
	assert_int_equal(json_array_size(json_object_get(event, "list")), 2);
	assert_int_equal(json_object_size(event), 5);
	json_decref(event);
	regfree(&re);
	expect_none(*state, seq);
}

/* seq, time and event come first: a human reads them in a column. */
RIG_TEST(order)
{
	char *line;
	uint64_t seq = 0;

	rk_events_add(*state, "A", json_pack("{s:s}", "aa", "x"));
	assert_true(rk_events_next(*state, &seq, &line) > 0);
	assert_memory_equal(line, "{\"seq\":1,\"time\":\"", 17);
	assert_string_equal(strstr(line, "\"event\""), "\"event\":\"A\",\"aa\":\"x\"}\n");
	free(line);
}

/* A copy goes on where the last one ended, and tells what it came too late for. */
RIG_TEST(copy)
{
	uint64_t seq = 0, lost;
	ssize_t len;
	char *text;

	assert_int_equal(rk_events_copy(*state, &seq, &lost, &text), 0);
	assert_null(text);
	assert_int_equal(seq, 1);
	rk_events_add(*state, "A", NULL);
	rk_events_add(*state, "B", NULL);
	len = rk_events_copy(*state, &seq, &lost, &text);
	assert_int_equal(len, rk_events_bytes(*state));
	assert_int_equal(seq, 3);
	assert_int_equal(lost, 0);
	assert_memory_equal(text, "{\"seq\":1,", 9);
	assert_memory_equal(text + len - 13, "\"event\":\"B\"}\n", 13);
	free(text);
	for (int i = 0; i < RK_EVENTS_RETAINED + 5; i++)
		rk_events_add(*state, "C", NULL);
	len = rk_events_copy(*state, &seq, &lost, &text);
	assert_int_equal(lost, 5);
	assert_int_equal(len, rk_events_bytes(*state));
	assert_memory_equal(text, "{\"seq\":8,", 9);
	free(text);
}

static int64_t oldest(struct rk_events *ev)
{
	uint64_t seq = 0;
	json_t *event = next(ev, &seq);
	int64_t n = seq_of(event);

	json_decref(event);
	return n;
}

/* Nothing is forgotten while somebody follows, up to a bound. */
RIG_TEST(hold)
{
	uint64_t bytes = 0;

	rk_events_hold(*state);
	rk_events_hold(*state);
	for (int i = 0; i < RK_EVENTS_HELD; i++) {
		rk_events_add(*state, "A", NULL);
		assert_true(rk_events_bytes(*state) > bytes);
		bytes = rk_events_bytes(*state);
	}
	assert_int_equal(oldest(*state), 1);
	rk_events_add(*state, "A", NULL);
	assert_int_equal(oldest(*state), RK_EVENTS_HELD + 2 - RK_EVENTS_RETAINED);
	rk_events_add(*state, "A", NULL);
	assert_int_equal(oldest(*state), RK_EVENTS_HELD + 2 - RK_EVENTS_RETAINED);
	rk_events_release(*state);
	assert_int_equal(oldest(*state), RK_EVENTS_HELD + 2 - RK_EVENTS_RETAINED);
	rk_events_release(*state);
	assert_int_equal(oldest(*state), RK_EVENTS_HELD + 3 - RK_EVENTS_RETAINED);
}

RIG_TEST(escapes)
{
	static const char nasty[] = "a \"quoted\" \\ line\nand\tanother\r\x01\x7f caf\xc3\xa9 </x>";
	uint64_t seq = 1;
	json_t *event;

	rk_events_add(*state, "Failed", json_pack("{s:s}", "reason", nasty));
	event = next(*state, &seq);
	assert_string_equal(text_of(event, "reason"), nasty);
	json_decref(event);
}

/* Sentences are cut at a number of bytes and quote what users sent: any bytes. */
RIG_TEST(text)
{
	static const struct {
		const char *text, *shown;
	} rows[] = {
		{"", ""},
		{"plain", "plain"},
		{"caf\xc3\xa9", "caf\xc3\xa9"},
		{"cut: caf\xc3", "cut: caf?"},
		{"\xff\xfe \x80", "?? ?"},
	};

	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint64_t seq = rk_events_end(*state);
		json_t *event;

		rk_events_add(*state, "X", json_pack("{s:o}", "why", rk_events_text(rows[i].text)));
		event = next(*state, &seq);
		assert_string_equal(text_of(event, "why"), rows[i].shown);
		json_decref(event);
	}
}

RIG_TEST(no_fields)
{
	uint64_t seq = 1;
	json_t *event;

	rk_events_add(*state, "Starting", NULL);
	event = next(*state, &seq);
	assert_int_equal(json_object_size(event), 3);
	json_decref(event);
}

RIG_TEST(overrun)
{
	const unsigned int total = 3 * RK_EVENTS_RETAINED + 17;
	uint64_t seq = 0;

	for (unsigned int i = 1; i <= total; i++)
		rk_events_add(*state, "Tick", json_pack("{s:i}", "i", (int)i));
	assert_int_equal(rk_events_end(*state), total + 1);
	for (unsigned int i = total - RK_EVENTS_RETAINED + 1; i <= total; i++) {
		json_t *event = next(*state, &seq);

		assert_int_equal(seq_of(event), i);
		assert_int_equal(json_integer_value(json_object_get(event, "i")), i);
		assert_int_equal(seq, i + 1);
		json_decref(event);
	}
	expect_none(*state, seq);
}

/* Exactly full, and one more; from the middle. */
RIG_TEST(edges)
{
	uint64_t seq;
	json_t *event;

	for (unsigned int i = 0; i < RK_EVENTS_RETAINED; i++)
		rk_events_add(*state, "Tick", NULL);
	seq = 0;
	event = next(*state, &seq);
	assert_int_equal(seq_of(event), 1);
	json_decref(event);
	rk_events_add(*state, "Tick", NULL);
	seq = 1; /* overwritten just now */
	event = next(*state, &seq);
	assert_int_equal(seq_of(event), 2);
	json_decref(event);
	seq = RK_EVENTS_RETAINED / 2;
	event = next(*state, &seq);
	assert_int_equal(seq_of(event), RK_EVENTS_RETAINED / 2);
	json_decref(event);
	expect_none(*state, RK_EVENTS_RETAINED + 2);
}

static void *write_events(void *arg)
{
	for (unsigned int i = 0; i < EACH; i++)
		rk_events_add(arg, "Tick", json_pack("{s:i}", "i", (int)i));
	return NULL;
}

/* Who follows while others write sees each number at most once and in order. */
RIG_TEST(follow)
{
	struct rk_events *ev = *state;
	pthread_t writers[WRITERS];
	uint64_t seq = 0, last = 0;

	for (unsigned int i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&writers[i], NULL, write_events, ev), 0);
	while (last < WRITERS * EACH) {
		char *line;

		if (!rk_events_next(ev, &seq, &line))
			continue;
		uint64_t got = strtoull(line + strlen("{\"seq\":"), NULL, 10);

		assert_true(got > last);
		assert_int_equal(seq, got + 1);
		last = got;
		free(line);
	}
	for (unsigned int i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_join(writers[i], NULL), 0);
	assert_int_equal(rk_events_end(ev), WRITERS * EACH + 1);
	expect_none(ev, seq);
}
