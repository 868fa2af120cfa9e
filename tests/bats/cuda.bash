# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# What the cuda*.bats files load: mounts on the fake driver of tests/fake_cuda, and a teardown that
# also fails where the driver was misused, or did not get back what it gave.
#
# $FAKE                 where the libraries are
# $RK_FAKE_CUDA         the trigger file; tests/fake_cuda/README has what can be in it
# $RK_FAKE_CUDA_LEDGER  what the driver counted, for each worker that ended by itself

load common

eval "common_$(declare -f setup)"
eval "common_$(declare -f teardown)"

setup() {
	common_setup
	FAKE=$BIN/fake_cuda
	[[ -e $FAKE/libcuda.so.1 ]] || skip "needs a GPU backend, which this build has not"
	export RK_FAKE_CUDA=$BATS_TEST_TMPDIR/trigger RK_FAKE_CUDA_LEDGER=$BATS_TEST_TMPDIR/ledger
	export RK_FAKE_CUDA_HANGS=$BATS_TEST_TMPDIR/hangs
	: >"$RK_FAKE_CUDA"
	: >"$RK_FAKE_CUDA_LEDGER"
	fake_driver
}

# fake_driver [DIR]: what is mounted from here on finds the libraries there.
fake_driver() {
	export LD_LIBRARY_PATH=${1-$FAKE}
}

# triggers [LINE...]: what goes wrong from now on; nothing without lines.
triggers() {
	printf '%s\n' "$@" >"$RK_FAKE_CUDA.new"
	mv "$RK_FAKE_CUDA.new" "$RK_FAKE_CUDA"
}

# No probe comes by itself; a small pool.
CUDA_OPTIONS=primary_backend=cuda,fallback_backend=none,pool_initial_bytes=2M
CUDA_OPTIONS+=,health_check_interval=24h,hot_reload_enabled=yes

# cuda_up [OPTIONS]: mount with the fake driver, and $KERNELS where there are some.
cuda_up() {
	local options=$CUDA_OPTIONS

	[[ ! -d $KERNELS ]] || options+=,kernels_dir=$KERNELS
	rk_up "$options${1:+,$1}"
}

# cuda_refused SENTENCE [OPTIONS]: the mount fails with it, an extended regular expression, on
# stderr, and leaves nothing.
cuda_refused() {
	run timeout 60 "$BIN/mount.rkfs" -o "$CUDA_OPTIONS${2:+,$2}" none "$MNT"
	assert_failure 32
	assert_output --regexp "^mount\.rkfs: .*$1"
	! is_mounted || fail "it is mounted all the same"
	assert_equal "$(rk_processes 'mount.rkfs|rk-worker')" ""
}

# py, with what is in rk_cuda.py too.
py() {
	PYTHONPATH=$HERE PYTHONDONTWRITEBYTECODE=1 timeout 100 \
		python3 -c "from rk_cuda import *"$'\n'"$(cat)" "$@"
}

# compile NAME FILE ARG...: tests/kernels_src/NAME.cu with nvcc, as a user would; a FILE that is there
# is replaced by another, not written to.
compile() {
	local nvcc

	nvcc=$(command -v nvcc) || nvcc=${CUDA_HOME-/usr/local/cuda}/bin/nvcc
	mkdir -p "$BATS_TEST_TMPDIR/include/rkfs"
	cp "$HERE/../../gpu/kernels/ring.h" "$HERE/../../gpu/kernels/ring.cuh" "$BATS_TEST_TMPDIR/include/rkfs/"
	"$nvcc" "${@:3}" -I "$BATS_TEST_TMPDIR/include" -o "$2.new" "$KERNELS_SRC/$1.cu"
	mv "$2.new" "$2"
}

# ptx NAME...: what nvcc makes of a kernel of that name, as far as the fake looks at it.
ptx() {
	printf '.version 8.0\n.target sm_75\n.address_size 64\n'
	printf '.visible .entry %s()\n{\n\tret;\n}\n' "$@"
}

# vector_kernels NAME...: user/NAME in $KERNELS for kernels of the fake with one vector in and one out:
# square, illegal, forever, overrun.
vector_kernels() {
	local name

	mkdir -p "$KERNELS"
	for name; do
		ptx "$name" >"$KERNELS/$name.ptx"
		printf '%s\n' '[kernel]' "id = user/$name" '[inputs]' 'x = f32[n]' '[outputs]' 'y = f32[n]' '[cuda]' \
			"module = $name.ptx" "entry = $name" 'args = x, y, n' 'grid = n' >"$KERNELS/$name.ini"
	done
}

# cuda_down: to Stopped by a drain, and unmount.
cuda_down() {
	settle
	umount "$MNT"
	assert_daemon_exits
}

# --- teardown ---

# Have the worker that serves end by itself, so that its driver tells what it has counted.
settle() {
	local worker

	is_mounted && [[ $(timeout 20 cat "$MNT/state") == Running ]] || return 0
	[[ $(grep '"event":"WorkerStarted"' "$MNT/events" | tail -n 1) == *'"backend":"cuda"'* ]] || return 0
	worker=$(rk_worker) || return
	control drain 10 && wait_for stopped >/dev/null && await_exit "$worker" || return
	assert_value stats/gpu_memory_bytes 0 || return
	assert_equal "$(grep -c "^release pid=$worker " "$RK_FAKE_CUDA_LEDGER")" 1
}

# Every line of the ledger: nothing is left, nothing was done wrong.
assert_ledger() {
	awk '
		BEGIN {
			n = split("contexts device_blocks device_bytes managed_blocks host_blocks host_bytes streams " \
				"events modules pools resident beside_resident misuses leaked", zero)
		}
		{
			for (i = 3; i <= NF; i++) {
				split($i, pair, "=")
				count[pair[1]] = pair[2]
			}
			for (i = 1; i <= n; i++)
				if (count[zero[i]] != "0") {
					print $1, $2, zero[i] "=" count[zero[i]]
					bad = 1
				}
		}
		END { exit bad }' "$RK_FAKE_CUDA_LEDGER"
}

teardown() {
	local rc=0

	mark
	[[ ! -v RK_FAKE_CUDA ]] || triggers
	settle || rc=1
	common_teardown || rc=1
	[[ ! -v RK_FAKE_CUDA_LEDGER ]] || assert_ledger || rc=1
	return $rc
}
