# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# What every bats file loads: a private mount for each test, calls, waits, and a teardown
# that unmounts and then fails where anything was left: a process, a mount, shared memory,
# a sanitizer's report, a message that the books do not account for.
#
# $MNT       where the test mounts
# $DAEMON    pid of its mount.rkfs, once rk_up or rk_find_daemon has been called
# $LOG       what a foreground daemon logged
# $BIN       the binaries under test
# $KERNELS   a directory for kernels; none is there before one makes some

bats_load_library bats-support
bats_load_library bats-assert
bats_load_library bats-file

HERE=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
BIN=${BIN-$(realpath "$HERE/../../build")}
KERNELS_SRC=$HERE/../kernels_src
# The system's python3 has the modules that the tests import. The script of a version manager, which may
# come before it in PATH, takes longer to find its python3 than most tests take.
PATH=/usr/bin:/bin:$PATH

# Every process that a test starts inherits it, so that what is left can be told from what
# other tests, and other people, run.
mark() {
	export RK_TEST=$BATS_TEST_TMPDIR
}

setup() {
	local name

	for name in "${!RKFS_@}"; do unset "$name"; done
	mark
	MNT=$(realpath "$BATS_TEST_TMPDIR")/mnt
	LOG=$BATS_TEST_TMPDIR/log
	KERNELS=$(realpath "$BATS_TEST_TMPDIR")/kernels
	DAEMON=
	export MNT BIN LOG KERNELS KERNELS_SRC DAEMON
	# a daemon's stderr is /dev/null
	export ASAN_OPTIONS="${ASAN_OPTIONS+$ASAN_OPTIONS:}log_path=$BATS_TEST_TMPDIR/sanitizer"
	export UBSAN_OPTIONS="${UBSAN_OPTIONS+$UBSAN_OPTIONS:}log_path=$BATS_TEST_TMPDIR/sanitizer"
	export TSAN_OPTIONS="${TSAN_OPTIONS+$TSAN_OPTIONS:}log_path=$BATS_TEST_TMPDIR/sanitizer"
	mkdir "$MNT"
	shm_before=$(shared_memory)
	jobs_before=$(jobs -p) # bats' own: the timeout of the test
}

shared_memory() {
	find /dev/shm -name '*rk*' | sort
}

# Whether the binaries under test are a sanitizer's, which take their time.
sanitized() {
	grep -qs -e -fsanitize "$BIN/flags"
}

# --- mounting ---

# rk_up [OPTIONS [CONFIG]]: mount in the foreground, with this shell as the parent. Returns
# once the daemon says that it is ready. CONFIG is none where it is not given.
rk_up() {
	local ready

	exec {ready}< <(exec "$BIN/mount.rkfs" --foreground --ready-fd=9 ${1:+-o "$1"} \
		"${2-none}" "$MNT" 9>&1 >"$LOG" 2>&1 </dev/null 3>&-)
	DAEMON=$!
	if ! read -t 60 -r -u "$ready"; then
		cat "$LOG"
		fail "mount.rkfs did not get ready"
	fi
	exec {ready}<&-
}

