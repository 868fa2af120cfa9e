/* SPDX-License-Identifier: MIT */
/* A worker in a child process, and the daemon's end of its sockets, for the tests of gpu/. */
#ifndef RK_TESTS_WORKER_PEER_H
#define RK_TESTS_WORKER_PEER_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gpu/worker.h"
#include "runtime/base/log.h"
#include "runtime/base/tensor.h"
#include "runtime/base/wire.h"
#include "tests/unit/unit.h"
#include "tests/unit/wire_params.h"

#define PAYLOAD_BYTES	 (1U << 20)
#define PATIENCE_SECS	 30 /* before a packet that does not come fails the test */
#define THREADS		 4
#define SLOT		 7
#define ARRAY_SIZE(a)	 (sizeof(a) / sizeof((a)[0]))
#define RUN_LEN(run)	 (offsetof(struct rk_wire_run, args) + (run).nargs * sizeof((run).args[0]))
#define DONE_LEN_SUCCESS offsetof(struct rk_wire_done, text)

struct peer {
	pid_t pid; /* 0: already waited for */
	int control, messages, payload_fd, shared_fd;
	uint8_t *payload;
	char last_log[RK_WIRE_TEXT_MAX];
	char answers[RK_WIRE_DONE_MAX]; /* of one packet, of which next to left are to be taken */
	size_t next, left;
};

static inline int make_memfd(size_t bytes, int seals)
{
	int fd = memfd_create("rkfs-test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

static inline void make_pair(int pair[2])
{
	struct timeval patience = {.tv_sec = PATIENCE_SECS};

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)),
			 0);
}

static inline void spawn(struct peer *p, size_t shared_bytes, int payload_seals)
{
	int control[2], messages[2];

	memset(p, 0, sizeof(*p));
	make_pair(control);
	make_pair(messages);
	p->payload_fd = make_memfd(PAYLOAD_BYTES, payload_seals);
	p->shared_fd = make_memfd(shared_bytes, F_SEAL_SHRINK);
	p->payload =
		mmap(NULL, PAYLOAD_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, p->payload_fd, 0);
	assert_ptr_not_equal(p->payload, MAP_FAILED);
	fflush(NULL);
	p->pid = fork();
	assert_true(p->pid >= 0);
	if (p->pid == 0) {
		close(control[0]);
		close(messages[0]);
		exit(rk_worker_run(control[1], messages[1], p->payload_fd, p->shared_fd));
	}
	close(control[1]);
	close(messages[1]);
	p->control = control[0];
	p->messages = messages[0];
}

static inline int setup(void **state)
{
	struct peer *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	spawn(p, sizeof(struct rk_wire_shared), F_SEAL_SHRINK);
	*state = p;
	return 0;
}

static inline void reap(struct peer *p)
{
	if (p->pid) {
		kill(p->pid, SIGKILL);
		waitpid(p->pid, NULL, 0);
	}
	if (p->control >= 0)
		close(p->control);
	if (p->messages >= 0)
		close(p->messages);
	close(p->payload_fd);
	close(p->shared_fd);
	munmap(p->payload, PAYLOAD_BYTES);
}

static inline int teardown(void **state)
{
	reap(*state);
	free(*state);
	return 0;
}

static inline void send_packet(int fd, const void *packet, size_t len)
{
	assert_int_equal(send(fd, packet, len, MSG_NOSIGNAL), len);
}

/* The same with @nfds descriptors, at most two. */
static inline void send_with_fds(int fd, const void *packet, size_t len, const int *fds,
				 size_t nfds)
{
	union {
		char room[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)packet, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.room,
			     .msg_controllen = CMSG_SPACE(nfds * sizeof(int))};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	assert_true(nfds <= 2);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(nfds * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, nfds * sizeof(int));
	assert_int_equal(sendmsg(fd, &msg, MSG_NOSIGNAL), len);
}

/* The next control packet that is no log line; false at the end. */
static inline bool recv_control(struct peer *p, struct rk_wire_control *in)
{
	for (;;) {
		ssize_t n = recv(p->control, in, sizeof(*in), 0);

		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return false;
		assert_int_equal(n, sizeof(*in));
		assert_int_equal(in->version, RK_WIRE_VERSION);
		if (in->type != RK_WIRE_LOG)
			return true;
		assert_non_null(memchr(in->log.text, '\0', sizeof(in->log.text)));
		memcpy(p->last_log, in->log.text, sizeof(p->last_log));
	}
}

static inline void recv_answer(struct peer *p, struct rk_wire_control *in, uint32_t type)
{
	assert_true(recv_control(p, in));
	assert_int_equal(in->type, type);
}

/* The worker has ended, or ends, by itself. Returns what wait(2) says. */
static inline int expect_end(struct peer *p)
{
	struct rk_wire_control in;
	int found;

	while (recv_control(p, &in))
		;
	/* A reset comes before what was sent, which a second look finds. */
	while (recv_control(p, &in))
		;
	assert_int_equal(waitpid(p->pid, &found, 0), p->pid);
	p->pid = 0;
	return found;
}

static inline void expect_exit(struct peer *p, int status)
{
	int found = expect_end(p);

	assert_true(WIFEXITED(found));
	assert_int_equal(WEXITSTATUS(found), status);
}

static inline struct rk_wire_control make_hello(const char *primary, const char *fallback)
{
	struct rk_wire_control out = {.version = RK_WIRE_VERSION, .type = RK_WIRE_HELLO};

	out.hello.threads = THREADS;
	out.hello.settings.log_level = RK_LOG_INFO;
	out.hello.settings.sample_ms = 1000;
	snprintf(out.hello.device.device, sizeof(out.hello.device.device), "0");
	out.hello.device.pool_growth_factor = 1;
	out.hello.payload_bytes = PAYLOAD_BYTES;
	snprintf(out.hello.primary, sizeof(out.hello.primary), "%s", primary);
	snprintf(out.hello.fallback, sizeof(out.hello.fallback), "%s", fallback);
	return out;
}

