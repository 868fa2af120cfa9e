/* SPDX-License-Identifier: MIT */
#include "tests/fake_cuda/trigger.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_SIZE    8192
#define MEMORY_TOTAL (1ULL << 30)

static struct fake_line lines[FAKE_LINES];
static unsigned int nlines;
int fake_trigger_device = -1;
static char last[FILE_SIZE];

void fake_complain(const char *fmt, ...)
{
	char text[512];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (n >= 0)
		dprintf(STDERR_FILENO, "fake_cuda: %s\n", text);
}

static const char *file_name(void)
{
	const char *path = getenv("RK_FAKE_CUDA");

	return path && *path ? path : NULL;
}

/* The file's text into @buf of FILE_SIZE; empty where there is none. */
static void slurp(char *buf)
{
	const char *path = file_name();
	size_t len = 0;
	ssize_t n;
	int fd;

	buf[0] = '\0';
	if (!path)
		return;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	while (len < FILE_SIZE - 1) {
		n = read(fd, buf + len, FILE_SIZE - 1 - len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		len += (size_t)n;
	}
	close(fd);
	buf[len] = '\0';
}

/* The words of @line->text; false where there are none. */
static bool split_line(struct fake_line *line)
{
	static char empty[1];
	char *save = NULL, *word;
	unsigned int n = 0;

	memcpy(line->split, line->text, sizeof(line->split));
	for (unsigned int i = 0; i < FAKE_WORDS; i++)
		line->words[i] = empty;
	word = strtok_r(line->split, " \t", &save);
	if (!word || *word == '#')
		return false;
	line->device = -1;
	if (*word == '@') {
		line->device = (int)strtol(word + 1, NULL, 10);
		word = strtok_r(NULL, " \t", &save);
	}
	if (word && strcmp(word, "once") == 0) {
		line->once = true;
		word = strtok_r(NULL, " \t", &save);
	}
	for (; word && n < FAKE_WORDS; word = strtok_r(NULL, " \t", &save))
		line->words[n++] = word;
	return n > 0;
}

static uint64_t hits_before(const struct fake_line *old, unsigned int nold, const char *text)
{
	for (unsigned int i = 0; i < nold; i++)
		if (strcmp(old[i].text, text) == 0)
			return old[i].hits;
	return 0;
}

void fake_trigger_read(void)
{
	static struct fake_line old[FAKE_LINES];
	char now[FILE_SIZE], *save = NULL;
	unsigned int nold = nlines;

	slurp(now);
	if (strcmp(now, last) == 0)
		return;
	memcpy(last, now, sizeof(last));
	memcpy(old, lines, sizeof(old));
	memset(lines, 0, sizeof(lines));
	nlines = 0;
	for (char *text = strtok_r(now, "\n", &save); text && nlines < FAKE_LINES;
	     text = strtok_r(NULL, "\n", &save)) {
		struct fake_line *line = &lines[nlines];

		snprintf(line->text, sizeof(line->text), "%s", text);
		line->hits = hits_before(old, nold, line->text);
		if (split_line(line))
			nlines++;
		else
			memset(line, 0, sizeof(*line));
	}
}

struct fake_line *fake_trigger_find(const char *keyword, const char *first)
{
	for (unsigned int i = 0; i < nlines; i++)
		if (!lines[i].gone &&
		    (lines[i].device < 0 || lines[i].device == fake_trigger_device) &&
		    strcmp(lines[i].words[0], keyword) == 0 &&
		    (!first || strcmp(lines[i].words[1], first) == 0))
			return &lines[i];
	return NULL;
}

/* Write the file anew without the first line that is @text, as a whole: others may read it. */
static void remove_line(const char *text)
{
	const char *path = file_name();
	char all[FILE_SIZE], temp[4096], *at;
	size_t len = strlen(text);
	int fd, rc;

	slurp(all);
	for (at = strstr(all, text); at; at = strstr(at + 1, text))
		if ((at == all || at[-1] == '\n') && (at[len] == '\n' || at[len] == '\0'))
			break;
	if (!at || !path)
		return;
	memmove(at, at + len + (at[len] == '\n'), strlen(at + len + (at[len] == '\n')) + 1);
	rc = snprintf(temp, sizeof(temp), "%s.%ld", path, (long)getpid());
	if (rc < 0 || (size_t)rc >= sizeof(temp))
		return;
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd < 0 || write(fd, all, strlen(all)) != (ssize_t)strlen(all) || close(fd) != 0 ||
	    rename(temp, path) != 0)
		fake_complain("cannot write %s anew: %s", path, strerror(errno));
}

void fake_trigger_consume(struct fake_line *line)
{
	if (!line->once)
		return;
	line->gone = true;
	remove_line(line->text);
}

uint64_t fake_trigger_number(const char *keyword, uint64_t otherwise)
{
	const struct fake_line *line = fake_trigger_find(keyword, NULL);

	return line ? strtoull(line->words[1], NULL, 0) : otherwise;
}

uint64_t fake_memory_total(void)
{
	return fake_trigger_number("memory_total", MEMORY_TOTAL);
}

void fake_uuid(unsigned char uuid[FAKE_UUID_BYTES], int device, bool instance)
{
	char place[16];
	const struct fake_line *line;

	snprintf(place, sizeof(place), "%d", device);
	line = fake_trigger_find("serial", place);
	for (unsigned char i = 0; i < FAKE_UUID_BYTES; i++)
		uuid[i] = (unsigned char)(0xA0 + i);
	uuid[FAKE_UUID_BYTES - 1] =
		(unsigned char)(line ? strtoul(line->words[2], NULL, 0) : (unsigned long)device);
	if (instance)
		uuid[0] = 0x11;
}

void fake_uuid_text(char text[FAKE_UUID_PRINT], int device, bool instance)
{
	unsigned char u[FAKE_UUID_BYTES];

	fake_uuid(u, device, instance);
	snprintf(text, FAKE_UUID_PRINT,
		 "%s-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
		 instance ? "MIG" : "GPU", u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8],
		 u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
}
