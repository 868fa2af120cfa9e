#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The programs with which people read files, each in its own way: by read(2), sendfile(2), splice(2)
# or copy_file_range(2), and as many bytes as come or as stat(2) says. Each sees what read(2) gives,
# or fails and says so; none sees an empty file.

# scripts for other programs are in single quotes
# shellcheck disable=SC2016

load common

UUTILS=/usr/lib/cargo/bin/coreutils

# A file of every kind whose content stands still here, and of every kind whose does not.
STILL=(state version config/pending config/max_queue_depth stats/messages_processed control events
	last_cmd_status health/status kernels/core/vector-add/inputs kernels/core/echo/enable
	kernels/core/echo/latency_p99_usecs)
LIVE=(metrics stats/all inflight/2)

# A mount with all of them, and in $TRUTH what read(2) gives of each.
up() {
	local file

	rk_up health_check_interval=1h,drain_timeout=600s
	call core/echo '{"data":[1]}' >/dev/null
	delays 1 600000 &
	until_value stats/messages_in_flight 1
	COPY=$BATS_TEST_TMPDIR/copy
	TRUTH=$BATS_TEST_TMPDIR/truth
	export COPY
	for file in "${STILL[@]}" "${LIVE[@]}"; do
		mkdir -p "$(dirname "$TRUTH/$file")"
		timeout 20 dd if="$MNT/$file" of="$TRUTH/$file" bs=1M status=none
		tick <"$TRUTH/$file" >"$TRUTH/$file.tick"
	done
}

# What changes by itself taken out.
tick() {
	sed -E 's/^(.*(uptime|timestamp)[^ ]*|age_ms) .*/\1/'
}

# same FILE FOUND WHAT
same() {
	cmp "$TRUTH/$1.tick" <(tick <"$2") || fail "$3 of $1 is not what read(2) gives"
}

