#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# A Linux SNP guest boots on both trees and on Debian's own kernel, with Debian's own software; what it was launched with is
# what its attestation report says; and on the fix's first posting it hangs, which is said as what it is.
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"

ask() { python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); print(eval(sys.argv[2], {"d": d}))' "$1" "$2"; }
is() { # DESCRIPTION JSON EXPRESSION WANTED
	local found
	found=$(ask "$2" "$3" 2>&1)
	if [[ $found == "$4" ]]; then ok "$1"; else not_ok "$1" "expected $4, found $found"; fi
}
# guest NAME STATUS ARGUMENT...: leaves NAME.json and NAME.log.
guest() {
	local name=$1 want=$2 status=0
	shift 2
	"$top/snplab" guest --check --json "$tmp/$name.json" "$@" >"$tmp/$name.log" 2>&1 || status=$?
	if [ $status -eq "$want" ]; then ok "guest $*: exit status $want"; else
		not_ok "guest $*: exit status $want" "found $status" "$(tail -n 40 "$tmp/$name.log")"
	fi
}
# boots NAME CPUS: what is true of each.
boots() {
	local name=$1 json=$tmp/$1.json case
	for case in is_launched runs has_a_shell snp_is_active has_all_cpus attests powers_off; do
		is "$name: guest.$case" "$json" "[c['result'] for t in d['tests'] for c in t['cases'] if c['name'] == 'guest.$case']" "['pass']"
	done
	is "$name: no report in the host's log" "$json" 'd["reports"]' '[]'
	is "$name: nothing that the architecture forbids was done" "$json" 'd["host_errors"]' 0
	is "$name: the report's measurement is the digest that was computed outside" "$json" \
		'd["attestation"]["measurement"] == d["attestation"]["digest"] and len(d["attestation"]["digest"])' 96
	check "$name: the guest's kernel says that its $2 CPUs are up" grep -q "Brought up 1 node, $2 CPUs" "$tmp/$name.log"
	check "$name: and that SNP is active" grep -q 'Memory Encryption Features active: .*SEV-SNP' "$tmp/$name.log"
	check "$name: the table of times ends with the power-off" grep -qE '^ +[0-9.]+ s  power-off  \(at [0-9.]+ s\)' "$tmp/$name.log"
}

guest 6.12.y 0
boots 6.12.y 2
guest mainline 0 --tree mainline --smp 4 --append snplab.another=1
boots mainline 4
is 'another command line is what was measured then' "$tmp/mainline.json" 'd["attestation"]["append"].endswith(" snplab.another=1")' True

# A byte that no boot loader looks at: the kernel boots, and is another one.
kernel=$(ask "$tmp/6.12.y.json" 'd["attestation"]["kernel"]')
cp "$kernel" "$tmp/flipped"
printf '\x5a' | dd of="$tmp/flipped" bs=1 seek=8 conv=notrunc status=none
if cmp -s "$kernel" "$tmp/flipped"; then not_ok 'a byte of the kernel is flipped' 'it was 5a before'; fi
guest debian 0 --tree debian --kernel "$tmp/flipped"
boots debian 2
digest() { ask "$tmp/$1.json" 'd["attestation"]["measurement"]'; }
# differ DESCRIPTION DIGEST DIGEST: neither is an error's.
differ() {
	if [[ $2 =~ ^[0-9a-f]{96}$ && $3 =~ ^[0-9a-f]{96}$ && $2 != "$3" ]]; then ok "$1"; else not_ok "$1" "expected two digests, found: $2" "and: $3"; fi
}
differ 'one byte of the kernel is another measurement' "$(digest debian)" "$(digest 6.12.y)"
append=$(ask "$tmp/6.12.y.json" 'd["attestation"]["append"]')
launch_digest() { # VCPUS APPEND
	python3 "$top/lab/launch_digest.py" --firmware "$(ask "$tmp/6.12.y.json" 'd["attestation"]["firmware"]')" --vcpus "$1" --cpu-model EPYC-Milan \
		--kernel "$kernel" --initrd "$(ask "$tmp/6.12.y.json" 'd["attestation"]["initrd"]')" --append "$2"
}
differ 'what the command line adds is, too, with as many CPUs' "$(launch_digest 4 "$append")" "$(digest mainline)"
check 'and without either it is the one that was measured' test "$(launch_digest 2 "$append")" = "$(digest 6.12.y)"

for tree in 6.12.y mainline; do
	patch=$top/tests/mutants/$([ $tree = mainline ] && echo mainline || echo linux-$tree)/leak-on-success.patch
	guest "$tree-hang" 1 --tree $tree --patch "$patch"
	log=$tmp/$tree-hang.log
	check "$tree, first posting: launched, and then nothing" grep -qE 'not ok: guest.runs: the guest hangs: vCPU threads are blocked on vcpu->mutex' "$log"
	check "$tree, first posting: the vCPUs' threads are named, with what they wait in" \
		grep -qF "blocked in kvm_vcpu_ioctl(), where vcpu->mutex is taken: CPU 0/KVM in KVM_KVMCLOCK_CTRL" "$log"
	check "$tree, first posting: a thread's stack is shown" grep -qE 'thread CPU 0/KVM: stack: .*kvm_vcpu_ioctl' "$log"
	check "$tree, first posting: lockdep names who took the mutex, and under whom it was left" \
		grep -qE 'lockdep: &vcpu->mutex, taken by kvm_lock_all_vcpus\(\), was still held when sev_mem_enc_ioctl\(\) released &kvm->lock' "$log"
	check "$tree, first posting: no message on the guest's consoles" bash -c "! grep -qE '\| .*(Linux version|snplab:)' '$log'"
done
finish
