/* SPDX-License-Identifier: MIT */
/* rktop: arguments, the terminal, keys. */
#include <errno.h>
#include <getopt.h>
#include <langinfo.h>
#include <locale.h>
#include <ncurses.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/mount/internal.h"
#include "runtime/base/thread.h"
#include "fs/client/rktop.h"

#define DELAY_DEFAULT 1.0
#define DELAY_MIN     0.1
#define DELAY_MAX     3600.0
#define LATE_TICK_MS  1000 /* how often a mount that does not answer is drawn anew */

enum {
	STATUS_USAGE = 2,
	STATUS_NO_MOUNT = 3
};

struct arguments {
	const char *mount;
	double delay;
	bool once;
};

static const struct option long_options[] = {
	{"mount", required_argument, NULL, 'm'}, {"delay", required_argument, NULL, 'd'},
	{"once", no_argument, NULL, '1'},	 {"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},	 {0},
};

static void print_help(void)
{
	printf("usage: rktop [-m DIR] [-d SECS] [-1]\n\n"
	       "Watch a mounted rkfs.\n\n"
	       "  -m, --mount DIR   the mount; else RKFS_MOUNT, else the only one there is\n"
	       "  -d, --delay SECS  seconds between two looks (%g), at least %g\n"
	       "  -1, --once        print one look, with the rates of that time, and end\n"
	       "  -h, --help        print this\n"
	       "  -V, --version     print the version\n\n"
	       "q, Escape or Ctrl-C ends it.\n",
	       DELAY_DEFAULT, DELAY_MIN);
}

static bool read_delay(const char *text, double *delay)
{
	char *end;

	*delay = strtod(text, &end);
	if (end != text && !*end && *delay >= DELAY_MIN && *delay <= DELAY_MAX)
		return true;
	fprintf(stderr, "rktop: --delay '%.40s': it is a number of seconds from %g to %g\n", text,
		DELAY_MIN, DELAY_MAX);
	return false;
}

/* The exit status where there is nothing more to do, -1 where there is. */
static int parse(struct arguments *a, int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "m:d:1hV", long_options, NULL)) >= 0) {
		switch (c) {
		case 'm':
			a->mount = optarg;
			break;
		case 'd':
			if (!read_delay(optarg, &a->delay))
				return STATUS_USAGE;
			break;
		case '1':
			a->once = true;
			break;
		case 'h':
			print_help();
			return EXIT_SUCCESS;
		case 'V':
			printf("rktop (rkfs) " RK_VERSION "\n");
			return EXIT_SUCCESS;
		default:
			return STATUS_USAGE;
		}
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "rktop: '%.40s': rktop takes options only; see rktop --help\n",
		argv[optind]);
	return STATUS_USAGE;
}

/* Two looks, so that there are rates. */
static int show_once(struct rktop_view *v, const struct arguments *a)
{
	static struct rktop_snapshot s;

	for (int i = 0; i < 2; i++) {
		rktop_read(&s, a->mount);
		if (s.problem[0]) {
			fprintf(stderr, "rktop: %s\n", s.problem);
			return STATUS_NO_MOUNT;
		}
		rktop_view_update(v, &s);
		if (i == 0)
			(void)poll(NULL, 0, (int)(a->delay * 1000));
	}
	rktop_view_print(v);
	return fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}

static bool begin_terminal(void)
{
	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
		fprintf(stderr,
			"rktop: standard output is not a terminal; rktop --once prints once and exits\n");
		return false;
	}
	if (!initscr()) /* it has said why, and ends the program itself */
		return false;
	cbreak();
	noecho();
	nodelay(stdscr, true);
	keypad(stdscr, true);
	set_escdelay(25);
	curs_set(0);
	if (has_colors()) {
		start_color();
		use_default_colors();
		init_pair(1, COLOR_RED, -1);
		init_pair(2, COLOR_GREEN, -1);
		init_pair(3, COLOR_YELLOW, -1);
	}
	return true;
}

/* Draw until a key says to end. */
static void watch(struct rktop_view *v, struct rktop_reader *r)
{
	static struct rktop_snapshot s;
	int key;

	for (;;) {
		struct pollfd fds[] = {
			{.fd = STDIN_FILENO, .events = POLLIN},
			{.fd = r->news, .events = POLLIN},
		};

		v->late_ns = rktop_reader_get(r, &s);
		rktop_view_update(v, &s);
		rktop_view_draw(v);
		if (poll(fds, 2, LATE_TICK_MS) < 0 && errno != EINTR) /* EINTR: resized */
			return;
		if (fds[1].revents)
			rk_wake_clear(r->news);
		if (fds[0].revents & (POLLHUP | POLLERR | POLLNVAL))
			return; /* the terminal is gone */
		while ((key = getch()) != ERR)
			if (key == 'q' || key == 27)
				return;
	}
}

int main(int argc, char **argv)
{
	static struct rktop_view view;
	struct rktop_reader *reader;
	struct arguments a = {.mount = getenv("RKFS_MOUNT"), .delay = DELAY_DEFAULT};
	struct rk_error err;
	int status;

	if (rkfs_inherit_stdio(&err)) {
		fprintf(stderr, "rktop: %s\n", err.msg);
		return EXIT_FAILURE;
	}
	status = parse(&a, argc, argv);
	if (status >= 0)
		return status;
	setlocale(LC_ALL, "");
	view.ascii = strcmp(nl_langinfo(CODESET), "UTF-8") != 0;
	view.now.drain_remaining = RKTOP_UNKNOWN;
	if (a.once)
		return show_once(&view, &a);
	if (rktop_reader_start(&reader, a.mount, (unsigned int)(a.delay * 1000), &err)) {
		fprintf(stderr, "rktop: %s\n", err.msg);
		return EXIT_FAILURE;
	}
	if (!begin_terminal())
		return STATUS_USAGE;
	watch(&view, reader);
	endwin();
	return EXIT_SUCCESS;
}
