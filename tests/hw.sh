#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# lab/hw.sh: each prerequisite that is missing is seen, is exit status 4, and has its own hint; what the test and the
# kernel say becomes the verdict that it must be. With made-up /proc, /sys and kernel logs, one thing missing at a
# time; then in the emulated host, with busybox alone, from the same script and binary.
# shellcheck disable=SC2001,SC2016,SC2059,SC2317  # sed for bytes, which printf makes; inner shells; functions that expect calls
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=host/tests/lib.sh
. "$top/host/tests/lib.sh"

# --- A machine that is made up -------------------------------------------------------------------

# bytes FILE OFFSET HEX: little-endian numbers at an offset of a sparse file, as /dev/cpu/0/msr has them.
bytes() {
	printf "$(sed 's/../\\x&/g' <<<"$3")" | dd of="$1" bs=1 seek="$2" oflag=seek_bytes conv=notrunc status=none
}

good=$tmp/good
mkdir -p "$good"/{proc/sys/kernel,proc/self,boot,etc/modprobe.d,dev/cpu/0} "$good"/sys/{module/ccp,module/kvm_amd/parameters,class/misc/sev,class/iommu/ivhd0,class/dmi/id,fs/cgroup,kernel/debug/kvm}
printf '%s\t: %s\n' processor 0 vendor_id AuthenticAMD 'cpu family' 25 model 1 'model name' 'AMD EPYC 7763 64-Core Processor' \
	stepping 1 microcode 0xa0011d5 flags 'fpu svm sme sev sev_es sev_snp npt' >"$good/proc/cpuinfo"
echo 6.17.3 >"$good/proc/sys/kernel/osrelease"
echo '#1 SMP PREEMPT_DYNAMIC Fri Oct 17 2025' >"$good/proc/sys/kernel/version"
echo 'BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro quiet' >"$good/proc/cmdline"
echo 'MemAvailable:   1000000 kB' >"$good/proc/meminfo"
echo 'Max open files            1024                 1048576              files     ' >"$good/proc/self/limits"
printf 'CONFIG_%s=y\n' KVM_AMD KVM_AMD_SEV AMD_MEM_ENCRYPT CRYPTO_DEV_SP_PSP AMD_IOMMU PROVE_LOCKING >"$good/boot/config-6.17.3"
for p in sev sev_es sev_snp; do echo Y >"$good/sys/module/kvm_amd/parameters/$p"; done
printf 'sev 410\nsev_es 99\n' >"$good/sys/fs/cgroup/misc.capacity"
printf 'sev 0\nsev_es 3\n' >"$good/sys/fs/cgroup/misc.current"
echo 'Some Vendor' >"$good/sys/class/dmi/id/sys_vendor"
echo 'A Server' >"$good/sys/class/dmi/id/product_name"
echo SERIAL-1234 >"$good/sys/class/dmi/id/product_serial"
ln -s /dev/null "$good/dev/kvm"
ln -s /dev/null "$good/dev/sev"
bytes "$good/dev/cpu/0/msr" $((0xc0010010)) 00008003 # SYSCFG: SMEE, SNP_EN, VMPL_EN
bytes "$good/dev/cpu/0/msr" $((0xc0010132)) 0000002000000000
bytes "$good/dev/cpu/0/msr" $((0xc0010133)) ffff7f2000000000
bytes "$good/dev/cpu/0/cpuid" $((0x80000000)) 2800008041757468444d416363414d44
bytes "$good/dev/cpu/0/cpuid" $((0x8000001f)) 3e0c0000b3000000fe01000064000000
printf '[    %s] %s\n' 0.000000 'Linux version 6.17.3 (someone@somewhere) (gcc)' \
	0.100000 'SEV-SNP: RMP table physical range [0x0000000020000000 - 0x00000000207fffff]' \
	0.200000 'AMD-Vi: IOMMU SNP support enabled.' 0.250000 'Spectre V2 : WARNING: an old one' 0.251000 'WARNING: CPU: 1 PID: 1 before the test' \
	5.000000 'ccp 0000:22:00.1: sev enabled' 5.100000 'ccp 0000:22:00.1: SEV-SNP API:1.55 build:21' \
	5.200000 'ccp 0000:22:00.1: SEV API:1.55 build:21' 6.000000 'kvm_amd: SEV enabled (ASIDs 100 - 510)' \
	6.100000 'kvm_amd: SEV-ES enabled (ASIDs 1 - 99)' 6.200000 'kvm_amd: SEV-SNP enabled (ASIDs 1 - 99)' >"$good/kernel.log"

