// SPDX-License-Identifier: MIT
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpu/cuda_images.h"
#include "gpu/cuda_internal.h"
#include "gpu/cuda_module.h"
#include "runtime/log.h"

#define JIT_LOG	     4096
#define PATH_SHOWN   100 /* bytes of a module's path in a sentence */
#define FATBIN_MAGIC 0xBA55ED50U
#define MACHINE_CUDA 190 /* e_machine of a cubin */

/* What a fatbin begins with. */
struct fatbin_header {
	uint32_t magic;
	uint16_t version;
	uint16_t header_bytes;
	uint64_t bytes; /* behind the header */
};

struct rk_cuda_module {
	SLIST_ENTRY(rk_cuda_module) link;
	CUmodule handle;
	dev_t dev; /* of the memfd: the same one is the same module */
	ino_t ino;
	unsigned int users; /* kernels */
};

struct rk_cuda_modules {
	struct rk_cuda_device *device;
	CUmodule *builtins; /* one per image */
	size_t nbuiltins;   /* that are loaded */
	SLIST_HEAD(, rk_cuda_module) users;
};

/* The end of a path says more than its beginning. */
static const char *path_shown(const char *path)
{
	size_t len = strlen(path);

	return len > PATH_SHOWN ? path + len - PATH_SHOWN : path;
}

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

