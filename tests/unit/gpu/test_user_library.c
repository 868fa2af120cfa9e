/* SPDX-License-Identifier: MIT */
/* Users' libraries (tests/kernels_src/) in a worker, driven over its sockets as the daemon does it.
 */
#include <dirent.h>
#include <elf.h>
#include <fenv.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "gpu/base/crash.h"
#include "tests/unit/gpu/worker_peer.h"

#define LIBRARY_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)
#define LIBRARY_PATH  "/srv/kernels/test.so"
#define CYCLES	      200
#define MESSAGE	      4711 /* its id */

static const struct signature axpby = {
	"axpby", 6, {VALUE(RK_F32), IN(RK_F32), VALUE(RK_F32), IN(RK_F32), OUT(RK_F32), DIM}};
static const struct signature version = {"version", 3, {VALUE(RK_U32), OUT(RK_U32), OUT(RK_U32)}};
static const struct signature lifetime = {"lifetime", 3, {VALUE(RK_I32), OUT(RK_U32), OUT(RK_U32)}};
static const struct signature rounding = {"rounding", 1, {OUT(RK_I32)}};
static const struct signature overrun = {
	"overrun", 4, {VALUE(RK_U32), IN(RK_F32), OUT(RK_F32), DIM}};
static const struct signature ring_counter = {
	"ring_counter", 3, {VALUE(RK_U32), STATE, OUT(RK_U64)}};
static const struct signature spin = {"spin", 2, {VALUE(RK_U32), OUT(RK_U32)}};
static const struct signature crash_load = {"crash_load", 1, {OUT(RK_U32)}};
static const struct signature crash_in_thread = {"crash_in_thread", 1, {OUT(RK_U32)}};
static const struct signature crash_pthread_exit = {"crash_pthread_exit", 1, {OUT(RK_U32)}};

/* A memfd with @bytes of @data, sealed as the daemon does it. */
static int seal(const void *data, size_t bytes)
{
	int fd = make_memfd(0, 0);

	assert_int_equal(write(fd, data, bytes), bytes);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, LIBRARY_SEALS), 0);
	return fd;
}

static void *read_file(const char *path, size_t *bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *data;

	if (fd < 0)
		fail_msg("%s: %s", path, strerror(errno));
	assert_int_equal(fstat(fd, &st), 0);
	*bytes = (size_t)st.st_size;
	data = malloc(*bytes);
	assert_non_null(data);
	assert_int_equal(read(fd, data, *bytes), *bytes);
	close(fd);
	return data;
}

static void *read_library(const char *name, size_t *bytes)
{
	char path[1024];

	snprintf(path, sizeof(path), "%s/%s.so", RK_KERNELS_DIR, name);
	return read_file(path, bytes);
}

static int open_library(const char *name)
{
	size_t bytes;
	void *data = read_library(name, &bytes);
	int fd = seal(data, bytes);

	free(data);
	return fd;
}

/* Load from @fd, which stays the caller's, and return the answer. */
static struct rk_wire_control load_packet_fd(struct peer *p, struct rk_wire_control packet, int fd)
{
	uint32_t slot = packet.load.kernel;

	strcpy(packet.load.library, LIBRARY_PATH);
	send_with_fds(p->control, &packet, sizeof(packet), &fd, 1);
	recv_answer(p, &packet, RK_WIRE_LOADED);
	assert_int_equal(packet.kernel, slot);
	return packet;
}

static struct rk_wire_control load_fd(struct peer *p, uint32_t slot, const struct signature *s,
				      int fd)
{
	return load_packet_fd(p, make_load(slot, s), fd);
}

static void load_library(struct peer *p, uint32_t slot, const struct signature *s, const char *name)
{
	int fd = open_library(name);
	struct rk_wire_control answer = load_fd(p, slot, s, fd);

	close(fd);
	if (answer.status)
		fail_msg("%s", answer.text);
}

static void load_ring(struct peer *p, uint32_t slot, const struct signature *s, const char *name,
		      uint64_t state_bytes)
{
	int fd = open_library(name);
	struct rk_wire_control answer = load_packet_fd(p, make_ring_load(slot, s, state_bytes), fd);

	close(fd);
	if (answer.status)
		fail_msg("%s", answer.text);
}

