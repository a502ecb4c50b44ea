# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The KVM selftests that run in the guest. They are always 7.x's, with the selftests of the mainline series on top:
# one static binary, whatever kernel it runs on. Older trees have neither the test of SNP_LAUNCH_FINISH nor a
# library that it could be built with.

# selftests_work SOURCE: where they are built. What was made of a base is not mixed with what somebody edits.
selftests_work() {
	case $1 in
	"$cache"/base/*) printf '%s/work/selftests\n' "$cache" ;;
	*) printf '%s/work/selftests-%s-%s\n' "$cache" "$(slug "$(basename "$1")")" "$(printf %s "$1" | sha256sum | cut -c1-8)" ;;
	esac
}

# selftest_patches: those of the mainline series that are selftests and nothing else. The kernel's own patches
# have no place here, so that any 7.x tree will do as the source.
selftest_patches() {
	local p
	list_series "$top/series/mainline" | while read -r p; do
		grep -q '^+++ b/tools/testing/selftests/kvm/' "$p" || continue
		printf '%s\n' "$p"
	done
}

# plan_selftests TREE: where they come from: --selftests DIR, the tree's own source if it is to get the mainline series,
# else Debian's newest. Sets selftests_source (nothing: what is fetched for mainline) and selftests_stages.
plan_selftests() {
	selftests_source=${selftests_dir:-} selftests_stages=1
	[ -z "$selftests_source" ] || return 0
	if [ "$1" = mainline ]; then selftests_source=${linux_dir:-}; else selftests_stages=2; fi
}

# prepare_selftests: what plan_selftests has planned, and links to all of them in the folder tests of this run.
prepare_selftests() {
	local names
	[ "$selftests_stages" -gt 0 ] || return 0
	if [ "$selftests_stages" -eq 2 ]; then stage 'fetch linux for its selftests' fetch_base mainline; fi
	[ -n "$selftests_source" ] || selftests_source=$(linux_dir='' base_of mainline)
	# Whoever wants few of them builds all: what one verb has built serves the others.
	mapfile -t names < <(all_tests | grep -vx kunit)
	stage "build the selftests of linux $(kernel_version "$selftests_source" || echo 7.x)" \
		build_tests "$selftests_source" "$run_dir/tests" "${names[@]}"
}

# build_tests SOURCE OUT NAME...: these selftests, and links to them in the folder OUT. A stage.
build_tests() {
	local source=$1 out_dir=$2 work patches state
	shift 2
	work=$(selftests_work "$source")
	mapfile -t patches < <(selftest_patches)
	if [ -n "$dry_run" ]; then
		overlay "$source" "$work" "${patches[@]}"
		build_selftests "$work" "$@"
		return
	fi
	mkdir -p "$work"
	lock "work-$(basename "$work")"
	state=$(printf '%s\n' "$source" "$*" "$(gcc -dumpfullversion)"; sha256sum <"$lab/build.sh"; cat "${patches[@]}" | sha256sum)
	# Nobody edits a base: what was made of it is as good as new.
	if [[ $source != "$cache"/base/* ]] || [ "$state" != "$(cat "$work/state" 2>/dev/null)" ]; then
		rm -f "$work/state"
		overlay_what="linux $(kernel_version "$source") (for its selftests)" overlay "$source" "$work" "${patches[@]}"
		build_selftests "$work" "$@"
		printf '%s\n' "$state" >"$work/state"
	fi
	# Another run may build others meanwhile.
	rm -rf "$out_dir"
	cp -al "$work/tests" "$out_dir" 2>/dev/null || { rm -rf "$out_dir" && cp -a "$work/tests" "$out_dir"; }
}
