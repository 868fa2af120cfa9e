/* SPDX-License-Identifier: MIT */
/* rktop: reads a mount, in a process of its own. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "fs/mount/internal.h"
#include "fs/client/rkcall.h"
#include "fs/client/rktop.h"
#include "runtime/base/clock.h"
#include "runtime/base/thread.h"

/* As rkcall_value(), which see for @kernel, into @to; "" where that fails. */
static void read_text(const struct rkcall_mount *m, const char *kernel, const char *name, char *to,
		      size_t size)
{
	char *text = rkcall_value(m, kernel, name);

	snprintf(to, size, "%.*s", (int)size - 1, text ? text : "");
	free(text);
}

static uint64_t parse(const char *text)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(text, &end, 10);
	return errno || end == text ? RKTOP_UNKNOWN : n;
}

static uint64_t read_number(const struct rkcall_mount *m, const char *kernel, const char *name)
{
	char *text = rkcall_value(m, kernel, name);
	uint64_t n = text ? parse(text) : RKTOP_UNKNOWN;

	free(text);
	return n;
}

/*
 * Cut the next "KEY VALUE" line off *@rest: returns the key, with its value in *@value; NULL at the
 * end.
 */
static char *next_pair(char **rest, char **value)
{
	char *line;

	while ((line = strsep(rest, "\n"))) {
		*value = strchr(line, ' ');
		if (!*value)
			continue;
		*(*value)++ = '\0';
		return line;
	}
	return NULL;
}

/* --- stats/all --- */

static const struct {
	const char *key;
	size_t offset;
} totals[] = {
	{"kernels_registered", offsetof(struct rktop_snapshot, kernels_registered)},
	{"kernels_active", offsetof(struct rktop_snapshot, kernels_active)},
	{"messages_accepted", offsetof(struct rktop_snapshot, accepted)},
	{"messages_processed", offsetof(struct rktop_snapshot, processed)},
	{"messages_failed", offsetof(struct rktop_snapshot, failed)},
	{"messages_rejected", offsetof(struct rktop_snapshot, rejected)},
	{"messages_cancelled", offsetof(struct rktop_snapshot, cancelled)},
	{"messages_timed_out", offsetof(struct rktop_snapshot, timed_out)},
	{"messages_in_flight", offsetof(struct rktop_snapshot, in_flight)},
	{"gpu_memory_bytes", offsetof(struct rktop_snapshot, gpu_memory)},
	{"gpu_memory_peak_bytes", offsetof(struct rktop_snapshot, gpu_memory_peak)},
	{"uptime_secs", offsetof(struct rktop_snapshot, uptime_secs)},
};

#define NTOTALS (sizeof(totals) / sizeof(totals[0]))

static uint64_t *total_of(struct rktop_snapshot *s, size_t i)
{
	return (uint64_t *)((char *)s + totals[i].offset);
}

static void read_totals(struct rktop_snapshot *s, const struct rkcall_mount *m)
{
	char *text = rkcall_value(m, NULL, "stats/all"), *rest = text, *key, *value;

	for (size_t i = 0; i < NTOTALS; i++)
		*total_of(s, i) = RKTOP_UNKNOWN;
	while ((key = next_pair(&rest, &value)))
		for (size_t i = 0; i < NTOTALS; i++)
			if (strcmp(key, totals[i].key) == 0)
				*total_of(s, i) = parse(value);
	free(text);
}

/* --- kernels/, devices/, workers/, inflight/ --- */

