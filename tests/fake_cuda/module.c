/* SPDX-License-Identifier: MIT */
/* Modules, their functions, and launches. */
#include "tests/fake_cuda/fake.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FATBIN_MAGIC  0xBA55ED50U
#define WRAPPER_MAGIC 0x466243B1U
#define BROKEN	      "this is no ptx"

static const char broken_log[] =
	"ptxas application ptx input, line 3; fatal   : Parsing error near 'is': syntax error\n"
	"ptxas fatal   : Ptx assembly aborted due to errors";

/* What the options of a load say of logs. */
struct logs {
	char *text;
	size_t size;
	void **size_at; /* where the length goes; NULL = nowhere */
};

static void find_logs(struct logs *logs, unsigned int n, CUjit_option *options, void **values)
{
	memset(logs, 0, sizeof(*logs));
	for (unsigned int i = 0; i < n; i++) {
		if (options[i] == CU_JIT_ERROR_LOG_BUFFER)
			logs->text = values[i];
		if (options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES) {
			logs->size = (size_t)values[i] & 0xffffffff;
			logs->size_at = &values[i];
		}
		if (options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES)
			values[i] = NULL;
	}
}

static void write_log(const struct logs *logs, const char *text)
{
	size_t len = strlen(text);

	if (logs->text && logs->size) {
		if (len > logs->size - 1)
			len = logs->size - 1;
		memcpy(logs->text, text, len);
		logs->text[len] = '\0';
	} else {
		len = 0;
	}
	if (logs->size_at)
		*logs->size_at = (void *)len;
}

/* Whether @image is PTX: text, which ends in a NUL, with a ".version" line in it. */
static bool is_ptx(const char *image)
{
	size_t i;

	for (i = 0; image[i]; i++)
		if (!isprint((unsigned char)image[i]) && !isspace((unsigned char)image[i]))
			return false;
	return i > 0 && strstr(image, ".version") != NULL;
}

/* The highest version of PTX, 10 * major + minor, that a driver of this CUDA compiles. */
static unsigned int ptx_of_driver(unsigned int driver)
{
	unsigned int major = driver / 1000, minor = driver % 1000 / 10;

	if (major <= 11)
		return 70 + minor;
	/* 12.6 brought none, so 12.7's is 8.6 */
	return major == 12 ? 80 + minor - (minor > 5) : 10 * (major - 4) + minor;
}

/* A driver that is older than a module: of the toolkit here, or of what PTX says. */
static CUresult check_age(const char *image, bool ptx)
{
	unsigned int driver =
		(unsigned int)fake_trigger_number("driver_version", FAKE_DRIVER_VERSION);
	unsigned int major = 0, minor = 0;

	if (!ptx)
		return driver < CUDA_VERSION / 1000 * 1000 ? CUDA_ERROR_NO_BINARY_FOR_GPU
							   : CUDA_SUCCESS;
	if (sscanf(strstr(image, ".version"), ".version %u.%u", &major, &minor) != 2)
		return CUDA_ERROR_INVALID_PTX;
	return 10 * major + minor > ptx_of_driver(driver) ? CUDA_ERROR_UNSUPPORTED_PTX_VERSION
							  : CUDA_SUCCESS;
}

static CUresult check_image(const char *image, const struct logs *logs, bool *ptx)
{
	unsigned int magic;

	*ptx = false;
	/* byte by byte: an image that is too short must not be read beyond */
	if (image[0] == '\x7f')
		return strncmp(image,
			       "\x7f"
			       "ELF",
			       4)
			       ? CUDA_ERROR_INVALID_IMAGE
			       : CUDA_SUCCESS;
	if ((unsigned char)image[0] == (FATBIN_MAGIC & 0xff) ||
	    (unsigned char)image[0] == (WRAPPER_MAGIC & 0xff)) {
		memcpy(&magic, image, sizeof(magic));
		return magic == FATBIN_MAGIC || magic == WRAPPER_MAGIC ? CUDA_SUCCESS
								       : CUDA_ERROR_INVALID_IMAGE;
	}
	if (!is_ptx(image))
		return CUDA_ERROR_INVALID_IMAGE;
	*ptx = true;
	if (!strstr(image, BROKEN))
		return CUDA_SUCCESS;
	write_log(logs, broken_log);
	return CUDA_ERROR_INVALID_PTX;
}

CUresult fake_cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned int noptions,
				 CUjit_option *options, void **values)
{
	CUresult result = fake_enter("cuModuleLoadDataEx", FAKE_CONTEXT | FAKE_SYNCS);
	struct logs logs;
	CUmodule m;
	bool ptx;

	if (result)
		return result;
	find_logs(&logs, noptions, options, values);
	result = check_image(image, &logs, &ptx);
	if (!result)
		result = check_age(image, ptx);
	if (result)
		return fake_leave(result);
	write_log(&logs, "");
	m = calloc(1, sizeof(*m));
	if (!m)
		return fake_leave(CUDA_ERROR_OUT_OF_MEMORY);
	if (ptx && !(m->ptx = strdup(image))) {
		free(m);
		return fake_leave(CUDA_ERROR_OUT_OF_MEMORY);
	}
	m->open = true;
	LIST_INSERT_HEAD(&fake.modules, m, link);
	fake.counts.modules++;
	fake.counts.module_loads++;
	*module = m;
	return fake_leave(CUDA_SUCCESS);
}

static bool module_ok_locked(CUmodule module)
{
	CUmodule m;

	LIST_FOREACH(m, &fake.modules, link)
	if (m == module && m->open)
		return true;
	fake_misuse_locked(CUDA_ERROR_INVALID_HANDLE, "%p is no module, or one unloaded before",
			   (void *)module);
	return false;
}

