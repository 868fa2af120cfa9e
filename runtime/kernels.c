/* SPDX-License-Identifier: MIT */
/* The runtime's kernels: registration and scans of kernels_dir. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/base/files.h"
#include "runtime/kernel/kernels_dir.h"
#include "runtime/base/log.h"
#include "runtime/internal.h"

void rk_runtime_expect_kernel(struct rk_runtime *rt, struct rk_kernel *k)
{
	enum rk_state state = rk_runtime_state(rt);

	if ((state == RK_RUNNING || state == RK_DRAINING) && atomic_load(&k->wanted))
		rk_dispatch_kernel_expect(&rt->dispatch, k);
}

static void tell(struct rk_runtime *rt, const char *event, struct rk_kernel *k)
{
	const char *id = k->manifest.id;

	rk_runtime_event(rt, event,
			 json_pack("{s:s,s:s}", "id", id, "version", k->manifest.version));
	rk_log(RK_LOG_INFO, "%s %s", event, id);
}

static void on_added(void *ctx, struct rk_kernel *k)
{
	rk_runtime_expect_kernel(ctx, k);
	tell(ctx, "KernelRegistered", k);
}

static void on_changed(void *ctx, struct rk_kernel *k)
{
	rk_runtime_expect_kernel(ctx, k);
	tell(ctx, "KernelChanged", k);
}

static void on_removed(void *ctx, struct rk_kernel *k)
{
	tell(ctx, "KernelUnregistered", k);
}

static void on_refused(void *ctx, const char *file, const struct rk_error *err)
{
	char why[RK_ERROR_MAX];

	rk_error_public(err, why);
	rk_runtime_event(
		ctx, "KernelRefused",
		json_pack("{s:o,s:o}", "file", rk_events_text(file), "why", rk_events_text(why)));
	rk_log(RK_LOG_ERROR, "%s", why);
}

static void on_unused(void *ctx)
{
	struct rk_runtime *rt = ctx;

	rk_supervisor_kernels_changed(rt->supervisor);
}

static struct rk_kernels_observer observer_of(struct rk_runtime *rt)
{
	return (struct rk_kernels_observer){
		.added = on_added,
		.changed = on_changed,
		.removed = on_removed,
		.refused = on_refused,
		.ctx = rt,
	};
}

/* Whether it is this thread's turn; else whoever scans will do so again. */
static bool begin_scan(struct rk_runtime *rt)
{
	bool mine;

	RK_GUARD(&rt->job_lock);
	mine = !rt->scanning;
	rt->scanning = true;
	rt->scan_again = !mine;
	return mine;
}

/* False where somebody has asked for another scan meanwhile. */
static bool end_scan(struct rk_runtime *rt)
{
	bool over;

	RK_GUARD(&rt->job_lock);
	over = !rt->scan_again;
	rt->scan_again = false;
	rt->scanning = !over;
	return over;
}

int rk_runtime_scan_kernels(struct rk_runtime *rt, struct rk_files *files, struct rk_error *err)
{
	const struct rk_kernels_observer observer = observer_of(rt);
	struct rk_config *config = malloc(sizeof(*config));
	int refused;

	if (!config) {
		rk_error_set(err, ENOMEM, "kernels_dir: no memory");
		return 1;
	}
	if (!begin_scan(rt)) {
		free(config);
		return 0;
	}
	do {
		rk_runtime_config(rt, config);
		refused = rk_kernels_scan(rt->registry, files, config->kernels_dir, &observer, err);
	} while (!end_scan(rt));
	free(config);
	rk_supervisor_kernels_changed(rt->supervisor);
	return refused;
}

int rk_runtime_register_kernels(struct rk_runtime *rt, struct rk_error *err)
{
	const struct rk_kernels_observer observer = observer_of(rt);
	int rc;

	rk_registry_on_unused(rt->registry, on_unused, rt);
	rc = rk_kernels_builtin(rt->registry, &observer, err);
	if (!rc)
		rk_runtime_scan_kernels(rt, rt->reading[RK_JOB_RESET], NULL);
	rk_files_rest(rt->reading[RK_JOB_RESET]);
	return rc;
}
