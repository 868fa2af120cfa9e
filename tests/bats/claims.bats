#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# What the documents claim of kernels, limits, defaults, packages, folders and make's targets, against the
# program and its sources. Files, fields, verbs, options and events are doc.bats' part.

load common

TOP=$(realpath "$BATS_TEST_DIRNAME/../..")
README=$TOP/README.md
ARCHITECTURE=$TOP/doc/ARCHITECTURE.md

# section FILE TITLE: its lines in a Markdown file
section() {
	awk -v title="## $2" '/^## / { inside = $0 == title } inside' "$1"
}

# page_section TITLE: its text in rkfs(5), on one line
page_section() {
	awk -v title=".Sh $1" '/^\.Sh / { inside = $0 == title; next } inside' "$TOP/doc/rkfs.5" |
		sed -E -e 's/^\.[A-Z][a-z] //' -e 's/^\.It /. /' | paste -sd' ' | sed -E 's/ ([.,;])/\1/g'
}

# words: what stands between backticks on stdin, a line each
words() {
	grep -oE '`[^`]+`' | tr -d '`'
}

# "DOMAIN/NAME INPUTS -> OUTPUTS." of each kernel, sorted
signatures() {
	local dir

	for dir in "$MNT"/kernels/*/*; do
		echo "${dir#"$MNT/kernels/"} $(paste -sd, "$dir/inputs") -> $(paste -sd, "$dir/outputs")." |
			sed 's/,\([a-z_]* = \)/, \1/g'
	done
}

@test "the kernels that ship are in rkfs(5), with their signature, and nothing else" {
	rk_up
	run signatures
	assert_line "core/vector-add a = f32[n], b = f32[n] -> c = f32[n]."
	# the first sentence of each item
	assert_equal "$(awk '
		/^\.S[hs]/ { inside = $0 == ".Sh KERNELS" }
		!inside { next }
		/^\.It/ { item = $2; next }
		item { item = item " " $0 }
		item && /\.$/ { print item; item = "" }' "$TOP/doc/rkfs.5")" "$output"
}

@test "the kernels that ship are in README, and nothing else" {
	rk_up
	assert_equal "$(section "$README" Files | sed -n '/^Shipped kernels:/,/\./p' | words | grep / | sort)" \
		"$(cd "$MNT/kernels" && printf '%s\n' */* | sort)"
}

@test "rkfs(5)'s backends are those that there are" {
	run "$BIN/mount.rkfs" -o primary_backend=nonsense none "$MNT"
	assert_failure
	assert_equal "$(sed -n '/^\.It Backends/,/^\.It Kernels/ s/^\.Ql \([a-z]*\).*/\1/p' "$TOP/doc/rkfs.5" |
		paste -sd,)" "$(sed -n 's/.*must be one of //p' <<<"$output" | tr -d ' ')"
}

@test "what rkfs(5)'s text says of defaults is so in production" {
	local field value count=0

	rk_up "nostart,preset=production"
	while read -r field value; do
		assert_value "config/$field" "$value"
		count=$((count + 1))
	done < <(sed -nE 's/^\.Va ([a-z_]+) Pq ([0-9]+[KMGTsmh]).*/\1 \2/p' "$TOP/doc/rkfs.5")
	((count >= 3)) || fail "only $count defaults were found"
}

