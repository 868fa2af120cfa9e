/* SPDX-License-Identifier: MIT */
/* The CUDA backend: opening and closing the device, loading kernels, the check. */
#include "tests/unit/cuda/cuda_rig.h"

#include <elf.h>
#include <sys/wait.h>

static void check_message(const struct rk_error *err, const char *text)
{
	if (!strstr(err->msg, text))
		fail_msg("\"%s\" does not say \"%s\"", err->msg, text);
	if (strchr(err->msg, '\n'))
		fail_msg("\"%s\" has more than one line", err->msg);
}

/* --- the library --------------------------------------------------------------------- */

/* rk_cuda_open in a child, for which nothing is open yet; what it says goes into @err. */
static int open_in_child(const char *trigger, const char *library, struct rk_error *err)
{
	struct rk_error *said = shared_memory(sizeof(*said));
	int status;
	pid_t pid;

	triggers(trigger);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (library && (dlclose(rig.library) || !dlopen(library, RTLD_NOW | RTLD_LOCAL)))
			_exit(EXIT_FAILURE);
		_exit(-rk_cuda_open(said) == said->code ? EXIT_SUCCESS : EXIT_FAILURE);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	*err = *said;
	assert_int_equal(munmap(said, sizeof(*said)), 0);
	return -err->code;
}

RIG_TEST(library)
{
	static const struct {
		const char *trigger, *library, *text;
		int rc;
	} rows[] = {
		{NULL, NULL, "", 0},
		{"symbol_missing cuMemAllocFromPoolAsync\n", NULL, "", 0},
		{"symbol_missing cuMemsetD8Async\n", NULL,
		 "libcuda.so.1 has no cuMemsetD8Async (CUDA 3.2)", -ENODEV},
		{"driver_version 11020\n", NULL,
		 "libcuda.so.1 is of CUDA 11.2; 11.4 or later is needed", -ENODEV},
		{NULL, RK_FAKE_CUDA_DIR "/old/libcuda.so.1", "libcuda.so.1 ", -ENODEV},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rk_error err = {0};

		if (open_in_child(rows[i].trigger, rows[i].library, &err) != rows[i].rc)
			fail_msg("row %zu: %s", i, err.msg);
		check_message(&err, rows[i].text);
	}
}

RIG_TEST(results)
{
	struct rk_error err = {.code = 1};

	open_cuda();
	assert_int_equal(rk_cuda_error(CUDA_SUCCESS, &err, "x"), 0);
	assert_int_equal(err.code, 1);
	assert_int_equal(rk_cuda_error(CUDA_ERROR_OUT_OF_MEMORY, &err, "a %d", 1), -ENOMEM);
	assert_string_equal(err.msg, "a 1: CUDA_ERROR_OUT_OF_MEMORY (out of memory)");
	assert_int_equal(rk_cuda_error(CUDA_ERROR_NO_DEVICE, &err, "b"), -ENODEV);
	assert_int_equal(rk_cuda_error((CUresult)54321, &err, "c"), -EIO);
	assert_string_equal(err.msg, "c: an unknown CUresult, 54321");
	assert_int_equal(rk_cuda_fault(CUDA_SUCCESS), RK_WIRE_NO_FAULT);
	assert_int_equal(rk_cuda_fault(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES), RK_WIRE_NO_FAULT);
	assert_int_equal(rk_cuda_fault(CUDA_ERROR_NOT_READY), RK_WIRE_NO_FAULT);
	assert_int_equal(rk_cuda_fault(CUDA_ERROR_MISALIGNED_ADDRESS), RK_WIRE_STICKY);
	assert_int_equal(rk_cuda_fault((CUresult)226), RK_WIRE_STICKY);
	assert_int_equal(rk_cuda_fault(CUDA_ERROR_DEVICE_UNAVAILABLE), RK_WIRE_DEVICE_LOST);
}

/* --- the device ---------------------------------------------------------------------- */

RIG_TEST(open)
{
	const struct rk_cuda_device *device;

	open_cuda();
	device = &rig.cuda->device;
	assert_int_equal(device->index, 0);
	assert_int_equal(device->major, 8);
	assert_int_equal(device->minor, 9);
	assert_int_equal(rig.count("streams"), THREADS + RK_CUDA_STREAMS_OWN);
	assert_int_equal(rig.count("contexts"), 1);
	if (!strstr(rig.log, "CUDA device 0: ") || !strstr(rig.log, device->name) ||
	    !strstr(rig.log, device->uuid) || !strstr(rig.log, "compute capability 8.9") ||
	    !strstr(rig.log, "driver of CUDA 13.0"))
		fail_msg("%s", rig.log);
	/* closing and opening again in the same threads */
	close_cuda();
	open_cuda();
}

