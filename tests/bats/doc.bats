#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# README and man pages against the program: every file, field, verb, option, event, and key and
# type of descriptions is there, with the mode and the defaults that it has, and the examples run as
# printed.

load common

README=$BATS_TEST_DIRNAME/../../README.md
DOC=$BATS_TEST_DIRNAME/../../doc
TOP=$BATS_TEST_DIRNAME/../..

# "FIELD..." of --help
fields() {
	"$BIN/mount.rkfs" --help | sed -n '/^Configuration fields/,$ s/^  \([a-z_]*\)=.*/\1/p'
}

# A message in flight, so that every file is there. Its caller ends with the test.
send_one() {
	"$BIN/rkcall" -m "$MNT" core/delay '{"ms":600000}' >"$BATS_TEST_TMPDIR/sent" 2>&1 3>&- &
	SENDER=$!
	until_value stats/messages_in_flight 1
}

# "PATH MODE" of every file, as the pages call them
files() {
	local file

	(cd "$MNT" && find . -type f -printf '%P %m\n') |
		sed -E -e 's,^kernels/[^/]+/[^/]+/,kernels/DOMAIN/NAME/,' -e 's,^inflight/[0-9]+,inflight/ID,' \
			-e 's,^workers/[0-9]+/,workers/N/,' |
		sort -u
	for file in events_follow wait/running wait/ready wait/drained wait/stopped; do
		echo "$file $(stat -c %a "$MNT/$file")"
	done
}

# The words of last_cmd_status's "...; the verbs are start, drain [SECS], ..."
verbs() {
	run control nonsense
	value last_cmd_status | sed -n 's/.*the verbs are //p' | tr -d '][,' | tr ' ' '\n' | grep '^[a-z]'
}

# has FILE REGEX WHAT: some line of FILE matches
has() {
	grep -Eq -- "$2" "$1" || missing+=("$3")
}

