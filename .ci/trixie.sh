#!/bin/bash
# SPDX-License-Identifier: MIT
# Usage: .ci/trixie.sh [NAME=VALUE...]
# Build this tree and run make unit and make bats, with NAME=VALUEs, in a bare root of Debian trixie: with what
# .ci/deps.sh installs there and nothing else. Needs root and /dev/fuse. The root is made once, with
# debootstrap, and kept in $RKFS_CACHE (/var/cache/rkfs) for a month; a run leaves no trace in it. The last
# line is "N passed, N failed".
set -euo pipefail
cd "$(dirname "$0")/.."

suite=trixie
cache=${RKFS_CACHE-/var/cache/rkfs}
base=$cache/$suite
mirror=${DEBIAN_MIRROR-http://deb.debian.org/debian}

# in_root ROOT COMMAND...: with the processes, mounts and temporary files of its own that end with it
in_root() {
	local root=$1

	shift
	unshare --mount --pid --fork --kill-child --propagation private sh -euc '
		root=$1
		shift
		mount --rbind "$root" "$root" # a mount, so that it can become the root, for other namespaces too
		mount -t proc proc "$root/proc"
		mount --rbind /sys "$root/sys"
		mount --rbind /dev "$root/dev"
		mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
		cp /etc/resolv.conf "$root/etc/resolv.conf"
		[ -L "$root/etc/mtab" ] || ln -s ../proc/self/mounts "$root/etc/mtab" # as on every machine
		cd "$root"
		pivot_root . .
		umount -l .
		exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
			${http_proxy:+http_proxy="$http_proxy"} "$@"' sh "$root" "$@"
}

copy_tree() {
	mkdir -p "$1"
	tar -c --exclude=./build --exclude=./.git . | tar -x -C "$1"
}

# What a run needs is installed into the root that is kept, so that the next need not ask a server.
prepare() {
	mkdir -p "$cache"
	exec {lock}>"$cache/lock"
	flock "$lock"
	rm -rf "$base.new"
	[ -z "$(find "$base" -maxdepth 0 -mtime +30 2>/dev/null)" ] || rm -rf "$base"
	if [ ! -d "$base" ]; then
		debootstrap --variant=minbase "$suite" "$base.new" "$mirror" >"$cache/log" ||
			{ tail "$cache/log" >&2; return 1; }
		touch "$base.new"
		mv "$base.new" "$base"
	fi
	mkdir -p "$base/deps/.ci"
	cp .ci/deps.sh "$base/deps/.ci/"
	in_root "$base" /deps/.ci/deps.sh build test >"$cache/log" 2>&1 || { tail "$cache/log" >&2; return 1; }
	flock -u "$lock"
}

prepare
top=$(mktemp -d)
trap 'umount -l "$top/root" "$top/memory" 2>/dev/null; rm -rf --one-file-system "$top"' EXIT
mkdir "$top/memory" "$top/root"
mount -t tmpfs -o size=3g rkfs-trixie "$top/memory"
mkdir "$top/memory/upper" "$top/memory/work"
mount -t overlay -o "lowerdir=$base,upperdir=$top/memory/upper,workdir=$top/memory/work" rkfs-trixie "$top/root"
copy_tree "$top/root/rkfs"
in_root "$top/root" sh -c 'cd /rkfs && exec env TARGETS="unit bats" MAKE="make -j$(nproc)" \
	tests/run check build/results "$@"' sh NVCC=no "$@"