static void read_kernels(struct rktop_snapshot *s, const struct rkcall_mount *m)
{
	struct rkcall_kernels list;

	s->nkernels = 0;
	if (rkcall_kernels_read(&list, m, NULL))
		return;
	for (size_t i = 0; i < list.count && s->nkernels < RKTOP_KERNELS; i++) {
		struct rktop_kernel *k = &s->kernels[s->nkernels++];
		const char *id = list.ids[i];

		snprintf(k->id, sizeof(k->id), "%s", id);
		read_text(m, id, "backend", k->backend, sizeof(k->backend));
		read_text(m, id, "last_error", k->last_error, sizeof(k->last_error));
		k->enabled = read_number(m, id, "enable") == 1;
		k->processed = read_number(m, id, "messages_processed");
		k->failed = read_number(m, id, "messages_failed");
		k->in_flight = read_number(m, id, "messages_in_flight");
		k->queued = read_number(m, id, "queue_depth");
		k->p50_usecs = read_number(m, id, "latency_p50_usecs");
		k->p99_usecs = read_number(m, id, "latency_p99_usecs");
	}
	rkcall_kernels_free(&list);
}

static void read_workers(struct rktop_snapshot *s, const struct rkcall_mount *m)
{
	for (s->nworkers = 0; s->nworkers < RKTOP_WORKERS; s->nworkers++) {
		struct rktop_worker *w = &s->workers[s->nworkers];
		char path[64];

#define FILE_OF(name) (snprintf(path, sizeof(path), "workers/%u/" name, s->nworkers), path)
		read_text(m, NULL, FILE_OF("state"), w->state, sizeof(w->state));
		if (!w->state[0])
			return;
		read_text(m, NULL, FILE_OF("health"), w->health, sizeof(w->health));
		read_text(m, NULL, FILE_OF("backend"), w->backend, sizeof(w->backend));
		w->in_flight = read_number(m, NULL, FILE_OF("messages_in_flight"));
		w->processed = read_number(m, NULL, FILE_OF("messages_processed"));
		w->failed = read_number(m, NULL, FILE_OF("messages_failed"));
		w->restarts = read_number(m, NULL, FILE_OF("restarts"));
#undef FILE_OF
	}
}

static void read_devices(struct rktop_snapshot *s, const struct rkcall_mount *m)
{
	for (s->ndevices = 0; s->ndevices < RKTOP_DEVICES; s->ndevices++) {
		struct rktop_device *d = &s->devices[s->ndevices];
		char path[64];

#define FILE_OF(name) (snprintf(path, sizeof(path), "devices/%u/" name, s->ndevices), path)
		read_text(m, NULL, FILE_OF("name"), d->name, sizeof(d->name));
		if (!d->name[0])
			return;
		d->memory_total = read_number(m, NULL, FILE_OF("memory_total_bytes"));
		d->memory_used = read_number(m, NULL, FILE_OF("memory_used_bytes"));
		d->utilisation = read_number(m, NULL, FILE_OF("utilisation_percent"));
		d->temperature = read_number(m, NULL, FILE_OF("temperature_celsius"));
		d->lost = read_number(m, NULL, FILE_OF("lost"));
		read_text(m, NULL, FILE_OF("power_watts"), d->power, sizeof(d->power));
#undef FILE_OF
	}
}

static void read_message(struct rktop_message *message, char *text)
{
	char *key, *value;

	while ((key = next_pair(&text, &value))) {
		if (strcmp(key, "kernel") == 0)
			snprintf(message->kernel, sizeof(message->kernel), "%s", value);
		else if (strcmp(key, "state") == 0)
			snprintf(message->state, sizeof(message->state), "%s", value);
		else if (strcmp(key, "age_ms") == 0)
			message->age_ms = parse(value);
		else if (strcmp(key, "uid") == 0)
			message->uid = parse(value);
		else if (strcmp(key, "pid") == 0)
			message->pid = parse(value);
	}
}

static void read_messages(struct rktop_snapshot *s, const struct rkcall_mount *m)
{
	int fd = openat(m->fd, "inflight", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;

	s->nmessages = 0;
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	while ((entry = readdir(dir)) && s->nmessages < RKTOP_FLIGHT) {
		struct rktop_message *message = &s->messages[s->nmessages];
		char path[300], *text;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "inflight/%s", entry->d_name);
		text = rkcall_value(m, NULL, path);
		if (!text) /* it has ended meanwhile */
			continue;
		*message = (struct rktop_message){.id = parse(entry->d_name)};
		read_message(message, text);
		free(text);
		s->nmessages++;
	}
	closedir(dir);
}

