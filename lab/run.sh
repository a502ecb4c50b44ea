# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The verbs `run`, `shell` and `host`: from nothing to a verdict, to a prompt, or to QEMU's command line.

# prepare TREE PURPOSE...: everything up to a kernel and an initrd in this run's folder, with the selftests that are named
# in the array guest_tests. Sets kernel, initrd and what prepare_source, prepare_work and prepare_host set. With keep_lock=1
# the tree stays locked: whoever builds more in it closes work_lock. More stages of the caller's: more_stages.
prepare() {
	local tree=$1 patches
	shift
	plan_selftests "$tree"
	# A guest without a selftest needs no second kernel's source.
	[ ${#guest_tests[@]} -gt 0 ] || selftests_stages=0
	prepare_source "$tree" $((4 + selftests_stages + ${more_stages:-0})) "$@"
	# What a caller fetches besides: what cannot be had is said before minutes of building.
	[ -z "${fetch_more:-}" ] || "$fetch_more"
	prepare_work "$tree"
	set_patches "$tree" "$source"
	stage "apply ${#patches[@]} patches to linux $version" overlay "$source" "$work" "${patches[@]}"
	stage "build linux $version" build_kernel "$work"
	prepare_selftests
	stage 'build the guest: init, modules, tests' build_guest "$work"
	kernel=$run_dir/bzImage initrd=$run_dir/initrd.gz
	[ -n "$dry_run${keep_lock:-}" ] || exec {work_lock}>&-
	# Last: a patch that does not apply or compile is said before minutes go into QEMU.
	prepare_host "$run_dir/host"
}

# prepare_source TREE STAGES PURPOSE...: what is missing for the purposes, for a kernel and for the emulated host, and the
# source. STAGES are the caller's own that follow, without prepare_host's. Sets source and version.
prepare_source() {
	local tree=$1 stages=$2
	shift 2
	source=${linux_dir:-}
	[[ $tree != */* ]] || source=$tree
	plan_host
	stage_all=$((1 + (${#source} == 0) + stages + host_stages))
	open_run_dir
	stage_grace=30
	stage 'install what is missing' install_missing overlay build "$@" "${host_purposes[@]}"
	stage_grace=3
	if [ -z "$source" ]; then
		stage "fetch linux for $tree" fetch_base "$tree"
		source=$(base_of "$tree")
	fi
	version=$(kernel_version "$source") || version='(version not known yet)'
}

# prepare_work TREE: the folder that its kernel is built in, locked. A kernel that is not configured as run's is
# (kernel_config) has a folder of its own: work_suffix. Sets work and work_lock.
prepare_work() {
	work=$(work_dir "$1")${work_suffix:-}
	if [ -z "$dry_run" ]; then
		mkdir -p "$work" 2>/dev/null || setup_error "cannot create $(tilde "$work")" 'set XDG_CACHE_HOME to a folder that can be written'
		[ -e "$work/all.config" ] || need_space "$work" 3000 'building a kernel'
	fi
	lock_work "$work"
}

# plan_host: what prepare_host will do: nothing with a QEMU of the user's, no download with a source of the
# user's. Sets host_stages and host_purposes.
plan_host() {
	if [ -n "${SNPLAB_QEMU:-}" ]; then
		[ -z "${qemu_dir:-}" ] || usage_error '--qemu DIR builds an emulated host, SNPLAB_QEMU names one: give one of them'
		command -v "$SNPLAB_QEMU" >/dev/null ||
			setup_error "SNPLAB_QEMU: expected a QEMU that can be executed, found $SNPLAB_QEMU" \
				'unset it to use the emulated host'
		host_stages=0 host_purposes=()
	elif [ -n "${qemu_dir:-}" ]; then
		host_stages=1 host_purposes=(host)
	else
		host_stages=2 host_purposes=(host hostsource)
	fi
}

# prepare_host [COPY]: the emulated host, in $qemu; with links to it in COPY, whatever another run builds
# meanwhile. Sets emulated, if it is one.
prepare_host() {
	local work
	if [ "$host_stages" -gt 0 ]; then
		[ "$host_stages" -eq 1 ] || stage "fetch QEMU $qemu_release" fetch_qemu
		work=$(qemu_work)
		stage "build the emulated host: QEMU $(qemu_source_version "$(qemu_source)" || echo $qemu_release)" \
			build_host "$(qemu_source)" "$work" "$@"
		qemu=${1:-$work/host}/bin/qemu-system-x86_64
		emulated=1
		[ -n "$dry_run" ] || is_snp_host ||
			setup_error "expected $(tilde "$qemu") to be an SNP host, found no $host_property or no $host_psp in it" \
				'host/ is to give QEMU both'
	elif is_snp_host; then
		emulated=1
	else
		emulated=
		note "$qemu has no emulated SNP host: what needs one will be skipped"
	fi
}

# From the patches to the finished kernel the tree is this run's alone: another one, of another clone or
# with another patch, would otherwise see its own kernel judged by our name.
lock_work() {
	[ -z "$dry_run" ] || return 0
	lock "work-$(basename "$1")" note
	work_lock=$lock
}

# Kernel and initrd go into the run's own folder, so that the boot needs no lock on the tree.
build_guest() {
	local work=$1
	build_initrd "$work/src/obj" "$run_dir/initrd.gz" "${guest_tests[@]/#/$run_dir/tests/}"
	[ -n "$dry_run" ] || { cp "$work/src/obj/arch/x86/boot/bzImage" "$run_dir/bzImage" && rm -rf "$run_dir/tests"; }
}

# all_tests [WITHOUT]: the names, without those that WITHOUT is said of.
all_tests() {
	awk -v without="${1:-}" '!/^#/ && NF { for (i = 2; i <= NF; i++) if ($i == without) next; print $1 }' "$lab/tests.list"
}

# provoked_by TEST,TEST...: the errors on the host that the tests ask for, as the list has them, comma-separated.
provoked_by() {
	awk -v tests=",$1," '
		!/^#/ && index(tests, "," $1 ",") { for (i = 2; i <= NF; i++) if (sub(/^errors=/, "", $i)) print $i }' \
		"$lab/tests.list" | paste -sd,
}

# pick_tests [GLOB]: the names that match, comma-separated; without a GLOB, those that take seconds.
pick_tests() {
	local t picked=() all
	all=$(all_tests "$([ -n "$1" ] || echo check)")
	# shellcheck disable=SC2053  # a pattern is meant
	for t in $all; do [[ $t == ${1:-*} ]] && picked+=("$t"); done
	[ ${#picked[@]} -gt 0 ] ||
		usage_error "no test matches '$1'" "there are: $(all_tests | paste -sd' ')"
	(IFS=,; printf '%s\n' "${picked[*]}")
}

# has_kunit WORK: does the tree, or what the lab put on it, have a KUnit test of ours?
has_kunit() { [ -n "$dry_run" ] || [ -e "$1/src/arch/x86/kvm/svm/tests" ]; }

# expect_args TREE: adds to args what of the launch test is known to fail there. A tree of the user's is judged by the
# list for its release: it may be ahead of that.
expect_args() {
	local list
	case $1 in
	*/*)
		list=$top/series/linux-${version%.*}.y/expect
		[ ! -f "$list" ] || args+=(--expect "$list" --may-pass) ;;
	*)
		list=$top/series/$(series_dir "$1")/expect
		[ ! -f "$list" ] || args+=(--expect "$list") ;;
	esac
}

verb_run() {
	local tests guest_tests logs status=0 args=() s
	tests=$(pick_tests "$test_glob")
	mapfile -t guest_tests < <(tr , '\n' <<<"$tests" | grep -vx kunit)
	say "snplab run: $tree_name"
	prepare "$tree" boot
	if ! has_kunit "$work"; then
		tests=$(tr , '\n' <<<"$tests" | grep -vx kunit | paste -sd,) || true
		note "linux $version has no KUnit test of ours, and lab/kunit has none for it: left out"
		args=(--untested "linux $version has no KUnit test of ours")
		[ -n "$tests" ] || die $EX_SKIP 'nothing is left to run'
	fi
	stage_now=$((stage_now + 1))
	# In a dry run there is none to ask.
	qemu_is=$(qemu_version) || qemu_is=
	say "[$stage_now/$stage_all] boot linux $version on ${emulated:+the emulated host, }QEMU ${qemu_is:-$qemu_release} (TCG): ${tests//,/ } …"
	logs=$run_dir
	local t0=$SECONDS
	boot_tests "$kernel" "$initrd" "$tests snplab.timeout=240" "$logs" "${limit:-600}" >&"$out"
	[ -z "$dry_run" ] || return 0
	stage_times+=("$((SECONDS - t0)) boot")
	say "[$stage_now/$stage_all] boot … $((SECONDS - t0)) s"
	rm -rf "$kernel" "$initrd" "$run_dir/host"
	verdict_args "$tree" "$tests"
	for s in "${stage_times[@]}"; do args+=(--stage "$s"); done
	json_done=1
	python3 "$lab/verdict.py" "$logs" --tree "$tree_name" --linux "$version" --qemu "$qemu_is" \
		--tests "$tests" --shown-logs "$(tilde "$logs")" ${json:+--json "$json"} "${args[@]}" >&"$out" || status=$?
	exit $status
}

# verdict_args TREE TESTS: adds to args what verdict.py is to know of the host and the tree.
verdict_args() {
	if [ -n "$emulated" ]; then
		args+=(--emulated --provoked "$(provoked_by "$2")")
		# Since 6.11 a kernel can be an SNP host, and is to become one here.
		[ ! -e "$work/src/arch/x86/virt/svm/sev.c" ] || args+=(--snp)
	fi
	expect_args "$1"
}

verb_shell() {
	[ -t 0 ] || [ -n "$dry_run" ] || usage_error 'shell wants a terminal' './snplab run needs none'
	local guest_tests
	mapfile -t guest_tests < <(all_tests | grep -vx kunit)
	with_shell=1
	prepare "$tree" boot shell
	stage_now=$((stage_now + 1))
	say "[$stage_now/$stage_all] boot linux $version; \"exit\" powers off, Ctrl-A X ends QEMU"
	boot_shell "$kernel" "$initrd"
	[ -n "$dry_run" ] || rm -rf "$run_dir/host"
}

# host: for other tools. The kernel is theirs, so are its console and what it boots from.
verb_host() {
	local host_args what=$1
	plan_host
	stage_all=$((1 + host_stages))
	out=2
	open_run_dir
	stage_grace=30
	stage 'install what is missing' install_missing overlay boot "${host_purposes[@]}"
	stage_grace=3
	prepare_host
	[ -n "$emulated" ] || setup_error "expected $qemu to be an SNP host, found no $host_property or no $host_psp in it" 'unset SNPLAB_QEMU'
	host_line
	qemu=$(command -v "$qemu" || printf '%s' "$qemu")
	case $what in
	line) printf '%s\n' "$(quote "$qemu" -accel tcg,thread=multi "${host_args[@]}")" ;;
	binary) printf '%s\n' "$qemu" ;;
	args) printf '%s\n' "$(quote "${host_args[@]}")" ;;
	kunit) kunit_config "${host_args[@]}" ;;
	esac
}

# kunit_config ARGUMENT...: a file for kunit.py --qemu_config. kunit.py looks for qemu-system-x86_64 in $PATH.
kunit_config() {
	local a
	printf '%s\n' 'from ..qemu_config import QemuArchParams' '' "QEMU_ARCH = QemuArchParams(linux_arch='x86_64'," \
		"                           kconfig='CONFIG_SERIAL_8250=y\nCONFIG_SERIAL_8250_CONSOLE=y'," \
		"                           qemu_arch='x86_64'," "                           kernel_path='arch/x86/boot/bzImage'," \
		"                           kernel_command_line='console=ttyS0 no_timer_check'," '                           extra_qemu_params=['
	for a; do printf "                               '%s',\n" "$a"; done
	printf '%s\n' '                           ])'
}
