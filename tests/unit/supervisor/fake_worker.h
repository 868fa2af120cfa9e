/* SPDX-License-Identifier: MIT */
/*
 * The test program itself, executed anew as a worker that does what an environment
 * variable says: to misbehave is its purpose. main() calls fake_worker() where
 * fake_worker_mode() is not NULL.
 */
#ifndef RK_TESTS_FAKE_WORKER_H
#define RK_TESTS_FAKE_WORKER_H

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "runtime/base/wire.h"
#include "runtime/kernel/manifest.h"

#define FAKE_WORKER	"/proc/self/exe"
#define FAKE_WORKER_ENV "RK_TEST_FAKE_WORKER"
#define FAKE_EXIT	3 /* status of one that was told to exit */

static inline const char *fake_worker_mode(void)
{
	return getenv(FAKE_WORKER_ENV);
}

/* What workers spawned from now on do; NULL = they are no fakes. No worker may be spawned
 * meanwhile. */
static inline void fake_worker_be(const char *mode)
{
	if (mode)
		setenv(FAKE_WORKER_ENV, mode, 1);
	else
		unsetenv(FAKE_WORKER_ENV);
}

static inline bool fake_is(const char *mode)
{
	return !strcmp(fake_worker_mode(), mode);
}

/* Nothing that the daemon closes or says ends this. */
static inline void __attribute__((noreturn)) fake_sleep(void)
{
	for (;;)
		pause();
}

static inline void fake_send(int fd, const void *packet, size_t len)
{
	if (send(fd, packet, len, MSG_NOSIGNAL) != (ssize_t)len)
		_exit(FAKE_EXIT);
}

static inline void fake_answer(int type, uint32_t kernel, int status, const char *text)
{
	struct rk_wire_control packet = {
		.version = RK_WIRE_VERSION, .type = type, .kernel = kernel, .status = status};

	snprintf(packet.text, sizeof(packet.text), "%s", text);
	if (type == RK_WIRE_READY)
		strcpy(packet.ready.backend, fake_is("cuda") ? "cuda" : "cpu");
	fake_send(RK_WIRE_FD_CONTROL, &packet, sizeof(packet));
}

static inline struct rk_wire_shared *fake_shared(void)
{
	struct rk_wire_shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
					     MAP_SHARED, RK_WIRE_FD_SHARED, 0);

	if (shared == MAP_FAILED)
		_exit(FAKE_EXIT);
	return shared;
}

/* Show the test two numbers. */
static inline void fake_show(uint64_t now, uint64_t peak)
{
	struct rk_wire_shared *shared = fake_shared();

	atomic_store(&shared->gpu_memory_bytes, now);
	atomic_store(&shared->gpu_memory_peak_bytes, peak);
}

/* The only device, which is in order when a worker begins. */
static inline void fake_device(uint32_t lost)
{
	struct rk_wire_shared *shared = fake_shared();
	struct rk_wire_device *device = &shared->devices[0];

	atomic_fetch_add(&device->sequence, 1);
	strcpy(device->name, "Fake");
	strcpy(device->uuid, "GPU-fake");
	device->lost = lost;
	atomic_fetch_add(&device->sequence, 1);
	atomic_store(&shared->ndevices, 1);
}

