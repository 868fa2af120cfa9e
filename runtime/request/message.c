/* SPDX-License-Identifier: MIT */
/* Makes, settles and frees messages. */
#include "runtime/request/message.h"

#include <stdlib.h>

struct rk_message *rk_message_new(struct rk_kernel *kernel, uid_t uid, pid_t pid)
{
	struct rk_message *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	atomic_init(&m->refs, 1);
	m->kernel = rk_kernel_ref(kernel);
	m->uid = uid;
	m->pid = pid;
	rk_plan_init(&m->plan, &kernel->manifest);
	atomic_fetch_add(&kernel->pins, 1); /* not rk_kernel_pin: the maker has one already */
	return m;
}

void rk_message_settle(struct rk_message *m)
{
	if (m->settled)
		return;
	m->settled = true;
	rk_kernel_unpin(m->kernel);
}

struct rk_message *rk_message_ref(struct rk_message *m)
{
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

void rk_message_unref(struct rk_message *m)
{
	if (!m || atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) != 1)
		return;
	rk_message_settle(m);
	rk_payload_free(&m->block);
	rk_kernel_unref(m->kernel);
	free(m);
}
