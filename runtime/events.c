/* SPDX-License-Identifier: MIT */
/* The ring of events, each a line of JSON. */
#include "runtime/events.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/base/error.h"

int rk_events_init(struct rk_events *ev)
{
	int rc;

	ev->next = 1;
	ev->first = 1;
	ev->ring = calloc(RK_EVENTS_HELD, sizeof(*ev->ring));
	if (!ev->ring)
		return -ENOMEM;
	rc = -pthread_mutex_init(&ev->lock, NULL);
	if (rc) {
		free(ev->ring);
		ev->ring = NULL;
	}
	return rc;
}

void rk_events_destroy(struct rk_events *ev)
{
	for (size_t i = 0; i < RK_EVENTS_HELD; i++)
		free(ev->ring[i]);
	free(ev->ring);
	pthread_mutex_destroy(&ev->lock);
}

json_t *rk_events_text(const char *text)
{
	json_t *value = json_string(text);
	char *plain = value ? NULL : strdup(text);

	if (plain) {
		rk_text_clean(plain, strlen(plain), "\t\n");
		value = json_string(plain);
	}
	free(plain);
	return value;
}

/* RFC 3339, UTC, microseconds */
static void format_now(char *buf, size_t size)
{
	struct timespec now;
	struct tm tm;
	size_t len;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	len = strftime(buf, size, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(buf + len, size - len, ".%06ldZ", now.tv_nsec / 1000);
}

/*
 * One line with its newline, malloc'ed, or NULL. Takes no reference to @fields. Names are the
 * project's own and need no escaping; what is formatted here delays who waits for the state that
 * the event tells of.
 */
static char *format_event(uint64_t seq, const char *name, json_t *fields)
{
	char *body = NULL, *line = NULL;
	char when[40];
	int len;

	format_now(when, sizeof(when));
	if (json_object_size(fields)) {
		body = json_dumps(fields, JSON_COMPACT | JSON_PRESERVE_ORDER);
		if (!body)
			return NULL;
	}
	len = asprintf(&line, "{\"seq\":%llu,\"time\":\"%s\",\"event\":\"%s\"%s%s\n",
		       (unsigned long long)seq, when, name, body ? "," : "", body ? body + 1 : "}");
	free(body);
	return len < 0 ? NULL : line;
}

/* The place of event @seq; NULL in it where memory was out. */
static char **line_of(const struct rk_events *ev, uint64_t seq)
{
	return &ev->ring[seq % RK_EVENTS_HELD];
}

static size_t length_of(const struct rk_events *ev, uint64_t seq)
{
	const char *line = *line_of(ev, seq);

	return line ? strlen(line) : 0;
}

/* Drop the oldest until @count are retained. */
static void trim_locked(struct rk_events *ev, uint64_t count)
{
	for (; ev->next - ev->first > count; ev->first++) {
		ev->bytes -= length_of(ev, ev->first);
		free(*line_of(ev, ev->first));
		*line_of(ev, ev->first) = NULL;
	}
}

void rk_events_add(struct rk_events *ev, const char *name, json_t *fields)
{
	pthread_mutex_lock(&ev->lock);
	if (!ev->holders || ev->next - ev->first == RK_EVENTS_HELD)
		trim_locked(ev, RK_EVENTS_RETAINED - 1);
	*line_of(ev, ev->next) = format_event(ev->next, name, fields);
	ev->bytes += length_of(ev, ev->next);
	ev->next++;
	pthread_mutex_unlock(&ev->lock);
	json_decref(fields);
}

ssize_t rk_events_next(struct rk_events *ev, uint64_t *seq, char **line)
{
	uint64_t at;
	ssize_t len = 0;

	RK_GUARD(&ev->lock);
	for (at = *seq > ev->first ? *seq : ev->first; at < ev->next; at++) {
		const char *found = *line_of(ev, at);

		if (!found)
			continue;
		char *copy = strdup(found);

		len = -ENOMEM;
		if (copy) {
			len = (ssize_t)strlen(copy);
			*line = copy;
			*seq = at + 1;
		}
		break;
	}
	return len;
}

ssize_t rk_events_copy(struct rk_events *ev, uint64_t *seq, uint64_t *lost, char **text)
{
	size_t len = 0, done = 0;
	uint64_t from;

	pthread_mutex_lock(&ev->lock);
	from = *seq > ev->first ? *seq : ev->first;
	for (uint64_t at = from; at < ev->next; at++)
		len += length_of(ev, at);
	*text = len ? malloc(len) : NULL;
	if (len && !*text) {
		pthread_mutex_unlock(&ev->lock);
		return -ENOMEM;
	}
	for (uint64_t at = from; at < ev->next; at++) {
		size_t n = length_of(ev, at);

		if (n)
			memcpy(*text + done, *line_of(ev, at), n);
		done += n;
	}
	*lost = *seq ? from - *seq : 0;
	*seq = ev->next;
	pthread_mutex_unlock(&ev->lock);
	return (ssize_t)len;
}

uint64_t rk_events_bytes(struct rk_events *ev)
{
	RK_GUARD(&ev->lock);
	return ev->bytes;
}

void rk_events_hold(struct rk_events *ev)
{
	RK_GUARD(&ev->lock);
	ev->holders++;
}

void rk_events_release(struct rk_events *ev)
{
	RK_GUARD(&ev->lock);
	if (!--ev->holders)
		trim_locked(ev, RK_EVENTS_RETAINED);
}

uint64_t rk_events_end(struct rk_events *ev)
{
	RK_GUARD(&ev->lock);
	return ev->next;
}
