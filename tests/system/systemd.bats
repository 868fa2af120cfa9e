#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# rkfs@.service on a system that really boots. Its units are installed as `make install` does.

load ../bats/common
load container

MNT=/mnt/rk
UNIT=rkfs@mnt-rk.service

setup_file() {
	load container
	container_up
	install_there
	in_container systemctl daemon-reload
}

teardown_file() {
	load container
	LEADER=$(pgrep -P "$(cat "$BATS_FILE_TMPDIR/container/nspawn")" | head -n 1)
	container_down
}

setup() {
	sh_container 'printf "[runtime]\npreset = development\nhot_reload_enabled = yes\nworker_threads = 2\n" >/etc/rkfs/rkfs.conf'
	in_container systemctl reset-failed
	in_container systemctl start "$UNIT"
}

teardown() {
	in_container systemctl stop "$UNIT" || true
	in_container journalctl --no-pager -u "$UNIT" -n 60 || true
}

# property NAME: what systemd knows of the unit.
property() {
	in_container systemctl show -P "$1" "$UNIT"
}

@test "start returns when the runtime is Running, and the mount is everybody's" {
	assert_equal "$(in_container cat $MNT/state)" Running
	assert_equal "$(in_container cat $MNT/health/ready)" 1
	assert_equal "$(property ActiveState)" active
	assert_equal "$(property StatusText)" Running
	# another process of the system, with the mounts that the system has
	run in_container systemd-run --quiet --pipe --wait findmnt --noheadings --output FSTYPE $MNT
	assert_output fuse.rkfs
}

@test "a start that fails says why, in status and journal, and mounts nothing" {
	in_container systemctl stop "$UNIT"
	sh_container 'printf "[runtime]\npreset = high_performance\nhealth = x\n" >/etc/rkfs/rkfs.conf'
	run in_container systemctl start "$UNIT"
	assert_failure
	in_container systemctl stop "$UNIT"
	run in_container journalctl --no-pager -o cat -u "$UNIT"
	assert_output --partial 'rkfs.conf:3: health: '
	run in_container findmnt $MNT
	assert_failure
}

@test "reload applies the hot fields" {
	sh_container 'printf "[runtime]\npreset = development\nmax_queue_depth = 77\n" >/etc/rkfs/rkfs.conf'
	in_container systemctl reload "$UNIT"
	sh_container "until [ \"\$(cat $MNT/config/max_queue_depth)\" = 77 ]; do :; done"
	assert_equal "$(property ActiveState)" active
}

@test "status follows the state" {
	sh_container "echo drain >$MNT/control; cat $MNT/wait/stopped"
	sh_container "until [ \"\$(systemctl show -P StatusText $UNIT)\" = Stopped ]; do :; done"
	sh_container "echo reset >$MNT/control; echo start >$MNT/control; cat $MNT/wait/running"
	sh_container "until [ \"\$(systemctl show -P StatusText $UNIT)\" = Running ]; do :; done"
}

