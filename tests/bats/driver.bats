#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# A driver whose libraries end the process that opens them: the next worker goes on without.

load common

# driver FILE C-CODE: a library of that name, which the worker of the next mount finds first.
driver() {
	mkdir -p "$BATS_TEST_TMPDIR/driver"
	"${CC-cc}" -shared -fPIC -x c -o "$BATS_TEST_TMPDIR/driver/$1" - <<<"$2"
	export LD_LIBRARY_PATH=$BATS_TEST_TMPDIR/driver
}

EXITS='#include <unistd.h>
static void __attribute__((constructor)) leave(void) { _exit(7); }'

# Without nvcc the worker has no cuda backend, and never opens libcuda.so.1.
has_cuda() {
	[[ -e $BIN/fake_cuda/libcuda.so.1 ]]
}

assert_fallback() {
	assert_value state Running
	assert_value health/status degraded
	assert_value health/ready 1
	run value health/reason
	assert_output --partial "on the fallback backend: "
	! has_cuda || assert_output --partial "$1"
	call core/echo '{"data": [1]}'
}

@test "driver: libcuda.so.1 that exits in a constructor: the fallback runs, and the sentence names the library" {
	driver libcuda.so.1 "$EXITS"
	rk_up primary_backend=cuda,fallback_backend=cpu,gpu_enabled=yes,restart_limit=0
	assert_fallback "libcuda.so.1 is not opened again before a reset: while it was, a worker exited with status 7"
	# so does a worker that comes later, and a reset tries again
	control stop
	control reset
	control start
	wait_for running
	assert_fallback "a worker exited with status 7"
	! has_cuda || assert_equal "$(count_events WorkerDied)" 2
}

@test "driver: libcuda.so.1 that is cut short: SIGBUS, or an error, and the fallback runs" {
	driver libcuda.so.1 "static char data[1 << 20] = {1}; char *cuInit(void) { return data; }"
	truncate -s 12288 "$BATS_TEST_TMPDIR/driver/libcuda.so.1"
	rk_up primary_backend=cuda,fallback_backend=cpu,gpu_enabled=yes,restart_limit=0
	assert_fallback "libcuda.so.1"
}

@test "driver: with no fallback the mount fails, and names the library" {
	driver libcuda.so.1 "$EXITS"
	run "$BIN/mount.rkfs" -o primary_backend=cuda,fallback_backend=none,gpu_enabled=yes none "$MNT"
	assert_failure 32
	! has_cuda || assert_output --partial "libcuda.so.1 is not opened again before a reset: while it was, a worker exited with status 7"
}

@test "driver: libnvidia-ml.so.1 that exits in a constructor: no devices are watched, all else runs" {
	driver libnvidia-ml.so.1 "$EXITS"
	rk_up primary_backend=cpu,gpu_enabled=yes,restart_limit=1
	py <<-'EOF'
		until(lambda: len(events("WorkerDied")), 1)
		assert events("WorkerDied")[0]["how"] == "exited with status 7"
		until(lambda: len(events("WorkerStarted")) + len(events("WorkerDied")) >= 2, True)
		until(lambda: outcome(call, "core/echo", {"data": [1]}), b'{"data":[1]}\n')
		until(lambda: get("health/status"), "healthy")
		assert len(events("WorkerDied")) == 1 and get("state") == "Running"
		assert os.listdir(path("devices")) == []
		for kernel in os.listdir(path("kernels/core")):
		    assert get(f"kernels/core/{kernel}/enable") == "1", kernel
	EOF
	run cat "$LOG"
	assert_output --partial "while it opened libnvidia-ml.so.1, which is not opened again before a reset"
	assert_output --partial "no devices are watched: libnvidia-ml.so.1 is not opened again"
}