root=$tmp/root
# A test that passes, a test that is run with an edit of the made-up machine.
program() { printf '#!/bin/sh\n%s\n' "$1" >"$tmp/program"; chmod +x "$tmp/program"; }
pass='echo TAP version 13; echo 1..2; echo ok 1 one; echo "ok 2 two # SKIP no reason"'
fresh() { rm -rf "$root"; cp -a "$good" "$root"; }
hw() { SNPLAB_HW_ROOT=$root "${shell:-sh}" "$top/lab/hw.sh" --json "$tmp/json" "$@"; }

# lacks TEXT NAME PATTERN EDIT: with EDIT, a command in the made-up root, hw.sh ends with 4, says that NAME is missing,
# and its hint matches PATTERN.
lacks() {
	local status=0 line
	fresh
	(cd "$root" && eval "$4") || { not_ok "$1" "the edit failed: $4"; return; }
	program "$pass; touch $tmp/was-run"
	rm -f "$tmp/was-run"
	hw --binary "$tmp/program" >"$tmp/said" 2>&1 || status=$?
	line=$(grep -A1 -F "missing  $2: expected " "$tmp/said")
	if [ $status -ne 4 ]; then not_ok "$1" "expected status 4, found $status" "$(cat "$tmp/said")"
	elif ! grep -qE -- "$3" <<<"$line"; then not_ok "$1" "expected that $2 is missing, with a word like: $3" "$(cat "$tmp/said")"
	elif [ -e "$tmp/was-run" ]; then not_ok "$1" 'expected that nothing is run'
	elif ! json_says "d['exit'] == 4 and d['verdict'] == 'skip' and any(c['check'] == '$2' and c['result'] == 'missing' and c['hint'] for c in d['checks'])"; then
		not_ok "$1" "the JSON does not say so:" "$(cat "$tmp/json")"
	else ok "$1"; fi
}
json_says() { python3 -c "import json; d = json.load(open('$tmp/json')); assert $1, d"; }
log() { sed -i "/$1/d" kernel.log; [ -z "${2:-}" ] || echo "[    9.0] $2" >>kernel.log; }

for shell in sh bash; do
	fresh
	program "$pass"
	expect "$shell: nothing is missing, the test passes" 0 '^PASS: 1 passed, 0 failed, 1 skipped$' hw --binary "$tmp/program"
done
shell='sh'
hw --binary "$tmp/program" >"$tmp/said" 2>&1
check 'the JSON says pass' json_says "(d['exit'], d['verdict'], d['passed'], d['skipped'], d['reports']) == (0, 'pass', 1, 1, [])"
check 'all that was looked at was found' json_says "len(d['checks']) > 20 and all(c['result'] == 'ok' for c in d['checks'])"
sed -n '/^--- to be pasted/,/^--- end/p' "$tmp/said" >"$tmp/block"
for line in 'result     1 passed, 0 failed, 1 skipped' 'kernel log no report; lockdep on' 'kernel     6.17.3 (#1 SMP' 'microcode 0xa0011d5' \
	'cpu        AMD EPYC 7763 64-Core Processor, family 25 model 1 stepping 1' 'firmware   SNP API 1.55 build:21' 'machine    Some Vendor A Server' 'Tested-by: '; do
	check "the block has: $line" grep -qF -- "$line" "$tmp/block"
done
check 'and no name and no number that only this machine has' bash -c '! grep -qE "somewhere|SERIAL|$(uname -n)" "$0"' "$tmp/block"
expect 'Tested-by is who git says' 0 '^Tested-by: A Tester <tester@example.org>$' \
	env GIT_CONFIG_COUNT=2 GIT_CONFIG_KEY_0=user.name GIT_CONFIG_VALUE_0='A Tester' GIT_CONFIG_KEY_1=user.email \
	GIT_CONFIG_VALUE_1=tester@example.org SNPLAB_HW_ROOT="$root" sh "$top/lab/hw.sh" --binary "$tmp/program"
expect '--check runs nothing' 0 '^the prerequisites: 0 missing, 0 unknown$' hw --check
expect '--brief says nothing of what is there' 0 '^1 the prerequisites: 0 missing, 0 unknown$' bash -c 'set -o pipefail; SNPLAB_HW_ROOT=$0 sh "$1" --check --brief | cat -n | sed "s/^ *//; s/\t/ /"' "$root" "$top/lab/hw.sh"