/* Before anything was said, or instead of the answer to the greeting. */
static inline void fake_greet(void)
{
	struct rk_wire_control packet = {.version = RK_WIRE_VERSION, .type = RK_WIRE_READY};

	if (fake_is("exit"))
		_exit(FAKE_EXIT);
	if (fake_is("abort"))
		kill(getpid(), SIGKILL);
	if (fake_is("silent"))
		fake_sleep();
	if (recv(RK_WIRE_FD_CONTROL, &packet, sizeof(packet), 0) != sizeof(packet) ||
	    packet.type != RK_WIRE_HELLO)
		_exit(FAKE_EXIT);
	if (fake_is("eof")) {
		close(RK_WIRE_FD_CONTROL);
		close(RK_WIRE_FD_MESSAGES);
		fake_sleep();
	}
	if (fake_is("settings"))
		fake_show(packet.hello.settings.sample_ms, packet.hello.device.ring_idle_ms);
	if (fake_is("lost") || fake_is("fault-stays"))
		fake_device(0);
	memset(&packet, 0, sizeof(packet));
	packet.version = fake_is("bad-version") ? 99 : RK_WIRE_VERSION;
	packet.type = fake_is("bad-type") ? 77 : RK_WIRE_READY;
	packet.status = fake_is("bad-status") ? -1 : 0;
	if (fake_is("bad-text"))
		memset(packet.text, 'x', sizeof(packet.text));
	if (fake_is("bad-backend"))
		memset(packet.ready.backend, 'x', sizeof(packet.ready.backend));
	else
		strcpy(packet.ready.backend, fake_is("cuda") ? "cuda" : "cpu");
	if (fake_is("unknown-backend"))
		strcpy(packet.ready.backend, "abacus");
	if (fake_is("bad-length"))
		fake_send(RK_WIRE_FD_CONTROL, &packet, 8);
	else if (fake_is("early-loaded"))
		fake_answer(RK_WIRE_LOADED, 1, 0, "");
	else if (fake_is("bad-log")) {
		packet.type = RK_WIRE_LOG;
		packet.log.level = 1000;
		fake_send(RK_WIRE_FD_CONTROL, &packet, sizeof(packet));
	} else if (fake_is("refuse"))
		fake_answer(RK_WIRE_READY, 0, ENODEV, "there is no such device");
	else
		fake_send(RK_WIRE_FD_CONTROL, &packet, sizeof(packet));
	if (fake_is("ready-twice"))
		fake_answer(RK_WIRE_READY, 0, 0, "");
	if (fake_is("unasked-check"))
		fake_answer(RK_WIRE_CHECKED, 0, 0, "");
}

/* How many kernels are compiled in. */
static inline uint32_t fake_builtins(void)
{
	size_t count;

	(void)rk_manifest_builtins(&count);
	return (uint32_t)count;
}

#define BUILTINS fake_builtins()

#define FAKE_LOADING 2 /* the slot that dies-loading and *-beside-load seem to load */

/* A library is being loaded when message @id comes. */
static inline void fake_load_meanwhile(uint64_t id)
{
	struct rk_wire_shared *shared = fake_shared();

	atomic_store(&shared->loading_kernel, FAKE_LOADING + 1);
	if (fake_is("stuck-beside-load"))
		fake_sleep();
	if (fake_is("crash-beside-load"))
		atomic_store(&shared->crashed_message, id);
	_exit(FAKE_EXIT);
}

/* Answer all loads when the last one has come, and tell so in the shared page. */
static inline void fake_load_at_once(uint32_t kernel)
{
	struct rk_wire_shared *shared;

	if (kernel < BUILTINS)
		return;
	for (uint32_t slot = 1; slot <= BUILTINS; slot++)
		fake_answer(RK_WIRE_LOADED, slot, 0, "");
	shared = fake_shared();
	atomic_store(&shared->gpu_memory_bytes, 4);
	atomic_store(&shared->gpu_memory_peak_bytes, 5);
}

static inline uint64_t fake_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

#define FAKE_LINES 20000

/* Say more than anybody reads, and in red. */
static inline void fake_chatter(void)
{
	struct rk_wire_control packet = {.version = RK_WIRE_VERSION,
					 .type = RK_WIRE_LOG,
					 .log.text = "and another thing\033[2J\302\233"};

	for (unsigned int i = 0; i < FAKE_LINES; i++)
		fake_send(RK_WIRE_FD_CONTROL, &packet, sizeof(packet));
}

static inline void fake_check(uint64_t number)
{
	struct rk_wire_control packet = {
		.version = RK_WIRE_VERSION, .type = RK_WIRE_CHECKED, .check.number = number};

	if (fake_is("check-hangs")) {
		atomic_store(&fake_shared()->in_driver_since_ns, fake_now_ns());
		return;
	}
	if (fake_is("chatters"))
		fake_chatter();
	if (fake_is("check-fails")) {
		packet.status = EIO;
		strcpy(packet.text, "the device does not answer");
	}
	fake_send(RK_WIRE_FD_CONTROL, &packet, sizeof(packet));
}

