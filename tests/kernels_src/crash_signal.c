/* SPDX-License-Identifier: MIT */
/* Dies in a way of its own choice: @signal raised, and other ends for the tests of the worker. */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>

void crash_signal(int32_t signal, uint32_t *survived);
void crash_pthread_exit(uint32_t *survived);
void crash_in_thread(uint32_t *survived);

void crash_signal(int32_t signal, uint32_t *survived)
{
	if (signal > 0)
		raise(signal);
	*survived = 1;
}

/* Takes the thread away from whoever called. */
void crash_pthread_exit(uint32_t *survived)
{
	*survived = 1;
	pthread_exit(NULL);
}

static void *die(void *arg)
{
	(void)arg;
	raise(SIGSEGV);
	return NULL;
}

/* The thread that dies is not the one that runs the message. */
void crash_in_thread(uint32_t *survived)
{
	pthread_t thread;

	*survived = 0;
	if (pthread_create(&thread, NULL, die, NULL))
		abort();
	pthread_join(thread, NULL);
	*survived = 1;
}
