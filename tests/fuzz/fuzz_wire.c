/* SPDX-License-Identifier: MIT */
/*
 * A worker that sends anything. The target takes the place of rk_process_spawn: the process that it
 * starts only waits to be killed, and what a worker would send comes from the input, a row of steps
 * (see steps[]). Whatever is sent, nothing crashes, every message ends, and the books balance.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/base/log.h"
#include "runtime/base/memfd.h"
#include "runtime/request/message.h"
#include "runtime/supervisor/internal.h"
#include "runtime/supervisor/supervisor.h"
#include "tests/fuzz/fuzz.h"

#define KERNELS	     3
#define THREADS	     2
#define MESSAGES_MAX 16
#define YIELDS	     2000 /* before a packet counts as not read */

#define KERNEL_TEXT(id, mode, code)                                                                \
	"[kernel]\nid = " id "\nmode = " mode "\n[inputs]\nx = u32[n]\n[outputs]\ny = u32[n]\n"    \
	"[cpu]\nlibrary = builtin\nentry = echo\nargs = x, y, n\n" code

static const char *const descriptions[KERNELS] = {
	KERNEL_TEXT("d/a", "batch", ""),
	KERNEL_TEXT(
		"d/b", "batch",
		"[cuda]\nmodule = builtin\nentry = echo\nargs = x, y, n\ngrid = n\nblock = 4\n"),
	KERNEL_TEXT("d/c", "ring", ""),
};

/* The worker's ends, -1 where there is none; guarded by lock. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t spawned;
	int control, messages;
	struct rk_wire_shared *shared;
} peer = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.spawned = PTHREAD_COND_INITIALIZER,
	.control = -1,
	.messages = -1,
};

static struct rig {
	struct rk_dispatch dispatch;
	struct rk_registry *registry;
	struct rk_payload *pool;
	struct rk_supervisor *supervisor;
	struct rk_kernel *kernels[KERNELS];
	struct rk_message *messages[MESSAGES_MAX];
	unsigned int nmessages;
	atomic_uint done;
	bool failed; /* guarded by peer.lock: no worker will come any more */
} rig;

/* What is left of the input. */
struct input {
	const uint8_t *data;
	size_t size;
};

static uint8_t take(struct input *in)
{
	if (in->size == 0)
		return 0;
	in->size--;
	return *in->data++;
}

/* --- the process in the worker's place --- */

