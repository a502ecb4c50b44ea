#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The verdict follows from the logs: what a guest can leave behind, and what must be said of it.
# shellcheck disable=SC2001,SC2317,SC2016  # sed for what needs its anchors; functions that expect calls; inner shells
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"

ktap=$(printf '%s\n' 'KTAP version 1' '1..2' '# Subtest: kunit' '    KTAP version 1' '        ok 1 one' '    ok 1 suite' \
	'ok 1 kunit' '# x' 'ok 2 state_test' 'snplab: end of tests')
verdict() { # KTAP KERNEL-LOG [TESTS]
	rm -rf "$tmp/logs"
	mkdir "$tmp/logs"
	printf '%s\n' "$1" >"$tmp/logs/ktap.log"
	printf '%s\n' "$2" >"$tmp/logs/kernel.log"
	[ -z "${timed_out:-}" ] || echo 9 >"$tmp/logs/timed-out"
	[ -z "${host:-}" ] || printf '%s\n' "$host" >"$tmp/logs/host.json"
	[ -z "${host_log:-}" ] || printf '%s\n' "$host_log" >"$tmp/logs/host.log"
	python3 "$top/lab/verdict.py" "$tmp/logs" --tree t --linux 1.2.3 --tests "${3:-kunit,state_test}" --json "$tmp/json" "${@:4}"
}
boot='Linux version 6.12.0'
expect 'all passed: pass' 0 '^PASS: t on linux 1.2.3: 2 passed, 0 failed, 0 skipped' verdict "$ktap" "$boot"
check 'the JSON is whole' python3 -c "import json; d = json.load(open('$tmp/json')); assert d['exit'] == 0 and len(d['tests']) == 2"
expect 'one not ok: fail' 1 '^FAIL: .* 1 passed, 1 failed' verdict "${ktap/ok 2/not ok 2}" "$boot"
expect 'the failing case below is named' 1 'not ok: one' verdict "$(sed 's/ ok 1 one/ not ok 1 one/; s/^ok 1/not ok 1/' <<<"$ktap")" "$boot"
expect 'one skipped: pass' 0 '1 passed, 0 failed, 1 skipped' verdict "$(sed 's/^ok 2.*/& # SKIP no SEV/' <<<"$ktap")" "$boot"
expect 'all skipped: skip' 4 '^SKIP: ' verdict "$(sed 's/^ok .*/& # SKIP no SEV/' <<<"$ktap")" "$boot"
expect 'a test timed out' 124 '^TIMEOUT: ' verdict "$(sed 's/^ok 2.*/not ok 2 state_test # TIMEOUT no end within 9 s/' <<<"$ktap")" "$boot"
timed_out=1 expect 'the boot timed out' 124 'no end within 9 s' verdict "$ktap" "$boot"
expect 'the guest ended early: fail, though nothing failed' 1 'the guest ended before its tests did' verdict "$(sed '$d' <<<"$ktap")" "$boot"
expect 'no result at all: fail' 1 'expected results of 2 tests, found 0' verdict '' "$boot"
expect 'a test is missing: fail' 1 'expected results of 3 tests, found 2' verdict "$ktap" "$boot" kunit,state_test,sync_regs_test
expect 'another test than the one asked for: fail' 1 '^FAIL' verdict "$ktap" "$boot" kunit,sync_regs_test
expect 'a panic is a panic, whatever passed' 255 'the kernel panicked: Attempted to kill init' verdict "$ktap" "[ 1.0] Kernel panic - not syncing: Attempted to kill init!"
while read -r line; do
	expect "a report is a failure, though all passed: $line" 1 '1 report\(s\) in the kernel' verdict "$ktap" "$boot"$'\n'"[    1.0] $line"
