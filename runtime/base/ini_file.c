/* SPDX-License-Identifier: MIT */
/* Reads INI files through inih, and refuses what inih accepts silently. */
#include "runtime/base/ini_file.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "runtime/base/trust.h"

#define INI_FILE_MAX (1U << 20)

#define INI_BOM "\xEF\xBB\xBF"

/* inih cuts longer section names to this silently. */
#define INI_SECTION_MAX 49

struct ini_source {
	const char *text;
	size_t len;
	size_t pos;
	unsigned int line; /* of the last line that was fed, from 1 */
	const char *name;
	bool want_pair; /* the last line that was fed must reach the handler */
	rk_ini_handler handler;
	void *ctx;
	struct rk_error *err;
	int rc; /* the first error; nothing is fed after it */
};

static void ini_fail(struct ini_source *src, const char *why)
{
	src->rc = rk_error_set(src->err, EINVAL, "%s:%u: %s", src->name, src->line, why);
}

static const char *ini_check_bytes(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)line[i];

		if (c == '\r')
			return "a carriage return; end lines in LF alone, not CR LF";
		if ((c < ' ' && c != '\t') || c == 0x7f)
			return "a NUL or other control character; only text is allowed";
	}
	return NULL;
}

static const char *ini_check_section(const char *line)
{
	const char *end = strchr(line, ']');
	size_t blanks;

	if (!end)
		return "a section without its ']'; write [name]";
	if (end == line + 1 || end - line - 1 > INI_SECTION_MAX || memchr(line, ';', end - line))
		return "a bad section name; 1 to 49 characters without ';' are allowed";
	end++;
	blanks = strspn(end, " \t");
	if (end[blanks] != '\0' && (end[blanks] != ';' || blanks == 0))
		return "text after [section]; only a comment that begins with ' ;' may follow it";
	return NULL;
}

/* Refuse what inih accepts silently. @line is NUL-terminated and has no control bytes. */
static const char *ini_check_line(const char *line, bool *want_pair)
{
	size_t blanks = strspn(line, " \t");
	char first = line[blanks];
	size_t key;

	*want_pair = false;
	if (!strncmp(line, INI_BOM, strlen(INI_BOM)))
		return "a byte order mark; only one at the start of the file is allowed";
	if (first == '\0' || first == ';' || first == '#')
		return NULL;
	if (blanks > 0)
		return "an indented line; a value cannot go on in a second line";
	if (first == '[')
		return ini_check_section(line);
	key = strcspn(line, "=:");
	if (line[key] != '=')
		return "not \"key = value\", \"[section]\" or a comment (# or ;)";
	if (key == 0)
		return "no key before the '='";
	*want_pair = true;
	return NULL;
}

/* inih reports a section only with its first key, but an empty one may be misspelt too. */
static void ini_begin_section(struct ini_source *src, const char *line)
{
	char section[INI_SECTION_MAX + 1];
	size_t len = strcspn(line + 1, "]");

	memcpy(section, line + 1, len);
	section[len] = '\0';
	src->rc = src->handler(src->ctx, section, NULL, NULL, src->err);
	if (src->rc)
		rk_error_prefix(src->err, "%s:%u", src->name, src->line);
}

/* ini_reader: hands inih one whole line, or NULL at the end and after an error. */
static char *ini_read_line(char *buf, int size, void *stream)
{
	struct ini_source *src = stream;
	size_t max = RK_INI_LINE_MAX;
	const char *start, *newline, *why;
	size_t len;

	/* inih met a comment before the '=' and dropped the line. */
	if (!src->rc && src->want_pair)
		ini_fail(src, "a comment before the '='; write key = value");
	if (src->rc || src->pos == src->len)
		return NULL;

	start = src->text + src->pos;
	newline = memchr(start, '\n', src->len - src->pos);
	len = newline ? (size_t)(newline - start) : src->len - src->pos;
	src->pos += len + (newline ? 1 : 0);
	src->line++;

	if ((size_t)size <= max)
		max = (size_t)size - 1;
	if (len > max) {
		src->rc = rk_error_set(src->err, EINVAL,
				       "%s:%u: a line of %zu bytes; at most %zu are allowed",
				       src->name, src->line, len, max);
		return NULL;
	}
	memcpy(buf, start, len);
	buf[len] = '\0';
	why = ini_check_bytes(buf, len);
	if (!why)
		why = ini_check_line(buf, &src->want_pair);
	if (why)
		ini_fail(src, why);
	else if (buf[0] == '[')
		ini_begin_section(src, buf);
	return src->rc ? NULL : buf;
}