/* Which slots were loaded as cuda, and which as cpu. */
static inline void fake_show_load(const struct rk_wire_load *load)
{
	struct rk_wire_shared *shared = fake_shared();

	atomic_fetch_or(load->backend == RK_WIRE_CUDA ? &shared->gpu_memory_bytes
						      : &shared->gpu_memory_peak_bytes,
			1ULL << load->kernel);
}

/* Slot 2 hangs while it is loaded, or unloaded; or the worker does, and with no kernel at hand. */
static inline void fake_hang(const struct rk_wire_control *packet)
{
	bool load = packet->type == RK_WIRE_LOAD;
	uint32_t slot = load ? packet->load.kernel : packet->kernel;

	if (slot != 2 || !(load ? fake_is("load-hangs") || fake_is("stuck-load-hangs") ||
					   fake_is("load-unanswered")
				: fake_is("unload-hangs")))
		return;
	if (!fake_is("load-unanswered"))
		atomic_store(&fake_shared()->loading_kernel, slot + 1);
	fake_sleep();
}

static struct rk_wire_load fake_echo; /* core/echo, which health checks come to */

/* Answer load and unload packets until the messages' socket has something, or all is over. */
static inline void fake_control(void)
{
	struct rk_wire_control packet;
	ssize_t n = recv(RK_WIRE_FD_CONTROL, &packet, sizeof(packet), 0);
	bool second;

	if (n <= 0 || packet.type == RK_WIRE_SHUTDOWN) {
		if (fake_is("deaf"))
			fake_sleep();
		_exit(0);
	}
	if (packet.type == RK_WIRE_LOAD || packet.type == RK_WIRE_UNLOAD)
		fake_hang(&packet);
	if (packet.type == RK_WIRE_CHECK)
		fake_check(packet.check.number);
	if (packet.type == RK_WIRE_SETTINGS && fake_is("settings"))
		fake_show(packet.settings.sample_ms, packet.settings.log_level);
	second = packet.type == RK_WIRE_LOAD && packet.load.kernel == 2;
	if (packet.type == RK_WIRE_UNLOAD)
		fake_answer(RK_WIRE_UNLOADED, packet.kernel, 0, "");
	if (packet.type != RK_WIRE_LOAD)
		return;
	if (!strcmp(packet.load.id, "core/echo"))
		fake_echo = packet.load;
	if (fake_is("cuda") || fake_is("not-cuda"))
		fake_show_load(&packet.load);
	if (second && fake_is("load-fails"))
		fake_answer(RK_WIRE_LOADED, 2, ENOENT, "there is no such entry");
	else if (fake_is("loads-at-once"))
		fake_load_at_once(packet.load.kernel);
	else if (second && fake_is("bad-slot"))
		fake_answer(RK_WIRE_LOADED, RK_WIRE_KERNELS_MAX, 0, "");
	else if (second && fake_is("no-kernel"))
		fake_answer(RK_WIRE_LOADED, RK_WIRE_KERNELS_MAX - 1, 0, "");
	else if (second && fake_is("unasked-unload"))
		fake_answer(RK_WIRE_UNLOADED, 1, 0, "");
	else
		fake_answer(RK_WIRE_LOADED, packet.load.kernel, 0, "");
	if (second && fake_is("loaded-twice"))
		fake_answer(RK_WIRE_LOADED, 2, 0, "");
}

/* Write over the end of the output that @arg is. */
static inline void fake_overrun(const struct rk_wire_arg *arg)
{
	char *page, *from;
	size_t start = arg->value & ~4095UL, end = arg->value + arg->bytes + 1;

	page = mmap(NULL, end - start, PROT_READ | PROT_WRITE, MAP_SHARED, RK_WIRE_FD_PAYLOAD,
		    (off_t)start);
	if (page == MAP_FAILED)
		_exit(FAKE_EXIT);
	from = page + (arg->value - start);
	from[arg->bytes] = 1;
	munmap(page, end - start);
}

