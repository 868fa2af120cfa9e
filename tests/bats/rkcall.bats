#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# rkcall: calls, encodings, failures in words, exit codes, the way to the mount, completion.

load common

TOP=$BATS_TEST_DIRNAME/../..

rkcall() {
	timeout 60 "$BIN/rkcall" -m "$MNT" "$@"
}

# assert_call STATUS OUTPUT ARG...: of rkcall with ARGs, with both its outputs as one
assert_call() {
	local status_wanted=$1 output_wanted=$2

	shift 2
	run rkcall "$@"
	assert_equal "$status: $output" "$status_wanted: $output_wanted"
}

# tensors FILE NAME=DTYPE:TYPECODE:V,V...: write vectors as a safetensors file
tensors() {
	python3 - "$@" <<-'EOS'
		import array, json, sys
		header, data = {}, b""
		for word in sys.argv[2:]:
		    name, rest = word.split("=")
		    dtype, code, values = rest.split(":")
		    piece = array.array(code, [float(v) for v in values.split(",")]).tobytes()
		    header[name] = {"dtype": dtype, "shape": [len(values.split(","))],
		                    "data_offsets": [len(data), len(data) + len(piece)]}
		    data += piece
		text = json.dumps(header).encode()
		open(sys.argv[1], "wb").write(len(text).to_bytes(8, "little") + text + data)
	EOS
}

# untensor FILE: print what is in it, "NAME SHAPE VALUES"
untensor() {
	python3 - "$1" <<-'EOS'
		import json, struct, sys
		raw = open(sys.argv[1], "rb").read()
		n = int.from_bytes(raw[:8], "little")
		for name, t in json.loads(raw[8:8 + n]).items():
		    a, b = t["data_offsets"]
		    assert t["dtype"] == "F32", t
		    print(name, t["shape"], *struct.unpack(f"<{(b - a) // 4}f", raw[8 + n:][a:b]))
	EOS
}

# --- calls ---

@test "a request comes from the argument or from standard input" {
	local request='{"a":[1,2],"b":[3,4]}' answer='{"c":[4.0,6.0]}'

	rk_up
	assert_call 0 "$answer" core/vector-add "$request"
	assert_call 0 "$answer" core/vector-add < <(echo "$request")
	assert_call 0 "$answer" core/vector-add - < <(echo "$request")
	assert_call 0 "$answer" -f - core/vector-add < <(echo "$request")
	assert_call 0 "$answer" core/vector-add --encoding=json "$request"
	assert_value stats/messages_processed 5
}

@test "a file's extension tells the encoding" {
	rk_up
	cd "$BATS_TEST_TMPDIR"
	echo '{"a":[1,2],"b":[3,4]}' >in.json
	assert_call 0 '{"c":[4.0,6.0]}' -f in.json core/vector-add
	tensors in.safetensors a=F32:f:1,2.5 b=F32:f:0.5,-3
	assert_call 0 '' -f in.safetensors -o out.safetensors core/vector-add
	assert_equal "$(untensor out.safetensors)" 'c [2] 1.5 -0.5'
	printf 'bytes\0bytes' >in.raw
	cp in.raw in.bin
	cp in.raw in.dat
	for file in in.raw in.bin; do
		rkcall -f "$file" core/echo | cmp - in.raw
	done
	rkcall -e raw -f in.dat core/echo | cmp - in.raw
	rkcall -e raw core/echo <in.raw | cmp - in.raw
	assert_call 2 'rkcall: in.dat: the extension is not .json, .safetensors, .raw or .bin: say --encoding' \
		-f in.dat core/echo
	# --encoding has the last word
	cp in.json in.raw
	assert_call 0 '{"c":[4.0,6.0]}' -f in.raw -e json core/vector-add
}

