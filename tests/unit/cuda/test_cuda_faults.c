/* SPDX-License-Identifier: MIT */
/* The CUDA backend: what goes wrong on the device, and whose message that costs. */
#include "tests/unit/cuda/cuda_rig.h"

#include <pthread.h>
#include <sys/wait.h>

/* --- first those that fork, while there are no threads --- */

/* How a child ends that does @body with the backend; what it left is in the shared page. */
static int status_of_child(void (*body)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		open_cuda();
		body();
		_exit(EXIT_SUCCESS);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void check_fault(enum rk_wire_fault_kind kind, uint64_t message, const char *text)
{
	assert_int_equal(atomic_load(&rig.shared->fault), kind);
	assert_string_equal(rig.shared->fault_text, text);
	assert_int_equal(atomic_load(&rig.shared->crashed_message), message);
}

static void *load_illegal(void)
{
	return load_entry("illegal", square_params, ARRAY_SIZE(square_params));
}

static void run_once(void *kernel)
{
	struct rk_backend_arg args[3];
	struct rk_backend_run run;

	square_message(args, 1000, 0);
	run = make_run(args, 1, 1000);
	run_well(kernel, &run);
}

static void run_illegal(void)
{
	run_once(load_illegal());
}

RIG_TEST(illegal_address)
{
	assert_int_equal(status_of_child(run_illegal), RK_WIRE_EXIT_FAULT);
	check_fault(RK_WIRE_STICKY, 77,
		    "user/illegal: CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory access was "
		    "encountered)");
}

static void *wait_for_ever(void *arg)
{
	struct rk_backend_arg args[3];
	struct rk_backend_run run;
	struct rk_error err;
	void *kernel = arg;

	args[0] = args[1] = value(0, 0);
	args[0].buffer = args[1].buffer = rig.payload + PAYLOAD_BYTES - MIB;
	args[2] = value(0, 8);
	run = make_run(args, 1, 1);
	run.thread = 1;
	run.message = 78;
	run_kernel(kernel, &run, &err);
	return NULL;
}

/* With two on the device nobody can say whose fault it was. */
static void run_illegal_beside(void)
{
	pthread_t thread;
	void *kernel = load_entry("forever", square_params, ARRAY_SIZE(square_params));
	void *illegal = load_illegal(); /* loading waits for the device */
	uint64_t launches = rig.count("launches");

	if (pthread_create(&thread, NULL, wait_for_ever, kernel))
		_exit(EXIT_FAILURE);
	while (rig.count("launches") == launches)
		sched_yield();
	run_once(illegal);
}

RIG_TEST(illegal_address_beside)
{
	/* otherwise memory for the second would wait for the first */
	rig.settings.async_memory = rig.settings.memory_pooling = 1;
	assert_int_equal(status_of_child(run_illegal_beside), RK_WIRE_EXIT_FAULT);
	assert_int_equal(atomic_load(&rig.shared->fault), RK_WIRE_STICKY);
	assert_int_equal(atomic_load(&rig.shared->crashed_message), 0);
	assert_non_null(strstr(rig.shared->fault_text, "CUDA_ERROR_ILLEGAL_ADDRESS"));
	assert_non_null(strstr(rig.shared->fault_text, "while 2 messages ran"));
}

static void lose_device(void)
{
	struct rk_error err;

	triggers("lost\n");
	(void)rk_backend_cuda.check(rig.cuda, &err);
}

RIG_TEST(lost)
{
	assert_int_equal(status_of_child(lose_device), RK_WIRE_EXIT_FAULT);
	assert_int_equal(atomic_load(&rig.shared->fault), RK_WIRE_DEVICE_LOST);
	assert_int_equal(atomic_load(&rig.shared->crashed_message), 0);
	assert_non_null(
		strstr(rig.shared->fault_text, "cuMemGetInfo: CUDA_ERROR_DEVICE_UNAVAILABLE"));
}

/* A device that was lost is closed all the same: the process does not end by that. */
static void close_lost(void)
{
	triggers("lost\n");
	rk_backend_cuda.close(rig.cuda);
}

RIG_TEST(close_lost)
{
	assert_int_equal(status_of_child(close_lost), EXIT_SUCCESS);
	assert_int_equal(atomic_load(&rig.shared->fault), RK_WIRE_NO_FAULT);
}

/* --- the others --- */

/* Only this message fails; everything it had is back, and the next one is fine. */
RIG_TEST(errors_of_one_message)
{
	static const struct {
		const char *trigger, *text;
		uint64_t n;
		int rc;
	} rows[] = {
		{"once launch CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES\n",
		 "user/square: cuLaunchKernel: CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (", 1000, -EIO},
		{"once launch CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES\n",
		 "user/square: cuLaunchKernel: CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES (", MIB, -EIO},
		{"once fail cuMemcpyHtoDAsync CUDA_ERROR_INVALID_VALUE 2\n",
		 "user/square: cuMemcpyHtoDAsync: CUDA_ERROR_INVALID_VALUE (", MIB, -EIO},
		{"once fail cuMemcpyDtoHAsync CUDA_ERROR_INVALID_VALUE\n",
		 "user/square: cuMemcpyDtoHAsync: CUDA_ERROR_INVALID_VALUE (", 1000, -EIO},
		{"once fail cuMemcpyDtoHAsync CUDA_ERROR_INVALID_VALUE 2\n",
		 "user/square: cuMemcpyDtoHAsync: CUDA_ERROR_INVALID_VALUE (", MIB, -EIO},
		{"once fail cuMemsetD8Async CUDA_ERROR_INVALID_VALUE\n",
		 "user/square: cuMemsetD8Async: CUDA_ERROR_INVALID_VALUE (", MIB, -EIO},
		{"once fail cuEventRecord CUDA_ERROR_INVALID_VALUE\n",
		 "user/square: cuEventRecord: CUDA_ERROR_INVALID_VALUE (", 1000, -EIO},
		{"once fail cuEventElapsedTime CUDA_ERROR_INVALID_VALUE\n",
		 "user/square: cuEventElapsedTime: CUDA_ERROR_INVALID_VALUE (", 1000, -EIO},
		{"oom_at 1\n",
		 "user/square needs 8160 bytes on the device: CUDA_ERROR_OUT_OF_MEMORY", 1000,
		 -ENOMEM},
	};
	void *kernel;

	open_cuda();
	kernel = load_square();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rk_error err = {0};
		struct rk_backend_arg args[3];
		struct rk_backend_run run;

		rig.used = 0;
		square_message(args, rows[i].n, 0);
		run = make_run(args, 1, rows[i].n);
		triggers(rows[i].trigger);
		if (run_kernel(kernel, &run, &err) != rows[i].rc || !strstr(err.msg, rows[i].text))
			fail_msg("row %zu: %s", i, err.msg);
		triggers(NULL);
		assert_int_equal(atomic_load(&rig.shared->gpu_memory_bytes), 0);
		run_square(kernel, rows[i].n, 1);
	}
	unload(kernel);
}

