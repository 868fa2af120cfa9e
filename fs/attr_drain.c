/* SPDX-License-Identifier: MIT */
/* drain/: what holds up a drain, and for how long it may. ENODATA outside one. */
#include <errno.h>
#include <stdlib.h>

#include "fs/node.h"

static int deadline_secs_show(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
			      struct rkfs_textbuf *out)
{
	int64_t left = rk_runtime_drain_left_ms(subject->fs->rt);

	(void)attr;
	if (left < 0)
		return (int)left;
	rkfs_textbuf_u64_line(out, ((unsigned long long)left + 999) / 1000);
	return 0;
}

static int remaining_show(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
			  struct rkfs_textbuf *out)
{
	struct rk_runtime *rt = subject->fs->rt;
	int64_t left = rk_runtime_drain_left_ms(rt);

	(void)attr;
	if (left < 0)
		return (int)left;
	rkfs_textbuf_u64_line(out, rk_dispatch_in_flight(rk_runtime_dispatch(rt)));
	return 0;
}

struct stuck {
	struct rk_message_info *info; /* owned */
	size_t count, size;
};

/* Append the messages of @k. 0 or -ENOMEM. */
static int stuck_add(struct stuck *s, struct rk_dispatch *d, struct rk_kernel *k)
{
	for (;;) {
		size_t room = s->size - s->count;
		size_t n = rk_dispatch_list(d, k, s->info ? s->info + s->count : NULL, room);
		struct rk_message_info *grown;

		if (n <= room) {
			s->count += n;
			return 0;
		}
		/* and some more, since more may have come until the next try */
		grown = reallocarray(s->info, s->count + n + 16, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		s->info = grown;
		s->size = s->count + n + 16;
	}
}

static int stuck_collect(struct stuck *s, struct rk_runtime *rt)
{
	struct rk_registry *reg = rk_runtime_registry(rt);
	struct rk_kernel *k;
	uint32_t slot = 0;
	int rc = 0;

	while (!rc && (k = rk_registry_next(reg, slot, 0))) {
		rc = stuck_add(s, rk_runtime_dispatch(rt), k);
		slot = k->slot + 1;
		rk_kernel_unref(k);
	}
	return rc;
}

static int by_id(const void *a, const void *b)
{
	const struct rk_message_info *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static int stuck_show(const struct rkfs_attr *attr, const struct rkfs_subject *subject,
		      struct rkfs_textbuf *out)
{
	struct rk_runtime *rt = subject->fs->rt;
	int64_t left = rk_runtime_drain_left_ms(rt);
	struct stuck s = {0};
	int rc;

	(void)attr;
	if (left < 0)
		return (int)left;
	rc = stuck_collect(&s, rt);
	if (!rc && s.count)
		qsort(s.info, s.count, sizeof(*s.info), by_id);
	for (size_t i = 0; !rc && i < s.count; i++) {
		const struct rk_message_info *m = &s.info[i];

		rkfs_textbuf_printf(out, "%llu kernel=%s state=%s age_ms=%llu uid=%u pid=%d\n",
				    (unsigned long long)m->id, m->kernel,
				    m->state == RK_MESSAGE_RUNNING ? "running" : "queued",
				    (unsigned long long)m->age_ms, m->uid, m->pid);
	}
	free(s.info);
	return rc;
}

static const struct rkfs_attr rows[] = {
	{.name = "deadline_secs", .mode = 0444, .show = deadline_secs_show},
	{.name = "remaining", .mode = 0444, .show = remaining_show},
	{.name = "stuck", .mode = 0444, .show = stuck_show},
};

const struct rkfs_attrs rkfs_drain_attrs = {rows, sizeof(rows) / sizeof(rows[0])};
