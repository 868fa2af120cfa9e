/* SPDX-License-Identifier: MIT */
/*
 * Which devices there are, and whose each is. A process of its own asks the driver, which the
 * daemon never loads; it may hang for as long as the driver does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/supervisor/internal.h"

/* Without its persistence mode a driver takes seconds to wake each GPU. */
#define LIST_NS	       (30 * RK_NS_PER_SEC)
#define ABANDON_NS     (1 * RK_NS_PER_SEC)
#define LIST_BYTES_MAX (RK_WIRE_LISTED_MAX * RK_WIRE_NAME_MAX)
#define PREFIX_LEN     4 /* "GPU-", "MIG-" */

/* What was printed, in the order of the index. */
struct list {
	uint32_t count;
	char *uuids[RK_WIRE_LISTED_MAX]; /* in text */
	char text[LIST_BYTES_MAX + 1];
};

/* Which of @list is @uuid, or -1. How the prefix is spelt does not tell two apart. */
static int find(const struct list *list, const char *uuid)
{
	for (uint32_t i = 0; i < list->count; i++)
		if (strlen(list->uuids[i]) > PREFIX_LEN && strlen(uuid) > PREFIX_LEN &&
		    !strcasecmp(list->uuids[i] + PREFIX_LEN, uuid + PREFIX_LEN))
			return (int)i;
	return -1;
}

/* Which of @list has the index @name, or is the UUID @name; -1 = none. */
static int named(const struct list *list, const char *name)
{
	unsigned long index;

	if (name[strspn(name, "0123456789")])
		return find(list, name);
	index = strtoul(name, NULL, 10);
	return index < list->count && find(list, list->uuids[index]) >= 0 ? (int)index : -1;
}

/* Whether seats of another device than @seat's have @uuid. */
static bool is_claimed(const struct rk_supervisor *sup, const struct rk_seat *seat,
		       const char *uuid)
{
	uint32_t of_a_device = sup->params.of_a_device;

	for (uint32_t i = 0; i < sup->nseats; i++)
		if (i / of_a_device != seat->lane / of_a_device &&
		    !strcasecmp(sup->seats[i].device, uuid))
			return true;
	return false;
}

/* The one of @list that no other seat than @seat's has, or -1. */
static int only_unclaimed(const struct rk_supervisor *sup, const struct rk_seat *seat,
			  const struct list *list)
{
	int only = -1;

	for (uint32_t i = 0; i < list->count; i++) {
		if (find(list, list->uuids[i]) < 0 || is_claimed(sup, seat, list->uuids[i]))
			continue;
		if (only >= 0)
			return -1;
		only = (int)i;
	}
	return only;
}

/*
 * Which of @list is for @seat, or -1: the device that it has, or others have that are to have the
 * same; at first the one that it is named after; and where its device is gone, what is in that
 * place now, or the only one that nobody has.
 */
static int choose(const struct rk_supervisor *sup, const struct rk_seat *seat,
		  const struct list *list)
{
	uint32_t of_a_device = sup->params.of_a_device;
	uint32_t first = seat->lane / of_a_device * of_a_device;
	int index = -1;

	for (uint32_t i = first; index < 0 && seat->device[0] && i < first + of_a_device; i++)
		index = find(list, sup->seats[i].device);
	if (index >= 0)
		return index;
	index = named(list, sup->params.devices[seat->lane]);
	if (!seat->device[0])
		return index;
	if (index >= 0 && !is_claimed(sup, seat, list->uuids[index]))
		return index;
	return only_unclaimed(sup, seat, list);
}

static void claim(struct rk_supervisor *sup, struct rk_seat *seat, const struct list *list)
{
	int index = choose(sup, seat, list);

	seat->is_listed = index >= 0;
	if (index < 0)
		return;
	if (seat->device[0] && strcasecmp(seat->device, list->uuids[index]))
		rk_log(RK_LOG_WARN, "worker %u had device %s, which is gone: it takes device %s",
		       seat->lane, seat->device, list->uuids[index]);
	RK_GUARD(&sup->lock);
	snprintf(seat->device, sizeof(seat->device), "%s", list->uuids[index]);
	seat->index = (uint32_t)index;
}

/* All devices are to be used, and here they are. */
static void take_all(struct rk_supervisor *sup, const struct list *list)
{
	uint32_t of_a_device = sup->params.of_a_device, workers = list->count * of_a_device;

	if (workers > RK_LANES_MAX) {
		workers = RK_LANES_MAX / of_a_device * of_a_device;
		rk_log(RK_LOG_WARN,
		       "of %u devices the first %u are used: there are %d workers at most",
		       list->count, workers / of_a_device, RK_LANES_MAX);
	}
	if (!workers)
		return; /* the one that there is will say so */
	for (uint32_t i = 0; i < workers; i++)
		snprintf(sup->params.devices[i], RK_WIRE_NAME_MAX, "%s",
			 list->uuids[i / of_a_device]);
	rk_supervisor_count_seats(sup, workers);
}