# macro HEADER NAME: its value
macro() {
	local text

	text=$(printf '#include "%s"\nIT_IS %s\n' "$1" "$2" | "${CC-cc}" -D_GNU_SOURCE -I"$TOP" -E -P -x c -)
	echo $((${text##*IT_IS}))
}

@test "rkfs(5)'s limits are those of the sources" {
	local limits ports

	limits=$(page_section LIMITS)
	ports=$(macro runtime/kernel/manifest.h RK_MAX_PORTS)
	grep -qF "$ports inputs, $ports outputs and $ports scratches of at most $(
		macro runtime/base/tensor.h RK_MAX_RANK) axes, and $(macro runtime/base/wire.h RK_WIRE_ARGS_MAX) arguments" \
		<<<"$limits" || fail "a kernel's: $ports"
	grep -qF "worker_threads, at most $(macro runtime/base/wire.h RK_WIRE_THREADS_MAX), run" <<<"$limits" ||
		fail "threads"
	grep -qF "$(($(macro runtime/base/wire.h RK_WIRE_KERNELS_MAX) - 1)) can be registered" <<<"$limits" ||
		fail "kernels"
	grep -qF "$(macro runtime/events.h RK_EVENTS_RETAINED) are retained, and $(
		macro runtime/events.h RK_EVENTS_HELD) while events is open" <<<"$limits" || fail "events"
	grep -qF "lines of at most $(macro runtime/base/ini_file.h RK_INI_LINE_MAX) bytes" <<<"$limits" || fail "lines"
}

@test "ARCHITECTURE's packages are those that .ci/deps.sh installs" {
	local package table count=0

	table=$("$TOP/.ci/deps.sh" --list | awk '{ print $2 }')
	# nobody installs the toolkit
	for package in $(section "$ARCHITECTURE" Libraries | sed -n '/^| library |/,/^$/{1,2d;p}' | grep -v '^| CUDA' |
		awk -F' *[|] *' '/^\| [^l-]/ || /^\| lib[^r]/ { print $3 }' | tr -d ,); do
		grep -qxF "$package" <<<"$table" || fail "$package is not installed by .ci/deps.sh"
		count=$((count + 1))
	done
	((count >= 12)) || fail "only $count packages were found"
}

@test "ARCHITECTURE names every folder, and nothing that is not there" {
	local folder name count=0

	for folder in "$TOP"/{*,fs/*,runtime/*,gpu/*,tests/*,etc/kernels.d}/; do
		folder=${folder#"$TOP/"}
		[[ $folder != build/* ]] || continue
		grep -qF "\`$folder\`" "$ARCHITECTURE" || fail "ARCHITECTURE lacks $folder"
	done
	for name in $(cat "$ARCHITECTURE" "$TOP/CONTRIBUTING.md" | words | grep -E '^(fs|runtime|gpu|tests|etc|doc|\.ci)/'); do
		[[ -e $TOP/$name ]] || fail "there is no $name"
	done
	# in the paragraph of a folder, the files and modules of it
	while read -r folder name; do
		compgen -G "$TOP/$folder$name*" >/dev/null || fail "ARCHITECTURE: $folder has no $name"
		count=$((count + 1))
	done < <(section "$ARCHITECTURE" 'The rooms' | awk '
		/^### / { folder = substr($2, 1, length($2) - 1) }
		{ n = split($0, part, "`") }
		/^`[a-z_\/]+\/`/ { folder = part[2] }
		folder {
			for (i = 2; i <= n; i += 2)
				if (part[i] ~ /^[a-z_]+(\.[a-z]+)?\*?$/ && sub(/\*?$/, "", part[i]))
					print folder, part[i]
		}')
	((count >= 20)) || fail "only $count files were found"
}

@test "ARCHITECTURE's table of locks has every lock, by its file" {
	local count=0 locks file

	while read -r locks file; do
		assert_equal "$file $(section "$ARCHITECTURE" Locks | grep -E '^(\| `[a-z_.]+` |`rktop`)' |
			grep -cF "\`$file\`")" "$file $locks"
		count=$((count + locks))
	done < <(cd "$TOP" && grep -rE '^\s*(static )?pthread_(mutex|rwlock)_t( [^*]|$)' fs runtime gpu --include='*.[ch]' |
		cut -d: -f1 | sort | uniq -c)
	((count >= 30)) || fail "only $count locks were found"
}

@test "the make targets of README and CONTRIBUTING are in make help, and each knob of it is used" {
	local help name

	help=$(make --no-print-directory -C "$TOP" help)
	for name in $(cat "$README" "$TOP/CONTRIBUTING.md" | words | sed -nE 's/^(sudo )?make ([a-z-]+).*/\2/p'); do
		grep -qE "^  $name  " <<<"$help" || fail "make help lacks $name"
	done
	for name in $(sed -n '/^Knobs/,$ s/^  \([^ ].*=\).*/\1/p' <<<"$help" | grep -oE '[A-Z_]+='); do
		grep -qE "\\$\(${name%=}\)|(ifdef|\\$\(if) ?.*\b${name%=}\b|\b${name%=} +\?=" \
			"$TOP/Makefile" "$TOP"/gpu/cuda.mk || fail "make does not read $name"
	done
}