lacks 'another vendor' cpu 'needs an AMD EPYC' 'sed -i s/AuthenticAMD/GenuineIntel/ proc/cpuinfo'
lacks 'an older EPYC' cpu 'family 23.*|third generation' 'sed -i "/family/s/25/23/" proc/cpuinfo'
lacks 'a virtual machine' 'bare machine' 'run this there' 'sed -i "s/ svm/ hypervisor svm/" proc/cpuinfo'
lacks 'SVM is off' svm 'SVM Mode: Enabled' 'sed -i "s/ svm//" proc/cpuinfo'
lacks 'a CPU without SNP' cpuid 'no SEV-SNP \(EAX 0xc2e\)' 'bytes dev/cpu/0/cpuid $((0x8000001f)) 2e0c0000'
lacks 'a CPU without the leaf' cpuid 'no such leaf' 'bytes dev/cpu/0/cpuid $((0x80000000)) 1e000080'
lacks 'SMEE is off' smee 'SMEE \(Secure Memory Encryption\): Enabled' 'bytes dev/cpu/0/msr $((0xc0010010)) 00000000'
lacks 'no SEV flags' flags 'SMM Lock: Enabled' 'sed -i "s/ sev sev_es sev_snp//" proc/cpuinfo'
lacks 'no SNP flag' flags 'reserved no RMP, or with sev=nosnp' 'sed -i "s/ sev_snp//" proc/cpuinfo'
lacks 'no ASIDs for SEV-ES' asids 'SEV-ES ASID Space Limit: 100' 'bytes dev/cpu/0/cpuid $((0x8000001f)) 3e0c0000b3000000fe01000001000000'
lacks 'no RMP: the kernel says so' rmp 'RMP Table\) Coverage: Enabled' 'log "RMP table phys" "SEV-SNP: Memory for the RMP table has not been reserved by BIOS"'
lacks 'an RMP for a part of the memory' rmp 'does not cover full.*|for all of the memory' 'log XX "SEV-SNP: Memory reserved for the RMP table does not cover full system RAM (expected 0x2 got 0x1)"'
lacks 'no RMP: the MSR says so' rmp 'Coverage: Enabled' 'log "RMP table phys"; bytes dev/cpu/0/msr $((0xc0010132)) 0000000000000000'
lacks 'no IOMMU' iommu 'IOMMU: Enabled, SEV-SNP Support: Enabled' 'log AMD-Vi; rmdir sys/class/iommu/ivhd0'
lacks 'the IOMMU passes through' iommu 'take iommu=pt' 'log AMD-Vi "AMD-Vi: SNP: IOMMU disabled or configured in passthrough mode, SNP cannot be supported."'
lacks 'the IOMMU is off' iommu 'take amd_iommu=off' 'log AMD-Vi "AMD-Vi: SNP: IOMMU disabled, SNP cannot be supported."'
lacks 'the IOMMU has V2 tables' iommu 'take amd_iommu=pgtbl_v2' 'log AMD-Vi "AMD-Vi: SNP: IOMMU is configured with V2 page table mode, SNP cannot be supported."'
lacks 'the IOMMU has no SNP' iommu 'SEV-SNP Support: Enabled' 'log AMD-Vi "AMD-Vi: SNP: IOMMU SNP feature not enabled, SNP cannot be supported."'
lacks 'the RMP could not be set up' iommu 'see rmp above' 'log AMD-Vi "AMD-Vi: SNP: RMP initialization failed, SNP cannot be supported."'
lacks 'an old kernel' kernel 'since 6.11' 'echo 6.10.14 >proc/sys/kernel/osrelease; mv boot/config-6.17.3 boot/config-6.10.14'
lacks 'a kernel without SEV' config 'build the kernel with these' 'sed -i /KVM_AMD_SEV/d boot/config-6.17.3'
lacks 'a kernel without the PSP, by config.gz' config 'no CONFIG_CRYPTO_DEV_SP_PSP in /proc/config.gz' 'sed -i /SP_PSP/d boot/config-6.17.3; gzip <boot/config-6.17.3 >proc/config.gz'
lacks 'sev=nosnp' cmdline 'take it off the kernel command line' 'echo "ro sev=debug,nosnp" >proc/cmdline'
lacks 'kvm_amd.sev_es=0' cmdline 'kvm_amd.sev_es=0' 'echo "ro kvm_amd.sev_es=0" >proc/cmdline'
lacks 'no ccp' ccp 'modprobe ccp' 'rmdir sys/module/ccp'
lacks 'no kvm_amd' kvm_amd 'modprobe kvm_amd' 'rm -r sys/module/kvm_amd'
lacks 'no secure processor' psp 'in the kernel.s log: .*psp initialization failed|BIOS update' 'rmdir sys/class/misc/sev; log XX "ccp 0000:22:00.1: psp initialization failed"'
for p in sev sev_es sev_snp; do
	lacks "$p is off" "kvm_amd $p" "loaded with $p=0" "echo N >sys/module/kvm_amd/parameters/$p"