@test "what is large streams through, to the bit" {
	local megabytes=48

	! sanitized || megabytes=6
	rk_up
	cd "$BATS_TEST_TMPDIR"
	head -c "${megabytes}M" /dev/urandom >in.raw
	echo odd >>in.raw
	rkcall -f in.raw -o out.raw core/echo
	cmp in.raw out.raw
	# through pipes, which give it in small pieces
	cat in.raw | rkcall -e raw core/echo | cmp in.raw -
}

@test "-o leaves the file alone until there is an answer, and may name the input" {
	rk_up
	cd "$BATS_TEST_TMPDIR"
	echo precious, and longer than the answer >out
	assert_call 1 "rkcall: core/vector-add: the shapes disagree: dim n is 2 in input 'a' but 1 in input 'b'" \
		-o out core/vector-add '{"a":[1,2],"b":[1]}'
	assert_equal "$(cat out)" 'precious, and longer than the answer'
	assert_call 1 "rkcall: core/delay: input ms: 1.5 is a fraction; u32 wants an integer" \
		-o new core/delay '{"ms":1.5}'
	assert_file_not_exist new
	assert_call 0 '' -o out core/vector-add '{"a":[1],"b":[2]}'
	assert_equal "$(cat out)" '{"c":[3.0]}'
	echo '{"data":[1,2]}' >same.json
	assert_call 0 '' -f same.json -o same.json core/echo
	assert_equal "$(cat same.json)" '{"data":[1,2]}'
	# a slip costs no call
	assert_call 1 'rkcall: core/delay: none/out: No such file or directory' \
		-o none/out core/delay '{"ms":1}'
	assert_call 1 'rkcall: core/delay: .: Is a directory' -o . core/delay '{"ms":1}'
	assert_value stats/messages_accepted 2
	assert_call 1 'rkcall: core/delay: /dev/full: No space left on device' \
		-o /dev/full core/delay '{"ms":1}'
}

@test "binary answers do not go to a terminal unbidden" {
	rk_up
	cd "$BATS_TEST_TMPDIR"
	printf hello >in.raw
	py <<-'EOF'
		import pty
		def on_terminal(*args):
		    main, side = pty.openpty()
		    p = subprocess.Popen([os.environ["BIN"] + "/rkcall", "-m", MNT, *args],
		                         stdin=side, stdout=side, stderr=subprocess.PIPE)
		    os.close(side)
		    shown = b""
		    try:
		        while piece := os.read(main, 4096):
		            shown += piece
		    except OSError as e:
		        assert e.errno == errno.EIO, e  # the other side is closed
		    err = p.stderr.read().decode()
		    return p.wait(), shown, err
		refused = "rkcall: the answer is binary (raw) and would go to the terminal: -o FILE, or --force\n"
		rows = [
		    (["-f", "in.raw", "core/echo"], (2, b"", refused)),
		    (["-f", "in.raw", "-o", "-", "core/echo"], (2, b"", refused)),
		    (["--force", "-f", "in.raw", "core/echo"], (0, b"hello", "")),
		    (["-f", "in.raw", "-o", "out", "core/echo"], (0, b"", "")),
		    (["core/vector-add", '{"a":[1],"b":[2]}'], (0, b'{"c":[3.0]}\r\n', "")),
		    (["core/delay"], (2, b"", "rkcall: no request; rkcall --describe core/delay shows an example\n")),
		]
		for args, want in rows:
		    got = on_terminal(*args)
		    assert got == want, (args, got)
		assert open("out").read() == "hello"
		assert stats()["accepted"] == 3
	EOF
}

# --- failures ---

