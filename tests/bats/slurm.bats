#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# etc/slurm where Slurm itself misbehaves, which a real one does not on demand: squeue and scontrol are
# scripts here. tests/system/slurm.bats has the real ones.

load common

SCRIPTS=$BATS_TEST_DIRNAME/../../etc/slurm

# commands [NODE]: a squeue that knows no jobs, and a scontrol that shows NODE and notes updates.
commands() {
	mkdir -p "$BATS_TEST_TMPDIR/bin"
	: >"$BATS_TEST_TMPDIR/jobs"
	printf '%s\n' "$1" >"$BATS_TEST_TMPDIR/node"
	: >"$BATS_TEST_TMPDIR/updates"
	printf '#!/bin/sh\ncat %q\n' "$BATS_TEST_TMPDIR/jobs" >"$BATS_TEST_TMPDIR/bin/squeue"
	cat >"$BATS_TEST_TMPDIR/bin/scontrol" <<-EOF
		#!/bin/sh
		case \$1 in
		update) echo "\$*" >>'$BATS_TEST_TMPDIR/updates' ;;
		*) cat '$BATS_TEST_TMPDIR/node' ;;
		esac
	EOF
	chmod +x "$BATS_TEST_TMPDIR"/bin/*
}

# broken COMMAND fails|hangs|missing
broken() {
	local file=$BATS_TEST_TMPDIR/bin/$1

	case $2 in
	fails) printf '#!/bin/sh\necho "error: Unable to contact slurm controller" >&2\nexit 1\n' >"$file" ;;
	hangs) printf '#!/bin/sh\nexec tail -f /dev/null\n' >"$file" ;;
	# found, as the machine may have a real one
	missing) printf '#!/none\n' >"$file" ;;
	esac
}

# script NAME [VARIABLE=VALUE...]: run it as slurmd does, without PATH and with /etc/default/rkfs-slurm.
# What it leaves in /run is in $BATS_TEST_TMPDIR/run.
script() {
	local name=$1

	shift
	mkdir -p "$BATS_TEST_TMPDIR/default" "$BATS_TEST_TMPDIR/run"
	cat >"$BATS_TEST_TMPDIR/default/rkfs-slurm" <<-EOF
		PATH='$BATS_TEST_TMPDIR/bin':\$PATH
		RKFS_MOUNT='$MNT'
		RKFS_ANSWER=2
		RKFS_SLURM_ANSWER=1
		RKFS_DRAIN=1
	EOF
	private '
		mount --bind "$1/default" /etc/default
		mount --bind "$1/run" /run
		shift
		exec env -i SLURMD_NODENAME=n1 "${@:2}" "$1"' "$BATS_TEST_TMPDIR" "$SCRIPTS/$name" "$@"
}

drained_for_slurm() {
	[[ -e $BATS_TEST_TMPDIR/run/rkfs-drained-for-slurm ]]
}

# A call of user nobody's that runs until it is cancelled; what it gets is in $BATS_TEST_TMPDIR/nobody.
nobody_calls() {
	(cd "$MNT" && exec setpriv --reuid=65534 --regid=65534 --clear-groups bash -c '
		exec 5<>kernels/core/delay/call.json
		echo "{\"ms\":600000}" >&5
		cat <&5') >"$BATS_TEST_TMPDIR/nobody" 2>&1 3>&- &
	CALLER=$!
	until_value stats/messages_in_flight 1
}

@test "epilog: an answer of squeue decides, and none cancels nothing" {
	rk_up call_mode=0666,worker_threads=2
	commands ''
	nobody_calls
	for how in fails hangs missing; do
		broken squeue $how
		run script epilog SLURM_JOB_UID=65534 SLURM_JOB_ID=7
		assert_success
		assert_output --partial 'rkfs: squeue does not answer: what user 65534 left in flight is not cancelled'
		assert_value stats/messages_in_flight 1
	done
	commands ''
	printf '%s\n' 7 8 >"$BATS_TEST_TMPDIR/jobs" # another job of that user
	script epilog SLURM_JOB_UID=65534 SLURM_JOB_ID=7
	assert_value stats/messages_in_flight 1
	echo 7 >"$BATS_TEST_TMPDIR/jobs"
	script epilog SLURM_JOB_UID=65534 SLURM_JOB_ID=7
	await_exit "$CALLER"
	assert_file_contains "$BATS_TEST_TMPDIR/nobody" 'Operation canceled'
}

@test "health check: an answer of squeue decides, and none drains nothing" {
	rk_up
	commands 'NodeName=n1 State=IDLE+DRAIN Reason=kernel update [root@2026]'
	for how in fails hangs missing; do
		broken squeue $how
		run script healthcheck
		assert_success
		assert_output --partial 'rkfs: squeue does not answer: the runtime is not drained'
		assert_value state Running
		run drained_for_slurm
		assert_failure
	done
	commands 'NodeName=n1 State=IDLE+DRAIN Reason=kernel update [root@2026]'
	echo 7 >"$BATS_TEST_TMPDIR/jobs"
	script healthcheck
	assert_value state Running
	: >"$BATS_TEST_TMPDIR/jobs"
	script healthcheck
	wait_for stopped
	drained_for_slurm
	# given back while scontrol does not answer: later
	for how in fails hangs missing; do
		broken scontrol $how
		run script healthcheck
		assert_output --partial "rkfs: scontrol does not tell this node's state: nothing is done"
		assert_value state Stopped
	done
	commands 'NodeName=n1 State=IDLE'
	script healthcheck
	assert_value state Running
	run drained_for_slurm
	assert_failure
	assert_equal "$(cat "$BATS_TEST_TMPDIR/updates")" ''
}

@test "health check: a node that is given back while its runtime drains gets it back" {
	rk_up worker_threads=2,call_mode=0666
	commands 'NodeName=n1 State=IDLE+DRAIN Reason=kernel update [root@2026]'
	script healthcheck
	wait_for stopped
	control reset
	control start
	wait_for ready
	nobody_calls
	control drain 600
	commands 'NodeName=n1 State=IDLE'
	script healthcheck
	assert_value state Running
	rm "$MNT"/inflight/*
	await_exit "$CALLER"
}

@test "health check: the state is a field, whatever people write beside it" {
	rk_up
	for node in 'NodeName=n1 State=IDLE ThreadsPerCore=1 Comment=do not DRAIN' \
		'NodeName=n1 State=MIXED+PLANNED Comment=State=IDLE+DRAIN is for later' \
		$'NodeName=n1 Arch=x86_64\n   State=IDLE ThreadsPerCore=1\n   Comment= State=DRAIN Reason=x\n   Extra=DRAIN\n' \
		'NodeName=n1 State=IDLE+NODRAIN' 'NodeName=n1 State=IDLE+DRAINER'; do
		commands "$node"
		script healthcheck
		assert_value state Running
		assert_equal "$(cat "$BATS_TEST_TMPDIR/updates")" ''
	done
	# drained by somebody whose comment names us: neither resumed nor taken for ours
	commands $'NodeName=n1\n   State=DOWN*+DRAIN\n   Comment=was Reason=rkfs: x\n   Reason=disk [root@2026]\n'
	script healthcheck
	wait_for stopped
	assert_equal "$(cat "$BATS_TEST_TMPDIR/updates")" ''
}

@test "health check: a node that is not in use is left alone, one that is is drained and resumed" {
	commands ''
	for state in FUTURE IDLE+CLOUD+POWERED_DOWN 'IDLE+POWERING_DOWN%' IDLE+POWER_DOWN 'IDLE#+POWERING_UP' \
		UNKNOWN; do
		commands "NodeName=n1 State=$state"
		script healthcheck
		assert_equal "$state: $(cat "$BATS_TEST_TMPDIR/updates")" "$state: "
	done
	commands 'NodeName=n1 State=IDLE*+CLOUD'
	script healthcheck
	assert_equal "$(cat "$BATS_TEST_TMPDIR/updates")" \
		"update nodename=n1 state=drain reason=rkfs: no rkfs answers at $MNT"
	rk_up
	commands 'NodeName=n1 State=IDLE+DRAIN Reason=rkfs: no rkfs answers [root@2026]'
	script healthcheck
	assert_equal "$(cat "$BATS_TEST_TMPDIR/updates")" 'update nodename=n1 state=resume'
}

@test "a mount that hangs holds no script up, and a missing one gets no file" {
	commands 'NodeName=n1 State=IDLE+DRAIN Reason=kernel update [root@2026]'
	script healthcheck
	script epilog SLURM_JOB_UID=65534 SLURM_JOB_ID=7
	run script prolog
	assert_failure
	assert_output "rkfs: no rkfs answers at $MNT"
	assert_equal "$(ls -A "$MNT")" ''
	rk_up
	freeze "$DAEMON"
	for name in healthcheck epilog prolog; do
		SECONDS=0
		run script $name SLURM_JOB_UID=65534 SLURM_JOB_ID=7
		((SECONDS < 40)) || fail "$name took $SECONDS seconds"
	done
	assert_failure
	assert_output "rkfs: no rkfs answers at $MNT"
	kill -CONT "$DAEMON"
	script prolog
}
