/* SPDX-License-Identifier: MIT */
/* The command line of mount.rkfs. */
#include "fs/mount/options.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/mount/internal.h"
#include "runtime/config/config.h"

#define USAGE "mount.rkfs [-fnsv] [-N NS] [-o OPTS] [CONFIG|none] DIR"

/* What is known only when all of the command line has been seen. */
struct parse {
	struct rkfs_options *opts;
	struct rk_error *err;
	const char **optstrings; /* the arguments of -o, in order */
	size_t noptstrings;
	const char *args[2]; /* CONFIG and DIR, or DIR */
	int nargs;
	bool read_only;
};

enum {
	OPT_FOREGROUND = 256,
	OPT_READY_FD,
};

static const struct option long_options[] = {
	{"foreground", no_argument, NULL, OPT_FOREGROUND},
	{"ready-fd", required_argument, NULL, OPT_READY_FD},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{0},
};

void rkfs_options_init(struct rkfs_options *opts)
{
	*opts = (struct rkfs_options){
		.ready_fd = -1,
		.default_config = RKFS_DEFAULT_CONFIG,
	};
	rkfs_access_init(&opts->access);
}

void rkfs_options_free(struct rkfs_options *opts)
{
	free(opts->source);
	free(opts->config);
	free(opts->dir);
	free(opts->mount_ns);
	for (size_t i = 0; i < opts->nconfig_options; i++)
		free(opts->config_options[i]);
	free(opts->config_options);
	for (size_t i = 0; i < opts->nlabels; i++)
		free(opts->labels[i]);
	free(opts->labels);
	free(opts->fuse_options);
	rkfs_options_init(opts);
}

static int no_memory(struct rk_error *err)
{
	return rk_error_set(err, ENOMEM, "out of memory while reading the command line");
}

/* Replace *@string, which is owned, by a copy of @text. */
static int set_string(char **string, const char *text, struct rk_error *err)
{
	char *copy = strdup(text);

	if (!copy)
		return no_memory(err);
	free(*string);
	*string = copy;
	return 0;
}

static int add_fuse_option(struct parse *p, const char *name)
{
	const char *had = p->opts->fuse_options;
	char *joined;

	if (rkfs_words_have(had, name))
		return 0;
	if (asprintf(&joined, "%s%s%s", had, *had ? "," : "", name) < 0)
		return no_memory(p->err);
	free(p->opts->fuse_options);
	p->opts->fuse_options = joined;
	return 0;
}

/*
 * Takes @item, "key=value", into a NULL-terminated list. The last value of a key counts, as
 * everywhere in mount(8).
 */
static int add_keyed(char ***list, size_t *count, char *item, size_t key_len, struct rk_error *err)
{
	size_t n = *count;
	char **grown;

	for (size_t i = 0; i < n; i++) {
		if (strncmp((*list)[i], item, key_len + 1) == 0) {
			free((*list)[i]);
			(*list)[i] = item;
			return 0;
		}
	}
	grown = reallocarray(*list, n + 2, sizeof(*grown));
	if (!grown) {
		free(item);
		return no_memory(err);
	}
	grown[n] = item;
	grown[n + 1] = NULL;
	*list = grown;
	*count = n + 1;
	return 0;
}

static int needs_value(const char *item, struct rk_error *err)
{
	return rk_error_set(err, EINVAL, "-o %.60s: needs a value, as in -o %.60s=VALUE", item,
			    item);
}

static int apply_word(struct parse *p, const struct rkfs_word *word)
{
	switch (word->action) {
	case RKFS_WORD_IGNORE:
		return 0;
	case RKFS_WORD_ONLY_ROOT:
		p->opts->only_root = true;
		return add_fuse_option(p, word->name);
	case RKFS_WORD_FUSE:
		return add_fuse_option(p, word->name);
	case RKFS_WORD_NOSTART:
		p->opts->nostart = true;
		return 0;
	case RKFS_WORD_RO:
	case RKFS_WORD_RW:
		p->read_only = word->action == RKFS_WORD_RO;
		return 0;
	case RKFS_WORD_REMOUNT:
	case RKFS_WORD_LABEL: /* apply_item's */
		break;
	}
	return rk_error_set(p->err, EINVAL,
			    "-o remount: rkfs cannot be remounted; write to config/ what may "
			    "change while it runs, and umount and mount for the rest");
}

