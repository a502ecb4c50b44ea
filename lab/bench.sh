# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# The verb `bench`: what LAUNCH_FINISH costs, with the locks of the series and without, in instructions. Time says
# nothing here: the machine is emulated, and shared. Instructions are counted by QEMU (-icount), and the same boot
# executes the same ones again; that it did is looked at.

bench_turns=4

# bench_line KERNEL INITRD APPEND SERIAL...: qemu_args for a boot that repeats: one CPU, for a second one's instructions
# count as well, whatever it does; time that is made of instructions, numbers that are random made from a seed.
bench_line() {
	qemu_line "$1" "$2" "nokaslr norandmaps $3" "${@:4}"
	qemu_args=("${qemu_args[@]/#tcg,thread=multi/tcg,thread=single}")
	qemu_args=("${qemu_args[@]/#4,sockets=1,cores=2,threads=2/1}")
	qemu_args+=(-icount "shift=0,sleep=off" -seed 1 -rtc "base=2026-01-01,clock=vm")
}

# bench_guest WORK NAME: kernel and initrd into the run's folder, under that name. A stage.
bench_guest() {
	local work=$1 name=$2
	kmake "$work" -s headers
	[ -n "$dry_run" ] || { rm -rf "$work/tests" && mkdir "$work/tests"; }
	run gcc -static -O2 -Wall -Wextra -Werror -isystem "$work/src/obj/usr/include" -o "$work/tests/finish" "$lab/bench/finish.c"
	build_initrd "$work/src/obj" "$run_dir/$name.gz" "$work/tests/finish"
	[ -n "$dry_run" ] || cp "$work/src/obj/arch/x86/boot/bzImage" "$run_dir/$name.bzImage"
}

# bench_boot NAME TURN: leaves NAME.TURN.ktap and NAME.TURN.log. A stage.
bench_boot() {
	local name=$1 base=$run_dir/$1.$2 qemu_args
	bench_line "$run_dir/$name.bzImage" "$run_dir/$name.gz" \
		"snplab.report=/dev/ttyS1 snplab.tests=finish:$bench_turns:$bench_most snplab.timeout=100000" \
		-serial "file:$base.log" -serial "file:$base.ktap"
	run timeout -k 5 "${limit:-1800}" "${qemu_args[@]}" ||
		setup_error "the boot has not ended within ${limit:-1800} s, or QEMU has failed" 'its log says which'
}

verb_bench() {
	local patches name turn status=0 without extra_patches args=()
	bench_most=512
	if given --quick; then
		bench_most=16
	else
		# Lockdep is not what anybody runs, and costs more than what it watches.
		kernel_config=(base kvm bench) work_suffix=-bench
	fi
	without=$top/tests/mutants/$(series_dir "$tree")/no-lock.patch
	say "snplab bench: $tree_name"
	prepare_source "$tree" 10 boot
	prepare_work "$tree"
	# The series last: it is what others expect in this folder.
	for name in without with; do
		extra_patches=()
		[ $name = with ] || extra_patches=("$without")
		set_patches "$tree" "$source"
		stage "apply ${#patches[@]} patches to linux $version, $name the locks" overlay "$source" "$work" "${patches[@]}"
		stage "build linux $version, $name the locks" build_kernel "$work"
		stage "build the guest, $name the locks" bench_guest "$work" $name
	done
	[ -n "$dry_run" ] || exec {work_lock}>&-
	prepare_host "$run_dir/host"
	[ -n "$emulated" ] || die $EX_SKIP "$qemu has no emulated SNP host: nothing can be launched"
	for name in with without; do
		for turn in 1 2; do
			stage "boot linux $version, $name the locks, turn $turn" bench_boot $name $turn
			args+=("--$name" "$run_dir/$name.$turn.ktap")
		done
	done
	[ -z "$dry_run" ] || return 0
	rm -rf "$run_dir"/{with,without}.{gz,bzImage} "$run_dir/host"
	given --quick || args+=(--limit 600)
	json_done=1
	python3 "$lab/bench.py" --tree "$tree_name" --linux "$version" --most $bench_most --turns $bench_turns \
		${json:+--json "$json"} "${args[@]}" >&"$out" || status=$?
	say "logs: $(tilde "$run_dir")"
	exit $status
}
