#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Every patch of both series: applies with no fuzz, compiles by itself (W=1, KVM_WERROR) where it
# touches something, brings no sparse warning that the base has not, and pleases checkpatch --strict.
# shellcheck disable=SC2317  # functions that check calls
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab.sh
. "$(dirname "$0")/lab.sh"

# Kbuild targets for the files that a patch changes.
targets() {
	touched "$@" | sed -n 's,^\(arch/x86/kvm\|virt/kvm\|include/linux/kvm_host.h\).*,arch/x86/kvm/,p
		s,^\(kernel/locking\|include/linux/mutex.h\).*,kernel/locking/,p' | sort -u
}

# warnings LOG: what gcc and sparse said of the files that the series touches, without line numbers.
warnings() { grep -E '(warning|error):' "$1" | grep -E "$2" | sed 's,^.*/src/,,; s,:[0-9]*:[0-9]*:,:,' | sort -u; }

compile() {
	{
		lab_quietly configure "$1" "$lab"/config/{base,kvm,debug,kunit}.config &&
		lab_quietly kmake "$1" W=1 C=1 CHECK="$tmp/sparse" "${@:3}"
	} >"$2" 2>&1
}

# sparse for the files that the series touches: a header's change recompiles all of KVM. Linux 7.3
# wants a sparse that knows __typeof_unqual__; to Debian 12's, the plain operator says as much.
sparse_for() { # FILE...
	printf '#!/bin/sh\ncase "$*" in %s) echo "$*" >>%s.calls; exec sparse -D__typeof_unqual__=__typeof__ "$@" ;; esac\n' "$(printf '*%s*|' "$@" | sed 's/|$//')" "$tmp/sparse" >"$tmp/sparse"
	chmod +x "$tmp/sparse"
}

maintained() {
	(cd "$1" && perl scripts/get_maintainer.pl --no-tree --no-git --no-git-fallback --no-rolestats -f "$2") |
		grep 'kvm@vger.kernel.org' >/dev/null
}

for tree in 6.12.y mainline; do
	base=$(lab_base "$tree") || { not_ok "$tree: a base to apply to" "$base"; continue; }
	mapfile -t patches < <(list_series "$top/series/$(series_dir "$tree")")
	work=$cache/work/series-$tree
	mkdir -p "$work"
	files=$(touched "${patches[@]}" | grep '\.[ch]$' | paste -sd'|')
	mapfile -t sources < <(touched "${patches[@]}" | grep '\.c$')
	sparse_for "${sources[@]##*/}"
	rm -rf "$work/src/obj/arch/x86/kvm/"{svm/sev.o,kvm_main.o} "$tmp/sparse.calls"
	mapfile -t all < <(targets "${patches[@]}")
	check "$tree: the base compiles" lab_quietly overlay "$base" "$work"
	compile "$work" "$tmp/base.log" "${all[@]}" || not_ok "$tree: the base compiles with W=1" "$(tail -n 20 "$tmp/base.log")"
	warnings "$tmp/base.log" "$files" >"$tmp/known"
	for f in "${sources[@]}"; do
		# Not the lab's own tests, which are part of another file.
		[ ! -e "$base/$f" ] || check "$tree: sparse read the base's $f" grep -qF "$(basename "$f")" "$tmp/sparse.calls"
	done
	for ((i = 0; i < ${#patches[@]}; i++)); do
		p=${patches[i]}
		name=$tree/$(basename "$p" .patch)
		check "$name applies with no fuzz" lab_quietly overlay "$base" "$work" "${patches[@]:0:i+1}" || continue
		check "$name pleases checkpatch --strict" checkpatch "$work/src" "$p"
		mapfile -t objects < <(targets "$p")
		[ ${#objects[@]} -gt 0 ] || continue
		if compile "$work" "$tmp/patch.log" "${objects[@]}"; then
			ok "$name compiles by itself: ${objects[*]}"
		else
			not_ok "$name compiles by itself: ${objects[*]}" "$(grep -B2 -A8 -m3 -E 'error:|Error ' "$tmp/patch.log" | tail -n 30)"
		fi
		new=$(warnings "$tmp/patch.log" "$files" | comm -13 "$tmp/known" -)
		if [ -z "$new" ]; then ok "$name: no new warning (W=1, sparse)"; else not_ok "$name: no new warning (W=1, sparse)" "$new"; fi
	done
	# What the series adds has a maintainer by an F: line, not only by git's history.
	while read -r f; do
		check "$tree: MAINTAINERS covers $f" maintained "$work/src" "$f"
	done < <(sed -n '/^new file mode/,/^+++ /s,^+++ b/,,p' "${patches[@]}")
done
finish
