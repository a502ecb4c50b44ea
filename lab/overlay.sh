# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The source tree that is built: the lab's own copy of a base or of the user's tree, with patches on
# top. Nothing is ever written into the user's tree, and only files whose content changes get a new
# time stamp, so that one edited line is one rebuilt object.

# work_dir TREE: where a tree's copy and objects live. DIR trees are told apart by their real path.
work_dir() {
	local name
	case $1 in
	*/*) name=dir-$(slug "$(basename "$1")")-$(printf %s "$1" | sha256sum | cut -c1-8) ;;
	*)
		name=$1
		[ -z "${linux_dir:-}" ] || name+=-on-$(slug "$(basename "$linux_dir")")-$(printf %s "$linux_dir" | sha256sum | cut -c1-8)
		;;
	esac
	printf '%s/work/%s\n' "$cache" "$name"
}

# patches_for TREE SOURCE: the patch files that go on top of SOURCE, in order. A named tree gets its
# series; then every tree without a KUnit test of its own gets the lab's, if there is one for its version.
patches_for() {
	local version series=
	case $1 in */*) ;; *) list_series "$top/series/$(series_dir "$1")"; series=$1 ;; esac
	version=$(kernel_version "$2")
	if [ "$series" != mainline ] && [ ! -e "$2/arch/x86/kvm/svm/tests" ] && [ -d "$lab/kunit/linux-${version%.*}.y" ]; then
		list_series "$lab/kunit/linux-${version%.*}.y"
	fi
	[ ${#extra_patches[@]} -eq 0 ] || printf '%s\n' "${extra_patches[@]}"
}

# set_patches TREE SOURCE: those of patches_for, in the array patches.
set_patches() {
	local p
	# An assignment of its own, so that its failure ends the run.
	p=$(patches_for "$@")
	mapfile -t patches < <(printf '%s' "${p:+$p$'\n'}")
}

series_dir() { case $1 in mainline) echo mainline ;; *) echo "linux-$1" ;; esac; }

# touched PATCH...: the files that the patches change, one a line.
# Asked where no git repository is in the way: git apply leaves out what is outside its own.
touched() {
	[ $# -eq 0 ] || {
		(cd "$cache" && GIT_CEILING_DIRECTORIES=$(dirname "$cache") git apply --numstat "$@") | cut -f3
		# numstat has a renamed file's new name only.
		sed -n 's,^rename \(from\|to\) ,,p' "$@"
	} | sed '/ => /d' | sort -u
}

