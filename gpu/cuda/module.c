/* SPDX-License-Identifier: MIT */
/* CUDA modules: loading and unloading, and finding a kernel that takes what its description says.
 */
#include "gpu/cuda/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpu/base/library.h"
#include "runtime/base/log.h"
#include "runtime/base/tensor.h"

#define JIT_LOG	    4096
#define RING_PARAMS 3 /* parameters of what RK_RING_KERNEL makes: gpu/kernels/ring.cuh */

struct rk_cuda_module {
	SLIST_ENTRY(rk_cuda_module) link;
	CUmodule handle;
	dev_t dev; /* of the memfd: the same one is the same module */
	ino_t ino;
	unsigned int users; /* kernels */
};

struct rk_cuda_modules {
	struct rk_cuda_device *device; /* borrowed, as are the rings */
	struct rk_rings *rings;
	CUmodule *builtins; /* one per image */
	size_t nbuiltins;   /* how many of them are loaded */
	SLIST_HEAD(, rk_cuda_module) users;
};

/* Make one line of what a compiler printed, in place. */
static const char *one_line(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++) {
		bool blank = (unsigned char)*from <= ' ';

		if (!blank)
			*to++ = *from;
		else if (to > text && to[-1] != ' ')
			*to++ = ' ';
	}
	while (to > text && to[-1] == ' ')
		to--;
	*to = '\0';
	return text;
}

/*
 * Try to load @data, which is called @name. @log gets what the driver's compiler says of a failure.
 */
