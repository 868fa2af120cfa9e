#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What a machine with a GPU is given, make gpu-bundle, unpacked and run here on the fake driver: the
# script and its programs work, and a run leaves what it had however it ends.

bats_load_library bats-support
bats_load_library bats-assert
bats_load_library bats-file

setup_file() {
	SOURCE=$(realpath "$BATS_TEST_DIRNAME/../..")
	export SOURCE
	command -v "${NVCC:-nvcc}" /usr/local/cuda/bin/nvcc >/dev/null || return 0
	export UNPACKED=$BATS_FILE_TMPDIR/rkfs-gpu
	make -s -C "$SOURCE" gpu-bundle fake-cuda >"$BATS_FILE_TMPDIR/make.log" 2>&1 || {
		cat "$BATS_FILE_TMPDIR/make.log" >&2
		return 1
	}
	tar -xzf "$SOURCE/build/gpu-bundle.tar.gz" -C "$BATS_FILE_TMPDIR"
}

setup() {
	[[ -n ${UNPACKED-} ]] || skip "needs a GPU backend, which this build has not"
	export LD_LIBRARY_PATH=$SOURCE/build/fake_cuda TABLE=$BATS_TEST_TMPDIR/table.md
}

# rows: what the table has
rows() {
	grep -E '^\| .* \| (pass|unavailable|measured|\*\*FAIL\*\*) \|$' "$1"
}

@test "gpu bundle: sections run by name on the fake driver, and nothing of it is a figure" {
	run timeout 300 "$UNPACKED/run" -o "$TABLE" launch ring throughput sanitizer
	assert_success
	assert_output --partial 'This is a fake driver'
	refute_output --partial '**FAIL**'
	run rows "$TABLE"
	assert_line --partial 'launch overhead seen by the worker'
	assert_line --partial 'resident kernel, sustained'
	assert_line --partial 'core/matmul, '
	assert_line --partial 'compute-sanitizer racecheck'
	refute_line --partial '| pass |'
	run "$UNPACKED/run" nonsense
	assert_failure 2
	assert_output --partial "there is no section 'nonsense'"
}

@test "gpu bundle: without -o a fake driver leaves no file" {
	run timeout 300 "$UNPACKED/run" launch
	assert_success
	assert_dir_not_exists "$UNPACKED/results"
}

# killed SIGNAL SECTION: a run that is killed when the section has begun to give rows
killed() {
	local pid fifo=$BATS_TEST_TMPDIR/said

	rm -f "$fifo" "$TABLE"
	mkfifo "$fifo"
	exec 4<>"$fifo" # so that it is never without a reader
	"$UNPACKED/run" -o "$TABLE" launch "$2" >"$BATS_TEST_TMPDIR/stdout" 2>&4 3>&- 4>&- &
	pid=$!
	# the first section's row is there, and the next one has begun
	grep -q -m 1 "^== $2" <&4
	kill "-$1" "$pid"
	status=0 output=
	wait "$pid" || status=$?
	exec 4>&-
}

# interrupted SECTION...: in each it prints, and leaves, the rows that it had
interrupted() {
	local section

	for section; do
		killed TERM "$section"
		assert_failure 2
		run cat "$TABLE"
		assert_output --partial 'launch overhead seen by the worker'
		assert_output --partial "Interrupted in the section $section"
		run cat "$BATS_TEST_TMPDIR/stdout"
		assert_output --partial "Interrupted in the section $section"
		run pgrep -f "$UNPACKED/bin"
		assert_output ""
	done
}

# the sanitizer's section is over at once here
@test "gpu bundle: ended by a signal in kernels or lifecycle, it leaves the rows that it had" {
	interrupted kernels lifecycle
}

@test "gpu bundle: ended by a signal in ring, mount or throughput, it leaves the rows that it had" {
	interrupted ring mount throughput
}

@test "gpu bundle: killed outright, the file has what was done until then" {
	killed KILL kernels
	run rows "$TABLE"
	assert_line --partial 'launch overhead seen by the worker'
	pkill -9 -f "$UNPACKED/" || true # its programs, and what of run waits for them
}