@test "stop drains: a call under way gets its answer, and nothing is left" {
	run sh_container "
		mkfifo /run/go
		(exec 4<>$MNT/kernels/core/delay/call.json; echo '{\"ms\":1500}' >&4; echo >/run/go; cat <&4) &
		read -r _ </run/go
		until [ \"\$(cat $MNT/stats/messages_in_flight)\" = 1 ]; do :; done
		systemctl stop $UNIT
		wait \$!
		rm /run/go"
	assert_success
	assert_output --regexp '^\{"waited_ms":1[5-9][0-9][0-9]\}$'
	run in_container findmnt $MNT
	assert_failure
	assert_equal "$(property ActiveState)" inactive
	assert_equal "$(property Result)" success
	run in_container pgrep -x rk-worker
	assert_failure
}

@test "kill -9 of the daemon: systemd starts another, and the mount is whole again" {
	local old

	old=$(property MainPID)
	sh_container "kill -KILL $old"
	sh_container "
		until [ \"\$(systemctl show -P MainPID $UNIT)\" != $old ] &&
			[ \"\$(systemctl is-active $UNIT)\" = active ]; do :; done"
	assert_equal "$(in_container cat $MNT/state)" Running
	assert_equal "$(in_container findmnt --noheadings --output TARGET --list --type fuse.rkfs | wc -l)" 1
	run in_container rkcall --mount $MNT core/vector-add '{"a":[1],"b":[2]}'
	assert_output '{"c":[3.0]}'
	assert_equal "$(property NRestarts)" 1
}

@test "a dead mount that another daemon left does not keep the unit from starting" {
	in_container systemctl stop "$UNIT"
	sh_container "
		mount.rkfs none $MNT
		kill -KILL \$(pgrep -x mount.rkfs)
		until ! cat $MNT/state 2>/dev/null; do :; done
		systemctl start $UNIT"
	assert_equal "$(in_container cat $MNT/state)" Running
	assert_equal "$(in_container findmnt --noheadings --output TARGET --list --type fuse.rkfs | wc -l)" 1
}

@test "a runtime that somebody else mounted there is left alone by a start that fails" {
	in_container systemctl stop "$UNIT"
	in_container mount.rkfs none $MNT
	run in_container systemctl start "$UNIT"
	assert_failure
	in_container systemctl stop "$UNIT"
	assert_equal "$(in_container cat $MNT/state)" Running
	# nor where it is stopped for a while
	sh_container "set +o pipefail; $(declare -f freeze); freeze \$(pgrep -x mount.rkfs)"
	run in_container systemctl start "$UNIT"
	assert_failure
	in_container systemctl stop "$UNIT"
	sh_container 'kill -CONT $(pgrep -x mount.rkfs)'
	assert_equal "$(in_container cat $MNT/state)" Running
	in_container umount $MNT
	run in_container ls -A $MNT
	assert_output ''
}

@test "two instances beside each other, each with its own configuration, whatever their paths" {
	local other='/srv/gpu-1 $HOME' unit

	unit=rkfs@$(in_container systemd-escape --path "$other").service
	sh_container 'name=${1#rkfs@}
		printf "[runtime]\npreset = testing\nmax_queue_depth = 33\n" >"/etc/rkfs/${name%.service}.conf"
		systemctl start "$1"' "$unit"
	assert_equal "$(in_container cat "$other/config/max_queue_depth")" 33
	assert_equal "$(in_container cat $MNT/config/preset)" development
	in_container systemctl reload "$UNIT"
	in_container systemctl stop "$UNIT"
	assert_equal "$(in_container cat "$other/state")" Running
	in_container systemctl stop "$unit"
	run in_container findmnt --types fuse.rkfs
	assert_output ''
}

@test "journal lines have priorities" {
	run sh_container "
		echo reset >$MNT/control 2>/dev/null || true
		journalctl --sync
		journalctl --no-pager -u $UNIT -o json | jq -r '[.PRIORITY, .MESSAGE] | @tsv'"
	assert_success
	assert_line --regexp $'^6\tstate Running \\(ready\\)$'
	assert_line --regexp $'^4\treset from uid 0 pid [0-9]+ refused: '
	refute_line --partial '<6>'
}

@test "the nodes of every card are made before the daemon starts" {
	in_container systemctl stop "$UNIT"
	# the cards show once the module is loaded, which is what the first run does
	sh_container '
		mount -t tmpfs tmpfs /proc/driver
		printf "#!/bin/sh\n%s\n" "echo \"\$*\" >>/run/ran; [ -e /proc/driver/nvidia ] || mv /proc/driver/unloaded /proc/driver/nvidia
" >/usr/bin/nvidia-modprobe
		chmod 755 /usr/bin/nvidia-modprobe
		cd /proc/driver
		mkdir -p unloaded/gpus/0000:01:00.0 unloaded/gpus/0000:02:00.0 unloaded/capabilities/gpu3/mig/gi7/ci0
		printf "Model: \t\t NVIDIA H100\nDevice Minor: \t 3\n" >unloaded/gpus/0000:01:00.0/information
		printf "Device Minor: \t 0\n" >unloaded/gpus/0000:02:00.0/information
		touch unloaded/capabilities/gpu3/mig/config unloaded/capabilities/gpu3/mig/gi7/access \
			unloaded/capabilities/gpu3/mig/gi7/ci0/access'
	in_container systemctl start "$UNIT"
	run in_container cat /run/ran
	sh_container 'umount /proc/driver; rm /usr/bin/nvidia-modprobe /run/ran'
	assert_output "
-c 255 -c 3 -c 0 -f /proc/driver/nvidia/capabilities/gpu3/mig/gi7/access -f /proc/driver/nvidia/capabilities/gpu3/mig/gi7/ci0/access
-u -c 0"
	run in_container journalctl --no-pager -o cat -u rkfs-nvidia.service
	refute_output --partial 'Failed'
}

# network_of PROCESS: its network namespace
network_of() {
	sh_container 'readlink "/proc/$(pgrep -x "$1")/ns/net"' "$1"
}

@test "kernels have no network, and a drop-in gives it back as rkfs-kernel(5) says" {
	local machine dir=/run/systemd/system/rkfs@.service.d text

	machine=$(in_container readlink /proc/1/ns/net)
	assert [ "$(network_of rk-worker)" != "$machine" ]
	assert_equal "$(network_of rk-worker)" "$(network_of mount.rkfs)"
	text=$(man -P cat "$SOURCE/doc/rkfs-kernel.5" | tr -s ' \n' ' ')
	for option in PrivateNetwork=no IPAddressDeny= 'RestrictAddressFamilies=AF_INET AF_INET6'; do
		[[ $text == *"$option"* ]] || fail "the page does not name $option"
		sh_container "mkdir -p $dir; [ -e $dir/net.conf ] || echo '[Service]' >$dir/net.conf
			echo \"\$1\" >>$dir/net.conf" "$option"
	done
	sh_container "systemctl daemon-reload; systemctl restart $UNIT"
	run network_of rk-worker
	sh_container "rm -r $dir; systemctl daemon-reload"
	assert_output "$machine"
}

@test "systemd-analyze finds the service exposed by less than 4 of 10" {
	run in_container systemd-analyze security --offline=yes --no-pager --threshold=39 "/lib/systemd/system/$UNIT"
	assert_success
}

@test "systemd-analyze verify has nothing to say of the units" {
	run in_container systemd-analyze verify --man=no "/lib/systemd/system/$UNIT" \
		/lib/systemd/system/rkfs@.service /lib/systemd/system/rkfs-nvidia.service
	assert_success
	assert_output ''
}

@test "a line in fstab: mount -a, findmnt, umount by systemd's own mount unit" {
	in_container systemctl stop "$UNIT"
	sh_container "echo '/etc/rkfs/rkfs.conf $MNT rkfs nofail 0 0' >>/etc/fstab; systemctl daemon-reload"
	in_container systemctl start mnt-rk.mount
	assert_equal "$(in_container cat $MNT/state)" Running
	in_container systemctl stop mnt-rk.mount
	run in_container findmnt $MNT
	assert_failure
	sh_container "sed -i '/rkfs/d' /etc/fstab; systemctl daemon-reload"
}
