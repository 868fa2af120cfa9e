/* SPDX-License-Identifier: MIT */
/* rkcall: kernels of nearly the name that was given. */
#include <stdint.h>
#include <string.h>

#include "fs/client/rkcall.h"
#include "runtime/base/nearest.h"

static size_t distance(const char *a, const char *b)
{
	return rk_edit_distance(a, strlen(a), b, strlen(b));
}

static const char *name_of(const char *id)
{
	const char *slash = strrchr(id, '/');

	return slash ? slash + 1 : id;
}

/* How far @id is from @other; SIZE_MAX: no slip makes one of the other. */
static size_t slip(const char *id, const char *other)
{
	const char *name = name_of(id), *other_name = name_of(other);
	size_t limit = 1 + strlen(name) / 4;
	size_t whole = distance(id, other), part = distance(name, other_name);

	if (part != SIZE_MAX)
		part++; /* a wrong domain counts */
	if (whole > part)
		whole = part;
	if (whole <= limit)
		return whole;
	return strlen(name) >= 3 && strstr(other_name, name) ? limit + 1 : SIZE_MAX;
}

size_t rkcall_near(const struct rkcall_kernels *k, const char *id, const char *near[RKCALL_NEAR])
{
	size_t slips[RKCALL_NEAR];
	size_t count = 0;

	for (size_t i = 0; i < k->count; i++) {
		size_t far = slip(id, k->ids[i]), at;

		if (far == SIZE_MAX || (count == RKCALL_NEAR && slips[count - 1] <= far))
			continue;
		if (count < RKCALL_NEAR)
			count++;
		for (at = count - 1; at > 0 && slips[at - 1] > far; at--) {
			slips[at] = slips[at - 1];
			near[at] = near[at - 1];
		}
		slips[at] = far;
		near[at] = k->ids[i];
	}
	return count;
}
