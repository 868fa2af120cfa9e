/* SPDX-License-Identifier: MIT */
/* Who is to blame when the worker dies: the message of the thread that killed it. */
#include "gpu/base/crash.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gpu/base/packet.h"
#include "runtime/base/log.h"

/* Large enough for the handler of a sanitizer too, which runs around ours. */
#define STACK_MIN (64 * 1024)

static const int fatal_signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};

static struct rk_wire_shared *_Atomic page; /* NULL: nothing to write to */
static pthread_key_t thread_key;	    /* its destructor sees threads that exit */

/* Of the calling thread; what the handler reads is atomic. */
static _Thread_local struct crash_thread {
	_Atomic uint64_t message; /* 0 = none */
	void *stack;		  /* for signals; NULL: none */
	size_t stack_bytes;
	stack_t previous; /* what the thread had before: a sanitizer sets one */
} self;

/* Async-signal-safe. The first one to die is the one to blame. */
static void blame(void)
{
	struct rk_wire_shared *shared = atomic_load(&page);
	uint64_t message = atomic_load(&self.message), nobody = 0;

	if (message && shared)
		atomic_compare_exchange_strong(&shared->crashed_message, &nobody, message);
}

/*
 * The signal comes again when this returns, with its default action and, for the core dump, with
 * the registers and the siginfo of the first time.
 */
static void on_fatal_signal(int sig, siginfo_t *info, void *context)
{
	struct sigaction fatal = {.sa_handler = SIG_DFL};
	bool ours = info->si_code > 0 || info->si_pid == getpid();

	(void)context;
	if (ours)
		blame();
	if (sigaction(sig, &fatal, NULL) < 0 ||
	    (syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), sig, info) < 0 && raise(sig) != 0))
		_exit(RK_WORKER_EXIT_FAILURE);
}

/* The thread's message can no longer be answered, and the worker has lost a thread. */
static void on_thread_exit(void *value)
{
	const struct crash_thread *thread = value;
	uint64_t message = atomic_load(&thread->message);

	if (!message)
		return;
	blame();
	rk_log(RK_LOG_ERROR,
	       "rk-worker: message %" PRIu64 ": the kernel ended the thread that ran it", message);
	_exit(RK_WORKER_EXIT_FAILURE);
}

/* What lasts as long as the process. */
static int watch_exits(struct rk_error *err)
{
	static bool done;
	int rc;

	if (done)
		return 0;
	rc = pthread_key_create(&thread_key, on_thread_exit);
	if (rc)
		return rk_error_set(err, rc, "cannot watch for threads that exit: %m");
	if (atexit(blame)) {
		(void)pthread_key_delete(thread_key);
		return rk_error_set(err, ENOMEM, "no memory to watch for the end of the process");
	}
	done = true;
	return 0;
}

int rk_crash_watch(struct rk_wire_shared *shared, struct rk_error *err)
{
	struct sigaction action = {.sa_sigaction = on_fatal_signal,
				   .sa_flags = SA_SIGINFO | SA_ONSTACK};
	int rc = watch_exits(err);

	if (rc)
		return rc;
	sigfillset(&action.sa_mask);
	for (size_t i = 0; i < sizeof(fatal_signals) / sizeof(fatal_signals[0]); i++)
		if (sigaction(fatal_signals[i], &action, NULL) < 0)
			return rk_error_set(err, errno, "cannot handle SIG%s: %m",
					    sigabbrev_np(fatal_signals[i]));
	atomic_store(&page, shared);
	return 0;
}

void rk_crash_unwatch(void)
{
	atomic_store(&page, NULL);
}

/* 0 or a negative errno. */
static int set_stack(void)
{
	long wanted = sysconf(_SC_SIGSTKSZ);
	stack_t stack = {.ss_size = wanted > STACK_MIN ? (size_t)wanted : STACK_MIN};
	int rc;

	stack.ss_sp = mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack.ss_sp == MAP_FAILED)
		return -errno;
	if (sigaltstack(&stack, &self.previous) < 0) {
		rc = -errno;
		(void)munmap(stack.ss_sp, stack.ss_size);
		return rc;
	}
	self.stack = stack.ss_sp;
	self.stack_bytes = stack.ss_size;
	return 0;
}

void rk_crash_thread_begin(void)
{
	int rc = set_stack();

	if (rc)
		rk_log(RK_LOG_WARN,
		       "rk-worker: no stack for signals, so a kernel that overflows its own "
		       "cannot be named: %s",
		       strerror(-rc));
	rc = pthread_setspecific(thread_key, &self);
	if (rc)
		rk_log(RK_LOG_WARN, "rk-worker: cannot watch whether a thread exits: %s",
		       strerror(rc));
}

void rk_crash_thread_end(void)
{
	(void)pthread_setspecific(thread_key, NULL); /* only a value can fail */
	if (!self.stack)
		return;
	if (sigaltstack(&self.previous, NULL) < 0 || munmap(self.stack, self.stack_bytes) < 0)
		rk_log(RK_LOG_WARN, "rk-worker: cannot give back a stack for signals: %s",
		       strerror(errno));
	self.stack = NULL;
}

void rk_crash_enter(uint64_t message)
{
	atomic_store_explicit(&self.message, message, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
}

void rk_crash_leave(void)
{
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&self.message, 0, memory_order_relaxed);
}