static CUresult try_load(struct rk_cuda_modules *m, const void *data, const char *name,
			 CUmodule *module, char log[JIT_LOG])
{
	char info[JIT_LOG] = "";
	CUjit_option options[] = {CU_JIT_INFO_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES,
				  CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
	void *values[] = {info, (void *)(uintptr_t)JIT_LOG, log, (void *)(uintptr_t)JIT_LOG};
	CUresult result;

	memset(log, 0, JIT_LOG);
	rk_rings_pause(m->rings);
	result = rk_cu.cuModuleLoadDataEx(module, data, sizeof(options) / sizeof(options[0]),
					  options, values);
	rk_rings_resume(m->rings);
	info[JIT_LOG - 1] = '\0';
	log[JIT_LOG - 1] = '\0';
	one_line(log);
	if (result == CUDA_SUCCESS && one_line(info)[0])
		rk_log(RK_LOG_DEBUG, "rk-worker: %s: %s", name, info);
	return result;
}

/* Say which driver refuses @name; @fmt says why. */
static int refused(const struct rk_cuda_device *device, const char *name, struct rk_error *err,
		   const char *fmt, ...) __attribute__((format(printf, 4, 5)));

static int refused(const struct rk_cuda_device *device, const char *name, struct rk_error *err,
		   const char *fmt, ...)
{
	char why[RK_ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return rk_error_set(err, ENOEXEC,
			    "%s: cannot be loaded on %s (compute capability %d.%d, driver of CUDA "
			    "%d.%d): %s",
			    name, device->name, device->major, device->minor, device->driver / 1000,
			    device->driver % 1000 / 10, why);
}

/* What a user can do about it. */
static const char *advice(CUresult result)
{
	switch ((int)result) {
	case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
		return " (its toolkit is newer than the driver)";
	case CUDA_ERROR_NO_BINARY_FOR_GPU:
		return " (nvcc -gencode arch=compute_75,code=compute_75 adds PTX)";
	default:
		return "";
	}
}

/* Load the checked module @data of @size bytes, as a sentence calls it @name. */
static int load_user(struct rk_cuda_modules *m, const char *data, size_t size, const char *name,
		     CUmodule *module, struct rk_error *err)
{
	char log[JIT_LOG], what[RK_CUDA_FORMAT_MAX];
	CUresult result = try_load(m, data, name, module, log);

	if (result == CUDA_SUCCESS)
		return 0;
	if (rk_cuda_fail(m->device, result, err, "%s", name) == -ENOMEM)
		return -ENOMEM;
	rk_cuda_format_describe(data, size, what);
	return refused(m->device, name, err, "it is %s: %s%s%s%s", what, rk_cuda_name(result),
		       advice(result), log[0] ? ": " : "", log);
}

/* The tests have the fatbin skipped. */
static bool wants_ptx(void)
{
	const char *image = getenv("RK_CUDA_IMAGE");

	return image && strcmp(image, "ptx") == 0;
}

/* Load the fatbin, or where the driver is older than the toolkit, the PTX. */
static int load_builtin(struct rk_cuda_modules *m, const struct rk_cuda_image *image,
			CUmodule *module, struct rk_error *err)
{
	char log[JIT_LOG], what[RK_CUDA_FORMAT_MAX];
	const struct rk_cuda_device *device = m->device;
	const char *why = "passed over";
	CUresult result;

	if (!wants_ptx()) {
		result = try_load(m, image->fatbin, image->name, module, log);
		if (result == CUDA_SUCCESS)
			return 0;
		if (rk_cuda_fail(m->device, result, err, "%s", image->name) == -ENOMEM)
			return -ENOMEM;
		why = rk_cuda_name(result);
	}
	rk_cuda_format_describe(image->ptx, image->ptx_size, what);
	result = try_load(m, image->ptx, image->name, module, log);
	if (result == CUDA_SUCCESS) {
		rk_log(RK_LOG_INFO,
		       "rk-worker: %s: the driver, of CUDA %d.%d, compiled %s (fatbin: %s)",
		       image->name, device->driver / 1000, device->driver % 1000 / 10, what, why);
		return 0;
	}
	if (rk_cuda_fail(m->device, result, err, "%s", image->name) == -ENOMEM)
		return -ENOMEM;
	return refused(m->device, image->name, err, "fatbin: %s; %s: %s%s%s", why, what,
		       rk_cuda_name(result), log[0] ? ": " : "", log);
}

static void unload(struct rk_cuda_modules *m, CUmodule module)
{
	rk_rings_pause(m->rings);
	rk_cuda_release(m->device, rk_cu.cuModuleUnload(module), "cuModuleUnload");
	rk_rings_resume(m->rings);
}

int rk_cuda_modules_create(struct rk_cuda_modules **modules, struct rk_cuda_device *device,
			   struct rk_rings *rings, struct rk_error *err)
{
	struct rk_cuda_modules *m = calloc(1, sizeof(*m));
	size_t count;
	int rc = 0;
	const struct rk_cuda_image *images = rk_cuda_images(&count);

	if (m)
		m->builtins = calloc(count ? count : 1, sizeof(m->builtins[0]));
	if (!m || !m->builtins) {
		free(m);
		return rk_error_set(err, ENOMEM, "no memory for the table of modules");
	}
	m->device = device;
	m->rings = rings;
	SLIST_INIT(&m->users);
	while (rc == 0 && m->nbuiltins < count) {
		rc = load_builtin(m, &images[m->nbuiltins], &m->builtins[m->nbuiltins], err);
		if (rc == 0)
			m->nbuiltins++;
	}
	if (rc) {
		rk_cuda_modules_destroy(m);
		return rk_error_prefix(err, "built-in kernels");
	}
	*modules = m;
	return 0;
}

void rk_cuda_modules_destroy(struct rk_cuda_modules *m)
{
	if (!m)
		return;
	if (!SLIST_EMPTY(&m->users))
		rk_log(RK_LOG_ERROR, "rk-worker: a module is still in use at the end");
	while (m->nbuiltins)
		unload(m, m->builtins[--m->nbuiltins]);
	free(m->builtins);
	free(m);
}

/* Bytes of a parameter as it is launched. */
static size_t param_bytes(const struct rk_wire_param *param)
{
	if (rk_param_is_value(param))
		return rk_dtype_info(param->dtype)->size;
	return sizeof(CUdeviceptr);
}

/*
 * The bytes of each parameter of @function, and how many there are, also where @bytes has no room
 * for so many.
 */
static int ask_params(struct rk_cuda_device *device, CUfunction function,
		      size_t bytes[RK_WIRE_ARGS_MAX], unsigned int *count, struct rk_error *err)
{
	size_t offset, size;
	CUresult result;

	*count = 0;
	while ((result = rk_cu.cuFuncGetParamInfo(function, *count, &offset, &size)) ==
	       CUDA_SUCCESS) {
		if (*count < RK_WIRE_ARGS_MAX)
			bytes[*count] = size;
		++*count;
	}
	/* the driver says this of a parameter that the function does not have */
	if (result == CUDA_ERROR_INVALID_VALUE)
		return 0;
	return rk_cuda_fail(device, result, err, "cuFuncGetParamInfo");
}

/*
 * The function must take what it will be launched with, or it would read garbage, and write to
 * wherever that points. A driver older than CUDA 12.4 cannot tell, and args is believed there.
 */
static int check_params(struct rk_cuda_device *device, const struct rk_wire_load *load,
			CUfunction function, struct rk_error *err)
{
	const bool ring = load->mode == RK_WIRE_RING;
	const unsigned int wanted = ring ? RING_PARAMS : load->nparams;
	size_t bytes[RK_WIRE_ARGS_MAX];
	unsigned int count;
	int rc;

	if (!rk_cu.cuFuncGetParamInfo)
		return 0;
	rc = ask_params(device, function, bytes, &count, err);
	if (rc)
		return rc;
	if (count != wanted)
		return rk_error_set(err, EINVAL, "'%s' takes %u parameters, %s %u", load->entry,
				    count, ring ? "an RK_RING_KERNEL takes" : "args has", wanted);
	for (unsigned int i = 0; i < count; i++) {
		size_t want = ring ? sizeof(uint64_t) : param_bytes(&load->params[i]);

		if (bytes[i] != want)
			return rk_error_set(err, EINVAL,
					    "parameter %u of '%s' has %zu bytes, that of %s %zu",
					    i + 1, load->entry, bytes[i],
					    ring ? "an RK_RING_KERNEL" : "args", want);
	}
	return 0;
}

int rk_cuda_modules_builtin(struct rk_cuda_modules *m, const struct rk_wire_load *load,
			    CUfunction *function, struct rk_error *err)
{
	for (size_t i = 0; i < m->nbuiltins; i++) {
		CUresult result = rk_cu.cuModuleGetFunction(function, m->builtins[i], load->entry);

		if (result == CUDA_ERROR_NOT_FOUND)
			continue;
		if (result != CUDA_SUCCESS)
			return rk_cuda_fail(m->device, result, err,
					    "kernel %s: cuModuleGetFunction", load->id);
		if (check_params(m->device, load, *function, err))
			return rk_error_prefix(err, "kernel %s", load->id);
		return 0;
	}
	return rk_error_set(err, ENOENT, "kernel %s: no built-in CUDA kernel is called '%s'",
			    load->id, load->entry);
}

/* The whole file, with a NUL behind it, for the caller to free; NULL with the sentence in @err. */
static char *read_all(int fd, const struct stat *st, struct rk_error *err)
{
	size_t size = (size_t)st->st_size;
	char *data = malloc(size + 1);
	ssize_t n;

	if (!data) {
		rk_error_set(err, ENOMEM, "no memory to load its %zu bytes", size);
		return NULL;
	}
	n = rk_library_read(fd, data, size, 0);
	if (n != st->st_size) {
		rk_error_set(err, n < 0 ? (int)-n : EIO, "cannot be read: %s",
			     n < 0 ? strerror((int)-n) : "it is cut off");
		free(data);
		return NULL;
	}
	data[size] = '\0';
	return data;
}

static struct rk_cuda_module *find_user(struct rk_cuda_modules *m, const struct stat *st)
{
	struct rk_cuda_module *module;

	SLIST_FOREACH (module, &m->users, link)
		if (module->dev == st->st_dev && module->ino == st->st_ino)
			return module;
	return NULL;
}

static int add_user(struct rk_cuda_modules *m, int fd, const struct stat *st, const char *path,
		    struct rk_cuda_module **added, struct rk_error *err)
{
	struct rk_cuda_module *module = calloc(1, sizeof(*module));
	char *data;
	int rc;

	if (!module)
		return rk_error_set(err, ENOMEM, "%s: no memory to load it", path);
	data = read_all(fd, st, err);
	rc = data ? rk_cuda_format_check(data, (size_t)st->st_size, err) : -err->code;
	if (rc)
		rk_error_prefix(err, "%s", path);
	else
		rc = load_user(m, data, (size_t)st->st_size, path, &module->handle, err);
	free(data);
	if (rc) {
		free(module);
		return rc;
	}
	module->dev = st->st_dev;
	module->ino = st->st_ino;
	SLIST_INSERT_HEAD(&m->users, module, link);
	*added = module;
	return 0;
}

int rk_cuda_modules_get(struct rk_cuda_modules *m, const struct rk_wire_load *load, int fd,
			struct rk_cuda_module **found, CUfunction *function, struct rk_error *err)
{
	const char *path = rk_library_path_shown(load->library);
	struct rk_cuda_module *module = NULL;
	CUresult result;
	struct stat st;
	int rc = 0;

	if (fstat(fd, &st) < 0)
		rc = rk_error_set(err, errno, "%s: cannot be examined: %m", path);
	else
		module = find_user(m, &st);
	if (rc == 0 && !module)
		rc = add_user(m, fd, &st, path, &module, err);
	(void)close(fd); /* only read from */
	if (rc)
		return rk_error_prefix(err, "kernel %s", load->id);
	module->users++;
	result = rk_cu.cuModuleGetFunction(function, module->handle, load->entry);
	if (result == CUDA_SUCCESS)
		rc = check_params(m->device, load, *function, err);
	if (result == CUDA_SUCCESS && rc == 0) {
		*found = module;
		return 0;
	}
	rk_cuda_modules_put(m, module);
	if (rc)
		return rk_error_prefix(err, "kernel %s: %s", load->id, path);
	if (result != CUDA_ERROR_NOT_FOUND)
		return rk_cuda_fail(m->device, result, err, "kernel %s: %s: cuModuleGetFunction",
				    load->id, path);
	return rk_error_set(err, ENOENT,
			    "kernel %s: %s: has no kernel '%s'; cuobjdump -symbols lists those it "
			    "has, and extern \"C\" keeps a C++ name as it is written",
			    load->id, path, load->entry);
}

void rk_cuda_modules_put(struct rk_cuda_modules *m, struct rk_cuda_module *module)
{
	if (--module->users)
		return;
	SLIST_REMOVE(&m->users, module, rk_cuda_module, link);
	unload(m, module->handle);
	free(module);
}
