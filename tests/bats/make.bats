#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# make up and make down, in a copy of this tree that belongs to somebody else; and what else no other test runs.

load common

TOP=$(realpath "$BATS_TEST_DIRNAME/../..")
NOBODY=65534

# copy_tree: $TREE, with what is built, so that little is left to build
copy_tree() {
	TREE=$(mktemp -d)
	chmod 755 "$TREE"
	tar -C "$TOP" -c --exclude=./.git --exclude=./build/{asan,bench,deb,fuzz,replay,results,tsan,unit} . |
		tar -C "$TREE" -xp
	rm -f "$TREE/build/rkcall"
	chown -R "$NOBODY:$NOBODY" "$TREE"
	cd "$TREE"
}

eval "common_$(declare -f teardown)"
teardown() {
	cd /
	[[ -z ${TREE-} ]] || rm -rf "$TREE"
	[[ -z ${PLACE-} ]] || umount -l "$PLACE" 2>/dev/null || true
	common_teardown
}

# make_there [ARG...]: as a user calls it, with the flags of this build
make_there() {
	local flags=()

	! grep -q -e -Werror "$TOP/build/flags" || flags=(WERROR=1)
	env -u MAKEFLAGS -u MAKELEVEL -u MAKE_TERMERR -u MAKE_TERMOUT make --no-print-directory \
		"${flags[@]}" "$@" 3>&-
}

as_owner() {
	setpriv --reuid="$NOBODY" --regid="$NOBODY" --clear-groups -- "$@"
}

@test "what sudo make up builds is the user's, whose own make then works" {
	copy_tree
	run make_there up "MNT=$MNT"
	assert_success
	assert_line "rkfs is mounted at $MNT. Try:"
	rk_find_daemon
	assert_file_executable build/rkcall
	assert_equal "$(find build ! -uid "$NOBODY")" ""
	touch fs/client/rkcall.c
	export -f make_there
	export TOP
	run as_owner env HOME="$TREE" bash -c make_there
	assert_success
	assert [ build/rkcall -nt fs/client/rkcall.c ]
	umount "$MNT"
	await_exit "$DAEMON"
}

@test "what a failing make of root's leaves behind is the user's too" {
	copy_tree
	echo 'no C' >>fs/client/rktop.c
	run make_there -k all
	assert_failure
	assert_file_executable build/rkcall
	assert_equal "$(find build ! -uid "$NOBODY")" ""
}

@test "make up where it is mounted says so; make down finds a name with blanks" {
	PLACE=$BATS_TEST_TMPDIR/$'a\\040b  c\td'
	run make_there -C "$TOP" up "MNT=$PLACE"
	assert_success
	rk_find_daemon
	run make_there -C "$TOP" up "MNT=$PLACE"
	assert_success
	assert_output "rkfs is mounted at $PLACE already; its state is Running"
	ln -s "$PLACE" "$BATS_TEST_TMPDIR/link"
	run make_there -C "$TOP" up "MNT=$BATS_TEST_TMPDIR/link"
	assert_success
	assert_output "rkfs is mounted at $BATS_TEST_TMPDIR/link already; its state is Running"
	run make_there -C "$TOP" down "MNT=$PLACE"
	assert_success
	assert_output ""
	await_exit "$DAEMON"
	run make_there -C "$TOP" down "MNT=$PLACE"
	assert_success
	assert_output "no rkfs is mounted at $PLACE"
}

@test "make up mounts anew where a daemon was killed" {
	run make_there -C "$TOP" up "MNT=$MNT"
	assert_success
	rk_find_daemon
	kill -KILL "$DAEMON"
	await_exit "$DAEMON"
	run make_there -C "$TOP" up "MNT=$MNT"
	assert_success
	assert_line "rkfs is mounted at $MNT. Try:"
	rk_find_daemon
	assert_value state Running
}

@test "make deps does nothing where nothing is missing" {
	run make_there -C "$TOP" deps
	assert_success
	assert_output ""
}

@test "make uninstall takes away what make install put there, but for the configuration; make clean what is built" {
	local there=$BATS_TEST_TMPDIR/there

	copy_tree
	run make_there install "DESTDIR=$there"
	assert_success
	assert_file_executable "$there/sbin/mount.rkfs"
	run make_there uninstall "DESTDIR=$there"
	assert_success
	assert_equal "$(find "$there" ! -type d)" "$there/etc/rkfs/rkfs.conf"
	run make_there clean
	assert_success
	assert_not_exist build
}

@test "every target of make help is run by CI" {
	local target runs

	# check's own, and what these depend on; the steps of CI; what tests run
	runs="all kernels $(sed -n 's/.*TARGETS-\(.*\)}; do/\1/p' "$TOP/tests/run")
		$(sed -nE 's/^(.* )?(step|suite) ([a-z-]+).*/\3/p' "$TOP/.ci/run")
		$(sed -nE 's/.*(make_there|make)( --?[a-z-]+)*( -C "[^"]*")? ([a-z]+).*/\4/p' \
			"$TOP"/tests/bats/{make,claims}.bats "$TOP"/tests/system/*.bats)"
	for target in $(make --no-print-directory -C "$TOP" help | sed -n '/^Targets/,/^$/ s/^  \([a-z-]*\) .*/\1/p'); do
		grep -qw -e "$target" <<<"$runs" || fail "nobody runs make $target"
	done
}

@test "the programs are built so that a mistake in C ends them" {
	local program

	if sanitized; then return; fi # has means of its own
	for program in mount.rkfs rk-worker rkcall rktop; do
		assert_equal "$program $(readelf -hW "$BIN/$program" | awk '/^ *Type:/ { print $2 }')" "$program DYN"
		run readelf -dlsW "$BIN/$program"
		assert_line --regexp 'FLAGS_1.* NOW PIE'
		assert_line --regexp '^ *GNU_RELRO '
		assert_line --regexp 'GNU_STACK .* RW '
		assert_line --regexp '__stack_chk_fail'
		assert_line --regexp '__(snprintf|vsnprintf|memcpy|fprintf|printf)_chk'
	done
}
