#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# etc/k8s, as far as that goes without a cluster: the manifest against the API's schema, and its own
# commands, run by the shell as the kubelet would, on a mount at the manifest's path.

load ../bats/common

MANIFEST=$BATS_TEST_DIRNAME/../../etc/k8s/rkfs-daemonset.yaml
CHECK=$BATS_TEST_DIRNAME/k8s_check.py

# command_of PATH: the words of a container's command, NUL-terminated; PATH is a Python expression
# on the container.
command_of() {
	/usr/bin/python3 - "$MANIFEST" "$1" <<-'EOF'
		import sys, yaml
		pod = yaml.safe_load(open(sys.argv[1]))["spec"]["template"]["spec"]
		c, init = pod["containers"][0], pod["initContainers"][0]
		sys.stdout.write("".join(word + "\0" for word in eval(sys.argv[2])))
	EOF
}

PROBE='c["readinessProbe"]["exec"]["command"]'
LIVENESS='c["livenessProbe"]["exec"]["command"]'
STARTUP='c["startupProbe"]["exec"]["command"]'
PRESTOP='c["lifecycle"]["preStop"]["exec"]["command"]'
CLEAN='init["command"]'
START='c["command"]'

# The manifest's commands name /mnt/rk: a mount namespace has one of its own there.
enter() {
	export BIN
	export -f freeze
	for name in PROBE LIVENESS STARTUP PRESTOP CLEAN START; do
		mapfile -d '' -t words < <(command_of "${!name}")
		printf '%q ' "${words[@]}" >"$BATS_TEST_TMPDIR/$name"
	done
	private '
		cd "$1"
		mount -t tmpfs tmpfs /mnt
		mkdir -p /etc/rkfs /mnt/rk
		export PATH="$BIN:$PATH"
		probe() { bash "./$1"; }
		# in this namespace: others may run beside it
		newest() { pgrep --ns $$ --nslist mnt -n -x "$1"; }
		'"$1" "$BATS_TEST_TMPDIR"
}

@test "the manifest is what the API takes" {
	run /usr/bin/python3 "$CHECK" "$MANIFEST"
	assert_success
	assert_output ''
}

@test "and the check sees what is not" {
	sed 's/periodSeconds: 1$/periodSecond: 1/; s/privileged: true/privileged: 3/; s/^  selector:/  selectr:/' \
		"$MANIFEST" >"$BATS_TEST_TMPDIR/bad.yaml"
	run /usr/bin/python3 "$CHECK" "$BATS_TEST_TMPDIR/bad.yaml"
	assert_failure
	assert_line --partial 'periodSecond: V1Probe has no such field'
	assert_line --partial 'privileged: bool is wanted, not 3'
	assert_line --partial '`selector`, must not be `None`'
}

@test "the pod gets no Service's variables, no token, one folder of the host, and bounded memory" {
	run /usr/bin/python3 - "$MANIFEST" <<-'EOF'
		import sys, yaml
		pod = yaml.safe_load(open(sys.argv[1]))["spec"]["template"]["spec"]
		print(pod["enableServiceLinks"], pod["automountServiceAccountToken"])
		print([v["hostPath"]["path"] for v in pod["volumes"]])
		for c in pod["initContainers"] + pod["containers"]:
		    print(c["name"], [m["mountPath"] for m in c["volumeMounts"]], "memory" in c["resources"]["limits"])
	EOF
	assert_output "False False
['/mnt']
clean ['/mnt'] True
rkfs ['/mnt'] True"
}

@test "the probes follow the runtime, and do not hang on a daemon that is stopped" {
	enter '
		! probe PROBE 2>/dev/null || exit 1
		mount.rkfs -o preset=testing none /mnt/rk
		probe STARTUP && probe PROBE && probe LIVENESS
		echo drain >/mnt/rk/control; cat /mnt/rk/wait/stopped
		! probe PROBE || exit 1
		probe LIVENESS
		echo reset >/mnt/rk/control; echo start >/mnt/rk/control; cat /mnt/rk/wait/ready
		probe PROBE
		daemon=$(newest mount.rkfs)
		freeze $daemon
		! probe PROBE || exit 1
		kill -CONT $daemon
		probe PROBE
		umount /mnt/rk'
}