static void unload_well(struct peer *p, uint32_t slot)
{
	assert_int_equal(unload(p, slot).status, 0);
}

static unsigned int count_fds(const struct peer *p)
{
	char path[64];
	unsigned int count = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", p->pid);
	dir = opendir(path);
	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static struct rk_wire_shared read_shared(const struct peer *p)
{
	struct rk_wire_shared shared;

	assert_int_equal(pread(p->shared_fd, (void *)&shared, sizeof(shared), 0), sizeof(shared));
	return shared;
}

/* A run with one scalar of 4 bytes and one output of 4 bytes at @offset. */
static struct rk_wire_run make_run(uint64_t id, uint32_t slot, uint32_t value, uint64_t offset)
{
	return (struct rk_wire_run){.id = id,
				    .kernel = slot,
				    .nargs = 2,
				    .args = {{value, sizeof(value)}, {offset, sizeof(uint32_t)}}};
}

/* Any float that is no NaN. */
static float next_float(uint32_t *random)
{
	float value;

	*random = *random * 1664525 + 1013904223;
	memcpy(&value, random, sizeof(value));
	return value == value ? value : 0;
}

RIG_TEST(right_to_the_bit)
{
	const uint64_t sizes[] = {0, 1, 7, 4096};
	struct peer *p = *state;
	float *x = (float *)p->payload, *y = x + 8192, *z = y + 8192;
	uint32_t random = 1;

	hello_cpu(p);
	load_library(p, SLOT, &axpby, "axpby");
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		const uint64_t n = sizes[i], bytes = n * sizeof(float);
		float a = next_float(&random), b = next_float(&random);
		struct rk_wire_run run = {.kernel = SLOT,
					  .nargs = 6,
					  .args = {{0, sizeof(a)},
						   {0, bytes},
						   {0, sizeof(b)},
						   {32768, bytes},
						   {65536, bytes},
						   {n, sizeof(n)}}};

		memcpy(&run.args[0].value, &a, sizeof(a));
		memcpy(&run.args[2].value, &b, sizeof(b));
		for (uint64_t j = 0; j < n; j++) {
			x[j] = next_float(&random);
			y[j] = next_float(&random);
		}
		z[n] = 42;
		assert_int_equal(run_one(p, &run).status, 0);
		for (uint64_t j = 0; j < n; j++) {
			volatile float ax = a * x[j], by = b * y[j];
			float sum = ax + by;

			assert_memory_equal(&z[j], &sum, sizeof(sum));
		}
		assert_true(z[n] == 42);
	}
}

static uint32_t version_of(struct peer *p, uint32_t slot)
{
	uint32_t *first = (uint32_t *)p->payload, *second = first + 16;
	struct rk_wire_run run = {.kernel = slot, .nargs = 3, .args = {{0, 4}, {0, 4}, {64, 4}}};

	*first = *second = 0;
	assert_int_equal(run_one(p, &run).status, 0);
	assert_int_equal(*first, *second);
	return *first;
}

/* The path stays, the bytes change. */
RIG_TEST(new_version)
{
	struct peer *p = *state;

	hello_cpu(p);
	for (int i = 0; i < 3; i++) {
		load_library(p, SLOT, &version, "version_1");
		assert_int_equal(version_of(p, SLOT), 1);
		unload_well(p, SLOT);
		load_library(p, SLOT, &version, "version_2");
		assert_int_equal(version_of(p, SLOT), 2);
		/* both at once, as while the old one finishes */
		load_library(p, SLOT + 1, &version, "version_1");
		assert_int_equal(version_of(p, SLOT + 1), 1);
		assert_int_equal(version_of(p, SLOT), 2);
		unload_well(p, SLOT);
		assert_int_equal(version_of(p, SLOT + 1), 1);
		unload_well(p, SLOT + 1);
	}
}