/* Do what core/echo does, in whatever mode: the runtime would not start without. */
static inline bool fake_echoes(const struct rk_wire_run *run)
{
	const struct rk_wire_arg *in = NULL, *out = NULL;
	struct stat st;
	char *payload;

	if (!fake_echo.nparams || run->kernel != fake_echo.kernel)
		return false;
	for (uint32_t i = 0; i < fake_echo.nparams; i++) {
		if (fake_echo.params[i].kind == RK_WIRE_ARG_INPUT)
			in = &run->args[i];
		if (fake_echo.params[i].kind == RK_WIRE_ARG_OUTPUT)
			out = &run->args[i];
	}
	if (!in || !out || fstat(RK_WIRE_FD_PAYLOAD, &st))
		_exit(FAKE_EXIT);
	payload = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       RK_WIRE_FD_PAYLOAD, 0);
	if (payload == MAP_FAILED)
		_exit(FAKE_EXIT);
	memcpy(payload + out->value, payload + in->value, in->bytes);
	munmap(payload, (size_t)st.st_size);
	return true;
}

/* Message @id meets a CUDA error. */
static inline void fake_fault(uint64_t id)
{
	struct rk_wire_shared *shared = fake_shared();

	if (fake_is("sticky")) {
		atomic_store(&shared->crashed_message, id);
		strcpy(shared->fault_text, "cuStreamSynchronize: CUDA_ERROR_ILLEGAL_ADDRESS");
		atomic_store(&shared->fault, RK_WIRE_STICKY);
	} else {
		fake_device(1);
		memset(shared->fault_text, 'x', sizeof(shared->fault_text));
		memcpy(shared->fault_text, "it fell\noff ", 12);
		atomic_store(&shared->fault, RK_WIRE_DEVICE_LOST);
	}
	if (fake_is("fault-stays")) { /* in the driver, which does not let it go */
		close(RK_WIRE_FD_CONTROL);
		close(RK_WIRE_FD_MESSAGES);
		fake_sleep();
	}
	_exit(RK_WIRE_EXIT_FAULT);
}

static inline void fake_message(void)
{
	struct rk_wire_done done = {.run_ns = 1000000};
	size_t len = offsetof(struct rk_wire_done, text);
	struct rk_wire_run run;

	if (recv(RK_WIRE_FD_MESSAGES, &run, sizeof(run), 0) <= 0)
		_exit(FAKE_EXIT);
	done.id = run.id;
	done.slot = run.slot;
	if (fake_echoes(&run)) {
		fake_send(RK_WIRE_FD_MESSAGES, &done, len);
		return;
	}
	if (fake_is("crash"))
		_exit(FAKE_EXIT);
	if (fake_is("sticky") || fake_is("lost") || fake_is("fault-stays"))
		fake_fault(run.id);
	if (fake_is("stuck") || fake_is("stuck-load-hangs"))
		return;
	if (fake_is("dies-loading") || strstr(fake_worker_mode(), "-beside-load"))
		fake_load_meanwhile(run.id);
	if (fake_is("stray"))
		done.id += 1000;
	if (fake_is("stray-slot"))
		done.slot = UINT32_MAX;
	if (fake_is("fails")) {
		done.status = EDOM;
		strcpy(done.text, "out of\nits domain");
		len = sizeof(done);
	}
	if (fake_is("short"))
		len = 5;
	if (fake_is("overrun"))
		fake_overrun(&run.args[run.nargs - 1]);
	fake_send(RK_WIRE_FD_MESSAGES, &done, len);
}

static inline int fake_worker(void)
{
	fake_greet();
	for (;;) {
		struct pollfd fds[] = {
			{.fd = RK_WIRE_FD_CONTROL, .events = POLLIN},
			{.fd = RK_WIRE_FD_MESSAGES, .events = POLLIN},
		};

		if (poll(fds, 2, -1) < 0)
			_exit(FAKE_EXIT);
		if (fds[0].revents)
			fake_control();
		if (fds[1].revents)
			fake_message();
	}
}

#endif
