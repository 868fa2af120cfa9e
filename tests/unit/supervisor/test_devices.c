/* SPDX-License-Identifier: MIT */
/* What the daemon takes over of the devices that a worker has seen. */
#include "tests/unit/message_fixture.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "runtime/supervisor/devices.h"

struct page {
	struct rk_wire_shared *shared;
	struct rk_devices devices;
	uint64_t worker;
};

static int setup(void **state)
{
	struct page *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->shared = mmap(NULL, sizeof(*p->shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(p->shared, MAP_FAILED);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct page *p = *state;

	munmap(p->shared, sizeof(*p->shared));
	free(p);
	return 0;
}

/* The worker says this of device @i. */
static void say(struct page *p, unsigned int i, const char *uuid, uint32_t lost)
{
	struct rk_wire_device *d = &p->shared->devices[i];

	atomic_fetch_add(&d->sequence, 1);
	snprintf(d->name, sizeof(d->name), "%s", uuid[0] ? "NVIDIA" : "");
	snprintf(d->uuid, sizeof(d->uuid), "%s", uuid);
	d->known = lost ? 0 : UINT32_MAX;
	d->memory_total_bytes = 100 + i;
	d->memory_used_bytes = 50 + i;
	d->power_milliwatts = 212000;
	d->utilisation_percent = 42;
	d->temperature_celsius = 61;
	d->ecc_uncorrected = 7;
	d->remap_pending = 1;
	d->remap_failed = 1;
	d->lost = lost;
	atomic_fetch_add(&d->sequence, 1);
	if (atomic_load(&p->shared->ndevices) <= i)
		atomic_store(&p->shared->ndevices, i + 1);
}

/* The next worker begins with an empty page. */
static void forget(struct page *p)
{
	memset((void *)p->shared, 0, sizeof(*p->shared));
	p->worker++;
}

static void update(struct page *p)
{
	rk_devices_update(&p->devices, p->shared, p->worker);
}

static void expect(const struct page *p, unsigned int i, const char *uuid, bool lost)
{
	assert_in_range(i + 1, 1, p->devices.count);
	assert_string_equal(p->devices.devices[i].uuid, uuid);
	assert_int_equal(p->devices.devices[i].lost, lost);
}

#define RIG_TEST(name) TEST_WITH(name, setup, teardown)

RIG_TEST(numbers)
{
	struct page *p = *state;
	const struct rk_device *d = &p->devices.devices[1];

	update(p);
	assert_int_equal(p->devices.count, 0);
	say(p, 0, "GPU-a", 0);
	say(p, 1, "GPU-b", 0);
	update(p);
	assert_int_equal(p->devices.count, 2);
	expect(p, 0, "GPU-a", false);
	expect(p, 1, "GPU-b", false);
	assert_string_equal(d->name, "NVIDIA");
	assert_int_equal(d->known, 127); /* of the bits that there are */
	assert_int_equal(d->memory_total_bytes, 101);
	assert_int_equal(d->memory_used_bytes, 51);
	assert_int_equal(d->power_milliwatts, 212000);
	assert_int_equal(d->utilisation_percent, 42);
	assert_int_equal(d->temperature_celsius, 61);
	p->shared->devices[1].temperature_celsius = 62;
	update(p);
	assert_int_equal(d->temperature_celsius, 62);
}

/* A number that is not known is 0, each for itself. */
RIG_TEST(unknown)
{
	struct page *p = *state;

	say(p, 0, "GPU-a", 0);
	for (uint32_t bit = 1; bit <= RK_WIRE_KNOWS_REMAP; bit *= 2) {
		const struct rk_device *d = &p->devices.devices[0];

		p->shared->devices[0].known = bit;
		update(p);
		assert_int_equal(d->known, bit);
		assert_int_equal(!!d->memory_total_bytes, bit == RK_WIRE_KNOWS_MEMORY);
		assert_int_equal(!!d->memory_used_bytes, bit == RK_WIRE_KNOWS_MEMORY);
		assert_int_equal(!!d->utilisation_percent, bit == RK_WIRE_KNOWS_UTILISATION);
		assert_int_equal(!!d->temperature_celsius, bit == RK_WIRE_KNOWS_TEMPERATURE);
		assert_int_equal(!!d->power_milliwatts, bit == RK_WIRE_KNOWS_POWER);
		assert_int_equal(!!d->ecc_uncorrected, bit == RK_WIRE_KNOWS_ECC);
		assert_int_equal(d->remap_pending, bit == RK_WIRE_KNOWS_REMAP);
		assert_int_equal(d->remap_failed, bit == RK_WIRE_KNOWS_REMAP);
	}
}

/* Lost once is lost, whatever a later worker says; and only that one. */
RIG_TEST(lost)
{
	struct page *p = *state;

	say(p, 0, "GPU-a", 0);
	say(p, 1, "GPU-b", 1);
	update(p);
	expect(p, 0, "GPU-a", false);
	expect(p, 1, "GPU-b", true);
	forget(p);
	update(p); /* nothing seen yet: what was seen stays */
	expect(p, 1, "GPU-b", true);
	assert_int_equal(p->devices.devices[0].temperature_celsius, 61);
	say(p, 0, "GPU-a", 0);
	say(p, 1, "GPU-b", 0);
	update(p);
	expect(p, 0, "GPU-a", false);
	expect(p, 1, "GPU-b", true);
	assert_int_equal(p->devices.devices[1].temperature_celsius, 61);
}

static void say_xid(struct page *p, unsigned int i, uint32_t xid, uint64_t count)
{
	struct rk_wire_device *d = &p->shared->devices[i];

	atomic_fetch_add(&d->sequence, 1);
	d->xid_last = xid;
	d->xid_count = count;
	atomic_fetch_add(&d->sequence, 1);
}

static void expect_xids(struct page *p, unsigned int i, uint32_t last, uint64_t count)
{
	update(p);
	update(p); /* what is counted is not counted again */
	assert_int_equal(p->devices.devices[i].xid_last, last);
	assert_int_equal(p->devices.devices[i].xid_count, count);
}

/* The Xids of several workers add up, and the last one stays. */
RIG_TEST(xids)
{
	struct page *p = *state;

	say(p, 0, "GPU-a", 0);
	say_xid(p, 0, 13, 2);
	expect_xids(p, 0, 13, 2);
	say_xid(p, 0, 79, 3);
	say(p, 0, "GPU-a", 1);
	expect_xids(p, 0, 79, 3);
	assert_int_equal(p->devices.devices[0].known, RK_WIRE_KNOWS_XID); /* it is lost */
	forget(p);
	say(p, 0, "GPU-a", 0);
	expect_xids(p, 0, 79, 3);
	say_xid(p, 0, 31, 3); /* as many as the first one had seen */
	expect_xids(p, 0, 31, 6);
	p->worker--; /* the first one is buried: its page is read once more */
	say_xid(p, 0, 79, 3);
	expect_xids(p, 0, 31, 6);
	p->worker++;
	say_xid(p, 0, 32, 4);
	expect_xids(p, 0, 32, 7);
}

/* Devices keep their numbers where the next worker finds fewer, or others. */
RIG_TEST(places)
{
	struct page *p = *state;

	say(p, 0, "GPU-a", 1);
	say(p, 1, "GPU-b", 0);
	update(p);
	forget(p);
	say(p, 0, "GPU-b", 0); /* the first one is off the bus */
	update(p);
	assert_int_equal(p->devices.count, 2);
	expect(p, 0, "GPU-a", true);
	expect(p, 1, "GPU-b", false);
	assert_int_equal(p->devices.devices[1].memory_total_bytes, 100);
	forget(p);
	say(p, 0, "GPU-c", 0);
	update(p);
	assert_int_equal(p->devices.count, 3);
	expect(p, 2, "GPU-c", false);
	for (unsigned int i = 0; i < 2 * RK_WIRE_DEVICES_MAX; i++) { /* more than there is room */
		char uuid[16];

		snprintf(uuid, sizeof(uuid), "GPU-%u", i);
		forget(p);
		say(p, 0, uuid, 0);
		update(p);
	}
	assert_int_equal(p->devices.count, RK_WIRE_DEVICES_MAX);
	expect(p, 0, "GPU-a", true);
	expect(p, RK_WIRE_DEVICES_MAX - 1, "GPU-12", false);
}

/* One that says nothing of itself any more is the one that was in its place. */
RIG_TEST(nameless)
{
	struct page *p = *state;

	say(p, 0, "", 0);
	update(p);
	expect(p, 0, "", false);
	say(p, 0, "GPU-a", 0);
	update(p);
	assert_int_equal(p->devices.count, 1);
	expect(p, 0, "GPU-a", false);
	forget(p);
	say(p, 0, "", 1);
	update(p);
	expect(p, 0, "GPU-a", true);
	assert_string_equal(p->devices.devices[0].name, "NVIDIA");
	assert_int_equal(p->devices.devices[0].known, 0);
	assert_int_equal(p->devices.devices[0].temperature_celsius, 0);
}

/* A worker that is broken. */
RIG_TEST(broken)
{
	struct page *p = *state;
	struct rk_wire_device *d = &p->shared->devices[0];
	struct rk_device *seen = &p->devices.devices[0];

	say(p, 0, "GPU-a", 0);
	atomic_store(&p->shared->ndevices, UINT32_MAX);
	update(p);
	assert_int_equal(p->devices.count, RK_WIRE_DEVICES_MAX);
	memset(d->name, 'x', sizeof(d->name));
	memset(d->uuid, 'y', sizeof(d->uuid));
	d->name[1] = '\n';
	d->uuid[1] = (char)0xff;
	d->lost = 77;
	update(p);
	for (unsigned int i = 0; i < p->devices.count; i++)
		if (p->devices.devices[i].uuid[0] == 'y')
			seen = &p->devices.devices[i];
	assert_ptr_not_equal(seen, &p->devices.devices[0]); /* another one, it seems */
	assert_int_equal(strlen(seen->name), sizeof(seen->name) - 1);
	assert_int_equal(strlen(seen->uuid), sizeof(seen->uuid) - 1);
	assert_memory_equal(seen->name, "x?x", 3);
	assert_memory_equal(seen->uuid, "y?y", 3);
	assert_true(seen->lost);
}

/* One that is being written, for ever, stays as it was. */
RIG_TEST(odd)
{
	struct page *p = *state;

	say(p, 0, "GPU-a", 0);
	update(p);
	atomic_fetch_add(&p->shared->devices[0].sequence, 1);
	p->shared->devices[0].temperature_celsius = 99;
	update(p);
	assert_int_equal(p->devices.devices[0].temperature_celsius, 61);
	atomic_fetch_add(&p->shared->devices[0].sequence, 1);
	update(p);
	assert_int_equal(p->devices.devices[0].temperature_celsius, 99);
}

/* Another process writes all the time, as fast as it can: what is read was written at once. */
RIG_TEST(torn)
{
	struct page *p = *state;
	struct rk_wire_device *d = &p->shared->devices[0];
	unsigned int changes = 0;
	uint64_t last = 0;
	pid_t pid;

	say(p, 0, "GPU-a", 0);
	memset(d->name, 'x', sizeof(d->name) - 1);
	update(p);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL)) /* else it outlives a failure */
		_exit(1);
	for (uint64_t i = 1; pid == 0; i++) {
		atomic_fetch_add(&d->sequence, 1);
		d->memory_total_bytes = i;
		d->memory_used_bytes = i;
		d->name[0] = d->name[90] = (char)('a' + i % 26); /* far from each other */
		atomic_fetch_add(&d->sequence, 1);
	}
	while (changes < 200) {
		const struct rk_device *seen = &p->devices.devices[0];

		update(p);
		changes += seen->memory_total_bytes != last;
		last = seen->memory_total_bytes;
		if (last == 100) /* it has not begun */
			continue;
		assert_int_equal(seen->memory_used_bytes, last);
		assert_int_equal(seen->name[0], 'a' + last % 26);
		assert_int_equal(seen->name[90], 'a' + last % 26);
	}
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}
