# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# A container that runs the machine's own system, booted with systemd: an overlay of / whose upper
# part is memory, a machine-id of its own, and /dev/fuse. One for each bats file.
#
# $ROOT    its root as seen from here
# $LEADER  pid of its init as seen from here

bats_load_library bats-support
bats_load_library bats-assert

SOURCE=$(realpath "$BATS_TEST_DIRNAME/../..")
BIN=${BIN-$SOURCE/build}

# container_up: boot. Returns once systemd has started everything.
container_up() {
	local top=$BATS_FILE_TMPDIR/container nspawn state

	mkdir -p "$top/memory" "$top/root"
	mount -t tmpfs -o size=2g rkfs-test "$top/memory"
	mkdir "$top/memory/upper" "$top/memory/work"
	mount -t overlay -o "lowerdir=/,upperdir=$top/memory/upper,workdir=$top/memory/work" \
		rkfs-test "$top/root"
	ROOT=$top/root
	tr -d - </proc/sys/kernel/random/uuid >"$ROOT/etc/machine-id"
	# what the build machine enables for itself is no business of the test
	rm -rf "$ROOT"/etc/systemd/system/*.wants "$ROOT/var/log/journal"
	printf '[Journal]\nStorage=volatile\nRateLimitBurst=0\n' >"$ROOT/etc/systemd/journald.conf"
	systemd-nspawn --quiet --register=no --keep-unit --directory="$ROOT" --bind=/dev/fuse \
		--private-network --console=pipe --boot </dev/null >"$top/console" 2>&1 3>&- &
	nspawn=$!
	echo "$nspawn" >"$top/nspawn"
	for ((SECONDS = 0; SECONDS < 60; )); do
		LEADER=$(pgrep -P "$nspawn" | head -n 1)
		[[ -z $LEADER ]] ||
			state=$(in_container systemctl is-system-running --wait 2>/dev/null) || true
		[[ $state == running || $state == degraded ]] && break
		kill -0 "$nspawn" || break
	done
	if [[ $state != running && $state != degraded ]]; then
		cat "$top/console"
		fail "the container does not boot: ${state-no answer}"
	fi
	export ROOT LEADER
}

# container_down: switch it off and take it apart.
container_down() {
	local top=$BATS_FILE_TMPDIR/container nspawn

	nspawn=$(cat "$top/nspawn")
	if [[ -n $nspawn ]]; then
		in_container systemctl poweroff --force || true
		for ((SECONDS = 0; SECONDS < 30; )); do kill -0 "$nspawn" 2>/dev/null || break; done
		kill -KILL "$nspawn" 2>/dev/null || true
	fi
	umount -R -l "$top/root" || true
	umount -l "$top/memory" || true
}

# in_container COMMAND...: run it there, as its root.
in_container() {
	nsenter --target "$LEADER" --all -- env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
		LANG=C.UTF-8 "$@"
}

# sh_container SCRIPT [ARG...]
sh_container() {
	local script=$1

	shift
	in_container timeout 90 bash -euo pipefail -c "$script" sh "$@"
}

# install_there: what `make install` puts on a machine, with PREFIX=/usr. The files of a mount.
install_there() {
	make -s -C "$SOURCE" install BUILD="$BIN" DESTDIR="$ROOT" PREFIX=/usr \
		UNITDIR=/lib/systemd/system >/dev/null
}
