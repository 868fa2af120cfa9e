#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# tests/run itself: what it counts, and that nothing holds it up.

load common

TOP=$(realpath "$BATS_TEST_DIRNAME/../..")

# program NAME <SCRIPT: a unit program
program() {
	{
		echo '#!/bin/bash'
		cat
	} >"$BATS_TEST_TMPDIR/$1"
	chmod +x "$BATS_TEST_TMPDIR/$1"
}

# bats_tests NAME: a bats file of what is on stdin, where TEST is what bats would take for a test of this file
bats_tests() {
	sed 's/^TEST/@test/' >"$BATS_TEST_TMPDIR/$1"
}

# tests_run [NAME=VALUE...] ARG...: without what this bats leaves to those it starts
tests_run() {
	(cd "$BATS_TEST_TMPDIR" && env -i PATH="${PATH#*/bats-core:}" HOME="$HOME" BIN="$BIN" RESULTS=counts "$@" 3>&-)
}

@test "unit programs: passed, failed, skipped, died, not run, hung" {
	program good <<<'printf "%s\n" 1..2 "ok 1 - a" "ok 2 - b"'
	program bad <<<'printf "%s\n" 1..2 "ok 1 - a" "not ok 2 - b"; exit 1'
	program skips <<<'printf "%s\n" 1..2 "ok 1 - gpu_a # SKIP gpu_a" "ok 2 - b # SKIP b"'
	program dies <<<'printf "%s\n" 1..3 "ok 1 - a"; kill -SEGV $$'
	program quiet <<<'exit 3'
	program nothing <<<'exit 0'
	program hangs <<<'echo 1..1; exec tail -f /dev/null'
	run tests_run UNIT_TIMEOUT=3 JOBS=3 "$TOP/tests/run" unit ./good ./bad ./skips ./dies ./quiet ./nothing ./hangs
	assert_failure
	assert_line "ok       good"
	assert_line "FAILED   bad: 2 - b"
	assert_line "FAILED   dies: 2 of 3 tests did not run"
	assert_line "FAILED   quiet: it ran no test"
	assert_line "FAILED   nothing: it ran no test"
	assert_line "FAILED   hangs: 1 of 1 tests did not run"
	assert_line "1 skipped without need: that counts as a failure"
	assert_equal "$(tail -n 1 <<<"$output")" "4 passed, 6 failed, 2 skipped"
	assert_equal "$(cat "$BATS_TEST_TMPDIR/counts")" "4 6 2 1"
}

@test "unit programs run side by side, and not more of them than JOBS" {
	local name

	# each waits for the other
	mkfifo "$BATS_TEST_TMPDIR/fifo"
	program one <<<'echo 1..1; echo >fifo; echo "ok 1 - a"'
	program two <<<'echo 1..1; read -r <fifo; echo "ok 1 - a"'
	run tests_run UNIT_TIMEOUT=20 JOBS=2 "$TOP/tests/run" unit ./one ./two
	assert_success
	assert_line "2 passed, 0 failed"
	for name in first second; do
		program "$name" <<<'echo 1..1; mkdir busy || exit; rmdir busy; echo "ok 1 - a"'
	done
	run tests_run JOBS=1 "$TOP/tests/run" unit ./first ./second
	assert_success
	assert_line "2 passed, 0 failed"
}

@test "bats files: passed, failed, skipped, hung; one that is alone runs by itself" {
	bats_tests a.bats <<-'EOF'
		# alone
		TEST "fine" { [ -e b.has-ended ]; }
		TEST "needs one" { skip "needs a GPU"; }
		TEST "has no time" { skip "no time"; }
	EOF
	bats_tests b.bats <<-'EOF'
		teardown_file() { touch b.has-ended; }
		TEST "hangs" { tail -f /dev/null; }
		TEST "fails" { false; }
		TEST "passes" { true; }
	EOF
	run tests_run BATS_TEST_TIMEOUT=3 JOBS=2 "$TOP/tests/run" bats a.bats b.bats
	assert_failure
	assert_line --partial "FAILED   b.bats: 1 hangs"
	assert_line "FAILED   b.bats: 2 fails"
	assert_line "skipped  a.bats: 3 has no time # skip no time"
	assert_equal "$(tail -n 1 <<<"$output")" "2 passed, 2 failed, 2 skipped"
}

@test "a bats file that does not end is ended" {
	bats_tests a.bats <<<'TEST "never ends" { tail -f /dev/null; }'
	run tests_run BATS_FILE_TIMEOUT=3 BATS_TEST_TIMEOUT=60 "$TOP/tests/run" bats a.bats
	assert_failure
	assert_equal "$(tail -n 1 <<<"$output")" "0 passed, 1 failed"
}