RIG_TEST(choose)
{
	struct rk_error err = {0};
	char uuid[RK_CUDA_UUID_MAX];

	triggers("device_count 3\n");
	snprintf(rig.settings.device, sizeof(rig.settings.device), "2");
	open_cuda();
	assert_int_equal(rig.cuda->device.index, 2);
	memcpy(uuid, rig.cuda->device.uuid, sizeof(uuid));
	assert_int_equal(strncmp(uuid, "GPU-", 4), 0);
	assert_int_equal(strlen(uuid), 40);
	close_cuda();
	snprintf(rig.settings.device, sizeof(rig.settings.device), "%s", uuid);
	open_cuda();
	assert_int_equal(rig.cuda->device.index, 2);
	close_cuda();
	snprintf(rig.settings.device, sizeof(rig.settings.device), "3");
	assert_int_equal(try_open(&err), -ENODEV);
	check_message(&err, "there is no cuda_device 3; there are: 0 (");
	check_message(&err, uuid);
	uuid[4] ^= 1;
	snprintf(rig.settings.device, sizeof(rig.settings.device), "%s", uuid);
	assert_int_equal(try_open(&err), -ENODEV);
	check_message(&err, uuid);
	check_nothing_left();
}

/* An instance of MIG, by its UUID with either prefix; its address is that of the GPU. */
RIG_TEST(choose_instance)
{
	static const char *const wanted[] = {
		"MIG-11a1a2a3-a4a5-a6a7-a8a9-aaabacadae01",
		"GPU-11a1a2a3-a4a5-a6a7-a8a9-aaabacadae01",
	};
	struct rk_error err = {0};

	triggers("device_count 2\nmig\n");
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		snprintf(rig.settings.device, sizeof(rig.settings.device), "%s", wanted[i]);
		open_cuda();
		assert_int_equal(rig.cuda->device.index, 1);
		assert_string_equal(rig.cuda->device.uuid, wanted[0]);
		assert_int_equal(rig.cuda->device.address.domain, 1);
		assert_int_equal(rig.cuda->device.address.bus, 0x41);
		assert_int_equal(rig.cuda->device.address.device, 2);
		close_cuda();
	}
	snprintf(rig.settings.device, sizeof(rig.settings.device), "9");
	assert_int_equal(try_open(&err), -ENODEV);
	check_message(&err, "0 (Fake GPU 0 MIG 1g.10gb, MIG-11a1");
	check_nothing_left();
}

/* Whatever fails, the sentence has the call and the result, and all before it is undone. */
RIG_TEST(open_fails)
{
	static const char *const calls[] = {
		"cuInit",
		"cuDriverGetVersion",
		"cuDeviceGetCount",
		"cuDeviceGet",
		"cuDeviceGetName",
		"cuDeviceGetUuid",
		"cuDeviceGetAttribute",
		"cuDevicePrimaryCtxSetFlags",
		"cuDevicePrimaryCtxRetain",
		"cuCtxSetCurrent",
		"cuStreamCreate",
		"cuEventCreate",
		"cuMemPoolCreate",
		"cuMemPoolSetAttribute",
	};
	static const char *const results[] = {"CUDA_ERROR_NOT_SUPPORTED",
					      "CUDA_ERROR_ILLEGAL_ADDRESS", "CUDA_ERROR_UNKNOWN"};

	rig.settings.async_memory = 1;
	rig.settings.memory_pooling = 1;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(results); j++) {
			struct rk_error err = {0};
			char line[96];

			/* a trigger for the backend's closing too would be another test */
			snprintf(line, sizeof(line), "once fail %s %s\n", calls[i], results[j]);
			triggers(line);
			if (try_open(&err) != -EIO)
				fail_msg("%s %s: \"%s\"", calls[i], results[j], err.msg);
			check_message(&err, calls[i]);
			check_message(&err, results[j]);
			check_nothing_left();
		}
	}
	triggers(NULL);
	open_cuda();
}

