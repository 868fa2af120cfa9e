/* SPDX-License-Identifier: MIT */
/* Makes memory files. */
#include "runtime/base/memfd.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define NAME_ROOM 64 /* the kernel takes 249 bytes */

int rk_memfd_create(const char *name)
{
	char cut[NAME_ROOM];
	int fd;

	snprintf(cut, sizeof(cut), "%s", name);
	fd = memfd_create(cut, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL) /* Linux before 6.3 has only executable ones */
		fd = memfd_create(cut, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd < 0 ? -errno : fd;
}
