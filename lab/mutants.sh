# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The verb `mutants`: every wrong version in tests/mutants is built and booted, and must be caught by
# whom its header names. Only KVM's modules are built; what a mutant's are is kept in the cache.

# set_waits SECONDS: how long the launch test waits for what should happen at once, and the limits that follow. A
# mutant that hangs makes it wait in most of its cases, a busy machine makes everything slow: pace is what counts,
# SECONDS being what the boot without a mutant took.
set_waits() {
	mutant_wait=$(($1 / 4))
	[ $mutant_wait -ge 2 ] || mutant_wait=2
	[ $mutant_wait -le 15 ] || mutant_wait=15
	mutant_test_limit=$((20 * mutant_wait + $1))
	# KUnit's waits are in the kernel, and follow no pace: three cases that wait in vain are a minute.
	mutant_limit=$((mutant_test_limit + 3 * $1 + 30 + 120))
	# The largest launch has other things to show than that it can be wrong.
	mutant_tests=kunit,sev_snp_launch_test:-w:$mutant_wait:-V:64_vcpus
}
# Boots at once. Most of a boot is one busy CPU of four, then of two threads that wait for each other.
mutant_lanes=3
# Pairs of modules that stay in the cache, about 2 MB each.
mutants_kept=200

usage_mutants() {
	cat <<USAGE
usage: ./snplab mutants [--tree TREE] [--json FILE] [--linux DIR] [--selftests DIR] [--qemu DIR]
                        [--dry-run] [GLOB...]

Builds every wrong version of the series (tests/mutants), boots it on the emulated SNP host, runs KUnit and
the launch test, and prints who has caught what. Fails for one that nobody catches, or that somebody whom
its header names does not catch. The series itself is run first, and must pass.

What a header may name is said in lab/mutants.py: cases of kunit and kselftest, words of lockdep, oops,
stall and panic, kinds of host errors.

  GLOB            only the mutants whose names match, as NAME or TREE/NAME
  --tree TREE     only those of one tree: $(trees)
  --json FILE     the matrix, machine-readable
$options_qemu
$options_selftests
$options_common
USAGE
}