RIG_TEST(open_without_device)
{
	static const struct {
		const char *trigger, *text;
		int rc;
	} rows[] = {
		{"no_device\n", "cuInit: CUDA_ERROR_NO_DEVICE (", -ENODEV},
		{"device_count 0\n", "the NVIDIA driver has no device", -ENODEV},
		{"fail cuMemHostAlloc CUDA_ERROR_OUT_OF_MEMORY\n",
		 "cannot pin 1048576 bytes of memory: CUDA_ERROR_OUT_OF_MEMORY", -ENOMEM},
		{"fail cuMemAllocFromPoolAsync CUDA_ERROR_OUT_OF_MEMORY\n",
		 "cannot reserve pool_initial_bytes 1048576: CUDA_ERROR_OUT_OF_MEMORY", -ENOMEM},
		{"fail cuModuleLoadDataEx CUDA_ERROR_NO_BINARY_FOR_GPU\n", "cannot be loaded on ",
		 -ENOEXEC},
	};

	rig.settings.async_memory = 1;
	rig.settings.memory_pooling = 1;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rk_error err = {0};

		triggers(rows[i].trigger);
		if (try_open(&err) != rows[i].rc)
			fail_msg("%s: %s", rows[i].trigger, err.msg);
		check_message(&err, rows[i].text);
		check_nothing_left();
	}
}

static const struct rk_wire_param add_params[] = {P(INPUT, RK_F32), P(INPUT, RK_F32),
						  P(OUTPUT, RK_F32), P(DIM, RK_U64)};

/* A driver that is older than the toolkit refuses the fatbin, and compiles the PTX. */
RIG_TEST(open_with_old_driver)
{
	static const char *const drivers[] = {"11040", "11080", "12000", "12040", "12090"};

	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
		struct rk_wire_load load =
			make_load("vector_add", add_params, ARRAY_SIZE(add_params));
		char trigger[64];

		snprintf(trigger, sizeof(trigger), "driver_version %s\n", drivers[i]);
		triggers(trigger);
		rig.log[0] = '\0';
		open_cuda();
		if (!strstr(rig.log, "compiled PTX 6.") || !strstr(rig.log, ", of CUDA ") ||
		    !strstr(rig.log, "(fatbin: CUDA_ERROR_NO_BINARY_FOR_GPU)"))
			fail_msg("driver %s: %s", drivers[i], rig.log);
		assert_int_equal(rig.count("modules"), 1);
		snprintf(load.library, sizeof(load.library), "builtin");
		unload(load_kernel(&load, -1));
		close_cuda();
	}
	/* and where it can, it does not compile */
	triggers(NULL);
	rig.log[0] = '\0';
	open_cuda();
	assert_null(strstr(rig.log, "PTX"));
}

RIG_TEST(open_as_told)
{
	assert_int_equal(setenv("RK_CUDA_IMAGE", "ptx", 1), 0);
	open_cuda();
	assert_int_equal(unsetenv("RK_CUDA_IMAGE"), 0);
	if (!strstr(rig.log, "compiled PTX 6.") || !strstr(rig.log, "(fatbin: passed over)"))
		fail_msg("%s", rig.log);
}

/* Both are refused: the sentence has what each got, the driver and the toolkit. */
RIG_TEST(open_with_neither)
{
	static const char *const texts[] = {
		"Fake GPU 0: built-in kernels: builtins.cu: cannot be loaded on Fake GPU 0 (compute "
		"capability 8.9, driver of CUDA 11.4): fatbin: CUDA_ERROR_NO_BINARY_FOR_GPU; PTX 6.",
		" for sm_7", ", of CUDA ", ": CUDA_ERROR_JIT_COMPILER_NOT_FOUND"};
	struct rk_error err = {0};

	triggers(
		"driver_version 11040\nfail cuModuleLoadDataEx CUDA_ERROR_JIT_COMPILER_NOT_FOUND 2\n");
	assert_int_equal(try_open(&err), -ENOEXEC);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		check_message(&err, texts[i]);
	check_nothing_left();
	/* for want of memory there is no second try */
	triggers("fail cuModuleLoadDataEx CUDA_ERROR_OUT_OF_MEMORY 1\n");
	assert_int_equal(try_open(&err), -ENOMEM);
	check_nothing_left();
}

RIG_TEST(check)
{
	struct rk_error err = {0};

	open_cuda();
	assert_int_equal(rk_backend_cuda.check(rig.cuda, &err), 0);
	triggers("fail cuMemGetInfo CUDA_ERROR_NOT_PERMITTED\n");
	assert_int_equal(rk_backend_cuda.check(rig.cuda, &err), -EIO);
	check_message(&err, "cuMemGetInfo: CUDA_ERROR_NOT_PERMITTED");
}

/* --- loading ------------------------------------------------------------------------- */

