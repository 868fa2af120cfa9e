/* SPDX-License-Identifier: MIT */
/* rkcall: call a kernel from the command line. Arguments, time limit, exit codes. */
#include "fs/client/rkcall.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fs/mount/internal.h"
#include "runtime/base/clock.h"

enum exit_code {
	EXIT_OK = 0,
	EXIT_CALL = 1,
	EXIT_USAGE = 2,
	EXIT_NO_MOUNT = 3,
	EXIT_TIMEOUT = 124, /* as of timeout(1) */
};

#define TIMEOUT_MAX 1e9 /* seconds */

struct options {
	const char *program; /* as it was called, for examples */
	const char *mount;
	const char *input;
	const char *output;
	const char *encoding;
	double timeout; /* seconds, 0: none */
	bool force, list, describe, help, version;
	const char *kernel;
	const char *request; /* NULL: none, or standard input */
};

static const struct row {
	struct option option;
	const char *arg, *help;
} rows[] = {
	{{"file", required_argument, NULL, 'f'},
	 "FILE",
	 "read the request from FILE; its extension tells the encoding"},
	{{"output", required_argument, NULL, 'o'}, "FILE", "write the answer to FILE"},
	{{"encoding", required_argument, NULL, 'e'},
	 "ENCODING",
	 "json, safetensors or raw, of request and answer"},
	{{"force", no_argument, NULL, 'F'}, NULL, "write binary answers to a terminal too"},
	{{"timeout", required_argument, NULL, 't'},
	 "SECS",
	 "give up and cancel after so many seconds, with status 124"},
	{{"mount", required_argument, NULL, 'm'},
	 "DIR",
	 "the mount; else RKFS_MOUNT, else the only one there is"},
	{{"list", no_argument, NULL, 'l'}, NULL, "list the kernels"},
	{{"describe", no_argument, NULL, 'd'}, NULL, "describe KERNEL, with an example call"},
	{{"help", no_argument, NULL, 'h'}, NULL, "print this"},
	{{"version", no_argument, NULL, 'V'}, NULL, "print the version"},
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static void print_help(void)
{
	printf("usage: rkcall [OPTION...] KERNEL [REQUEST | -]\n"
	       "       rkcall [OPTION...] -f FILE [-o FILE] KERNEL\n"
	       "       rkcall [-m DIR] --list\n"
	       "       rkcall [-m DIR] --describe KERNEL\n\n"
	       "Call a kernel of a mounted rkfs. REQUEST is JSON; without it, or with -, it is\n"
	       "read from standard input. The answer goes to standard output.\n\n");
	for (size_t i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];
		int n = printf("  -%c, --%s%s%s", r->option.val, r->option.name, r->arg ? " " : "",
			       r->arg ? r->arg : "");

		printf("%*s%s\n", n < 28 ? 28 - n : 1, "", r->help);
	}
	printf("\nStatus: 0 done, 1 the call failed, 2 usage, 3 no mount, 124 timed out.\n");
}

/* --- arguments --- */

static int set_timeout(struct options *o, const char *text, struct rk_error *err)
{
	char *end;

	o->timeout = strtod(text, &end);
	if (end == text || *end || !(o->timeout > 0 && o->timeout <= TIMEOUT_MAX))
		return rk_error_set(err, EINVAL,
				    "--timeout '%.40s': it is a number of seconds above 0, such as "
				    "10 or 0.5",
				    text);
	return 0;
}

static int set_option(struct options *o, int c, const char *value, struct rk_error *err)
{
	switch (c) {
	case 'f':
		o->input = value;
		return 0;
	case 'o':
		o->output = strcmp(value, "-") ? value : NULL;
		return 0;
	case 'e':
		o->encoding = value;
		return 0;
	case 'F':
		o->force = true;
		return 0;
	case 't':
		return set_timeout(o, value, err);
	case 'm':
		o->mount = value;
		return 0;
	case 'l':
		o->list = true;
		return 0;
	case 'd':
		o->describe = true;
		return 0;
	case 'h':
		o->help = true;
		return 0;
	default:
		o->version = true;
		return 0;
	}
}

static int read_options(struct options *o, int argc, char **argv, struct rk_error *err)
{
	struct option longs[ROWS + 1] = {0};
	char shorts[2 + 2 * ROWS] = ":", *s = shorts + 1;
	int c, rc = 0;

	for (size_t i = 0; i < ROWS; i++) {
		longs[i] = rows[i].option;
		*s++ = (char)rows[i].option.val;
		if (rows[i].option.has_arg)
			*s++ = ':';
	}
	opterr = 0;
	while (!rc && (c = getopt_long(argc, argv, shorts, longs, NULL)) >= 0) {
		const char *bad = argv[optind - 1];

		if (c == '?')
			rc = rk_error_set(err, EINVAL,
					  "'%.100s' is not understood; rkcall --help lists the "
					  "options",
					  bad);
		else if (c == ':')
			rc = rk_error_set(err, EINVAL, "'%.100s' wants a value", bad);
		else
			rc = set_option(o, c, optarg, err);
	}
	return rc;
}

