/* SPDX-License-Identifier: MIT */
/*
 * What the fake libcuda.so.1 exports for tests beside the driver's own functions; README in this
 * folder says what the library is. A program that opened it finds these by dlsym(3).
 */
#ifndef RK_TESTS_FAKE_CUDA_H
#define RK_TESTS_FAKE_CUDA_H

#include <stdint.h>

/*
 * Counters from the process's start, and gauges: what there is at this moment. X(name); the same
 * names are in the lines of the ledger.
 */
/* clang-format off */
#define FAKE_CUDA_GAUGES(X)                                                                        \
	X(contexts)                                                                                \
	X(device_blocks) /* cuMemAlloc, cuMemAllocAsync and so on, not yet freed */                \
	X(device_bytes)  /* of those; pools as reserved */                                         \
	X(managed_blocks)                                                                          \
	X(host_blocks)                                                                             \
	X(host_bytes)                                                                              \
	X(streams)                                                                                 \
	X(events)                                                                                  \
	X(modules)                                                                                 \
	X(pools)                                                                                   \
	X(resident) /* kernels in the loop of a ring */
#define FAKE_CUDA_COUNTERS(X)                                                                      \
	X(calls)                                                                                   \
	X(polls)             /* of these, those that ask whether something is over */             \
	X(launches)                                                                                \
	X(cooperative)                                                                             \
	X(ring_launches)                                                                           \
	X(ring_messages)                                                                           \
	X(copies)                                                                                  \
	X(bytes_to_device)                                                                         \
	X(bytes_to_host)                                                                           \
	X(memsets)                                                                                 \
	X(allocations)       /* of device memory */                                                \
	X(async_allocations) /* of these, in the order of a stream */                              \
	X(host_allocations)                                                                        \
	X(module_loads)                                                                            \
	X(synchronising)     /* calls that wait for the whole context */                           \
	X(beside_resident)   /* of these, while a kernel was resident: each would hang */          \
	X(misuses)           /* what the library complained about on stderr */                     \
	X(leaked)            /* blocks and handles that the release of a context found */
/* clang-format on */

/* The counter or gauge @name; UINT64_MAX where there is none of that name. Any thread. */
uint64_t fake_cuda_count(const char *name);
typedef uint64_t fake_cuda_count_fn(const char *name);

#endif
