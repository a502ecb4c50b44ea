#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The series' documentation builds, without a warning that the base does not have.
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab.sh
. "$(dirname "$0")/lab.sh"

build_docs() { # SOURCE LOG, the warnings in LOG without line numbers
	rm -rf "$work/docs"
	make -C "$1" O="$work/docs" SPHINXDIRS=virt htmldocs >"$2.full" 2>&1 || return
	{ grep -E 'WARNING|ERROR|warning:' "$2.full" || true; } | sed 's,^.*/Documentation/,,; s,:[0-9]*:,:,' | sort -u >"$2"
}

base=$(lab_base mainline) || { not_ok 'a base' "$base"; finish; }
mapfile -t patches < <(list_series "$top/series/mainline")
work=$cache/work/docs
mkdir -p "$work/docs"
check 'the base, copied' lab_quietly overlay "$base" "$work"
check 'the base'\''s documentation builds' build_docs "$work/src" "$tmp/before"
check 'the series applies' lab_quietly overlay "$base" "$work" "${patches[@]}"
if build_docs "$work/src" "$tmp/after"; then ok 'the documentation builds'; else
	not_ok 'the documentation builds' "$(tail -n 20 "$tmp/after.full")"; finish; fi
new=$(comm -13 "$tmp/before" "$tmp/after")
if [ -z "$new" ]; then ok 'no new warning'; else not_ok 'no new warning' "$new"; fi
check 'the page has the new text' grep -q 'KVM_GET_REGS tells whether it is' "$work/docs/Documentation/output/virt/kvm/x86/amd-memory-encryption.html"
rm -rf "$work"
finish
