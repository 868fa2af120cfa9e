/* SPDX-License-Identifier: MIT */
/*
 * check [OPTIONS] [GROUP | GROUP/NAME]...   run tests on the GPU; all where none is named
 *
 * Each test runs in a process of its own, and is one line on stdout:
 *
 *	STATUS <tab> WHAT <tab> RESULT <tab> REFERENCE
 *
 * where STATUS is pass, fail or unavailable. What led there goes to stderr. Exits with 1 where one
 * failed.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gpu/cuda/device.h"
#include "runtime/base/clock.h"
#include "tests/gpu/gpu_test.h"

#define RESULT_MAX 1024

struct gpu_options gpu_options = {.patience_s = 60};
char gpu_test_dir[GPU_DIR_MAX];

static unsigned int limit_s = 300; /* of one test */
static int result_fd = -1;
static bool noted;

/* --- in a test ------------------------------------------------------------------------ */

static void tell(const char *fmt, va_list ap)
{
	if (noted)
		dprintf(result_fd, "; ");
	noted = true;
	vdprintf(result_fd, fmt, ap);
}

void gpu_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	tell(fmt, ap);
	va_end(ap);
}

void gpu_log(const char *fmt, ...)
{
	char line[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "    %s\n", line);
}

_Noreturn void gpu_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	tell(fmt, ap);
	va_end(ap);
	fflush(NULL);
	_exit(GPU_FAIL);
}

_Noreturn void gpu_unavailable(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	tell(fmt, ap);
	va_end(ap);
	fflush(NULL);
	_exit(GPU_UNAVAILABLE);
}

/* --- around a test -------------------------------------------------------------------- */

static _Noreturn void become_test(const struct gpu_test *t, int fd)
{
	result_fd = fd;
	/* nobody else looks after what a test leaves where this program is ended */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	t->run(t->arg);
	fflush(NULL);
	_exit(GPU_PASS);
}

/* Read what the test says until it has ended, at most for limit_s. False where that passed. */
static bool listen_to(int fd, char *text, size_t size)
{
	uint64_t until = rk_now_ns() + limit_s * RK_NS_PER_SEC;
	size_t len = 0;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		uint64_t now = rk_now_ns();
		char rest[256];
		ssize_t n;
		int rc;

		if (now >= until)
			return false;
		rc = poll(&p, 1, (int)((until - now) / RK_NS_PER_MS) + 1);
		if (rc < 0 && errno != EINTR)
			err(2, "poll");
		if (rc <= 0)
			continue;
		n = len + 1 < size ? read(fd, text + len, size - 1 - len)
				   : read(fd, rest, sizeof(rest));
		if (n < 0)
			err(2, "read");
		if (n == 0)
			return true;
		if (len + 1 < size)
			len += (size_t)n;
		text[len] = '\0';
	}
}

/* One line, without what separates columns. */
static void clean(char *text)
{
	for (; *text; text++)
		if (*text == '\t' || *text == '\n')
			*text = ' ';
}

static void make_test_dir(void)
{
	const char *tmp = getenv("TMPDIR");

	if (snprintf(gpu_test_dir, sizeof(gpu_test_dir), "%s/rkfs-gpu-XXXXXX",
		     tmp && *tmp ? tmp : "/tmp") >= (int)sizeof(gpu_test_dir))
		errx(2, "TMPDIR is too long");
	if (!mkdtemp(gpu_test_dir))
		err(2, "%s", gpu_test_dir);
}

static void remove_test_dir(void)
{
	char command[sizeof(gpu_test_dir) + 16];

	snprintf(command, sizeof(command), "rm -rf -- '%s'", gpu_test_dir);
	if (system(command))
		warnx("%s is left", gpu_test_dir);
}