assert_nothing_missing() {
	[[ ${#missing[@]} -eq 0 ]] || fail "${1##*/} lacks: ${missing[*]}"
}

# transcript FROM: run the commands of a "# command" or "$ command" transcript on stdin, and
# print them as one would have seen them. FROM, what it calls the mount point, becomes $MNT.
transcript() {
	timeout 100 bash -c '
		make() { "$TOP_MAKE" "$@"; }
		while IFS= read -r line <&9; do
			case $line in
			"# "* | "\$ "*) printf "%s\n" "$line"; eval "${line#??}" ;;
			esac
		done 9<"$1" 2>&1 </dev/null' bash <(sed "s,$1,$MNT,g") 3>&- |
		sed -E -e 's/^bash: line [0-9]+: /bash: /' -e "s,$MNT,$1,g"
}

# code FILE N [LANGUAGE]: the Nth block of LANGUAGE (console) of a Markdown file
code() {
	awk -v n="$2" -v language="${3-console}" '
		$0 == "```" language { i++; inside = i == n; next }
		/^```$/ { inside = 0 }
		inside' "$1"
}

# literal FILE N [REGEX]: the Nth block of a man page whose first line matches REGEX (a prompt); lines
# continued with a backslash are joined
literal() {
	awk -v n="$2" -v regex="${3-^[#$] }" '
		/^\.Bd -literal/ { first = 1; next }
		/^\.Ed$/ { inside = 0 }
		first { first = 0; if ($0 ~ regex) inside = ++i == n }
		inside' "$1" | sed -e ':a' -e '/\\e$/{N;s/\\e\n//;ba}' -e 's/\\e/\\/g'
}

# assert_transcript FROM EXPECTED: nothing else than what is printed
assert_transcript() {
	[[ -n $2 ]] || fail "there is no such example"
	assert_equal "$(transcript "$1" <<<"$2")" "$2"
}

@test "mandoc has nothing to say" {
	run mandoc -Tlint -Wwarning "$DOC"/*.[1-8]
	assert_success
	assert_output ""
}

@test "every file is in rkfs(5), with its mode" {
	local missing=() path mode field

	rk_up
	send_one
	while read -r path mode; do
		case $path in
		config/pending) ;;
		config/*)
			field=${path#config/}
			has "$DOC/rkfs.conf.5" "^\.It Va $field\$" "$path"
			if awk -v field="$field" '/^\.It/ { inside = $2 == "Va" && $3 == field }
				inside && /; hot\.$/ { hot = 1 } END { exit !hot }' "$DOC/rkfs.conf.5"; then
				assert_equal "$path $mode" "$path 640"
			else
				assert_equal "$path $mode" "$path 440"
			fi
			continue ;;
		esac
		has "$DOC/rkfs.5" "^\.It Pa $path Pq 0$mode\$" "$path"
	done < <(files)
	assert_nothing_missing "$DOC/rkfs.5"
}

@test "the pages name no file that is not there" {
	local path

	rk_up
	send_one
	for path in $(sed -n 's/^\.It Pa \([a-z][A-Za-z_./]*\) Pq .*/\1/p' "$DOC/rkfs.5") \
		$(sed -nE '/^## Files/,/^## Driving/ s/^\| (`[^|]*) \|.*/\1/p' "$README" | tr -d '`,'); do
		path=${path/DOMAIN\/NAME/core/echo}
		path=${path/inflight\/ID/inflight/1}
		path=${path/workers\/N/workers/0}
		case $path in
		devices/*) continue ;; # where there are GPUs
		esac
		assert_exist "$MNT/${path/FIELD/preset}"
	done
}

@test "every field is in both pages, and nothing else is called one" {
	local missing=() field

	for field in $(fields); do
		has "$DOC/rkfs.conf.5" "^\.It Va $field\$" "$field"
		has "$DOC/mount.rkfs.8" "^\.Va $field [,.]\$" "$field"
	done
	assert_nothing_missing "a page"
	assert_equal "$(sed -n 's/^\.It Va //p' "$DOC/rkfs.conf.5")" "$(fields)"
}

@test "defaults and hot fields are as documented, for each preset" {
	local presets=(development production high_performance testing) i field value

	for i in 0 1 2 3; do
		rk_up "nostart,preset=${presets[i]}"
		for field in $(fields); do
			value=$(value "config/$field")
			value=${value:-empty}
			[[ $field != preset ]] || continue
			assert_equal "$field: $(awk -v field="$field" -v preset="${presets[i]}" '
				/^\.It/ { inside = $2 == "Va" && $3 == field }
				inside && /^Default: / {
					sub(/\.$/, "")
					gsub(/[;,]/, "")
					value = $2
					for (n = 3; n < NF; n += 2) if ($n == preset) value = $(n + 1)
					print value
				}' "$DOC/rkfs.conf.5")" "$field: $value"
		done
		assert_equal "$(stat -c '%a %n' "$MNT"/config/* | sed -n 's,^640 .*/,,p')" \
			"$(awk '/^\.It Va/ { field = $3 } /; hot\.$/ { print field }' "$DOC/rkfs.conf.5" | sort)"
		umount "$MNT"
		assert_daemon_exits
	done
}

@test "every verb is in rkfs(5) and in README" {
	local missing=() verb

	rk_up
	[[ $(verbs | wc -l) -ge 6 ]] || fail "the verbs are not listed"
	for verb in $(verbs); do
		has "$DOC/rkfs.5" "^\.It Ic $verb( Op Ar SECS)?\$" "$verb"
		sed -n '/^## Driving/,/^## Calling/p' "$README" | grep -q "\`$verb\( \[SECS\]\)\?\`" || missing+=("$verb")
	done
	assert_nothing_missing "a page"
}

@test "every event is in rkfs(5)" {
	local missing=() name

	# names are the CamelCase strings of these files
	for name in $(grep -ohE '"[A-Z][A-Za-z]+\\?"' "$TOP"/runtime/*.c "$TOP/runtime/health/probe.c" "$TOP/fs/files/events.c" |
		tr -d '"\\' | sort -u); do
		has "$DOC/rkfs.5" "^\.It Sy (.* , )?$name( |\$)" "$name"
	done
	assert_nothing_missing rkfs.5
	for name in $(sed -n '/^\.Sh EVENTS/,/^\.Sh EXAMPLES/ s/^\.It Sy //p' "$DOC/rkfs.5" |
		sed 's/ Pq .*//' | tr -d ,); do
		grep -qE "\"$name\\\\?\"" "$TOP"/runtime/*.c "$TOP/runtime/health/probe.c" "$TOP/fs/files/events.c" ||
			fail "no event is called $name"
	done
}

@test "an event has the fields that rkfs(5) says" {
	local name want

	kernels crash_null
	literal "$DOC/rkfs-kernel.5" 2 '^\[kernel\]' >"$KERNELS/add.ini"
	rk_up_kernels
	run call core/delay '{}'
	echo 'version = 2' >"$KERNELS/add.ini"
	run control reload
	assert_failure
	{
		literal "$DOC/rkfs-kernel.5" 2 '^\[kernel\]'
		echo '[kernel]'
		echo 'version = 2'
	} >"$KERNELS/add.ini"
	control reload
	rm "$KERNELS/add.ini"
	control reload
	for name in 1 2 3; do
		run call user/crash-null '{"crash":1}'
		assert_failure
	done
	control reload
	echo 7 >"$MNT/config/max_queue_depth"
	control drain
	wait_for drained
	control reset
	for name in KernelRegistered KernelActivated Started Draining Stopped MessageRejected \
		ConfigReloaded ConfigChanged HealthCheckCompleted WorkerStarted Reset Starting KernelRefused KernelChanged \
		KernelUnregistered KernelDisabled MessageFailed WorkerDied; do
		want=$(sed -n "s/^\.It Sy \(.* , \)*$name\( ,.*\)*\( Pq \(.*\)\)*\$/\4/p" "$DOC/rkfs.5")
		assert_equal "$name: $(grep -m1 "\"event\":\"$name\"" "$MNT/events" | python3 -c '
import json, sys
print(" , ".join(list(json.loads(sys.stdin.read()))[3:]))')" "$name: $want"
	done
}

@test "every option is in mount.rkfs(8)" {
	local missing=() word help

	help=$("$BIN/mount.rkfs" --help)
	for word in $(sed -n '1,/^Options of/p' <<<"$help" | grep '^  -' |
		grep -oE '(^  |, )--?[a-zA-Z][a-z-]*' | tr -d ', '); do
		has "$DOC/mount.rkfs.8" "^\.It Fl ${word#-}( |\$)" "$word"
	done
	for word in $(sed -n '/^Options of/,/^Accepted/ s/^  \([a-z_]*\)[ =].*/\1/p' <<<"$help") \
		$(sed -n '/^Accepted/{n;p;}' <<<"$help" | tr -d '*'); do
		has "$DOC/mount.rkfs.8" "^\.It Cm (.* )?$word\*?( |\$)" "$word"
	done
	[[ $(sed -n '/^Accepted/{n;p;}' <<<"$help" | wc -w) -gt 20 ]]
	assert_nothing_missing mount.rkfs.8
}

@test "README's first screen runs as printed" {
	local text

	[[ $(awk '/^```$/ { print NR; exit }' "$README") -le 25 ]] || fail "it is no screen"
	text=$(code "$README" 1)
	# what make up mounts, without building anew what is under test
	run env -u MAKEFLAGS make -n -C "$TOP" up "MNT=$MNT"
	assert_success
	assert_line --partial "build/mount.rkfs 'etc/rkfs.conf' \"\$MNT\""
	assert_line --partial " -j$(nproc) all"
	cat >"$BATS_TEST_TMPDIR/make" <<-'EOF'
		#!/bin/sh
		case $1 in
		up) exec "$BIN/mount.rkfs" "$TOP/etc/rkfs.conf" "$MNT" ;;
		*) exec env -u MAKEFLAGS make --no-print-directory -C "$TOP" "$@" "MNT=$MNT" ;;
		esac
	EOF
	chmod +x "$BATS_TEST_TMPDIR/make"
	export TOP TOP_MAKE=$BATS_TEST_TMPDIR/make
	assert_equal "$(grep -c sudo <<<"$text")" 3
	# a root shell already
	text=$(sed -e '/^\$ sudo -s$/d' -e 's/^\$ sudo /# /' <<<"$text")
	(cd "$TOP" && assert_transcript /mnt/rk "$text")
	run is_mounted
	assert_failure
}

