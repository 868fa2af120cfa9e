/* SPDX-License-Identifier: MIT */
/* rkcall: the encodings of requests and answers, one row each. */
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "fs/client/rkcall.h"

const struct rkcall_encoding rkcall_encodings[] = {
	{"json", "call.json", {".json"}, false},
	{"safetensors", "call.safetensors", {".safetensors"}, true},
	{"raw", "call.raw", {".raw", ".bin"}, true},
	{0},
};

const struct rkcall_encoding *rkcall_encoding_find(const char *name)
{
	for (const struct rkcall_encoding *e = rkcall_encodings; e->name; e++)
		if (strcmp(e->name, name) == 0)
			return e;
	return NULL;
}

const struct rkcall_encoding *rkcall_encoding_of(const char *path)
{
	size_t len = strlen(path);

	for (const struct rkcall_encoding *e = rkcall_encodings; e->name; e++) {
		for (const char *const *ext = e->extensions; *ext; ext++) {
			size_t n = strlen(*ext);

			if (len > n && strcmp(path + len - n, *ext) == 0)
				return e;
		}
	}
	return NULL;
}

bool rkcall_call_path(char path[PATH_MAX], const char *kernel,
		      const struct rkcall_encoding *encoding)
{
	return snprintf(path, PATH_MAX, "kernels/%s/%s", kernel, encoding->file) < PATH_MAX;
}

void rkcall_encodings_print(const struct rkcall_mount *m, const char *kernel, char *buf,
			    size_t size)
{
	char path[PATH_MAX];
	size_t len = 0;

	buf[0] = '\0';
	for (const struct rkcall_encoding *e = rkcall_encodings; e->name; e++)
		if (rkcall_call_path(path, kernel, e) && faccessat(m->fd, path, F_OK, 0) == 0 &&
		    len < size)
			len += (size_t)snprintf(buf + len, size - len, "%s%s", len ? " " : "",
						e->name);
}