/* Load the module @data, as a sentence calls it @name. */
static int load_data(struct rk_cuda_device *device, const void *data, const char *name,
		     CUmodule *module, struct rk_error *err)
{
	char info[JIT_LOG] = "", error[JIT_LOG] = "";
	CUjit_option options[] = {CU_JIT_INFO_LOG_BUFFER, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES,
				  CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
	void *values[] = {info, (void *)(uintptr_t)sizeof(info), error,
			  (void *)(uintptr_t)sizeof(error)};
	CUresult result;

	rk_rings_pause(device->rings);
	result = rk_cu.cuModuleLoadDataEx(module, data, sizeof(options) / sizeof(options[0]),
					  options, values);
	rk_rings_resume(device->rings);
	info[sizeof(info) - 1] = '\0';
	error[sizeof(error) - 1] = '\0';
	if (result == CUDA_SUCCESS) {
		if (one_line(info)[0])
			rk_log(RK_LOG_DEBUG, "rk-worker: %s: %s", name, info);
		return 0;
	}
	if (rk_cuda_fail(device, result, err, "%s", name) == -ENOMEM)
		return -ENOMEM;
	return rk_error_set(err, ENOEXEC,
			    "%s: cannot be loaded on %s (compute capability %d.%d): "
			    "%s%s%s",
			    name, device->name, device->major, device->minor, rk_cuda_name(result),
			    error[0] ? ": " : "", one_line(error));
}

static void unload(struct rk_cuda_device *device, CUmodule module)
{
	rk_rings_pause(device->rings);
	rk_cuda_release(device, rk_cu.cuModuleUnload(module), "cuModuleUnload");
	rk_rings_resume(device->rings);
}

int rk_cuda_modules_create(struct rk_cuda_modules **modules, struct rk_cuda_device *device,
			   struct rk_error *err)
{
	struct rk_cuda_modules *m = calloc(1, sizeof(*m));
	const struct rk_cuda_image *images;
	size_t count;
	int rc = 0;

	images = rk_cuda_images(&count);
	if (m)
		m->builtins = calloc(count ? count : 1, sizeof(m->builtins[0]));
	if (!m || !m->builtins) {
		free(m);
		return rk_error_set(err, ENOMEM, "no memory");
	}
	m->device = device;
	SLIST_INIT(&m->users);
	while (rc == 0 && m->nbuiltins < count) {
		const struct rk_cuda_image *image = &images[m->nbuiltins];

		rc = load_data(device, image->data, image->name, &m->builtins[m->nbuiltins], err);
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
		unload(m->device, m->builtins[--m->nbuiltins]);
	free(m->builtins);
	free(m);
}

int rk_cuda_modules_builtin(struct rk_cuda_modules *m, const struct rk_wire_load *load,
			    CUfunction *function, struct rk_error *err)
{
	for (size_t i = 0; i < m->nbuiltins; i++) {
		CUresult result = rk_cu.cuModuleGetFunction(function, m->builtins[i], load->entry);

		if (result == CUDA_SUCCESS)
			return 0;
		if (result != CUDA_ERROR_NOT_FOUND)
			return rk_cuda_fail(m->device, result, err,
					    "kernel %s: cuModuleGetFunction", load->id);
	}
	return rk_error_set(err, ENOENT, "kernel %s: no built-in CUDA kernel is called '%s'",
			    load->id, load->entry);
}

/* The whole file, with a NUL behind it, for the caller to free; NULL with the sentence in @err. */
static char *read_all(int fd, const struct stat *st, struct rk_error *err)
{
	size_t size = (size_t)st->st_size, have = 0;
	char *data = malloc(size + 1);

	if (!data) {
		rk_error_set(err, ENOMEM, "no memory to load its %zu bytes", size);
		return NULL;
	}
	while (have < size) {
		ssize_t n = pread(fd, data + have, size - have, (off_t)have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			rk_error_set(err, n < 0 ? errno : EIO, "cannot be read: %s",
				     n < 0 ? strerror(errno) : "it is cut off");
			free(data);
			return NULL;
		}
		have += (size_t)n;
	}
	data[size] = '\0';
	return data;
}

/* A table of @count entries of @size bytes at @at lies in a file of @bytes. */
static bool within(uint64_t at, uint64_t count, uint64_t size, uint64_t bytes)
{
	return at <= bytes && (size == 0 || count <= (bytes - at) / size);
}

static int check_cubin(const char *data, size_t size, struct rk_error *err)
{
	Elf64_Ehdr header;
	bool whole;

	if (size < sizeof(header))
		return rk_error_set(err, ENOEXEC, "is cut off");
	memcpy(&header, data, sizeof(header));
	if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != MACHINE_CUDA)
		return rk_error_set(
			err, ENOEXEC,
			"is an ELF file, but no cubin; nvcc -cubin or -fatbin makes one");
	whole = within(header.e_shoff, header.e_shnum, header.e_shentsize, size) &&
		within(header.e_phoff, header.e_phnum, header.e_phentsize, size);
	for (unsigned int i = 0; whole && i < header.e_shnum; i++) {
		Elf64_Shdr section;

		if (header.e_shentsize < sizeof(section))
			return rk_error_set(err, ENOEXEC, "is a broken cubin");
		memcpy(&section, data + header.e_shoff + i * header.e_shentsize, sizeof(section));
		whole = section.sh_type == SHT_NOBITS ||
			within(section.sh_offset, section.sh_size, 1, size);
	}
	return whole ? 0 : rk_error_set(err, ENOEXEC, "is cut off");
}

/*
 * The driver is given an address without a length, and believes what it finds there. A file that
 * is cut off, or something else altogether, must not have it read beyond the end.
 */
static int check_format(const char *data, size_t size, struct rk_error *err)
{
	struct fatbin_header fatbin;

	if (size >= SELFMAG && memcmp(data, ELFMAG, SELFMAG) == 0)
		return check_cubin(data, size, err);
	memset(&fatbin, 0, sizeof(fatbin));
	memcpy(&fatbin, data, size < sizeof(fatbin) ? size : sizeof(fatbin));
	if (fatbin.magic == FATBIN_MAGIC) {
		if (size < sizeof(fatbin) || fatbin.header_bytes < sizeof(fatbin) ||
		    !within(fatbin.header_bytes, fatbin.bytes, 1, size))
			return rk_error_set(err, ENOEXEC, "is cut off");
		return 0;
	}
	/* PTX is text, and says for which version it is in one of its first lines */
	if (strlen(data) == size && strstr(data, ".version"))
		return 0;
	return rk_error_set(err, ENOEXEC, "is no CUDA module: neither fatbin nor cubin nor PTX");
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
	rc = data ? check_format(data, (size_t)st->st_size, err) : -err->code;
	if (rc)
		rk_error_prefix(err, "%s", path);
	else
		rc = load_data(m->device, data, path, &module->handle, err);
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
	const char *path = path_shown(load->library);
	struct rk_cuda_module *module = NULL;
	CUresult result;
	struct stat st;
	int rc = 0;

	if (fstat(fd, &st) < 0)
		rc = rk_error_set(err, errno, "%s: cannot be looked at: %s", path, strerror(errno));
	else
		module = find_user(m, &st);
	if (rc == 0 && !module)
		rc = add_user(m, fd, &st, path, &module, err);
	(void)close(fd); /* only read from */
	if (rc)
		return rk_error_prefix(err, "kernel %s", load->id);
	module->users++;
	result = rk_cu.cuModuleGetFunction(function, module->handle, load->entry);
	if (result == CUDA_SUCCESS) {
		*found = module;
		return 0;
	}
	rk_cuda_modules_put(m, module);
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
	unload(m->device, module->handle);
	free(module);
}