done
lacks 'sev_snp is off by the command line' 'kvm_amd sev_snp' 'the kernel command line \(kvm-amd.sev_snp=n\) turns it off' 'echo N >sys/module/kvm_amd/parameters/sev_snp; echo kvm-amd.sev_snp=n >proc/cmdline'
lacks 'sev_snp is off by modprobe.d' 'kvm_amd sev_snp' '/etc/modprobe.d/my.conf turns it off' 'echo N >sys/module/kvm_amd/parameters/sev_snp; echo "options kvm_amd nested=0 sev_snp=0" >etc/modprobe.d/my.conf'
lacks 'kvm_amd calls SNP unusable' 'kvm_amd says' 'the firmware or the ASIDs' 'log "SEV-SNP enabled" "kvm_amd: SEV-SNP unusable (ASIDs 1 - 99)"'
lacks 'old firmware' firmware 'amd_sev_fam' 'sed -i "s/API:1.55/API:1.49/" kernel.log'
lacks 'the firmware does not start' firmware 'the firmware refused' 'echo N >sys/module/kvm_amd/parameters/sev_snp; log XX "ccp 0000:22:00.1: SEV-SNP: SNP_INIT_EX failed rc -5, error 0x3"'
lacks 'a CPU is offline' firmware 'put every CPU online' 'echo N >sys/module/kvm_amd/parameters/sev_snp; log XX "SEV-SNP: SNP init failed: not all CPUs online. (0-2 online <-> 0-3 present masks)."'
lacks 'no /dev/kvm' /dev/kvm 'mknod /dev/kvm' 'rm dev/kvm'
lacks 'no /dev/sev' /dev/sev 'the node has been removed' 'rm dev/sev'
lacks 'little memory' memory 'stop something' 'echo "MemAvailable: 100000 kB" >proc/meminfo'
lacks 'few open files' limits 'ulimit -n 1024' 'sed -i "s/1024 /128 /" proc/self/limits'
lacks 'no ASID is free' 'free asids' 'stop a guest' 'echo sev_es 99 >sys/fs/cgroup/misc.current'

# What cannot be seen is not missing.
fresh
rm -r "$root"/dev/cpu "$root/boot/config-6.17.3"
: >"$root/kernel.log"
program "$pass"
expect 'what cannot be seen is unknown, and stops nothing' 0 '^PASS: ' hw --binary "$tmp/program"
check 'and is counted' json_says "d['unknown'] >= 7 and d['missing'] == 0"
expect 'the block says that nobody saw the kernel'\''s log' 0 '^kernel log not readable: reports are not known; lockdep not known$' hw --binary "$tmp/program"
fresh
mkdir "$root/sys/kernel/debug/kvm/123-4"
expect 'other guests are mentioned' 0 '^note     guests: 1 of KVM are running' hw --check
fresh
echo 'ro iommu=pt' >"$root/proc/cmdline"
expect 'iommu=pt that does no harm is not mentioned' 0 '^ok       cmdline: nothing that does$' hw --check
sed -i /AMD-Vi/d "$root/kernel.log"
expect 'iommu=pt that may is' 0 '^note     cmdline: iommu=pt: most kernels refuse' hw --check
echo 6.10.0 >"$root/proc/sys/kernel/osrelease"
forced='^SKIP: 1 passed, 0 failed, 1 skipped; 1 prerequisite\(s\) missing, the first: kernel: that is no pass$'
expect '--force runs it all the same, and a pass is none' 4 "$forced" hw --force --binary "$tmp/program"
check 'nor is it in the JSON' json_says "(d['exit'], d['verdict'], d['passed'], d['missing']) == (4, 'skip', 1, 1)"
expect 'and the block says so' 4 '^missing    1 prerequisite\(s\), the first: kernel; run with --force$' hw --force --binary "$tmp/program"
expect 'and why there is no Tested-by' 4 '^no Tested-by: with a prerequisite missing' hw --force --binary "$tmp/program"
expect 'which there is not' 4 '^0$' bash -c 'SNPLAB_HW_ROOT=$0 sh "$1" --force --binary "$2" >"$2.said"; s=$?; grep -c "^Tested-by" "$2.said"; exit $s' "$root" "$top/lab/hw.sh" "$tmp/program"
program 'exit 0'
expect '--force, and a program that only ends with 0' 1 '^FAIL: exit status 0; expected a TAP plan, found none$' hw --force --binary "$tmp/program"
program 'echo 1..1; echo not ok 1 a; exit 1'
expect '--force, and a case fails' 1 '^FAIL: 0 passed, 1 failed' hw --force --binary "$tmp/program"

