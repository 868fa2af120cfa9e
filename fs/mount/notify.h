/* SPDX-License-Identifier: MIT */
/*
 * What the daemon tells a service manager, by systemd's protocol (sd_notify(3)). Without one, and
 * in a build without libsystemd, nothing is told. For the control thread; never blocks for long: a
 * datagram to a local socket.
 */
#ifndef RKFS_MOUNT_NOTIFY_H
#define RKFS_MOUNT_NOTIFY_H

/* The mount is served. */
void rkfs_notify_ready(void);

/* What `systemctl status` shows: "STATE" or "STATE: WHY" (@why NULL or ""). */
void rkfs_notify_status(const char *state, const char *why);

/* A reload has begun; rkfs_notify_ready tells its end. */
void rkfs_notify_reloading(void);

/* The daemon is ending: may take as long as a drain. */
void rkfs_notify_stopping(void);

#endif
