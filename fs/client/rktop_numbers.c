/* SPDX-License-Identifier: MIT */
/* Numbers as rktop shows them. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fs/client/rktop.h"
#include "runtime/base/clock.h"

void rktop_rate_add(struct rktop_rate *rate, uint64_t before, uint64_t now, uint64_t elapsed_ns)
{
	double value = 0;

	if (now == RKTOP_UNKNOWN || before == RKTOP_UNKNOWN)
		now = before = 0;
	if (elapsed_ns)
		value = (double)(now >= before ? now - before : now) * RK_NS_PER_SEC /
			(double)elapsed_ns;
	if (rate->count == RKTOP_HISTORY)
		memmove(rate->samples, rate->samples + 1,
			(RKTOP_HISTORY - 1) * sizeof(rate->samples[0]));
	else
		rate->count++;
	rate->samples[rate->count - 1] = value;
}

char *rktop_print_usecs(char buf[RKTOP_NUMBER], uint64_t usecs)
{
	if (usecs == RKTOP_UNKNOWN)
		snprintf(buf, RKTOP_NUMBER, "-");
	else if (usecs < 1000)
		snprintf(buf, RKTOP_NUMBER, "%" PRIu64 "us", usecs);
	else if (usecs < 1000000)
		snprintf(buf, RKTOP_NUMBER, "%.1fms", (double)usecs / 1e3);
	else
		snprintf(buf, RKTOP_NUMBER, "%.1fs", (double)usecs / 1e6);
	return buf;
}

char *rktop_print_bytes(char buf[RKTOP_NUMBER], uint64_t bytes)
{
	static const char units[] = "KMGTPE";
	double value = (double)bytes;
	int unit = -1;

	if (bytes == RKTOP_UNKNOWN) {
		snprintf(buf, RKTOP_NUMBER, "-");
		return buf;
	}
	while (value >= 1024 && unit < 5) {
		value /= 1024;
		unit++;
	}
	if (unit < 0)
		snprintf(buf, RKTOP_NUMBER, "%" PRIu64, bytes);
	else
		snprintf(buf, RKTOP_NUMBER, "%.1f%c", value, units[unit]);
	return buf;
}

char *rktop_print_secs(char buf[RKTOP_NUMBER], uint64_t secs)
{
	if (secs == RKTOP_UNKNOWN)
		snprintf(buf, RKTOP_NUMBER, "-");
	else if (secs >= 86400)
		snprintf(buf, RKTOP_NUMBER, "%ud%02uh", (unsigned int)(secs / 86400),
			 (unsigned int)(secs / 3600 % 24));
	else
		snprintf(buf, RKTOP_NUMBER, "%u:%02u:%02u", (unsigned int)(secs / 3600),
			 (unsigned int)(secs / 60 % 60), (unsigned int)(secs % 60));
	return buf;
}

void rktop_print_sparkline(char *buf, const struct rktop_rate *rate, unsigned int width, bool ascii)
{
	static const char *const blocks[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	static const char *const letters[] = {" ", ".", ".", ":", ":", "-", "=", "+", "#"};
	unsigned int first = rate->count > width ? rate->count - width : 0;
	double highest = 0;
	size_t len = 0;

	for (unsigned int i = first; i < rate->count; i++)
		if (rate->samples[i] > highest)
			highest = rate->samples[i];
	for (unsigned int i = rate->count - first; i < width; i++)
		buf[len++] = ' ';
	for (unsigned int i = first; i < rate->count; i++) {
		double share = highest > 0 ? rate->samples[i] / highest : 0;
		/* what is not nothing shows */
		unsigned int step = share > 0 ? 1 + (unsigned int)(share * 7) : 0;
		const char *cell = ascii ? letters[step] : blocks[step];

		memcpy(buf + len, cell, strlen(cell));
		len += strlen(cell);
	}
	buf[len] = '\0';
}