# assert_python TEXT: this prints what its comments say
assert_python() {
	run python3 - <<<"$1"
	assert_success
	assert_output "$(sed -n 's/.*# //p' <<<"$1")"
	[[ -n $output ]] || fail "it prints nothing"
}

@test "README's own kernel is made as printed" {
	HOME=$(realpath "$BATS_TEST_TMPDIR")
	export HOME RKFS_MOUNT=$MNT # other tests have mounts too
	mkdir "$HOME/rkfs"
	ln -s "$(realpath "$BIN")" "$HOME/rkfs/build"
	ln -s "$(realpath "$TOP/etc")" "$HOME/rkfs/etc"
	cd "$HOME/rkfs"
	assert_transcript '~/mnt' "$(code "$README" 2)"
	rk_find_daemon
	code "$README" 1 c >~/kernels/axpby.c
	code "$README" 1 ini >~/kernels/axpby.ini
	assert_transcript '~/mnt' "$(code "$README" 3)"
	assert_python "$(code "$README" 1 python)"
	cd /
	fusermount3 -u ~/mnt
	run is_mounted
	assert_failure
}

# On the fake driver, which runs saxpy by its name; -arch=native would be for the GPU that is not here.
@test "README's own CUDA kernel is made as printed" {
	local text

	cuda_compiler || skip "needs a GPU's toolkit: there is no nvcc"
	HOME=$(realpath "$BATS_TEST_TMPDIR")
	export HOME RKFS_MOUNT=$MNT
	mkdir "$HOME/rkfs" "$HOME/kernels"
	ln -s "$(realpath "$BIN")" "$HOME/rkfs/build"
	cd "$HOME/rkfs"
	LD_LIBRARY_PATH=$BIN/fake_cuda rk_up "primary_backend=cuda,hot_reload_enabled=yes,kernels_dir=$HOME/kernels"
	code "$README" 1 cuda >~/kernels/saxpy.cu
	code "$README" 2 ini >~/kernels/saxpy.ini
	text=$(code "$README" 4 | sed 's/-arch=native/-arch=all-major/')
	assert_transcript '~/mnt' "$text"
	cd /
}

