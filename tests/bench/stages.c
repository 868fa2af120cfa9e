/* SPDX-License-Identifier: MIT */
/*
 * stages ROUNDS RK-WORKER CALL.RAW MINFS-FILE: where the time of a call of core/echo with 64 bytes
 * goes, each part as a median in microseconds:
 *
 *   client    write and read of CALL.RAW
 *   runtime   the same request given to a runtime in this process, with a worker of its own: from
 *             the first byte fed until the answer is there, as the daemon does it but without FUSE
 *   codec     of that: decode, encode, drop
 *   kernel    of that: what the worker says that it took
 *   dispatch  of that: submit and complete, without the send within; measured in one thread with a
 *             socket that nobody waits on, since a send that wakes somebody may not come back soon
 *   wire      what is left of it: both packets, the wakes, and the worker's part
 *   socket    as much through a SEQPACKET pair to a process that sends it back: floor of wire
 *   fuse      client - runtime
 *   requests  two reads of MINFS-FILE, each one request: floor of fuse
 *
 * Rounds are interleaved.
 */
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "runtime/request/codec.h"
#include "runtime/base/log.h"
#include "runtime/runtime.h"
#include "tests/bench/bench.h"

#define BYTES 64
#define CALLS 50 /* per round */

enum part {
	CLIENT,
	REQUESTS,
	RUNTIME,
	CODEC,
	KERNEL,
	SOCKET,
	DISPATCH,
	PARTS
};

static const char *const names[PARTS] = {"client", "requests", "runtime", "codec",
					 "kernel", "socket",   "dispatch"};

static double *samples[PARTS];
static size_t count;
static char bytes[BYTES];

/* --- a runtime --- */

struct rig {
	struct rk_runtime *rt;
	struct rk_runtime_observer observer;
	struct rk_kernel *kernel; /* pinned */
	struct rk_payload *pool;
	sem_t running, answered;
	struct rk_request request;
	uint64_t done, end; /* of the message, of the answer */
};

static void on_news(void *ctx, enum rk_news news)
{
	struct rig *rig = ctx;

	if (news != RK_NEWS_STATE)
		return;
	if (rk_runtime_state(rig->rt) == RK_RUNNING)
		sem_post(&rig->running);
	else if (rk_runtime_state(rig->rt) == RK_FAILED)
		errx(1, "the runtime has failed");
}

static void on_idle(void *unused)
{
	(void)unused;
}

static void on_kernel(void *unused, struct rk_kernel *k)
{
	(void)unused;
	(void)k;
}

static void drop_line(void *unused, enum rk_log_level level, const char *line)
{
	(void)unused;
	(void)level;
	(void)line;
}

static void start_runtime(struct rig *rig, int worker)
{
	const char *const options[] = {"primary_backend=cpu", NULL};
	const struct rk_config_sources sources = {.options = options};
	struct rk_error error = {0};

	rk_log_set_sink(drop_line, NULL);
	if (sem_init(&rig->running, 0, 0) || sem_init(&rig->answered, 0, 0))
		err(1, "sem_init");
	rig->observer = (struct rk_runtime_observer){.tell = on_news, .ctx = rig};
	if (rk_runtime_create(&rig->rt, &sources, worker, &rig->observer, &error) ||
	    rk_runtime_command(rig->rt, RK_START, -1, NULL, &error))
		errx(1, "%s", error.msg);
	sem_wait(&rig->running);
	rig->pool = rk_runtime_payload(rig->rt);
	rig->kernel = rk_registry_find(rk_runtime_registry(rig->rt), "core", "echo");
	if (!rig->kernel || rk_kernel_pin(rig->kernel))
		errx(1, "there is no core/echo");
}

static void end_runtime(struct rig *rig)
{
	rk_kernel_unpin(rig->kernel);
	rk_kernel_unref(rig->kernel);
	rk_payload_unref(rig->pool);
	rk_runtime_destroy(rig->rt);
}

static void decode(struct rk_request *r, struct rk_kernel *k, struct rk_payload *pool)
{
	struct rk_error error = {0};

	*r = (struct rk_request){
		.codec = &rk_codec_raw, .max_json_bytes = 1 << 20, .max_message_bytes = 1 << 20};
	rk_request_init(r, k, pool);
	if (r->codec->feed(r, bytes, BYTES, &error) || r->codec->finish(r, &error))
		errx(1, "%s", error.msg);
}

