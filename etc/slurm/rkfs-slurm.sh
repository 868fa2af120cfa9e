# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# What the scripts beside this one share. /etc/default/rkfs-slurm may set the values below, and add
# to PATH the folder of Slurm's commands.

# Slurm starts its scripts without one.
PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

RKFS_MOUNT=/mnt/rk
# seconds that a read or write of the mount may take: it answers from memory
RKFS_ANSWER=5
# seconds that a command of Slurm may take; longer, and it counts as failed
RKFS_SLURM_ANSWER=10
# seconds that a drain may take before messages are cancelled
# shellcheck disable=SC2034 # for healthcheck
RKFS_DRAIN=30
if [ -r /etc/default/rkfs-slurm ]; then
	. /etc/default/rkfs-slurm
fi

# where a runtime that was drained for Slurm is remembered
# shellcheck disable=SC2034 # for healthcheck
drained_for_slurm=/run/rkfs-drained-for-slurm

# complain SENTENCE: to slurmd's log, as far as that shows what scripts say.
complain() {
	echo "rkfs: $*" >&2
}

# slurm COMMAND...: a command of Slurm. One that fails, hangs or is missing says nothing of jobs or
# nodes: who calls this must do nothing then.
slurm() {
	timeout "$RKFS_SLURM_ANSWER" "$@"
}

# node_name: this node's, as Slurm calls it.
node_name() {
	name=${SLURMD_NODENAME:-$(uname -n)}
	echo "${name%%.*}"
}

# jobs_here [OPTION...]: the ids of the jobs that have this node, those of squeue's OPTIONs. Its status
# is squeue's.
jobs_here() {
	slurm squeue --noheader --format=%A --nodelist="$(node_name)" "$@"
}

# the states of a job that may have messages in flight, but for one that ends
# shellcheck disable=SC2034 # for epilog and healthcheck
job_runs=configuring,running,suspended,signaling,stopped

# read_file FILE: what the mount says there; nothing where it does not answer.
read_file() {
	timeout "$RKFS_ANSWER" cat "$RKFS_MOUNT/$1" 2>/dev/null
}

# command_runtime WORD...: one command to the runtime. Without a mount nothing is written: a file
# called control would keep every later mount away.
command_runtime() {
	timeout "$RKFS_ANSWER" sh -c 'mountpoint -q "$1" && echo "$2" >"$1/control"' \
		sh "$RKFS_MOUNT" "$*" 2>/dev/null
}

is_ready() {
	[ "$(read_file health/ready)" = 1 ]
}

# why_not_ready: one sentence.
why_not_ready() {
	state=$(read_file state)
	if [ -z "$state" ]; then
		echo "no rkfs answers at $RKFS_MOUNT"
	elif [ "$state" != Running ]; then
		echo "the runtime is $state"
	else
		reason=$(read_file health/reason)
		echo "${reason:-not ready}"
	fi
}
