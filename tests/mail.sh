#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# What ./snplab mail writes can be sent as it is: to the right people, in one thread, signed off
# once, and git am makes the series of it again. Nothing here uses a mail server. TAP.
# SNPLAB_TEST_LINUX=DIR[:DIR] are kernel sources to use for the series they fit.
# shellcheck disable=SC2317  # functions that check calls
set -uo pipefail

# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
t=$tmp
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_CONFIG_PARAMETERS GIT_CONFIG_COUNT
export GIT_CONFIG_GLOBAL=$t/gitconfig GIT_CONFIG_NOSYSTEM=1
identity() {
	rm -f "$t/gitconfig"
	[ -z "${1:-}" ] || git config --file "$t/gitconfig" user.name "$1"
	[ -z "${2:-}" ] || git config --file "$t/gitconfig" user.email "$2"
}
cd "$t" || exit 1

# --- What is asked of a folder of mails ----------------------------------------------------------

# header NAME FILE: unfolded.
header() {
	awk -v h="$(tr '[:upper:]' '[:lower:]' <<<"$1"):" '
		/^$/ { exit }
		on && /^[ \t]/ { sub(/^[ \t]+/, ""); v = v " " $0; next }
		{ on = 0 }
		index(tolower($0), h) == 1 { on = 1; n++; v = substr($0, length(h) + 2) }
		END { if (n > 1) print "TWICE"; print v }' "$2"
}
is() { [ "$1" = "$2" ] || { printf 'expected: %s\nfound:    %s\n' "$2" "$1"; return 1; }; }
has() { [[ $1 == *"$2"* ]] || { printf 'expected in it: %s\nfound:    %s\n' "$2" "$1"; return 1; }; }

# refused STATUS TEXT COMMAND...
refused() {
	local want=$1 text=$2 status=0 said
	shift 2
	said=$("$@" 2>&1) || status=$?
	[ "$status" = "$want" ] || { echo "expected status $want, found $status"; echo "$said"; return 1; }
	grep -qF -- "$text" <<<"$said" || { echo "expected to read: $text"; echo "$said"; return 1; }
}
list() { sed 's/#.*//; s/[[:space:]]*$//; /^$/d' "$series/series"; }
mails() { printf '%s\n' "$o"/0*.patch | tail -n +2; }
# each FUNCTION: for every patch: mail, its number, the patch it was made from.
each() {
	local i=0 p
	while read -r p; do
		i=$((i + 1))
		"$1" "$(printf '%s/%04d-%s' "$o" "$i" "$p")" "$i" "$series/$p" || { echo "in mail $i"; return 1; }
	done < <(list)
}
number() { printf '%0*d/%d' "${#n}" "$1" "$n"; }
prefix() { if [[ $tree == *.y ]]; then echo "PATCH $tree"; else echo PATCH; fi; }

