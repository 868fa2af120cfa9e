# shellcheck shell=bash
# SPDX-License-Identifier: MIT
# bash completion for rkcall(1): options and their values, kernels of the mount. Needs nothing but bash.

_rkcall() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local i mount=() kernel='' files=''

	COMPREPLY=()
	# bash takes --option=value apart: "--option" "=" "value"
	if [[ $cur == = ]]; then
		cur=
	elif [[ $prev == = ]]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	for ((i = 1; i < COMP_CWORD; i++)); do
		case ${COMP_WORDS[i]} in
		-m | --mount)
			[[ ${COMP_WORDS[i + 1]} != = ]] || ((i++))
			((++i < COMP_CWORD)) && mount=(-m "${COMP_WORDS[i]/#~\//$HOME/}") ;;
		-f | -o | -e | -t | --file | --output | --encoding | --timeout)
			[[ ${COMP_WORDS[i]} != -f && ${COMP_WORDS[i]} != --file ]] || files=yes
			[[ ${COMP_WORDS[i + 1]} != = ]] || ((i++))
			((++i)) ;;
		-*) ;;
		*) kernel=yes ;;
		esac
	done
	case $prev in
	-f | --file | -o | --output)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	-m | --mount)
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	-e | --encoding)
		mapfile -t COMPREPLY < <(compgen -W 'json safetensors raw' -- "$cur") ;;
	-t | --timeout) ;;
	*)
		if [[ $cur == -* ]]; then
			mapfile -t COMPREPLY < <(compgen -W '--file --output --encoding --force --timeout
				--mount --list --describe --help --version' -- "$cur")
		elif [[ -z $kernel ]]; then
			# a daemon that does not answer must not hang the shell
			while read -r kernel _; do
				# compgen -W would expand what another user's mount says, and so run it
				[[ $kernel != "$cur"* || $kernel == *[!A-Za-z0-9_/-]* ]] || COMPREPLY+=("$kernel")
			done < <("${COMP_WORDS[0]/#~\//$HOME/}" "${mount[@]}" --timeout 2 --list 2>/dev/null)
		elif [[ -z $files ]]; then
			mapfile -t COMPREPLY < <(compgen -W - -- "$cur")
		fi ;;
	esac
}

complete -F _rkcall rkcall