/* ini_handler: 1 is success there. */
static int ini_pair(void *user, const char *section, const char *key, const char *value)
{
	struct ini_source *src = user;

	src->want_pair = false;
	src->rc = src->handler(src->ctx, section, key, value, src->err);
	if (!src->rc)
		return 1;
	rk_error_prefix(src->err, "%s:%u", src->name, src->line);
	return 0;
}

int rk_ini_parse(const char *text, size_t len, const char *name, rk_ini_handler handler, void *ctx,
		 struct rk_error *err)
{
	struct ini_source src = {
		.text = text,
		.len = len,
		.name = name,
		.handler = handler,
		.ctx = ctx,
		.err = err,
	};
	int rc;

	if (len >= 3 && !memcmp(text, INI_BOM, 3))
		src.pos = 3;
	rc = ini_parse_stream(ini_read_line, &src, ini_pair, &src);
	if (src.rc)
		return src.rc;
	if (rc < 0)
		return rk_error_set(err, ENOMEM, "%s: not enough memory to parse it", name);
	if (rc > 0)
		return rk_error_set(err, EINVAL, "%s:%d: malformed line", name, rc);
	return 0;
}

static int ini_open(const char *path, bool trusted, bool *is_private, struct rk_error *err)
{
	struct stat st;
	/* O_NONBLOCK: a FIFO named by mistake must not hang a reload. */
	const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	int fd = trusted ? rk_trust_open(path, flags, err) : open(path, flags);
	int rc = 0;

	if (fd < 0 && trusted)
		return fd;
	if (fd < 0)
		return rk_error_set(err, errno, "%s: cannot open: %m", path);
	*is_private = false;
	if (fstat(fd, &st) < 0)
		rc = rk_error_set(err, errno, "%s: cannot stat: %m", path);
	else if (S_ISDIR(st.st_mode))
		rc = rk_error_set(err, EISDIR, "%s: is a directory, not an INI file", path);
	else if (!S_ISREG(st.st_mode) && !S_ISCHR(st.st_mode))
		rc = rk_error_set(err, EINVAL, "%s: is not a regular file", path);
	else
		*is_private = !(st.st_mode & S_IROTH);
	if (rc) {
		close(fd); /* the first error is the one to report */
		return rc;
	}
	return fd;
}

/* Fill @buf of INI_FILE_MAX + 1 bytes. Returns the length or a negative errno. */
static ssize_t ini_slurp(int fd, const char *path, char *buf, struct rk_error *err)
{
	size_t len = 0;

	while (len <= INI_FILE_MAX) {
		ssize_t n = read(fd, buf + len, INI_FILE_MAX + 1 - len);

		if (n == 0)
			return (ssize_t)len;
		if (n > 0)
			len += (size_t)n;
		else if (errno != EINTR)
			return rk_error_set(err, errno, "%s: cannot read: %m", path);
	}
	return rk_error_set(err, EFBIG, "%s: larger than 1 MiB, too large for an INI file", path);
}

int rk_ini_read_file(const char *path, bool trusted, struct rk_ini_text *text, struct rk_error *err)
{
	bool is_private;
	char *buf;
	ssize_t n;
	int fd = ini_open(path, trusted, &is_private, err);

	if (fd < 0)
		return fd;
	buf = malloc(INI_FILE_MAX + 1);
	if (!buf)
		n = rk_error_set(err, ENOMEM, "%s: not enough memory to read it", path);
	else
		n = ini_slurp(fd, path, buf, err);
	if (close(fd) < 0 && n >= 0)
		n = rk_error_set(err, errno, "%s: cannot close: %m", path);
	if (n < 0) {
		free(buf);
		return (int)n;
	}
	*text = (struct rk_ini_text){buf, (size_t)n, is_private};
	return 0;
}

void rk_ini_hide(const struct rk_ini_text *text, const char *name, struct rk_error *err)
{
	size_t at = strlen(name);

	if (!text->is_private || !err || strncmp(err->msg, name, at))
		return;
	/* one number, the line's: the text itself may begin with others */
	at += strspn(err->msg + at, ":");
	at += strspn(err->msg + at, "0123456789");
	rk_error_hide(err, at + strspn(err->msg + at, ": "));
}