static void on_done(struct rk_message *m, void *ctx)
{
	struct rk_answer answer = {0};
	struct rk_error error = {0};
	struct rig *rig = ctx;

	rig->done = rk_now_ns();
	if (m->error.code || rig->request.codec->answer(&rig->request, &answer, &error))
		errx(1, "%s%s", m->error.msg, error.msg);
	if (answer.nparts != 1 || memcmp(answer.parts[0].iov_base, bytes, BYTES))
		errx(1, "core/echo answers something else");
	rk_answer_drop(&answer);
	rig->end = rk_now_ns();
	sem_post(&rig->answered);
}

static void call_runtime(struct rig *rig, size_t i)
{
	uint64_t start = rk_now_ns(), decoded;
	struct rk_error error = {0};
	struct rk_message *m;
	double drop;

	decode(&rig->request, rig->kernel, rig->pool);
	m = rig->request.message;
	m->done = on_done;
	m->ctx = rig;
	decoded = rk_now_ns();
	if (rk_dispatch_submit(rk_runtime_dispatch(rig->rt), m, true, &error))
		errx(1, "%s", error.msg);
	sem_wait(&rig->answered);
	samples[KERNEL][i] = (double)m->run_ns / 1e3;
	drop = (double)rk_now_ns();
	rk_request_drop(&rig->request);
	drop = ((double)rk_now_ns() - drop) / 1e3;
	samples[RUNTIME][i] = (double)(rig->end - start) / 1e3 + drop;
	samples[CODEC][i] = (double)(decoded - start + rig->end - rig->done) / 1e3 + drop;
}

/* --- dispatch alone --- */

struct alone {
	struct rk_dispatch dispatch;
	struct rk_registry *registry;
	struct rk_kernel *kernel;
	int fd, peer;
};

static void on_deadline(void *unused, uint64_t at_ns)
{
	(void)unused;
	(void)at_ns;
}

static void start_alone(struct alone *a, const struct rig *rig)
{
	const struct rk_dispatch_observer observer = {.idle = on_idle,
						      .deadline = on_deadline,
						      .tripped = on_kernel,
						      .unloadable = on_kernel};
	const struct rk_kernel_source source = {.manifest = &rig->kernel->manifest};
	struct rk_error error = {0};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		err(1, "socketpair");
	a->fd = pair[0];
	a->peer = pair[1];
	if (rk_dispatch_init(&a->dispatch, &observer) || rk_registry_create(&a->registry) ||
	    rk_registry_add(a->registry, &source, false, &a->kernel, &error) ||
	    rk_kernel_pin(a->kernel))
		errx(1, "cannot set up dispatch: %s", error.msg);
	rk_dispatch_kernel_loaded(&a->dispatch, RK_ONLY_LANE, a->kernel, true);
	rk_dispatch_kernel_state(&a->dispatch, a->kernel, RK_KERNEL_ACTIVE, "");
	(void)rk_dispatch_accept(&a->dispatch, true);
	rk_dispatch_attach(&a->dispatch, RK_ONLY_LANE, a->fd, NULL, 1, 1);
}

static void end_alone(struct alone *a)
{
	rk_kernel_unpin(a->kernel);
	rk_kernel_unref(a->kernel);
	rk_dispatch_destroy(&a->dispatch);
	rk_registry_destroy(a->registry);
	close(a->fd);
	close(a->peer);
}

/* Microseconds of sending @len bytes that nobody waits for; they are read again. */
static double send_us(const struct alone *a, void *buf, size_t len)
{
	uint64_t start = rk_now_ns();
	double us;

	if (send(a->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)len)
		err(1, "send");
	us = bench_us_since(start);
	if (recv(a->peer, buf, len, 0) != (ssize_t)len)
		err(1, "recv");
	return us;
}

