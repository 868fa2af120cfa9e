/* SPDX-License-Identifier: MIT */
/*
 * rk-worker: started by mount.rkfs with the descriptors that runtime/base/wire.h names; or as
 * `rk-worker --list`, to print the UUID of each device that there is to run on, a line for each.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "gpu/base/packet.h"
#include "gpu/nvml/list.h"
#include "gpu/worker.h"
#include "runtime/base/wire.h"

#define EXIT_USAGE  2
#define STACK_BYTES (8UL << 20) /* of a thread: the usual limit of a shell */

static bool is_seqpacket(int fd)
{
	int type;
	socklen_t len = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
}

/*
 * A terminal sends its signals to the whole process group. The daemon decides what they
 * mean, and needs this worker for the drain.
 */
static int ignore_group_signals(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ};

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (signal(signals[i], SIG_IGN) == SIG_ERR)
			return -errno;
	return 0;
}

/*
 * Each user library keeps a descriptor open, so the limit is raised. The soft limit is low only for
 * the sake of select(2), which nothing here uses.
 */
static int raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	limit.rlim_cur = limit.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? -errno : 0;
}

/* What a kernel may have on its stack must not depend on the limits of whoever mounted. */
static int set_stack(void)
{
	pthread_attr_t attr;
	int rc = pthread_attr_init(&attr);

	if (rc)
		return -rc;
	rc = pthread_attr_setstacksize(&attr, STACK_BYTES);
	if (!rc)
		rc = pthread_setattr_default_np(&attr);
	pthread_attr_destroy(&attr);
	return -rc;
}

static int set_up(void)
{
	int rc = ignore_group_signals();

	if (rc == 0)
		rc = raise_descriptor_limit();
	if (rc == 0)
		rc = set_stack();
	if (rc == 0 && prctl(PR_SET_NAME, "rk-worker") < 0)
		rc = -errno;
	return rc;
}

/* Their UUIDs, or the reason why they are not known, in the one place where that is read. */
static int print_list(void)
{
	const char *order = getenv("CUDA_DEVICE_ORDER");
	struct rk_error err = {0};
	struct rk_listed listed;
	int rc;

	if (order && strcmp(order, "PCI_BUS_ID") != 0)
		rc = rk_error_set(&err, EINVAL, "CUDA_DEVICE_ORDER is not PCI_BUS_ID but %.64s",
				  order);
	else
		rc = rk_devices_list(&listed, &err);
	if (rc) {
		puts(err.msg);
	} else {
		rk_devices_list_visible(&listed, getenv("CUDA_VISIBLE_DEVICES"));
		for (unsigned int i = 0; i < listed.count; i++)
			puts(listed.uuids[i][0] ? listed.uuids[i] : "unknown");
	}
	return fflush(stdout) || rc ? RK_WORKER_EXIT_FAILURE : 0;
}

int main(int argc, char **argv)
{
	bool lists = argc == 2 && strcmp(argv[1], RK_WIRE_LIST_OPTION) == 0;
	int rc;

	if (!lists && (!is_seqpacket(RK_WIRE_FD_CONTROL) || !is_seqpacket(RK_WIRE_FD_MESSAGES))) {
		fputs("rk-worker is started by mount.rkfs; it is not a command for users\n",
		      stderr);
		return EXIT_USAGE;
	}
	rc = set_up();
	if (rc) {
		fprintf(stderr, "rk-worker: cannot set up its process: %s\n", strerror(-rc));
		return RK_WORKER_EXIT_FAILURE;
	}
	return lists ? print_list()
		     : rk_worker_run(RK_WIRE_FD_CONTROL, RK_WIRE_FD_MESSAGES, RK_WIRE_FD_PAYLOAD,
				     RK_WIRE_FD_SHARED);
}
