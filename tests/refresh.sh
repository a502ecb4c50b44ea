#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The way from patches to commits and back loses nothing: ./snplab tree, then ./snplab refresh.
# One round trip of each real series, then many small ones on a kernel of five files, in a copy of
# this repository. TAP. SNPLAB_TEST_LINUX=DIR is a kernel source to use for the series it fits.
# shellcheck disable=SC2317  # functions that check calls
set -uo pipefail

# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
t=$tmp
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_CONFIG_PARAMETERS GIT_CONFIG_COUNT
export GIT_CONFIG_GLOBAL=$t/gitconfig GIT_CONFIG_NOSYSTEM=1
git config --file "$t/gitconfig" user.name 'A Tester'
git config --file "$t/gitconfig" user.email tester@example.org

# --- A small kernel, and a copy of this repository with a small series ---------------------------

k=$t/kernel repo=$t/repo
mkdir -p "$k/kernel" "$k/include" "$repo/series/linux-6.12.y"
printf 'VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 999\nEXTRAVERSION =\n' >"$k/Makefile"
echo '# Kbuild' >"$k/Kbuild"
# Ignored, and there all the same: the kernel has such files.
printf '*.ignored\n' >"$k/.gitignore"
printf '*.[ch] diff=cpp\n' >"$k/.gitattributes"
echo keep >"$k/include/file.ignored"
printf 'with\r\ncarriage returns\r\n' >"$k/include/crlf.txt"
ln -s file.ignored "$k/include/link"
printf '#!/bin/sh\n' >"$k/run.sh"
chmod +x "$k/run.sh"
for f in a b c; do
	{
		printf 'int first(void)\n{\n\tint x = 0;\n\nout:\n'
		for i in 1 2 3 4 5 6 7 8 9; do printf '\tx += %d;\n' $i; done
		printf '\treturn x;\n}\n\nint second(int y)\n{\n'
		for i in 1 2 3 4 5 6 7 8 9; do printf '\ty *= %d;\n' $i; done
		printf '\treturn y;\n}\n'
	} >"$k/kernel/$f.c"
done
cp -r "$top/snplab" "$top/lab" "$repo/"
s=$repo/series/linux-6.12.y
w=$repo/trees/6.12.y

# The series: three patches, one with what people write by hand.
make_series() {
	local g=$t/g
	cp -a "$k" "$g" && cd "$g" || return 1
	git init -q . && git add -A -f && git commit -qm base || return 1
	sed -i 's/x += 3/x += 30/' kernel/a.c
	git commit -qam $'kernel: a: Count by thirty where three was not enough for anybody who counts here\n\nSo that it is more.\n\nFixes: 123456789abc ("kernel: Add a")'
	sed -i 's/y \*= 8/y *= 80/' kernel/b.c
	git commit -qam $'kernel: b: Multiply by 80 – größer\n\nWith a – dash, and\n\n  --- an indented line\n'
	echo new >kernel/new.c
	git add kernel/new.c
	git commit -qm $'kernel: Add new'
	git format-patch -q --zero-commit --no-signature --subject-prefix=PATCH -o "$t/p" HEAD~3
	cp "$t"/p/0001* "$s/count.patch" && cp "$t"/p/0002* "$s/multiply.patch" && cp "$t"/p/0003* "$s/add-new.patch"
	sed -i '0,/^---$/s//---\nSeen on a Tuesday.\n/; s/^Date: .*/Date: Tue, 1 Jan 2019 12:00:00 +0100/; s/^\(Subject: .*\)/Forwarded: no\n\1/' "$s/add-new.patch"
	printf '# The head comment.\n\ncount.patch\n# About the next.\nmultiply.patch\n\nadd-new.patch # last\n# The end.\n' >"$s/series"
	cd "$repo" && printf 'trees/\n' >.gitignore && git init -q .
	# Twice: what git format-patch wrote is not yet what refresh writes.
	"$repo/snplab" tree 6.12.y --linux "$k" >/dev/null && "$repo/snplab" refresh 6.12.y && rm -rf "$w" || return 1
	"$repo/snplab" tree 6.12.y --linux "$k" >"$t/made" || return 1
	git add -A && git commit -qm series && cp -a "$w" "$t/pristine"
}
made() { [ "$(cat "$t/made")" = "$w" ] || { echo "printed: $(cat "$t/made")"; return 1; }; }