static const char *run_test(const struct gpu_test *t, char *text, size_t size)
{
	int pair[2], status;
	bool in_time;
	pid_t pid;

	text[0] = '\0';
	make_test_dir();
	if (pipe2(pair, O_CLOEXEC))
		err(2, "pipe");
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		err(2, "fork");
	if (pid == 0) {
		close(pair[0]);
		become_test(t, pair[1]);
	}
	close(pair[1]);
	in_time = listen_to(pair[0], text, size);
	close(pair[0]);
	if (!in_time)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			err(2, "waitpid");
	remove_test_dir();
	clean(text);
	if (!in_time)
		snprintf(text, size, "not done after %u s", limit_s);
	else if (WIFSIGNALED(status))
		snprintf(text, size, "killed by SIG%s", sigabbrev_np(WTERMSIG(status)));
	else if (WEXITSTATUS(status) == GPU_PASS)
		return "pass";
	else if (WEXITSTATUS(status) == GPU_UNAVAILABLE)
		return "unavailable";
	return "fail";
}

static bool is_named(const struct gpu_test *t, char *const *names)
{
	char full[128];

	snprintf(full, sizeof(full), "%s/%s", t->group, t->name);
	for (; *names; names++)
		if (strcmp(*names, t->group) == 0 || strcmp(*names, full) == 0)
			return true;
	return false;
}

static gpu_tests_fn *const files[] = {gpu_kernel_tests, gpu_model_tests,  gpu_life_tests,
				      gpu_memory_tests, gpu_module_tests, gpu_ring_tests};

/* Returns how many failed; @ran counts all. */
static unsigned int run_named(char *const *names, unsigned int *ran)
{
	unsigned int failed = 0;

	for (size_t file = 0; file < ARRAY_SIZE(files); file++) {
		size_t count;
		const struct gpu_test *tests = files[file](&count);

		for (size_t i = 0; i < count; i++) {
			char text[RESULT_MAX];
			const char *status;

			if (*names && !is_named(&tests[i], names))
				continue;
			fprintf(stderr, "%s/%s: %s\n", tests[i].group, tests[i].name,
				tests[i].what);
			status = run_test(&tests[i], text, sizeof(text));
			fprintf(stderr, "%s/%s: %s: %s\n", tests[i].group, tests[i].name, status,
				text);
			printf("%s\t%s\t%s\t%s\n", status, tests[i].what, text, tests[i].reference);
			fflush(stdout);
			failed += strcmp(status, "fail") == 0;
			++*ran;
		}
	}
	return failed;
}

static int list_tests(void)
{
	for (size_t file = 0; file < ARRAY_SIZE(files); file++) {
		size_t count;
		const struct gpu_test *tests = files[file](&count);

		for (size_t i = 0; i < count; i++)
			printf("%s/%s\t%s\n", tests[i].group, tests[i].name, tests[i].what);
	}
	return 0;
}

/* --- the device ----------------------------------------------------------------------- */

static void must(CUresult result, const char *call)
{
	if (result != CUDA_SUCCESS)
		errx(1, "%s: %s", call, rk_cuda_name(result));
}

/* "KEY VALUE" lines about device 0 and its driver. */
static int tell_device(void)
{
	int version, count, major, minor, multiprocessors;
	struct rk_error error = {0};
	char name[256];
	CUdevice device;
	size_t bytes;

	if (rk_cuda_open(&error))
		errx(1, "%s", error.msg);
	must(rk_cu.cuInit(0), "cuInit");
	must(rk_cu.cuDriverGetVersion(&version), "cuDriverGetVersion");
	must(rk_cu.cuDeviceGetCount(&count), "cuDeviceGetCount");
	must(rk_cu.cuDeviceGet(&device, 0), "cuDeviceGet");
	must(rk_cu.cuDeviceGetName(name, sizeof(name), device), "cuDeviceGetName");
	must(rk_cu.cuDeviceTotalMem(&bytes, device), "cuDeviceTotalMem");
	must(rk_cu.cuDeviceGetAttribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
					device),
	     "cuDeviceGetAttribute");
	must(rk_cu.cuDeviceGetAttribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
					device),
	     "cuDeviceGetAttribute");
	must(rk_cu.cuDeviceGetAttribute(&multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
					device),
	     "cuDeviceGetAttribute");
	printf("name %s\ndevices %d\ncuda %d.%d\ncapability %d.%d\nmultiprocessors %d\n"
	       "memory_mib %zu\n",
	       name, count, version / 1000, version % 1000 / 10, major, minor, multiprocessors,
	       bytes >> 20);
	return 0;
}

