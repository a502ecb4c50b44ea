#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The emulated host, built to stop at undefined behaviour and bad accesses (UBSan, ASan): qtest, CPU test and a
# kernel's SEV tests as on the other build, then arbitrary firmware commands and instructions, for
# SNPLAB_FUZZ seconds each (default 60). Nothing a kernel or a guest does ends QEMU.
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/host-tap.sh
. "$(dirname "$0")/host-tap.sh"

seconds=${SNPLAB_FUZZ:-30}
export host_sanitize=1
# QEMU keeps what it allocated when it exits.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

# shellcheck disable=SC2016  # for the other shell
check 'a build with ASan and UBSan' lab_quietly eval 'install_missing hostsource
	fetch_qemu
	build_host "$(qemu_source)" "$(qemu_work)"'
check 'and its qtests' lab_quietly build_host_tests
work=$(qemu_work)
binary=$work/host/bin/qemu-system-x86_64
check 'the binary has them' grep -q __asan_init "$binary"

each_case 'amd-psp-test ends well' env QTEST_QEMU_BINARY="$binary" timeout -k 5 400 "$work/src/build/tests/qtest/amd-psp-test"
SNP_SECONDS=400 each_case 'the test kernel ran to its end' "$top/host/tests/cpu/run" "$binary"
expect 'a kernel and its SEV tests' 0 '^PASS: ' env SNPLAB_QEMU="$binary" "$top/snplab" run --tree mainline --test 'sev_*' --timeout 400
AMD_PSP_FUZZ_SECONDS=$seconds each_case "arbitrary firmware commands for $seconds s" \
	env QTEST_QEMU_BINARY="$binary" timeout -k 5 $((seconds + 200)) "$work/src/build/tests/qtest/amd-psp-fuzz"
each_case "arbitrary instructions on all CPUs for $seconds s" "$top/host/tests/cpu/run" --fuzz "$seconds" "$binary"
finish
