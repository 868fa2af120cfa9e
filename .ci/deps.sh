#!/bin/sh
# SPDX-License-Identifier: MIT
# Usage: .ci/deps.sh GROUP...        (build, test, lint, fuzz, deb, system)
# Install what GROUPs need and what is missing, and nothing else. With nothing
# missing it does nothing, needs no rights and asks no server. With --list it prints its table.
set -eu

# group   Debian package   how to see that it is there
table() {
	cat <<'END'
build make            command make
build gcc             compiler
build g++             command g++
build libc6-dev       compiler
build pkgconf         command pkg-config
build libfuse3-dev    library fuse3
build fuse3           command fusermount3
build libinih-dev     library inih
build libjansson-dev  library jansson
build libffi-dev      library libffi
build libsystemd-dev  library libsystemd
build libseccomp-dev  library libseccomp
build libncurses-dev  library ncursesw
test  libcmocka-dev   library cmocka
test  bats            command bats
test  bats-support    file /usr/lib/bats/bats-support/load.bash
test  bats-assert     file /usr/lib/bats/bats-assert/load.bash
test  bats-file       file /usr/lib/bats/bats-file/load.bash
test  python3         command python3
test  python3-numpy   file /usr/lib/python3/dist-packages/numpy
test  rsync           command rsync
test  busybox         command busybox
test  rust-coreutils  file /usr/lib/cargo/bin/coreutils/cat
test  nodejs          command node
test  bsh             command bsh
test  less            command less
test  procps          command pgrep
test  psmisc          command fuser
test  mount           command findmnt umount
test  util-linux      command unshare setpriv
test  mandoc          command mandoc
lint  clang-format    command clang-format
lint  python3         command python3
lint  shellcheck      command shellcheck
lint  cppcheck        command cppcheck
lint  mandoc          command mandoc
lint  man-db          command man
test  jq              command jq
test  logrotate       command logrotate
test  prometheus      command prometheus promtool
test  prometheus-node-exporter  command prometheus-node-exporter
test  curl            command curl
deb   build-essential file /usr/share/build-essential/list
deb   debhelper       command dh
deb   dpkg-dev        command dpkg-buildpackage
deb   fakeroot        command fakeroot
deb   lintian         command lintian
system systemd-container  command systemd-nspawn
system debootstrap    command debootstrap
system slurmctld      command slurmctld
system slurmd         command slurmd
system slurm-client   command sbatch
system munge          command munged
system tmux           command tmux
system iproute2       command ip
system python3-kubernetes  file /usr/lib/python3/dist-packages/kubernetes
system python3-yaml   file /usr/lib/python3/dist-packages/yaml
system systemd        command journalctl systemd-analyze
fuzz  clang           command clang
fuzz  libclang-rt-dev libfuzzer
END
}

there() {
	how=$1
	shift
	case $how in
	command)
		for name; do
			command -v "$name" >/dev/null || return 1
		done ;;
	library) pkg-config --exists "$1" 2>/dev/null ;;
	file) [ -e "$1" ] ;;
	libfuzzer)
		[ -e "$(clang -print-file-name=libclang_rt.fuzzer-x86_64.a 2>/dev/null)" ] ||
			ls /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-*.a >/dev/null 2>&1 ;;
	compiler)
		# clang will do as well; a compiler without the C library's headers will not
		echo '#include <stdio.h>' | "${CC:-cc}" -E - >/dev/null 2>&1 ;;
	esac
}

[ "${1-}" != --list ] || { table; exit; }
[ $# -gt 0 ] || { echo "usage: $0 build|test|lint|fuzz|deb|system ..." >&2; exit 1; }

missing=
for group; do
	case $group in
	build | test | lint | fuzz | deb | system) ;;
	*) echo "$0: there is no group '$group' (build, test, lint, fuzz, deb, system)" >&2; exit 1 ;;
	esac
	while read -r of package how; do
		[ "$of" = "$group" ] || continue
		case " $missing " in *" $package "*) continue ;; esac
		# $how is a word and its arguments
		# shellcheck disable=SC2086
		there $how || missing="$missing $package"
	done <<END
$(table)
END
done

[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
	{
		echo "These are missing (Debian's names):$missing"
		echo "There is no apt-get here to install them: install them your system's way."
	} >&2
	exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
	{
		echo "These packages are missing:$missing"
		echo "Installing them needs root: sudo .ci/deps.sh $*"
	} >&2
	exit 1
fi

# Daemons come with some of these packages, and Debian starts a daemon where it is installed, on all
# interfaces. The tests start their own: nothing is started now, nor at the next boot.

policy=/usr/sbin/policy-rc.d
ours='# of .ci/deps.sh, for the time of an installation'

# forbid_starts: what policy-rc.d there is stands beside it until allow_starts.
forbid_starts() {
	if [ -e "$policy" ] || [ -L "$policy" ]; then
		# one of a run that was killed is not kept
		grep -qsxF "$ours" "$policy" || mv -f "$policy" "$policy.saved"
	fi
	printf '%s\n' '#!/bin/sh' "$ours" 'exit 101' >"$policy.new"
	chmod 755 "$policy.new"
	mv -f "$policy.new" "$policy"
}

allow_starts() {
	if [ -e "$policy.saved" ] || [ -L "$policy.saved" ]; then
		mv -f "$policy.saved" "$policy"
	else
		rm -f "$policy"
	fi
}

# disable_services: those of the packages that were missing. The tests need systemd's own as they are.
disable_services() {
	for package in $missing; do
		case $package in systemd*) continue ;; esac
		for file in $(dpkg -L "$package" 2>/dev/null); do
			case $file in
			*/systemd/system/*@.*) ;;
			*/systemd/system/*.service | */systemd/system/*.socket | */systemd/system/*.timer)
				if command -v systemctl >/dev/null; then
					systemctl --quiet disable "${file##*/}" || :
				else
					deb-systemd-helper disable "${file##*/}" || :
				fi ;;
			/etc/init.d/*) update-rc.d "${file##*/}" disable || : ;;
			esac
		done
	done
}

echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
exec 9<"${policy%/*}"
flock 9 # another run would take our policy for the machine's
trap 'allow_starts; disable_services' EXIT
trap 'exit 1' HUP INT TERM
forbid_starts
apt-get update -q
# $missing is a list of words
# shellcheck disable=SC2086
apt-get install -q -y --no-install-recommends $missing
