# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The verbs `tree` and `refresh`: a series as commits in a git work tree, and the commits back as
# patch files. What refresh writes depends on the commits alone: not on git's version, not on
# anybody's configuration.

# Of patches that are new; those that are there keep the Date that they have.
patch_date='Mon, 17 Sep 2001 00:00:00 +0000'

# git_own ARGUMENT...: git without anybody's configuration, hooks, attributes, identity or habits.
# The repository's own configuration still counts.
git_own() {
	local drop=() v
	for v in $(compgen -e GIT_); do case $v in GIT_INDEX_FILE) ;; *) drop+=(-u "$v") ;; esac; done
	env "${drop[@]}" GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_ATTR_NOSYSTEM=1 \
		GIT_TERMINAL_PROMPT=0 GIT_NO_REPLACE_OBJECTS=1 \
		GIT_AUTHOR_NAME=snplab GIT_AUTHOR_EMAIL=snplab@localhost GIT_AUTHOR_DATE="$patch_date" \
		GIT_COMMITTER_NAME=snplab GIT_COMMITTER_EMAIL=snplab@localhost GIT_COMMITTER_DATE="$patch_date" \
		git -c core.hooksPath=/dev/null -c core.attributesFile=/dev/null -c core.fsmonitor=false \
		-c core.autocrlf=false -c core.quotePath=true -c commit.gpgSign=false -c gc.auto=0 \
		-c maintenance.auto=false -c 'safe.directory=*' "$@"
}

# --- tree ----------------------------------------------------------------------------------------

tree_tmp=''
tree_cleanup() { [ -z "$tree_tmp" ] || rm -rf "$tree_tmp"; }

