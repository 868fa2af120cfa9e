/* SPDX-License-Identifier: MIT */
/*
 * What happened, as JSON Lines in a bounded ring:
 * {"seq":7,"time":"2026-01-31T12:00:00.123456Z","event":"Draining",...}
 * Sequence numbers start at 1 and are never used twice in the life of a mount.
 */
#ifndef RK_RUNTIME_EVENTS_H
#define RK_RUNTIME_EVENTS_H

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

#include "runtime/base/thread.h"

#define RK_EVENTS_RETAINED 1024
#define RK_EVENTS_HELD	   16384

struct rk_events {
	pthread_mutex_t lock;
	uint64_t next;	      /* sequence number of the next event */
	uint64_t first;	      /* that of the oldest one retained */
	uint64_t bytes;	      /* of all that are retained */
	unsigned int holders; /* rk_events_hold */
	char **ring;	      /* RK_EVENTS_HELD lines, each with its newline; owned */
};

/* Returns 0, -ENOMEM or the negative errno of the mutex. */
int rk_events_init(struct rk_events *ev);
void rk_events_destroy(struct rk_events *ev);

/*
 * Append an event called @name. @fields is an object whose members follow seq, time and event;
 * the reference is stolen; NULL = none. Where memory is out the event is lost and the
 * sequence shows the gap. Does not notify: the runtime does, with no lock held.
 */
void rk_events_add(struct rk_events *ev, const char *name, json_t *fields);

/*
 * A JSON string of @text, which may be any bytes: cut in the middle of a character, or never
 * UTF-8 at all. The caller owns it; NULL where memory is out.
 */
json_t *rk_events_text(const char *text);

/*
 * Copy the first retained event numbered *@seq or above. Returns its length
 * and sets *@line (malloc'ed, with its newline, owned by the caller) and *@seq (one past it);
 * 0 where there is none yet; -ENOMEM.
 */
ssize_t rk_events_next(struct rk_events *ev, uint64_t *seq, char **line);

/*
 * Copy all that is retained from *@seq on (0: all), in one piece. Returns its length and sets
 * *@text (malloc'ed, not terminated, owned by the caller), *@seq to one past its last event, and
 * *@lost to how many that were wanted are gone. 0 where there is none yet: *@text is NULL. -ENOMEM,
 * with nothing set but *@text.
 */
ssize_t rk_events_copy(struct rk_events *ev, uint64_t *seq, uint64_t *lost, char **text);

/* The length of all that is retained. */
uint64_t rk_events_bytes(struct rk_events *ev);

/*
 * Somebody follows the events by the length of what is retained, which therefore must not fall.
 * Until the release up to RK_EVENTS_HELD events are kept; then all but RK_EVENTS_RETAINED are
 * dropped.
 */
void rk_events_hold(struct rk_events *ev);
void rk_events_release(struct rk_events *ev);

/* The sequence number that the next event will have. */
uint64_t rk_events_end(struct rk_events *ev);

#endif
