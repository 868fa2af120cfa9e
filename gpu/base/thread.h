/* SPDX-License-Identifier: MIT */
/* The names of the worker's threads, as ps and top show them. */
#ifndef RK_GPU_BASE_THREAD_H
#define RK_GPU_BASE_THREAD_H

/* Name the calling thread; at most 15 bytes of the name count. A failure is logged. */
void rk_thread_name(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
