/* SPDX-License-Identifier: MIT */
#include "runtime/events.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int rk_events_init(struct rk_events *ev)
{
	int rc;

	ev->next = 1;
	ev->ring = calloc(RK_EVENTS_RETAINED, sizeof(*ev->ring));
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
	for (size_t i = 0; i < RK_EVENTS_RETAINED; i++)
		free(ev->ring[i]);
	free(ev->ring);
	pthread_mutex_destroy(&ev->lock);
}

json_t *rk_events_text(const char *text)
{
	json_t *value = json_string(text);
	char *plain = value ? NULL : strdup(text);

	for (char *p = plain; p && *p; p++)
		if (*p & 0x80)
			*p = '?';
	if (plain)
		value = json_string(plain);
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

void rk_events_add(struct rk_events *ev, const char *name, json_t *fields)
{
	char **place;

	pthread_mutex_lock(&ev->lock);
	place = &ev->ring[ev->next % RK_EVENTS_RETAINED];
	free(*place);
	*place = format_event(ev->next, name, fields);
	ev->next++;
	pthread_mutex_unlock(&ev->lock);
	json_decref(fields);
}

ssize_t rk_events_next(struct rk_events *ev, uint64_t *seq, char **line)
{
	uint64_t at;
	ssize_t len = 0;

	pthread_mutex_lock(&ev->lock);
	at = *seq;
	if (at + RK_EVENTS_RETAINED < ev->next)
		at = ev->next - RK_EVENTS_RETAINED;
	for (; at < ev->next; at++) {
		const char *found = ev->ring[at % RK_EVENTS_RETAINED];

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
	pthread_mutex_unlock(&ev->lock);
	return len;
}

uint64_t rk_events_end(struct rk_events *ev)
{
	uint64_t end;

	pthread_mutex_lock(&ev->lock);
	end = ev->next;
	pthread_mutex_unlock(&ev->lock);
	return end;
}