/*
 * Keep a context until a signal ends this: while there is one the driver does not take the device
 * down between two programs, and their starts are alike.
 */
static int hold_context(void)
{
	struct rk_error error = {0};
	CUcontext context;
	CUdevice device;

	if (prctl(PR_SET_PDEATHSIG, SIGTERM))
		err(1, "prctl");
	if (rk_cuda_open(&error))
		errx(1, "%s", error.msg);
	must(rk_cu.cuInit(0), "cuInit");
	must(rk_cu.cuDeviceGet(&device, 0), "cuDeviceGet");
	must(rk_cu.cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
	for (;;)
		pause();
}

/* --- arguments ------------------------------------------------------------------------ */

static void set_path(char *to, size_t size, const char *from)
{
	if (snprintf(to, size, "%s", from) >= (int)size)
		errx(2, "%s: too long", from);
}

/* Where the build, or the bundle, has them; see gpu.mk. */
static void find_defaults(void)
{
	char self[512];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	const char *here;

	if (n < 0)
		err(2, "/proc/self/exe");
	self[n] = '\0';
	here = dirname(self);
	snprintf(gpu_options.worker, sizeof(gpu_options.worker), "%s/rk-worker", here);
	if (access(gpu_options.worker, X_OK))
		snprintf(gpu_options.worker, sizeof(gpu_options.worker), "%s/../rk-worker", here);
	snprintf(gpu_options.modules, sizeof(gpu_options.modules), "%s/modules", here);
	if (access(gpu_options.modules, X_OK))
		snprintf(gpu_options.modules, sizeof(gpu_options.modules), "%s/../modules", here);
}

static unsigned int seconds(const char *text)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*end || n < 1 || n > 86400)
		errx(2, "%s: seconds from 1 to 86400 are wanted", text);
	return (unsigned int)n;
}

static const char usage[] =
	"usage: check [--small] [--limit SECS] [--patience SECS] [--worker FILE] [--modules DIR]\n"
	"             [GROUP | GROUP/NAME]...\n"
	"       check --list\n"
	"       check --device\n"
	"       check --hold\n";

int main(int argc, char **argv)
{
	static const struct option rows[] = {{"small", no_argument, NULL, 's'},
					     {"limit", required_argument, NULL, 'l'},
					     {"patience", required_argument, NULL, 'p'},
					     {"worker", required_argument, NULL, 'w'},
					     {"modules", required_argument, NULL, 'm'},
					     {"list", no_argument, NULL, 'L'},
					     {"device", no_argument, NULL, 'd'},
					     {"hold", no_argument, NULL, 'h'},
					     {0}};
	unsigned int ran = 0, failed;
	int c;

	find_defaults();
	while ((c = getopt_long(argc, argv, "", rows, NULL)) != -1) {
		if (c == 's')
			gpu_options.small = true;
		else if (c == 'l')
			limit_s = seconds(optarg);
		else if (c == 'p')
			gpu_options.patience_s = seconds(optarg);
		else if (c == 'w')
			set_path(gpu_options.worker, sizeof(gpu_options.worker), optarg);
		else if (c == 'm')
			set_path(gpu_options.modules, sizeof(gpu_options.modules), optarg);
		else if (c == 'L')
			return list_tests();
		else if (c == 'd')
			return tell_device();
		else if (c == 'h')
			return hold_context();
		else
			return fputs(usage, stderr), 2;
	}
	failed = run_named(argv + optind, &ran);
	if (ran == 0)
		errx(2, "there is no such test; --list lists them");
	return failed > 0;
}
