#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# etc/slurm with a real slurmctld, slurmd and munge, on the loopback of a container: one node, with a
# runtime at /mnt/rk that rkfs@.service keeps.

load container

MNT=/mnt/rk
SCRIPTS=/usr/libexec/rkfs/slurm

setup_file() {
	load container
	container_up
	install_there
	make -s -C "$SOURCE" fake-cuda >/dev/null
	mkdir "$ROOT/opt/driver"
	cp "$SOURCE"/build/fake_cuda/*.so.1 "$ROOT/opt/driver/"
	echo 'device_count 4' >"$ROOT/opt/driver/says"
	sh_container '
		# the C library takes a machine that has 127.0.0.1 alone for one without IPv4
		ip address add 127.0.0.2/8 dev lo
		hostname node1
		echo "127.0.0.1 localhost node1" >/etc/hosts
		mkdir -p /etc/slurm /var/spool/slurmctld /var/spool/slurmd
		cat >/etc/slurm/slurm.conf
		printf "RKFS_DRAIN=5\n" >/etc/default/rkfs-slurm
		printf "[runtime]\npreset = development\nworker_threads = 2\n" >/etc/rkfs/rkfs.conf
		echo "OPTIONS=call_mode=0666" >/etc/default/rkfs-mnt-rk
		useradd -m worker
		for n in 0 1 2 3; do ln -s null /dev/nvidia$n; done # four cards, as far as Slurm looks
		echo "Name=gpu File=/dev/nvidia[0-3]" >/etc/slurm/gres.conf
		systemctl daemon-reload
		systemctl start munge rkfs@mnt-rk
		systemctl start slurmctld slurmd' <<-EOF
		ClusterName=test
		SlurmctldHost=node1(127.0.0.1)
		SlurmUser=root
		SlurmdUser=root
		StateSaveLocation=/var/spool/slurmctld
		SlurmdSpoolDir=/var/spool/slurmd
		AuthType=auth/munge
		ProctrackType=proctrack/linuxproc
		TaskPlugin=task/none
		SelectType=select/cons_tres
		SelectTypeParameters=CR_CPU
		GresTypes=gpu
		ReturnToService=1
		SlurmdParameters=config_overrides
		KillWait=1
		HealthCheckProgram=$SCRIPTS/healthcheck
		HealthCheckInterval=1
		HealthCheckNodeState=ANY
		Prolog=$SCRIPTS/prolog
		Epilog=$SCRIPTS/epilog
		NodeName=node1 NodeAddr=127.0.0.1 CPUs=4 Gres=gpu:4 State=UNKNOWN
		PartitionName=all Nodes=node1 Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES
	EOF
	LEADER=$LEADER until_node idle
}

teardown_file() {
	load container
	LEADER=$(pgrep -P "$(cat "$BATS_FILE_TMPDIR/container/nspawn")" | head -n 1)
	container_down
}

teardown() {
	in_container sinfo --long --Node || true
	in_container scontrol show node node1 || true
	in_container cat $MNT/last_cmd_status || true
	sh_container 'tail -n 30 /var/log/slurm*/*.log /var/log/slurm*.log 2>/dev/null' || true
}

# until_node STATE: sinfo says so, as it does for a person.
until_node() {
	local is end=$((SECONDS + 90))

	until is=$(in_container sinfo --noheader --format=%T 2>/dev/null) && [[ $is == "$1" ]]; do
		((SECONDS < end)) || fail "the node is $is, not $1"
	done
}

reason() {
	in_container scontrol show node node1 | sed -n 's/^ *Reason=\(.*\) \[.*/\1/p'
}

until_state() {
	sh_container "until [ \"\$(cat $MNT/state)\" = $1 ]; do :; done"
}

@test "a job array of rkcall tasks runs" {
	run sh_container "
		cd /root
		sbatch --quiet --wait --array=1-8 --output=%a.out --wrap '
			rkcall -m $MNT core/vector-add \"{\\\"a\\\":[\$SLURM_ARRAY_TASK_ID],\\\"b\\\":[100]}\"'
		cat [1-8].out"
	assert_success
	assert_equal "$(sort <<<"$output")" "$(printf '{"c":[%d.0]}\n' 101 102 103 104 105 106 107 108)"
}

@test "a job that got two cards of the node has a runtime of its own on these" {
	# both at once: each gets two of the four
	sh_container '
		cd /root
		export LD_LIBRARY_PATH=/opt/driver RK_FAKE_CUDA=/opt/driver/says
		for job in 1 2; do
			sbatch --quiet --wait --output=gpus.$job "$1/gpus.sbatch" &
		done
		wait' "$SCRIPTS"
	run sh_container 'cat /root/gpus.[12]'
	assert_success
	assert_equal "$(sed -n 's/ GPU-.*ae/ /p' <<<"$output" | sort)" $'0 00\n0 02\n1 01\n1 03'
	assert_equal "$(grep -cxF '{"c":[4.0,6.0]}' <<<"$output")" 2
}

