#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The Debian package, in a tree that debootstrap makes: nothing there but Debian's base.

bats_load_library bats-support
bats_load_library bats-assert

MNT=/mnt/rk

mirror() {
	apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1
}

setup_file() {
	SOURCE=$(realpath "$BATS_TEST_DIRNAME/../..")
	TREE=$BATS_FILE_TMPDIR/tree
	mkdir "$TREE"
	export SOURCE TREE
	# on memory: dpkg syncs every file
	mount -t tmpfs -o size=4g rkfs-test "$TREE"
	make -C "$SOURCE" deb >"$BATS_FILE_TMPDIR/build" 2>&1 || { cat "$BATS_FILE_TMPDIR/build"; return 1; }
	DEB=$(echo "$SOURCE"/build/deb/rkfs_*_amd64.deb)
	export DEB
	debootstrap --variant=minbase --include=mount bookworm "$TREE" "$(mirror)" \
		>"$BATS_FILE_TMPDIR/debootstrap" 2>&1 || { tail "$BATS_FILE_TMPDIR/debootstrap"; return 1; }
	printf '#!/bin/sh\nexit 101\n' >"$TREE/usr/sbin/policy-rc.d"
	chmod +x "$TREE/usr/sbin/policy-rc.d"
	cp /etc/resolv.conf /etc/hosts "$TREE/etc/"
	cp "$DEB" "$TREE/tmp/rkfs.deb"
	newer "$TREE/tmp/rkfs-newer.deb"
	mount -t proc proc "$TREE/proc"
	# debootstrap made the others. The machine's own /dev is not bound there: bats removes what a run
	# that is killed has left.
	mknod -m 666 "$TREE/dev/fuse" c 10 229
}

# A package of the next version: the same but for its number.
newer() {
	local dir=$BATS_FILE_TMPDIR/newer

	[[ -d $dir ]] || dpkg-deb --raw-extract "$DEB" "$dir"
	sed -i 's/^Version: [0-9.]*$/&+1/' "$dir/DEBIAN/control"
	dpkg-deb --build --root-owner-group "$dir" "$1" >/dev/null
}

teardown_file() {
	chroot "$TREE" umount -l "$MNT" 2>/dev/null || true
	umount "$TREE/proc"
	umount "$TREE"
}

# newest NAME: the pid of the newest process of that name that has its root in the tree
newest() {
	local pid newest=
	for pid in $(pgrep -x "$1"); do
		[[ $(readlink "/proc/$pid/root") != "$TREE" ]] || newest=$pid
	done
	echo "$newest"
}

# in_tree SCRIPT
in_tree() {
	timeout 300 chroot "$TREE" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin \
		DEBIAN_FRONTEND=noninteractive LANG=C.UTF-8 bash -euo pipefail -c "$1"
}

teardown() {
	[[ ! -e $BATS_FILE_TMPDIR/container/nspawn ]] || container_down
	in_tree "umount $MNT 2>/dev/null || umount -l $MNT 2>/dev/null || true"
}

apt_install() {
	in_tree "apt-get install -q -y --no-install-recommends $1"
}

# deps_of PACKAGE: .ci/deps.sh in the tree, with nothing but PACKAGE in its table.
deps_of() {
	sed "/^system  *[a-z]/{/ $1 /!d}" "$SOURCE/.ci/deps.sh" >"$TREE/tmp/deps.sh"
	chmod +x "$TREE/tmp/deps.sh"
	in_tree '/tmp/deps.sh system'
}

# A daemon that Debian starts where it is installed; its package is in the tests' table.
assert_munge_is_quiet() {
	in_tree 'command -v munged'
	run in_tree 'ls /run/munge'
	refute_output --partial munged.pid
	run in_tree 'find /etc/systemd/system /etc/rc?.d -name "munge.service" -o -name "S*munge"'
	assert_output ''
}

@test "deps.sh starts no daemon, enables none, and leaves the policy as it was" {
	mv "$TREE/usr/sbin/policy-rc.d" "$BATS_TEST_TMPDIR/policy"
	in_tree 'apt-get update -q'
	# asked as invoke-rc.d does, whether or not the daemon could run in this tree
	echo 'DPkg::Pre-Invoke {"/usr/sbin/policy-rc.d munge start; echo $? >/tmp/policy-said";};' \
		>"$TREE/etc/apt/apt.conf.d/99-ask-policy"
	deps_of munge
	rm "$TREE/etc/apt/apt.conf.d/99-ask-policy"
	assert_equal "$(cat "$TREE/tmp/policy-said")" 101
	assert_munge_is_quiet
	run in_tree 'ls /usr/sbin/policy-rc.d*'
	assert_failure
	in_tree 'apt-get purge -q -y munge'

	# one that allows, and what a run leaves that was killed while it installed
	in_tree 'echo "exit 0 # the machine" >/usr/sbin/policy-rc.d.saved'
	in_tree "grep '# of .ci' /tmp/deps.sh | cut -d \"'\" -f 2 >/usr/sbin/policy-rc.d"
	deps_of munge
	assert_munge_is_quiet
	run in_tree 'cat /usr/sbin/policy-rc.d; ls /usr/sbin/policy-rc.d*'
	assert_output 'exit 0 # the machine
/usr/sbin/policy-rc.d'
	in_tree 'apt-get purge -q -y munge'
	mv "$BATS_TEST_TMPDIR/policy" "$TREE/usr/sbin/policy-rc.d"
}