# Back to where every case begins.
fresh() {
	cd "$repo" && git reset -q --hard && git clean -qfd && rm -rf "$w" && cp -a "$t/pristine" "$w" && cd "$w" || exit 1
}
refresh() { "$repo/snplab" refresh 6.12.y "$@"; }
unchanged() {
	[ -z "$(git -C "$repo" status --porcelain)" ] || { git -C "$repo" status --short; git -C "$repo" diff | cat -A | head -50; return 1; }
}
# changed_files WANTED: as git status says it, one line.
changed_files() {
	local found
	found=$(git -C "$repo" status --porcelain | sed 's,series/linux-6.12.y/,,' | LC_ALL=C sort | paste -sd' ')
	[ "$found" = "$1" ] || { printf 'expected: %s\nfound:    %s\n' "$1" "$found"; git -C "$repo" diff; return 1; }
}
# refused STATUS TEXT COMMAND...: with that exit status and words, and with nothing written.
refused() {
	local want=$1 text=$2 status=0 said
	shift 2
	said=$("$@" 2>&1) || status=$?
	[ "$status" = "$want" ] || { echo "expected status $want, found $status"; echo "$said"; return 1; }
	grep -qF -- "$text" <<<"$said" || { echo "expected to read: $text"; echo "$said"; return 1; }
	unchanged
}
# The series still makes the tree that the work tree has: another way to ask than refresh's own.
same_tree() {
	local d=$t/again p
	rm -rf "$d" && cp -a "$k" "$d" || return 1
	while read -r p _; do
		case $p in '' | '#'*) continue ;; esac
		patch -s -d "$d" -p1 -F0 --no-backup-if-mismatch -i "$s/$p" || return 1
	done <"$s/series"
	diff -r --no-dereference -x .git "$d" "$w"
}
entries() { [ "$(sed 's/#.*//' "$s/series" | xargs)" = "$1" ] || { cat "$s/series"; return 1; }; }
# Lines that the list lost and gained.
list_diff() {
	local found
	found=$(git -C "$repo" diff -U0 -- "$s/series" | grep '^[-+][^-+]' | paste -sd'|')
	[ "$found" = "$1" ] || { printf 'expected: %s\nfound:    %s\n' "$1" "$found"; cat "$s/series"; return 1; }
}
edit_todo() { GIT_SEQUENCE_EDITOR="$1" git rebase -q -i base; }

# --- Cases ---------------------------------------------------------------------------------------

check 'a series becomes commits' make_series
check 'tree prints the path, and nothing else' made
files_are_kept() { fresh; git diff --exit-code base~0 -- . >/dev/null; git checkout -q base && diff -r --no-dereference -x .git "$k" "$w" &&
	diff <(cd "$k" && find . ! -type d | sed 's,^./,,' | LC_ALL=C sort) <(git ls-tree -r --name-only base | LC_ALL=C sort); }
check 'the base has every file as it is: ignored ones, links, modes, carriage returns' files_are_kept

again() {
	cd "$t" && "$repo/snplab" tree 6.12.y "$t/second" --linux "$k" >/dev/null || return 1
	[ "$(git -C "$t/second" rev-parse HEAD)" = "$(git -C "$t/pristine" rev-parse HEAD)" ]
}
check 'the same series gives the same commit ids' again
own_copies() { [ -z "$(find "$w" -path "$w/.git" -prune -o -type f -links +1 -print)" ] && [ ! -e "$w/.git/objects/info/alternates" ]; }
check 'the files are the user'\''s own, and the tree needs no cache' own_copies
left_alone() {
	local said
	fresh; echo mine >"$w/mine.c"
	said=$("$repo/snplab" tree 6.12.y 2>/dev/null) && [ "$said" = "$w" ] && [ "$(cat "$w/mine.c")" = mine ]
}
check 'a tree that is there is left alone' left_alone
told() {
	fresh; sed -i 's/more/much more/' "$s/count.patch"
	"$repo/snplab" tree 6.12.y 2>"$t/said" >/dev/null && grep -q 'has changed since' "$t/said"
}
check 'a tree older than the series: said so' told
mkdir "$t/other" && echo precious >"$t/other/file"
something_else() { fresh; refused 3 'left untouched' "$repo/snplab" tree 6.12.y "$t/other" --linux "$k" && [ "$(ls -A "$t/other")" = file ]; }
check 'another folder of that name is left untouched' something_else
half_made() {
	local status=0
	fresh; sed -i 's/x += 3;/x += 4;/' "$s/count.patch"
	"$repo/snplab" tree 6.12.y "$t/half/tree" --linux "$k" >/dev/null 2>"$t/said" || status=$?
	[ "$status" = 3 ] && grep -q 'count.patch does not apply' "$t/said" && [ -z "$(ls -A "$t/half")" ]
}
check 'a patch that does not apply leaves no half-made tree' half_made
spaces() { fresh; "$repo/snplab" tree 6.12.y "$t/with a space/tree" --linux "$k" >/dev/null && refresh "$t/with a space/tree" && unchanged; }
check 'a path with a space' spaces

