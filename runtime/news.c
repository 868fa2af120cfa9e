/* SPDX-License-Identifier: MIT */
/* What is told of the runtime: news to its observers, and events. */
#include <errno.h>

#include "runtime/internal.h"

void rk_runtime_tell(const struct rk_runtime *rt, enum rk_news news)
{
	for (const struct rk_runtime_observer *o = rt->observer; o; o = o->next)
		o->tell(o->ctx, news);
}

void rk_runtime_event(struct rk_runtime *rt, const char *name, json_t *fields)
{
	rk_events_add(&rt->events, name, fields);
	rk_runtime_tell(rt, RK_NEWS_EVENT);
}

void rk_runtime_message_failed(struct rk_runtime *rt, const struct rk_kernel *k, uint64_t id,
			       const struct rk_caller *caller, const struct rk_error *err)
{
	char why[RK_ERROR_MAX];

	if (err->code == ECANCELED || err->code == ESHUTDOWN)
		return;
	rk_error_public(err, why);
	rk_runtime_event(rt, id ? "MessageFailed" : "MessageRejected",
			 json_pack("{s:I,s:s,s:s,s:o,s:i,s:i}", "id", (json_int_t)id, "kernel",
				   k->manifest.id, "errno", rk_error_name(err->code), "why",
				   rk_events_text(why), "uid", (int)caller->uid, "pid",
				   (int)caller->pid));
}