/* The loader keeps these, and would give the old one to whoever opens its path again. */
RIG_TEST(never_unloaded)
{
	struct peer *p = *state;
	int first = open_library("nodelete_1");
	unsigned int before;

	hello_cpu(p);
	before = count_fds(p);
	assert_int_equal(load_fd(p, SLOT, &version, first).status, 0);
	assert_int_equal(version_of(p, SLOT), 1);
	unload_well(p, SLOT);
	assert_int_equal(count_fds(p), before + 1);
	load_library(p, SLOT, &version, "nodelete_2");
	assert_int_equal(version_of(p, SLOT), 2);
	unload_well(p, SLOT);
	load_library(p, SLOT, &version, "version_1");
	assert_int_equal(version_of(p, SLOT), 1);
	unload_well(p, SLOT);
	assert_int_equal(count_fds(p), before + 2);
	/* the very one that is still there takes nothing new */
	assert_int_equal(load_fd(p, SLOT, &version, first).status, 0);
	assert_int_equal(version_of(p, SLOT), 1);
	unload_well(p, SLOT);
	assert_int_equal(count_fds(p), before + 2);
	close(first);
}

static void expect_lifetime(struct peer *p, uint32_t slot, int fd, uint32_t calls)
{
	struct rk_wire_run run = {
		.kernel = slot, .nargs = 3, .args = {{(uint32_t)fd, 4}, {0, 4}, {64, 4}}};

	assert_int_equal(run_one(p, &run).status, 0);
	assert_int_equal(((uint32_t *)p->payload)[0], 1);
	assert_int_equal(((uint32_t *)p->payload)[16], calls);
}

/* Two kernels of one memfd are one library, which ends with the second. */
RIG_TEST(constructor_and_destructor)
{
	struct peer *p = *state;
	int fd = open_library("lifetime"), ends[2];
	char c;

	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	reap(p);
	spawn(p, sizeof(struct rk_wire_shared), F_SEAL_SHRINK); /* it has the pipe too */
	hello_cpu(p);
	assert_int_equal(load_fd(p, SLOT, &lifetime, fd).status, 0);
	expect_lifetime(p, SLOT, ends[1], 1);
	assert_int_equal(load_fd(p, SLOT + 1, &lifetime, fd).status, 0);
	expect_lifetime(p, SLOT + 1, ends[1], 2);
	unload_well(p, SLOT);
	expect_lifetime(p, SLOT + 1, ends[1], 3);
	assert_int_equal(read(ends[0], &c, 1), -1);
	unload_well(p, SLOT + 1);
	assert_int_equal(read(ends[0], &c, 1), 1);
	/* another memfd with the same bytes is another library */
	assert_int_equal(load_fd(p, SLOT, &lifetime, fd).status, 0);
	expect_lifetime(p, SLOT, -1, 1);
	load_library(p, SLOT + 1, &lifetime, "lifetime");
	expect_lifetime(p, SLOT + 1, -1, 1);
	close(fd);
	close(ends[0]);
	close(ends[1]);
}

/* A function leaves its thread in another mode, which the next one does not find. */
RIG_TEST(rounding_mode)
{
	struct peer *p = *state;
	struct rk_wire_run run = {.kernel = SLOT, .nargs = 1, .args = {{0, 4}}};

	hello_cpu(p);
	load_library(p, SLOT, &rounding, "rounding");
	for (int i = 0; i < 8 * THREADS; i++) {
		*(int32_t *)p->payload = -1;
		assert_int_equal(run_one(p, &run).status, 0);
		assert_int_equal(*(int32_t *)p->payload, FE_TONEAREST);
	}
}

/* The worker lets it pass: the daemon sees it by the guard. */
RIG_TEST(overrun)
{
	struct peer *p = *state;
	uint8_t expected[RK_WIRE_GUARD];
	struct rk_wire_run run = {
		.kernel = SLOT, .nargs = 4, .args = {{3, 4}, {0, 8}, {64, 8}, {2, 8}}};

	hello_cpu(p);
	load_library(p, SLOT, &overrun, "overrun");
	memset(expected, RK_WIRE_GUARD_BYTE, sizeof(expected));
	memcpy(p->payload + 64 + 8, expected, sizeof(expected));
	memset(expected, 0, 3);
	assert_int_equal(run_one(p, &run).status, 0);
	assert_memory_equal(p->payload + 64 + 8, expected, sizeof(expected));
}

