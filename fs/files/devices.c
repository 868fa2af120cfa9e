/* SPDX-License-Identifier: MIT */
/*
 * devices/N/: a device as the worker saw it last, from memory. What is not known is ENODATA.
 */
#include <errno.h>
#include <stddef.h>

#include "fs/files/files.h"

/* -ENODEV where a worker that was started since sees fewer devices. */
static int find(const struct rkfs_subject *subject, struct rk_device *device)
{
	return rk_runtime_device(subject->fs->rt, subject->number, device) ? 0 : -ENODEV;
}

/* A text member; arg is its place. */
RKFS_SHOW(text_show)
{
	struct rk_device device;
	int rc = find(subject, &device);
	const char *text = (const char *)&device + attr->arg;

	if (rc)
		return rc;
	if (!*text)
		return -ENODATA;
	rkfs_textbuf_line(out, text);
	return 0;
}

/* The numbers: what tells whether each is known, and its value. */
enum number {
	MEMORY_TOTAL,
	MEMORY_USED,
	UTILISATION,
	TEMPERATURE,
	POWER,
	XID_LAST,
	ECC_UNCORRECTED,
};

static uint32_t bit_of(enum number number)
{
	static const uint32_t bits[] = {
		[MEMORY_TOTAL] = RK_WIRE_KNOWS_MEMORY,
		[MEMORY_USED] = RK_WIRE_KNOWS_MEMORY,
		[UTILISATION] = RK_WIRE_KNOWS_UTILISATION,
		[TEMPERATURE] = RK_WIRE_KNOWS_TEMPERATURE,
		[POWER] = RK_WIRE_KNOWS_POWER,
		[XID_LAST] = RK_WIRE_KNOWS_XID,
		[ECC_UNCORRECTED] = RK_WIRE_KNOWS_ECC,
	};

	return bits[number];
}

static uint64_t value_of(const struct rk_device *device, enum number number)
{
	switch (number) {
	case MEMORY_TOTAL:
		return device->memory_total_bytes;
	case MEMORY_USED:
		return device->memory_used_bytes;
	case UTILISATION:
		return device->utilisation_percent;
	case TEMPERATURE:
		return device->temperature_celsius;
	case XID_LAST:
		return device->xid_last;
	case ECC_UNCORRECTED:
		return device->ecc_uncorrected;
	case POWER:
		break;
	}
	return device->power_milliwatts;
}

RKFS_SHOW(number_show)
{
	struct rk_device device;
	int rc = find(subject, &device);
	unsigned long long value;

	if (rc)
		return rc;
	if (!(device.known & bit_of(attr->arg)))
		return -ENODATA;
	value = value_of(&device, attr->arg);
	if (attr->arg == POWER)
		rkfs_textbuf_printf(out, "%llu.%03llu\n", value / 1000, value % 1000);
	else
		rkfs_textbuf_u64_line(out, value);
	return 0;
}

RKFS_SHOW(lost_show)
{
	struct rk_device device;
	int rc = find(subject, &device);

	if (!rc)
		rkfs_textbuf_u64_line(out, device.lost);
	return rc;
}

#define TEXT(member)                                                                               \
	{                                                                                          \
		.name = #member, .mode = 0444, .show = text_show,                                  \
		.arg = offsetof(struct rk_device, member)                                          \
	}

#define NUMBER(file, number)                                                                       \
	{                                                                                          \
		.name = file, .mode = 0444, .show = number_show, .arg = number                     \
	}

static const struct rkfs_attr rows[] = {
	TEXT(name),
	TEXT(uuid),
	NUMBER("memory_total_bytes", MEMORY_TOTAL),
	NUMBER("memory_used_bytes", MEMORY_USED),
	NUMBER("utilisation_percent", UTILISATION),
	NUMBER("temperature_celsius", TEMPERATURE),
	NUMBER("power_watts", POWER),
	NUMBER("xid_last", XID_LAST),
	NUMBER("ecc_uncorrected", ECC_UNCORRECTED),
	{.name = "lost", .mode = 0444, .show = lost_show},
};

const struct rkfs_attrs rkfs_device_attrs = {rows, sizeof(rows) / sizeof(rows[0])};