# --- What the test says, and the kernel ------------------------------------------------------------

run_of() { # TEXT STATUS PATTERN PROGRAM [ARGUMENT...]
	fresh
	program "$4"
	expect "$1" "$2" "$3" hw --brief --binary "$tmp/program" "${@:5}"
}
run_of 'a case fails' 1 '^FAIL: 1 passed, 1 failed, 0 skipped; the test ended with status 1$' 'echo 1..2; echo ok 1 a; echo not ok 2 b; exit 1'
expect 'and nobody is asked to say Tested-by' 1 '^0$' bash -c 'SNPLAB_HW_ROOT=$0 sh "$1" --binary "$2" >"$2.said"; s=$?; grep -c Tested-by "$2.said"; exit $s' "$root" "$top/lab/hw.sh" "$tmp/program"
# What is listed is known only if it says what is listed, and nothing worse. The list is searched for the very name.
printf '%s\n' '# a comment' 'program b.cd.e: known failure: of another' '	says: .' 'program b.c: known failure: a reason' '# a comment' \
	'	says: found E[A-Z]+ \(14\)$' '	evidence: a.patch' 'program silent: known failure: whatever it says' 'other b.c: known failure: of another program' '	says: nothing' \
	'program bad: known failure: no regular expression' '	says: (' >"$tmp/expect"
known='echo "# a.c:1:b.c:vCPU 0: found EFAULT (14)"' # what b.c says where it fails as known
# of NAME COMMANDS: a program with one case that passes, and NAME, which fails and does COMMANDS before.
of() { echo "echo 1..2; echo '#  RUN           a ...'; echo ok 1 a; echo '#  RUN           $1 ...'; $2; echo '#          FAIL  $1'; echo 'not ok 2 $1 # why'; exit 1"; }
run_of 'a case fails, as known' 0 '^PASS: 1 passed, 0 failed, 0 skipped, 1 failed as known$' "$(of b.c "$known")" --expect "$tmp/expect"
check 'is in the JSON' json_says "(d['exit'], d['verdict'], d['failed'], d['known_failures']) == (0, 'pass', 0, 1)"
run_of 'and the block has the reason' 0 '^    b.c: a reason$' "$(of b.c "$known")" --expect "$tmp/expect"
run_of 'what is known of a case, without the list' 1 '^FAIL: 1 passed, 1 failed, 0 skipped; ' "$(of b.c "$known")"
# hides TEXT PATTERN PROGRAM: the case that is listed has failed, with a reason why it is not known, and nobody is asked to say Tested-by.
hides() {
	run_of "$1" 1 '^FAIL: 1 passed, 1 failed, 0 skipped; ' "$3" --expect "$tmp/expect"
	expect "$1: and the block says why" 1 "$2" hw --brief --binary "$tmp/program" --expect "$tmp/expect"
	expect "$1: and has no Tested-by" 1 '^0$' bash -c 'SNPLAB_HW_ROOT=$0 sh "$1" --binary "$2" --expect "$3" >"$2.said"; s=$?; grep -c Tested-by "$2.said"; exit $s' \
		"$root" "$top/lab/hw.sh" "$tmp/program" "$tmp/expect"
}
hides 'a case that is known to fail says nothing' 'known to fail \(a reason\), but not so: expected that it says "found E\[A-Z\]' "$(of b.c :)"
hides 'and something else' 'but not so: expected that it says' "$(of b.c 'echo "# found Success (0)"')"
hides 'and the words, in another case' 'but not so: expected that it says' "echo '#  RUN           a ...'; $known; $(of b.c :)"
hides 'and the words, before its beginning' 'but not so: expected that it says' "$(of b.c : | sed "s/echo ok 1 a;/& ${known//&/\\&};/")"
hides 'and the words, after another case, and without a beginning' 'but not so: expected that it says' \
	"$(of b.c "$known" | sed "s/echo '#  RUN           b.c ...';//")"
hides 'and the words, and it hangs' 'but not so: .*KVM_RUN did not return within 10 s: stuck on vcpu->mutex$' \
	"$(of b.c "$known; echo '# a.c:2:b.c:vCPU 1: KVM_RUN did not return within 10 s: stuck on vcpu->mutex'")"
for worse in "the test case's process did not end in time:" 'process 7 did not die' 'process 7 cannot be killed' 'process 7 is left behind:' \
	"its thread is gone, see the kernel's log" 'not run: the processes of 2 cases are stuck' 'expected it to block, but it returned' \
	'LAUNCH_FINISH stopped waiting for vCPU 1'; do
	run_of "and: $worse" 1 "but not so: .*$worse" "$(of b.c "$known; echo \"# $worse\"")" --expect "$tmp/expect"
