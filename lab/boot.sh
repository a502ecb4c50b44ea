# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Boots a kernel with our init under QEMU's TCG. The kernel's log goes to the first serial port and
# into a file, the tests' KTAP to the second and to the user, live.

# SNPLAB_QEMU: another binary, which is then neither built nor asked to be an SNP host that it is not.
qemu=${SNPLAB_QEMU:-qemu-system-x86_64}

# The emulated host on QEMU's command line: the one place where its parts have their names.
host_machine=q35 host_property=amd-snp-host host_psp=amd-psp host_object=/machine/amd-snp

# is_snp_host: has this binary the parts?
is_snp_host() {
	# Read to the end: what closes the pipe early makes QEMU fail.
	"$qemu" -machine "$host_machine,help" 2>/dev/null | grep "^ *$host_property=" >/dev/null &&
		"$qemu" -device help 2>/dev/null | grep "\"$host_psp\"" >/dev/null
}

# host_line: fills the array host_args with what makes a QEMU that has the parts an SNP host.
host_line() {
	local cpu="EPYC-Milan,-hypervisor,+svm,+npt,+nrip-save,+decodeassists,+flushbyasid,+lbrv,+sev,+sev-es,+sev-snp"
	# SEV takes one of them. A guest's firmware places devices below the 40 that its QEMU gives it by default.
	cpu+=",phys-bits=41"
	# What TCG has not is off in any case; named, QEMU does not warn of each for each CPU.
	cpu+=",-pcid,-invpcid,-fxsr-opt,-misalignsse,-osvw,-topoext,-perfctr-core,-clzero,-ibpb,-ibrs,-amd-stibp,-amd-ssbd,-xsaves"
	# What TCG has, and is slower than what a kernel does without it: REP STOSB clears a page byte by byte.
	cpu+=",-erms,-fsrm"
	# Without the hypervisor bit, as on the bare machine: kernels believe in no RMP of a guest. An SMT
	# topology: 6.12 refuses every launch policy without the SMT bit, later tests set it only with SMT.
	host_args=(-machine "$host_machine,$host_property=on"
		-cpu "$cpu" -smp "4,sockets=1,cores=2,threads=2" -m "${host_memory:-1G}"
		-device amd-iommu -device "$host_psp")
}

# qemu_line KERNEL INITRD APPEND SERIAL...: fills the array qemu_args.
qemu_line() {
	local kernel=$1 initrd=$2 append=$3 host_args
	shift 3
	if [ -n "$emulated" ]; then
		host_line
	else
		# max: Debian 12's and 13's QEMU name their SVM features differently, and it has all of them.
		host_args=(-machine q35 -cpu max -smp 2 -m 1G)
	fi
	# No devices but what is asked for. panic=-1 and -no-reboot: a panic ends QEMU.
	# no_timer_check: TCG on a busy host can be too slow for the IO-APIC's timer test.
	qemu_args=("$qemu" -accel "tcg,thread=multi" "${host_args[@]}"
		-nodefaults -display none -no-reboot -no-user-config
		-kernel "$kernel" -initrd "$initrd"
		-append "console=ttyS0 panic=-1 no_timer_check $append" "$@")
}

qemu_version() { "$qemu" --version 2>/dev/null | sed -n '1s/^QEMU emulator version \([0-9.]*\).*/\1/p'; }

# boot_tests KERNEL INITRD TESTS LOGS TIMEOUT: leaves LOGS/kernel.log, LOGS/ktap.log and, if that long
# was not enough, LOGS/timed-out; LOGS/host.json and LOGS/host.log, what the emulated host counted and what it
# said of it. The tests' own time-outs are the guest's.
boot_tests() {
	local kernel=$1 initrd=$2 tests=$3 logs=$4 limit=$5 status=0
	tests_line "$kernel" "$initrd" "$tests" "$logs"
	if [ -n "$dry_run" ]; then
		run "${qemu_args[@]}"
		return
	fi
	set -m
	(
		trap - INT TERM HUP EXIT
		set -o pipefail
		# A stopped reader of ours must not stop the guest: tee goes on writing the log.
		boot_line "$logs" "$limit" | tee -p "$logs/ktap.log"
	) &
	stage_job=$!
	set +m
	wait "$stage_job" || status=$?
	kill -KILL -- "-$stage_job" 2>/dev/null || true
	stage_job=
	boot_ended $status "$logs" "$limit"
}

# tests_line KERNEL INITRD TESTS LOGS: fills the array qemu_args for a boot whose logs are in LOGS.
tests_line() {
	qemu_line "$1" "$2" "snplab.report=/dev/ttyS1 snplab.tests=$3" \
		-serial "file:$4/kernel.log" -serial stdio -d guest_errors -D "$4/host.log"
}

# boot_line LOGS TIMEOUT: what tests_line has put together, to its end. Prints the tests' KTAP.
boot_line() {
	local monitor=()
	# Tests in the guest make the firmware fail by themselves.
	[ -z "$emulated" ] || monitor=(--guest-monitor)
	quote "${qemu_args[@]}" >"$1/qemu.cmd"
	: >"$1/kernel.log"
	python3 "$lab/qmp.py" --timeout "$2" --out "$1/host.json" --object "$host_object" \
		"${monitor[@]}" "${qemu_args[@]}" </dev/null 2>"$1/qemu.err" | sed -u "s/\r$//"
}

# boot_ended STATUS LOGS TIMEOUT: what boot_line's status says.
boot_ended() {
	local status=$1 logs=$2 limit=$3
	case $status in
	0) ;;
	124) echo "$limit" >"$logs/timed-out" ;;
	*)
		tail -n 15 "$logs/qemu.err" | sed 's/^/      | /' >&2
		setup_error "QEMU ended with status $status" "its command line is in $(tilde "$logs/qemu.cmd")"
		;;
	esac
}

# boot_shell KERNEL INITRD: the console is the terminal; ends when the shell does.
boot_shell() {
	qemu_line "$1" "$2" 'quiet snplab.shell' -serial mon:stdio
	if [ -n "$dry_run" ]; then run "${qemu_args[@]}"; return; fi
	"${qemu_args[@]}"
}