/* DOMAIN/NAME; anything else could lead out of kernels/. */
static bool is_kernel(const char *id)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				    "0123456789_-";
	size_t domain = strspn(id, chars);
	size_t name = id[domain] == '/' ? strspn(id + domain + 1, chars) : 0;

	return domain && name && !id[domain + 1 + name];
}

static int read_arguments(struct options *o, int argc, char **argv, struct rk_error *err)
{
	int count = argc - optind;

	if (o->list)
		return count ? rk_error_set(err, EINVAL, "--list takes no KERNEL") : 0;
	if (count == 0)
		return rk_error_set(err, EINVAL,
				    "which KERNEL? rkcall --list lists them; "
				    "rkcall --help says more");
	o->kernel = argv[optind];
	if (count > 1 && (o->describe || o->input))
		return rk_error_set(
			err, EINVAL, "'%.100s' is an extra argument: %s", argv[optind + 1],
			o->input ? "-f gives the request" : "--describe takes a KERNEL");
	if (count > 2)
		return rk_error_set(
			err, EINVAL,
			"'%.100s' is an extra argument: the request is one argument, so put '' "
			"around it",
			argv[optind + 2]);
	if (count == 2 && strcmp(argv[optind + 1], "-") != 0)
		o->request = argv[optind + 1];
	return 0;
}

/* --- time limit --- */

static struct {
	struct timespec end;
	char sentence[256];
} limit;

/*
 * A thread and not a signal: leaving the process ends even a wait for a daemon that does not
 * answer, which a handler could not. The close, as the process ends, cancels the message.
 */
static void *await_limit(void *unused)
{
	(void)unused;
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &limit.end, NULL) == EINTR)
		;
	(void)!write(STDERR_FILENO, limit.sentence, strlen(limit.sentence));
	_exit(EXIT_TIMEOUT);
	return NULL;
}

static int start_limit(const struct options *o, struct rk_error *err)
{
	pthread_t thread;
	int rc;

	snprintf(limit.sentence, sizeof(limit.sentence),
		 "rkcall: %.128s%snot done within %g s, so it is cancelled\n",
		 o->kernel ? o->kernel : "", o->kernel ? ": " : "", o->timeout);
	limit.end = rk_timespec(rk_now_ns() + (uint64_t)(o->timeout * (double)RK_NS_PER_SEC));
	rc = pthread_create(&thread, NULL, await_limit, NULL);
	if (!rc)
		rc = pthread_detach(thread);
	return rc ? rk_error_set(err, rc, "--timeout: %m") : 0;
}

/* --- what to do --- */

static int complain(int exit_code, const char *kernel, const struct rk_error *err)
{
	struct rk_error shown = *err;

	rk_text_clean(shown.msg, sizeof(shown.msg), "\n"); /* it may be a stranger's mount */
	if (err->code != EPIPE) /* whoever read the answer has stopped, and wants no sentence */
		fprintf(stderr, "rkcall: %s%s%s\n", kernel ? kernel : "", kernel ? ": " : "",
			shown.msg);
	return exit_code;
}

/* Whether all of standard output went out. */
static int finish_stdout(struct rk_error *err)
{
	if (fflush(stdout) || ferror(stdout))
		return rk_error_set(err, errno, "standard output: %m");
	return 0;
}

static int choose_encoding(const struct options *o, const struct rkcall_encoding **encoding,
			   struct rk_error *err)
{
	const struct rkcall_encoding *e = &rkcall_encodings[0];

	if (o->encoding)
		e = rkcall_encoding_find(o->encoding);
	else if (o->input && strcmp(o->input, "-") != 0)
		e = rkcall_encoding_of(o->input);
	if (!e && o->encoding)
		return rk_error_set(err, EINVAL,
				    "'%.100s' is no encoding; there are json, safetensors and raw",
				    o->encoding);
	if (!e)
		return rk_error_set(err, EINVAL,
				    "%.200s: the extension is not .json, .safetensors, .raw or "
				    ".bin: say --encoding",
				    o->input);
	if (e->binary && !o->output && !o->force && isatty(STDOUT_FILENO))
		return rk_error_set(err, EINVAL,
				    "the answer is binary (%s) and would go to the terminal: "
				    "-o FILE, or --force",
				    e->name);
	*encoding = e;
	return 0;
}