@test "echo drain takes the node out, resume brings it back" {
	sh_container "
		(rkcall -m $MNT core/delay '{\"ms\":30000}' >/dev/null 2>&1 || true) &
		until [ \"\$(cat $MNT/stats/messages_in_flight)\" = 1 ]; do :; done
		echo drain 60 >$MNT/control"
	until_node drained
	assert_equal "$(reason)" "rkfs: the runtime is Draining"
	in_container sh -c "echo resume >$MNT/control"
	until_node idle
	sh_container "rm -f $MNT/inflight/*"
}

@test "a runtime that has stopped: the node is out until it is started again" {
	in_container sh -c "echo stop >$MNT/control"
	until_node drained
	assert_equal "$(reason)" "rkfs: the runtime is Stopped"
	sh_container "echo reset >$MNT/control; echo start >$MNT/control"
	until_node idle
}

@test "no rkfs at all: the node is out, and comes back with it" {
	in_container systemctl stop rkfs@mnt-rk
	until_node drained
	assert_equal "$(reason)" "rkfs: no rkfs answers at $MNT"
	in_container systemctl start rkfs@mnt-rk
	until_node idle
}

@test "the runtime is drained before its node is taken, and started when the node is given back" {
	in_container scontrol update nodename=node1 state=drain reason=maintenance
	until_state Stopped
	assert_equal "$(reason)" maintenance
	assert_equal "$(in_container grep -c '"event":"Draining"' $MNT/events)" 1
	in_container scontrol update nodename=node1 state=resume
	until_state Running
	until_node idle
}

@test "a job that runs on a node being taken keeps its runtime until it ends" {
	sh_container "sbatch --quiet --output=/root/long.out --wrap '
		until [ -e /root/go ]; do :; done; rkcall -m $MNT core/vector-add \"{\\\"a\\\":[1],\\\"b\\\":[2]}\"'
		until [ \"\$(squeue --noheader --states=running | wc -l)\" = 1 ]; do :; done
		scontrol update nodename=node1 state=drain reason=maintenance"
	until_node draining
	assert_equal "$(in_container cat $MNT/state)" Running
	in_container touch /root/go
	until_state Stopped
	assert_equal "$(in_container cat /root/long.out)" '{"c":[3.0]}'
	in_container scontrol update nodename=node1 state=resume
	until_state Running
	until_node idle
}

@test "prolog: no job begins on a runtime that is not ready" {
	sh_container "
		sed -i 's/^HealthCheckInterval=.*/HealthCheckInterval=0/' /etc/slurm/slurm.conf
		systemctl restart slurmctld slurmd"
	until_node idle
	sh_container "echo stop >$MNT/control
		sbatch --quiet --output=/root/never.out --wrap 'echo began'"
	until_node drained
	run in_container cat /root/never.out
	refute_output began
	sh_container "scancel --user root
		echo reset >$MNT/control; echo start >$MNT/control
		sed -i 's/^HealthCheckInterval=.*/HealthCheckInterval=1/' /etc/slurm/slurm.conf
		systemctl restart slurmctld slurmd"
	# the reason is the prolog's, not the health check's: a person resumes it, which the new
	# controller takes once the node has reported
	sh_container 'until scontrol update nodename=node1 state=resume 2>/dev/null; do
			[ "$(sinfo --noheader --format=%T)" != idle ] || break; done'
	until_node idle
}

@test "epilog: what a job's user has left in flight is cancelled" {
	sh_container "cd /tmp
		su worker -c 'sbatch --quiet --output=/dev/null --wrap \"
			setsid rkcall -m $MNT core/delay {\\\\\\\"ms\\\\\\\":60000} >/dev/null 2>&1 &
			until ls $MNT/inflight | grep -q .; do :; done\"'
		until [ \"\$(cat $MNT/stats/messages_accepted)\" -gt 0 ]; do :; done
		until [ \"\$(cat $MNT/stats/messages_cancelled)\" -gt 0 ]; do :; done"
}

@test "a controller that hangs or is gone: nothing is cancelled, nothing is drained" {
	sh_container "
		# as slurmd starts them, without a PATH
		epilog() { env -i SLURM_JOB_UID=\$(id -u worker) SLURM_JOB_ID=99999 $SCRIPTS/epilog; }
		cd /tmp
		su worker -c 'setsid rkcall -m $MNT core/delay {\\\"ms\\\":600000} >/tmp/call 2>&1' & call=\$!
		until ls $MNT/inflight | grep -q .; do :; done
		kill -STOP \$(systemctl show -P MainPID slurmctld)
		epilog 2>&1 | grep 'squeue does not answer'
		env -i $SCRIPTS/healthcheck 2>&1 | grep 'scontrol does not tell'
		kill -CONT \$(systemctl show -P MainPID slurmctld)
		systemctl stop slurmctld
		epilog 2>&1 | grep 'squeue does not answer'
		[ \"\$(cat $MNT/state) \$(cat $MNT/stats/messages_in_flight)\" = 'Running 1' ]
		kill -0 \$call
		systemctl start slurmctld
		until squeue --noheader; do :; done
		epilog
		! wait \$call
		grep cancelled /tmp/call"
	until_node idle
}