# An nvcc of the PATH, or where the Makefile looks too.
cuda_compiler() {
	PATH=$PATH:${CUDA_HOME-/usr/local/cuda}/bin
	command -v nvcc >/dev/null
}

@test "README's rolling reset takes each worker out and back, and no call is lost" {
	local calls

	rk_up primary_backend=cpu,workers=4
	code "$README" 1 sh >"$BATS_TEST_TMPDIR/rolling-reset"
	(until [[ -e $BATS_TEST_TMPDIR/over ]]; do call core/echo '{"data":[1]}' || exit; done) >"$BATS_TEST_TMPDIR/calls" 3>&- &
	RESET='echo reset' run timeout 60 sh -e "$BATS_TEST_TMPDIR/rolling-reset" "$MNT"
	assert_success
	assert_output "$(printf 'reset none\n%.0s' 1 2 3 4)"
	: >"$BATS_TEST_TMPDIR/over"
	wait $!
	calls=$(sort -u "$BATS_TEST_TMPDIR/calls")
	assert_equal "$calls" '{"data":[1]}'
	assert_equal "$(cat "$MNT"/workers/*/state | sort | uniq -c | xargs)" "4 running"
	assert_equal "$(grep -c '"event":"WorkerDisabled"' "$MNT/events")" 4
}

@test "README's calls run as printed" {
	rk_up
	assert_transcript /mnt/rk "$(code "$README" 5)"
	# the sixth is of a site with many machines
	assert_equal "$(code "$README" 7)$(code "$README" 2 python)" ""
}

@test "rkfs(5)'s examples run as printed" {
	local n

	rk_up "" "$TOP/etc/rkfs.conf"
	for n in 1 2 3 4 5; do
		# the page's paths; in a shell of its own, or a failure leaves the mount busy
		(cd "$MNT" && assert_transcript /mnt/rk "$(literal "$DOC/rkfs.5" $n)")
	done
	assert_equal "$(literal "$DOC/rkfs.5" 6)" ""
	assert_value config/log_level debug
	cd "$MNT"
	assert_python "$(literal "$DOC/rkfs.5" 1 '^kernel = ')"
	cd /
}

@test "rkfs(5)'s one-line example cancels what it says" {
	rk_up
	send_one
	(cd "$MNT" && bash -c "$(sed -n 's/^\.Dl \(grep .*inflight.*\)$/\1/p' "$DOC/rkfs.5")")
	await_exit "$SENDER"
	run cat "$BATS_TEST_TMPDIR/sent"
	assert_output --partial "core/delay: cancelled"
}

@test "rkfs-kernel(5)'s examples work as printed" {
	local page=$DOC/rkfs-kernel.5

	export RKFS_MOUNT=$MNT PATH=$BIN:$PATH
	mkdir "$KERNELS"
	cd "$KERNELS"
	literal "$page" 1 '^\[kernel\]' >center.ini
	literal "$page" 1 '^#include' >center.c
	literal "$page" 2 '^\[kernel\]' >add.ini
	rk_up_kernels
	assert_transcript /mnt/rk "$(literal "$page" 1)"
	run rkcall my/add '{"a":[1,2],"b":[3,4]}'
	assert_output '{"c":[4.0,6.0]}'
	sed -i 's/^c = .*/c = f32[m]/' add.ini
	assert_transcript /mnt/rk "$(literal "$page" 2 | sed "s,/etc/rkfs/kernels,$KERNELS,")"
	assert_equal "$(literal "$page" 3)$(literal "$page" 3 '^\[kernel\]')" ""
	cd /
}

# The sentence that refuses the description on stdin.
refusal() {
	cat >"$KERNELS/refused.ini"
	control reload 2>/dev/null || value last_cmd_status
	rm "$KERNELS/refused.ini"
}