@test "preStop drains, and waits for the call that runs" {
	enter '
		mount.rkfs -o preset=testing none /mnt/rk
		rkcall -m /mnt/rk core/delay "{\"ms\":1000}" >answer &
		until [ "$(cat /mnt/rk/stats/messages_in_flight)" = 1 ]; do :; done
		probe PRESTOP
		[ "$(cat /mnt/rk/state)" = Stopped ]
		wait $!
		grep -q waited_ms answer
		umount /mnt/rk'
}

@test "preStop of a Failed runtime ends at once, and without a mount it writes nothing" {
	enter '
		mount.rkfs -o preset=testing,restart_limit=0 none /mnt/rk
		kill -KILL "$(newest rk-worker)"
		until [ "$(cat /mnt/rk/state)" = Failed ]; do :; done
		SECONDS=0
		probe PRESTOP
		((SECONDS < 20))
		umount /mnt/rk
		probe PRESTOP
		[ -z "$(ls /mnt/rk)" ]'
}

@test "the start command clears what a killed daemon left, though clean does not run again" {
	enter '
		mount --bind "$1" /etc/rkfs
		printf "[runtime]\npreset = testing\n" >/etc/rkfs/rkfs.conf
		rmdir /mnt/rk
		export RKFS_PORT=tcp://10.96.0.12:9400 RKFS_SERVICE_HOST=10.96.0.12 RKFS_VERSION=1
		for round in 1 2; do
			probe START & pod=$!
			until probe PROBE 2>/dev/null; do kill -0 $pod; done
			kill -KILL "$(newest mount.rkfs)"
			! wait $pod || exit 1
		done
		probe START & pod=$!
		until probe PROBE 2>/dev/null; do kill -0 $pod; done
		[ "$(grep -c " /mnt/rk " /proc/self/mountinfo)" = 1 ]
		# nothing is cleared of one that answers, nor of one that is stopped
		probe CLEAN
		daemon=$(newest mount.rkfs)
		freeze $daemon
		probe CLEAN
		kill -CONT $daemon
		probe PROBE
		kill -TERM "$(newest mount.rkfs)"
		wait $pod'
}

@test "a pod that has the parent mounted sees the runtime that is mounted anew" {
	enter '
		mount --make-shared /mnt
		mount.rkfs -o preset=testing none /mnt/rk
		mkfifo go
		exec 5<>go
		unshare -m --propagation slave sh -c "
			read -r _ <&5; cat /mnt/rk/stats/messages_processed" >seen & pod=$!
		rkcall -m /mnt/rk core/vector-add "{\"a\":[1],\"b\":[2]}"
		umount /mnt/rk
		mount.rkfs -o preset=testing none /mnt/rk
		echo >&5
		wait $pod
		[ "$(cat seen)" = 0 ]
		umount /mnt/rk'
}

@test "the start command serves, ends by SIGTERM, and clean takes away what a killed one left" {
	enter '
		mount --bind "$1" /etc/rkfs
		printf "[runtime]\npreset = testing\n" >/etc/rkfs/rkfs.conf
		probe CLEAN
		probe START & pod=$!
		until probe PROBE 2>/dev/null; do kill -0 $pod; done
		kill -TERM $(newest mount.rkfs)
		wait $pod
		probe START & pod=$!
		until probe PROBE 2>/dev/null; do kill -0 $pod; done
		kill -KILL $(newest mount.rkfs)
		! wait $pod || exit 1
		! cat /mnt/rk/state || exit 1
		probe CLEAN
		! findmnt /mnt/rk'
}
