/* SPDX-License-Identifier: MIT */
/* What goes wrong in the fake driver: faults that are called for, and callers' mistakes. */
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/fake_cuda/rig.h"

/* --- first those that fork, while there are no threads --- */

/* Run @body in a process of its own, which is spoiled afterwards; it returns 0 or a line number. */
static void in_child(int (*body)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(body());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

#define IN_CHILD(condition)                                                                        \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);            \
			return 1;                                                                  \
		}                                                                                  \
	} while (0)

static int be_spoiled(void)
{
	CUcontext context;
	CUdeviceptr x = 0, none = 4096;
	CUmodule m = NULL;
	CUfunction f = NULL;
	CUstream s = NULL;
	uint64_t n = 1;
	void *params[] = {&x, &none, &n};

	IN_CHILD(cu.cuInit(0) == 0 && cu.cuDevicePrimaryCtxRetain(&context, 0) == 0);
	IN_CHILD(cu.cuCtxSetCurrent(context) == 0 && cu.cuStreamCreate(&s, 0) == 0);
	IN_CHILD(cu.cuMemAlloc(&x, 64) == 0 && cu.cuModuleLoadDataEx(&m, PTX, 0, NULL, NULL) == 0);
	IN_CHILD(cu.cuModuleGetFunction(&f, m, "square") == 0);
	if (getenv("FAKE_TEST_STICKY"))
		none = x;
	IN_CHILD(run1(f, s, 1, params) == 0); /* it is not known yet */
	IN_CHILD(cu.cuStreamSynchronize(s) == CUDA_ERROR_ILLEGAL_ADDRESS);
	IN_CHILD(cu.cuMemFree(x) == CUDA_ERROR_ILLEGAL_ADDRESS);
	IN_CHILD(run1(f, s, 1, params) == CUDA_ERROR_ILLEGAL_ADDRESS);
	return 0;
}

static int be_lost(void)
{
	CUcontext context;
	size_t bytes;

	IN_CHILD(cu.cuInit(0) == 0 && cu.cuDevicePrimaryCtxRetain(&context, 0) == 0);
	IN_CHILD(cu.cuCtxSetCurrent(context) == 0 && cu.cuMemGetInfo(&bytes, &bytes) == 0);
	triggers("lost\n");
	IN_CHILD(cu.cuMemGetInfo(&bytes, &bytes) == CUDA_ERROR_DEVICE_UNAVAILABLE);
	triggers(NULL);
	IN_CHILD(cu.cuMemGetInfo(&bytes, &bytes) == CUDA_ERROR_DEVICE_UNAVAILABLE);
	return 0;
}

TEST(spoiled_is_spoiled)
{
	triggers(NULL);
	in_child(be_spoiled);
	in_child(be_lost);
	triggers("once sticky CUDA_ERROR_ILLEGAL_ADDRESS\n");
	setenv("FAKE_TEST_STICKY", "1", 1);
	in_child(be_spoiled);
	unsetenv("FAKE_TEST_STICKY");
}

static int leak(void)
{
	CUcontext context;
	CUdeviceptr at;
	CUevent event;
	void *host;

	IN_CHILD(cu.cuInit(0) == 0 && cu.cuDevicePrimaryCtxRetain(&context, 0) == 0);
	IN_CHILD(cu.cuCtxSetCurrent(context) == 0 && cu.cuMemAlloc(&at, 100) == 0);
	IN_CHILD(cu.cuMemHostAlloc(&host, 50, 0) == 0 && cu.cuEventCreate(&event, 0) == 0);
	IN_CHILD(cu.cuStreamCreate(&stream, 0) == 0);
	IN_CHILD(cu.cuDevicePrimaryCtxRelease(0) == 0);
	IN_CHILD(count("leaked") == 4 && count("device_blocks") == 0);
	return 0;
}

TEST(the_ledger_tells_what_is_left)
{
	char line[2048] = "";
	FILE *f;

	triggers(NULL);
	unlink(ledger);
	in_child(leak);
	f = fopen(ledger, "r");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof(line), f));
	fclose(f);
	assert_int_equal(strncmp(line, "release pid=", 12), 0);
	assert_non_null(strstr(line, " contexts=0 device_blocks=1 device_bytes=100 "
				     "managed_blocks=0 host_blocks=1 host_bytes=50 streams=1 "
				     "events=1 modules=0 pools=0 resident=0 "));
}