# overlay SOURCE WORK PATCH...: brings WORK/src to SOURCE plus the patches, plus the files of the folder
# $overlay_new if there is one. A stage. $overlay_what is what SOURCE is called, if it is no kernel.
overlay() {
	local source=$1 work=$2 patches files f p new
	shift 2
	patches=("$@")
	if [ -n "$dry_run" ]; then
		case $source in
		"$cache"/base/*) run cp -al "$source" "$work/src" ;;
		*) run rsync -a --delete "$source/" "$work/src/" ;;
		esac
		[ -z "${overlay_new:-}" ] || run cp -a "$overlay_new/." "$work/src/"
		for p in "${patches[@]}"; do run patch -d "$work/src" -p1 -F0 -i "$p"; done
		return
	fi
	mkdir -p "$work"
	files=$(touched "${patches[@]}")
	if [ -n "${overlay_new:-}" ]; then
		while read -r f; do
			[ ! -e "$source/$f" ] || setup_error "$(patch_name "$overlay_new/$f") is in ${overlay_what:-the kernel} already" \
				'expected new files only: what changes a file is a patch'
			files+=$'\n'$f
		done < <(find "$overlay_new" -type f -printf '%P\n')
	fi

	# The patched files are made beside the tree first: a patch that does not apply changes nothing.
	new=$(mktemp -d "$work/.new.XXXXXX")
	scratch=$new
	trap 'rm -rf "$scratch"' EXIT
	[ -z "${overlay_new:-}" ] || cp -a --no-preserve=ownership "$overlay_new/." "$new/"
	while read -r f; do
		[ -z "$f" ] || [ ! -e "$source/$f" ] || (cd "$source" && cp --parents -p "$f" "$new/")
	done <<<"$files"
	for p in "${patches[@]}"; do
		patch -d "$new" -p1 -F0 --no-backup-if-mismatch -i "$p" ||
			does_not_apply "$p" "$source"
	done

	copy_source "$source" "$work" "$files"
	{ cat "$work/patched" 2>/dev/null || true; printf '%s\n' "$files"; } | sort -u | while read -r f; do
		[ -n "$f" ] || continue
		if [ -e "$new/$f" ]; then
			replace_if_changed "$new/$f" "$work/src/$f"
		elif [ -e "$source/$f" ] && ! grep -qxF "$f" <<<"$files"; then
			replace_if_changed "$source/$f" "$work/src/$f"
		else
			rm -f "$work/src/$f"
		fi
	done
	printf '%s\n' "$files" >"$work/patched"
}

does_not_apply() { # PATCH SOURCE
	local hints=('expected every hunk to apply with no fuzz; the log has the hunks that did not')
	[ -n "${overlay_what:-}" ] ||
		hints+=('to rebase it: ./snplab tree --linux with the version it was made for, git rebase, ./snplab refresh')
	setup_error "$(patch_name "$1") does not apply to ${overlay_what:-linux $(kernel_version "$2")}" "${hints[@]}"
}

patch_name() { case $1 in "$top"/*) printf '%s' "${1#"$top"/}" ;; *) printf '%s' "$1" ;; esac; }

# A hard link to the base is never written through: the changed file is a new one.
replace_if_changed() {
	if cmp -s "$1" "$2"; then return; fi
	mkdir -p "$(dirname "$2")"
	cp --remove-destination "$1" "$2"
	# Newer than any object, whatever time stamp the source had.
	touch "$2"
}

# copy_source SOURCE WORK FILES: hard links to a base in the cache, which nobody edits; a copy of a tree
# that somebody may. FILES, the patched ones, are left for the caller.
copy_source() {
	local source=$1 work=$2
	case $source in
	"$cache"/base/*)
		if [ "$(cat "$work/base" 2>/dev/null)" != "$source" ]; then
			rm -rf "$work"/{src,src.tmp,patched,building,kselftest,tests}
			cp -al "$source" "$work/src.tmp"
			mv -T "$work/src.tmp" "$work/src"
			printf '%s\n' "$source" >"$work/base"
		fi
		;;
	*) copy_changed "$source" "$work" "$3" ;;
	esac
}

# copy_changed SOURCE WORK FILES: what has another size or time than when it was last looked at. The copies
# get the time of copying: a file that goes back to what it was, old time stamp and all, is as new to make
# as any other change.
copy_changed() {
	local source=$1 work=$2 f
	# What a build inside the tree left there would make kbuild refuse a build outside it.
	(cd "$source" && find . \( -path ./.git -o -path ./obj -o -path ./build -o -path ./include/config -o -path ./include/generated \
		-o -path './arch/*/include/generated' \) -prune -o \( -type f -o -type l \) ! -name '*.o' ! -name '*.ko' \
		! -name '*.a' ! -name '*.cmd' ! -path ./.config ! -path ./vmlinux -printf '%P\t%s\t%T@\t%l\n') |
		sort >"$work/manifest.new"
	if [ ! -e "$work/manifest" ]; then
		rm -rf "$work/src" "$work/patched"
		: >"$work/manifest"
	fi
	mkdir -p "$work/src"
	comm -3 "$work/manifest" "$work/manifest.new" | sed 's/^\t//' | cut -f1 | sort -u |
		grep -vxF -f <(printf '%s\n' "$3"; cat "$work/patched" 2>/dev/null || true) >"$work/changed" || true
	while read -r f; do
		[ -e "$source/$f" ] || [ -L "$source/$f" ] || rm -f "$work/src/$f"
	done <"$work/changed"
	rsync -lpgoD --ignore-missing-args --files-from="$work/changed" "$source/" "$work/src/"
	mv "$work/manifest.new" "$work/manifest"
}