no_change() { fresh; refresh && unchanged; }
check 'no change: not a byte' no_change
twice() { fresh; "$repo/snplab" tree 6.12.y "$t/third" --linux "$k" >/dev/null && refresh "$t/third" && unchanged; }
check 'a tree made from what refresh wrote: not a byte' twice

hostile() {
	fresh
	cat >"$t/gitconfig.hostile" <<-'C'
		[user]
			name = Somebody Else
			email = else@example.org
		[diff]
			noprefix = true
			mnemonicPrefix = true
			algorithm = histogram
			context = 9
			interHunkContext = 40
			external = false
			renames = copies
			statGraphWidth = 5
			statNameWidth = 10
			indentHeuristic = false
			suppressBlankEmpty = true
			relative = true
			orderFile = Kbuild
		[diff "cpp"]
			xfuncname = "^nothing"
			textconv = false
		[format]
			signOff = true
			signature = hostile
			subjectPrefix = HOSTILE
			attach = true
			numbered = true
			useAutoBase = true
			notes = *
		[core]
			abbrev = 40
			autocrlf = true
			hooksPath = hooks
			pager = false
			attributesFile = attributes
		[color]
			ui = always
		[i18n]
			commitEncoding = ISO-8859-1
			logOutputEncoding = ISO-8859-1
		[apply]
			whitespace = fix
		[mailinfo]
			scissors = true
		[commit]
			gpgSign = true
		[am]
			threeWay = true
			keepcr = true
		[log]
			showSignature = true
			date = relative
	C
	mkdir -p "$w/hooks" && printf '#!/bin/sh\nexit 1\n' >"$w/hooks/pre-commit" && chmod +x "$w/hooks/pre-commit"
	cp "$w/hooks/pre-commit" "$w/hooks/applypatch-msg"
	echo /hooks/ >>"$w/.git/info/exclude"
	# Both as the user's and as the work tree's own, and in the environment.
	cat "$t/gitconfig.hostile" >>"$w/.git/config"
	printf '*.c -diff\n' >"$w/.git/info/attributes"
	(
		export GIT_CONFIG_GLOBAL=$t/gitconfig.hostile GIT_DIFF_OPTS=-u1 GIT_EXTERNAL_DIFF=false GIT_AUTHOR_NAME=x GIT_COMMITTER_DATE=now
		refresh && rm -rf "$t/hostile-tree" && "$repo/snplab" tree 6.12.y "$t/hostile-tree" --linux "$k"
	) || return 1
	unchanged && [ "$(git -C "$t/hostile-tree" rev-parse HEAD)" = "$(git -C "$t/pristine" rev-parse HEAD)" ]
}
check 'a hostile git configuration changes nothing' hostile
no_identity() { fresh; GIT_CONFIG_GLOBAL=/dev/null HOME=$t/nowhere refresh && unchanged; }
check 'no identity is needed' no_identity

reworded() { fresh; git commit -q --amend -m $'kernel: Add new, under another title\n\nA text.'; refresh && changed_files ' M add-new.patch' &&
	grep -q '^Subject: \[PATCH\] kernel: Add new, under another title$' "$s/add-new.patch" &&
	grep -q '^Seen on a Tuesday\.$' "$s/add-new.patch" && grep -q '^Forwarded: no$' "$s/add-new.patch" &&
	grep -q '^Date: Tue, 1 Jan 2019 12:00:00 +0100$' "$s/add-new.patch"; }
