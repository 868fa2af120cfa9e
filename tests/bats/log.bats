#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The log: one line for each change of state, command, worker and reload; who gave a command;
# levels that apply at once; JSON that jq reads.

# scripts for other programs are in single quotes
# shellcheck disable=SC2016

load common

# up [OPTIONS]: mount with the log in $FILE.
up() {
	FILE=$BATS_TEST_TMPDIR/file.log
	rk_up "log_file=$FILE,primary_backend=cpu,hot_reload_enabled=yes${1:+,$1}"
}

# All has been written once the daemon has ended.
down() {
	umount "$MNT"
	assert_daemon_exits
}

# "LEVEL MESSAGE" of each line of $FILE, which is JSON.
lines() {
	jq -r '"\(.level) \(.msg)"' "$FILE"
}

# As a process of its own, whose pid is in $WRITER: write $2 to FILE $1, whatever comes of it.
write() {
	WRITER=$(bash -c 'echo $$; printf %s "$2" >"$1"' write "$MNT/$1" "$2" 2>/dev/null) || true
}

# assert_lines N REGEX: so many lines match all of it
assert_lines() {
	local n

	n=$(lines | grep -cxE "$2" || true)
	[[ $n -eq $1 ]] || fail "$n lines, not $1, are '$2':"$'\n'"$(lines)"
}

@test "log: JSON, as jq reads it: an object a line, with time, level and msg" {
	up
	write control 'say "hello" \ and go'
	run as_nobody bash -c 'echo stop >control'
	assert_failure
	down
	jq -es 'length > 15 and all(.[]; keys == ["level", "msg", "time"]
		and (.time | test("^20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\\.[0-9]{3}Z$"))
		and (.time | sub("\\.[0-9]+Z$"; "Z") | fromdate > 1700000000)
		and (.level | IN("error", "warn", "info")) and (.msg | type == "string" and length > 3))' "$FILE"
	assert_equal "$(jq -r 'select(.msg | startswith("a write")) | .msg' "$FILE")" \
		"a write from uid 0 pid $WRITER refused: control: no verb is called 'say'; the verbs are start, drain [SECS], resume, stop, reset, reload"
	assert_equal "$(wc -l <"$FILE")" "$(jq -c . "$FILE" | wc -l)"
}

@test "log: one line for each change of state, and each worker's start and end" {
	local first second third

	up
	first=$(rk_worker)
	kill -KILL "$first"
	follow WorkerStarted 2
	second=$(rk_worker)
	control drain
	wait_for stopped
	control reset
	control start
	wait_for running
	third=$(rk_worker)
	control stop
	control reset
	down
	assert_lines 2 'info state Starting \(start\)'
	assert_lines 2 'info state Running \(ready\)'
	assert_lines 1 'info state Draining \(drain\)'
	assert_lines 1 'info state Stopped \(drained\)'
	assert_lines 2 'info state Created \(reset\)'
	assert_lines 2 'info state Stopped \(stop\)'
	assert_lines 10 '.* state [A-Z].*'
	assert_lines 1 "error worker $first was killed by SIGKILL; 0 running messages failed"
	assert_lines 1 "info worker $second exited with status 0"
	# stop kills
	assert_lines 1 "(warn|info) worker $third (was killed by SIGKILL|exited with status 0)"
	for pid in "$first" "$second" "$third"; do
		assert_lines 1 "info worker $pid runs the cpu backend"
		assert_lines 2 ".* worker $pid [a-z].*"
	done
}