/* What was waited for is there, or will not come: @list is empty. */
static void finish(struct rk_supervisor *sup, const struct list *list)
{
	if (sup->listing.epoch != sup->epoch && sup->params.all_devices)
		take_all(sup, list);
	sup->listing.epoch = sup->epoch;
	for (struct rk_seat *seat = sup->seats; seat < sup->seats + sup->nseats; seat++) {
		if (!seat->awaits_list)
			continue;
		seat->awaits_list = false;
		claim(sup, seat, list);
		seat->spawn_at = rk_now_ns();
	}
	rk_supervisor_wake(sup); /* what was asked of workers that nobody knew of */
	sup->observer.moved(sup->observer.ctx);
}

static void fail(struct rk_supervisor *sup, const char *why)
{
	static const struct list none;

	rk_log(RK_LOG_WARN, "the devices cannot be listed: %s", why);
	finish(sup, &none);
}

static void read_text(const struct rk_listing *l, char text[LIST_BYTES_MAX + 1])
{
	size_t len = 0;
	ssize_t n;

	while (len < LIST_BYTES_MAX &&
	       (n = read(l->os.control, text + len, LIST_BYTES_MAX - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
}

/* The lines of @list->text; one that is too long is no UUID. */
static void split(struct list *list)
{
	char *rest = list->text, *line;

	list->count = 0;
	while (list->count < RK_WIRE_LISTED_MAX && (line = strsep(&rest, "\n"))) {
		rk_text_clean(line, strlen(line) + 1, "");
		if (strlen(line) >= RK_WIRE_NAME_MAX)
			line = line + strlen(line);
		if (rest)
			list->uuids[list->count++] = line;
	}
}

static bool any_awaits(const struct rk_supervisor *sup)
{
	for (uint32_t i = 0; i < sup->nseats; i++)
		if (sup->seats[i].awaits_list)
			return true;
	return false;
}

static void release(struct rk_supervisor *sup)
{
	struct rk_listing *l = &sup->listing;

	rk_supervisor_unwatch(sup, &l->end);
	rk_process_release(&l->os);
	l->kill_at = l->abandon_at = 0;
}

static void begin(struct rk_supervisor *sup);

static void on_end(struct rk_supervisor *sup, struct rk_proc *unused)
{
	struct rk_listing *l = &sup->listing;
	char how[RK_ERROR_MAX], why[RK_ERROR_MAX];
	bool clean, of_use = l->kill_at;
	struct list list;

	(void)unused;
	if (!rk_process_reap(&l->os, how, sizeof(how), &clean))
		return;
	read_text(l, list.text);
	release(sup);
	if (!of_use) {
		if (any_awaits(sup))
			begin(sup);
	} else if (clean) {
		split(&list);
		finish(sup, &list);
	} else {
		list.text[strcspn(list.text, "\n")] = '\0';
		rk_text_clean(list.text, sizeof(list.text), "");
		snprintf(why, sizeof(why), "%.200s", list.text[0] ? list.text : how);
		fail(sup, why);
	}
}

static void begin(struct rk_supervisor *sup)
{
	struct rk_listing *l = &sup->listing;
	struct rk_error err = {0};
	int rc = rk_process_list(&l->os, sup->executable, &sup->params, &err);

	if (rc) {
		fail(sup, err.msg);
		return;
	}
	l->kill_at = rk_now_ns() + LIST_NS;
	l->end = (struct rk_source){l->os.pidfd, on_end, NULL};
	rc = rk_supervisor_watch(sup, &l->end);
	if (rc) {
		rk_process_kill(&l->os);
		release(sup);
		fail(sup, strerror(-rc));
	}
}

/* The process is of no use any more; a new one begins when it is gone. */
static void give_up(struct rk_listing *l)
{
	rk_process_kill(&l->os);
	l->kill_at = 0;
	l->abandon_at = rk_now_ns() + ABANDON_NS;
}

void rk_supervisor_come(struct rk_supervisor *sup, struct rk_seat *seat)
{
	seat->awaits_list = sup->params.lists;
	seat->spawn_at = sup->params.lists ? 0 : rk_now_ns();
	if (seat->awaits_list && sup->listing.end.fd < 0)
		begin(sup);
}

void rk_supervisor_renew_list(struct rk_supervisor *sup)
{
	struct rk_listing *l = &sup->listing;

	if (l->end.fd >= 0 && l->kill_at)
		give_up(l);
	else if (l->end.fd < 0 && any_awaits(sup))
		begin(sup);
}

void rk_supervisor_time_listing(struct rk_supervisor *sup, uint64_t now)
{
	struct rk_listing *l = &sup->listing;

	if (l->kill_at && now >= l->kill_at) {
		give_up(l);
		fail(sup, "the driver does not answer");
	} else if (l->abandon_at && now >= l->abandon_at) {
		rk_log(RK_LOG_ERROR, "process %d, which lists devices, survives SIGKILL (state D?)",
		       l->os.pid);
		release(sup);
		if (any_awaits(sup))
			begin(sup);
	}
}

void rk_supervisor_next_of_listing(const struct rk_supervisor *sup, uint64_t *first)
{
	rk_earlier(first, sup->listing.kill_at);
	rk_earlier(first, sup->listing.abandon_at);
}
