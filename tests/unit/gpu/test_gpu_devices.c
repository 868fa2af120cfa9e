/* SPDX-License-Identifier: MIT */
/* The worker's watch over devices, on the NVML of tests/fake_cuda. */
#include <dirent.h>
#include <dlfcn.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <time.h>

#include "gpu/nvml/devices.h"
#include "gpu/nvml/internal.h"
#include "tests/unit/gpu/worker_peer.h"

#define FAKE_NVML   RK_FAKE_CUDA_DIR "/libnvidia-ml.so.1"
#define FIRST_UUID  "GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae00"
#define SECOND_UUID "GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae01"
#define FAST_MS	    10
#define NEVER_MS    86400000
#define KNOWS_ALL                                                                                  \
	(RK_WIRE_KNOWS_MEMORY | RK_WIRE_KNOWS_UTILISATION | RK_WIRE_KNOWS_TEMPERATURE |            \
	 RK_WIRE_KNOWS_POWER | RK_WIRE_KNOWS_XID | RK_WIRE_KNOWS_ECC | RK_WIRE_KNOWS_REMAP)

/* Of the fake's first two devices. */
static const struct rk_pci_address first = {1, 0x40, 2}, second = {1, 0x41, 2};

/*
 * The page twice: as the watch has it, and as the daemon has it, at an address of its own, so that
 * ThreadSanitizer does not take the two for threads of one process. Children write to it too.
 */
static struct rk_wire_shared *page, *seen;
static char trigger[] = "/tmp/rkfs-devices-XXXXXX";
static char last_log[RK_WIRE_TEXT_MAX];

static void keep_log(void *ctx, enum rk_log_level level, const char *line)
{
	(void)ctx;
	snprintf(last_log, sizeof(last_log), "%d %s", level, line);
}

/* What the fake is to say; it may be reading the file. */
static void say(const char *text)
{
	char path[sizeof(trigger) + 4];
	FILE *f;

	snprintf(path, sizeof(path), "%s.new", trigger);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(rename(path, trigger), 0);
}

static bool is_said(const char *text)
{
	char said[256];
	FILE *f = fopen(trigger, "re");
	size_t n;

	assert_non_null(f);
	n = fread(said, 1, sizeof(said) - 1, f);
	said[n] = '\0';
	assert_int_equal(fclose(f), 0);
	return strstr(said, text);
}

static struct rk_devices_watch *start(const char *text, uint64_t sample_ms)
{
	struct rk_devices_watch *watch;
	struct rk_error err = {0};

	say(text);
	if (rk_devices_start(&watch, page, sample_ms, &err))
		fail_msg("%s", err.msg);
	return watch;
}

/* A whole copy, as the daemon takes it. */
static struct rk_wire_device read_device(unsigned int i)
{
	struct rk_wire_device device;
	uint32_t before;

	do {
		before = atomic_load(&seen->devices[i].sequence);
		memcpy((void *)&device, (void *)&seen->devices[i], sizeof(device));
	} while (before % 2 || before != atomic_load(&seen->devices[i].sequence));
	return device;
}

static bool in_time(time_t *until)
{
	struct timespec now;

	sched_yield();
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!*until)
		*until = now.tv_sec + PATIENCE_SECS;
	return now.tv_sec < *until;
}

