/* SPDX-License-Identifier: MIT */
/* Finds out how much memory this process may use. */
#include "runtime/base/memory_limit.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

#define MIB (1ULL << 20)

/* Where the two versions of cgroups keep the limit. */
static const struct {
	const char *controller; /* in /proc/self/cgroup */
	const char *mount;
	const char *file;
} versions[] = {
	{"", "/sys/fs/cgroup", "memory.max"},
	{"memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
};

#define VERSIONS (sizeof(versions) / sizeof(versions[0]))

/* Read a file with one number; UINT64_MAX if it says "max" or does not exist. */
static uint64_t read_number(const char *path)
{
	uint64_t number;
	FILE *f = fopen(path, "re");

	if (!f)
		return UINT64_MAX;
	if (fscanf(f, "%" SCNu64, &number) != 1)
		number = UINT64_MAX;
	fclose(f);
	return number;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/*
 * The smallest limit of cgroup @path and of all above it. In a container without a cgroup namespace
 * @path is that of the host, and of its steps only the last one, the root, exists.
 */
static uint64_t read_chain(const char *root, size_t version, char *path)
{
	uint64_t limit = UINT64_MAX;
	char file[PATH_MAX];
	char *slash;

	for (;;) {
		int n = snprintf(file, sizeof(file), "%s%s%s/%s", root, versions[version].mount,
				 path, versions[version].file);

		if (n > 0 && (size_t)n < sizeof(file))
			limit = least(limit, read_number(file));
		slash = strrchr(path, '/');
		if (!slash)
			return limit;
		*slash = '\0';
	}
}

/* "ID:CONTROLLERS:PATH" */
static uint64_t read_line(const char *root, char *line)
{
	char *controllers = strchr(line, ':'), *path, *next;
	uint64_t limit = UINT64_MAX;

	path = controllers ? strchr(controllers + 1, ':') : NULL;
	if (!path)
		return limit;
	*controllers++ = '\0';
	*path++ = '\0';
	path[strcspn(path, "\n")] = '\0';
	for (; controllers; controllers = next) {
		next = strchr(controllers, ',');
		if (next)
			*next++ = '\0';
		for (size_t i = 0; i < VERSIONS; i++)
			if (!strcmp(controllers, versions[i].controller))
				limit = least(limit, read_chain(root, i, path));
	}
	return limit;
}

uint64_t rk_memory_limit(const char *root)
{
	char name[PATH_MAX], *line = NULL;
	uint64_t limit = UINT64_MAX;
	struct sysinfo machine;
	size_t size = 0;
	FILE *f;

	if (!sysinfo(&machine))
		limit = (uint64_t)machine.totalram * machine.mem_unit;
	snprintf(name, sizeof(name), "%s/proc/self/cgroup", root);
	f = fopen(name, "re");
	if (!f)
		return limit;
	while (getline(&line, &size, f) >= 0)
		limit = least(limit, read_line(root, line));
	free(line);
	fclose(f);
	return limit;
}

uint64_t rk_memory_kills(void)
{
	char line[128];
	uint64_t kills = 0;
	FILE *f = fopen("/proc/vmstat", "re");

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "oom_kill %" SCNu64, &kills) == 1)
			break;
	fclose(f);
	return kills;
}

uint64_t rk_memory_for_payloads(void)
{
	uint64_t bound = rk_memory_limit("") / 2, size = MIB;
	struct rlimit file;

	/* the pool is one file, whose size is a power of two */
	if (!getrlimit(RLIMIT_FSIZE, &file) && file.rlim_cur != RLIM_INFINITY) {
		while (size << 1 <= file.rlim_cur)
			size <<= 1;
		bound = least(bound, size);
	}
	bound -= bound % MIB;
	return bound > MIB ? bound : MIB;
}