done
run_of 'another case hangs: it has failed' 1 '^FAIL: 0 passed, 1 failed, 0 skipped, 1 failed as known;' \
	"$(of b.c "$known" | sed "s/echo ok 1 a;/echo '# did not return'; echo not ok 1 a;/")" --expect "$tmp/expect"
hides 'a list without "says:"' 'but not so: the list has no "says:"' "$(of silent "$known")"
hides 'a "says:" that is no regular expression' 'but not so: ' "$(of bad "$known")"
run_of 'another fails, too' 1 '^FAIL: 0 passed, 1 failed, 0 skipped, 1 failed as known;' "$(of b.c "$known" | sed 's/ok 1 a/not ok 1 b.cd/')" --expect "$tmp/expect"
if busybox=$(command -v busybox); then
	mkdir "$tmp/applets"
	"$busybox" --install -s "$tmp/applets"
	program "$(of b.c "$known")"
	expect 'busybox alone: a case fails, as known' 0 '^PASS: 1 passed, 0 failed, 0 skipped, 1 failed as known$' \
		env PATH="$tmp/applets" SNPLAB_HW_ROOT="$root" sh "$top/lab/hw.sh" --binary "$tmp/program" --expect "$tmp/expect"
	program "$(of b.c "$known; echo '# it did not return'")"
	expect 'busybox alone: and it hangs' 1 'but not so: # it did not return$' \
		env PATH="$tmp/applets" SNPLAB_HW_ROOT="$root" sh "$top/lab/hw.sh" --binary "$tmp/program" --expect "$tmp/expect"
fi
run_of 'what is known fails, and the test crashes' 1 '^FAIL: .*killed by signal 11$' "$(of b.c "$known" | sed 's/exit 1/kill -SEGV $$/')" --expect "$tmp/expect"
run_of 'a case fails, and the status says pass' 1 '^FAIL: 0 passed, 1 failed' 'echo 1..1; echo not ok 1 a'
run_of 'the status says fail, and no case does' 1 '^FAIL: 1 passed, 0 failed, 0 skipped; the test ended with status 3$' 'echo 1..1; echo ok 1 a; exit 3'
run_of 'the status says skip, and a case passed' 1 '^FAIL: 1 passed, 0 failed, 1 skipped; the test ended with status 4$' "$pass; exit 4"
run_of 'it ends early' 1 'expected 3 results, found 1$' 'echo 1..3; echo ok 1 a'
run_of 'it is killed' 1 'the test was killed by signal 11$' 'echo 1..1; kill -SEGV $$'
run_of 'it skips itself' 4 '^SKIP: .*the test skipped itself: no SNP here$' 'echo "1..0 # SKIP no SNP here"; exit 4'
run_of 'every case is skipped' 4 '^SKIP: .*every case was skipped$' 'echo 1..1; echo "ok 1 a # SKIP no"'
run_of 'some are skipped, and the others fail as known' 4 '^SKIP: 0 passed, 0 failed, 1 skipped, 1 failed as known; no case passed$' \
	"$(of b.c "$known" | sed "s/ok 1 a/'ok 1 a # SKIP no'/")" --expect "$tmp/expect"
run_of 'more results than planned' 1 'expected 1 results, found 2$' 'echo 1..1; echo ok 1 a; echo ok 2 b'
run_of 'results without a plan' 1 '^FAIL: exit status 0; expected a TAP plan, found none$' 'echo ok 1 a'
run_of 'no TAP' 1 '^FAIL: exit status 0; expected a TAP plan, found none$' 'echo hello'
run_of 'a plan of nothing' 4 '^SKIP: 0 passed, 0 failed, 0 skipped; the plan has no case$' 'echo 1..0'
run_of 'arguments reach it' 0 '^\[-t\]\[a b\]$' "printf '[%s]' \"\$@\"; echo; $pass" -- -t 'a b'
run_of 'it does not end' 124 '^TIMEOUT: .*no end within 2 s$' 'sleep 600 & wait' --timeout 2
run_of 'where its threads are' 124 '^      thread [0-9]+ \(sleep\):$' 'sleep 600 & wait' --timeout 2
run_of 'what it leaves behind is not waited for' 0 '^PASS' 'sleep 20 & echo 1..1; echo ok 1 a'
run_of 'a report in the kernel'\''s log' 1 "^FAIL: 1 passed, 0 failed, 0 skipped; 1 report\(s\) in the kernel's log\$" \
	"echo 1..1; echo ok 1 a; echo '[   99.0] WARNING: CPU: 0 PID: 1 at arch/x86/kvm/svm/sev.c:1' >>$root/kernel.log"