@test "log: one line for each command and reload, good or bad, with uid and pid of the writer" {
	local file text want

	up
	while IFS='|' read -r file text want; do
		write "$file" "$text"
		echo "${want/FROM/from uid 0 pid $WRITER}" >>"$BATS_TEST_TMPDIR/want"
	done <<-'EOF'
		control|start|info start FROM
		control|reset|warn reset FROM refused: reset: the runtime is Running: .*
		control|strat|warn a write FROM refused: control: no verb is called 'strat' .*
		control|drain soon|warn a write FROM refused: control: drain soon: SECS is .*
		control| |warn a write FROM refused: control: nothing but blanks was .*
		control|reload|info reload FROM
		config/max_queue_depth|77|info max_queue_depth = 77 FROM
		config/max_queue_depth|0|warn max_queue_depth = 0 FROM refused: max_queue_depth: "0" is .*
		config/max_queue_depth| |warn a write FROM refused: max_queue_depth: nothing but .*
		config/preset|testing|warn preset = testing FROM refused: preset cannot change .*
		kernels/core/echo/enable|0|info disable core/echo FROM
		kernels/core/echo/enable|1|info enable core/echo FROM
		kernels/core/echo/enable|2|warn a write FROM refused: enable of core/echo: write 1 .*
		health/check|1|info check FROM
		health/check|2|warn a write FROM refused: check: write 1 to probe now
		control|stop|info stop FROM
		health/check|1|warn check FROM refused: check: the runtime is Stopped: .*
	EOF
	down
	lines | grep -E ' from uid ' >"$BATS_TEST_TMPDIR/got"
	assert_equal "$(wc -l <"$BATS_TEST_TMPDIR/got")" 17
	while read -r -u 3 want && read -r -u 4 got; do
		[[ $got =~ ^$want$ ]] || fail "'$got' instead of '$want'"
	done 3<"$BATS_TEST_TMPDIR/want" 4<"$BATS_TEST_TMPDIR/got"
	assert_lines 0 '.*uid -1.*'
}

@test "log: what the daemon does by itself is its own, a signal's reload too" {
	up
	kill -HUP "$DAEMON"
	follow ConfigReloaded
	down
	assert_lines 1 'info reload from the daemon'
	assert_lines 1 'info ending: unmounted'
	assert_lines 1 'info drain from the daemon'
}

@test "log: a write to config/log_level changes the very next line, of the worker too" {
	up log_level=warn,structured_logging=no
	write control start
	write control strat-1
	write config/log_level error
	write control strat-2
	write config/log_level info
	write control start
	write config/log_level debug
	write kernels/core/echo/enable 0
	until_value kernels/core/echo/backend none
	write kernels/core/echo/enable 1
	until_value kernels/core/echo/backend cpu
	write config/log_level info
	write kernels/core/vector-add/enable 0
	until_value kernels/core/vector-add/backend none
	write kernels/core/vector-add/enable 1
	until_value kernels/core/vector-add/backend cpu
	write config/log_level warn
	down
	# text, with a time
	refute grep -vE '^20[0-9-]{8}T[0-9:.]{12}Z rkfs: (error|warn|info|debug): ' "$FILE"
	run sed -E -n -e 's/^[^ ]* rkfs: ([a-z]+: .*) from uid 0 pid [0-9]+/\1/p' "$FILE"
	assert_output - <<-'EOF'
		warn: a write refused: control: no verb is called 'strat-1'; the verbs are start, drain [SECS], resume, stop, reset, reload
		info: log_level = info
		info: start
		info: log_level = debug
		info: disable core/echo
		info: enable core/echo
		info: log_level = info
		info: disable core/vector-add
		info: enable core/vector-add
	EOF
	assert_equal "$(grep -c 'debug: worker [0-9]*: rk-worker: loaded core/echo in' "$FILE")" 1
	refute grep 'loaded core/vector-add' "$FILE"
	refute grep -E 'state (Starting|Running|Draining|Stopped)' "$FILE"
}

@test "log: text for a person at a terminal, and JSON in a file all the same" {
	FILE=$BATS_TEST_TMPDIR/file.log
	py "$BIN/mount.rkfs" "$FILE" <<-'EOF'
		import pty
		def session(options):
		    """What a terminal shows of a mount that comes and goes."""
		    ready, told = os.pipe()
		    pid, terminal = pty.fork()
		    if not pid:
		        os.dup2(told, 9)
		        os.execv(sys.argv[1], ["mount.rkfs", "--foreground", "--ready-fd=9", "-o", "structured_logging=yes" + options, "none", MNT])
		    os.close(told)
		    assert poll(ready, select.POLLIN) and os.read(ready, 10) == b"\n"
		    subprocess.run(["umount", MNT], check=True)
		    shown = b""
		    try:
		        while piece := os.read(terminal, 1 << 16):
		            shown += piece
		    except OSError as e:
		        assert e.errno == errno.EIO                     # the other end is closed
		    assert os.waitpid(pid, 0)[1] == 0, shown
		    return shown.decode()
		shown = session("")
		assert "rkfs: info: state Running (ready)" in shown and "{" not in shown, shown
		shown = session(f",log_file={sys.argv[2]}")
		assert shown == "", shown
		assert "state Running (ready)" in [json.loads(line)["msg"] for line in open(sys.argv[2])]
	EOF
}

