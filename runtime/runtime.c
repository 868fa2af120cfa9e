/* SPDX-License-Identifier: MIT */
/* Birth and death of the runtime. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/base/log.h"
#include "runtime/internal.h"

static int create_parts(struct rk_runtime *rt, const struct rk_config *config, int worker_fd,
			struct rk_error *err)
{
	struct rk_dispatch_observer dispatch_observer = rk_runtime_dispatch_observer;
	struct rk_supervisor_observer supervisor_observer = rk_runtime_supervisor_observer;
	struct rk_health_observer health_observer = rk_runtime_health_observer;
	struct rk_means means;
	int rc;

	dispatch_observer.ctx = supervisor_observer.ctx = health_observer.ctx = rt;
	if (rk_lifecycle_init(&rt->lifecycle) || rk_events_init(&rt->events) ||
	    rk_dispatch_init(&rt->dispatch, &dispatch_observer) ||
	    rk_registry_create(&rt->registry) || pthread_mutex_init(&rt->command_lock, NULL) ||
	    pthread_mutex_init(&rt->config_lock, NULL) ||
	    pthread_mutex_init(&rt->text_lock, NULL) || pthread_mutex_init(&rt->memory_lock, NULL))
		return rk_error_set(err, ENOMEM, "no memory for the runtime");
	rc = rk_runtime_jobs_init(rt, err);
	if (rc)
		return rc;
	rc = rk_runtime_make_means(config, &means, err);
	if (rc)
		return rc;
	if (!means.user.other && !*config->worker_user && geteuid() == 0)
		rk_log(RK_LOG_WARN, "kernels run as root, for there is no user " RK_WORKER_USER
				    ": make it, or set worker_user");
	rc = rk_supervisor_create(&rt->supervisor, &rt->dispatch, rt->registry, worker_fd,
				  &supervisor_observer, err);
	if (!rc)
		rc = rk_health_create(&rt->health, &rt->dispatch, rt->registry, rt->supervisor,
				      &health_observer, err);
	if (!rc) {
		rk_runtime_adopt_config(rt, config, &means);
		rc = rk_runtime_register_kernels(rt, err);
	}
	rk_payload_unref(means.payload);
	return rc;
}

int rk_runtime_create(struct rk_runtime **out, const struct rk_config_sources *sources,
		      int worker_fd, const struct rk_runtime_observer *observer,
		      struct rk_error *err)
{
	struct rk_config *config = malloc(sizeof(*config));
	struct rk_runtime *rt = calloc(1, sizeof(*rt));
	int rc;

	if (!rt || !config)
		rc = rk_error_set(err, ENOMEM, "no memory for the runtime");
	else
		rc = rk_config_load(config, sources, err);
	if (!rc)
		rc = rk_runtime_copy_sources(rt, sources, err);
	if (!rc) {
		strcpy(rt->status.msg, "ok");
		rt->observer = observer;
		rc = create_parts(rt, config, worker_fd, err);
	}
	free(config);
	if (rc) {
		rk_runtime_destroy(rt);
		return rc;
	}
	*out = rt;
	return 0;
}

/* Who still waits for an answer gets one, and the messages their end. */
static void end_in_flight(struct rk_runtime *rt)
{
	struct rk_message_list held = TAILQ_HEAD_INITIALIZER(held);
	uint64_t ended;

	rk_dispatch_accept(&rt->dispatch, false);
	ended = rk_dispatch_end_all(&rt->dispatch, ECANCELED, "the runtime has ended", &held);
	rk_dispatch_flush(&rt->dispatch);
	rk_supervisor_stop(rt->supervisor, ended, &held);
}

void rk_runtime_destroy(struct rk_runtime *rt)
{
	if (!rt)
		return;
	rk_health_end(rt->health);
	if (rt->supervisor)
		end_in_flight(rt);
	rk_supervisor_destroy(rt->supervisor);
	rk_health_destroy(rt->health);
	rk_registry_destroy(rt->registry);
	rk_dispatch_destroy(&rt->dispatch);
	if (rt->events.ring)
		rk_events_destroy(&rt->events);
	rk_lifecycle_destroy(&rt->lifecycle);
	rk_payload_unref(rt->means.payload);
	rk_runtime_free_sources(rt);
	pthread_mutex_destroy(&rt->command_lock);
	pthread_mutex_destroy(&rt->config_lock);
	pthread_mutex_destroy(&rt->text_lock);
	rk_runtime_jobs_destroy(rt);
	pthread_mutex_destroy(&rt->memory_lock);
	free(rt);
}