static int try_load(const struct rk_wire_load *load, int fd, struct rk_error *err)
{
	void *kernel;
	int rc = rk_backend_cuda.load(rig.cuda, load, fd, &kernel, err);

	if (rc == 0)
		unload(kernel);
	else if (fd >= 0) /* it was taken */
		assert_int_equal(fcntl(fd, F_GETFD), -1);
	return rc;
}

static struct rk_wire_load square_load(void)
{
	return make_load("square", square_params, ARRAY_SIZE(square_params));
}

RIG_TEST(builtin)
{
	struct rk_wire_load load = square_load();
	struct rk_error err = {0};

	open_cuda();
	assert_int_equal(rig.count("modules"), 1);
	snprintf(load.library, sizeof(load.library), "builtin");
	snprintf(load.entry, sizeof(load.entry), "vector_add");
	assert_int_equal(try_load(&load, -1, &err), -EINVAL);
	check_message(&err, "kernel user/square: 'vector_add' takes 4 parameters, args has 3");
	snprintf(load.entry, sizeof(load.entry), "echo");
	assert_int_equal(try_load(&load, -1, &err), 0);
	snprintf(load.entry, sizeof(load.entry), "no_such");
	assert_int_equal(try_load(&load, -1, &err), -ENOENT);
	check_message(&err, "kernel user/square: no built-in CUDA kernel is called 'no_such'");
	assert_int_equal(rig.count("modules"), 1);
}

/* All kernels of one file share a module, which goes with the last of them. */
RIG_TEST(module_is_shared)
{
	struct rk_wire_load load = square_load();
	int fd = make_module(PTX, strlen(PTX)), same = dup(fd);
	uint64_t loads;
	void *a, *b, *c;

	open_cuda();
	loads = rig.count("module_loads");
	a = load_kernel(&load, fd);
	snprintf(load.entry, sizeof(load.entry), "overrun");
	b = load_kernel(&load, same);
	assert_int_equal(rig.count("module_loads"), loads + 1);
	c = load_square(); /* the same bytes in another file */
	assert_int_equal(rig.count("module_loads"), loads + 2);
	unload(a);
	assert_int_equal(rig.count("modules"), 3);
	unload(b);
	assert_int_equal(rig.count("modules"), 2);
	unload(c);
	assert_int_equal(rig.count("modules"), 1);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(fcntl(same, F_GETFD), -1);
}

#define PTX_HEAD(version)                                                                          \
	"// Cuda compilation tools, release 12.4, V12.4.131\n.version " version                    \
	"\n.target sm_75\n.visible .entry square()\n"

RIG_TEST(bad_modules)
{
	static const struct {
		const char *data;
		size_t size;
		const char *text;
	} rows[] = {
		{"", 0, "is no CUDA module"},
		{"hello", 5, "is no CUDA module"},
		{".version\0 8.0", 13, "is no CUDA module"},
		{"\x7f"
		 "ELF",
		 4, "is cut off"},
		/* fatbins: cut in the header; a byte too short; a header that is too small */
		{"\x50\xed\x55\xba\1\0\x10", 7, "is cut off"},
		{"\x50\xed\x55\xba\1\0\x10\0\5\0\0\0\0\0\0\0abcd", 20, "is cut off"},
		{"\x50\xed\x55\xba\1\0\x10\0\xff\xff\xff\xff\xff\xff\xff\xff"
		 "abcd",
		 20, "is cut off"},
		{"\x50\xed\x55\xba\1\0\4\0\1\0\0\0\0\0\0\0abcd", 20, "is cut off"},
		/* the fake's compiler does not like this */
		{".version 8.0\nthis is no ptx\n", 28,
		 "CUDA_ERROR_INVALID_PTX: ptxas application ptx input, line 3; fatal : Parsing"},
	};
	struct rk_wire_load load = square_load();

	open_cuda();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rk_error err = {0};
		int rc = try_load(&load, make_module(rows[i].data, rows[i].size), &err);

		if (rc != -ENOEXEC)
			fail_msg("row %zu: %d, %s", i, rc, err.msg);
		check_message(&err, "kernel user/square: /somewhere/module: ");
		check_message(&err, rows[i].text);
	}
	assert_int_equal(rig.count("modules"), 1);
}