all_there() { is "$(cd "$o" && echo *)" "0000-cover-letter.patch $(list | awk '{ printf "%s%04d-%s", (NR > 1 ? " " : ""), NR, $0 }')"; }
subject_ok() { is "$(header Subject "$1")" "[$(prefix) $(number "$2")] $(header Subject "$3" | sed 's/^\[PATCH\] //')"; }
cover_subject() { has "$(header Subject "$o/0000-cover-letter.patch")" "[$(prefix) $(number 0)] " && ! grep -q 'SUBJECT HERE\|BLURB' "$o/0000-cover-letter.patch"; }
from_ok() { is "$(header From "$1")" 'A Tester <tester@example.org>'; }
signed_ok() {
	is "$(grep -c '^Signed-off-by: ' "$1")" 1 && is "$(awk '/^---$/ { print last; exit } { last = $0 }' "$1")" 'Signed-off-by: A Tester <tester@example.org>' || return 1
	# It joins the trailers that are there: no blank line between.
	! awk '/^---$/ { exit } { a = b; b = c; c = $0 } END { exit !(b == "" && a ~ /^(Fixes|Cc|Link): /) }' "$1"
}
nothing_else() {
	diff <(sed '1,/^$/d' "$3") <(sed '1,/^$/d' "$1") | grep '^[<>]' | grep -vx '> Signed-off-by: A Tester <tester@example.org>' | grep -vx '> ' && return 1
	return 0
}
# People and lists of MAINTAINERS, told apart by what the kernel's own script says of each.
reaches() {
	local all script
	all=$(header To "$1"),$(header Cc "$1")
	if [[ $tree == *.y ]]; then is "$(header To "$1" | cut -d, -f1)" stable@vger.kernel.org; fi || return 1
	script=$(cd "$linux" && HOME=/nonexistent perl scripts/get_maintainer.pl --no-git --no-git-fallback --no-rolestats "$3" | sed 's/.*<\(.*\)>.*/\1/; s/ (.*//')
	[ -n "$script" ] || return 1
	local a
	for a in $script; do has "$all" "$a" || return 1; done
	# Nobody twice.
	is "$(tr , '\n' <<<"$all" | grep -o '[^ <>]*@[^ <>]*' | sort | uniq -d)" ''
}
cover_reaches_all() {
	local all a m
	all=$(header To "$o/0000-cover-letter.patch"),$(header Cc "$o/0000-cover-letter.patch")
	while read -r m; do
		for a in $(header To "$m" | grep -o '[^ <>,]*@[^ <>,]*') $(header Cc "$m" | grep -o '[^ <>,]*@[^ <>,]*'); do has "$all" "$a" || return 1; done
	done < <(mails)
}
reaches_kvm() { has "$(header Cc "$o/0000-cover-letter.patch"),$(header To "$o/0000-cover-letter.patch")" kvm@vger.kernel.org; }
in_reply_ok() {
	is "$(header In-Reply-To "$1")" "$(header Message-ID "$o/0000-cover-letter.patch")" &&
		has "$(header References "$1")" "$(header Message-ID "$o/0000-cover-letter.patch")"
}
cover_in_reply() { is "$(header In-Reply-To "$o/0000-cover-letter.patch")" "$(sed -n '/^$/q; s/^In-Reply-To: //p' "$series/cover-letter")"; }
answers_the_failed_mail() { has "$(header In-Reply-To "$o/0000-cover-letter.patch")" '<2026042000-busybody-palpitate-c3f7@gregkh>'; }
ids() { is "$(grep -hi '^Message-ID: <[^<>@ ]*@[^<>@ ]*>$' "$o"/*.patch | sort -u | wc -l)" $((n + 1)); }
other_ids() {
	local before
	before=$(header Message-ID "$o/0000-cover-letter.patch")
	mail || return 1
	[ "$(header Message-ID "$o/0000-cover-letter.patch")" != "$before" ]
}
says_its_base() {
	grep -qE '^(base-commit: [0-9a-f]{40}|Base: v[0-9]+\.[0-9]+(\.[0-9]+)?[ ,])' "$o/0000-cover-letter.patch" &&
		has "$(cat "$o/0000-cover-letter.patch")" "$(list | wc -l | sed 's/.*/(&):/')"
}
placeholder_nowhere() { ! grep -n 'snplab@localhost' "$o"/*.patch; }

# git am of the mails, against patch(1) of the series.
same_tree() {
	local a=$t/am b=$t/patch f p files
	mapfile -t files < <(mails)
	rm -rf "$a" "$b" && mkdir "$a" "$b"
	while read -r p; do sed -n 's,^--- a/,,p; s,^+++ b/,,p' "$series/$p"; done < <(list) | sort -u | while read -r f; do
		[ ! -e "$linux/$f" ] || (cd "$linux" && cp --parents "$f" "$a/" && cp --parents "$f" "$b/")
	done
	(cd "$a" && git init -q . && git add -A -f && git commit -qm base && git am -q "${files[@]}") || return 1
	while read -r p; do patch -s -d "$b" -p1 -F0 --no-backup-if-mismatch -i "$series/$p" || return 1; done < <(list)
	is "$(git -C "$a" log --format='%an <%ae>' -n "$n" | sort -u)" 'A Tester <tester@example.org>' && diff -r -x .git "$a" "$b"
}
send_email_takes_them() {
	local said
	said=$(git send-email "$@" --dry-run --confirm=never --smtp-server=/bin/false "$o"/*.patch 2>&1 </dev/null) || { echo "$said"; return 1; }
	is "$(grep -c '^Message-I[dD]: ' <<<"$said")" $((n + 1)) && is "$(grep -c '^In-Reply-To: ' <<<"$said")" $((n + $(grep -ci '^In-Reply-To: ' "$o/0000-cover-letter.patch"))) &&
		is "$(grep '^In-Reply-To: ' <<<"$said" | tail -n 1)" "In-Reply-To: $(header Message-ID "$o/0000-cover-letter.patch")"
}

# --- Every series --------------------------------------------------------------------------------

cache=${SNPLAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/snplab}
# base_for TREE: a directory of SNPLAB_TEST_LINUX that fits.
base_for() {
	local d version
	IFS=: read -ra dirs <<<"${SNPLAB_TEST_LINUX:-}"
	for d in "${dirs[@]}"; do
		version=$(sed -n 's/^\(VERSION\|PATCHLEVEL\) *= *//p' "$d/Makefile" | head -n 2 | paste -sd.)
		if [ "$1" = "$version.y" ] || { [ "$1" = mainline ] && [ ! -d "$top/series/linux-$version.y" ]; }; then echo "$d"; fi
	done
}
mail() { (cd "$t" && "$top/snplab" mail "$tree" --output "$o" "${linux_option[@]}") >"$t/said" 2>&1 || { cat "$t/said"; return 1; }; }