static int no_option(const char *item, size_t len, struct rk_error *err)
{
	char hint[RK_NEAREST_HINT_MAX];
	struct rk_nearest near;

	rk_nearest_init(&near, item, len);
	rk_config_nearest(&near);
	rkfs_access_nearest(&near);
	rkfs_words_nearest(&near);
	return rk_error_set(err, EINVAL,
			    "-o %.100s: there is no such option%s; mount.rkfs --help lists those "
			    "there are",
			    item, rk_nearest_hint(&near, "", hint));
}

/* One option without escapes. Takes @item. */
static int apply_item(struct parse *p, char *item)
{
	size_t len = strcspn(item, "=");
	bool valued = item[len] == '=';
	const struct rkfs_word *word = rkfs_word_find(item, len, valued);
	const struct rk_config_field *field;
	int rc = 0;

	if (word && word->action == RKFS_WORD_LABEL && valued)
		return add_keyed(&p->opts->labels, &p->opts->nlabels, item, len, p->err);
	if (word && word->action == RKFS_WORD_LABEL) {
		rc = needs_value(item, p->err);
		goto out;
	}
	if (word) {
		rc = apply_word(p, word);
		goto out;
	}
	if (rkfs_access_is_option(item, len)) {
		rc = rkfs_access_set(&p->opts->access, item, p->err);
		goto out;
	}
	item[len] = '\0';
	field = rk_config_find(item);
	if (valued)
		item[len] = '=';
	if (field && valued)
		return add_keyed(&p->opts->config_options, &p->opts->nconfig_options, item, len,
				 p->err);
	if (field)
		rc = needs_value(item, p->err);
	else if (!p->opts->sloppy)
		rc = no_option(item, len, p->err);
out:
	free(item);
	return rc;
}

/*
 * The option that *@text begins with, which goes on behind it. Options end at commas; one after a
 * backslash or in a quoted value, key="value", is part of the option. Quotes and backslashes are
 * taken off. Owned by the caller; NULL: no memory.
 */
static char *next_item(const char **text)
{
	const char *at = *text;
	char *item = malloc(strlen(at) + 1);
	bool quoted = false;
	size_t n = 0;

	if (!item)
		return NULL;
	for (; *at && (*at != ',' || quoted); at++) {
		if (*at == '"' && (quoted || (n > 0 && item[n - 1] == '='))) {
			quoted = !quoted;
			continue;
		}
		if (*at == '\\' && (at[1] == ',' || at[1] == '\\'))
			at++;
		item[n++] = *at;
	}
	item[n] = '\0';
	*text = at + (*at == ',');
	return item;
}

/* Call @fn, which takes the option, for each option of @text until it fails. */
static int for_each_item(struct parse *p, const char *text, int (*fn)(struct parse *p, char *item))
{
	int rc = 0;

	while (*text && !rc) {
		char *item = next_item(&text);

		if (!item)
			return no_memory(p->err);
		if (*item)
			rc = fn(p, item);
		else /* "a,,b" and a final comma are harmless */
			free(item);
	}
	return rc;
}

/* A remount comes with what the mount has, which may be nothing that could be asked for. */
static int refuse_remount(struct parse *p, char *item)
{
	const struct rkfs_word *word = rkfs_word_find(item, strlen(item), false);
	int rc = word && word->action == RKFS_WORD_REMOUNT ? apply_word(p, word) : 0;

	free(item);
	return rc;
}

static int apply_optstrings(struct parse *p)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < p->noptstrings; i++)
		rc = for_each_item(p, p->optstrings[i], refuse_remount);
	/* only now, because -s may come behind -o */
	for (size_t i = 0; !rc && i < p->noptstrings; i++)
		rc = for_each_item(p, p->optstrings[i], apply_item);
	return rc;
}