@test "the arguments: status 2, and nothing is called" {
	rk_up
	assert_call 2 "rkcall: which KERNEL? rkcall --list lists them; rkcall --help says more"
	assert_call 2 "rkcall: '--nonsense' is not understood; rkcall --help lists the options" --nonsense
	assert_call 2 "rkcall: '-f' wants a value" -f
	assert_call 2 "rkcall: 'xml' is no encoding; there are json, safetensors and raw" \
		-e xml core/echo '{}'
	assert_call 2 "rkcall: 'b' is an extra argument: the request is one argument, so put '' around it" \
		core/echo a b
	assert_call 2 "rkcall: '{}' is an extra argument: -f gives the request" -f in.json core/echo '{}'
	assert_call 2 "rkcall: --list takes no KERNEL" --list core/echo
	for secs in 0 -1 x 1x nan inf ''; do
		assert_call 2 "rkcall: --timeout '$secs': it is a number of seconds above 0, such as 10 or 0.5" \
			-t "$secs" core/echo '{}'
	done
	assert_call 1 'rkcall: none.json: No such file or directory' -f none.json core/echo
	mkdir "$BATS_TEST_TMPDIR/d.json"
	cd "$BATS_TEST_TMPDIR"
	assert_call 1 'rkcall: core/echo: d.json: Is a directory' -f d.json core/echo
	assert_value stats/messages_rejected 0
}

@test "a kernel that is enabled and not loaded: --list, --describe and a call say why" {
	local dir=$BATS_TEST_TMPDIR/gpu

	mkdir "$dir"
	printf '%s\n' '[kernel]' 'id = my/gpu' 'description = Needs a GPU' '[inputs]' 'x = f32[n]' '[outputs]' \
		'y = f32[n]' '[cuda]' 'module = gpu.ptx' 'entry = f' 'args = x, y, n' 'grid = n' >"$dir/gpu.ini"
	printf '.version 7.0\n.target sm_50\n.address_size 64\n' >"$dir/gpu.ptx"
	rk_up primary_backend=cpu,kernels_dir="$dir"
	run rkcall -l
	assert_success
	assert_line --regexp '^my/gpu +not loaded +Needs a GPU \(it has only \[cuda\], and the backend is cpu\)$'
	assert_call 1 'rkcall: my/gpu: the kernel is not loaded: it has only [cuda], and the backend is cpu' my/gpu '{"x":[1]}'
	run rkcall -d my/gpu
	assert_success
	assert_line 'enabled     yes'
	assert_line 'loaded      no: it has only [cuda], and the backend is cpu'
	control stop
	run rkcall -l
	assert_line --regexp '^my/gpu +enabled +Needs a GPU$'
	run rkcall -d core/echo
	refute_output --partial 'loaded'
}

@test "--describe: the example of every kernel that ships answers numbers" {
	local kernel seen=0

	rk_up
	export PATH="$BIN:$PATH"
	for kernel in $(rkcall -l | cut -d ' ' -f 1); do
		run bash -c "$("$BIN/rkcall" -m "$MNT" -d "$kernel" | tail -n 1)"
		assert_success
		assert_output --regexp '^\{"[a-z_]+":[[0-9]'
		refute_output --regexp 'NaN|Infinity'
		seen=$((seen + 1))
	done
	[[ $seen -ge 9 ]]
	assert_value kernels/core/vector-add/example '{"a":[1,2,3],"b":[10,20,30]}'
}

@test "there is no such kernel: the nearest are named" {
	rk_up
	assert_call 1 'rkcall: core/vectoradd: there is no such kernel; did you mean core/vector-add?' \
		core/vectoradd '{}'
	assert_call 1 'rkcall: echo: there is no such kernel; did you mean core/echo or core/ring-echo?' echo '{}'
	assert_call 1 'rkcall: a/b: there is no such kernel; rkcall --list shows all' a/b '{}'
	assert_call 1 'rkcall: core/ech: there is no such kernel; did you mean core/echo or core/ring-echo?' -d core/ech
	# nothing outside kernels/ can be reached
	assert_call 1 'rkcall: ../stats: there is no such kernel; did you mean core/running-stats?' -d ../stats
	assert_call 1 'rkcall: core/./echo: there is no such kernel; did you mean core/echo or core/ring-echo?' \
		core/./echo '{"data":[1]}'
	assert_call 1 'rkcall: core/matmul: it has no call.raw; its encodings: json safetensors' \
		-e raw core/matmul x
}

