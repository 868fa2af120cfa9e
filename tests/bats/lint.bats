#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# tests/lint/arrows, in a small tree to which each test adds one arrow that may not be.

bats_load_library bats-support
bats_load_library bats-assert

ARROWS=$(realpath "$BATS_TEST_DIRNAME/../lint/arrows")

# A tree whose arrows all run down: up/ stands on base/, and side/ on base/low alone.
setup() {
	cd "$BATS_TEST_TMPDIR" || return
	mkdir -p tests/lint up/files base/low side
	write tests/lint/tower '# a comment' 'up on base' '	up/roof' '	up/files up/porch.h' '' \
		'base' '	base/high' '	base/low' '' 'side on base/low' '	side'
	write base/low/ground.h 'int ground(void);'
	write base/low/ground.c '#include "base/low/ground.h"' 'int ground(void) { return 0; }'
	write base/high.h '#include "base/low/ground.h"' 'int high(void);'
	write base/high.c '#include "base/high.h"' 'int high(void) { return ground(); }'
	write up/porch.h 'int roof(void);'
	write up/files/a.c '#include "base/high.h"' 'int a(void) { return high(); }'
	write up/files/b.c 'int a(void);' 'int b(void) { return a(); }'
	write up/roof.c '#include "up/porch.h"' 'int b(void);' 'int roof(void) { return b(); }'
	write side/side.c '#include "base/low/ground.h"' 'int side(void) { return ground(); }'
}

# write FILE LINE...
write() {
	local file=$1

	shift
	printf '%s\n' "$@" >"$file"
}

# check: build all, then look at the arrows
check() {
	local file

	for file in {up,base,side}{,/*}/*.c; do
		[[ -e $file ]] || continue
		mkdir -p "build/obj/${file%/*}"
		"${CC-cc}" -Werror=implicit -I. -c -o "build/obj/${file%.c}.o" "$file" || return
	done
	run "$ARROWS"
}

# assert_problem SENTENCE: that and nothing else
assert_problem() {
	assert_failure 1
	assert_output "lint: $1"
}

@test "a tree whose arrows run down is in order" {
	check
	assert_success
	assert_output ""
}

@test "a header from above may not be included" {
	echo '#include "base/high.h"' >>base/low/ground.h
	write base/high.h 'int ground(void);' 'int high(void);'
	check
	assert_problem "base/low/ground.h may not include base/high.h: base/high stands above base/low"
}

@test "a function from above may not be called" {
	write base/low/ground.c 'int high(void);' 'int ground(void) { return 0; }' 'int other(void) { return high(); }'
	write base/high.c 'int high(void) { return 0; }'
	check
	assert_problem "base/low/ground.c may not use high of base/high.c: base/high stands above base/low"
}

@test "what stands beside may not be included" {
	echo '#include "up/porch.h"' >>up/files/a.c
	check
	assert_problem "up/files/a.c may not include up/porch.h: up/porch.h stands beside up/files"
}

@test "a stack uses only what it stands on" {
	echo '#include "base/high.h"' >>side/side.c
	echo 'int more(void) { return high(); }' >>side/side.c
	check
	assert_failure
	assert_line "lint: side/side.c may not include base/high.h: side/ stands on base/low"
	assert_line "lint: side/side.c may not use high of base/high.c: side/ stands on base/low"
	echo '#include "side/side.h"' >>base/low/ground.c
	write side/side.h ''
	check
	assert_line "lint: base/low/ground.c may not include side/side.h: base/ stands on nothing"
}

@test "files of a folder may not call each other in a circle" {
	write up/files/a.c 'int b(void);' 'int c(void);' 'int a(void) { return c(); }'
	write up/files/c.c 'int b(void);' 'int c(void) { return b(); }'
	check
	assert_problem "files call each other in a circle: up/files/a.c calls c of up/files/c.c, up/files/c.c calls b of \
up/files/b.c, up/files/b.c calls a of up/files/a.c"
}

@test "headers may not include each other in a circle" {
	write up/files/a.h '#pragma once' '#include "up/files/b.h"'
	write up/files/b.h '#pragma once' '#include "up/files/a.h"'
	check
	assert_problem "headers include each other in a circle: up/files/a.h, up/files/b.h"
}

@test "the tower names every file, and nothing that is not there" {
	write up/new.c ''
	rm up/porch.h
	sed -i 1d up/roof.c
	check
	assert_failure
	assert_line "lint: tests/lint/tower names up/porch.h, which is not there"
	assert_line "lint: up/new.c: tests/lint/tower does not say where up stands"
}

@test "a path from elsewhere than the top may not be included" {
	write base/high.c '#include "high.h"' 'int high(void) { return 0; }'
	check
	assert_problem 'base/high.c includes "high.h", which is no path from the top of the tree'
}

@test "what is not built, or changed since, is a problem" {
	check
	touch -d '+1 minute' side/side.c
	rm build/obj/up/files/b.o
	run "$ARROWS"
	assert_failure
	assert_line "lint: up/files/b.c is not built: make lint builds it"
	assert_line "lint: side/side.c was changed since it was built: make lint builds it"
}
