/* SPDX-License-Identifier: MIT */
#ifndef RK_GPU_WORKER_H
#define RK_GPU_WORKER_H

/*
 * A worker's whole life, over its four descriptors (runtime/base/wire.h), which are borrowed: serve
 * control packets in the calling thread until SHUTDOWN, and messages in threads of its own. Log
 * lines go to the daemon as RK_WIRE_LOG packets meanwhile. Blocks.
 *
 * Returns 0, the exit status, after SHUTDOWN; what the daemon had sent by then is answered. Ends
 * the whole process, whatever still runs in it, with RK_WIRE_EXIT_PROTOCOL on a bad packet, with 0
 * once the daemon is gone, with RK_WORKER_EXIT_FAILURE where a socket fails or the driver hangs in
 * a check, and with 0 where NVML hangs after SHUTDOWN.
 */
int rk_worker_run(int control, int messages, int payload, int shared);

#endif