#define WAIT_FOR(condition)                                                                        \
	do {                                                                                       \
		time_t until_ = 0;                                                                 \
		while (!(condition))                                                               \
			if (!in_time(&until_))                                                     \
				fail_msg("waited in vain for %s", #condition);                     \
	} while (0)

static int clear(void **state)
{
	(void)state;
	memset((void *)page, 0, sizeof(*page));
	last_log[0] = '\0';
	rk_devices_in_use(NULL, NULL);
	return 0;
}

#define CLEAR_TEST(name) TEST_WITH(name, clear, NULL)

CLEAR_TEST(what_is_seen)
{
	struct rk_devices_watch *watch =
		start("device_count 2\nmemory_total 1000\nnvml_memory_used 300\nutilisation 7\n"
		      "temperature 83\npower 250000\n",
		      FAST_MS);
	struct rk_wire_device device;

	WAIT_FOR(atomic_load(&seen->ndevices) == 2);
	device = read_device(1);
	assert_int_equal(device.known, KNOWS_ALL);
	assert_string_equal(device.name, "Fake GPU 1");
	assert_string_equal(device.uuid, "GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae01");
	assert_int_equal(device.memory_total_bytes, 1000);
	assert_int_equal(device.memory_used_bytes, 300);
	assert_int_equal(device.utilisation_percent, 7);
	assert_int_equal(device.temperature_celsius, 83);
	assert_int_equal(device.power_milliwatts, 250000);
	assert_int_equal(device.lost, 0);
	assert_string_equal(read_device(0).uuid, FIRST_UUID);
	say("device_count 2\ntemperature 84\n");
	WAIT_FOR(read_device(0).temperature_celsius == 84);
	assert_true(rk_devices_stop(watch));
	/* nothing touches the page any more */
	device = read_device(0);
	assert_int_equal(device.sequence % 2, 0);
	assert_string_equal(last_log, "");
}

/* Each number by itself is known or not; what the library cannot be asked is not. */
CLEAR_TEST(what_is_not_known)
{
	static const struct {
		const char *call;
		uint32_t known;
	} cases[] = {
		{"nvmlDeviceGetMemoryInfo 3", RK_WIRE_KNOWS_MEMORY},
		{"nvmlDeviceGetUtilizationRates 3", RK_WIRE_KNOWS_UTILISATION},
		{"nvmlDeviceGetTemperature 3", RK_WIRE_KNOWS_TEMPERATURE},
		{"nvmlDeviceGetPowerUsage 999", RK_WIRE_KNOWS_POWER},
		{"nvmlDeviceGetTotalEccErrors 3", RK_WIRE_KNOWS_ECC},
		{"nvmlDeviceGetRemappedRows 3", RK_WIRE_KNOWS_REMAP},
	};
	struct rk_devices_watch *watch = start("", FAST_MS);
	struct rk_nvml_functions all;
	char line[96];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(line, sizeof(line), "nvml_fail %s\n", cases[i].call);
		say(line);
		WAIT_FOR(read_device(0).known == (KNOWS_ALL & ~cases[i].known));
		say("");
		WAIT_FOR(read_device(0).known == KNOWS_ALL);
	}
	assert_int_equal(read_device(0).lost, 0);
	assert_true(rk_devices_stop(watch));
	all = rk_nvml;
	rk_nvml.nvmlDeviceGetPowerUsage = NULL;
	rk_nvml.nvmlDeviceGetTemperature = NULL;
	rk_nvml.nvmlDeviceGetUtilizationRates = NULL;
	rk_nvml.nvmlDeviceGetTotalEccErrors = NULL;
	rk_nvml.nvmlDeviceGetRemappedRows = NULL;
	rk_nvml.nvmlEventSetWait_v2 = NULL;
	memset((void *)page, 0, sizeof(*page));
	watch = start("", FAST_MS);
	WAIT_FOR(read_device(0).known == RK_WIRE_KNOWS_MEMORY);
	assert_true(rk_devices_stop(watch));
	rk_nvml = all;
}

/* The name and the UUID come later where they did not at first. */
CLEAR_TEST(asked_again)
{
	struct rk_devices_watch *watch =
		start("nvml_fail nvmlDeviceGetHandleByIndex_v2 999\n", FAST_MS);

	WAIT_FOR(atomic_load(&seen->ndevices) == 1);
	assert_int_equal(read_device(0).known, 0);
	assert_string_equal(read_device(0).uuid, "");
	say("nvml_fail nvmlDeviceGetUUID 999\n");
	WAIT_FOR(read_device(0).name[0]);
	assert_string_equal(read_device(0).uuid, "");
	say("");
	WAIT_FOR(strcmp(read_device(0).uuid, FIRST_UUID) == 0);
	assert_true(rk_devices_stop(watch));
}