# mutants_of TREE [GLOB]...: patch files.
mutants_of() {
	local t=$1 p name glob
	shift
	[ $# -gt 0 ] || set -- '*'
	for p in "$top/tests/mutants/$(series_dir "$t")"/*.patch; do
		[ -e "$p" ] || continue
		name=$(basename "$p" .patch)
		for glob; do
			# shellcheck disable=SC2053  # a pattern is meant
			if [[ $name == $glob || $t/$name == $glob ]]; then printf '%s\n' "$p"; break; fi
		done
	done
}

verb_mutants() {
	local t all=() found glob status=0 logs=() mutants begin=$SECONDS all_logs
	if [ -n "$tree" ]; then
		need_series "$tree"
		all=("$tree")
	else
		[ -z "$linux_dir" ] || usage_error '--linux is the base of one series: it goes with --tree TREE'
		mapfile -t all < <(trees | sed 's/, /\n/g')
	fi
	# A name that is misspelt is not a mutant that was caught.
	for glob in "${@:-*}"; do
		found=0
		for t in "${all[@]}"; do found=$((found + $(mutants_of "$t" "$glob" | wc -l))); done
		[ $found -gt 0 ] || usage_error "no mutant matches '$glob'" 'their names are those of the files in tests/mutants'
	done
	for t in "${all[@]}"; do
		mapfile -t mutants < <(mutants_of "$t" "$@")
		need_headers "${mutants[@]}"
	done
	at_exit half_built
	open_run_dir
	all_logs=$run_dir
	for t in "${all[@]}"; do
		mapfile -t mutants < <(mutants_of "$t" "$@")
		[ ${#mutants[@]} -gt 0 ] || continue
		run_dir=$all_logs/$t stage_now=0 stage_times=()
		[ -n "$dry_run" ] || mkdir "$run_dir"
		mutants_on "$t"
		logs+=("$run_dir")
	done
	run_dir=$all_logs
	[ -z "$dry_run" ] || return 0
	json_done=1
	python3 "$lab/mutants.py" matrix ${json:+--json "$json"} --seconds $((SECONDS - begin)) \
		--shown-logs "$(tilde "$all_logs")" "${logs[@]}" >&"$out" || status=$?
	exit $status
}

# need_headers PATCH...: a mutant's key is that of what is below its header: of nothing, were there no end of it.
need_headers() {
	local p
	for p; do
		sed '/^---$/q; /^\(diff \|--- \)/Q' "$p" | grep -qx -- --- ||
			setup_error "$(patch_name "$p"): expected a line \"---\" between its header and its diff, found none" \
				'add it: what is above says what is wrong, and who catches it'
	done
}

# mutants_on TREE: all of "mutants", with the results in this run's folder. Whatever they are, it returns.
mutants_on() {
	local mutant_wait mutant_test_limit mutant_limit mutant_tests began
	local tree=$1 keep_lock=1 guest_tests=(sev_snp_launch_test) more_stages=1 builds=1 key args=() control=$run_dir/control status=0
	say "snplab mutants: $tree, ${#mutants[@]} of them"
	prepare "$tree" boot
	key=$(baseline_key "$work")
	[ -n "$dry_run" ] || plain_modules
	set_waits 40
	began=$SECONDS
	stage "boot linux $version without a mutant" boot_mutant "$control" "$initrd"
	if [ -n "$dry_run" ]; then
		stage "build and boot ${#mutants[@]} mutants" judge_mutants "$key"
		return
	fi
	verdict_args "$tree" kunit,sev_snp_launch_test
	python3 "$lab/verdict.py" "$control" --tree "$tree" --linux "$version" --tests "$mutant_tests" \
		--shown-logs "$(tilde "$control")" "${args[@]}" >"$control/said" || status=$?
	sed 's/^ */      /' "$control/said" >&"$out" || true
	printf '%s\n' "${mutants[@]}" >"$run_dir/mutants"
	set_waits $((SECONDS - began))
	keep_built "$key"
	# Others may have the tree as soon as nothing is to be built in it.
	if all_built "$key"; then
		builds=''
		exec {work_lock}>&-
	fi
	# Where the series itself fails, a mutant that fails is not caught.
	[ $status -ne 0 ] || stage "build and boot ${#mutants[@]} mutants, $mutant_lanes at once" judge_mutants "$key"
	exec {work_lock}>&-
	rm -rf "$kernel" "$initrd" "$run_dir/plain" "$run_dir/host"
}

# baseline_key WORK: what a mutant's modules follow from besides the mutant: the kernel without it. Asked while
# the tree is locked.
baseline_key() {
	[ -z "$dry_run" ] || return 0
	(
		cd "$1/src"
		sha256sum obj/.config obj/arch/x86/boot/bzImage obj/arch/x86/kvm/kvm{,-amd}.ko
		find arch/x86/kvm virt/kvm -name '*.[ch]' | sort | xargs sha256sum
	) | sha256sum | cut -c1-32
}

# The modules without a mutant, as a mutant's are kept.
plain_modules() {
	mkdir "$run_dir/plain"
	cp "$work"/src/obj/arch/x86/kvm/kvm{,-amd}.ko "$run_dir/plain/"
	strip --strip-debug "$run_dir"/plain/*.ko
}

# mutant_key KEY PATCH: not with the patch's header, whose words change no module.
mutant_key() { { printf '%s\n' "$1"; sed '0,/^---$/d' "$2"; } | sha256sum | cut -c1-32; }

# keep_built KEY: those that this run needs are used now, all of them: neither its own builder nor another run's
# takes them for the oldest.
keep_built() {
	local p
	for p in "${mutants[@]}"; do touch -c "$cache/mutants/$(mutant_key "$1" "$p")"; done
}

all_built() {
	local p
	for p in "${mutants[@]}"; do [ -d "$cache/mutants/$(mutant_key "$1" "$p")" ] || return 1; done
}

# judge_mutants KEY: builds what the cache lacks, and boots meanwhile. A stage.
judge_mutants() {
	local p i workers=() store status=0 builder=''
	if [ -n "$dry_run" ]; then
		for p in "${mutants[@]}"; do
			run patch -d "$work/src" -p1 -F0 -i "$p"
			kmake "$work" modules
			boot_mutant "$run_dir/$(basename "$p" .patch)" "$initrd"
		done
		return
	fi
	store=$(cache_dir mutants)
	for p in "${mutants[@]}"; do mkdir "$run_dir/$(basename "$p" .patch)"; done
	# Without the tree's lock, what is half made there is another run's.
	if [ -n "$builds" ]; then
		(build_mutants "$store" "$1") &
		builder=$! workers=($!)
	fi
	for ((i = 0; i < mutant_lanes; i++)); do
		# They outlive the builder, and need no lock on the tree.
		(exec {work_lock}>&-; boot_mutants "$store" "$1" "$builder") &
		workers+=($!)
	done
	exec {work_lock}>&-
	for i in "${workers[@]}"; do wait "$i" || status=$?; done
	[ $status -eq 0 ] || exit $status
}

# half_built: removes what an interrupted build has left in the cache. Not what another run is making.
half_built() { [ -z "${work:-}" ] || rm -rf "$cache"/mutants/."$(basename "$work")".$$.??????; }

# build_mutants STORE KEY: one after the other. What is made gets its name in STORE when it is whole; one that does
# not build leaves "not-built" in its folder, for whoever waits for it.
build_mutants() {
	local store=$1 p dir made logs status patches built=''
	set_patches "$tree" "$source"
	# What was killed outright. Nobody else builds this tree now.
	rm -rf "$store"/."$(basename "$work")".*.??????
	for p in "${mutants[@]}"; do
		dir=$store/$(mutant_key "$2" "$p")
		[ ! -d "$dir" ] || continue
		logs=$run_dir/$(basename "$p" .patch) built=1
		made=$(mktemp -d "$store/.$(basename "$work").$$.XXXXXX")
		status=0
		# Not behind ||, which would switch off set -e in all of it.
		(
			stage_error=$logs/build.error
			build_mutant "$p" "$made" "${patches[@]}"
		) >"$logs/build" 2>&1 &
		wait $! || status=$?
		if [ $status -eq 0 ]; then
			mv -T "$made" "$dir"
			continue
		fi
		rm -rf "$made"
		[ -s "$logs/build.error" ] || grep -m 5 -E 'error|rror:' "$logs/build" >"$logs/build.error" || tail -n 5 "$logs/build" >"$logs/build.error"
		mv "$logs/build.error" "$logs/not-built"
	done
	# For the next run, which would find a mutant to undo.
	if [ -n "$built" ]; then
		(overlay "$source" "$work" "${patches[@]}")
		build_kernel "$work" modules
	fi
	# shellcheck disable=SC2012  # names of ours
	ls -t "$store" | tail -n +$((mutants_kept + 1)) | while read -r dir; do rm -rf "${store:?}/$dir"; done
}

# build_mutant PATCH OUT PATCH...: on top of these patches. The modules that differ from those without it.
build_mutant() {
	local p=$1 made=$2 f name
	shift 2
	f=$(touched "$p" | grep -vE '^(arch/x86|virt)/kvm/') || true
	[ -z "$f" ] || setup_error "$(patch_name "$p") changes ${f//$'\n'/ }" \
		'expected changes in arch/x86/kvm and virt/kvm alone: of a mutant, only modules are built'
	(overlay "$source" "$work" "$@" "$p")
	build_kernel "$work" modules
	for name in kvm kvm-amd; do
		cp "$work/src/obj/arch/x86/kvm/$name.ko" "$made/"
		strip --strip-debug "$made/$name.ko"
		if cmp -s "$made/$name.ko" "$run_dir/plain/$name.ko"; then rm "$made/$name.ko"; fi
	done
	[ -n "$(ls "$made")" ] || setup_error "$(patch_name "$p") changes nothing in kvm.ko and kvm-amd.ko" \
		'expected a wrong version to be compiled to something else'
}

# slow_first STORE KEY: the mutants, those before the others that took longest the last time: at the end every lane has
# something to do.
slow_first() {
	local p
	for p in "${mutants[@]}"; do
		printf '%s %s\n' "$(cat "$1/$(mutant_key "$2" "$p")/tenths" 2>/dev/null || echo 0)" "$p"
	done | sort -s -k1,1nr | cut -d' ' -f2-
}

# wait_for_modules DIR LOGS BUILDER: until DIR is there, or LOGS say why it will not be.
wait_for_modules() {
	local gone
	while [ ! -d "$1" ] && [ ! -e "$2/not-built" ]; do
		gone=''
		kill -0 "$3" 2>/dev/null || gone=1
		# The last thing that it did may have been this one.
		if [ -n "$gone" ] && [ ! -d "$1" ] && [ ! -e "$2/not-built" ]; then
			echo 'the builder ended' >"$2/not-built"
		fi
		sleep 0.1
	done
}

# boot_mutants STORE KEY BUILDER: those that nobody else has begun with, each as soon as it is built.
boot_mutants() {
	local store=$1 p logs dir root began took order
	mapfile -t order < <(slow_first "$1" "$2")
	for p in "${order[@]}"; do
		logs=$run_dir/$(basename "$p" .patch)
		mkdir "$logs/begun" 2>/dev/null || continue
		dir=$store/$(mutant_key "$2" "$p")
		wait_for_modules "$dir" "$logs" "$3"
		began=$(date +%s%N)
		if [ -d "$dir" ]; then
			touch "$dir"
			root=$(mktemp -d "$run_dir/.root.XXXXXX")
			mkdir -p "$root/lib/modules"
			cp "$dir"/*.ko "$root/lib/modules/"
			{ cat "$initrd"; archive "$root"; } >"$logs/initrd"
			boot_mutant "$logs" "$logs/initrd" "$(python3 "$lab/mutants.py" tests "$p" --tests "$mutant_tests")"
			rm -rf "$root" "$logs/initrd"
		fi
		took=$((($(date +%s%N) - began) / 100000000))
		[ ! -d "$dir" ] || printf '%s\n' "$took" >"$dir/tenths"
		tell "$(python3 "$lab/mutants.py" judge "$tree" "$p" "$logs" "$control" --tests "$mutant_tests" --seconds "$took")"
	done
}

# boot_mutant LOGS INITRD [TESTS]: a time-out, or a QEMU that ends by itself, is what LOGS say. A stage, too.
boot_mutant() {
	local status=0
	tests_line "$kernel" "$2" "${3:-$mutant_tests} snplab.timeout=$mutant_test_limit" "$1"
	if [ -n "$dry_run" ]; then run "${qemu_args[@]}"; return; fi
	mkdir -p "$1"
	# A pipeline's own status is the last one's: pipefail is set.
	boot_line "$1" "$mutant_limit" >"$1/ktap.log" || status=$?
	case $status in
	0) ;;
	124) echo "$mutant_limit" >"$1/timed-out" ;;
	*) echo "QEMU ended with status $status: $(tail -n 1 "$1/qemu.err")" >"$1/not-booted" ;;
	esac
}