/* Start spin and return when it is in its loop. */
static void start_spin(struct peer *p, uint64_t id, uint64_t offset)
{
	struct rk_wire_run run = make_run(id, SLOT, 1, offset);
	const volatile uint32_t *ended = (volatile uint32_t *)(p->payload + offset);

	assert_int_equal(*ended, 0);
	send_run(p, &run);
	while (*ended != 2)
		sched_yield();
}

RIG_TEST(endless_loop)
{
	struct peer *p = *state;
	struct rk_wire_run marker = make_run(2, SLOT, 0, 64);
	struct rk_wire_control packet;

	hello_cpu(p);
	load_library(p, SLOT, &spin, "spin");
	start_spin(p, 1, 0);
	assert_int_equal(run_one(p, &marker).status, 0);
	packet = unload(p, SLOT);
	assert_int_equal(packet.status, EBUSY);
	load_library(p, SLOT + 1, &version, "version_1");
	assert_int_equal(version_of(p, SLOT + 1), 1);
	kill(p->pid, SIGKILL);
	assert_int_equal(WTERMSIG(expect_end(p)), SIGKILL);
	assert_int_equal(read_shared(p).crashed_message, 0);
}

/* Run @entry of library @name with @value, a message among others, and expect it to be blamed. */
static int crash(struct peer *p, enum rk_wire_mode mode, const char *name, const char *entry,
		 uint32_t value)
{
	struct signature s = {entry, 2, {VALUE(RK_U32), OUT(RK_U32)}};
	struct rk_wire_run run = make_run(1, SLOT, 0, 0);
	int found;

	hello_cpu(p);
	if (mode == RK_WIRE_RING)
		load_ring(p, SLOT, &s, name, 64);
	else
		load_library(p, SLOT, &s, name);
	load(p, SLOT + 1, &delay);
	if (strcmp(entry, "crash_exit") == 0)
		run.args[0].value = UINT32_MAX;
	assert_int_equal(run_one(p, &run).status, 0);
	assert_int_equal(*(uint32_t *)p->payload, 1); /* it survived */
	assert_int_equal(read_shared(p).crashed_message, 0);
	for (uint64_t i = 1; i < THREADS; i++) {
		run = make_run(i, SLOT + 1, UINT32_MAX, i * RK_WIRE_ALIGN);
		send_run(p, &run);
	}
	run = make_run(MESSAGE, SLOT, value, 0);
	send_run(p, &run);
	found = expect_end(p);
	assert_int_equal(read_shared(p).crashed_message, MESSAGE);
	assert_int_equal(read_shared(p).loading_kernel, 0);
	reap(p);
	spawn(p, sizeof(struct rk_wire_shared), F_SEAL_SHRINK);
	return found;
}

RIG_TEST(crashes)
{
	static const struct {
		const char *name;
		int signal;
	} cases[] = {
		{"crash_null", SIGSEGV},
		{"crash_stack", SIGSEGV},
		{"crash_abort", SIGABRT},
	};
	static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS, SIGTRAP};
	struct peer *p = *state;
	int found;

	for (size_t i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		const char *name = cases[i / 2].name;

		found = crash(p, i % 2 ? RK_WIRE_RING : RK_WIRE_BATCH, name, name, 1);
		assert_true(WIFSIGNALED(found));
		assert_int_equal(WTERMSIG(found), cases[i / 2].signal);
	}
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		found = crash(p, RK_WIRE_BATCH, "crash_signal", "crash_signal",
			      (uint32_t)signals[i]);
		assert_true(WIFSIGNALED(found));
		assert_int_equal(WTERMSIG(found), signals[i]);
	}
}

RIG_TEST(exits)
{
	static const uint32_t statuses[] = {0, 3};
	struct peer *p = *state;

	for (size_t i = 0; i < 2 * ARRAY_SIZE(statuses); i++) {
		int found = crash(p, i % 2 ? RK_WIRE_RING : RK_WIRE_BATCH, "crash_exit",
				  "crash_exit", statuses[i / 2]);

		assert_true(WIFEXITED(found));
		assert_int_equal(WEXITSTATUS(found), statuses[i / 2]);
	}
}

