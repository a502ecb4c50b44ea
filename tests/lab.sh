# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The lab's own functions, for tests that look at a step of it. Sourced after tap.sh.

verb=check out=1 dry_run='' linux_dir='' extra_patch=''
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
mkdir -p "$cache"

# In a shell of its own, where a failure ends it and a lock ends with it.
lab_quietly() { (set -e; stage_error=''; "$@") 3>/dev/null; }

# lab_base NAME: the path of an unpacked kernel source, fetched if need be; or what went wrong.
lab_base() {
	local log=${tmp:?}/fetch-$1.log
	lab_quietly fetch_base "$1" >"$log" 2>&1 || { tail -n 15 "$log"; return 1; }
	base_of "$1"
}

# checkpatch SOURCE PATCH: complains of anything but the sign-off, which is the sender's to add, and
# of commit ids, which it looks up in a git history that a tarball has not.
checkpatch() {
	(cd "$1" && perl scripts/checkpatch.pl --no-tree --strict --no-summary --terse --show-types \
		--ignore MISSING_SIGN_OFF,NO_AUTHOR_SIGN_OFF,UNKNOWN_COMMIT_ID "$2")
}
