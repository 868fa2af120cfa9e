# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# What the scripts beside this one share. /etc/default/rkfs-slurm may set the values below.

RKFS_MOUNT=/mnt/rk
# seconds that a read or write of the mount may take: it answers from memory
RKFS_ANSWER=5
# seconds that a drain may take before messages are cancelled, and this script's wait for it
RKFS_DRAIN=30
if [ -r /etc/default/rkfs-slurm ]; then
	. /etc/default/rkfs-slurm
fi

# where a runtime that was drained for Slurm is remembered
# shellcheck disable=SC2034 # for healthcheck
drained_for_slurm=/run/rkfs-drained-for-slurm

# read_file FILE: what the mount says there; nothing where it does not answer.
read_file() {
	timeout "$RKFS_ANSWER" cat "$RKFS_MOUNT/$1" 2>/dev/null
}

# command WORD...: one command to the runtime.
command_runtime() {
	timeout "$RKFS_ANSWER" sh -c 'echo "$2" >"$1/control"' sh "$RKFS_MOUNT" "$*" 2>/dev/null
}

is_ready() {
	[ "$(read_file health/ready)" = 1 ]
}

# why_not_ready: one sentence.
why_not_ready() {
	state=$(read_file state)
	reason=$(read_file health/reason)
	if [ -z "$state" ]; then
		echo "no rkfs answers at $RKFS_MOUNT"
	elif [ "$state" != Running ]; then
		echo "the runtime is $state"
	else
		echo "${reason:-not ready}"
	fi
}

# drain_runtime: let what runs end, and wait for that; bounded.
drain_runtime() {
	[ "$(read_file state)" = Running ] || return 0
	command_runtime drain "$RKFS_DRAIN" || return 1
	timeout $((RKFS_DRAIN + RKFS_ANSWER)) cat "$RKFS_MOUNT/wait/stopped" >/dev/null
}