/* A loss is latched, and does not matter to a worker that runs on no device. */
CLEAR_TEST(loss)
{
	struct rk_devices_watch *watch = start("", FAST_MS);
	uint32_t sequence;

	WAIT_FOR(read_device(0).known == KNOWS_ALL);
	rk_devices_in_use(&second, FIRST_UUID); /* the address counts */
	say("lost\n");
	WAIT_FOR(read_device(0).lost);
	assert_int_equal(read_device(0).known, 0);
	assert_string_equal(read_device(0).uuid, FIRST_UUID);
	assert_string_equal(read_device(0).name, "Fake GPU 0");
	say("");
	sequence = read_device(0).sequence;
	WAIT_FOR(read_device(0).sequence >= sequence + 4);
	assert_int_equal(read_device(0).lost, 1);
	assert_int_equal(read_device(0).known, 0);
	assert_true(rk_devices_stop(watch));
	assert_int_equal(seen->fault, RK_WIRE_NO_FAULT);
	assert_string_equal(last_log, "0 rk-worker: device 0 is lost: nvmlDeviceGetMemoryInfo: "
				      "GPU is lost");
}

/* The death of a process with threads of its own. */
static void expect_death(void (*run)(void))
{
	pid_t pid;
	int found;

	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(PATIENCE_SECS);
		run();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &found, 0), pid);
	assert_true(WIFEXITED(found));
	assert_int_equal(WEXITSTATUS(found), RK_WIRE_EXIT_FAULT);
}

static void lose_device(void)
{
	/* of an instance of MIG, CUDA has another UUID than NVML has of its GPU */
	rk_devices_in_use(&first, "MIG-11a1a2a3-a4a5-a6a7-a8a9-aaabacadae00");
	(void)start("", FAST_MS);
	while (!read_device(0).known)
		sched_yield();
	say("lost\n");
	for (;;)
		pause();
}

CLEAR_TEST(loss_of_the_one_in_use)
{
	expect_death(lose_device);
	assert_int_equal(seen->fault, RK_WIRE_DEVICE_LOST);
	assert_int_equal(seen->crashed_message, 0);
	assert_int_equal(seen->devices[0].lost, 1);
	assert_non_null(strstr(seen->fault_text, "device 0 (Fake GPU 0, " FIRST_UUID ") is lost"));
}

/* A library that tells no addresses. */
CLEAR_TEST(by_uuid)
{
	struct rk_nvml_functions all = rk_nvml;
	struct rk_devices_watch *watch;

	rk_nvml.nvmlDeviceGetPciInfo_v3 = NULL;
	watch = start("device_count 2\n", NEVER_MS);
	WAIT_FOR(read_device(0).known && read_device(1).known);
	rk_devices_in_use(&first, SECOND_UUID);
	rk_devices_lose();
	assert_int_equal(read_device(0).lost, 0);
	assert_int_equal(read_device(1).lost, 1);
	assert_true(rk_devices_stop(watch));
	rk_nvml = all;
}

/* An Xid is in the page long before the next look, of its device alone. */
CLEAR_TEST(xid)
{
	struct rk_devices_watch *watch = start("device_count 2\nremap pending\n", NEVER_MS);

	WAIT_FOR(read_device(1).known == KNOWS_ALL);
	assert_int_equal(read_device(1).xid_last, 0);
	assert_int_equal(read_device(1).remap_pending, 1);
	assert_int_equal(read_device(1).remap_failed, 0);
	say("device_count 2\nxid 48 1\necc_uncorrected 3\nremap failed\n");
	WAIT_FOR(read_device(1).ecc_uncorrected == 3); /* it is looked at, too */
	assert_int_equal(read_device(1).xid_last, 48);
	assert_int_equal(read_device(1).xid_count, 1);
	assert_int_equal(read_device(1).remap_pending, 0);
	assert_int_equal(read_device(1).remap_failed, 1);
	assert_int_equal(read_device(1).known, KNOWS_ALL);
	say("device_count 2\nxid 13 1\n");
	WAIT_FOR(read_device(1).xid_count == 2);
	assert_int_equal(read_device(1).xid_last, 13);
	assert_int_equal(read_device(0).xid_count, 0);
	assert_int_equal(read_device(0).ecc_uncorrected, 0); /* not looked at since */
	/* a changed period is noticed by a wait for events */
	say("device_count 2\ntemperature 7\n");
	rk_devices_set_period(watch, FAST_MS);
	WAIT_FOR(read_device(0).temperature_celsius == 7);
	assert_true(rk_devices_stop(watch));
	assert_string_equal(last_log,
			    "0 rk-worker: device 1 (Fake GPU 1, " SECOND_UUID "): Xid 13");
}