void rktop_read(struct rktop_snapshot *s, const char *dir)
{
	struct rkcall_mount m;
	struct rk_error err;

	s->problem[0] = '\0';
	if (rkcall_mount_open(&m, dir, RKFS_MOUNTINFO, &err)) {
		snprintf(s->problem, sizeof(s->problem), "%s", err.msg);
		s->at_ns = rk_now_ns();
		return;
	}
	snprintf(s->mount, sizeof(s->mount), "%s", m.dir);
	read_text(&m, NULL, "version", s->version, sizeof(s->version));
	read_text(&m, NULL, "state", s->state, sizeof(s->state));
	read_text(&m, NULL, "health/status", s->health, sizeof(s->health));
	read_text(&m, NULL, "health/reason", s->reason, sizeof(s->reason));
	read_totals(s, &m);
	s->at_ns = rk_now_ns(); /* when the counters were read: rates are made of both */
	s->drain_left_secs = read_number(&m, NULL, "drain/deadline_secs");
	s->drain_remaining = read_number(&m, NULL, "drain/remaining");
	read_kernels(s, &m);
	read_devices(s, &m);
	read_workers(s, &m);
	read_messages(s, &m);
	if (!s->state[0])
		snprintf(s->problem, sizeof(s->problem), "%s: the mount is gone", m.dir);
	rkcall_mount_close(&m);
}

/* --- the process --- */

_Noreturn static void reader_main(struct rktop_reader *r)
{
	for (;;) {
		uint64_t began = rk_now_ns(), took;

		pthread_mutex_lock(&r->lock);
		r->asked_ns = began;
		pthread_mutex_unlock(&r->lock);
		rktop_read(&r->next, r->dir);
		pthread_mutex_lock(&r->lock);
		r->asked_ns = 0;
		r->last = r->next;
		pthread_mutex_unlock(&r->lock);
		rk_wake(r->news);
		took = (rk_now_ns() - began) / RK_NS_PER_MS;
		if (took < r->delay_ms)
			(void)poll(NULL, 0, (int)(r->delay_ms - took));
	}
}

/* Let go of the terminal, which is to close when the caller ends, and end with it. */
static bool detach(pid_t parent)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	return null >= 0 && dup2(null, 0) >= 0 && dup2(null, 1) >= 0 && dup2(null, 2) >= 0 &&
	       prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
}

static int share_lock(struct rktop_reader *r)
{
	pthread_mutexattr_t attr;
	int rc = pthread_mutexattr_init(&attr);

	if (!rc)
		rc = pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	return rc ? rc : pthread_mutex_init(&r->lock, &attr);
}

int rktop_reader_start(struct rktop_reader **reader, const char *dir, unsigned int delay_ms,
		       struct rk_error *err)
{
	pid_t parent = getpid(), child;
	struct rktop_reader *r =
		mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int rc;

	if (r == MAP_FAILED)
		return rk_error_set(err, errno, "no memory: %m");
	r->dir = dir;
	r->delay_ms = delay_ms;
	r->news = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (r->news < 0)
		return rk_error_set(err, errno, "cannot create a descriptor: %m");
	rc = share_lock(r);
	if (rc)
		return rk_error_set(err, rc, "cannot create a mutex: %m");
	child = fork();
	if (child < 0)
		return rk_error_set(err, errno, "cannot start the reader: %m");
	if (child == 0) {
		if (detach(parent))
			reader_main(r);
		_exit(EXIT_FAILURE);
	}
	*reader = r;
	return 0;
}

uint64_t rktop_reader_get(struct rktop_reader *r, struct rktop_snapshot *s)
{
	RK_GUARD(&r->lock);
	*s = r->last;
	return r->asked_ns ? rk_now_ns() - r->asked_ns : 0;
}