static inline struct rk_wire_control hello(struct peer *p, const char *primary,
					   const char *fallback)
{
	struct rk_wire_control packet = make_hello(primary, fallback);

	send_packet(p->control, &packet, sizeof(packet));
	recv_answer(p, &packet, RK_WIRE_READY);
	return packet;
}

static inline void hello_cpu(struct peer *p)
{
	struct rk_wire_control ready = hello(p, "cpu", "");

	assert_int_equal(ready.status, 0);
	assert_string_equal(ready.ready.backend, "cpu");
	assert_string_equal(ready.ready.fallback_why, "");
}

/* One row per kernel of this version, as its description says it. */
static const struct signature {
	const char *entry;
	uint32_t nparams;
	struct rk_wire_param params[6];
} echo = {"echo", 3, {IN(RK_U8), OUT(RK_U8), DIM}},
  vector_add = {"vector_add", 4, {IN(RK_F32), IN(RK_F32), OUT(RK_F32), DIM}},
  reduce_sum = {"reduce_sum", 3, {IN(RK_F32), OUT(RK_F64), DIM}},
  delay = {"delay", 2, {VALUE(RK_U32), OUT(RK_U32)}},
  ring_echo = {"ring_echo", 3, {IN(RK_U8), OUT(RK_U8), DIM}},
  running_stats = {
	  "running_stats", 6, {IN(RK_F64), STATE, OUT(RK_U64), OUT(RK_F64), OUT(RK_F64), DIM}};

static inline struct rk_wire_control make_load(uint32_t slot, const struct signature *s)
{
	struct rk_wire_control out = {.version = RK_WIRE_VERSION, .type = RK_WIRE_LOAD};

	out.load.kernel = slot;
	out.load.nparams = s->nparams;
	snprintf(out.load.id, sizeof(out.load.id), "test/%s", s->entry);
	snprintf(out.load.library, sizeof(out.load.library), "builtin");
	snprintf(out.load.entry, sizeof(out.load.entry), "%s", s->entry);
	memcpy(out.load.params, s->params, sizeof(s->params));
	return out;
}

/* The same as a ring kernel. */
static inline struct rk_wire_control make_ring_load(uint32_t slot, const struct signature *s,
						    uint64_t state_bytes)
{
	struct rk_wire_control out = make_load(slot, s);

	out.load.mode = RK_WIRE_RING;
	out.load.state_bytes = state_bytes;
	return out;
}

static inline struct rk_wire_control load_packet(struct peer *p, struct rk_wire_control packet)
{
	uint32_t slot = packet.load.kernel;

	send_packet(p->control, &packet, sizeof(packet));
	recv_answer(p, &packet, RK_WIRE_LOADED);
	assert_int_equal(packet.kernel, slot);
	return packet;
}

static inline struct rk_wire_control unload(struct peer *p, uint32_t slot)
{
	struct rk_wire_control packet = {
		.version = RK_WIRE_VERSION, .type = RK_WIRE_UNLOAD, .kernel = slot};

	send_packet(p->control, &packet, sizeof(packet));
	recv_answer(p, &packet, RK_WIRE_UNLOADED);
	assert_int_equal(packet.kernel, slot);
	return packet;
}

static inline void send_settings(struct peer *p, uint32_t log_level, bool watched,
				 uint64_t sample_ms)
{
	struct rk_wire_control packet = {.version = RK_WIRE_VERSION, .type = RK_WIRE_SETTINGS};

	packet.settings.log_level = log_level;
	packet.settings.watched = watched;
	packet.settings.sample_ms = sample_ms;
	send_packet(p->control, &packet, sizeof(packet));
}

static inline void send_check(struct peer *p, uint64_t number)
{
	struct rk_wire_control packet = {.version = RK_WIRE_VERSION, .type = RK_WIRE_CHECK};

	packet.check.number = number;
	send_packet(p->control, &packet, sizeof(packet));
}

static inline void load(struct peer *p, uint32_t slot, const struct signature *s)
{
	assert_int_equal(load_packet(p, make_load(slot, s)).status, 0);
}

static inline void send_run(struct peer *p, const struct rk_wire_run *run)
{
	send_packet(p->messages, run, RUN_LEN(*run));
}

static inline struct rk_wire_done recv_done(struct peer *p)
{
	struct rk_wire_done done = {0};

	if (p->next == p->left) {
		ssize_t n = recv(p->messages, p->answers, sizeof(p->answers), MSG_TRUNC);

		assert_in_range(n, DONE_LEN_SUCCESS, sizeof(p->answers));
		p->next = 0;
		p->left = (size_t)n;
	}
	assert_true(p->left - p->next >= DONE_LEN_SUCCESS);
	memcpy(&done, p->answers + p->next, DONE_LEN_SUCCESS);
	if (done.status) {
		assert_true(p->left - p->next >= sizeof(done));
		memcpy(&done, p->answers + p->next, sizeof(done));
	}
	p->next += done.status ? sizeof(done) : DONE_LEN_SUCCESS;
	return done;
}

static inline struct rk_wire_done run_one(struct peer *p, const struct rk_wire_run *run)
{
	struct rk_wire_done done;

	send_run(p, run);
	done = recv_done(p);
	assert_int_equal(done.id, run->id);
	assert_int_equal(done.slot, run->slot);
	return done;
}

#define RIG_TEST(name) TEST_WITH(name, setup, teardown)

#endif
