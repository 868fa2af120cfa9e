/* SPDX-License-Identifier: MIT */
/* What a service manager is told. */
#include "fs/mount/internal.h"

#include <inttypes.h>
#include <string.h>

#include "runtime/base/clock.h"
#include "runtime/base/log.h"

#ifdef RK_HAVE_SYSTEMD
#include <systemd/sd-daemon.h>

static void tell(const char *text)
{
	int rc = sd_notify(0, text);

	if (rc < 0)
		rk_log(RK_LOG_WARN, "cannot notify the service manager: %s", strerror(-rc));
}
#else
static void tell(const char *text)
{
	(void)text;
}
#endif

void rkfs_notify_ready(void)
{
	tell("READY=1");
}

void rkfs_notify_status(const char *state, const char *why)
{
	char text[RK_ERROR_MAX + 64];

	snprintf(text, sizeof(text), "STATUS=%s%s%s", state, why && why[0] ? ": " : "",
		 why ? why : "");
	tell(text);
}

void rkfs_notify_reloading(void)
{
	char text[64];

	/* the time tells systemd which of several reloads this is */
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, rk_now_ns() / 1000);
	tell(text);
}

void rkfs_notify_stopping(void)
{
	tell("STOPPING=1");
}
