/* SPDX-License-Identifier: MIT */
/* The fake libnvidia-ml.so.1: what it says is what the trigger file says. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gpu/nvml/syms.h"
#include "tests/unit/unit.h"

#define FOLDER RK_FAKE_CUDA_DIR "/"

static struct {
#define X(need, result, name, parameters) __typeof__(name) *name;
	RK_NVML_SYMBOLS(X)
#undef X
} nvml;
static char trigger[] = "/tmp/fake_nvml_test.XXXXXX";

static void triggers(const char *text)
{
	FILE *f = fopen(trigger, "w");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int open_library(void **state)
{
	void *library = dlopen(FOLDER "libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
	int fd = mkstemp(trigger);

	(void)state;
	if (!library || fd < 0) {
		fprintf(stderr, "%s\n", library ? "mkstemp" : dlerror());
		return -1;
	}
	close(fd);
	setenv("RK_FAKE_CUDA", trigger, 1);
#define X(need, result, name, parameters)                                                          \
	*(void **)&nvml.name = dlsym(library, #name);                                              \
	if (!nvml.name)                                                                            \
		return -1;
	RK_NVML_SYMBOLS(X)
#undef X
	return 0;
}

static int close_library(void **state)
{
	(void)state;
	unlink(trigger);
	return 0;
}

TEST(tells_of_its_devices)
{
	rk_nvml_device device = NULL;
	struct rk_nvml_memory memory;
	unsigned int n = 0;
	char text[RK_NVML_UUID_MAX] = "", small[8];

	triggers("device_count 2\nmemory_total 1000\nnvml_memory_used 300\ntemperature 83\n");
	assert_int_not_equal(nvml.nvmlDeviceGetCount_v2(&n), RK_NVML_SUCCESS); /* not initialised */
	assert_int_equal(nvml.nvmlInit_v2(), RK_NVML_SUCCESS);
	assert_int_equal(nvml.nvmlDeviceGetCount_v2(&n), RK_NVML_SUCCESS);
	assert_int_equal(n, 2);
	assert_int_not_equal(nvml.nvmlDeviceGetHandleByIndex_v2(2, &device), RK_NVML_SUCCESS);
	assert_int_equal(nvml.nvmlDeviceGetHandleByIndex_v2(1, &device), RK_NVML_SUCCESS);
	assert_int_equal(nvml.nvmlDeviceGetName(device, text, sizeof(text)), RK_NVML_SUCCESS);
	assert_string_equal(text, "Fake GPU 1");
	assert_int_equal(nvml.nvmlDeviceGetUUID(device, text, sizeof(text)), RK_NVML_SUCCESS);
	assert_string_equal(text, "GPU-a0a1a2a3-a4a5-a6a7-a8a9-aaabacadae01");
	assert_int_not_equal(nvml.nvmlDeviceGetUUID(device, small, sizeof(small)), RK_NVML_SUCCESS);
	assert_int_equal(nvml.nvmlDeviceGetMemoryInfo(device, &memory), RK_NVML_SUCCESS);
	assert_int_equal(memory.total, 1000);
	assert_int_equal(memory.used, 300);
	assert_int_equal(memory.free, 700);
	assert_int_equal(nvml.nvmlDeviceGetTemperature(device, RK_NVML_TEMPERATURE_GPU, &n),
			 RK_NVML_SUCCESS);
	assert_int_equal(n, 83);
	triggers("nvml_fail nvmlDeviceGetPowerUsage 3\n");
	assert_int_equal(nvml.nvmlDeviceGetPowerUsage(device, &n), RK_NVML_NOT_SUPPORTED);
	triggers("lost\n");
	assert_int_equal(nvml.nvmlDeviceGetPowerUsage(device, &n), RK_NVML_GPU_IS_LOST);
	triggers("");
	assert_int_equal(nvml.nvmlDeviceGetPowerUsage(device, &n), RK_NVML_SUCCESS);
	assert_int_equal(nvml.nvmlShutdown(), RK_NVML_SUCCESS);
}

int main(void)
{
	return unit_run(open_library, close_library);
}
