/* SPDX-License-Identifier: MIT */
/* The outcome of commands: a line of the log, and last_cmd_status. */
#include <stdio.h>
#include <string.h>

#include "runtime/base/clock.h"
#include "runtime/base/log.h"
#include "runtime/internal.h"

#define REFUSALS_PER_SECOND 20 /* that are logged */

void rk_runtime_set_status(struct rk_runtime *rt, const struct rk_error *sentence)
{
	RK_GUARD(&rt->text_lock);
	rt->status = *sentence;
}

void rk_runtime_status(struct rk_runtime *rt, uid_t reader, char sentence[RK_ERROR_MAX])
{
	RK_GUARD(&rt->text_lock);
	rk_error_show(&rt->status, reader, 0, sentence);
}

/* Whoever is refused can try as often as he likes: not every line has to be in the log. */
static void log_refusal(struct rk_runtime *rt, const char *what, const char *who, const char *why)
{
	uint64_t unsaid;
	bool allowed;

	pthread_mutex_lock(&rt->text_lock);
	allowed = rk_rate_allows(&rt->refusals, REFUSALS_PER_SECOND, rk_now_ns(), &unsaid);
	pthread_mutex_unlock(&rt->text_lock);
	if (!allowed)
		return;
	if (unsaid)
		rk_log(RK_LOG_WARN, "%llu refusals before this one were not logged",
		       (unsigned long long)unsaid);
	rk_log(RK_LOG_WARN, "%s from %s refused: %s", what, who, why);
}

int rk_runtime_conclude(struct rk_runtime *rt, const char *what, const struct rk_caller *caller,
			int rc, const struct rk_error *why, struct rk_error *err)
{
	char who[64] = "the daemon", shown[RK_ERROR_MAX];

	if (caller)
		snprintf(who, sizeof(who), "uid %u pid %d", caller->uid, caller->pid);
	rk_runtime_set_status(rt, rc ? why : &(struct rk_error){.msg = "ok"});
	if (rc) {
		rk_error_public(why, shown);
		log_refusal(rt, what, who, shown);
	} else {
		rk_log(RK_LOG_INFO, "%s from %s", what, who);
	}
	if (rc && err)
		*err = *why;
	return rc;
}

int rk_runtime_refuse(struct rk_runtime *rt, const char *what, const struct rk_caller *caller,
		      const struct rk_error *why)
{
	return rk_runtime_conclude(rt, what, caller, -why->code, why, NULL);
}