/* What a message that failed left in its stream is over before others get its memory. */
RIG_TEST(error_leaves_nothing_behind)
{
	struct rk_error err = {0};
	struct rk_backend_arg args[3];
	struct rk_backend_run run;
	void *kernel;

	rig.settings.memory_pooling = 1;
	open_cuda();
	kernel = load_square();
	square_message(args, 1000, 0);
	run = make_run(args, 1, 1000);
	triggers("latency 5000\nonce fail cuMemcpyDtoHAsync CUDA_ERROR_INVALID_VALUE\n");
	assert_int_equal(run_kernel(kernel, &run, &err), -EIO);
	assert_int_equal(rk_cu.cuStreamQuery(last_stream()), CUDA_SUCCESS);
	triggers(NULL);
	unload(kernel);
}

RIG_TEST(memory_limit)
{
	struct rk_error err = {0};
	struct rk_backend_arg args[3];
	struct rk_backend_run run;
	void *kernel;

	rig.settings.memory_limit_bytes = 10000;
	open_cuda();
	kernel = load_square();
	square_message(args, 2000, 0);
	run = make_run(args, 1, 2000);
	assert_int_equal(run_kernel(kernel, &run, &err), -ENOMEM);
	assert_string_equal(err.msg, "user/square needs 16256 bytes on the device, where 0 of "
				     "memory_limit_bytes 10000 are in use");
	run_square(kernel, 1000, 0);
	unload(kernel);
}

int main(void)
{
	return unit_run(open_library, close_library);
}
