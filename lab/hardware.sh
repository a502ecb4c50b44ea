# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The verb `hw`: builds the launch test and hands over to lab/hw.sh, which stands alone.

verb_hw() {
	local hw=(sh "$lab/hw.sh" ${json:+--json "$json"}) flags=("${flags_given[@]}") status=0 expect
	json_done=1
	# By the release of the kernel that is running, if there is a series for it.
	if [[ $(uname -r) =~ ^[0-9]+\.[0-9]+ ]]; then
		expect=$top/series/linux-${BASH_REMATCH[0]}.y/expect
		[ ! -f "$expect" ] || flags+=(--expect "$expect")
	fi
	[ -z "$limit" ] || flags+=(--timeout "$limit")
	if [ -n "$hw_binary" ] || given --check; then
		[ -z "$hw_binary" ] || flags+=(--binary "$hw_binary")
		if [ -n "$dry_run" ]; then run "${hw[@]}" "${flags[@]}"; return; fi
		exec "${hw[@]}" "${flags[@]}"
	fi

	# Before minutes go into a build: is there something to run it on?
	if [ -n "$dry_run" ]; then run "${hw[@]}" --check; else "${hw[@]}" --check || status=$?; fi
	case $status in
	0) ;;
	4) given --force || exit "$status" ;;
	*) exit "$status" ;;
	esac
	json_done=''

	# Not the name of a tree: the selftests' source is never a tree that is under test.
	plan_selftests hw
	stage_all=$((1 + selftests_stages))
	open_run_dir
	stage_grace=30
	stage 'install what is missing' install_missing overlay build
	stage_grace=3
	prepare_selftests
	hw_binary=$run_dir/tests/sev_snp_launch_test
	flags+=(--brief --binary "$hw_binary")
	if [ -n "$dry_run" ]; then run "${hw[@]}" "${flags[@]}"; return; fi
	note "the test: $(tilde "$hw_binary"); it and lab/hw.sh are all that another machine needs"
	exec "${hw[@]}" "${flags[@]}"
}
