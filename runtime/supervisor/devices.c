/* SPDX-License-Identifier: MIT */
/* What is known of the devices, also from workers that are gone. */
#include "runtime/supervisor/devices.h"

#include <stdio.h>
#include <string.h>

#define LOOKS 100 /* at an entry that is being written */

#define KNOWN                                                                                      \
	(RK_WIRE_KNOWS_MEMORY | RK_WIRE_KNOWS_UTILISATION | RK_WIRE_KNOWS_TEMPERATURE |            \
	 RK_WIRE_KNOWS_POWER | RK_WIRE_KNOWS_XID | RK_WIRE_KNOWS_ECC | RK_WIRE_KNOWS_REMAP)

/* A struct rk_wire_device in pieces that are loaded as one. */
typedef uint64_t __attribute__((may_alias)) word;

#define WORDS (sizeof(struct rk_wire_device) / sizeof(word))

_Static_assert(sizeof(struct rk_wire_device) % sizeof(word) == 0, "it is copied in words");

/* Copy @from, which may be written meanwhile. False where it changes all the time. */
static bool copy_entry(const struct rk_wire_device *from, struct rk_wire_device *to)
{
	const word *source = (const word *)from;
	word *target = (word *)to;

	for (unsigned int look = 0; look < LOOKS; look++) {
		uint32_t before = atomic_load(&from->sequence);

		if (before % 2)
			continue;
		for (size_t i = 0; i < WORDS;
		     i++) /* each load acquires, so that the check of the sequence comes last */
			target[i] = __atomic_load_n(&source[i], __ATOMIC_ACQUIRE);
		if (atomic_load(&from->sequence) == before)
			return true;
	}
	return false;
}

/* Copy text that may lack its NUL; a line break in it would be one in a file or in the metrics. */
static void copy_text(char *to, size_t size, const char *from, size_t from_size)
{
	snprintf(to, size, "%.*s", (int)(from_size - 1), from);
	for (; *to; to++)
		if (*to < ' ' || *to > '~')
			*to = '?';
}

static void convert(const struct rk_wire_device *from, struct rk_device *to)
{
	*to = (struct rk_device){
		.known = from->known & KNOWN,
		.lost = from->lost,
		.xid_count = from->xid_count,
		.xid_last = from->xid_last,
	};
	copy_text(to->name, sizeof(to->name), from->name, sizeof(from->name));
	copy_text(to->uuid, sizeof(to->uuid), from->uuid, sizeof(from->uuid));
	if (to->known & RK_WIRE_KNOWS_MEMORY) {
		to->memory_total_bytes = from->memory_total_bytes;
		to->memory_used_bytes = from->memory_used_bytes;
	}
	if (to->known & RK_WIRE_KNOWS_UTILISATION)
		to->utilisation_percent = from->utilisation_percent;
	if (to->known & RK_WIRE_KNOWS_TEMPERATURE)
		to->temperature_celsius = from->temperature_celsius;
	if (to->known & RK_WIRE_KNOWS_POWER)
		to->power_milliwatts = from->power_milliwatts;
	if (to->known & RK_WIRE_KNOWS_ECC)
		to->ecc_uncorrected = from->ecc_uncorrected;
	if (to->known & RK_WIRE_KNOWS_REMAP) {
		to->remap_pending = from->remap_pending;
		to->remap_failed = from->remap_failed;
	}
}

static bool is_blank(const struct rk_device *device)
{
	return !device->name[0] && !device->uuid[0];
}

/*
 * Where @seen, which the worker has at @index, belongs: devices keep their places, also where one
 * before them is gone for the next worker. NULL where there is no place left.
 */
static struct rk_device *place_of(struct rk_devices *devices, unsigned int index,
				  const struct rk_device *seen)
{
	struct rk_device *all = devices->devices;

	for (unsigned int i = 0; i < devices->count && seen->uuid[0]; i++)
		if (!strcmp(all[i].uuid, seen->uuid))
			return &all[i];
	if (!seen->uuid[0] ||
	    !all[index].uuid[0]) /* the worker has not told its UUID, or not yet */
		return &all[index];
	for (unsigned int i = 0; i < devices->count; i++)
		if (is_blank(&all[i]))
			return &all[i];
	return devices->count < RK_WIRE_DEVICES_MAX ? &all[devices->count++] : NULL;
}

/* The count of Xids goes on over workers: a shared page has only those since its worker began. */
static void add_xids(struct rk_device *place, const struct rk_device *old, bool is_latest)
{
	uint64_t more = 0;

	if (is_latest && place->xid_count > old->xid_in_page)
		more = place->xid_count - old->xid_in_page;
	if (!more)
		place->xid_last = old->xid_last;
	place->xid_in_page = old->xid_in_page + more;
	place->xid_count = old->xid_count + more;
	if (place->xid_count)
		place->known |= RK_WIRE_KNOWS_XID;
}

/* @place is the same device, or free. */
static void adopt(struct rk_device *place, const struct rk_device *seen, bool is_latest)
{
	struct rk_device old = *place;

	*place = *seen;
	place->lost |= old.lost;
	add_xids(place, &old, is_latest);
	if (!seen->uuid[0]) { /* a device that is lost may no longer tell its UUID */
		memcpy(place->name, old.name, sizeof(old.name));
		memcpy(place->uuid, old.uuid, sizeof(old.uuid));
	}
}

void rk_devices_update(struct rk_devices *devices, const struct rk_wire_shared *shared,
		       uint64_t worker)
{
	uint32_t count = atomic_load(&shared->ndevices);
	struct rk_wire_device entry;
	struct rk_device seen, *place;

	if (devices->worker < worker) {
		for (unsigned int i = 0; i < devices->count; i++)
			devices->devices[i].xid_in_page = 0;
		devices->worker = worker;
	}
	if (count > RK_WIRE_DEVICES_MAX)
		count = RK_WIRE_DEVICES_MAX;
	if (devices->count < count)
		devices->count = count;
	for (unsigned int i = 0; i < count; i++) {
		if (!copy_entry(&shared->devices[i], &entry))
			continue;
		convert(&entry, &seen);
		place = place_of(devices, i, &seen);
		if (!place)
			continue;
		adopt(place, &seen, worker == devices->worker);
	}
}