check 'is in the JSON' json_says "d['verdict'] == 'fail' and len(d['reports']) == 1 and 'sev.c:1' in d['reports'][0]"
run_of 'a report, and the log has lost its beginning' 1 "1 report\(s\) in the kernel's log\$" \
	"echo 1..1; echo ok 1 a; sed -i 1,6d $root/kernel.log; echo '[   99.0] BUG: a new one' >>$root/kernel.log"
fresh
program 'kill -TERM $(ps -o ppid= $PPID); sleep 600 & echo $! >"$0.child"; wait'
expect 'a signal ends it and what it runs' 143 . hw --brief --binary "$tmp/program"
# Gone, or about to be: killed, and not yet waited for.
check 'that has gone' bash -c 'sleep 1; child=$(cat "$0.child") && ! grep -qE "^State:.*[RSD] " "/proc/$child/status" 2>/dev/null' "$tmp/program"
check 'and no folder is left' bash -c '[ -z "$(find "${TMPDIR:-/tmp}" -maxdepth 1 -name "snplab-hw.*" -newer "$0")" ]' "$tmp/program"

wanted=$(cd "$top/lab" && python3 -B -c 'import verdict
print(verdict.REPORT.pattern.replace(r"\s", "[[:space:]]").replace(r"\d", "[0-9]").replace(r"\b", "(^|[^A-Za-z0-9_])"))')
eval "$(sed -n '/^report=/,/[^\\]$/p' "$top/lab/hw.sh")"
# shellcheck disable=SC2154  # that was eval's
if [ "$report" = "$wanted" ]; then ok 'hw.sh calls a report what verdict.py does'; else
	not_ok 'hw.sh calls a report what verdict.py does' "verdict.py: $wanted" "hw.sh: $report"; fi

never_known=''
eval "$(grep '^never_known=' "$top/lab/hw.sh")"
wanted=$(cd "$top/lab" && python3 -c 'import verdict; print(verdict.NEVER_KNOWN.pattern)')
if [ -n "$never_known" ] && [ "$never_known" = "$wanted" ]; then ok 'hw.sh excuses no hang that verdict.py does not'; else
	not_ok 'hw.sh excuses no hang that verdict.py does not' "verdict.py: $wanted" "hw.sh: $never_known"; fi

# --- In the emulated host ----------------------------------------------------------------------

dir=$tmp/host tree=mainline
if ! host_prepare "$dir" "$tree" >"$tmp/said"; then
	not_ok 'kernel, tests and emulated host are built' "$(cat "$tmp/said")"
	finish
fi
busybox=$(command -v busybox) || { not_ok 'a static busybox' 'expected busybox, from the package busybox-static'; finish; }
mkdir -p "$tmp/initrd"/{bin,tests}
cp "$busybox" "$tmp/initrd/bin/busybox"
cp "$top/lab/hw.sh" "$tmp/initrd/tests/hw.sh"
cp "$top/tests/hw/guest.sh" "$tmp/initrd/tests/hw-guest"
{ cat "$dir/snp.gz"; (cd "$tmp/initrd" && find . | cpio -o -H newc -R 0:0 --quiet | gzip -1); } >"$dir/hw.gz"
launch=sev_snp_launch_test

# boot NAME once|all EDIT [CMDLINE]: on an emulated host whose QEMU has its arguments edited. Leaves $tmp/NAME.said.
boot() {
	local name=$1 here=$tmp/boot-$1
	mkdir -p "$here"
	ln -f "$dir/bzImage" "$dir/hw.gz" "$here/"
	printf '#!/bin/bash\nargs=" $(printf "%%q " "$@")"\n%s\neval "exec %q $args"\n' "$3" "$(cat "$dir/qemu")" >"$here/run"
	chmod +x "$here/run"
	echo "$here/run" >"$here/qemu"
	host_boot "$here" hw.gz "hw-guest:$launch:$2 snplab.timeout=500 ${4:-}" "$here/logs" 560
	host_results "$here/logs" >"$here/results"
	sed 's/^# //' "$here/logs/ktap.log" >"$tmp/$name.said"
	grep -qx $'end\tyes' "$here/results" || echo "not booted: $(grep ^end "$here/results")" >>"$tmp/$name.said"
}
# part NAME SITUATION: what hw.sh said then.
part() { sed -n "/^== $2\$/,/^== $2 ended/p" "$tmp/$1.said"; }
# seen TEXT BOOT SITUATION STATUS PATTERN...: it ended so, and each pattern is a line.
seen() {
	local text=$1 said pattern
	said=$(part "$2" "$3")
	grep -qx "== $3 ended with $4" <<<"$said" || { not_ok "$text" "expected status $4, found:" "${said:-nothing}" "$(tail -n 5 "$tmp/$2.said")"; return; }
	for pattern in "${@:5}"; do
		grep -qE -- "$pattern" <<<"$said" || { not_ok "$text" "expected a line like: $pattern" "$said"; return; }
	done
	ok "$text"
}

{
	boot no-flag once 'args=${args/+sev-snp/-sev-snp}'
	boot no-iommu once 'args=${args/ -device amd-iommu/}'
	boot no-psp once 'args=${args/ -device amd-psp/}'
	boot refuses once 'args=${args/amd-psp/amd-psp,fail=SNP_INIT_EX:1:3}'
	boot option once '' kvm_amd.sev_snp=0
} &
boot all all ''
wait

seen 'emulated: all there: pass, and the block' all everything 0 '^PASS: [1-9][0-9]* passed, 0 failed' '^firmware   SNP API 1\.[0-9]+ build:[0-9]+$' \
	'^cpu        AMD EPYC-Milan Processor, family 25 model 1 ' '^kernel log no report; ' '^Tested-by: YOUR NAME <YOUR ADDRESS>$'
seen 'emulated: no rights' all 'no rights' 4 '^missing  /dev/kvm: .*no right to \(crw.* user 65534\)' 'hint: run as root; or join the group'
seen 'emulated: no /dev/sev' all 'no node sev' 4 '^missing  /dev/sev: .*no such device$' 'hint: .*the node has been removed' '^SKIP: 1 prereq.*: /dev/sev'
seen 'emulated: no /dev/kvm' all 'no node kvm' 4 '^missing  /dev/kvm: .*no such device$' 'hint: .*mknod /dev/kvm' '^SKIP: 1 prereq.*: /dev/kvm'
seen 'emulated: no kvm_amd' all 'no kvm_amd' 4 '^missing  kvm_amd: ' 'hint: as root: modprobe kvm_amd' '^SKIP: .*the first: kvm_amd;'
for p in sev sev_es sev_snp; do
	seen "emulated: kvm_amd $p=0" all "$p=0" 4 "^missing  kvm_amd $p: .*found N; .*SEV-SNP disabled" "hint: .*loaded with $p=0" "^SKIP: .*the first: kvm_amd $p;"
done
seen 'emulated: kvm_amd loaded again: all is there' all mended 0 '^the prerequisites: 0 missing'
seen 'emulated: a report in the real log' all 'a report' 1 "^FAIL: 1 passed, 0 failed, 0 skipped; 1 report\(s\) in the kernel's log" '^    .*WARNING: made up'
found=$(grep -E $'^(report|panic)\t' "$tmp/boot-all/results" | grep -v 'made up by tests/hw.sh')
if [ -z "$found" ]; then ok 'emulated: and no other'; else not_ok 'emulated: and no other' "$found"; fi
seen 'emulated: a CPU without SNP' no-flag everything 4 '^missing  cpuid: .*no SEV-SNP' 'hint: this CPU cannot do it' '^missing  flags: .*no sev_snp$' '^SKIP: .*the first: cpuid;'
seen 'emulated: no IOMMU' no-iommu everything 4 '^missing  iommu: ' 'hint: .*IOMMU: Enabled' '^SKIP: .*the first: iommu;'
seen 'emulated: no secure processor' no-psp everything 4 '^missing  psp: ' 'hint: .*it found no secure processor' '^SKIP: .*the first: psp;'
seen 'emulated: the firmware refuses' refuses everything 4 '^missing  firmware: .*SNP_INIT_EX failed' 'hint: the firmware refused'
seen 'emulated: kvm_amd.sev_snp=0 on the command line' option everything 4 '^missing  cmdline: .*kvm_amd.sev_snp=0' \
	'hint: the kernel command line \(kvm_amd.sev_snp=0\) turns it off'
finish