/* Open what the request comes from. */
static int open_input(const struct options *o, struct rkcall_request *r, struct rk_error *err)
{
	r->text = o->request;
	r->fd = STDIN_FILENO;
	r->input = "standard input";
	if (r->text)
		return 0;
	if (o->input && strcmp(o->input, "-") != 0) {
		r->input = o->input;
		r->fd = open(o->input, O_RDONLY | O_CLOEXEC);
		return r->fd < 0 ? rk_error_set(err, errno, "%s: %m", o->input) : 0;
	}
	return 0;
}

static int call(const struct options *o, const struct rkcall_encoding *encoding,
		const struct rkcall_mount *m)
{
	struct rkcall_request r = {.kernel = o->kernel, .encoding = encoding, .output = o->output};
	struct rk_error err = {0};
	int rc = open_input(o, &r, &err);

	if (rc)
		return complain(EXIT_CALL, NULL, &err);
	rc = rkcall_call(m, &r, &err);
	if (r.fd != STDIN_FILENO)
		close(r.fd); /* was only read */
	return rc ? complain(EXIT_CALL, o->kernel, &err) : EXIT_OK;
}

/* The words that a call of ours begins with, for pasting. Owned by the caller; NULL: no memory. */
static char *command_of(const struct options *o)
{
	char *command = NULL;
	size_t size;
	FILE *out = open_memstream(&command, &size);

	if (!out)
		return NULL;
	fputs(o->program, out);
	if (o->mount) {
		fputs(" -m '", out);
		for (const char *c = o->mount; *c; c++)
			*c == '\'' ? fputs("'\\''", out) : fputc(*c, out);
		fputc('\'', out);
	}
	if (fclose(out) == 0)
		return command;
	free(command);
	return NULL;
}

static int describe(const struct options *o, const struct rkcall_mount *m)
{
	char *command = command_of(o);
	struct rk_error err = {0};
	int rc;

	if (command)
		rc = rkcall_describe(m, o->kernel, command, stdout, &err);
	else
		rc = rk_error_set(&err, ENOMEM, "no memory");
	free(command);
	return rc ? complain(EXIT_CALL, o->kernel, &err) : EXIT_OK;
}

static int list(const struct rkcall_mount *m)
{
	struct rk_error err = {0};

	return rkcall_list(m, stdout, &err) ? complain(EXIT_CALL, NULL, &err) : EXIT_OK;
}

/* All that needs the mount. */
static int run_mounted(const struct options *o, const struct rkcall_encoding *encoding)
{
	struct rkcall_mount m;
	struct rk_error err = {0};
	const char *dir = o->mount ? o->mount : getenv("RKFS_MOUNT");
	int rc;

	if (o->timeout > 0 && start_limit(o, &err))
		return complain(EXIT_CALL, NULL, &err);
	if (rkcall_mount_open(&m, dir, RKFS_MOUNTINFO, &err))
		return complain(EXIT_NO_MOUNT, NULL, &err);
	if (o->kernel && !is_kernel(o->kernel)) {
		rkcall_no_kernel(&m, o->kernel, &err);
		rc = complain(EXIT_CALL, o->kernel, &err);
	} else if (o->list) {
		rc = list(&m);
	} else if (o->describe) {
		rc = describe(o, &m);
	} else {
		rc = call(o, encoding, &m);
	}
	rkcall_mount_close(&m);
	return rc;
}

static int run(struct options *o, int argc, char **argv)
{
	const struct rkcall_encoding *encoding = NULL;
	struct rk_error err = {0};
	int rc = read_options(o, argc, argv, &err);

	if (!rc && !o->help && !o->version)
		rc = read_arguments(o, argc, argv, &err);
	if (rc)
		return complain(EXIT_USAGE, NULL, &err);
	if (o->help || o->version) {
		if (o->help)
			print_help();
		else
			printf("rkcall (rkfs) %s\n", RK_VERSION);
		return EXIT_OK;
	}
	if (!o->list && !o->describe) {
		if (choose_encoding(o, &encoding, &err))
			return complain(EXIT_USAGE, NULL, &err);
		if (!o->request && !o->input && isatty(STDIN_FILENO) && argc - optind < 2) {
			rk_error_set(&err, EINVAL,
				     "no request; rkcall --describe %.128s shows an example",
				     o->kernel);
			return complain(EXIT_USAGE, NULL, &err);
		}
	}
	return run_mounted(o, encoding);
}

int main(int argc, char **argv)
{
	struct options o = {.program = argc > 0 ? argv[0] : "rkcall"};
	struct rk_error err = {0};
	int rc;

	if (rkfs_inherit_stdio(&err))
		return complain(EXIT_CALL, NULL, &err);
	rc = run(&o, argc, argv);

	if (finish_stdout(&err) && rc == EXIT_OK)
		rc = complain(EXIT_CALL, NULL, &err);
	return rc;
}
