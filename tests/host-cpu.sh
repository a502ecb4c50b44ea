#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The emulated host's CPUs, with no guest kernel between: host/tests/cpu, each instruction and each fault, with
# SNP and on a machine without; and that a guest's loop is about as fast with SNP as without.
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/host-tap.sh
. "$(dirname "$0")/host-tap.sh"

binary=$("$top/snplab" host --print binary 2>"$tmp/err")
check 'the emulated host is built' test -x "$binary"
each_case 'the test kernel ran to its end' "$top/host/tests/cpu/run" "$binary"
each_case 'and without SNP' "$top/host/tests/cpu/run" --off "$binary"

# A median of several runs; on a machine with much else to do even that says little, so that a bad one is
# measured again.
for _ in 1 2 3; do
	"$top/host/tests/cpu/run" --bench "$binary" >"$tmp/bench" 2>&1
	ratio=$(sed -n 's/^# ratio \([0-9.]*\).*/\1/p' "$tmp/bench")
	! awk -v r="${ratio:-0}" 'BEGIN { exit !(r >= 0.9) }' || break
done
if awk -v r="${ratio:-0}" 'BEGIN { exit !(r >= 0.9) }'; then
	ok "a guest's loop runs with SNP at $ratio of its speed without"
else
	not_ok "a guest's loop runs with SNP at 0.9 of its speed without, or more" "found ${ratio:-no ratio}, three times" "$(tail -n 14 "$tmp/bench")"
fi
finish
