#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Every script is shellcheck-clean. What is sourced is checked in the place where it is sourced, so
# that a misspelt variable of another file is seen.
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
cd "$top" || exit
check 'snplab and what it sources' shellcheck -x -a snplab
for f in .ci/run tests/check tests/*.sh tests/hw/*.sh lab/status.sh lab/hw.sh host/tests/soak host/tests/cpu/run; do
	check "$f" shellcheck -x "$f"
done
# busybox's shell, which knows `local` as well.
for f in lab/guest/*; do check "$f" shellcheck -s dash "$f"; done
for f in lab/*.sh; do
	check "$f is sourced by snplab, or checked above" grep -qE "^\. .*/$f\"\$|$f" snplab tests/shellcheck.sh
done
for f in lab/*.py host/tests/*.py tests/attest/*.py; do
	check "$f compiles" python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' "$f"
done
check 'the guest'\''s init has no warning' gcc -fsyntax-only -Wall -Wextra -Werror -O2 lab/init/init.c
finish
