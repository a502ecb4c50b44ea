# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Boots a kernel with our init under QEMU's TCG. The kernel's log goes to the first serial port and
# into a file, the tests' KTAP to the second and to the user, live.

qemu=${SNPLAB_QEMU:-qemu-system-x86_64}

# qemu_line KERNEL INITRD APPEND SERIAL...: fills the array qemu_args.
qemu_line() {
	local kernel=$1 initrd=$2 append=$3
	shift 3
	# max: Debian 12's and 13's QEMU name its SVM features differently, and it has all of them. No
	# devices but what is asked for. panic=-1 and -no-reboot: a panic ends QEMU.
	# no_timer_check: TCG on a busy host can be too slow for the IO-APIC's timer test.
	qemu_args=("$qemu" -accel "tcg,thread=multi" -machine q35 -cpu max -smp 2 -m 1G
		-nodefaults -display none -no-reboot -no-user-config
		-kernel "$kernel" -initrd "$initrd"
		-append "console=ttyS0 panic=-1 no_timer_check $append" "$@")
}

qemu_version() { "$qemu" --version 2>/dev/null | sed -n '1s/^QEMU emulator version \([0-9.]*\).*/\1/p'; }

# boot_tests KERNEL INITRD TESTS LOGS TIMEOUT: leaves LOGS/kernel.log, LOGS/ktap.log and, if that long
# was not enough, LOGS/timed-out. The tests' own time-outs are the guest's.
boot_tests() {
	local kernel=$1 initrd=$2 tests=$3 logs=$4 limit=$5 status=0 t0=$SECONDS
	qemu_line "$kernel" "$initrd" "snplab.report=/dev/ttyS1 snplab.tests=$tests" \
		-serial "file:$logs/kernel.log" -serial stdio
	if [ -n "$dry_run" ]; then
		run "${qemu_args[@]}"
		return
	fi
	quote "${qemu_args[@]}" >"$logs/qemu.cmd"
	: >"$logs/kernel.log"
	set -m
	(
		trap - INT TERM HUP EXIT
		set -o pipefail
		# A stopped reader of ours must not stop the guest: tee goes on writing the log.
		timeout --foreground -k 5 "$limit" "${qemu_args[@]}" </dev/null 2>"$logs/qemu.err" |
			tr -d '\r' | tee -p "$logs/ktap.log"
	) &
	stage_job=$!
	set +m
	wait "$stage_job" || status=$?
	kill -KILL -- "-$stage_job" 2>/dev/null || true
	stage_job=
	# timeout's own SIGKILL, for a QEMU that SIGTERM did not end; not the kernel's for want of memory.
	if [ $status -eq 137 ] && [ $((SECONDS - t0)) -ge "$limit" ]; then status=124; fi
	case $status in
	0) ;;
	124) echo "$limit" >"$logs/timed-out" ;;
	*)
		sed 's/^/      | /' "$logs/qemu.err" >&2
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
