# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The lab's own functions, for tests that look at a step of it. Sourced after tap.sh.

verb=check out=1 dry_run='' linux_dir='' extra_patches=()
# shellcheck source=lab/lib.sh
. "${top:?}/lab/lib.sh"
# shellcheck source=lab/deps.sh
. "$top/lab/deps.sh"
# shellcheck source=lab/fetch.sh
. "$top/lab/fetch.sh"
# shellcheck source=lab/overlay.sh
. "$top/lab/overlay.sh"
# shellcheck source=lab/build.sh
. "$top/lab/build.sh"
# shellcheck source=lab/qemu.sh
. "$top/lab/qemu.sh"
mkdir -p "$cache"

# In a shell of its own, where a failure ends it and a lock ends with it: not a subshell, in which a
# caller's "if" or "||" would switch set -e off.
lab_quietly() {
	bash -c 'set -euo pipefail; top=$1 tmp=$2; shift 2; . "$top/tests/lab.sh"; stage_log=$tmp/stage; "$@"' \
		lab "$top" "${tmp:?}" "$@"
}

# lab_base NAME: the path of an unpacked kernel source, fetched if need be; or what went wrong.
lab_base() {
	local log=${tmp:?}/fetch-$1.log
	lab_quietly fetch_base "$1" >"$log" 2>&1 || { tail -n 15 "$log"; return 1; }
	base_of "$1"
}

# checkpatch SOURCE PATCH: complains of anything but the sign-off, which is the sender's to add; of
# commit ids, which it looks up in a git history that a tarball has not; and of new files, of which it
# always asks whether MAINTAINERS needs updating (series.sh asks get_maintainer.pl instead).
checkpatch() {
	local said complaint line bad=0
	if said=$(cd "$1" && perl scripts/checkpatch.pl --no-tree --strict --terse --show-types \
		--ignore MISSING_SIGN_OFF,NO_AUTHOR_SIGN_OFF,UNKNOWN_COMMIT_ID,FILE_PATH_CHANGES "$2"); then return 0; fi
	# Without its last line, checkpatch itself has failed.
	if ! grep -q '^total:' <<<"$said"; then printf '%s\n' "$said" 'checkpatch.pl did not end as it should'; return 1; fi
	while IFS= read -r complaint; do
		line=${complaint#*.patch:}
		line=${line%%:*}
		# The form that the stable rules ask for is not the one that checkpatch knows.
		[[ $complaint != *GIT_COMMIT_ID* ]] || ! sed -n "${line}p" "$2" | grep -q '^\[ Upstream commit ' || continue
		printf '%s\n' "$complaint"
		bad=1
	done < <(grep -v '^total:' <<<"$said")
	return $bad
}