@test "the sentence is that of this process's call" {
	local i pids=()

	rk_up
	assert_call 1 'rkcall: core/echo: the request is empty' core/echo </dev/null
	# among others of the same kernel
	for i in 1 2 3 4 5 6 7 8; do
		(rkcall core/delay "{\"ms\":$i.5}" >"$BATS_TEST_TMPDIR/$i" 2>&1 || true) 3>&- &
		pids+=($!)
	done
	wait "${pids[@]}"
	for i in 1 2 3 4 5 6 7 8; do
		assert_equal "$(cat "$BATS_TEST_TMPDIR/$i")" \
			"rkcall: core/delay: input ms: $i.5 is a fraction; u32 wants an integer"
	done
	# where its pid is another one
	run unshare --pid --fork "$BIN/rkcall" -m "$MNT" core/delay '{"ms":0.5}'
	assert_equal "$status: $output" "1: rkcall: core/delay: input ms: 0.5 is a fraction; u32 wants an integer"
}

@test "a request that is too large is told so while it is written" {
	rk_up max_json_bytes=64K
	head -c 3M /dev/zero | tr '\0' ' ' >"$BATS_TEST_TMPDIR/in.json"
	run rkcall -f "$BATS_TEST_TMPDIR/in.json" core/echo
	assert_failure 1
	assert_output --regexp '^rkcall: core/echo: .* max_json_bytes .*$'
	assert_value stats/messages_rejected 1
}

@test "a runtime that takes no calls: its state and the way out" {
	local text='rkcall: core/echo: the runtime takes no calls: it is'

	rk_up nostart
	assert_call 1 "$text Created; echo start >$MNT/control" core/echo '{"data":[1]}'
	control start
	wait_for running
	assert_call 0 '{"data":[1]}' core/echo '{"data":[1]}'
	delays 1 60000 &
	until_value stats/messages_in_flight 1
	control drain
	assert_call 1 "$text Draining; echo resume >$MNT/control takes the drain back" \
		core/echo '{"data":[1]}'
	control stop
	assert_call 1 "$text Stopped; echo reset >$MNT/control && echo start >$MNT/control" \
		core/echo '{"data":[1]}'
	# and that is true
	run bash -c "${output#*Stopped; }"
	assert_success
	wait_for running
	assert_call 0 '{"data":[1]}' core/echo '{"data":[1]}'
}

@test "Failed says why" {
	rk_up restart_limit=0
	kill -KILL "$(rk_worker)"
	follow Failed
	run rkcall core/echo '{"data":[1]}'
	assert_failure 1
	assert_output --regexp '^rkcall: core/echo: the runtime takes no calls: it is Failed \(.+\); echo reset'
}

@test "cancelled, disabled, a worker that died" {
	local pid

	rk_up
	rkcall core/delay '{"ms":60000}' >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
	pid=$!
	until_value stats/messages_in_flight 1
	kill -KILL "$(rk_worker)"
	wait "$pid" || [[ $? -eq 1 ]]
	assert_regex "$(cat "$BATS_TEST_TMPDIR/out")" '^rkcall: core/delay: message [0-9]+: .*worker'

	echo 0 >"$MNT/kernels/core/echo/enable"
	assert_call 1 "rkcall: core/echo: it is disabled: echo 1 >$MNT/kernels/core/echo/enable" \
		core/echo '{"data":[1]}'
	rkcall core/delay '{"ms":60000}' >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
	until_value stats/messages_in_flight 1
	control stop
	wait $! || [[ $? -eq 1 ]]
	assert_regex "$(cat "$BATS_TEST_TMPDIR/out")" '^rkcall: core/delay: cancelled: .*stop'
}