verb_tree() {
	local tree=$1 dir source version
	# The answer is the path, alone on standard output.
	out=2
	[ $# -le 2 ] || usage_error "tree takes a tree and a directory, found a third argument: '$3'"
	dir=$(absolute "${2:-$top/trees/$tree}")
	if [ -n "$(ls -A "$dir" 2>/dev/null)" ] || { [ -e "$dir" ] && [ ! -d "$dir" ]; }; then
		tree_is_there "$tree" "$dir"
		printf '%s\n' "$dir"
		return
	fi
	stage_all=3
	[ -z "$linux_dir" ] || stage_all=2
	stage 'install what is missing' install_missing fetch overlay >&2
	if [ -z "$linux_dir" ]; then
		stage "fetch linux for $tree" fetch_base "$tree" >&2
	fi
	source=$(base_of "$tree")
	version=$(kernel_version "$source") || version='(version not known yet)'
	if [ -z "$dry_run" ]; then
		mkdir -p "$(dirname "$dir")" 2>/dev/null || setup_error "cannot create $(dirname "$dir")" 'name a DIR in a folder that can be written'
		need_space "$(dirname "$dir")" 3000 'a work tree'
		# Only a whole tree gets the final name.
		tree_tmp=$(mktemp -d "$(dirname "$dir")/.$(basename "$dir").XXXXXX") ||
			setup_error "cannot write into $(dirname "$dir")" 'name a DIR in a folder that can be written'
		at_exit tree_cleanup
	fi
	stage "make a work tree of linux $version and the series" make_tree "$tree" "$source" "${tree_tmp:-$dir}" >&2
	if [ -z "$dry_run" ]; then
		mv -T "$tree_tmp" "$dir" || setup_error "$dir has appeared meanwhile" 'run again'
		tree_tmp=
	fi
	printf '%s\n' "$dir"
}

# tree_is_there TREE DIR: returns if DIR is such a work tree; anything else is left untouched.
tree_is_there() {
	[ "$(tree_config "$2" tree)" = "$1" ] ||
		setup_error "$(tilde "$2") is there, and is no work tree of $1 that ./snplab tree made: left untouched" \
			'name another DIR, or move that one away'
	if [ "$(tree_config "$2" series)" != "$(series_digest "$1")" ]; then
		note "the series has changed since $(tilde "$2") was made: left alone"
		note "for one of the series as it is now: ./snplab tree $1 DIR with another DIR, or remove that one first"
	elif [ -n "$linux_dir" ]; then
		note "$(tilde "$2") was there already: left alone, --linux has no effect"
	fi
}
tree_config() { [ -e "$1/.git" ] && git_own -C "$1" config --local --get "snplab.$2" 2>/dev/null; }

absolute() { case $1 in /*) realpath -sm -- "$1" ;; *) realpath -sm -- "$PWD/$1" ;; esac; }

# make_tree TREE SOURCE DIR: a stage.
make_tree() {
	local tree=$1 source=$2 dir=$3 patches patch
	patches=$(list_series "$top/series/$(series_dir "$tree")")
	if [ -n "$dry_run" ]; then
		run cp -a "$source" "$dir"
		run git init "$dir"
		run git -C "$dir" add -A -f
		run git -C "$dir" commit -m "linux $(kernel_version "$source")"
		run git -C "$dir" tag base
		while read -r patch; do run git -C "$dir" am "$patch"; done <<<"$patches"
		return
	fi
	echo "copying $source"
	copy_base "$source" "$dir"
	git_own init -q --template= --object-format=sha1 "$dir"
	git_own -C "$dir" symbolic-ref HEAD "refs/heads/snplab/$tree"
	mkdir -p "$dir/.git/info"
	echo "adding the files to git"
	# -f: the kernel's .gitignore names files that the kernel has. bigFileThreshold makes git write one
	# pack as it reads, instead of 90 000 loose objects.
	git_own -C "$dir" -c core.bigFileThreshold=1 -c core.compression=1 -c core.safecrlf=false add -A -f .
	git_own -C "$dir" commit -q --no-verify -m "linux $(kernel_version "$source")"
	git_own -C "$dir" tag base
	# The copy stays byte for byte what it is, whatever the user's own configuration says.
	git_own -C "$dir" config core.autocrlf false
	# A commit keeps its note, and with it its patch's file name, when it is amended or rebased.
	git_own -C "$dir" config notes.rewriteRef refs/notes/snplab
	while read -r patch; do
		echo "applying $patch"
		git_own -C "$dir" am -q --keep-non-patch --no-3way --no-scissors --no-message-id --no-keep-cr \
			--no-ignore-whitespace --whitespace=nowarn --no-gpg-sign --committer-date-is-author-date "$patch" ||
			setup_error "$(patch_name "$patch") does not apply to linux $(kernel_version "$source")" \
				'expected every hunk to apply with no fuzz; what git said is in the log' \
				'give the version it was made for with --linux DIR'
		name_commit "$dir" HEAD "$(basename "$patch")"
	done <<<"$patches"
	git_own -C "$dir" config snplab.tree "$tree"
	git_own -C "$dir" config snplab.series "$(series_digest "$tree")"
	# mktemp made it for its maker only.
	chmod "$(printf '%o' $((0777 & ~$(umask))))" "$dir"
}

# copy_base SOURCE DIR: the user's own copies, of what belongs to the kernel.
copy_base() {
	case $1 in
	"$cache"/base/*) cp -a --no-preserve=ownership --reflink=auto "$1/." "$2/" ;;
	*)
		if [ "$(git_own -C "$1" rev-parse --show-toplevel 2>/dev/null)" = "$1" ]; then
			# A developer's tree: what git tracks, as it is on the disk.
			git_own -C "$1" ls-files -z |
				rsync -a --no-o --no-g --from0 --files-from=- --ignore-missing-args "$1/" "$2/"
		else
			tar -C "$1" -c --anchored --exclude=./.git --exclude=./.config --exclude=./vmlinux \
				--exclude=./include/config --exclude=./include/generated --exclude='./arch/*/include/generated' \
				--no-anchored --exclude='*.o' --exclude='*.ko' --exclude='*.a' --exclude='*.cmd' . |
				tar -C "$2" -x --no-same-owner
		fi ;;
	esac
}

name_commit() { git_own -C "$1" notes --ref=snplab add -f -m "$3" "$2"; }

# series_digest TREE: of what the commits carry. Neither comments in the list, nor notes below a
# patch's "---", nor its Date count.
series_digest() {
	local patches p
	patches=$(list_series "$top/series/$(series_dir "$1")")
	while read -r p; do
		[ -n "$p" ] || continue
		printf '%s\n' "$(basename "$p")"
		patch_subject "$p"
		awk '
			!body { if ($0 == "") body = 1; next }
			/^---$/ && !diff { skip = 1 }
			/^diff --git / { diff = 1; skip = 0 }
			!skip' "$p"
	done <<<"$patches" | sha256sum | cut -d' ' -f1
}

# patch_subject FILE: unfolded, without [PATCH ...].
patch_subject() {
	awk '
		/^$/ { exit }
		on && /^[ \t]/ { sub(/^[ \t]+/, ""); s = s " " $0; next }
		{ on = 0 }
		tolower($0) ~ /^subject:/ { on = 1; sub(/^[^:]*:[ \t]*/, ""); s = $0 }
		END { sub(/^\[[^]]*PATCH[^]]*\][ \t]*/, "", s); print s }' "$1"
}