@test "lintian finds no errors" {
	run lintian --allow-root --fail-on error --tag-display-limit 0 "$DEB"
	echo "$output"
	assert_success
	refute_line --regexp '^E:'
}

@test "the driver is a suggestion, and no binary needs a CUDA library" {
	run dpkg-deb --field "$DEB" Depends
	refute_output --regexp 'cuda|nvidia|nvml'
	run dpkg-deb --field "$DEB" Suggests
	assert_output --partial libcuda1
}

@test "install: it runs, everything is where it belongs" {
	in_tree 'apt-get update -q'
	apt_install /tmp/rkfs.deb
	run in_tree 'dpkg -L rkfs'
	for file in /sbin/mount.rkfs /usr/libexec/rkfs/rk-worker /usr/bin/rkcall /etc/rkfs/rkfs.conf \
		/lib/systemd/system/rkfs@.service /lib/systemd/system/rkfs-nvidia.service /usr/share/man/man8/mount.rkfs.8.gz \
		/usr/share/man/man5/rkfs.5.gz /usr/share/man/man5/rkfs.conf.5.gz \
		/usr/share/man/man5/rkfs-kernel.5.gz /usr/share/man/man1/rkcall.1.gz \
		/usr/share/bash-completion/completions/rkcall /usr/share/rkfs/rkfs.rules.yml /usr/include/rkfs/ring.cuh; do
		assert_line "$file"
	done
	in_tree "mkdir -p $MNT; mount -t rkfs none $MNT"
	run in_tree "cat $MNT/state; rkcall core/vector-add '{\"a\":[1],\"b\":[2]}'"
	assert_line --index 0 Running
	assert_line --index 1 '{"c":[3.0]}'
	in_tree "umount $MNT"
}

@test "upgrade while mounted: the daemon is left alone, and its worker stays the old one" {
	local before after

	in_tree 'dpkg -i /tmp/rkfs.deb'
	in_tree "mount -t rkfs none $MNT"
	before=$(newest mount.rkfs)
	in_tree 'dpkg -i /tmp/rkfs-newer.deb'
	after=$(newest mount.rkfs)
	assert_equal "$after" "$before"
	# a worker that dies now is followed by one of the version that is running
	in_tree "
		kill -KILL \$(grep -o '\"event\":\"WorkerStarted\".*' $MNT/events | sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/')
		timeout 60 grep -m 2 WorkerStarted $MNT/events_follow >/dev/null"
	run in_tree "rkcall core/vector-add '{\"a\":[1],\"b\":[2]}'"
	assert_output '{"c":[3.0]}'
	run readlink "/proc/$(newest rk-worker)/exe"
	assert_output --partial '(deleted)'
	in_tree "umount $MNT"
}

@test "a configuration file that was changed survives upgrade and remove, purge takes it" {
	in_tree 'dpkg -i /tmp/rkfs.deb; echo "; mine" >>/etc/rkfs/rkfs.conf'
	in_tree 'dpkg -i --force-confold /tmp/rkfs-newer.deb; grep -q mine /etc/rkfs/rkfs.conf'
	in_tree 'dpkg -r rkfs; grep -q mine /etc/rkfs/rkfs.conf; ! test -e /sbin/mount.rkfs'
	in_tree 'dpkg -P rkfs; ! test -e /etc/rkfs'
	run in_tree 'find / -xdev -name "*rkfs*" -not -path "/tmp/*" -not -path "/var/log/*" -not -path "/proc/*"'
	assert_output ''
}

@test "remove stops the instances that systemd runs, and purge takes their links along" {
	load container
	container_up
	cp "$DEB" "$ROOT/root/rkfs.deb"
	newer "$ROOT/root/rkfs-newer.deb"
	sh_container "
		dpkg -i /root/rkfs.deb
		systemctl enable --now rkfs@mnt-rk rkfs@srv-gpu
		dpkg -i /root/rkfs-newer.deb"
	# an upgrade leaves both alone
	run sh_container 'findmnt --noheadings --list --output TARGET --types fuse.rkfs | sort'
	assert_output $'/mnt/rk\n/srv/gpu'
	# whom the package made for it, and none of root's groups
	run sh_container 'ps -o user=,group= -C rk-worker'
	assert_output --regexp $'^rkfs +rkfs\nrkfs +rkfs$'
	sh_container 'dpkg -r rkfs'
	run sh_container 'findmnt --types fuse.rkfs; pgrep -x mount.rkfs || pgrep -x rk-worker || true'
	assert_output ''
	# as it is before a purge, so that an installation brings them back
	run sh_container 'ls /etc/systemd/system/multi-user.target.wants'
	assert_line rkfs@mnt-rk.service
	sh_container 'dpkg -P rkfs'
	run sh_container "find /etc/systemd /var/lib/systemd -name 'rkfs*'"
	assert_output ''
}
