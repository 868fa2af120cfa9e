/* SPDX-License-Identifier: MIT */
/* What one write to a file holds: one line of printable ASCII. */
#include <errno.h>
#include <string.h>

#include "fs/files/files.h"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static int check_byte(const char *what, unsigned char c, struct rk_error *err)
{
	if (c == '\n')
		return rk_error_set(err, EINVAL, "%s: one write is one line: write them one by one",
				    what);
	if (c == '\r')
		return rk_error_set(err, EINVAL,
				    "%s: a carriage return at the end: write a plain newline",
				    what);
	if ((c < ' ' && c != '\t') || c > '~')
		return rk_error_set(err, EINVAL, "%s: byte 0x%02x is not printable ASCII", what, c);
	return 0;
}

int rkfs_line_read(const char *what, const char *text, size_t len, char line[RKFS_LINE_MAX + 1],
		   struct rk_error *err)
{
	int rc;

	if (len > RKFS_LINE_MAX)
		return rk_error_set(err, EMSGSIZE, "%s: %zu bytes are too long: %d at the most",
				    what, len, RKFS_LINE_MAX);
	if (len && text[len - 1] == '\n')
		len--;
	for (size_t i = 0; i < len; i++) {
		rc = check_byte(what, (unsigned char)text[i], err);
		if (rc)
			return rc;
	}
	while (len && is_blank(text[len - 1]))
		len--;
	while (len && is_blank(*text)) {
		text++;
		len--;
	}
	if (!len)
		return rk_error_set(err, EINVAL, "%s: nothing but blanks was written", what);
	memcpy(line, text, len);
	line[len] = '\0';
	return 0;
}

int rkfs_switch_read(const char *what, const char *of, const char *text, size_t len, bool *on,
		     struct rk_error *err)
{
	char line[RKFS_LINE_MAX + 1];
	int rc = rkfs_line_read(what, text, len, line, err);

	if (rc)
		return rc;
	if (strcmp(line, "0") && strcmp(line, "1"))
		return rk_error_set(err, EINVAL, "%s of %s: write 1 to enable, 0 to disable", what,
				    of);
	*on = *line == '1';
	return 0;
}
