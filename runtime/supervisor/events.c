/* SPDX-License-Identifier: MIT */
/* What the supervisor's thread waits for. */
#include <errno.h>
#include <sys/epoll.h>

#include "runtime/base/thread.h"
#include "runtime/supervisor/internal.h"

void rk_supervisor_wake(struct rk_supervisor *sup)
{
	rk_wake(sup->event.fd);
}

int rk_supervisor_watch(struct rk_supervisor *sup, struct rk_source *source)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = source};

	return epoll_ctl(sup->epoll, EPOLL_CTL_ADD, source->fd, &ev) ? -errno : 0;
}

void rk_supervisor_unwatch(struct rk_supervisor *sup, struct rk_source *source)
{
	if (source->fd < 0)
		return;
	(void)epoll_ctl(sup->epoll, EPOLL_CTL_DEL, source->fd, NULL);
	source->fd = -1;
}