static void close_locked(CUmodule module)
{
	module->open = false;
	free(module->ptx);
	module->ptx = NULL;
	fake.counts.modules--;
}

CUresult fake_cuModuleUnload(CUmodule module)
{
	CUresult result = fake_enter("cuModuleUnload", FAKE_CONTEXT | FAKE_SYNCS);

	if (result)
		return result;
	if (!module_ok_locked(module))
		return fake_leave(CUDA_ERROR_INVALID_HANDLE);
	close_locked(module);
	return fake_leave(CUDA_SUCCESS);
}

uint64_t fake_modules_drop_locked(void)
{
	CUmodule m;
	uint64_t n = 0;

	LIST_FOREACH(m, &fake.modules, link)
	if (m->open) {
		close_locked(m);
		n++;
	}
	return n;
}

/* Whether the PTX has ".entry NAME". */
static bool has_entry(const char *ptx, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = strstr(ptx, ".entry"); at; at = strstr(at, ".entry")) {
		at += strlen(".entry");
		while (isspace((unsigned char)*at))
			at++;
		if (strncmp(at, name, len) == 0 && !isalnum((unsigned char)at[len]) &&
		    at[len] != '_' && at[len] != '$')
			return true;
	}
	return false;
}

CUresult fake_cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name)
{
	CUresult result = fake_enter("cuModuleGetFunction", FAKE_CONTEXT);
	const struct fake_kernel *kernel;
	bool resident = false;
	CUfunction f;

	if (result)
		return result;
	if (!module_ok_locked(module))
		return fake_leave(CUDA_ERROR_INVALID_HANDLE);
	if (module->ptx && !has_entry(module->ptx, name))
		return fake_leave(CUDA_ERROR_NOT_FOUND);
	kernel = fake_kernel_find(name, &resident);
	if (!kernel) {
		fake_complain("there is no kernel called %s in the fake", name);
		return fake_leave(CUDA_ERROR_NOT_FOUND);
	}
	LIST_FOREACH(f, &module->functions, link)
	if (f->kernel == kernel && f->resident == resident) {
		*function = f;
		return fake_leave(CUDA_SUCCESS);
	}
	f = calloc(1, sizeof(*f));
	if (!f)
		return fake_leave(CUDA_ERROR_OUT_OF_MEMORY);
	f->kernel = kernel;
	f->module = module;
	f->resident = resident;
	f->dynamic_shared = FAKE_SHARED;
	LIST_INSERT_HEAD(&module->functions, f, link);
	*function = f;
	return fake_leave(CUDA_SUCCESS);
}

bool fake_function_ok_locked(CUfunction function)
{
	CUmodule m;
	CUfunction f;

	LIST_FOREACH(m, &fake.modules, link)
	LIST_FOREACH(f, &m->functions, link)
	if (f == function && m->open)
		return true;
	fake_misuse_locked(CUDA_ERROR_INVALID_HANDLE,
			   "%p is no function, or one of a module unloaded before",
			   (void *)function);
	return false;
}

CUresult fake_cuFuncGetAttribute(int *value, CUfunction_attribute which, CUfunction function)
{
	CUresult result = fake_enter("cuFuncGetAttribute", FAKE_CONTEXT);

	if (result)
		return result;
	if (!fake_function_ok_locked(function))
		return fake_leave(CUDA_ERROR_INVALID_HANDLE);
	switch (which) {
	case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
		*value = (int)fake_trigger_number("max_threads", FAKE_THREADS);
		break;
	case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
		*value = function->dynamic_shared;
		break;
	case CU_FUNC_ATTRIBUTE_NUM_REGS:
		*value = 32;
		break;
	case CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES:
	case CU_FUNC_ATTRIBUTE_CONST_SIZE_BYTES:
		*value = 0;
		break;
	case CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES:
		*value = (int)fake_trigger_number("local_bytes", 0);
		break;
	case CU_FUNC_ATTRIBUTE_PTX_VERSION:
	case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
		*value = (int)fake_trigger_number("compute_capability", 89);
		break;
	default:
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	}
	return fake_leave(CUDA_SUCCESS);
}

CUresult fake_cuFuncGetParamInfo(CUfunction function, size_t index, size_t *offset, size_t *size)
{
	CUresult result = fake_enter("cuFuncGetParamInfo", FAKE_CONTEXT);
	size_t at = 0, bytes = 0;

	if (result)
		return result;
	if (!fake_function_ok_locked(function))
		return fake_leave(CUDA_ERROR_INVALID_HANDLE);
	for (size_t i = 0; i <= index; i++) {
		at += bytes;
		bytes = fake_kernel_param_bytes(function->kernel, function->resident, i);
		if (bytes == 0)
			return fake_leave(CUDA_ERROR_INVALID_VALUE);
		at = (at + bytes - 1) / bytes * bytes;
	}
	*offset = at;
	if (size)
		*size = bytes;
	return fake_leave(CUDA_SUCCESS);
}

CUresult fake_cuFuncSetAttribute(CUfunction function, CUfunction_attribute which, int value)
{
	CUresult result = fake_enter("cuFuncSetAttribute", FAKE_CONTEXT);

	if (result)
		return result;
	if (!fake_function_ok_locked(function))
		return fake_leave(CUDA_ERROR_INVALID_HANDLE);
	if (which == CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT)
		return fake_leave(CUDA_SUCCESS);
	if (which != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 ||
	    value > FAKE_SHARED_OPTIN)
		return fake_leave(CUDA_ERROR_INVALID_VALUE);
	function->dynamic_shared = value;
	return fake_leave(CUDA_SUCCESS);
}
