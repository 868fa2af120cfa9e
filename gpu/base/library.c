/* SPDX-License-Identifier: MIT */
/* Reading a user's library or module, and naming it in a sentence. */
#include "gpu/base/library.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define PATH_SHOWN 100 /* bytes of a path in a sentence */

const char *rk_library_path_shown(const char *path)
{
	size_t len = strlen(path);

	return len > PATH_SHOWN ? path + len - PATH_SHOWN : path;
}

ssize_t rk_library_read(int fd, void *buf, size_t size, uint64_t offset)
{
	size_t len = 0;

	while (len < size) {
		ssize_t n = pread(fd, (char *)buf + len, size - len, (off_t)(offset + len));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}