static int set_ready_fd(struct parse *p, const char *text)
{
	char *end;
	long fd;

	errno = 0;
	fd = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end || fd < 3 || fd > INT_MAX)
		return rk_error_set(p->err, EINVAL,
				    "--ready-fd=%.20s: must be the number of an open file "
				    "descriptor, 3 or more",
				    text);
	if (fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0)
		return rk_error_set(p->err, errno, "--ready-fd=%.20s: %m", text);
	p->opts->ready_fd = (int)fd;
	return 0;
}

static int add_arg(struct parse *p, const char *arg)
{
	if (p->nargs == 2)
		return rk_error_set(p->err, EINVAL, "'%.100s' is one argument too many: " USAGE,
				    arg);
	if (!*arg)
		return rk_error_set(p->err, EINVAL, "an argument is empty: " USAGE);
	p->args[p->nargs++] = arg;
	return 0;
}

static int bad_option(const char *bad, struct rk_error *err)
{
	char hint[RK_NEAREST_HINT_MAX];
	struct rk_nearest near;

	rk_nearest_init(&near, bad + strspn(bad, "-"), strcspn(bad + strspn(bad, "-"), "="));
	for (size_t i = 0; strncmp(bad, "--", 2) == 0 && long_options[i].name; i++)
		rk_nearest_try(&near, long_options[i].name);
	return rk_error_set(err, EINVAL,
			    "'%.100s' is not understood%s; mount.rkfs --help lists the options",
			    bad, rk_nearest_hint(&near, "--", hint));
}

static int apply_option(struct parse *p, int c, const char *bad)
{
	struct rkfs_options *opts = p->opts;

	switch (c) {
	case 1:
		return add_arg(p, optarg);
	case 'f':
		opts->fake = true;
		return 0;
	case 's':
		opts->sloppy = true;
		return 0;
	case 'v':
		opts->verbose = true;
		return 0;
	case 'n': /* no /etc/mtab has to be left alone any more */
	case 't': /* the type is known */
		return 0;
	case 'N':
		return set_string(&opts->mount_ns, optarg, p->err);
	case 'o':
		p->optstrings[p->noptstrings++] = optarg;
		return 0;
	case OPT_FOREGROUND:
		opts->foreground = true;
		return 0;
	case OPT_READY_FD:
		return set_ready_fd(p, optarg);
	case 'h':
		opts->help = true;
		return 0;
	case 'V':
		opts->version = true;
		return 0;
	case ':':
		return rk_error_set(p->err, EINVAL, "%s needs an argument: " USAGE, bad);
	default:
		return bad_option(bad, p->err);
	}
}

static int read_command_line(struct parse *p, int argc, char *const argv[])
{
	char letter[3] = "-";
	int c, rc = 0;

	opterr = 0;
	optind = 0; /* glibc: start anew */
	/* "-": arguments come in order, so POSIXLY_CORRECT cannot hide options behind DIR */
	while ((c = getopt_long(argc, argv, "-:fnsvhVN:o:t:", long_options, NULL)) != -1) {
		const char *bad = "";

		if (c == '?' || c == ':') {
			/* a long option, or one letter of a bundle */
			letter[1] = (char)optopt;
			bad = optopt > 0 && optopt < 256 && strncmp(argv[optind - 1], "--", 2) != 0
				      ? letter
				      : argv[optind - 1];
		}
		rc = apply_option(p, c, bad);
		if (rc < 0 || p->opts->help || p->opts->version)
			return rc;
	}
	while (rc == 0 && optind < argc)
		rc = add_arg(p, argv[optind++]);
	return rc;
}

/* The daemon leaves the working directory and reads the file again at each reload. */
static int set_config(struct parse *p, const char *path)
{
	char *cwd, *joined;
	int n;

	if (path[0] == '/')
		return set_string(&p->opts->config, path, p->err);
	cwd = getcwd(NULL, 0);
	if (!cwd)
		return rk_error_set(p->err, errno,
				    "%.200s: the working directory cannot be found: %m; give the "
				    "full path",
				    path);
	n = asprintf(&joined, "%s/%s", cwd, path);
	free(cwd);
	if (n < 0)
		return no_memory(p->err);
	p->opts->config = joined;
	return 0;
}