# rotated: the first file is left alone, and what is logged from now on is in a new one.
assert_rotated() {
	assert_exist "$FILE.1"
	grep -q 'state Running' "$FILE.1"
	timeout 60 bash -c 'until grep -qs "$1" "$2"; do :; done' - 'drain from' "$FILE" ||
		fail "nothing is in the new file"
	run grep -c 'drain from' "$FILE.1"
	assert_output 0
}

@test "log: the shipped file of logrotate renames it, and the daemon opens it again" {
	up
	# this daemon alone, and not every one of the machine
	sed "s|^/var.*{|$FILE {|; s|pkill|& -P $BASHPID|; s|compress||" "$HERE/../../etc/logrotate/rkfs" \
		>"$BATS_TEST_TMPDIR/rotate.conf"
	sed -i '/^[[:space:]]*delay/d' "$BATS_TEST_TMPDIR/rotate.conf"
	[[ $(ps -o ppid= -p "$DAEMON" | tr -d ' ') == "$BASHPID" ]]
	chmod 755 "$BATS_TEST_TMPDIR"
	logrotate -f -s "$BATS_TEST_TMPDIR/rotate.state" "$BATS_TEST_TMPDIR/rotate.conf"
	follow ConfigReloaded
	control drain
	assert_rotated
	down
}

@test "log: a reload opens the file again; refused, and with another level, too" {
	up
	mv "$FILE" "$FILE.1"
	control reload
	assert_exist "$FILE"
	control drain
	assert_rotated
	down
	rm "$FILE"*
	rk_up "log_file=$FILE,primary_backend=cpu"
	mv "$FILE" "$FILE.1"
	run control reload
	assert_failure
	control drain
	assert_rotated
	umount "$MNT"
	assert_daemon_exits
}

@test "log: a file that somebody else chose is not written" {
	local dir=$BATS_TEST_TMPDIR/open

	mkdir -m 777 "$dir"
	echo precious >"$BATS_TEST_TMPDIR/precious"
	ln -s "$BATS_TEST_TMPDIR/precious" "$dir/link"
	ln "$BATS_TEST_TMPDIR/precious" "$dir/hard"
	touch "$dir/theirs"
	chown -h 65534 "$dir/link" "$dir/theirs"
	for name in link hard theirs; do
		run timeout 60 "$BIN/mount.rkfs" -o "log_file=$dir/$name" none "$MNT" 3>&-
		assert_failure 32
		assert_output --regexp "^mount.rkfs: log file: $dir/$name (belongs to uid 65534|has another name)"
	done
	assert_equal "$(cat "$BATS_TEST_TMPDIR/precious")" precious
	assert [ ! -s "$dir/theirs" ]
	# one's own link is fine
	rm "$dir/link" "$dir/hard"
	ln -s "$BATS_TEST_TMPDIR/precious" "$dir/link"
	"$BIN/mount.rkfs" -o "log_file=$dir/link" none "$MNT" 3>&-
	rk_find_daemon
	assert_file_contains "$BATS_TEST_TMPDIR/precious" 'state Running'
}

@test "log: refusals without end are not all logged, but all counted" {
	up
	FILE=$FILE py <<-'EOF'
		def refuse():
		    global tried
		    tried += 1
		    assert outcome(put, "control", "strat") == "EINVAL"

		def logged():
		    with open(os.environ["FILE"]) as lines:
		        said = [json.loads(line)["msg"] for line in lines]
		    refusals = sum("no verb is called 'strat'" in text for text in said)
		    unsaid = [int(text.split()[0]) for text in said if text.endswith("before this one were not logged")]
		    return refusals, sum(unsaid)

		tried = 0
		while not logged()[1]:
		    for _ in range(200):
		        refuse()
		# of the last second's there may be some that are not told yet: not more than were tried
		refusals, unsaid = logged()
		assert refusals < tried and refusals + unsaid <= tried, (refusals, unsaid, tried)
		time_out = time.monotonic() + PATIENCE
		while sum(logged()) != tried:
		    assert time.monotonic() < time_out, (logged(), tried)
		    refuse()
	EOF
	down
}