tested=
for d in "$top"/series/*/; do
	[ -f "$d/series" ] || continue
	series=${d%/} tree=$(basename "$d" | sed 's/^linux-//')
	o=$t/out-$tree linux_option=() n=$(list | wc -l)
	linux=$(base_for "$tree")
	if [ -n "${SNPLAB_TEST_LINUX:-}" ] && [ -z "$linux" ]; then skip "$tree" 'SNPLAB_TEST_LINUX does not fit'; continue; fi
	[ -z "$linux" ] || linux_option=(--linux "$linux")
	identity 'A Tester' tester@example.org
	check "$tree: mails are written" mail
	[ -d "$o" ] || continue
	[ -n "$linux" ] || linux=$cache/base/$(cat "$cache/base/$tree.newest")
	tested=$tree
	check "$tree: a cover letter and a mail for each patch" all_there
	check "$tree: subjects: prefix and number" each subject_ok
	check "$tree: the cover letter's subject" cover_subject
	check "$tree: From is the sender" each from_ok
	check "$tree: signed off once, last of the trailers" each signed_ok
	check "$tree: nothing else is changed in a patch" each nothing_else
	check "$tree: everybody whom get_maintainer.pl names, nobody twice" each reaches
	check "$tree: the cover letter goes to all of them" cover_reaches_all
	check "$tree: the KVM list gets it" reaches_kvm
	check "$tree: the patches answer the cover letter" each in_reply_ok
	check "$tree: the cover letter answers what it says it answers" cover_in_reply
	[ "$tree" != 6.12.y ] || check "$tree: that is the mail that said FAILED" answers_the_failed_mail
	check "$tree: each mail has an id of its own" ids
	check "$tree: no placeholder is left" placeholder_nowhere
	check "$tree: it says what it is based on, and counts its patches" says_its_base
	check "$tree: git am makes the series of it" same_tree
	check "$tree: written again: replaced, other ids" other_ids
	if [ -e "$(git --exec-path)/git-send-email" ] && ! git send-email --dry-run --confirm=never --smtp-server=/bin/false "$o/0000-cover-letter.patch" 2>&1 </dev/null | grep -q 'module'; then
		check "$tree: git send-email takes them, as the hint says" send_email_takes_them --no-thread
		check "$tree: git send-email threads them the same by itself" send_email_takes_them
	else
		skip "$tree: git send-email takes them" 'git send-email is not installed, or lacks Mail::Address'
	fi
done

# --- Refusals and odd names: with one tree -------------------------------------------------------

tree=$tested
[ -n "$tree" ] || { not_ok 'a series to mail' 'no kernel source fits any'; finish; }
series=$top/series/$tree
[ -d "$series" ] || series=$top/series/linux-$tree
n=$(list | wc -l)
linux_option=()
linux=$(base_for "$tree")
[ -z "$linux" ] || linux_option=(--linux "$linux")
snplab() { "$top/snplab" mail "$tree" --output "$o" "${linux_option[@]}"; }
o=$t/none
identity '' ''
check 'refused: no identity' refused 3 user.name snplab
identity 'A Tester' ''
check 'refused: no address' refused 3 user.email snplab
identity '' tester@example.org
check 'refused: no name' refused 3 user.name snplab
identity snplab snplab@localhost
check 'refused: the placeholder' refused 3 'of yours' snplab
identity 'A Tester' 'no address'
check 'refused: an address that is none' refused 3 'of yours' snplab
nothing_written() { [ ! -e "$t/none" ] && [ -z "$(find "$t" -maxdepth 1 -name '.none*')" ]; }
check 'a refusal writes nothing' nothing_written

identity 'A Tester' tester@example.org
o=$t/full
mkdir "$o" && echo precious >"$o/file"
check 'refused: a folder that something else is in' refused 3 'left untouched' snplab
precious() { is "$(cd "$o" && echo *)" file; }
check 'it is left as it was' precious
o=$t/edited
edited() { mail && echo 'by hand' >>"$o/0000-cover-letter.patch" && refused 3 'was changed since' snplab && grep -q 'by hand' "$o/0000-cover-letter.patch"; }
check 'refused: mails that were edited are not overwritten' edited
o=$t/more
more() { mail && echo mine >"$o/notes" && refused 3 'was changed since' snplab && [ -f "$o/notes" ]; }
check 'refused: a file was put beside the mails' more
o=$t/dry
dry() { "$top/snplab" mail "$tree" --output "$o" "${linux_option[@]}" --dry-run >"$t/said" && grep -q get_maintainer.pl "$t/said" && [ ! -e "$o" ]; }
check 'a dry run prints commands and writes nothing' dry

# Each of these is somebody's name.
o=$t/names
odd_name() {
	identity "$1" tester@example.org
	mail || return 1
	local m author
	m=$(mails | head -n 1)
	author=$(git mailinfo "$t/msg" /dev/null <"$m" | sed -n 's/^Author: //p')
	is "$author" "$1" && grep -qxF "Signed-off-by: $1 <tester@example.org>" "$t/msg" && is "$(LC_ALL=C sed '/^$/q' "$m" | LC_ALL=C grep -c '[^ -~[:space:]]')" 0
}
check 'a name that is not ASCII' odd_name 'Jürgen Groß'
check 'a name with a full stop and a comma' odd_name 'J. R. Tester, Jr.'
check 'a name in another script' odd_name '山田 太郎'

# A changed repository: a copy of it.
copy() { rm -rf "$t/repo" && mkdir "$t/repo" && cp -r "$top/snplab" "$top/lab" "$top/series" "$t/repo/"; }
copied() { "$t/repo/snplab" mail "$tree" --output "$o" "${linux_option[@]}"; }
cs=$t/repo/series/$(basename "$series")
identity 'A Tester' tester@example.org
o=$t/copied
signed_already() { copy && sed -i '0,/^---$/s//Signed-off-by: Else <else@example.org>\n---/' "$cs/$(list | head -n 1)" && refused 3 'has a Signed-off-by' copied; }
check 'refused: a patch that is signed off already' signed_already
no_cover() { copy && rm "$cs/cover-letter" && refused 3 'cover letter' copied; }
check 'refused: no cover letter' no_cover
does_not_apply() { local f; copy && f=$cs/$(list | head -n 1) && sed -i '/^@@/,$s/^ \(.*[a-z].*\)/ \1 x/' "$f" && refused 3 'does not apply' copied && [ ! -e "$o" ]; }
check 'refused: a series that does not apply' does_not_apply
plain() { copy && printf 'KVM: A plain first line\n\nAnd a text.\n' >"$cs/cover-letter" && copied >/dev/null && is "$(header Subject "$o/0000-cover-letter.patch")" "[$(prefix) $(number 0)] KVM: A plain first line" && grep -qx 'And a text.' "$o/0000-cover-letter.patch"; }
check 'a cover letter whose first line is the subject' plain
v2() { copy && sed -i 's/^Subject: /Subject: [PATCH v2] /' "$cs/cover-letter" && copied >/dev/null && has "$(header Subject "$(mails | head -n 1)")" "[$(prefix) v2 $(number 1)] "; }
check 'a second version, asked for in the cover letter' v2
more_cc() { copy && sed -i '1i Cc: "Else, Somebody" <else@example.org>, Third <third@example.org>' "$cs/cover-letter" && copied >/dev/null && has "$(header Cc "$(mails | tail -n 1)")" '"Else, Somebody" <else@example.org>, Third <third@example.org>'; }
check 'Cc of the cover letter: a comma in a name' more_cc

finish