/* What happened is shown although the device does not answer any more. */
CLEAR_TEST(xid_and_hang)
{
	struct rk_devices_watch *watch = start("", NEVER_MS);

	WAIT_FOR(read_device(0).known == KNOWS_ALL);
	say("xid 79\nhang nvmlDeviceGetMemoryInfo\n");
	WAIT_FOR(read_device(0).xid_last == 79);
	say("");
	assert_true(rk_devices_stop(watch));
}

/* A GPU without ECC has Xids; a set that fails is made anew, and one without devices not waited
 * for. */
CLEAR_TEST(events_anew)
{
	struct rk_devices_watch *watch = start("no_ecc\n", FAST_MS);

	WAIT_FOR(read_device(0).known == KNOWS_ALL);
	say("nvml_fail nvmlEventSetWait_v2 999\nnvml_fail nvmlDeviceRegisterEvents 3\n");
	WAIT_FOR(read_device(0).known == (KNOWS_ALL & ~RK_WIRE_KNOWS_XID));
	say("xid 31\n");
	WAIT_FOR(read_device(0).xid_last == 31);
	assert_int_equal(read_device(0).xid_count, 1);
	assert_int_equal(read_device(0).lost, 0);
	assert_true(rk_devices_stop(watch));
}

/* CUDA says so first: the page has it at once, and keeps it, whatever NVML says. */
CLEAR_TEST(told_of_a_loss)
{
	struct rk_devices_watch *watch = start("device_count 2\n", FAST_MS);
	uint32_t before;

	WAIT_FOR(read_device(0).known && read_device(1).known);
	rk_devices_lose(); /* none is in use */
	assert_int_equal(read_device(0).lost, 0);
	rk_devices_in_use(&second, "");
	rk_devices_lose();
	assert_int_equal(read_device(1).lost, 1);
	assert_int_equal(read_device(1).known, 0);
	assert_string_equal(read_device(1).name, "Fake GPU 1");
	rk_devices_in_use(NULL, NULL); /* or the next look would end the process */
	before = read_device(1).sequence;
	WAIT_FOR(read_device(1).sequence >= before + 4);
	assert_int_equal(read_device(1).lost, 1);
	assert_int_equal(read_device(1).known, 0);
	assert_int_equal(read_device(0).lost, 0);
	assert_int_equal(read_device(0).known, KNOWS_ALL);
	assert_true(rk_devices_stop(watch));
	rk_devices_lose(); /* nobody to tell */
}

CLEAR_TEST(period)
{
	struct rk_devices_watch *watch = start("temperature 1\n", NEVER_MS);

	WAIT_FOR(read_device(0).temperature_celsius == 1); /* at once */
	say("temperature 2\n");
	rk_devices_set_period(watch, FAST_MS);
	WAIT_FOR(read_device(0).temperature_celsius == 2);
	rk_devices_set_period(watch, UINT64_MAX);
	assert_true(rk_devices_stop(watch)); /* it does not wait for the period */
}

CLEAR_TEST(no_devices)
{
	struct rk_devices_watch *watch = start("nvml_fail nvmlInit_v2 9\n", FAST_MS);

	assert_true(rk_devices_stop(watch));
	assert_int_equal(seen->ndevices, 0);
	assert_string_equal(last_log, "2 rk-worker: no devices are watched: nvmlInit: "
				      "Driver Not Loaded");
	watch = start("nvml_fail nvmlDeviceGetCount_v2 999\n", FAST_MS);
	assert_true(rk_devices_stop(watch));
	assert_non_null(strstr(last_log, "nvmlDeviceGetCount: Unknown Error"));
	assert_int_equal(seen->ndevices, 0);
}