static void map_twice(struct rk_process *p)
{
	int fd = rk_memfd_create("fuzz-shared");

	FUZZ_CHECK(fd >= 0 && !ftruncate(fd, sizeof(*p->shared)));
	p->shared = mmap(NULL, sizeof(*p->shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	peer.shared = mmap(NULL, sizeof(*p->shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	FUZZ_CHECK(p->shared != MAP_FAILED && peer.shared != MAP_FAILED);
	close(fd);
}

/* vfork, since copying the address space of a sanitizer's build takes longer than all the rest. */
static void spawn_idler(struct rk_process *p)
{
	p->pid = vfork();
	FUZZ_CHECK(p->pid >= 0);
	if (p->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execlp("sleep", "sleep", "infinity", (char *)NULL);
		_exit(127);
	}
	p->pidfd = pidfd_open(p->pid, 0);
	FUZZ_CHECK(p->pidfd >= 0);
}

int __wrap_rk_process_spawn(struct rk_process *p, int worker_fd,
			    const struct rk_supervisor_params *params, const char *device,
			    struct rk_error *err);

/* The linker has put this in the place of rk_process_spawn. */
int __wrap_rk_process_spawn(struct rk_process *p, int worker_fd,
			    const struct rk_supervisor_params *params, const char *device,
			    struct rk_error *err)
{
	int control[2], messages[2];

	(void)worker_fd;
	(void)device;
	(void)err;
	FUZZ_CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) &&
		   !socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, messages));
	pthread_mutex_lock(&peer.lock);
	map_twice(p);
	spawn_idler(p);
	p->control = control[0];
	p->messages = messages[0];
	p->payload = rk_payload_ref(params->payload);
	peer.control = control[1];
	peer.messages = messages[1];
	pthread_cond_broadcast(&peer.spawned);
	pthread_mutex_unlock(&peer.lock);
	return 0;
}

static void hang_up(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* --- what the worker sends --- */

/* Send, and let the supervisor read it where it is still there. */
static void send_bytes(int fd, const void *packet, size_t size)
{
	int unread;

	if (fd < 0 || send(fd, packet, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return;
	for (int i = 0; i < YIELDS && !ioctl(fd, SIOCOUTQ, &unread) && unread > 0; i++)
		sched_yield();
}

/* Write over @n bytes of @packet, of @size bytes, in places that the input chooses. */
static void spoil(struct input *in, void *packet, size_t size, unsigned int n)
{
	for (unsigned int i = 0; i < n; i++) {
		size_t at = (size_t)take(in) << 8;

		at |= take(in);
		((uint8_t *)packet)[at % size] = take(in);
	}
}

static void send_control(struct input *in)
{
	struct rk_wire_control packet = {
		.version = RK_WIRE_VERSION,
		.type = take(in) % (RK_WIRE_CHECKED + 2),
		.kernel = take(in) % (KERNELS + 2),
		.status = take(in) % 3,
	};
	uint8_t how = take(in);

	if (packet.type == RK_WIRE_READY)
		strcpy(packet.ready.backend, how & 1 ? "cuda" : "cpu");
	if (packet.type == RK_WIRE_CHECKED)
		packet.check.number = how & 3;
	spoil(in, &packet, sizeof(packet), how >> 5);
	send_bytes(peer.control, &packet, sizeof(packet));
}

static void send_answer(struct input *in)
{
	struct rk_wire_done done = {
		.id = take(in) % (MESSAGES_MAX + 2),
		.slot = take(in) % (THREADS + 2),
		.status = take(in) % 3,
	};
	uint8_t how = take(in);
	size_t size = done.status ? sizeof(done) : offsetof(struct rk_wire_done, text);

	spoil(in, &done, sizeof(done), how >> 5);
	send_bytes(peer.messages, &done, how & 1 ? how % sizeof(done) : size);
}

static void send_anything(struct input *in)
{
	int fd = take(in) & 1 ? peer.control : peer.messages;
	size_t size = take(in);

	if (size > in->size)
		size = in->size;
	send_bytes(fd, in->data, size);
	in->data += size;
	in->size -= size;
}

/* The answer that the packet from the daemon wants, to all that have come so far. */
static void obey(struct input *in)
{
	struct rk_wire_control got, answer;

	(void)in;
	while (peer.control >= 0 &&
	       recv(peer.control, &got, sizeof(got), MSG_DONTWAIT) == sizeof(got)) {
		answer = (struct rk_wire_control){.version = RK_WIRE_VERSION};
		answer.type = got.type == RK_WIRE_HELLO	   ? RK_WIRE_READY
			      : got.type == RK_WIRE_LOAD   ? RK_WIRE_LOADED
			      : got.type == RK_WIRE_UNLOAD ? RK_WIRE_UNLOADED
			      : got.type == RK_WIRE_CHECK  ? RK_WIRE_CHECKED
							   : 0;
		if (answer.type == RK_WIRE_READY)
			strcpy(answer.ready.backend, "cpu");
		answer.kernel = got.type == RK_WIRE_LOAD ? got.load.kernel : got.kernel;
		if (answer.type)
			send_bytes(peer.control, &answer, sizeof(answer));
	}
}

/* Run what was handed out, all of a packet or the first ones, and answer that together. */
static void serve(struct input *in)
{
	_Alignas(struct rk_wire_run) uint8_t packet[RK_WIRE_RUN_MAX];
	uint8_t answers[RK_WIRE_DONE_MAX];
	size_t most = 1 + take(in);
	ssize_t len;

	while (peer.messages >= 0 &&
	       (len = recv(peer.messages, packet, sizeof(packet), MSG_DONTWAIT)) > 0) {
		const size_t head = offsetof(struct rk_wire_run, args);
		const size_t one = offsetof(struct rk_wire_done, text);
		size_t at = 0, n = 0;

		while (at < (size_t)len && n < most && (n + 1) * one <= sizeof(answers)) {
			const struct rk_wire_run *run = (const void *)(packet + at);
			struct rk_wire_done done = {.id = run->id, .slot = run->slot};

			if (peer.shared)
				atomic_store(&peer.shared->begun[run->slot], run->id);
			memcpy(answers + n++ * one, &done, one);
			at += head + run->nargs * sizeof(struct rk_wire_arg);
		}
		send_bytes(peer.messages, answers, n * one);
	}
}

static void write_shared(struct input *in)
{
	if (peer.shared)
		spoil(in, peer.shared, sizeof(*peer.shared), take(in) & 15);
}

static void close_one(struct input *in)
{
	hang_up(take(in) & 1 ? &peer.control : &peer.messages);
}

/* --- what others ask of the supervisor meanwhile --- */

static void on_done(struct rk_message *m, void *ctx)
{
	(void)m;
	(void)ctx;
	atomic_fetch_add(&rig.done, 1);
}

static void submit(struct input *in)
{
	struct rk_kernel *k = rig.kernels[take(in) % KERNELS];
	const uint64_t shape[1] = {take(in)};
	struct rk_message *m;
	struct rk_error err;

	if (rig.nmessages == MESSAGES_MAX || rk_kernel_pin(k))
		return;
	m = rk_message_new(k, 1000, 42);
	rk_kernel_unpin(k);
	FUZZ_CHECK(m && !rk_plan_bind(&m->plan, 0, 1, shape, &err) &&
		   !rk_plan_layout(&m->plan, 1 << 20, &err) &&
		   !rk_payload_alloc(rig.pool, 0, m->plan.block_bytes, &m->block, &err));
	rk_plan_prepare(&m->plan, m->block.data);
	m->done = on_done;
	if (rk_dispatch_submit(&rig.dispatch, m, false, &err))
		rk_message_unref(m);
	else
		rig.messages[rig.nmessages++] = m;
}

static void cancel(struct input *in)
{
	uint8_t which = take(in);

	if (rig.nmessages)
		rk_dispatch_cancel(&rig.dispatch, rig.messages[which % rig.nmessages]);
}

static void enable(struct input *in)
{
	struct rk_kernel *k = rig.kernels[take(in) % KERNELS];

	atomic_store(&k->wanted, take(in) & 1);
	rk_supervisor_kernels_changed(rig.supervisor);
}

static void check(struct input *in)
{
	struct rk_device device;

	rk_supervisor_check(rig.supervisor, 0, take(in) & 3);
	(void)rk_supervisor_device(rig.supervisor, take(in), &device);
}

/* One byte of the input chooses each. */
static void (*const steps[])(struct input *in) = {
	obey,	serve,	send_control, send_answer, send_anything, write_shared,
	submit, cancel, enable,	      check,	   close_one,
};

#define STEPS (sizeof(steps) / sizeof(steps[0]))

/* --- the rig --- */

static void on_ready(void *ctx, uint32_t lane, pid_t pid, const char *backend,
		     const char *fallback_why)
{
	(void)lane;
	(void)ctx;
	(void)pid;
	FUZZ_CHECK(backend[0] && strnlen(fallback_why, RK_WIRE_TEXT_MAX) < RK_WIRE_TEXT_MAX);
}

static void on_died(void *ctx, uint32_t lane, pid_t pid, const char *how, uint32_t running)
{
	(void)lane;
	(void)ctx;
	(void)pid;
	FUZZ_CHECK(how[0] && running <= MESSAGES_MAX);
}

static void on_abandoned(void *ctx, pid_t pid)
{
	(void)ctx;
	(void)pid;
	FUZZ_CHECK(!"a process that only waits was not to be killed");
}

static void on_failed(void *ctx, const char *why)
{
	(void)ctx;
	FUZZ_CHECK(why[0]);
	pthread_mutex_lock(&peer.lock);
	rig.failed = true;
	pthread_cond_broadcast(&peer.spawned);
	pthread_mutex_unlock(&peer.lock);
}

static void on_kernel(void *ctx, struct rk_kernel *k, const char *why)
{
	(void)ctx;
	(void)k;
	(void)why;
}

static void on_checked(void *ctx, uint32_t lane, uint64_t number, int status, const char *why)
{
	(void)lane;
	(void)ctx;
	(void)number;
	FUZZ_CHECK(status >= 0 && strnlen(why, RK_WIRE_TEXT_MAX) < RK_WIRE_TEXT_MAX);
}

static void on_nothing(void *ctx)
{
	(void)ctx;
}

static void on_kernel_nothing(void *ctx, struct rk_kernel *k)
{
	(void)ctx;
	(void)k;
}

static void on_kernel_moved(void *ctx, struct rk_kernel *k, uint32_t lane)
{
	(void)ctx;
	(void)k;
	(void)lane;
}

static void on_out(void *ctx, uint32_t lane, const char *why)
{
	(void)ctx;
	(void)lane;
	(void)why;
}

static void on_ended(void *ctx, uint32_t lane)
{
	(void)ctx;
	(void)lane;
}

static void on_deadline(void *ctx, uint64_t at_ns)
{
	(void)ctx;
	(void)at_ns;
}

static void drop_line(void *ctx, enum rk_log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	FUZZ_CHECK(line[0]);
}

static void add_kernels(void)
{
	for (size_t i = 0; i < KERNELS; i++) {
		struct rk_manifest m;
		struct rk_kernel_source source = {.manifest = &m};

		FUZZ_CHECK(!rk_manifest_parse(&m, descriptions[i], strlen(descriptions[i]), "fuzz",
					      NULL) &&
			   !rk_registry_add(rig.registry, &source, false, &rig.kernels[i], NULL));
	}
}

static void set_up(void)
{
	const struct rk_dispatch_observer dispatch_observer = {
		.idle = on_nothing,
		.lane_idle = on_nothing,
		.deadline = on_deadline,
		.tripped = on_kernel_nothing,
		.unloadable = on_kernel_nothing,
	};
	const struct rk_supervisor_observer observer = {
		.ready = on_ready,
		.died = on_died,
		.abandoned = on_abandoned,
		.out = on_out,
		.moved = on_nothing,
		.ended = on_ended,
		.failed = on_failed,
		.kernel = on_kernel,
		.kernel_moved = on_kernel_moved,
		.checked = on_checked,
		.drain_deadline = on_nothing,
	};

	memset((void *)&rig, 0, sizeof(rig));
	rk_log_set_sink(drop_line, NULL);
	FUZZ_CHECK(!rk_dispatch_init(&rig.dispatch, &dispatch_observer) &&
		   !rk_registry_create(&rig.registry) &&
		   !rk_payload_create(1 << 20, 100, &rig.pool, NULL));
	add_kernels();
	rk_dispatch_set_limits(&rig.dispatch, MESSAGES_MAX, 0, 0);
	rk_dispatch_accept(&rig.dispatch, true);
	FUZZ_CHECK(!rk_supervisor_create(&rig.supervisor, &rig.dispatch, rig.registry, -1,
					 &observer, NULL));
}

/* A worker from now on, which is not followed by another. */
static void start(void)
{
	const struct rk_supervisor_params params = {
		.payload = rig.pool,
		.workers = 1,
		.threads = THREADS,
		.primary = "cuda",
		.fallback = "cpu",
		.load_timeout_ms = 60000,
		.max_instances = KERNELS,
		.fuse_max = 4,
		.sample_ms = 1000,
		.devices = {"0"},
	};

	rk_supervisor_start(rig.supervisor, &params);
	pthread_mutex_lock(&peer.lock);
	while (peer.control < 0 && !rig.failed)
		pthread_cond_wait(&peer.spawned, &peer.lock);
	pthread_mutex_unlock(&peer.lock);
}

static void check_books(void)
{
	struct rk_counts c;

	rk_dispatch_snapshot(&rig.dispatch, NULL, &c);
	FUZZ_CHECK(c.in_flight == 0);
	FUZZ_CHECK(c.count[RK_COUNT_ACCEPTED] == rig.nmessages);
	FUZZ_CHECK(c.count[RK_COUNT_ACCEPTED] ==
		   c.count[RK_COUNT_PROCESSED] + c.count[RK_COUNT_FAILED] +
			   c.count[RK_COUNT_CANCELLED] + c.count[RK_COUNT_TIMED_OUT]);
	FUZZ_CHECK(atomic_load(&rig.done) == rig.nmessages);
}

static void tear_down(void)
{
	struct rk_message_list held = TAILQ_HEAD_INITIALIZER(held);

	rk_dispatch_end_all(&rig.dispatch, ECANCELED, "stopped", &held);
	rk_supervisor_stop(rig.supervisor, true, &held);
	rk_supervisor_destroy(rig.supervisor);
	check_books();
	hang_up(&peer.control);
	hang_up(&peer.messages);
	if (peer.shared)
		munmap(peer.shared, sizeof(*peer.shared));
	peer.shared = NULL;
	for (unsigned int i = 0; i < rig.nmessages; i++)
		rk_message_unref(rig.messages[i]);
	for (size_t i = 0; i < KERNELS; i++)
		rk_kernel_unref(rig.kernels[i]);
	rk_registry_destroy(rig.registry);
	rk_payload_unref(rig.pool);
	rk_dispatch_destroy(&rig.dispatch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {.data = data, .size = size};

	set_up();
	start();
	while (in.size)
		steps[take(&in) % STEPS](&in);
	tear_down();
	return 0;
}