static void call_alone(struct alone *a, struct rk_payload *pool, size_t i)
{
	struct rk_request request;
	struct rk_wire_done done = {.status = 0};
	struct rk_error error = {0};
	struct rk_wire_run run;
	uint64_t start;
	ssize_t len;
	double us;

	decode(&request, a->kernel, pool);
	start = rk_now_ns();
	if (rk_dispatch_submit(&a->dispatch, request.message, true, &error))
		errx(1, "%s", error.msg);
	us = bench_us_since(start);
	len = recv(a->peer, &run, sizeof(run), 0);
	if (len <= 0)
		err(1, "recv");
	done.id = run.id;
	done.slot = run.slot;
	start = rk_now_ns();
	if (rk_dispatch_complete(&a->dispatch, RK_ONLY_LANE, &done,
				 offsetof(struct rk_wire_done, text), &error))
		errx(1, "%s", error.msg);
	us += bench_us_since(start);
	rk_request_drop(&request);
	samples[DISPATCH][i] = us - send_us(a, &run, (size_t)len);
}

/* --- the rest --- */

static void call_client(int fd, size_t i)
{
	uint64_t start = rk_now_ns();
	char answer[4096];

	if (write(fd, bytes, BYTES) != BYTES || read(fd, answer, sizeof(answer)) != BYTES)
		err(1, "call.raw");
	samples[CLIENT][i] = bench_us_since(start);
}

static void read_twice(int fd, size_t i)
{
	uint64_t start = rk_now_ns();
	char buf[64];

	for (int k = 0; k < 2; k++)
		if (pread(fd, buf, sizeof(buf), 0) <= 0)
			err(1, "the smallest filesystem");
	samples[REQUESTS][i] = bench_us_since(start);
}

/* As large as the run packet of core/echo, which has three arguments. */
static void echo_packet(int fd, size_t i)
{
	char packet[offsetof(struct rk_wire_run, args) + 3 * sizeof(struct rk_wire_arg)] = {0};
	uint64_t start = rk_now_ns();

	if (send(fd, packet, sizeof(packet), 0) < 0 || recv(fd, packet, sizeof(packet), 0) <= 0)
		err(1, "echo");
	samples[SOCKET][i] = bench_us_since(start);
}

static void print_medians(void)
{
	double *left = samples[SOCKET]; /* printed by then */
	double dispatch;

	printf("socket %.2f\n", bench_median(samples[SOCKET], count));
	dispatch = bench_median(samples[DISPATCH], count);
	/* of one call, before the samples get sorted */
	for (size_t i = 0; i < count; i++)
		left[i] = samples[RUNTIME][i] - samples[CODEC][i] - samples[KERNEL][i] - dispatch;
	printf("wire %.2f\n", bench_median(left, count));
	for (int p = 0; p < PARTS; p++)
		if (p != SOCKET)
			printf("%s %.2f\n", names[p], bench_median(samples[p], count));
	printf("fuse %.2f\n",
	       bench_median(samples[CLIENT], count) - bench_median(samples[RUNTIME], count));
}

int main(int argc, char **argv)
{
	static struct alone alone;
	static struct rig rig;
	int worker, call, minfs, echo;
	long rounds;
	pid_t pid;

	if (argc != 5)
		errx(2, "usage: stages ROUNDS RK-WORKER CALL.RAW MINFS-FILE");
	rounds = bench_number(argv[1], BENCH_ROUNDS_MAX);
	for (int p = 0; p < PARTS; p++) {
		samples[p] = calloc((size_t)rounds * CALLS, sizeof(double));
		if (!samples[p])
			errx(1, "no memory");
	}
	memset(bytes, 'x', BYTES);
	pid = bench_start_echo(SOCK_SEQPACKET, &echo);
	worker = bench_open(argv[2], O_RDONLY);
	call = bench_open(argv[3], O_RDWR);
	minfs = bench_open(argv[4], O_RDONLY);
	start_runtime(&rig, worker);
	start_alone(&alone, &rig);
	for (long r = 0; r < rounds; r++, count += CALLS) {
		for (size_t i = count; i < count + CALLS; i++)
			call_client(call, i);
		for (size_t i = count; i < count + CALLS; i++)
			call_runtime(&rig, i);
		for (size_t i = count; i < count + CALLS; i++)
			call_alone(&alone, rig.pool, i);
		for (size_t i = count; i < count + CALLS; i++)
			read_twice(minfs, i);
		for (size_t i = count; i < count + CALLS; i++)
			echo_packet(echo, i);
	}
	print_medians();
	end_alone(&alone);
	end_runtime(&rig);
	close(echo);
	waitpid(pid, NULL, 0);
	return 0;
}