/* A refused module: what it is for, and the driver that does not take it. */
RIG_TEST(refused_modules)
{
	static const struct {
		const char *trigger, *data;
		size_t size;
		const char *text;
	} rows[] = {
		{"driver_version 12020\n", PTX_HEAD("8.4"), sizeof(PTX_HEAD("8.4")) - 1,
		 "(compute capability 8.9, driver of CUDA 12.2): it is PTX 8.4 for sm_75, of CUDA "
		 "12.4: CUDA_ERROR_UNSUPPORTED_PTX_VERSION (its toolkit is newer than the driver)"},
		/* one cubin and one PTX */
		{"driver_version 11060\n",
		 "\x50\xed\x55\xba\1\0\x10\0\x50\0\0\0\0\0\0\0"
		 "\2\0\1\1\x20\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x08\0\1\0\x5a\0\0\0"
		 "\0\0\0\0\0\0\0\0"
		 "\1\0\1\1\x20\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x09\0\x79\0\0\0"
		 "\0\0\0\0\0\0\0\0",
		 16 + 80,
		 "(compute capability 8.9, driver of CUDA 11.6): it is a fatbin for sm_90, PTX 9.0 of "
		 "sm_121: CUDA_ERROR_NO_BINARY_FOR_GPU (nvcc -gencode "
		 "arch=compute_75,code=compute_75 adds PTX)"},
	};
	struct rk_wire_load load = square_load();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rk_error err = {0};

		triggers(rows[i].trigger);
		open_cuda();
		assert_int_equal(try_load(&load, make_module(rows[i].data, rows[i].size), &err),
				 -ENOEXEC);
		check_message(&err, "kernel user/square: /somewhere/module: cannot be loaded on ");
		check_message(&err, rows[i].text);
		close_cuda();
	}
}

/* What the function takes is not what args has. */
RIG_TEST(other_parameters)
{
	static const struct {
		const char *entry;
		uint8_t mode;
		uint32_t nparams;
		struct rk_wire_param params[4];
		const char *text; /* NULL: it is right */
	} rows[] = {
		{"square",
		 RK_WIRE_BATCH,
		 3,
		 {P(INPUT, RK_F32), P(OUTPUT, RK_F32), P(DIM, RK_U64)},
		 NULL},
		{"square",
		 RK_WIRE_BATCH,
		 2,
		 {P(INPUT, RK_F32), P(OUTPUT, RK_F32)},
		 "'square' takes 3 parameters, args has 2"},
		{"square",
		 RK_WIRE_BATCH,
		 4,
		 {P(INPUT, RK_F32), P(OUTPUT, RK_F32), P(DIM, RK_U64), P(SCRATCH, RK_U8)},
		 "'square' takes 3 parameters, args has 4"},
		{"square",
		 RK_WIRE_BATCH,
		 3,
		 {P(INPUT, RK_F32), P(OUTPUT, RK_F32), P(SCALAR, RK_U32)},
		 "parameter 3 of 'square' has 8 bytes, that of args 4"},
		{"saxpy_in_place",
		 RK_WIRE_BATCH,
		 4,
		 {P(SCALAR, RK_F64), P(INPUT, RK_F32), P(OUTPUT, RK_F32), P(DIM, RK_U64)},
		 "parameter 1 of 'saxpy_in_place' has 4 bytes, that of args 8"},
		{"grid",
		 RK_WIRE_RING,
		 1,
		 {P(OUTPUT, RK_U32)},
		 "'grid' takes 1 parameters, an RK_RING_KERNEL takes 3"},
		{"saxpy_in_place",
		 RK_WIRE_RING,
		 1,
		 {P(OUTPUT, RK_U32)},
		 "'saxpy_in_place' takes 4 parameters, an RK_RING_KERNEL takes 3"},
	};

	open_cuda();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rk_wire_load load =
			make_load(rows[i].entry, rows[i].params, rows[i].nparams);
		struct rk_error err = {0};
		int rc;

		load.mode = rows[i].mode;
		rc = try_load(&load, make_module(PTX, strlen(PTX)), &err);
		if (rc != (rows[i].text ? -EINVAL : 0))
			fail_msg("row %zu: %d, %s", i, rc, err.msg);
		if (rows[i].text) {
			check_message(&err, ": /somewhere/module: ");
			check_message(&err, rows[i].text);
		}
		assert_int_equal(rig.count("modules"), 1);
	}
}

