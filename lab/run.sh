# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The verbs `run` and `shell`: from nothing to a verdict, or to a prompt.

# prepare TREE PURPOSE...: everything up to a kernel and an initrd in this run's folder. Sets source,
# work, version, kernel, initrd.
prepare() {
	local tree=$1 p patches
	shift
	source=${linux_dir:-}
	[[ $tree != */* ]] || source=$tree
	stage_all=6
	[ -z "$source" ] || stage_all=5
	open_run_dir
	stage_grace=30
	stage 'install what is missing' install_missing overlay build "$@"
	stage_grace=3
	if [ -z "$source" ]; then
		stage "fetch linux for $tree" fetch_base "$tree"
		source=$(base_of "$tree")
	fi
	version=$(kernel_version "$source") || version='(version not known yet)'
	work=$(work_dir "$tree")
	if [ -z "$dry_run" ]; then
		mkdir -p "$work" 2>/dev/null || setup_error "cannot create $(tilde "$work")" 'set XDG_CACHE_HOME to a folder that can be written'
		[ -e "$work/all.config" ] || need_space "$work" 3000 'building a kernel'
	fi
	# An assignment of its own, so that its failure ends the run.
	p=$(patches_for "$tree" "$source")
	mapfile -t patches < <(printf '%s' "${p:+$p$'\n'}")
	lock_work "$work"
	stage "apply ${#patches[@]} patches to linux $version" overlay "$source" "$work" "${patches[@]}"
	stage "build linux $version" build_kernel "$work"
	stage "build the guest: init, modules, selftests" build_guest "$work"
	kernel=$run_dir/bzImage initrd=$run_dir/initrd.gz
	[ -n "$dry_run" ] || exec {work_lock}>&-
}

# From the patches to the finished kernel the tree is this run's alone: another one, of another clone or
# with another patch, would otherwise see its own kernel judged by our name.
lock_work() {
	[ -z "$dry_run" ] || return 0
	exec {work_lock}>"$(cache_dir locks)/work-$(basename "$1")"
	if ! flock -n "$work_lock"; then
		note "waiting for another snplab that builds $(basename "$1")"
		flock "$work_lock"
	fi
}

# Kernel and initrd go into the run's own folder, so that the boot needs no lock on the tree.
build_guest() {
	local work=$1 selftests
	mapfile -t selftests < <(all_tests | grep -vx kunit)
	build_selftests "$work" "${selftests[@]}"
	build_initrd "$work" "$run_dir/initrd.gz"
	[ -n "$dry_run" ] || cp "$work/src/obj/arch/x86/boot/bzImage" "$run_dir/bzImage"
}

all_tests() { grep -v '^#' "$lab/tests.list"; }

# pick_tests GLOB: the names that match, comma-separated.
pick_tests() {
	local t picked=()
	# shellcheck disable=SC2053  # a pattern is meant
	for t in $(all_tests); do [[ $t == $1 ]] && picked+=("$t"); done
	[ ${#picked[@]} -gt 0 ] ||
		usage_error "no test matches '$1'" "there are: $(all_tests | paste -sd' ')"
	(IFS=,; printf '%s\n' "${picked[*]}")
}

# has_kunit WORK: does the tree, or what the lab put on it, have a KUnit test of ours?
has_kunit() { [ -n "$dry_run" ] || [ -e "$1/src/arch/x86/kvm/svm/tests" ]; }

verb_run() {
	local tests logs status=0 args=() s
	tests=$(pick_tests "${test_glob:-*}")
	say "snplab run: $tree_name"
	prepare "$tree" boot
	if ! has_kunit "$work"; then
		tests=$(tr , '\n' <<<"$tests" | grep -vx kunit | paste -sd,) || true
		note "linux $version has no KUnit test of ours, and lab/kunit has none for it: left out"
		args=(--untested "linux $version has no KUnit test of ours")
		[ -n "$tests" ] || die $EX_SKIP 'nothing is left to run'
	fi
	stage_now=$((stage_now + 1))
	say "[$stage_now/$stage_all] boot linux $version on QEMU $(qemu_version) (TCG): ${tests//,/ } …"
	logs=$run_dir
	local t0=$SECONDS
	boot_tests "$kernel" "$initrd" "$tests" "$logs" "${limit:-600}" >&"$out"
	[ -z "$dry_run" ] || return 0
	stage_times+=("$((SECONDS - t0)) boot")
	say "[$stage_now/$stage_all] boot … $((SECONDS - t0)) s"
	rm -f "$kernel" "$initrd"
	for s in "${stage_times[@]}"; do args+=(--stage "$s"); done
	json_done=1
	python3 "$lab/verdict.py" "$logs" --tree "$tree_name" --linux "$version" --qemu "$(qemu_version)" \
		--tests "$tests" --shown-logs "$(tilde "$logs")" ${json:+--json "$json"} "${args[@]}" >&"$out" || status=$?
	exit $status
}

verb_shell() {
	[ -t 0 ] || [ -n "$dry_run" ] || usage_error 'shell wants a terminal' './snplab run needs none'
	with_shell=1
	prepare "$tree" boot shell
	stage_now=$((stage_now + 1))
	say "[$stage_now/$stage_all] boot linux $version; \"exit\" powers off, Ctrl-A X ends QEMU"
	boot_shell "$kernel" "$initrd"
}