TEST(symbols_can_be_missing)
{
	CUresult (*find)(const char *, void **, int, cuuint64_t, CUdriverProcAddressQueryResult *);
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL), *at = NULL;
	CUdriverProcAddressQueryResult status;

	*(void **)&find = dlsym(library, "cuGetProcAddress_v2");
	triggers("symbol_missing cuLaunchKernel\n");
	OK(find("cuLaunchKernel", &at, 4000, 0, &status));
	assert_null(at);
	assert_int_equal(status, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
	OK(find("cuMemAllocAsync", &at, 11010, 0, &status));
	assert_null(at);
	assert_int_equal(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
	triggers("driver_version 11000\n");
	assert_int_equal(find("cuMemAllocAsync", &at, 11020, 0, &status), CUDA_ERROR_INVALID_VALUE);
	triggers(NULL);
	OK(find("cuLaunchKernel", &at, 4000, 0, &status));
	assert_non_null(at);
	dlclose(library);
}

/* --- the others --- */

RIG_TEST(finds_misuse)
{
	CUdeviceptr at = device(100);
	CUstream gone = NULL;
	char pageable[16] = {0};
	void *host = pinned(16);

	MISUSE(cu.cuMemcpyHtoDAsync(at, pageable, 16, stream), CUDA_ERROR_INVALID_VALUE);
	MISUSE(cu.cuMemcpyDtoHAsync(pageable, at, 16, stream), CUDA_ERROR_INVALID_VALUE);
	MISUSE(cu.cuMemcpyHtoDAsync(at + 90, host, 16, stream), CUDA_ERROR_INVALID_VALUE);
	MISUSE(cu.cuMemsetD8Async(at, 0, 101, stream), CUDA_ERROR_INVALID_VALUE);
	MISUSE(cu.cuMemFreeHost((void *)at), CUDA_ERROR_INVALID_VALUE);
	MISUSE(cu.cuMemFree(at + 1), CUDA_ERROR_INVALID_VALUE);
	OK(cu.cuMemFree(at));
	MISUSE(cu.cuMemFree(at), CUDA_ERROR_INVALID_VALUE);
	MISUSE(cu.cuMemcpyHtoDAsync(at, host, 16, stream), CUDA_ERROR_INVALID_VALUE);
	OK(cu.cuMemFreeHost(host));
	OK(cu.cuStreamCreate(&gone, 0));
	OK(cu.cuStreamDestroy(gone));
	MISUSE(cu.cuStreamSynchronize(gone), CUDA_ERROR_INVALID_HANDLE);
	MISUSE(cu.cuStreamDestroy(gone), CUDA_ERROR_INVALID_HANDLE);
	MISUSE(cu.cuStreamSynchronize(NULL), CUDA_ERROR_INVALID_HANDLE);
}

RIG_TEST(faults_come_when_they_are_called_for)
{
	CUdeviceptr at = 0, more = 0;
	char left[64] = "";
	int version = 0;
	FILE *f;

	triggers("# of one line\nonce oom_at 2\ndriver_version 10020\n");
	OK(cu.cuDriverGetVersion(&version));
	assert_int_equal(version, 10020);
	OK(cu.cuMemAlloc(&at, 1));
	assert_int_equal(cu.cuMemAlloc(&more, 1), CUDA_ERROR_OUT_OF_MEMORY);
	f = fopen(trigger, "r");
	assert_non_null(f);
	left[fread(left, 1, sizeof(left) - 1, f)] = '\0';
	fclose(f);
	assert_string_equal(left, "# of one line\ndriver_version 10020\n");
	OK(cu.cuMemFree(at));
	triggers("fail cuStreamSynchronize CUDA_ERROR_LAUNCH_TIMEOUT 2\nmemory_total 1000\n");
	OK(cu.cuStreamSynchronize(stream));
	assert_int_equal(cu.cuStreamSynchronize(stream), CUDA_ERROR_LAUNCH_TIMEOUT);
	OK(cu.cuStreamSynchronize(stream));
	assert_int_equal(cu.cuMemAlloc(&at, 1001), CUDA_ERROR_OUT_OF_MEMORY);
	triggers("no_async_memory\n");
	assert_int_equal(cu.cuMemAllocAsync(&at, 1, stream), CUDA_ERROR_NOT_SUPPORTED);
	triggers("init CUDA_ERROR_SYSTEM_DRIVER_MISMATCH\n");
	assert_int_equal(cu.cuInit(0), CUDA_ERROR_SYSTEM_DRIVER_MISMATCH);
	triggers("no_device\n");
	assert_int_equal(cu.cuInit(0), CUDA_ERROR_NO_DEVICE);
}

static void *synchronize(void *arg)
{
	CUcontext context;

	(void)arg;
	if (cu.cuDevicePrimaryCtxRetain(&context, 0) || cu.cuCtxSetCurrent(context) ||
	    cu.cuStreamSynchronize(stream) || cu.cuDevicePrimaryCtxRelease(0))
		return (void *)1;
	return NULL;
}

RIG_TEST(a_call_hangs_while_the_file_says_so)
{
	uint64_t before = count("calls");
	pthread_t thread;
	void *failed;

	triggers("hang synchronize\n");
	assert_int_equal(pthread_create(&thread, NULL, synchronize, NULL), 0);
	while (count("calls") < before + 3)
		sched_yield();
	assert_int_not_equal(pthread_tryjoin_np(thread, &failed), 0);
	OK(cu.cuStreamQuery(stream));
	triggers(NULL);
	assert_int_equal(pthread_join(thread, &failed), 0);
	assert_null(failed);
}

int main(void)
{
	return unit_run(open_library, close_library);
}
