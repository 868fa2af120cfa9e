/* SPDX-License-Identifier: MIT */
/* The outcome of commands: a line of the log, and last_cmd_status. */
#include <stdio.h>
#include <string.h>

#include "runtime/base/log.h"
#include "runtime/internal.h"

void rk_runtime_set_status(struct rk_runtime *rt, const char *sentence)
{
	pthread_mutex_lock(&rt->text_lock);
	snprintf(rt->status, sizeof(rt->status), "%s", sentence);
	pthread_mutex_unlock(&rt->text_lock);
}

void rk_runtime_status(struct rk_runtime *rt, char sentence[RK_ERROR_MAX])
{
	pthread_mutex_lock(&rt->text_lock);
	memcpy(sentence, rt->status, RK_ERROR_MAX);
	pthread_mutex_unlock(&rt->text_lock);
}

int rk_runtime_conclude(struct rk_runtime *rt, const char *what, const struct rk_caller *caller,
			int rc, const struct rk_error *why, struct rk_error *err)
{
	char who[64] = "the daemon";

	if (caller)
		snprintf(who, sizeof(who), "uid %u pid %d", caller->uid, caller->pid);
	rk_runtime_set_status(rt, rc ? why->msg : "ok");
	if (rc)
		rk_log(RK_LOG_WARN, "%s from %s refused: %s", what, who, why->msg);
	else
		rk_log(RK_LOG_INFO, "%s from %s", what, who);
	if (rc && err)
		*err = *why;
	return rc;
}

int rk_runtime_refuse(struct rk_runtime *rt, const char *what, const struct rk_caller *caller,
		      const struct rk_error *why)
{
	return rk_runtime_conclude(rt, what, caller, -why->code, why, NULL);
}