RIG_TEST(pthread_exit)
{
	struct peer *p = *state;
	struct rk_wire_run run = {.id = MESSAGE, .kernel = SLOT, .nargs = 1, .args = {{0, 4}}};

	for (int ring = 0; ring < 2; ring++) {
		hello_cpu(p);
		if (ring)
			load_ring(p, SLOT, &crash_pthread_exit, "crash_signal", 0);
		else
			load_library(p, SLOT, &crash_pthread_exit, "crash_signal");
		send_run(p, &run);
		expect_exit(p, 1);
		assert_int_equal(read_shared(p).crashed_message, MESSAGE);
		assert_non_null(strstr(p->last_log,
				       "message 4711: the kernel ended the thread that ran it"));
		reap(p);
		spawn(p, sizeof(struct rk_wire_shared), F_SEAL_SHRINK);
	}
}

/* The state is the kernel's own, and only one message is at it however many come. */
RIG_TEST(ring)
{
	struct peer *p = *state;
	const uint64_t count = 4 * THREADS;
	uint64_t seen = 0, n;

	hello_cpu(p);
	for (uint32_t slot = SLOT; slot < SLOT + 2; slot++) {
		load_ring(p, slot, &ring_counter, "ring_counter", 16);
		for (uint64_t i = 0; i < count; i++) {
			struct rk_wire_run run = {
				.id = i,
				.kernel = slot,
				.nargs = 3,
				.args = {{1, 4}, {0, 0}, {i * RK_WIRE_ALIGN * 2, 8}}};

			send_run(p, &run);
		}
		for (uint64_t i = 0; i < count; i++)
			assert_int_equal(recv_done(p).status, 0);
		for (uint64_t i = 0; i < count; i++) {
			memcpy(&n, p->payload + i * RK_WIRE_ALIGN * 2, sizeof(n));
			assert_in_range(n, 1, count);
			seen ^= 1ULL << n;
		}
		/* each number once in the first round, and again in the second */
		assert_true(seen == (slot == SLOT ? ((1ULL << count) - 1) << 1 : 0));
	}
	unload_well(p, SLOT);
	unload_well(p, SLOT + 1);
}

/* A message does not find the rounding mode that the one before it left. */
RIG_TEST(ring_rounding_mode)
{
	struct peer *p = *state;
	struct rk_wire_run run = {.kernel = SLOT, .nargs = 1, .args = {{0, 4}}};

	hello_cpu(p);
	load_ring(p, SLOT, &rounding, "rounding", 0);
	for (int i = 0; i < 2; i++) {
		*(int32_t *)p->payload = -1;
		assert_int_equal(run_one(p, &run).status, 0);
		assert_int_equal(*(int32_t *)p->payload, FE_TONEAREST);
	}
}

/* Not the thread that runs the message. */
RIG_TEST(thread_of_its_own)
{
	struct peer *p = *state;
	struct rk_wire_run run = {.id = MESSAGE, .kernel = SLOT, .nargs = 1, .args = {{0, 4}}};

	hello_cpu(p);
	load_library(p, SLOT, &crash_in_thread, "crash_signal");
	send_run(p, &run);
	assert_int_equal(WTERMSIG(expect_end(p)), SIGSEGV);
	assert_int_equal(read_shared(p).crashed_message, 0);
}

