#!/bin/sh
# SPDX-License-Identifier: MIT
# Print a C file that holds the kernel descriptions given as arguments and
# implements rk_manifest_builtins() of runtime/kernel/manifest.h.
set -eu

printf '/* Made by runtime/kernel/embed.sh from etc/kernels.d. */\n#include "runtime/kernel/manifest.h"\n'

i=0
for file; do
	printf '\nstatic const unsigned char text%d[] = {\n' "$i"
	od -An -v -tu1 "$file" | sed 's/  *\([0-9]\)/ \1/g; s/\([0-9]\)\( \|$\)/\1,\2/g; s/^ /\t/'
	printf '\t0};\n'
	i=$((i + 1))
done

# one row past the end: an empty array is no C
printf '\nstatic const struct rk_manifest_builtin rows[] = {\n'
i=0
for file; do
	printf '\t{"%s", (const char *)text%d, sizeof(text%d) - 1},\n' "${file##*/}" "$i" "$i"
	i=$((i + 1))
done
printf '\t{0},\n};\n'

cat <<'END'

const struct rk_manifest_builtin *rk_manifest_builtins(size_t *count)
{
	*count = sizeof(rows) / sizeof(rows[0]) - 1;
	return rows;
}
END