/* A driver that does not know, and one that does not say. */
RIG_TEST(unknown_parameters)
{
	__typeof__(rk_cu.cuFuncGetParamInfo) there;
	struct rk_wire_load load = square_load();
	struct rk_error err = {0};
	int rc;

	open_cuda();
	triggers("fail cuFuncGetParamInfo CUDA_ERROR_INVALID_HANDLE\n");
	assert_int_equal(try_load(&load, make_module(PTX, strlen(PTX)), &err), -EIO);
	check_message(&err, "kernel user/square: /somewhere/module: cuFuncGetParamInfo: CUDA_ERROR_"
			    "INVALID_HANDLE");
	triggers(NULL);
	load.nparams = 2;
	there = rk_cu.cuFuncGetParamInfo;
	rk_cu.cuFuncGetParamInfo = NULL;
	rc = try_load(&load, make_module(PTX, strlen(PTX)), &err);
	rk_cu.cuFuncGetParamInfo = there;
	assert_int_equal(rc, 0);
}

RIG_TEST(cubins)
{
	struct {
		Elf64_Ehdr header;
		Elf64_Shdr sections[2];
		char text[16];
	} cubin = {.header = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64},
			      .e_machine = 190,
			      .e_shoff = sizeof(Elf64_Ehdr),
			      .e_shentsize = sizeof(Elf64_Shdr),
			      .e_shnum = 2}};
	struct rk_wire_load load = square_load();
	struct rk_error err = {0};

	open_cuda();
	cubin.sections[1] = (Elf64_Shdr){.sh_type = SHT_PROGBITS,
					 .sh_offset = offsetof(__typeof__(cubin), text),
					 .sh_size = sizeof(cubin.text)};
	assert_int_equal(try_load(&load, make_module(&cubin, sizeof(cubin)), &err), 0);
	/* cut in the section, and in the table of sections */
	assert_int_equal(try_load(&load, make_module(&cubin, sizeof(cubin) - 1), &err), -ENOEXEC);
	check_message(&err, "is cut off");
	assert_int_equal(try_load(&load, make_module(&cubin, sizeof(cubin.header) + 1), &err),
			 -ENOEXEC);
	check_message(&err, "is cut off");
	cubin.header.e_machine = EM_X86_64;
	assert_int_equal(try_load(&load, make_module(&cubin, sizeof(cubin)), &err), -ENOEXEC);
	check_message(&err, "is an ELF file, but not a cubin");
}

RIG_TEST(no_entry)
{
	struct rk_wire_load load = square_load();
	struct rk_error err = {0};

	open_cuda();
	snprintf(load.entry, sizeof(load.entry), "cube");
	assert_int_equal(try_load(&load, make_module(PTX, strlen(PTX)), &err), -ENOENT);
	check_message(&err, "kernel user/square: /somewhere/module: has no kernel 'cube'");
	assert_int_equal(rig.count("modules"), 1);
}

/* A launch that cannot succeed is refused at once, with the numbers. */
RIG_TEST(launch_limits)
{
	static const struct {
		uint32_t block[3], shared;
		bool cooperative;
		const char *trigger, *text;
		int rc;
	} rows[] = {
		{{1024, 1, 1}, 0, false, NULL, NULL, 0},
		{{1, 1, 65},
		 0,
		 false,
		 NULL,
		 "65 threads along its axis 3, the device allows 64",
		 -EINVAL},
		{{32, 33, 1},
		 0,
		 false,
		 NULL,
		 "block has 1056 threads, the function can have 1024",
		 -EINVAL},
		{{257, 1, 1},
		 0,
		 false,
		 "max_threads 256\n",
		 "block has 257 threads, the function can have 256",
		 -EINVAL},
		{{1, 1, 1}, 48 * 1024, false, NULL, NULL, 0},
		{{1, 1, 1}, 99 * 1024, false, NULL, NULL, 0},
		{{1, 1, 1},
		 99 * 1024 + 1,
		 false,
		 NULL,
		 "shared asks for 101377 bytes beside the function's own 0; a block can have 101376",
		 -ENOTSUP},
		{{1, 1, 1}, 0, true, NULL, NULL, 0},
		{{1, 1, 1}, 0, true, "cooperative no\n", "cannot launch all blocks", -ENOTSUP},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rk_wire_load load = square_load();
		struct rk_error err = {0};

		triggers(rows[i].trigger);
		open_cuda();
		memcpy(load.block, rows[i].block, sizeof(load.block));
		load.shared_bytes = rows[i].shared;
		load.cooperative = rows[i].cooperative;
		if (try_load(&load, make_module(PTX, strlen(PTX)), &err) != rows[i].rc)
			fail_msg("row %zu: %s", i, err.msg);
		if (rows[i].text)
			check_message(&err, rows[i].text);
		assert_int_equal(rig.count("modules"), 1);
		close_cuda();
	}
}

int main(void)
{
	return unit_run(open_library, close_library);
}