done <<'EOF'
WARNING: possible circular locking dependency detected
WARNING: Nested lock was not taken
WARNING: CPU: 0 PID: 1 at virt/kvm/kvm_main.c:1399 kvm_lock_all_vcpus+0x1/0x2
WARNING: bad unlock balance detected!
BUG: KASAN: slab-use-after-free in sev_es_sync_vmsa+0x1/0x2
BUG: unable to handle page fault for address: ffff888000000000
BUG kmalloc-64 (Not tainted): Redzone overwritten
invalid opcode: 0000 [#1] PREEMPT SMP
INFO: suspicious RCU usage
rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks
INFO: task sev_snp_launch:12 blocked for more than 120 seconds.
rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
DEBUG_LOCKS_WARN_ON(1)
Oops: Oops: 0003 [#1] PREEMPT SMP
EOF
expect 'no kernel log: what it reported is not known' 1 "the kernel's log is not there" verdict "$ktap" ''
expect 'a test that prints the end marker does not end the tests' 1 'the guest ended before' verdict "$(sed 's/^snplab: end/# &/' <<<"$ktap")" "$boot"
expect 'KUnit skipped: no pass' 4 'nothing here tested snp_launch_update_vmsa' verdict "$(sed 's/^ok 1.*/& # SKIP not this tree/' <<<"$ktap")" "$boot"
expect 'a banner with a warning in its middle is no report' 0 '^PASS' verdict "$ktap" "$boot"$'\n''[    0.1] Spectre V2 : WARNING: see the documentation'

# The cases of a test program, and what is known to fail.
cases=$(printf '%s\n' 'KTAP version 1' '1..1' '# Subtest: sev_snp_launch_test' '# TAP version 13' '# 1..3' '# #  RUN  a.first' '# ok 1 a.first' \
	'# # vCPU 1: said why' '# not ok 2 a.second' '# ok 3 a.third' '# # Totals: pass:2 fail:1' 'not ok 1 sev_snp_launch_test # exit status 1' \
	'snplab: end of tests')
all_pass=$(sed 's/^# not ok/# ok/; s/^not ok 1 \(.*\) # .*/ok 1 \1/' <<<"$cases")
launch() { verdict "$1" "$boot" sev_snp_launch_test "${@:2}"; }
expected_is() { printf '%s\n' "$@" >"$tmp/expect"; }
expect 'all cases pass: pass, and counted' 0 '^PASS: .*the launch test: 3 of 3 cases passed\)' launch "$all_pass"
expect 'a case fails: fail, with what it said' 1 '^ *not ok: a.second: vCPU 1: said why' launch "$cases"
expected_is '# a list' 'sev_snp_launch_test a.second: known failure: not backported' $'\tsays: vCPU [0-9]+: said'
expect 'a case that is known to fail: pass, and said' 0 '^PASS: .*2 of 3 cases passed, 1 known to fail' launch "$cases" --expect "$tmp/expect"
expect 'with its reason' 0 '^ *known failure: a.second: not backported' launch "$cases" --expect "$tmp/expect"
expect 'known to fail, and passes: fail' 1 'a.second: passes, and is known to fail' launch "$all_pass" --expect "$tmp/expect"
expect 'on a tree that may be ahead: pass' 0 '^PASS' launch "$all_pass" --expect "$tmp/expect" --may-pass
expect 'a known failure and another one: fail' 1 'not ok: a.third' launch "$(sed 's/^# ok 3/# not ok 3/' <<<"$cases")" --expect "$tmp/expect"
expect 'a known failure for another reason: fail' 1 'known to fail, but to say' launch "${cases/said why/did other things}" --expect "$tmp/expect"
expect 'a known failure, then killed: fail' 1 'killed by signal' launch "$(sed 's/# exit status 1/# killed by signal 9/' <<<"$cases")" --expect "$tmp/expect"
expect 'a known failure, and a time-out: a time-out' 124 '^TIMEOUT' launch "$(sed 's/# exit status 1/# TIMEOUT no end/' <<<"$cases")" --expect "$tmp/expect"
expect 'a case is missing: fail' 1 'expected results of 3 cases, found 2' launch "$(grep -v a.third <<<"$all_pass")"
expect 'a case too few, with a known failure: fail' 1 'expected results of 3 cases, found 2' launch "$(grep -v a.third <<<"$cases")" --expect "$tmp/expect"
expected_is 'sev_snp_launch_test: known failure: all of it' $'\tsays: no such'
expect 'a whole test that is known to fail, and says another thing: fail' 1 'known to fail, but to say' \
	launch "$(grep -v '^# ok\|^# not ok\|^# 1\.\.' <<<"$cases")" --expect "$tmp/expect"
expected_is 'sev_snp_launch_test: known failure: all of it' $'\tsays: said why'
expect 'a whole test that is known to fail' 0 '^PASS: .* 1 passed' \
	launch "$(grep -v '^# ok\|^# not ok\|^# 1\.\.' <<<"$cases")" --expect "$tmp/expect"
expected_is 'sev_snp_launch_test a.second: known failure: not backported' $'\tsays: vCPU [0-9]+: said'
for line in 'KVM_RUN did not return within 9 s: stuck' 'process 7 cannot be killed, and is left behind:' 'not run: 3 are stuck'; do
	expect "a known failure that hangs as well is none: $line" 1 'not ok: a.second: known to fail, but not so' \
		launch "$(sed "s/^# # vCPU 1: said why/&\\n# # vCPU 1: $line/" <<<"$cases")" --expect "$tmp/expect"
done
expected_is 'sev_snp_launch_test a.second: known failure: not backported' 'sev_snp_launch_test a.fourth: known failure: renamed'
expect 'known to fail, and not there: fail' 1 'no case of this test: a.fourth' launch "$cases" --expect "$tmp/expect"
expect 'a launch test without a case: fail' 1 'expected cases of the launch test, found none' \
	launch "$(grep -v '^# ok\|^# not ok\|^# 1\.\.' <<<"$all_pass")"
expected_is 'no such form'
expect 'a list that is none' 1 'expected "TEST\[ CASE\]: known failure: REASON"' launch "$cases" --expect "$tmp/expect"

# On the emulated host.
snp=$boot$'\n''[    2.4] kvm_amd: SEV-SNP enabled (ASIDs 1 - 99)'
counted() { # TOTAL KIND=N...
	python3 -c 'import json, sys
print(json.dumps({"ended": "shutdown", "guest-errors": int(sys.argv[1]), "statistics": {"rmpupdate": 12, "rmp-assigned": 0, "rmp-firmware": 0},
                  "errors": {k: int(n) for k, n in (a.split("=") for a in sys.argv[2:])}}))' "$@"
}
emulated() { verdict "$ktap" "$1" '' --emulated --snp "${@:2}"; }
host=$(counted 0 firmware=0 vmrun=0) expect 'no error on the emulated host: pass' 0 '^PASS: .*no error on the host' emulated "$snp"
check 'the JSON has the counts' python3 -c "import json; d = json.load(open('$tmp/json')); assert d['snp'] is True and d['host_errors'] == 0 and d['host']['statistics']['rmpupdate'] == 12"
host=$(counted 2 firmware=2 vmrun=0) expect 'an error that nobody asked for: fail, though all passed' 1 '^ *2 error\(s\) on the emulated host' emulated "$snp"
host=$(counted 2 firmware=2 vmrun=0) expect 'with its kind' 1 '^ *firmware: 2$' emulated "$snp"
host_log='hpet: not this
amd-snp: firmware: nor this
amd-snp: vmrun: page 0x1234 is no VMSA'
export host_log
host=$(counted 3 vmrun=1 firmware=2) expect 'with the line of the log' 1 'host\.log:3: amd-snp: vmrun: page 0x1234 is no VMSA$' emulated "$snp" --provoked firmware
if emulated_out=$(host=$(counted 3 vmrun=1 firmware=2) emulated "$snp" --provoked firmware) || grep -q 'this' <<<"$emulated_out"; then
	not_ok 'and no other' "$emulated_out"; else ok 'and no other'; fi
unset host_log
host=$(counted 2 firmware=2 vmrun=0) expect 'one that a test asks for: pass, and said' 0 '^PASS: .*2 on the host, all asked for' emulated "$snp" --provoked firmware
host=$(counted 2 firmware=2) expect 'more than it asks for: fail' 1 'firmware: 2, of which 1 may be' emulated "$snp" --provoked vmrun,firmware:1
host=$(counted 2 firmware=1 vmrun=1) expect 'another kind than it asks for: fail' 1 '^ *vmrun: 1$' emulated "$snp" --provoked firmware
host=$(counted 3 firmware=1) expect 'an error of no kind: fail' 1 'guest-errors says 3, its kinds say 1' emulated "$snp" --provoked firmware
expect 'no count at all: fail' 1 "expected the emulated host's count of errors, found none" emulated "$snp"
host='{"ended": "shutdown", "missing": "qom-list: no such object"}' expect 'no count, with the reason' 1 'found none: qom-list: no such object' emulated "$snp"
host='{"guest-errors": 0' expect 'half a count: fail' 1 'host.json is not there, or not whole' emulated "$snp"
host=$(counted 0 vmrun=0) expect 'a kernel that is no SNP host: fail' 1 'expected "SEV-SNP enabled"' emulated "$boot"
host=$(counted 0 vmrun=0) expect 'SNP without an ASID is not enabled' 1 'expected "SEV-SNP enabled"' emulated "$boot"$'\n''[ 2.4] kvm_amd: SEV-SNP unusable (ASIDs 0 - 0)'
host=$(counted 0 vmrun=0) expect 'one that cannot be: not asked for' 0 '^PASS' verdict "$ktap" "$boot" '' --emulated
host=$(counted 0 vmrun=0 | sed 's/"rmp-assigned": 0/"rmp-assigned": 3/') expect 'an RMP entry that stays a guest'"'"'s: fail' 1 \
	'found rmp-assigned 3, rmp-firmware 0' emulated "$snp"
host=$(counted 0 vmrun=0 | sed 's/, "rmp-assigned": 0//') expect 'RMP entries that nobody counted: fail' 1 'found rmp-assigned None' emulated "$snp"
host=$(counted 0 vmrun=0 | sed 's/"rmp-firmware": 0/"rmp-firmware": 1/') expect 'a context page that stays: fail' 1 'rmp-firmware 1$' emulated "$snp"
expect 'a page that leaked: fail' 1 'Leaking PFN range' verdict "$ktap" "$boot"$'\n''[ 9.0] SEV-SNP: Leaking PFN range 0x1234-0x1235'
host=$(counted 0 vmrun=0) expect 'a case that is skipped where it need not be: fail' 1 'a.second: skipped, on a host' \
	verdict "$(sed 's/^# ok 2 a.second/& # SKIP no SNP/' <<<"$all_pass")" "$snp" sev_snp_launch_test --emulated --snp
host=$(counted 0 vmrun=0) expect 'a launch test that is skipped where it need not be: fail' 1 'skipped, on a host' \
	verdict "$(sed '/^# ok\|^# not ok\|^# 1\.\./d; s/^ok 1.*/& # SKIP KVM has no SNP VMs/; s/^1\.\.1$/1..2/; s/^snplab: end/ok 2 state_test\n&/' <<<"$all_pass")" \
	"$snp" sev_snp_launch_test,state_test --emulated --snp
expect 'elsewhere it may be' 0 '^PASS' launch "$(sed 's/^# ok 2 a.second/& # SKIP no SNP/' <<<"$all_pass")"
expect 'KUnit skipped, the launch test passed: pass' 0 '^PASS' verdict "$(sed 's/^1\.\.1$/1..2/; s/^snplab: end/ok 2 kunit # SKIP none\n&/' <<<"$all_pass")" "$boot" sev_snp_launch_test,kunit
expect 'a panic is a panic, counted or not' 255 'errors on the host not known' emulated "[ 1.0] Kernel panic - not syncing: no"
timed_out=1 host=$(counted 1 vmrun=1) expect 'a time-out is a time-out, and tells the errors' 124 '^ *vmrun: 1$' emulated "$snp"

verdict "$ktap" "$boot" >/dev/null
ln -s json "$tmp/link"
check 'JSON to what a link names' bash -c 'python3 "$1/lab/verdict.py" "$2/logs" --tests kunit,state_test --json "$2/link" >/dev/null && [ -L "$2/link" ] && [ -s "$2/json" ]' x "$top" "$tmp"
check 'JSON to a device leaves it one' bash -c 'python3 "$1/lab/verdict.py" "$2/logs" --tests kunit,state_test --json /dev/null >/dev/null; [ -c /dev/null ]' x "$top" "$tmp"
expect 'what is no report is none' 0 '^PASS' verdict "$ktap" "$boot"$'\n''[ 0.1] random: debug warning: not a report'
finish
