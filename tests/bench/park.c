/* SPDX-License-Identifier: MIT */
/*
 * park READERS PATH: that many threads open PATH and read, each from a descriptor of its own.
 * Prints a line once all are on their way into read(2); ends at the end of its standard input.
 */
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <sys/resource.h>

#include "tests/bench/bench.h"

static sem_t reading;
static const char *path;

static void *read_one(void *unused)
{
	int fd = bench_open(path, O_RDONLY);
	char buf[64];

	(void)unused;
	sem_post(&reading);
	(void)!read(fd, buf, sizeof(buf)); /* until the process ends */
	return NULL;
}

int main(int argc, char **argv)
{
	struct rlimit files;
	pthread_attr_t attr;
	pthread_t thread;
	long readers;
	char c;

	if (argc != 3)
		errx(2, "usage: park READERS PATH");
	readers = bench_number(argv[1], 1000000);
	path = argv[2];
	if (getrlimit(RLIMIT_NOFILE, &files))
		err(1, "getrlimit");
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) || sem_init(&reading, 0, 0) ||
	    pthread_attr_init(&attr) || pthread_attr_setstacksize(&attr, PTHREAD_STACK_MIN))
		err(1, "cannot prepare %ld threads", readers);
	for (long i = 0; i < readers; i++)
		if (pthread_create(&thread, &attr, read_one, NULL))
			errx(1, "cannot start thread %ld", i + 1);
	for (long i = 0; i < readers; i++)
		sem_wait(&reading);
	puts("reading");
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
	_exit(0);
}