# as_read SCRIPT [FILE...]: what SCRIPT prints, or leaves at $COPY, is what read(2) gives of $F, a
# file of each kind, or of these FILEs.
as_read() {
	local script=$1 file

	shift
	[[ $# -gt 0 ]] || set -- "${STILL[@]}" "${LIVE[@]}"
	for file; do
		rm -f "$COPY"
		F=$MNT/$file timeout 20 bash -eo pipefail -c "$script" >"$COPY.out" || fail "$script of $file fails"
		[[ -e $COPY ]] || mv "$COPY.out" "$COPY"
		same "$file" "$COPY" "$script"
	done
}

# holds TEST: it does, for $F, a file of each kind whose content stands still.
holds() {
	local file

	for file in "${STILL[@]}"; do
		F=$MNT/$file timeout 20 bash -eo pipefail -c "$1" || fail "of $file this does not hold: $1"
	done
}

# as_read_all PROGRAM [ARG...]: of its further arguments it copies each to the file of its number in $COPY.
as_read_all() {
	local files=("${STILL[@]}" "${LIVE[@]}") n

	mkdir "$COPY"
	(cd "$MNT" && timeout 60 "$@" "${files[@]}")
	for n in "${!files[@]}"; do
		same "${files[n]}" "$COPY/$n" "$1"
	done
}

# until_line LINE FILE: wait until it is the last line of FILE.
until_line() {
	local end=$((SECONDS + 60))

	until [[ $(tail -n1 "$2") == "$1" ]]; do
		((SECONDS < end)) || fail "$2 does not end with $1 within a minute"
		read -t 0.1 -r <> <(:) || true
	done
}

@test "tools: GNU" {
	up
	as_read 'cat "$F"'
	as_read 'cp "$F" "$COPY"'
	as_read 'cp --sparse=always "$F" "$COPY"'
	as_read 'cp -a "$F" "$COPY"'
	as_read 'install "$F" "$COPY"'
	as_read 'dd if="$F" of="$COPY" status=none'
	as_read 'head -c 100000 "$F"'
	as_read 'tail -c 100000 "$F"'
	as_read 'tail -n 100000 "$F"'
	as_read 'tac "$F" | tac'
	as_read 'split -b 100000 "$F" "$COPY." && if [ -e "$COPY.aa" ]; then mv "$COPY.aa" "$COPY"; fi'
	as_read 'awk 1 "$F"'
	as_read 'tar -C "${F%/*}" -cf - "${F##*/}" | tar -xOf -' "${STILL[@]}"
	holds 'cmp "$F" <(cat "$F")'
	holds 'cat "$F" >"$COPY"; cmp -s "$F" "$COPY"'
	holds 'cat "$F" >"$COPY"; diff -q "$F" "$COPY"'
	holds '[ "$(wc -c <"$F")" -eq "$(cat "$F" | wc -c)" ]'
	holds '[ "$(stat -c %s "$F")" -eq "$(cat "$F" | wc -c)" ]'
	holds '[ "$(stat -c %b "$F")" -eq $((($(stat -c %s "$F") + 511) / 512)) ]'
}

@test "tools: busybox" {
	up
	as_read 'busybox cat "$F"'
	as_read 'busybox cp "$F" "$COPY"'
	as_read 'busybox dd if="$F" of="$COPY" 2>/dev/null'
	as_read 'busybox head -c 100000 "$F"'
	as_read 'busybox tail -n 100000 "$F"'
	as_read 'busybox tac "$F" | tac'
	as_read 'busybox tar -C "${F%/*}" -cf - "${F##*/}" | tar -xOf -' "${STILL[@]}"
	holds 'busybox cmp "$F" <(cat "$F")'
	holds '[ "$(busybox wc -c <"$F")" -eq "$(cat "$F" | wc -c)" ]'
}

@test "tools: uutils" {
	up
	export PATH=$UUTILS:$PATH
	[[ $(cat --version) != *GNU* ]]
	as_read 'cat "$F"'
	as_read 'cat <"$F"'
	as_read 'cp "$F" "$COPY"'
	as_read 'dd if="$F" of="$COPY" status=none'
	as_read 'head -c 100000 "$F"'
	as_read 'tail -n 100000 "$F"'
	as_read 'tac "$F" | tac'
	holds '[ "$(wc -c <"$F")" -eq "$(dd if="$F" bs=1M status=none | wc -c)" ]'
}

@test "tools: rsync, curl, less" {
	up
	as_read 'rsync "$F" "$COPY"' "${STILL[@]}"
	as_read 'rsync -a --inplace "$F" "$COPY"' "${STILL[@]}"
	as_read 'curl -sS "file://$F"'
	as_read 'less "$F"'
}

@test "tools: Python" {
	up
	cat >"$BATS_TEST_TMPDIR/copy.py" <<-'EOF'
		import os, shutil, sys
		for n, file in enumerate(sys.argv[1:]):
		    to = os.path.join(os.environ["COPY"], str(n))
		    shutil.copy2(file, to)
		    assert os.path.getsize(to) or file == "config/pending", file
		    with open(file) as source, open(to, "w") as target:
		        shutil.copyfileobj(source, target)
		    assert os.path.getsize(to) or file == "config/pending", file
		    shutil.copyfile(file, to)
	EOF
	as_read_all python3 "$BATS_TEST_TMPDIR/copy.py"
}

@test "tools: node" {
	up
	as_read_all node -e '
		const fs = require("fs");
		process.argv.slice(1).forEach((file, n) => {
		    const to = process.env.COPY + "/" + n;
		    fs.writeFileSync(to, fs.readFileSync(file));
		    if (!fs.readFileSync(to).length != (file == "config/pending")) throw new Error("read " + file);
		    fs.copyFileSync(file, to);
		});'
}

@test "tools: Java" {
	up
	cat >"$BATS_TEST_TMPDIR/copy.bsh" <<-'EOF'
		import java.io.*;
		import java.nio.file.*;
		for (int n = 0; n < bsh.args.length; n++) {
		    Path from = Paths.get(bsh.args[n], new String[0]);
		    Path to = Paths.get(System.getenv("COPY"), new String[] {"" + n});
		    OutputStream out = new FileOutputStream(to.toFile());
		    try {
		        long bytes = new FileInputStream(bsh.args[n]).transferTo(out);
		        if (bytes == 0 && !bsh.args[n].equals("config/pending"))
		            throw new IOException("transferTo of " + from);
		    } catch (IOException e) {
		        // from Java 18 on it maps what it cannot send: an error, and never an empty copy
		        if (Runtime.version().feature() < 18 || !e.getMessage().equals("No such device"))
		            throw e;
		    }
		    out.close();
		    Files.copy(from, to, new CopyOption[] {StandardCopyOption.REPLACE_EXISTING});
		}
	EOF
	as_read_all bsh "$BATS_TEST_TMPDIR/copy.bsh"
}

@test "tools: every cat waits in wait/ and gives the answer of a call" {
	local cat call

	rk_up
	exec {call}<>"$MNT/kernels/core/echo/call.json"
	for cat in cat "busybox cat" "$UUTILS/cat"; do
		# shellcheck disable=SC2086
		run timeout 1 $cat "$MNT/wait/stopped"
		assert_equal "$status" 124
		refute_output
		for _ in 1 2; do
			echo '{"data":[1]}' >&"$call"
			assert_equal "$($cat <&"$call")" '{"data":[1]}'
		done
		assert_equal "$($cat "$MNT/wait/running")" Running
	done
	exec {call}>&-
	control stop
	for cat in cat "busybox cat" "$UUTILS/cat"; do
		assert_equal "$(timeout 20 $cat "$MNT/wait/stopped")" Stopped
	done
}

@test "tools: what has no value is an error, not an empty file" {
	local file script

	rk_up
	COPY=$BATS_TEST_TMPDIR/copy
	export COPY F UUTILS
	for file in drain/remaining drain/stuck kernels/core/echo/latency_p50_usecs; do
		F=$MNT/$file
		for script in 'cat "$F"' 'busybox cat "$F"' 'cp "$F" "$COPY"' 'busybox cp "$F" "$COPY"' \
			'"$UUTILS/cp" "$F" "$COPY"' 'wc -c "$F"' 'rsync "$F" "$COPY"' 'cmp "$F" /dev/null' \
			'tar -C "${F%/*}" -cf "$COPY" "${F##*/}"' 'head -c1 "$F"' 'tail -n1 "$F"'; do
			run timeout 20 bash -c "$script"
			assert_failure
			assert_output --partial "No data available"
		done
	done
}

@test "tools: rsync copies again what has changed, of the same length too, and nothing else" {
	local copy=$BATS_TEST_TMPDIR/copy

	rk_up health_check_interval=1h
	# -1: times count with all their digits
	rsync -a --modify-window=-1 "$MNT/config" "$MNT/kernels/core/echo/messages_processed" "$copy/"
	assert_equal "$(cat "$copy/messages_processed")" 0
	call core/echo '{"data":[1]}' >/dev/null
	assert_equal "$(rsync -ai --modify-window=-1 "$MNT/config" "$MNT/kernels/core/echo/messages_processed" "$copy/" | cut -d' ' -f2)" \
		messages_processed
	assert_equal "$(cat "$copy/messages_processed")" 1
}

@test "tools: tail -f of events follows, past what is retained, and says each event once" {
	local out=$BATS_TEST_TMPDIR/out n pids=()
	local tails=("tail -s 0.1" "busybox tail" "$UUTILS/tail --use-polling -s 0.1")

	rk_up health_check_interval=1h
	for n in "${!tails[@]}"; do
		# shellcheck disable=SC2086
		${tails[n]} -n 100000 -f "$MNT/events" >"$out.$n" 2>"$out.$n.err" 3>&- &
		pids+=($!)
	done
	# more than are retained where nobody looks
	for _ in 1 2; do
		py <<-"EOT"
			fd = open_call("core/echo")
			for _ in range(700):
			    assert outcome(ask, fd, "no request") == "EINVAL"
		EOT
		for n in "${!tails[@]}"; do
			until_line "$(tail -n1 "$MNT/events")" "$out.$n"
		done
	done
	kill "${pids[@]}"
	wait "${pids[@]}" || true
	for n in "${!tails[@]}"; do
		run cat "$out.$n.err"
		refute_output
		assert_equal "$(jq .seq "$out.$n")" "$(seq "$(jq .seq "$out.$n" | tail -n1)")"
	done
}