static bool has_watch_thread(void)
{
	char path[320], comm[32];
	struct dirent *entry;
	bool found = false;
	DIR *dir = opendir("/proc/self/task");
	FILE *f;

	assert_non_null(dir);
	while (!found && (entry = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		found = fgets(comm, sizeof(comm), f) && strcmp(comm, "rk-devices\n") == 0;
		fclose(f);
	}
	closedir(dir);
	return found;
}

/* A thread that hangs in NVML is left behind, and writes to the page no more. */
CLEAR_TEST(hang)
{
	struct rk_devices_watch *watch = start("", NEVER_MS);

	WAIT_FOR(read_device(0).known == KNOWS_ALL);
	say("once nvml_fail nvmlDeviceGetMemoryInfo 3\nhang nvmlDeviceGetTemperature\n");
	rk_devices_set_period(watch, FAST_MS);
	WAIT_FOR(!is_said("once")); /* it is on its way into the hang */
	assert_false(rk_devices_stop(watch));
	assert_true(has_watch_thread());
	memset((void *)page, 0, sizeof(*page));
	say(""); /* it comes back */
	WAIT_FOR(!has_watch_thread());
	assert_int_equal(read_device(0).sequence, 0);
	assert_int_equal(atomic_load(&seen->ndevices), 0);
}

static void hello_watched(struct peer *p, uint8_t watched)
{
	struct rk_wire_control packet = make_hello("cpu", "");

	packet.hello.settings.watched = watched;
	packet.hello.settings.sample_ms = NEVER_MS;
	send_packet(p->control, &packet, sizeof(packet));
	recv_answer(p, &packet, RK_WIRE_READY);
	assert_int_equal(packet.status, 0);
}

static void say_shutdown(struct peer *p)
{
	struct rk_wire_control packet = {.version = RK_WIRE_VERSION, .type = RK_WIRE_SHUTDOWN};

	send_packet(p->control, &packet, sizeof(packet));
}

/* In a whole worker: the settings arrive, and a hanging NVML does not hold up its end. */
RIG_TEST(worker)
{
	struct peer *p = *state;

	say("");
	munmap(seen, sizeof(*seen));
	seen = mmap(NULL, sizeof(*seen), PROT_READ, MAP_SHARED, p->shared_fd, 0);
	assert_ptr_not_equal(seen, MAP_FAILED);
	hello_watched(p, 1);
	WAIT_FOR(atomic_load(&seen->ndevices) == 1);
	assert_string_equal(read_device(0).name, "Fake GPU 0");
	say("once nvml_fail nvmlDeviceGetMemoryInfo 3\nhang nvmlDeviceGetTemperature\n");
	send_settings(p, RK_LOG_INFO, true, FAST_MS);
	WAIT_FOR(!is_said("once"));
	say_shutdown(p);
	expect_exit(p, 0);
	assert_non_null(strstr(p->last_log, "NVML does not return"));
	say("");
}

/* Where nobody wants to know. */
RIG_TEST(worker_unwatched)
{
	struct peer *p = *state;

	say("once nvml_fail nvmlInit_v2 9\n"); /* would be consumed */
	hello_watched(p, 0);
	say_shutdown(p);
	expect_exit(p, 0);
	assert_true(is_said("once"));
	say("");
}

/* Without the library; in a process that has not opened it yet. */
static int expect_no_library(void)
{
	const struct rlimit none = {0};
	struct rk_error err = {0};
	int rc;

	if (setrlimit(RLIMIT_NOFILE, &none))
		return 1;
	rc = rk_nvml_open(&err);
	if (rc == -ENODEV && strstr(err.msg, "libnvidia-ml.so.1"))
		return 0;
	fprintf(stderr, "%d: %s\n", rc, err.msg);
	return 1;
}

static int open_fake(void **state)
{
	int found, fd = mkstemp(trigger);
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		_exit(expect_no_library());
	if (pid < 0 || fd < 0 || waitpid(pid, &found, 0) != pid || found)
		return -1;
	close(fd);
	if (!dlopen(FAKE_NVML, RTLD_NOW | RTLD_LOCAL)) { /* the loader knows it by its name now */
		fprintf(stderr, "%s\n", dlerror());
		return -1;
	}
	fd = memfd_create("rkfs-test", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, sizeof(*page)))
		return -1;
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	seen = mmap(NULL, sizeof(*seen), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (page == MAP_FAILED || seen == MAP_FAILED)
		return -1;
	rk_log_set_sink(keep_log, NULL);
	return setenv("RK_FAKE_CUDA", trigger, 1);
}

static int remove_trigger(void **state)
{
	(void)state;
	rk_log_set_sink(NULL, NULL);
	return unlink(trigger);
}

int main(void)
{
	return unit_run(open_fake, remove_trigger);
}
