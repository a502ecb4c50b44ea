#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=dash
# Does things to an SNP host that its administrator does: takes CPUs offline, reloads the modules, starts another kernel.
# tests/support/host_steps.py reads the output: "== STEP", the step's lines, "== STEP: STATUS".
#
# usage: steps STEP...
#   cpus          the CPUs that are online
#   launch        launches a guest, runs it to its end
#   guest         launches a guest that stays
#   guest-runs    the guest that stays still runs: ends it
#   offline       takes each CPU but the first offline, launches a guest, and takes the CPUs online again
#   reload=N      removes kvm_amd, ccp and the other modules and loads them again, with a launch after that; N times
#   kexec, panic  loads /next/bzImage and /next/initrd, and starts them or panics. The next kernel runs the tests that
#                 snplab.next= on this one's command line names
#   panic-timer   the same, on CPU 1; the crash kernel checks that its timer works, as kernels on hardware do
#   vmcore        in a crash kernel: reads the crashed kernel's whole memory
/bin/busybox --install -s /bin
PATH=/bin:/tests
export PATH

launch() {
	/tests/snp_smp_test -v 2 -r 1
}

guest() {
	/tests/snp_stay -t 100000 >/tmp/stay 2>&1 &
	echo $! >/tmp/stay.pid
	until grep -q 'all vCPUs run' /tmp/stay; do
		if ! kill -0 "$(cat /tmp/stay.pid)" 2>/dev/null; then
			cat /tmp/stay
			return 1
		fi
		sleep 0.1
	done
}

guest_runs() {
	kill -0 "$(cat /tmp/stay.pid)" && ! grep 'stood still' /tmp/stay || return 1
	kill "$(cat /tmp/stay.pid)"
	# Its exit status is that of the signal.
	wait "$(cat /tmp/stay.pid)" || true
}

switch_cpus() { # 0|1
	for cpu in /sys/devices/system/cpu/cpu[1-9]*; do
		echo "$1" >"$cpu/online" || return 1
	done
	cat /sys/devices/system/cpu/online
}

offline() {
	switch_cpus 0 && launch && switch_cpus 1 && launch
}

reload() { # TIMES
	for turn in $(seq "$1"); do
		tac /lib/modules/order | while read -r module; do rmmod "$module" || exit 1; done || return 1
		while read -r module; do insmod "/lib/modules/$module.ko" || return 1; done </lib/modules/order
		launch || return 1
		echo "reloaded $turn"
	done
}

load() { # load|crash SED-COMMAND WORD...
	how=$1
	line=$(sed "s/snplab.tests=[^ ]* *//; s/crashkernel=[^ ]* *//; s/snplab.next=/snplab.tests=/; $2" /proc/cmdline)
	shift 2
	kexec "$how" /next/bzImage /next/initrd "$line $*"
}

crash() { # SED-COMMAND, for the crash kernel's command line
	load crash "$1" nr_cpus=1 reset_devices && echo c >/proc/sysrq-trigger
}

for step; do
	name=${step%%=*}
	echo "== $step"
	case $name in
	cpus) cat /sys/devices/system/cpu/online ;;
	launch) launch ;;
	guest) guest ;;
	guest-runs) guest_runs ;;
	offline) offline ;;
	reload) reload "${step#*=}" ;;
	kexec) load load '' && kexec now ;;
	panic) crash '' ;;
	panic-timer) taskset -p 2 $$ && crash 's/no_timer_check//' ;;
	vmcore) dd if=/proc/vmcore of=/dev/null bs=1M ;;
	*) echo "no such step"; false ;;
	esac
	status=$?
	echo "== $step: $status"
	[ "$status" = 0 ] || exit 1
done