@test "others may look, and are told who may call" {
	local program

	rk_up
	exec {program}<"$BIN/rkcall"
	run as_nobody "/proc/self/fd/$program" -m . core/echo '{"data":[1]}'
	assert_equal "$status: $output" '1: rkcall: core/echo: permission denied: only root may call kernels'
	run as_nobody "/proc/self/fd/$program" -m . --describe core/echo
	assert_success
	exec {program}<&-
}

@test "a daemon that died, one that does not answer" {
	rk_up
	freeze "$DAEMON"
	assert_call 124 'rkcall: core/echo: not done within 0.2 s, so it is cancelled' \
		-t 0.2 core/echo '{"data":[1]}'
	kill -CONT "$DAEMON"
	assert_call 0 '{"data":[1]}' core/echo '{"data":[1]}'
	kill -KILL "$DAEMON"
	await_exit "$DAEMON"
	run rkcall core/echo '{"data":[1]}'
	assert_equal "$status: $output" \
		"3: rkcall: $MNT: the daemon of this mount is dead; mount.rkfs $MNT replaces it"
	DAEMON=
}

# --- time, signals, pipes ---

@test "--timeout cancels, and says so" {
	local fifo

	rk_up
	assert_call 124 'rkcall: core/delay: not done within 0.3 s, so it is cancelled' \
		--timeout 0.3 core/delay '{"ms":2000}'
	until_value stats/messages_cancelled 1
	assert_call 0 '{"c":[3.0]}' --timeout=50 core/vector-add '{"a":[1],"b":[2]}'
	# reading the request counts too
	mkfifo "$BATS_TEST_TMPDIR/fifo"
	exec {fifo}<>"$BATS_TEST_TMPDIR/fifo"
	assert_call 124 'rkcall: core/delay: not done within 0.3 s, so it is cancelled' \
		-t 0.3 core/delay <&"$fifo"
	exec {fifo}<&-
}

@test "Ctrl-C cancels; a stop and a continue do not" {
	rk_up
	py <<-'EOF'
		def start(ms):
		    p = subprocess.Popen([os.environ["BIN"] + "/rkcall", "-m", MNT, "core/delay",
		                          json.dumps({"ms": ms})], stdout=subprocess.PIPE,
		                         stderr=subprocess.STDOUT)
		    until_in_flight(1)
		    return p
		p = start(2000) # a kernel is not interrupted
		p.send_signal(signal.SIGINT)
		assert p.wait(PATIENCE) == -signal.SIGINT
		assert p.stdout.read() == b""
		until(lambda: stats()["cancelled"], 1)
		until_in_flight(0)
		p = start(1500)
		for _ in range(3):
		    p.send_signal(signal.SIGSTOP)
		    os.waitid(os.P_PID, p.pid, os.WSTOPPED)
		    p.send_signal(signal.SIGCONT)
		assert p.wait(PATIENCE) == 0
		assert json.loads(p.stdout.read())["waited_ms"] >= 1500
		assert stats()["processed"] == 1
	EOF
}

@test "a reader that goes away ends it without a word" {
	rk_up
	cd "$BATS_TEST_TMPDIR"
	head -c 4M /dev/zero >in.raw
	run bash -c '{ "$BIN/rkcall" -m "$MNT" -f in.raw core/echo; echo $? >status; } | head -c 1 | wc -c'
	assert_output 1
	assert_equal "$(cat status)" 141
	# where SIGPIPE is ignored
	run bash -c 'trap "" PIPE; { "$BIN/rkcall" -m "$MNT" -f in.raw core/echo; echo $? >status; } | head -c 1 | wc -c'
	assert_output 1
	assert_equal "$(cat status)" 1
	run bash -c '"$BIN/rkcall" -m "$MNT" --list >/dev/full'
	assert_equal "$status: $output" '1: rkcall: standard output: No space left on device'
}

# --- the mount ---