check 'an amended message: one file, its name, its notes, its headers and its date stay' reworded
code() { fresh; sed -i 's/x += 9/x += 90/' kernel/a.c; git commit -q -a --fixup=HEAD~2 && GIT_SEQUENCE_EDITOR=true git rebase -q -i --autosquash base && refresh &&
	changed_files ' M count.patch' && same_tree; }
check 'changed code, squashed into its commit: one file' code
added() { fresh; sed -i 's/y \*= 2/y *= 20/' kernel/c.c; git commit -qam $'KVM: SEV: kernel/c: Multiply_by 20 (at last), which makes a long subject longer'; refresh &&
	changed_files ' M series ?? kvm-sev-kernel-c-multiply-by-20-at-last-which-makes-a-long.patch' && same_tree &&
	list_diff '+kvm-sev-kernel-c-multiply-by-20-at-last-which-makes-a-long.patch'; }
check 'a new commit: a file named after its subject, and a line' added
first() { fresh; git checkout -q --detach base && sed -i 's/y \*= 2/y *= 20/' kernel/c.c && git commit -qam 'kernel: First' && git cherry-pick base..snplab/6.12.y >/dev/null && refresh &&
	changed_files ' M series ?? kernel-first.patch' && entries 'kernel-first.patch count.patch multiply.patch add-new.patch' && [ "$(head -n 1 "$s/series")" = '# The head comment.' ]; }
check 'a new first commit, the others picked again (their notes lost): only a file and a line' first
same_title() { fresh; sed -i 's/y \*= 2/y *= 20/' kernel/c.c; git commit -qam 'kernel: Add new'; refresh && changed_files ' M series ?? kernel-add-new.patch'; }
check 'a second commit of the same title gets a name of its own' same_title
dropped() { fresh; edit_todo "sed -i 2d"; refresh && changed_files ' D multiply.patch  M series' && list_diff '-multiply.patch' && same_tree; }
check 'a dropped commit: its file and its line go, comments stay' dropped
# A stable order of lines in the patch itself is not asked: only the list changes.
reordered() { fresh; edit_todo "sed -i -e '1{h;d}' -e '2{G}'"; refresh && changed_files ' M series' && list_diff '-count.patch|+count.patch' && same_tree && entries 'multiply.patch count.patch add-new.patch'; }
check 'reordered: one line moves' reordered
moved_line() { fresh; edit_todo "sed -i -e '3{p;d}' -e '1{h;d}' -e '2{G}'"; refresh; fresh; edit_todo "sed -i -n -e '1h;2H;3{p;g;p}'"; refresh && changed_files ' M series' &&
	list_diff '+add-new.patch # last|-add-new.patch # last'; }
check 'what stands on a list line moves with it' moved_line
keeps_name() { fresh; git commit -q --amend -m 'kernel: Another'; refresh || return 1; git -C "$repo" commit -qam x; git commit -q --amend -m 'kernel: Yet another'; refresh && changed_files ' M add-new.patch'
	local status=$?; git -C "$repo" reset -q --hard HEAD~1; return "$status"; }
check 'renamed twice, refreshed each time: the file keeps its name' keeps_name
emptied() { fresh; git rm -q kernel/b.c; git commit -qm 'kernel: Remove b'; refresh && same_tree; }
check 'a removed file' emptied
renamed() { fresh; git mv kernel/b.c kernel/z.c; git commit -qm 'kernel: Rename b'; refresh && same_tree && ! grep -q '^rename' "$s/kernel-rename-b.patch"; }
check 'a renamed file is a removed and a new one: patch(1) takes it' renamed