# --- refresh -------------------------------------------------------------------------------------

verb_refresh() {
	local tree=$1 dir series commits
	[ $# -le 2 ] || usage_error "refresh takes a tree and a directory, found a third argument: '$3'"
	dir=$(absolute "${2:-$top/trees/$tree}")
	series=$top/series/$(series_dir "$tree")
	stage_all=2
	stage 'install what is missing' install_missing overlay
	check_tree "$tree" "$dir"
	commits=$(git_own -C "$dir" rev-list --reverse base..HEAD)
	if [ -z "$dry_run" ]; then
		# Beside its target: a rename is all or nothing only within one file system.
		tree_tmp=$(mktemp -d "$top/series/.refresh.XXXXXX") || setup_error "cannot write into $top/series"
		at_exit tree_cleanup
	fi
	stage "write $(wc -l <<<"$commits") commits to ${series#"$top"/}" refresh_series "$tree" "$dir" "$series" "$commits"
}

# check_tree TREE DIR: only a tree whose commits are all there is to it is written back.
check_tree() {
	local tree=$1 dir=$2 shown found state
	shown=$(tilde "$dir")
	[ -d "$dir" ] || setup_error "expected a work tree in $shown, found none" "make it: ./snplab tree $tree${2:+ DIR}"
	found=$(tree_config "$dir" tree) || true
	[ "$found" = "$tree" ] ||
		setup_error "$shown: expected a work tree of $tree, found ${found:+one of }${found:-something else}" \
			"./snplab tree $tree DIR makes one"
	for state in rebase-merge rebase-apply MERGE_HEAD CHERRY_PICK_HEAD REVERT_HEAD; do
		[ ! -e "$(cd "$dir" && git_own rev-parse --path-format=absolute --git-path "$state")" ] ||
			setup_error "$shown is in the middle of a rebase, am, merge, cherry-pick or revert ($state): nothing written" \
				'finish it, or abandon it with --abort, then run again'
	done
	git_own -C "$dir" rev-parse -q --verify 'refs/tags/base^{commit}' >/dev/null ||
		setup_error "$shown has no tag \"base\": expected it on the commit below the series" \
			"git -C $shown tag base COMMIT"
	git_own -C "$dir" merge-base --is-ancestor base HEAD ||
		setup_error "$shown: expected HEAD to be on top of the tag \"base\", and it is not" \
			"git -C $shown switch snplab/$tree"
	# The user's own list of ignored files counts: an editor's swap file is no change.
	found=$(git_own -C "$dir" -c core.excludesFile="$(git -C "$dir" config --get --path core.excludesFile 2>/dev/null || echo /dev/null)" \
		status --porcelain --untracked-files=normal --ignore-submodules=none) ||
		setup_error "$shown: git status failed" 'what it says itself is above'
	[ -z "$found" ] ||
		setup_error "$shown has changes that are in no commit: nothing written" \
			"found: $(head -n 5 <<<"$found" | paste -sd, | sed 's/,/, /g')$([ "$(wc -l <<<"$found")" -le 5 ] || printf ' …')" \
			'commit them (git commit --amend, or --fixup and rebase), or drop them'
	found=$(git_own -C "$dir" rev-list --merges base..HEAD | head -n 1)
	[ -z "$found" ] ||
		setup_error "$shown: ${found:0:12} is a merge: a series is a straight line of commits" "git -C $shown rebase base"
	found=$(git_own -C "$dir" rev-list --count base..HEAD)
	[ "$found" -gt 0 ] || setup_error "$shown: expected commits after the tag \"base\", found none: nothing written" \
		"git -C $shown reflog names what was there"
	found=$(git_own -C "$dir" log --format='%h %s' -i --grep='^Signed-off-by:' base..HEAD | tail -n 1)
	[ -z "$found" ] ||
		setup_error "$shown: \"$found\" has a Signed-off-by: patches in this repository carry none" \
			'take it out (git rebase -i base, reword); ./snplab mail adds the sender'\''s own' \
			'format.signOff and commit templates may have added it'
	[ "$(tree_config "$dir" series)" = "$(series_digest "$tree")" ] ||
		setup_error "the patches in series/$(series_dir "$tree") have changed since $shown was made: refreshing would undo that" \
			"./snplab tree $tree NEWDIR, cherry-pick your commits there, ./snplab refresh $tree NEWDIR" \
			"or, if the commits in $shown are the ones to keep: git -C $shown config snplab.series $(series_digest "$tree")"
}

# refresh_series TREE DIR SERIES COMMITS: a stage. Everything is made and checked in tree_tmp first.
refresh_series() {
	local tree=$1 dir=$2 series=$3 commits=$4 new=$tree_tmp/new repo=$tree_tmp/repo
	local commit slug i=0 changed=() added=() gone=() old
	if [ -n "$dry_run" ]; then
		for commit in $commits; do run git -C "$dir" format-patch -1 "$commit" -o "$series"; done
		return
	fi
	mkdir "$new"
	neutral_repository "$dir" "$repo"
	GIT_INDEX_FILE=$tree_tmp/index git_own -C "$repo" read-tree "$(git_own -C "$dir" rev-parse 'base^{commit}')"
	sed 's/[[:space:]]*$//; s/^[[:space:]]*//; /^#/d; /^$/d; s/[[:space:]].*//' "$series/series" >"$tree_tmp/old"
	name_patches "$dir" "$series" "$commits" >"$tree_tmp/names"
	cut -d' ' -f2 "$tree_tmp/names" >"$tree_tmp/list"
	while read -r commit slug; do
		i=$((i + 1))
		echo "$i $commit $slug"
		write_patch "$repo" "$commit" "$series/$slug" >"$new/$slug"
		check_patch "$repo" "$commit" "$new/$slug"
	done <"$tree_tmp/names"
	merge_list "$tree_tmp/old" "$tree_tmp/list" "$series/series" >"$new/series"

	# From here on it is done, or not begun: a Ctrl-C waits.
	trap '' INT TERM HUP
	while read -r slug; do
		if [ ! -e "$series/$slug" ]; then
			added+=("$slug")
		elif ! cmp -s "$new/$slug" "$series/$slug"; then
			changed+=("$slug")
		else
			continue
		fi
		mv "$new/$slug" "$series/$slug"
	done <"$tree_tmp/list"
	if ! cmp -s "$new/series" "$series/series"; then mv "$new/series" "$series/series"; fi
	while read -r old; do
		if ! grep -qxF -- "$old" "$tree_tmp/list"; then
			gone+=("$old")
			rm -f "$series/$old"
		fi
	done <"$tree_tmp/old"
	while read -r commit slug; do name_commit "$dir" "$commit" "$slug"; done <"$tree_tmp/names"
	git_own -C "$dir" config snplab.series "$(series_digest "$tree")"

	for slug in "${changed[@]}"; do tell "changed $slug"; done
	for slug in "${added[@]}"; do tell "new     $slug"; done
	for slug in "${gone[@]}"; do tell "gone    $slug"; done
	[ $((${#changed[@]} + ${#added[@]} + ${#gone[@]})) -gt 0 ] || tell 'every patch is as it was'
}

# neutral_repository DIR REPO: sees DIR's objects and none of its configuration, attributes, hooks,
# grafts or replacements, so that nothing of them shows in a patch.
neutral_repository() {
	git_own init -q --bare --template= --object-format=sha1 "$2"
	mkdir -p "$2/objects/info" "$2/info"
	(cd "$1" && git_own rev-parse --path-format=absolute --git-path objects) >"$2/objects/info/alternates"
	# What follows @@ is git's own choice for C; written out, as it may change from version to version.
	printf '%s\n' '*.[ch] diff=kernel' >"$2/info/attributes"
	git_own -C "$2" config diff.kernel.xfuncname \
		$'!^[ \t]*[A-Za-z_][A-Za-z_0-9]*:[[:space:]]*($|/[/*])\n^((::[[:space:]]*)?[A-Za-z_].*)$'
}

# name_patches DIR SERIES COMMITS: "commit file" for each. A commit's note names its file; without one
# (cherry-picked, split), the patch with the same subject does; else the name is made from the subject.
name_patches() {
	local dir=$1 series=$2 commit slug p n i=0 subjects=() names=() commits
	local -A taken=()
	mapfile -t commits <<<"$3"
	for commit in "${commits[@]}"; do
		subjects[i]=$(git_own -C "$dir" log -1 --format=%s --encoding=UTF-8 "$commit")
		slug=$(git_own -C "$dir" notes --ref=snplab show "$commit" 2>/dev/null | head -n 1) || true
		if [[ $slug =~ ^[A-Za-z0-9][A-Za-z0-9._+-]*\.patch$ ]] && [ -z "${taken[$slug]:-}" ]; then
			taken[$slug]=1
			names[i]=$slug
		fi
		i=$((i + 1))
	done
	for i in "${!commits[@]}"; do
		[ -z "${names[i]:-}" ] || continue
		while read -r slug; do
			if [ -n "${taken[$slug]:-}" ] || [ ! -f "$series/$slug" ]; then continue; fi
			if [ "$(patch_subject "$series/$slug")" = "${subjects[i]}" ]; then
				taken[$slug]=1
				names[i]=$slug
				break
			fi
		done <"$tree_tmp/old"
	done
	for i in "${!commits[@]}"; do
		if [ -z "${names[i]:-}" ]; then
			p=$(slug_of_subject "${subjects[i]}")
			slug=$p.patch n=2
			while [ -n "${taken[$slug]:-}" ] || [ -e "$series/$slug" ]; do
				slug=$p-$n.patch
				n=$((n + 1))
			done
			taken[$slug]=1
			names[i]=$slug
		fi
		printf '%s %s\n' "${commits[i]}" "${names[i]}"
	done
}

# At most 60 characters, cut between words.
slug_of_subject() {
	local s
	s=$(tr -c '[:alnum:]\n' '-' <<<"${1//_/-}" | LC_ALL=C tr -cd 'A-Za-z0-9\n-' | tr '[:upper:]' '[:lower:]' | tr -s - | sed 's/^-//; s/-$//')
	if [ ${#s} -gt 60 ]; then s=${s:0:61}; s=${s%-*}; fi
	printf '%s\n' "${s:-patch}"
}

# write_patch REPO COMMIT OLD: the patch file of a commit, on standard output. What somebody wrote by
# hand into OLD, the file so far, stays: Date, further headers, notes below "---".
write_patch() {
	local repo=$1 commit=$2 old=$3 date headers notes body
	date=$patch_date headers='' notes=''
	if [ -f "$old" ]; then
		headers=$(hand_headers "$old")
		notes=$(hand_notes "$old")
		date=$(awk '/^$/ { exit } /^Date: / { print substr($0, 7); exit }' "$old")
	fi
	[ "$(git_own -C "$repo" diff-tree -r --no-renames --numstat "$commit^" "$commit" | grep -c '^-')" = 0 ] ||
		setup_error "${commit:0:12} changes a binary file: patch(1), which builds use, cannot carry that"
	[ -n "$(git_own -C "$repo" diff-tree -r "$commit^" "$commit")" ] ||
		setup_error "${commit:0:12} changes no file: a mail cannot carry that" 'drop it: git rebase -i --empty=drop base'
	printf 'From %040d Mon Sep 17 00:00:00 2001\n' 0
	printf 'From: snplab <snplab@localhost>\n'
	printf 'Date: %s\n' "${date:-$patch_date}"
	# Folded where git folds it.
	git_own -C "$repo" log -1 --format='Subject: [PATCH] %s' --encoding=UTF-8 "$commit" | awk '{
		line = $1
		for (i = 2; i <= NF; i++) {
			if (length(line) + 1 + length($i) > 78) { print line; line = "" }
			line = line " " $i
		}
		print line
	}'
	printf '%s' "${headers:+$headers$'\n'}"
	body=$(git_own -C "$repo" log -1 --format=%b --encoding=UTF-8 "$commit")
	printf '\n%s---\n' "${body:+$body$'\n'}"
	printf '%s' "${notes:+$notes$'\n\n'}"
	# No renames: not every patch(1) and none of the lab's own lists of files take them.
	git_own -C "$repo" diff-tree -r -p --stat=72 --summary -U3 --inter-hunk-context=0 --abbrev=12 --no-renames \
		--diff-algorithm=myers --indent-heuristic --no-color --no-ext-diff --no-textconv --no-relative \
		--src-prefix=a/ --dst-prefix=b/ -O/dev/null "$commit^" "$commit"
}

hand_headers() {
	awk '
		/^$/ { exit }
		/^[ \t]/ { if (keep) print; next }
		{ keep = $0 !~ /^(From |From:|Date:|Subject:)/ }
		keep' "$1"
}
hand_notes() {
	awk '
		!on { if ($0 == "---") on = 1; next }
		/^diff --git / || /^ [0-9]+ files? changed/ || /^ [^ ].* \| +([0-9]+ ?[-+]*|Bin .*)$/ { exit }
		{ print }' "$1"
}

# check_patch REPO COMMIT FILE: what git reads from the file is the commit again. A line of a changelog
# that looks like a mail's end, or a header, would be lost on the way.
check_patch() {
	local repo=$1 commit=$2 file=$3 d=$tree_tmp/check
	local what
	rm -rf "$d"
	mkdir "$d"
	what=$(git_own mailsplit -b -o"$d" "$file")
	git_own mailinfo -b --encoding=UTF-8 --no-scissors "$d/msg" "$d/patch" <"$file" >"$d/info" || what=0
	if [ "$what" != 1 ] ||
		[ "$(cat "$d/msg")" != "$(git_own -C "$repo" log -1 --format=%b --encoding=UTF-8 "$commit")" ] ||
		[ "$(sed -n 's/^Subject: //p' "$d/info")" != "$(git_own -C "$repo" log -1 --format=%s --encoding=UTF-8 "$commit")" ]; then
		setup_error "the message of ${commit:0:12} would not survive as a mail: nothing written" \
			'a line that begins with "---", "diff -", "Index: " or "From ", or a first line like a header, must be indented or reworded'
	fi
	if ! GIT_INDEX_FILE=$tree_tmp/index git_own -C "$repo" apply --cached --whitespace=nowarn "$file" ||
		[ "$(GIT_INDEX_FILE=$tree_tmp/index git_own -C "$repo" write-tree)" != "$(git_own -C "$repo" rev-parse "$commit^{tree}")" ]; then
		setup_error "the patch of ${commit:0:12} does not give the commit's tree again: nothing written" \
			'a change of a file'\''s kind, or of an attribute, cannot be carried; what git said is in the log'
	fi
}

# merge_list OLD NEW FILE: FILE, a series list, with its entries changed from OLD to NEW. Comments and
# blank lines stay where they are; an entry that moves takes what stands on its line along.
merge_list() {
	diff -d --unchanged-line-format='=%L' --old-line-format='-%L' --new-line-format='+%L' "$1" "$2" >"$tree_tmp/edits" || [ $? = 1 ]
	awk '
		function entry(line) { split(line, f); return f[1] ~ /^#/ ? "" : f[1] }
		# Copies what comes before the next entry; the entry itself is in "held" then.
		function skip_to_entry() {
			while (!have && at < n) {
				at++
				if (entry(lines[at]) != "") have = 1
				else print lines[at]
			}
		}
		NR == FNR { lines[++n] = $0; if (entry($0) != "") whole[entry($0)] = $0; next }
		{
			op = substr($0, 1, 1); name = substr($0, 2)
			if (op == "+") {
				# A head comment stays the head.
				if (!begun) skip_to_entry()
				print (name in whole) ? whole[name] : name
			} else {
				skip_to_entry()
				if (op == "=") print lines[at]
				have = 0
			}
			begun = 1
		}
		END { if (have) at--; while (at < n) print lines[++at] }' "$3" "$tree_tmp/edits"
}
