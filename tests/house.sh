#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The rules of the house that a program can see: what must not be in the repository, and that every
# list names what is there.
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
cd "$top" || exit
mapfile -t files < <(git -c safe.directory='*' ls-files --cached --others --exclude-standard | while read -r f; do [ -f "$f" ] && echo "$f"; done)

if [ ${#files[@]} -gt 50 ]; then ok "${#files[@]} files to look at"; else not_ok 'files to look at' "git names ${#files[@]}"; fi

# none DESCRIPTION PATTERN: ok if no file has a line that matches.
none() {
	local found
	found=$(grep -InE -- "$2" "${files[@]}" | grep -vE "${theirs:-^$}" | head -n 10)
	if [ -z "$found" ]; then ok "$1"; else not_ok "$1" "$found"; fi
}
none 'no absolute path of a home or work folder' '(^|[^A-Za-z0-9._~/-])/(home|root|work|Users)/[a-z]'
none 'no mirror'\''s address' 'https?://[a-z0-9.-]*(deb\.debian\.org|security\.debian\.org|snapshot\.debian|/debian/dists)'
none 'no sign-off: it is the sender'\''s' '^[+ ]?Signed-off-by: [A-Za-z]'
none 'no placeholder' '@[A-Z]{5,}@'
# A patch's context, and what it removes, are not ours.
theirs='^host/patches/[^:]*:[0-9]+:[ -]'
none 'nothing left to do is hidden in a comment' '(#|//|\*|;) *(TO''DO|FIX''ME|XX''X)\b'

for d in series/*/ lab/kunit/*/; do
	while read -r p _; do
		case $p in '' | '#'*) continue ;; esac
		check "${d}series: $p is there" test -f "$d$p"
	done <"${d}series"
	for p in "$d"*.patch; do
		check "$p is in the list" grep -qxE "$(basename "$p")([[:space:]].*)?" "${d}series"
	done
done
for t in series/*/; do check "series/README.md has a row for $(basename "$t")" grep -qF "$(basename "$t")" series/README.md; done

# Documentation/process/stable-kernel-rules.rst: at most 100 lines with context, and the upstream commit first.
for p in series/linux-6.12.y/*.patch; do
	lines=$(sed -n '/^diff --git/,$p' "$p" | wc -l)
	if [ "$lines" -le 100 ]; then ok "$p: $lines lines, at most 100"; else not_ok "$p: at most 100 lines" "found $lines"; fi
	first=$(awk 'body && NF { print; exit } /^$/ { body = 1 }' "$p")
	if [[ $first =~ ^\[\ Upstream\ commit\ [0-9a-f]{40}\ \]$ ]]; then ok "$p: begins with its upstream commit"; else
		not_ok "$p: begins with its upstream commit" "expected [ Upstream commit <40 digits> ], found: $first"; fi
done
for p in tests/mutants/*/*.patch; do
	check "$p says who must catch it" grep -qE '^Caught-by: [a-z-]+ .' "$p"
done
# The front door sources all of its files: of two functions with one name, the second is everybody's.
# shellcheck disable=SC2016  # a pattern
mapfile -t sourced < <(sed -n 's,^\. "$top/\(.*\)"$,\1,p' snplab)
twice=$(sed -nE 's/^([A-Za-z_0-9]+)\(\).*/\1/p' snplab "${sourced[@]}" | sort | uniq -d | paste -sd' ')
if [ ${#sourced[@]} -gt 10 ] && [ -z "$twice" ]; then ok "no function of the ${#sourced[@]} files of snplab has another one's name"; else
	not_ok 'no function of the files of snplab has another one'\''s name' "found twice: $twice"
fi
check '.ci/run calls ./snplab check' grep -q 'snplab check' .ci/run
check 'README.md names the test command' grep -q '\./snplab check' README.md
finish