# Pids of this test's processes called $1 (an extended regular expression for all of the name).
# A zombie has no environment, so it is not among them: nothing reaps orphans in many a container.
rk_processes() {
	local env comm

	while read -r env; do
		if read -r comm 2>/dev/null <"${env%/environ}/comm" && [[ $comm =~ ^($1)$ ]]; then
			env=${env#/proc/}
			echo "${env%/environ}"
		fi
	done < <(grep -lzFx "RK_TEST=$RK_TEST" /proc/[0-9]*/environ 2>/dev/null)
}

# The pid of a daemon that put itself into the background.
rk_find_daemon() {
	DAEMON=$(rk_processes mount.rkfs)
	[[ $DAEMON =~ ^[0-9]+$ ]] || fail "not one daemon: '$DAEMON'"
}

rk_worker() {
	pgrep -n -P "$DAEMON" -x rk-worker # the newest: one before it may not be dead yet
}

# Asks the table, never the directory.
is_mounted() {
	awk -v dir="$MNT" '$5 == dir { found = 1 } END { exit !found }' /proc/self/mountinfo
}

# Wait until processes have ended, whoever reaps them. Fails after a minute.
await_exit() {
	[[ $# -eq 0 ]] || timeout 60 python3 -IS - "$@" <<-'EOF'
		import os, select, sys
		for pid in sys.argv[1:]:
		    try:
		        fd = os.pidfd_open(int(pid))
		    except ProcessLookupError:
		        continue
		    select.select([fd], [], [])
	EOF
}

# Stop a process, and wait until each of its threads has stopped: one that still runs may take a request of
# the mount with it, and not even SIGKILL ends who waits for that one.
freeze() {
	kill -STOP "$1"
	while grep -hs '^State:' /proc/"$1"/task/*/status | grep -qv '^State:.T'; do :; done
}

# Wait for the daemon of rk_up and fail unless it ends with status $1 (0).
assert_daemon_exits() {
	local status=0

	await_exit "$DAEMON" || fail "mount.rkfs ($DAEMON) does not end"
	wait "$DAEMON" || status=$?
	DAEMON=
	if [[ $status -ne ${1-0} ]]; then
		cat "$LOG"
		fail "mount.rkfs ended with status $status"
	fi
}

# --- calling ---

# call KERNEL JSON: print the answer, or what the tools say of the error and fail.
call() {
	local fd status=0

	exec {fd}<>"$MNT/kernels/$1/call.json" || return
	printf '%s\n' "$2" >&"$fd" && cat <&"$fd" || status=$?
	exec {fd}>&-
	return $status
}

# py [ARG...] <SCRIPT: Python with everything in rk.py at hand.
py() {
	PYTHONPATH=$HERE PYTHONDONTWRITEBYTECODE=1 timeout 100 \
		python3 -c "from rk import *"$'\n'"$(cat)" "$@"
}

# delays N MS [FILE]: N calls of core/delay at once; one line of FILE each, in no order, once
# they have ended: "ok MS", or the errno's name. Runs until then: mean to be put into the background.
delays() {
	py "$1" "$2" >"${3-$BATS_TEST_TMPDIR/delays}" 3>&- <<-'EOF'
		n, ms = int(sys.argv[1]), int(sys.argv[2])
		def one():
		    return outcome(lambda: f"ok {json.loads(call('core/delay', {'ms': ms}))['waited_ms']}")
		print(*in_threads([one] * n), sep="\n")
	EOF
}

# assert_outcomes N PATTERN [FILE]: N of the lines of FILE match all of PATTERN.
assert_outcomes() {
	assert_equal "$(grep -cxE "$2" "${3-$BATS_TEST_TMPDIR/delays}")" "$1"
}

# --- kernels of one's own ---

# library SOURCE FILE: compile tests/kernels_src/SOURCE.c to FILE, as a user would; a FILE that is
# there is replaced by another, not written to.
library() {
	"${CC-cc}" -O2 -ffp-contract=off -shared -fPIC -pthread -o "$2.new" "$KERNELS_SRC/$1.c"
	mv "$2.new" "$2"
}

# kernels NAME...: $KERNELS, a directory with these libraries of tests/kernels_src and the descriptions of
# those that have one.
kernels() {
	local name

	mkdir -p "$KERNELS"
	for name; do
		library "$name" "$KERNELS/$name.so"
		[[ ! -e $KERNELS_SRC/$name.ini ]] || cp "$KERNELS_SRC/$name.ini" "$KERNELS/"
	done
}

# rk_up_kernels [OPTIONS]: mount with $KERNELS.
rk_up_kernels() {
	rk_up "kernels_dir=$KERNELS,hot_reload_enabled=yes${1:+,$1}"
}

# --- reading and waiting ---

# What $MNT/FILE holds, without its newline.
value() {
	cat "$MNT/$1"
}

# assert_value FILE TEXT
assert_value() {
	assert_equal "$(value "$1")" "$2"
}

# control VERB...: one command.
control() {
	echo "$@" >"$MNT/control"
}

# until_value FILE TEXT: poll until FILE reads TEXT. For numbers that no file waits for.
until_value() {
	local is end=$((SECONDS + 60))

	until read -r is <"$MNT/$1" && [[ $is == "$2" ]]; do
		((SECONDS < end)) || fail "$1 is $is, not $2, for a minute"
	done
}

# until_logged TEXT: wait until a line of the log, which a thread writes, has it.
until_logged() {
	local end=$((SECONDS + 60))

	until grep -qF "$1" "$LOG"; do
		((SECONDS < end)) || fail "the log does not say '$1' within a minute"
		read -t 0.1 -r <> <(:) || true
	done
}

# wait_for running|ready|drained|stopped: blocks in the file of that name.
wait_for() {
	timeout 60 cat "$MNT/wait/$1"
}

# follow EVENT [COUNT]: print the first COUNT (1) events of that name, and wait for them.
follow() {
	timeout 60 grep -m "${2-1}" "\"event\":\"$1\"" "$MNT/events_follow"
}

# How often EVENT has happened.
count_events() {
	grep -c "\"event\":\"$1\"" "$MNT/events" || true
}

# accepted = processed + failed + cancelled + timed_out + in_flight, in one snapshot
assert_books() {
	timeout 20 cat "$MNT/stats/all" | awk '
		{ n[$1] = $2 }
		END {
			sum = n["messages_processed"] + n["messages_failed"] + n["messages_in_flight"]
			sum += n["messages_cancelled"] + n["messages_timed_out"]
			if (NR < 12 || sum != n["messages_accepted"]) {
				for (name in n) print name, n[name]
				exit 1
			}
		}' || fail "the books do not balance"
}

# --- other worlds ---

# private SCRIPT [ARG...]: run a bash script in a mount namespace of its own.
private() {
	local script=$1

	shift
	timeout 60 unshare -m --propagation private bash -euo pipefail -c "$script" private "$@"
}

# as_nobody COMMAND...: from within the mount, since others may not pass the directories above it.
as_nobody() {
	(cd "$MNT" && timeout 20 setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs \
		"$@")
}

# --- teardown ---

complain() {
	echo "# left over: $*" >&2
	clean=no
}

# Unmount as a user would, without waiting for calls that nobody reads any more.
take_down() {
	is_mounted || return 0
	if [[ $(timeout 20 cat "$MNT/state" 2>&1) == *"not connected" ]]; then
		umount -l "$MNT"
		return
	fi
	assert_books || clean=no
	timeout 20 tee "$MNT/control" <<<stop >/dev/null || complain "a runtime that does not stop"
	timeout 20 umount "$MNT" || complain "a mount that cannot be unmounted"
}

# By force, and only what the test started.
take_down_by_force() {
	local pid dir

	for pid in $(rk_processes 'mount.rkfs|rk-worker'); do
		complain "process $pid $(tr '\0' ' ' <"/proc/$pid/cmdline")"
		kill -KILL "$pid"
	done
	while read -r dir; do
		complain "mount $dir"
		umount -l "$(printf %b "$dir")"
	done < <(awk -v top="${MNT%/mnt}/" 'index($5, top) == 1 { print $5 }' /proc/self/mountinfo)
}

teardown() {
	local pid report left clean=yes

	mark
	for pid in $(jobs -p); do
		[[ $pid == "$DAEMON" || " ${jobs_before//$'\n'/ } " == *" $pid "* ]] ||
			kill -KILL "$pid" 2>/dev/null || true
	done
	# what it had started may hold files of the mount, and its children outlive it
	mapfile -t left < <(rk_processes 'timeout|python3|java|node|cat|tee|grep|tail')
	[[ ${#left[@]} -eq 0 ]] || kill -KILL "${left[@]}" 2>/dev/null || true
	for pid in $(rk_processes 'mount.rkfs|rk-worker'); do kill -CONT "$pid"; done
	take_down
	# what has lost its mount ends by itself, a worker at the latest when its daemon has
	mapfile -t left < <(rk_processes 'mount.rkfs|rk-worker')
	await_exit "${left[@]}" || true
	take_down_by_force
	if [[ -n $DAEMON ]]; then
		wait "$DAEMON" 2>/dev/null || [[ $? -eq 127 ]] || complain "a daemon's exit status"
	fi
	[[ $(shared_memory) == "$shm_before" ]] || complain "shared memory: $(shared_memory)"
	for report in "$BATS_TEST_TMPDIR"/sanitizer*; do
		[[ -e $report ]] || continue
		cat "$report"
		complain "a sanitizer's report"
	done
	if [[ $clean == no ]]; then
		[[ ! -e $LOG ]] || cat "$LOG"
		return 1
	fi
}