@test "every section and key of a description is in rkfs-kernel(5), and nothing else" {
	local page=$DOC/rkfs-kernel.5 sections section keys

	mkdir "$KERNELS"
	rk_up_kernels
	sections=$(refusal <<<$'[nonsense]\nx = 1' | sed -n 's/.*; there are //p' | grep -o '\[[a-z]*\]')
	assert_equal "$(wc -l <<<"$sections")" 7
	assert_equal "$(sed -n 's/^\.Ss \(\[.*\)/\1/p' "$page" | grep -o '\[[a-z]*\]' | sort)" \
		"$(sort <<<"$sections")"
	for section in kernel state cpu cuda; do
		keys=$(refusal <<<"[$section]"$'\nnonsense = 1' | sed -n "s/.*; \[$section\] has //p")
		[[ -n $keys ]] || fail "[$section] has no keys"
		assert_equal "[$section] $(awk -v section="[$section]" '
			/^\.S[sh]/ { inside = $2 == section }
			inside && /^\.It Va /' "$page" |
			sed 's/^\.It Va //' | tr -d ',' | tr '\n' ' ' | tr -s ' ')" "[$section] ${keys//,/} "
	done
}

# "TYPE C-TYPE BYTES" of each row
types() {
	sed -n '/^\.Sh TYPES/,/^\.El/ s/^\.It \([a-z][a-z0-9]*\) Ta \([a-z0-9_]*\) Ta \([0-9]\) .*/\1 \2 \3/p' \
		"$DOC/rkfs-kernel.5"
}

@test "rkfs-kernel(5)'s types are those there are, with the C type and size that they have" {
	local type ctype bytes names answer

	mkdir "$KERNELS"
	while read -r type ctype bytes; do
		echo "void twice_$type(const $ctype *x, $ctype *y, $ctype one)"
		echo "{ y[0] = x[0]; y[1] = x[1] * one; }"
	done < <(types) >"$KERNELS/twice.c"
	"${CC-cc}" -shared -fPIC -include stdint.h -o "$KERNELS/twice.so" "$KERNELS/twice.c"
	while read -r type ctype bytes; do
		cat >"$KERNELS/$type.ini" <<-EOF
			[kernel]
			id = type/$type
			[inputs]
			x = ${type}[2]
			one = $type
			[outputs]
			y = ${type}[2]
			[cpu]
			library = twice.so
			entry = twice_$type
			args = x, y, one
		EOF
	done < <(types)
	rk_up_kernels
	names=$(refusal <<<$'[inputs]\nx = nonsense' | sed -n 's/.*; there are \(.*\), alone.*/\1/p')
	assert_equal "$(types | cut -d' ' -f1 | tr '\n' ' ')" "${names//,/} "
	while read -r type ctype bytes; do
		case $type in
		f*) answer='{"y":[0.0,1.0]}' ;;
		bool) answer='{"y":[false,true]}' ;;
		*) answer='{"y":[0,1]}' ;;
		esac
		run call "type/$type" "$(sed -e 's/y/x/' -e 's/}/,"one":1}/' \
			-e '/true/s/1}/true}/' <<<"$answer")"
		assert_output "$answer"
		assert_equal "$type $(head -c $((3 * bytes)) /dev/zero |
			"$BIN/rkcall" -m "$MNT" -e raw "type/$type" | wc -c)" "$type $((2 * bytes))"
	done < <(types)
}

@test "mount.rkfs(8)'s examples run as printed" {
	local mount=$BIN/mount.rkfs

	mkdir "$BATS_TEST_TMPDIR/bin"
	ln -s "$mount" "$BATS_TEST_TMPDIR/bin/mount.rkfs"
	PATH=$BATS_TEST_TMPDIR/bin:$PATH
	assert_transcript /mnt/rk "$(literal "$DOC/mount.rkfs.8" 1)"
	assert_transcript /mnt/rk "$(literal "$DOC/mount.rkfs.8" 2)"
	rk_up
	assert_transcript /mnt/rk "$(literal "$DOC/mount.rkfs.8" 3)"
	assert_daemon_exits
}

@test "mount.rkfs(8)'s fstab line mounts" {
	local line words

	line=$(grep -E '^/etc/rkfs/rkfs.conf /mnt/rk rkfs ' "$DOC/mount.rkfs.8")
	read -r -a words <<<"$line"
	# as mount(8) calls its helper
	"$BIN/mount.rkfs" "$TOP/etc/rkfs.conf" "$MNT" -o "rw,${words[3]}" 3>&-
	rk_find_daemon
	assert_value config/drain_timeout 1m
	umount "$MNT"
}