/* A signal to every thread that runs a message; the worker may die of the first. */
static void signal_executors(pid_t pid, int signal)
{
	char path[320], comm[32] = "";
	DIR *dir;
	struct dirent *entry;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	assert_non_null(dir);
	while ((entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", pid, entry->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fgets(comm, sizeof(comm), f) && strncmp(comm, "rk-exec-", 8) == 0)
			syscall(SYS_tgkill, pid, atoi(entry->d_name), signal);
		fclose(f);
	}
	closedir(dir);
}

RIG_TEST(signal_from_outside)
{
	struct peer *p = *state;

	hello_cpu(p);
	load_library(p, SLOT, &spin, "spin");
	for (uint64_t i = 0; i < THREADS; i++)
		start_spin(p, i + 1, i * RK_WIRE_ALIGN);
	signal_executors(p->pid, SIGBUS);
	assert_int_equal(WTERMSIG(expect_end(p)), SIGBUS);
	assert_int_equal(read_shared(p).crashed_message, 0);
	reap(p);
	spawn(p, sizeof(struct rk_wire_shared), F_SEAL_SHRINK);
	hello_cpu(p);
	kill(p->pid, SIGSEGV);
	assert_int_equal(WTERMSIG(expect_end(p)), SIGSEGV);
	assert_int_equal(read_shared(p).crashed_message, 0);
}

/* In a thread that has run a message, but does not any more. */
RIG_TEST(crash_after_message)
{
	struct peer *p = *state;
	int found;

	kill(p->pid, SIGKILL);
	assert_int_equal(waitpid(p->pid, NULL, 0), p->pid);
	p->pid = fork();
	assert_true(p->pid >= 0);
	if (p->pid == 0) {
		void *page = mmap(NULL, sizeof(struct rk_wire_shared), PROT_READ | PROT_WRITE,
				  MAP_SHARED, p->shared_fd, 0);

		if (page == MAP_FAILED || rk_crash_watch(page, NULL))
			_exit(1);
		rk_crash_thread_begin();
		rk_crash_enter(MESSAGE);
		rk_crash_leave();
		raise(SIGSEGV);
		_exit(2);
	}
	assert_int_equal(waitpid(p->pid, &found, 0), p->pid);
	p->pid = 0;
	assert_true(WIFSIGNALED(found));
	assert_int_equal(WTERMSIG(found), SIGSEGV);
	assert_int_equal(read_shared(p).crashed_message, 0);
}

RIG_TEST(crash_in_constructor)
{
	struct peer *p = *state;
	struct rk_wire_control packet = make_load(SLOT, &crash_load);
	int fd = open_library("crash_load");

	hello_cpu(p);
	strcpy(packet.load.library, LIBRARY_PATH);
	send_with_fds(p->control, &packet, sizeof(packet), &fd, 1);
	assert_int_equal(WTERMSIG(expect_end(p)), SIGABRT);
	assert_int_equal(read_shared(p).crashed_message, 0);
	assert_int_equal(read_shared(p).loading_kernel, SLOT + 1);
	close(fd);
}

/* The library in @fd, which this closes, is refused with @status and @text, and leaves nothing. */
static void expect_refused(struct peer *p, const struct signature *s, int fd, int status,
			   const char *text)
{
	unsigned int before = count_fds(p);
	struct rk_wire_control answer = load_fd(p, SLOT, s, fd);
	const char *path = strstr(answer.text, LIBRARY_PATH ": ");

	assert_int_equal(answer.status, status);
	if (!strstr(answer.text, text) || !path || strstr(path + 1, LIBRARY_PATH ": ") ||
	    strstr(answer.text, "/proc/self/fd"))
		fail_msg("%s", answer.text);
	assert_int_equal(count_fds(p), before);
	close(fd);
}

RIG_TEST(no_library)
{
	static const char script[] = "#!/bin/sh\necho this is a script, and longer than a header\n";
	struct peer *p = *state;
	size_t bytes;
	Elf64_Ehdr *header;
	void *data;

	hello_cpu(p);
	expect_refused(p, &axpby, seal("", 0), ENOEXEC, "is not a shared library");
	expect_refused(p, &axpby, seal(script, sizeof(script)), ENOEXEC, "is not a shared library");
	data = read_library("axpby", &bytes);
	for (size_t part = 2; part <= 8; part *= 2)
		expect_refused(p, &axpby, seal(data, bytes / part), ENOEXEC, "is cut off after");
	expect_refused(p, &axpby, seal(data, sizeof(*header) + 1), ENOEXEC, "is cut off after 65");
	header = data;
	header->e_machine ^= 1;
	expect_refused(p, &axpby, seal(data, bytes), ENOEXEC, "is for another machine (64-bit");
	header->e_machine ^= 1;
	header->e_ident[EI_CLASS] = ELFCLASS32;
	expect_refused(p, &axpby, seal(data, bytes), ENOEXEC, "is for another machine (32-bit");
	header->e_ident[EI_CLASS] = ELFCLASS64;
	header->e_type = ET_REL;
	expect_refused(p, &axpby, seal(data, bytes), ENOEXEC, "make one with cc -shared");
	header->e_type = ET_DYN;
	header->e_phoff = UINT64_MAX;
	expect_refused(p, &axpby, seal(data, bytes), EINVAL, "cannot be read");
	free(data);
	data = read_file("/bin/true", &bytes);
	expect_refused(p, &axpby, seal(data, bytes), ENOEXEC, "executable");
	free(data);
	load_library(p, SLOT, &axpby, "axpby"); /* the slot is still free */
}

RIG_TEST(missing_symbols)
{
	static const struct signature undefined = {"undefined", 1, {OUT(RK_U32)}};
	struct peer *p = *state;
	size_t bytes;
	char *data = read_library("crash_abort", &bytes);
	char *needed = memmem(data, bytes, "GLIBC_", 6);

	hello_cpu(p);
	assert_non_null(needed);
	needed[6] = '9';
	expect_refused(p, &undefined, seal(data, bytes), ENOEXEC,
		       "not found (required by " LIBRARY_PATH ")");
	free(data);
	expect_refused(p, &undefined, open_library("axpby"), ENOENT, "has no function 'undefined'");
	expect_refused(p, &undefined, open_library("undefined"), ENOEXEC,
		       "undefined symbol: rkfs_test_function_that_nobody_has");
	load_library(p, SLOT, &axpby, "axpby");
}

/* A path longer than a sentence. */
RIG_TEST(long_path)
{
	struct peer *p = *state;
	struct rk_wire_control packet = make_load(SLOT, &axpby);
	int fd = seal("", 0);

	hello_cpu(p);
	memset(packet.load.library, 'x', sizeof(packet.load.library));
	strcpy(packet.load.library + sizeof(packet.load.library) - 10, "/libab.so");
	send_with_fds(p->control, &packet, sizeof(packet), &fd, 1);
	recv_answer(p, &packet, RK_WIRE_LOADED);
	assert_int_equal(packet.status, ENOEXEC);
	assert_non_null(strstr(packet.text, "xxx/libab.so: is not a shared library"));
	close(fd);
}

RIG_TEST(no_descriptor_left)
{
	struct peer *p = *state;
	int fd = open_library("axpby");
	struct rlimit limit = {0}, normal;
	struct rk_wire_control answer;

	hello_cpu(p);
	assert_int_equal(prlimit(p->pid, RLIMIT_NOFILE, NULL, &normal), 0);
	limit.rlim_max = normal.rlim_max;
	assert_int_equal(prlimit(p->pid, RLIMIT_NOFILE, &limit, NULL), 0);
	answer = load_fd(p, SLOT, &axpby, fd);
	assert_int_equal(answer.status, EMFILE);
	assert_non_null(strstr(answer.text, "LimitNOFILE="));
	load(p, SLOT + 1, &echo);
	assert_int_equal(prlimit(p->pid, RLIMIT_NOFILE, &normal, NULL), 0);
	assert_int_equal(load_fd(p, SLOT, &axpby, fd).status, 0);
	close(fd);
}

RIG_TEST(descriptors_come_back)
{
	struct peer *p = *state;
	unsigned int before;

	hello_cpu(p);
	before = count_fds(p);
	for (int i = 0; i < CYCLES; i++) {
		uint32_t number = i % 2 + 1;

		load_library(p, SLOT, &version, number == 1 ? "version_1" : "version_2");
		assert_int_equal(version_of(p, SLOT), number);
		assert_int_equal(count_fds(p), before + 1);
		unload_well(p, SLOT);
	}
	assert_int_equal(count_fds(p), before);
}

RIG_TEST(shutdown_with_libraries)
{
	struct peer *p = *state;
	struct rk_wire_control packet = {.version = RK_WIRE_VERSION, .type = RK_WIRE_SHUTDOWN};

	hello_cpu(p);
	load_library(p, SLOT, &version, "nodelete_1");
	unload_well(p, SLOT);
	load_library(p, SLOT, &version, "version_2");
	load_library(p, SLOT + 1, &axpby, "axpby");
	send_packet(p->control, &packet, sizeof(packet));
	expect_exit(p, 0);
	assert_int_equal(read_shared(p).crashed_message, 0);
}

int main(void)
{
	const struct rlimit none = {0};

	setrlimit(RLIMIT_CORE, &none); /* these workers are to crash */
	return unit_run(NULL, NULL);
}
