#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# README and man pages against the program: every file, field, verb, option and event is
# there, with the mode and the defaults that it has, and the examples run as printed.

load common

README=$BATS_TEST_DIRNAME/../../README.md
DOC=$BATS_TEST_DIRNAME/../../doc
TOP=$BATS_TEST_DIRNAME/../..

# "FIELD..." of --help
fields() {
	"$BIN/mount.rkfs" --help | sed -n '/^Configuration fields/,$ s/^  \([a-z_]*\)=.*/\1/p'
}

# "PATH MODE" of every file, as the pages call them
files() {
	local file

	(cd "$MNT" && find . -type f -printf '%P %m\n') |
		sed -E -e 's,^kernels/[^/]+/[^/]+/,kernels/DOMAIN/NAME/,' | sort -u
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

# code FILE N: the Nth ```console block of a Markdown file
code() {
	awk -v n="$2" '/^```console$/ { i++; inside = i == n; next } /^```$/ { inside = 0 } inside' "$1"
}

# literal FILE N: the Nth block of a man page that begins with a prompt; lines continued with
# a backslash are joined
literal() {
	awk -v n="$2" '
		/^\.Bd -literal/ { first = 1; next }
		/^\.Ed$/ { inside = 0 }
		first { first = 0; if (/^[#$] /) inside = ++i == n }
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

@test "every file is in rkfs(5) and in README, with its mode" {
	local missing=() path mode field

	rk_up
	while read -r path mode; do
		case $path in
		config/pending) ;;
		config/*)
			field=${path#config/}
			has "$DOC/rkfs.5" "^\.It Va $field\$" "$path"
			if awk -v field="$field" '/^\.It/ { inside = $2 == "Va" && $3 == field }
				inside && /; hot\.$/ { hot = 1 } END { exit !hot }' "$DOC/rkfs.5"; then
				assert_equal "$path $mode" "$path 640"
			else
				assert_equal "$path $mode" "$path 440"
			fi
			continue ;;
		esac
		has "$DOC/rkfs.5" "^\.It Pa $path Pq 0$mode\$" "$path"
	done < <(files)
	assert_nothing_missing "$DOC/rkfs.5"
	while read -r path mode; do
		case $path in
		config/pending) ;;
		config/*) continue ;;
		kernels/*/messages_*) path='kernels/DOMAIN/NAME/messages_\*' ;;
		esac
		has "$README" "^\|.*\`$path\`.* \| 0$mode \|" "$path"
	done < <(files)
	assert_nothing_missing "$README"
}

@test "the pages name no file that is not there" {
	local path

	rk_up
	for path in $(sed -n 's/^\.It Pa \([a-z][A-Za-z_./]*\) Pq .*/\1/p' "$DOC/rkfs.5") \
		$(sed -nE '/^## Files/,/^## Verbs/ s/^\| (`[^|]*) \| 0[0-7]+ \|.*/\1/p' "$README" |
			tr -d '`,*'); do
		path=${path/DOMAIN\/NAME/core/echo}
		case $path in
		*/messages_) continue ;;
		esac
		assert_file_exist "$MNT/${path/FIELD/preset}"
	done
}

@test "every field is in both pages, and nothing else is called one" {
	local missing=() field

	for field in $(fields); do
		has "$DOC/rkfs.5" "^\.It Va $field\$" "$field"
		has "$DOC/mount.rkfs.8" "^\.Va $field [,.]\$" "$field"
		has "$README" "^\| \`$field\` \|" "$field"
	done
	assert_nothing_missing "a page"
	assert_equal "$(sed -n 's/^\.It Va //p' "$DOC/rkfs.5")" "$(fields)"
}

@test "defaults and hot fields are as documented, for each preset" {
	local presets=(development production high_performance testing) i field value

	for i in 0 1 2 3; do
		rk_up "nostart,preset=${presets[i]}"
		for field in $(fields); do
			value=$(value "config/$field")
			value=${value:-empty}
			assert_equal "$field: $(awk -F' *[|] *' -v field="\`$field\`" -v i="$i" \
				'$2 == field { print $(i + 3) }' "$README")" "$field: $value"
			[[ $field != preset ]] || continue
			assert_equal "$field: $(awk -v field="$field" -v preset="${presets[i]}" '
				/^\.It/ { inside = $2 == "Va" && $3 == field }
				inside && /^Default: / {
					sub(/\.$/, "")
					gsub(/[;,]/, "")
					value = $2
					for (n = 3; n < NF; n += 2) if ($n == preset) value = $(n + 1)
					print value
				}' "$DOC/rkfs.5")" "$field: $value"
		done
		assert_equal "$(stat -c '%a %n' "$MNT"/config/* | sed -n 's,^640 .*/,,p')" \
			"$(sed -nE 's/^\| `([a-z_]+)` .*\| hot[^|]*\|$/\1/p' "$README" | sort)"
		umount "$MNT"
		assert_daemon_exits
	done
}

@test "every verb is in rkfs(5) and in README" {
	local missing=() verb

	rk_up
	assert_equal "$(verbs | wc -l)" 6
	for verb in $(verbs); do
		has "$DOC/rkfs.5" "^\.It Ic $verb( Op Ar SECS)?\$" "$verb"
		has "$README" "^\| \`$verb( \[SECS\])?\` \|" "$verb"
	done
	assert_nothing_missing "a page"
}

@test "every event is in rkfs(5)" {
	local missing=() name

	# names are the CamelCase strings of these files
	for name in $(grep -ohE '"[A-Z][A-Za-z]+\\?"' "$TOP"/runtime/runtime*.c "$TOP/fs/attr_events.c" |
		tr -d '"\\' | sort -u); do
		has "$DOC/rkfs.5" "^\.It Sy (.* , )?$name( |\$)" "$name"
	done
	assert_nothing_missing rkfs.5
	for name in $(sed -n '/^\.Sh EVENTS/,/^\.Sh CONF/ s/^\.It Sy //p' "$DOC/rkfs.5" |
		sed 's/ Pq .*//' | tr -d ,); do
		grep -qE "\"$name\\\\?\"" "$TOP"/runtime/runtime*.c "$TOP/fs/attr_events.c" ||
			fail "no event is called $name"
	done
}

@test "an event has the fields that rkfs(5) says" {
	local name want

	rk_up hot_reload_enabled=yes
	run call core/delay '{}'
	control reload
	echo 7 >"$MNT/config/max_queue_depth"
	control drain
	wait_for drained
	control reset
	for name in KernelRegistered KernelActivated Started Draining Stopped MessageRejected \
		ConfigReloaded ConfigChanged WorkerStarted Reset Starting; do
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
	for word in $(sed -n '/^Options of/,/^Accepted/ s/^  \([a-z_]*\) .*/\1/p' <<<"$help") \
		$(sed -n '/^Accepted/{n;p;}' <<<"$help" | tr -d '*'); do
		has "$DOC/mount.rkfs.8" "^\.It Cm (.* )?$word\*?( |\$)" "$word"
	done
	[[ $(sed -n '/^Accepted/{n;p;}' <<<"$help" | wc -w) -gt 20 ]]
	assert_nothing_missing mount.rkfs.8
}

@test "README's first screen runs as printed" {
	local text

	[[ $(awk '/^```$/ { print NR; exit }' "$README") -le 24 ]] || fail "it is no screen"
	text=$(code "$README" 1)
	# what make up mounts, without building anew what is under test
	run env -u MAKEFLAGS make -n -C "$TOP" up "MNT=$MNT"
	assert_success
	assert_line "build/mount.rkfs 'etc/rkfs.conf' '$MNT'"
	cat >"$BATS_TEST_TMPDIR/make" <<-'EOF'
		#!/bin/sh
		case $1 in
		up) exec "$BIN/mount.rkfs" "$TOP/etc/rkfs.conf" "$MNT" ;;
		*) exec env -u MAKEFLAGS make --no-print-directory -C "$TOP" "$@" "MNT=$MNT" ;;
		esac
	EOF
	chmod +x "$BATS_TEST_TMPDIR/make"
	export TOP TOP_MAKE=$BATS_TEST_TMPDIR/make
	assert_equal "$(grep -c sudo <<<"$text")" 2
	# a root shell already
	text=$(sed -e '/^\$ sudo -s$/d' -e 's/^\$ sudo make/# make/' <<<"$text")
	assert_transcript /mnt/rk "$text"
	run is_mounted
	assert_failure
}

@test "README's calls run as printed" {
	rk_up
	assert_transcript /mnt/rk "$(code "$README" 2)"
	run python3 - <<<"$(awk '/^```python$/ { p = 1; next } /^```$/ { p = 0 } p' "$README" |
		sed "s,/mnt/rk,$MNT,")"
	assert_output "$(sed -n 's/.*print(call.read()) *# //p' "$README")"
}

@test "rkfs(5)'s examples run as printed" {
	local n

	rk_up "" "$TOP/etc/rkfs.conf"
	cd "$MNT" # the page's paths
	for n in 1 2 3 4; do
		assert_transcript /mnt/rk "$(literal "$DOC/rkfs.5" $n)"
	done
	assert_equal "$(literal "$DOC/rkfs.5" 5)" ""
	cd /
	assert_value config/log_level debug
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