@test "the mount: -m, else RKFS_MOUNT, else the only one" {
	local forget='while read -r _ _ _ _ dir _ && [[ -n $dir ]]; do umount -l "$dir"; done \
		< <(grep " - fuse.rkfs " /proc/self/mountinfo | grep -v " $MNT ")'

	rk_up
	assert_call 0 '{"data":[1]}' core/echo '{"data":[1]}'
	RKFS_MOUNT=$MNT run "$BIN/rkcall" core/echo '{"data":[2]}'
	assert_output '{"data":[2]}'
	RKFS_MOUNT=/none run rkcall core/echo '{"data":[3]}'
	assert_output '{"data":[3]}'
	RKFS_MOUNT=/none run "$BIN/rkcall" core/echo '{"data":[4]}'
	assert_equal "$status: $output" '3: rkcall: /none: No such file or directory'
	run private "$forget"'; "$BIN/rkcall" core/echo "{\"data\":[5]}"; RKFS_MOUNT= "$BIN/rkcall" core/echo "{\"data\":[6]}"'
	assert_output $'{"data":[5]}\n{"data":[6]}'
	run private "$forget"'; umount "$MNT"; "$BIN/rkcall" core/echo "{}"'
	assert_equal "$status: $output" '3: rkcall: no rkfs is mounted: as root, mount.rkfs DIR mounts one'
	assert_call 3 "rkcall: $BATS_TEST_TMPDIR is not an rkfs: mount.rkfs $BATS_TEST_TMPDIR mounts one there" \
		-m "$BATS_TEST_TMPDIR" core/echo '{}'
	mkdir "$BATS_TEST_TMPDIR/other"
	"$BIN/mount.rkfs" -o nostart none "$BATS_TEST_TMPDIR/other" 3>&-
	run private "${forget/ | grep -v/ | grep -v \"$BATS_TEST_TMPDIR/other \" | grep -v}"'; "$BIN/rkcall" core/echo "{}"'
	assert_equal "$status: $output" "3: rkcall: several rkfs are mounted: choose one with -m DIR or RKFS_MOUNT: $MNT, $(dirname "$MNT")/other"
	umount "$BATS_TEST_TMPDIR/other"
}

# --- --list and --describe ---

@test "--list: each kernel, whether it is enabled, what it does" {
	local id dir

	rk_up
	echo 0 >"$MNT/kernels/core/echo/enable"
	run rkcall --list
	assert_success
	assert_line --regexp '^core/echo +disabled +Copies its input to its output$'
	assert_line --regexp '^core/delay +enabled +Waits a number of milliseconds'
	assert_equal "${#lines[@]}" "$(value stats/kernels_registered)"
	assert_equal "$(cut -d ' ' -f 1 <<<"$output")" "$(cd "$MNT/kernels" && printf '%s\n' */* | LC_ALL=C sort)"
	# aligned
	assert_equal "$(grep -o '^.* \(en\|dis\)abled' <<<"$output" | sed 's/[a-z]*$//' | awk '{ print length }' | sort -u | wc -l)" 1
}

@test "--describe: the whole, and its example can be pasted" {
	rk_up
	run rkcall --describe core/matmul
	assert_success
	assert_output "core/matmul: Product of two matrices

version     1.0
mode        batch
backend     cpu
inputs      a = f32[m,k]
            b = f32[k,n]
outputs     c = f32[m,n]
encodings   json safetensors
enabled     yes

$BIN/rkcall -m '$MNT' core/matmul '{\"a\":[[1,2],[3,4]],\"b\":[[5,6],[7,8]]}'"
	# with the mount left out where it was not said
	RKFS_MOUNT=$MNT run "$BIN/rkcall" "core/delay" --describe
	assert_line "$BIN/rkcall core/delay '{\"ms\":100}'"
}

# --- completion ---

# complete_words WORD...: what completes the last WORD, in one line
complete_words() {
	bash -c '
		source "$1/etc/completion/rkcall.bash"
		shift
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
		_rkcall
		echo "${COMPREPLY[*]}"' bash "$TOP" "$BIN/rkcall" "$@"
}

