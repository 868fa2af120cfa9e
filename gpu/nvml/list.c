/* SPDX-License-Identifier: MIT */
/* Which devices there are to run on. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "gpu/nvml/internal.h"
#include "gpu/nvml/list.h"

static void add(struct rk_listed *listed, rk_nvml_device device)
{
	char uuid[RK_NVML_UUID_MAX] = "";

	if (listed->count == RK_WIRE_LISTED_MAX)
		return;
	/* the place stays: those behind it keep their index */
	if (!device || rk_nvml.nvmlDeviceGetUUID(device, uuid, sizeof(uuid)) ||
	    strlen(uuid) >= RK_WIRE_NAME_MAX)
		uuid[0] = '\0';
	memcpy(listed->uuids[listed->count++], uuid, RK_WIRE_NAME_MAX);
}

/* The instances of @device, or false where it is not divided. */
static bool add_instances(struct rk_listed *listed, rk_nvml_device device)
{
	unsigned int current = 0, pending, most = 0;
	rk_nvml_device instance;

	if (!rk_nvml.nvmlDeviceGetMigMode || !rk_nvml.nvmlDeviceGetMaxMigDeviceCount ||
	    !rk_nvml.nvmlDeviceGetMigDeviceHandleByIndex ||
	    rk_nvml.nvmlDeviceGetMigMode(device, &current, &pending) ||
	    current != RK_NVML_MIG_ENABLED || rk_nvml.nvmlDeviceGetMaxMigDeviceCount(device, &most))
		return false;
	for (unsigned int i = 0; i < most; i++) /* there are gaps between them */
		if (!rk_nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, i, &instance))
			add(listed, instance);
	return true;
}

static int list(struct rk_listed *listed, struct rk_error *err)
{
	unsigned int count;
	int rc = rk_nvml_error(rk_nvml.nvmlDeviceGetCount_v2(&count), err, "nvmlDeviceGetCount");

	for (unsigned int i = 0; !rc && i < count; i++) {
		rk_nvml_device device = NULL;

		if (rk_nvml.nvmlDeviceGetHandleByIndex_v2(i, &device))
			device = NULL;
		if (!device || !add_instances(listed, device))
			add(listed, device);
	}
	return rc;
}

int rk_devices_list(struct rk_listed *listed, struct rk_error *err)
{
	int rc = rk_nvml_open(err);

	listed->count = 0;
	if (!rc)
		rc = rk_nvml_error(rk_nvml.nvmlInit_v2(), err, "nvmlInit");
	if (!rc) {
		rc = list(listed, err);
		(void)rk_nvml.nvmlShutdown(); /* the process ends soon, which does as much */
	}
	return rc;
}

/* The device that @word of @len characters names, or -1. */
static int named(const struct rk_listed *listed, const char *word, size_t len)
{
	if (len && strspn(word, "0123456789") == len) {
		unsigned long index = strtoul(word, NULL, 10);

		return index < listed->count ? (int)index : -1;
	}
	/* "GPU-8932" is enough where one alone begins so; the first of several is as good */
	for (unsigned int i = 0; len > strlen("GPU-") && i < listed->count; i++)
		if (!strncasecmp(listed->uuids[i], word, len))
			return (int)i;
	return -1;
}

void rk_devices_list_visible(struct rk_listed *listed, const char *visible)
{
	struct rk_listed all = *listed;

	if (!visible)
		return;
	listed->count = 0;
	while (listed->count < RK_WIRE_LISTED_MAX) {
		size_t len = strcspn(visible, ",");
		int index = named(&all, visible, len);

		if (index < 0)
			return;
		memcpy(listed->uuids[listed->count++], all.uuids[index], RK_WIRE_NAME_MAX);
		if (!visible[len])
			return;
		visible += len + 1;
	}
}
