#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The benchmarks still work. What they measure is not judged here.

load common

TOP=$(realpath "$BATS_TEST_DIRNAME/../..")

@test "make bench's programs run, each of them, for one round" {
	local source name helpers=$BIN/bench

	# make bench measures another build with the programs of the plain one too
	[[ -d $helpers ]] || helpers=$TOP/build/bench
	for source in "$TOP"/tests/bench/*.c; do
		name=$(basename "$source" .c)
		assert_file_executable "$helpers/$name"
		grep -q "\"$name\"" "$TOP/tests/bench/run" || fail "tests/bench/run does not run $name"
	done
	HELPERS=$helpers run "$TOP/tests/bench/run" --once
	assert_success
	assert_output ""
}