static int apply_args(struct parse *p)
{
	struct rkfs_options *opts = p->opts;
	int rc;

	if (p->nargs == 0)
		return rk_error_set(p->err, EINVAL, "DIR is missing: " USAGE);
	if (p->read_only)
		return rk_error_set(p->err, EINVAL,
				    "-o ro: rkfs is driven by writing to its files, a read-only "
				    "mount could do nothing; leave it out");
	rc = set_string(&opts->dir, p->args[p->nargs - 1], p->err);
	if (rc == 0)
		rc = set_string(&opts->source, p->nargs == 2 ? p->args[0] : "rkfs", p->err);
	if (rc < 0)
		return rc;
	if (p->nargs == 2)
		return strcmp(p->args[0], "none") == 0 ? 0 : set_config(p, p->args[0]);
	/* where it exists and cannot be read, reading it will say why */
	if (faccessat(AT_FDCWD, opts->default_config, F_OK, AT_EACCESS) < 0 && errno == ENOENT)
		return 0;
	return set_config(p, opts->default_config);
}

int rkfs_options_parse(struct rkfs_options *opts, int argc, char *const argv[],
		       struct rk_error *err)
{
	struct parse p = {.opts = opts, .err = err};
	int rc;

	p.optstrings = calloc((size_t)argc + 1, sizeof(*p.optstrings));
	if (!p.optstrings)
		return no_memory(err);
	rc = set_string(&opts->fuse_options, "", err);
	if (rc == 0)
		rc = read_command_line(&p, argc, argv);
	if (rc == 0 && !opts->help && !opts->version) {
		rc = apply_optstrings(&p);
		if (rc == 0)
			rc = apply_args(&p);
		if (rc == 0)
			rc = rkfs_access_complete(&opts->access, err);
	}
	free(p.optstrings);
	return rc;
}

static void print_field(FILE *out, const struct rk_config_field *field)
{
	static const char *const kinds[] = {
		[RK_CONFIG_BOOL] = "yes|no",   [RK_CONFIG_COUNT] = "NUMBER",
		[RK_CONFIG_SIZE] = "SIZE",     [RK_CONFIG_DURATION] = "TIME",
		[RK_CONFIG_FACTOR] = "FACTOR", [RK_CONFIG_CHOICE] = "WORD",
		[RK_CONFIG_TEXT] = "TEXT",     [RK_CONFIG_DEVICES] = "DEVICE",
	};
	int n = fprintf(out, "  %s=%s", field->key, kinds[field->type]);

	fprintf(out, "%*s%s", n < 34 ? 34 - n : 1, "", field->help);
	if (field->choices)
		fprintf(out, " (%s)", field->choices);
	else if (field->min && field->max)
		fprintf(out, " (%s to %s)", field->min, field->max);
	else if (field->min)
		fprintf(out, " (at least %s)", field->min);
	else if (field->max)
		fprintf(out, " (at most %s)", field->max);
	fputc('\n', out);
}

int rkfs_options_help(FILE *out)
{
	size_t count;
	const struct rk_config_field *fields = rk_config_fields(&count);

	fputs("Usage: " USAGE "\n"
	      "Start the rkfs runtime and mount it at DIR, with the configuration file CONFIG\n"
	      "(none: no file; with DIR alone: " RKFS_DEFAULT_CONFIG " where it exists).\n\n"
	      "  -o OPTS          options, comma-separated; \\, is a comma in a value\n"
	      "  -f               fake: check everything, do not mount\n"
	      "  -s               sloppy: ignore unknown options of -o\n"
	      "  -v               say what is done\n"
	      "  -N NS            mount in this mount namespace (a path or a process id)\n"
	      "  -n, -t TYPE      accepted, as mount(8) passes them\n"
	      "  --foreground     stay in the foreground, log to stderr\n"
	      "  --ready-fd=N     write a newline to file descriptor N once ready\n"
	      "  --help, --version\n\n"
	      "Options of -o:\n",
	      out);
	rkfs_words_help(out);
	rkfs_access_help(out);
	rkfs_words_accepted(out);
	fputs("\nConfiguration fields, for -o, for CONFIG and as RKFS_KEY in the "
	      "environment:\n",
	      out);
	for (size_t i = 0; i < count; i++)
		print_field(out, &fields[i]);
	return fflush(out) == 0 && !ferror(out) ? 0 : -EIO;
}