@test "completion: kernels, options, files, encodings" {
	rk_up
	cd "$BATS_TEST_TMPDIR"
	mkdir d
	touch 'd/a file' d/b
	assert_equal "$(complete_words -m "$MNT" core/ve)" core/vector-add
	assert_equal "$(complete_words --mount = "$MNT" core/e)" core/echo
	assert_equal "$(complete_words -m "$MNT" -d risk)" risk/monte-carlo-var
	assert_equal "$(RKFS_MOUNT=$MNT complete_words graph)" graph/pagerank
	assert_equal "$(RKFS_MOUNT=$MNT complete_words '')" "$(rkcall --list | cut -d ' ' -f 1 | xargs)"
	assert_equal "$(RKFS_MOUNT=/none complete_words '')" ''
	assert_equal "$(complete_words --f)" '--file --force'
	assert_equal "$(complete_words -f d/a)" 'd/a file'
	assert_equal "$(complete_words --file = d/b)" d/b
	assert_equal "$(complete_words --output = | wc -w)" 3
	assert_equal "$(complete_words -m d)" d
	assert_equal "$(complete_words -e s)" safetensors
	assert_equal "$(complete_words core/echo '')" -
	assert_equal "$(complete_words -f x core/echo '')" ''
	assert_equal "$(complete_words -t '')" ''
	# all options are offered
	assert_equal "$(complete_words -- | tr ' ' '\n' | sort)" \
		"$("$BIN/rkcall" --help | grep -o -- '^  -., --[a-z]*' | cut -c 7- | sort)"
}

@test "completion: what a mount calls its kernels is never run" {
	local name

	cd "$BATS_TEST_TMPDIR"
	printf '#!/bin/sh\necho "core/\$(touch ran) on"; echo "core/ok on"; echo "core/\`touch ran\` on"\n' >decoy
	chmod +x decoy
	BIN=$PWD
	mv decoy rkcall
	assert_equal "$(complete_words core/)" core/ok
	assert_equal "$(complete_words '')" core/ok
	assert_not_exist ran
}

# --- documents ---

@test "every option is in rkcall(1), and the examples run as printed" {
	local page=$TOP/doc/rkcall.1 letter word count=0 shown

	run mandoc -Tlint -Wwarning "$page"
	assert_output ""
	while read -r letter word _; do
		grep -Eq "^\.It Fl ${letter:1:1} , -${word#--}( |\$)" "$page" || fail "$word is not in the page"
		count=$((count + 1))
	done < <("$BIN/rkcall" --help | grep '^  -')
	assert_equal "$(grep -c '^\.It Fl ' "$page")" "$count"
	[[ $count -ge 10 ]]

	rk_up
	shown=$(awk '/^\.Ed$/ { p = 0 } p; /^\.Bd -literal$/ { p = 1 }' "$page" | sed -e ':a' -e '/\\e$/{N;s/\\e\n//;ba}')
	[[ $(grep -c '^\$ ' <<<"$shown") -eq 6 ]]
	export RKFS_MOUNT=$MNT
	PATH=$BIN:$PATH
	# no newline at the end of that answer
	assert_equal "$(while IFS= read -r line <&9; do
		case $line in
		'$ '*) printf '%s\n' "$line"; out=$(eval "${line#??}" 2>&1 </dev/null || true); printf '%s\n' "$out" ;;
		esac
	done 9<<<"$shown")" "$shown"
}

@test "--help and --version need no mount" {
	run private 'umount -a -l -t fuse.rkfs; "$BIN/rkcall" --version; "$BIN/rkcall" -h'
	assert_success
	assert_line --index 0 "rkcall (rkfs) $("$BIN/mount.rkfs" --version | cut -d ' ' -f 3)"
	assert_line --index 1 'usage: rkcall [OPTION...] KERNEL [REQUEST | -]'
	run bash -c '"$BIN/rkcall" --help >/dev/full'
	assert_failure 1
}
