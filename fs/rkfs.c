/* SPDX-License-Identifier: MIT */
/* The filesystem as a whole: what each directory holds, and what the runtime tells. */
#include "fs/node.h"

#include <time.h>

#include "fs/files/files.h"
#include "fs/looks.h"

#define HELD_PER_USER                                                                              \
	(16UL << 20) /* bytes of the open files of one user, root and the daemon's aside */

static void on_news(void *ctx, enum rk_news news)
{
	struct rkfs *fs = ctx;

	switch (news) {
	case RK_NEWS_STATE:
		atomic_fetch_add(&fs->changes, 1);
		/* fall through */
	case RK_NEWS_HEALTH: /* who waits to be ready waits with those who wait for a state */
		rkfs_waitq_wake(&fs->state_wait);
		break;
	case RK_NEWS_WORKER:
		atomic_fetch_add(&fs->moves, 1);
		rkfs_waitq_wake(&fs->state_wait);
		break;
	case RK_NEWS_EVENT:
		rkfs_waitq_wake(&fs->event_wait);
		break;
	case RK_NEWS_CONFIG:
		break;
	}
}

int rkfs_init(struct rkfs *fs)
{
	int rc;

	fs->observer = (struct rk_runtime_observer){.tell = on_news, .ctx = fs};
	rkfs_access_init(&fs->access);
	rc = rkfs_access_complete(&fs->access, NULL);
	if (rc)
		return rc;
	clock_gettime(CLOCK_REALTIME, &fs->born);
	TAILQ_INIT(&fs->files);
	rk_accounts_init(&fs->held, UINT64_MAX, HELD_PER_USER);
	fs->attrs[RKFS_ROOT] = rkfs_root_attrs;
	fs->attrs[RKFS_STATS] = rkfs_stats_attrs;
	fs->attrs[RKFS_CONFIG] = rkfs_config_attrs;
	fs->attrs[RKFS_HEALTH] = rkfs_health_attrs;
	fs->attrs[RKFS_WAIT] = rkfs_wait_attrs;
	fs->attrs[RKFS_DRAIN] = rkfs_drain_attrs;
	fs->attrs[RKFS_INFLIGHT] = rkfs_inflight_attrs;
	fs->attrs[RKFS_KERNEL] = rkfs_kernel_attrs;
	fs->attrs[RKFS_DEVICE] = rkfs_device_attrs;
	fs->attrs[RKFS_WORKER] = rkfs_worker_attrs;
	rc = rkfs_looks_create(&fs->looks);
	if (rc)
		return rc;
	rc = rkfs_shared_texts_init(&fs->shared_texts);
	if (rc)
		goto free_looks;
	rc = -pthread_mutex_init(&fs->files_lock, NULL);
	if (rc)
		goto free_texts;
	rc = rkfs_waitq_init(&fs->state_wait);
	if (rc)
		goto free_lock;
	rc = rkfs_waitq_init(&fs->event_wait);
	if (rc)
		goto free_state;
	rc = rkfs_waitq_init(&fs->command_wait);
	if (rc)
		goto free_event;
	rc = rkfs_commands_create(fs);
	if (!rc)
		return 0;
	rkfs_waitq_destroy(&fs->command_wait);
free_event:
	rkfs_waitq_destroy(&fs->event_wait);
free_state:
	rkfs_waitq_destroy(&fs->state_wait);
free_lock:
	pthread_mutex_destroy(&fs->files_lock);
free_texts:
	rkfs_shared_texts_destroy(&fs->shared_texts);
free_looks:
	rkfs_looks_destroy(fs->looks);
	return rc;
}

void rkfs_destroy(struct rkfs *fs)
{
	rkfs_commands_destroy(fs);
	rkfs_waitq_destroy(&fs->command_wait);
	rkfs_waitq_destroy(&fs->event_wait);
	rkfs_waitq_destroy(&fs->state_wait);
	pthread_mutex_destroy(&fs->files_lock);
	rkfs_shared_texts_destroy(&fs->shared_texts);
	rk_accounts_destroy(&fs->held);
	rkfs_looks_destroy(fs->looks);
}