dirty() { fresh; echo 'int z;' >>kernel/a.c; refused 3 'in no commit' refresh; }
check 'refused: an uncommitted change' dirty
untracked() { fresh; echo 'int z;' >kernel/z.c; refused 3 'kernel/z.c' refresh; }
check 'refused: a new file that was forgotten' untracked
staged() { fresh; echo 'int z;' >>kernel/a.c; git add -A; refused 3 'in no commit' refresh; }
check 'refused: a staged change' staged
signed() { fresh; git commit -q --amend -s --no-edit; refused 3 'Signed-off-by' refresh; }
check 'refused: a Signed-off-by' signed
rebasing() { fresh; GIT_SEQUENCE_EDITOR='sed -i 1s/pick/edit/' git rebase -q -i base 2>/dev/null; refused 3 'in the middle of' refresh; }
check 'refused: in the middle of a rebase' rebasing
merged() { fresh; git checkout -q -b side base && sed -i 's/x += 1/x += 7/' kernel/c.c && git commit -qam side && git checkout -q snplab/6.12.y && git merge -q --no-edit side && refused 3 'is a merge' refresh; }
check 'refused: a merge' merged
no_base() { fresh; git tag -d base >/dev/null; refused 3 'no tag "base"' refresh; }
check 'refused: no tag "base"' no_base
nothing_there() { fresh; rm -rf "$w"; refused 3 './snplab tree 6.12.y' refresh; }
check 'refused: no tree' nothing_there
foreign() { fresh; refused 3 'something else' refresh "$t/g"; }
check 'refused: somebody else'\''s repository' foreign
no_commits() { fresh; git reset -q --hard base; refused 3 'found none' refresh; }
check 'refused: no commit at all' no_commits
no_content() { fresh; git commit -q --allow-empty -m 'kernel: Nothing'; refused 3 'changes no file' refresh; }
check 'refused: an empty commit, nothing written' no_content
binary() { fresh; printf 'a\0b' >kernel/bin; git add kernel/bin; git commit -qm 'kernel: Binary'; refused 3 'binary' refresh; }
check 'refused: a binary file, nothing written' binary
lost_text() { fresh; git commit -q --amend -m $'kernel: Add new\n\nFirst.\n---\nThis would be lost.'; refused 3 'would not survive' refresh; }
check 'refused: a message that a mail would cut' lost_text
lost_from() { fresh; git commit -q --amend -m $'kernel: Add new\n\nFrom: Somebody <else@example.org>\n\nText.'; refused 3 'would not survive' refresh; }
check 'refused: a message that begins like a header' lost_from
behind() { fresh; sed -i 's/So that it is more/So that it is much more/' "$s/count.patch"; git -C "$repo" commit -qam other; refused 3 'would undo that' refresh
	local status=$?; git -C "$repo" reset -q --hard HEAD~1; return "$status"; }
check 'refused: the patches were changed since the tree was made' behind
by_hand() { fresh; sed -i 's/Seen on a Tuesday/Seen on a Friday/' "$s/add-new.patch"; sed -i 's/About the next/About it/' "$s/series"; cp -r "$s" "$t/by-hand"; refresh && diff -r "$s" "$t/by-hand"; }
check 'notes and comments edited by hand stay as they are' by_hand
dry() { fresh; git commit -q --amend -m 'kernel: Dry'; "$repo/snplab" refresh 6.12.y --dry-run >/dev/null && unchanged; }
check 'a dry run writes nothing' dry

# --- The real thing ------------------------------------------------------------------------------

fresh
rm -rf "$t/g" "$t/again" "$t/second" "$t/third"
for d in "$top"/series/*/; do
	[ -f "$d/series" ] || continue
	tree=$(basename "$d" | sed 's/^linux-//')
	linux=()
	if [ -n "${SNPLAB_TEST_LINUX:-}" ]; then
		version=$(sed -n 's/^\(VERSION\|PATCHLEVEL\) *= *//p' "$SNPLAB_TEST_LINUX/Makefile" | head -n 2 | paste -sd.)
		if [ "$tree" = "$version.y" ] || { [ "$tree" = mainline ] && [ ! -d "$top/series/linux-$version.y" ]; }; then
			linux=(--linux "$SNPLAB_TEST_LINUX")
		else
			skip "$tree: there and back" "SNPLAB_TEST_LINUX is $version"
			continue
		fi
	fi
	round_trip() {
		rm -rf "$t/real" && mkdir "$t/real" && cp -r "$top/snplab" "$top/lab" "$top/series" "$t/real/" || return 1
		"$t/real/snplab" tree "$tree" "${linux[@]}" && "$t/real/snplab" refresh "$tree" && diff -r "$top/series" "$t/real/series"
	}
	check "$tree: there and back, not a byte changed" round_trip
	rm -rf "$t/real"
done

finish
