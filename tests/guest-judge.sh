#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# `guest` without a boot: what lab/guest.py shows and says of logs, right or wrong in one thing; and lab/guest/snp_guest, run
# here with a QEMU that is a script: seven results whatever it does, the right exit status, and always an end.
# shellcheck disable=SC2016,SC2317  # for inner shells; functions that expect and check call
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
cd "$tmp" || exit
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$top/lab
nonce=$(printf '0123456789abcdef%.0s' 1 2 3 4)
append='console=hvc0 quiet panic=-1'

# --- The program that runs on the host: started here, looked at below ------------------------------

# starts NAME SETTINGS [TTY]: in the background, with what standard input has as its QEMU. Its paths are in a folder of its own.
starts() {
	local d=$tmp/l1/$1 foreign
	mkdir -p "$d"/{bin,guest,tmp}
	printf '%s\n' smp=2 memory=512 "nonce=$nonce" limit=40 stuck=30 "$2" >"$d/guest/settings"
	printf '%s' "$append" >"$d/guest/append"
	{ printf '#!%s/bin/sh\nd=%s\n' "$d" "$d"; cat; } >"$d/bin/qemu-system-x86_64"
	chmod +x "$d/bin/qemu-system-x86_64"
	sed -e "/^[^#]/s,\(^\|[ <>=:\"]\)/\(guest\|tmp\)/,\1$d/\2/,g" -e "s|/proc/\"\$(cat|$d/proc/\"\$(cat|" \
		-e "s|^/bin/busybox --install -s /bin|busybox --install -s $d/bin|; s|^PATH=.*|PATH=$d/bin|" "$top/lab/guest/snp_guest" >"$d/snp_guest"
	# Whatever else it may touch would be this machine's.
	if foreign=$(grep -v '^#' "$d/snp_guest" | sed "s|$d/||g; s|</proc/uptime||; s|>/dev/null||; s|)\"/task||" | grep -E '(^|[ <>="])/[a-z]'); then
		not_ok "$1: no path of this machine in it" "$foreign"
		finish
	fi
	[ "$1" != nothing ] || rm "$d/bin/qemu-system-x86_64"
	(
		status=0
		timeout -k 1 60 busybox sh "$d/snp_guest" "${@:3}" >"$d/tap" 2>"$d/err" </dev/null || status=$?
		echo $status >"$d/status"
	) &
	started+=" $!"
}
started=
launched='echo kvm_sev_snp_launch_start policy 0x30000; echo kvm_sev_snp_launch_finish id_block'
up='echo "snplab: shell after 8.22 s, linux 1.2.3-guest"; read -r asked; echo "$asked" >>$d/asked'
active='echo "snplab: memory encryption: AMD SEV SEV-ES SEV-SNP"'
cpus='echo "snplab: cpus 2"'
reports='echo "snplab: report: | abc"; echo "snplab: report: end"'
down='echo "snplab: checked"; read -r asked; echo "$asked" >>$d/asked; exit 0'
whole() { printf '%s\n' "$launched" "$up" "$active" "$cpus" "$reports" "$down"; }
# threads STATE WCHAN SYSCALL: two vCPUs of this QEMU, and its main thread.
threads='threads() {
	for i in 0 1; do
		t=$d/proc/$$/task/10$i; mkdir -p $t
		echo "CPU $i/KVM" >$t/comm; echo "10$i (CPU $i/KVM) $1 1 1 0" >$t/stat; printf %s "$2" >$t/wchan
		echo "$3" >$t/syscall; printf "%s\n" "[<0>] $2+0x9a/0x6c0 [kvm]" "[<0>] __x64_sys_ioctl+0x4d3/0xa80" >$t/stack
	done
	t=$d/proc/$$/task/$$; mkdir -p $t
	echo qemu-system-x86 >$t/comm; echo "$$ (qemu-system-x86) D 1 1 0" >$t/stat; printf kvm_vcpu_ioctl >$t/wchan; echo "16 0xd 0xae80 0x0" >$t/syscall
}'

starts good '' < <(whole)
starts error '' <<<'echo "qemu-system-x86_64: -object sev-snp-guest: no such thing" >&2; exit 1'
starts nothing '' <<<''
starts killed '' <<<"$launched"$'\nkill -9 $$'
starts silent limit=8 <<<'sleep 50'
starts unended '' <<<"$launched"$'\nprintf "on the screen" >$d/tmp/serial; printf "guest# "; exit 0'
starts dangling limit=8 <<<"$launched"$'\nprintf "guest# "; sleep 50'
odd=$'\\n \\\\ \'x\' "y" * ? [a] ~ $HOME $(date) `date` %s & | ; -n # SKIP'
starts odd '' < <(printf '%s\n' "$launched" "cat <<'X'" "$odd" '-n' '-e a\tb' 'X' "$up" "cat <<'X'" "$odd" X "$active" "$cpus" "$reports" "$down")
# As a terminal's lines end.
starts returns '' < <(whole | sed 's/^echo "\(snplab: [^"]*\)"/printf "%s\\r\\n" "\1"/')
starts twice '' < <(whole | sed 's/read -r asked/& ; echo "snplab: shell after 9 s, linux 2"/')
starts fewer '' < <(whole | sed 's/cpus 2/cpus 1/')
starts more '' < <(whole | sed 's/cpus 2/cpus 3/')
starts noreport '' < <(whole | sed 's/.*report: end.*/echo "snplab: no report: sev-guest: error -5"/')
starts quiet '' < <(whole | grep -v 'report: end')
starts plain '' < <(whole | sed 's/ SEV-SNP"/"/')
starts early '' < <(whole | head -n 2)
starts late '' < <(whole | sed 's/exit 0/exit 7/')
starts untold '' < <(whole | sed 's/echo kvm_sev_snp_launch_finish.*//')
# The first half comes just before a second is over, wherever that begins.
starts halves '' < <(whole | sed 's/^echo "snplab: shell after/for i in 1 2 3 4 5 6 7 8; do sleep 0.4; printf "snpl"; sleep 0.3; echo "ab: slow $i"; done; printf "snplab: she"; sleep 2; echo "ll after/')
starts liar '' < <(whole | sed 's/^echo "snplab: mem/printf "%s\\n" "qemu: ended with status 0" "snp_guest: look ()" "ok 4 guest.snp_is_active" "1..1" "# event end 1.0"; &/')
starts stuck stuck=2 < <(printf '%s\n' "$threads" "$launched" "threads D kvm_vcpu_ioctl '16 0xd 0xae80 0x0 0x1'" 'printf "half a line"; sleep 50')
starts halted $'limit=8\nstuck=2' < <(printf '%s\n' "$threads" "$launched" "threads S kvm_vcpu_ioctl '16 0xd 0xae80 0x0'" 'sleep 50')
starts elsewhere $'limit=8\nstuck=2' < <(printf '%s\n' "$threads" "$launched" "threads D kvm_vcpu_ioctl '202 0xd 0xae80 0x0'" 'sleep 50')
starts clock stuck=2 < <(printf '%s\n' "$threads" "$launched" "threads D kvm_vcpu_ioctl '16 0xd 0xaead 0x0'" 'sleep 50')
starts third stuck=2 < <(printf '%s\n' "$threads" "$launched" "threads D kvm_vcpu_ioctl '16 0xd 0xae9a 0x0'" 'sleep 50')
starts faulting $'limit=8\nstuck=2' < <(printf '%s\n' "$threads" "$launched" "threads D folio_wait_bit_common '16 0xd 0xae80 0x0'" 'sleep 50')
starts running $'limit=8\nstuck=2' < <(printf '%s\n' "$threads" "$launched" "threads R 0 running" 'sleep 50')
: >"$tmp/tty"
starts console '' "$tmp/tty" <<<"$launched"$'\necho "a shell for you"; exit 3'
# --- What is booted, and signs ---------------------------------------------------------------------

make() { python3 "$top/tests/attest/make.py" "$@"; }
new_key() { openssl ecparam -name secp384r1 -genkey -noout -out "$1.priv" && openssl pkey -in "$1.priv" -pubout -out "$1.pem"; }
check 'firmware, kernels, an initrd, keys' eval 'make firmware fw && make kernel kernel && make flip kernel kernel2 0x800 &&
	printf initrd >initrd && printf another >initrd2 && new_key vcek && new_key stranger'
digest=$(python3 "$top/lab/launch_digest.py" --firmware fw --vcpus 2 --cpu-model EPYC-Milan --kernel kernel --initrd initrd --append "$append")
report() { make report "$1" "${2:-vcek}.priv" measurement="$digest" report-data="$(printf %s "${3:-$nonce}" | od -An -v -tx1 | tr -d ' \n')"; }
check 'reports' eval 'report report.good && report report.stranger stranger && report report.old vcek ${nonce/0/1}'

# --- The boot that is right, and what is judged ----------------------------------------------------

# ktap [REPORT]: as init and snp_guest print it.
ktap() {
	printf '%s\n' 'KTAP version 1' '# linux 1.2.3, 4 CPUs, init after 2.1 s' '# modules after 2.8 s' '1..1' '# Subtest: snp_guest' \
		'# event begin 3.04' '# 1..7' \
		"# | [3.10] qemu-system-x86_64: warning: host doesn't support requested feature: CPUID.01H:EDX.vme [bit 1]" \
		'# | [3.56] kvm_sev_snp_launch_start policy 0x30000 gosvw (null)' '# event launch 3.56' \
		'# | [4.61] kvm_sev_snp_launch_finish id_block (null) id_auth (null) host_data (null)' '# event finish 4.61' \
		'# ok 1 guest.is_launched' '# | [32.38] snplab: shell after 8.22 s, linux 1.2.3-guest' '# event shell 32.38' \
		'# ok 2 guest.runs' '# ok 3 guest.has_a_shell' "# | [32.89] check $nonce" '# | [32.90] ' "# | [33.53] guest# check $nonce" \
		'# | [33.78] snplab: log: [    1.605949] smp: Brought up 1 node, 2 CPUs' \
		'# | [33.98] snplab: memory encryption: AMD SEV SEV-ES SEV-SNP' '# ok 4 guest.snp_is_active' \
		'# | [34.12] snplab: cpus 2' '# ok 5 guest.has_all_cpus' '# | [34.30] snplab: report: provider sev_guest'
	base64 -w 76 "${1:-report.good}" | sed 's/^/# | [34.36] snplab: report: | /'
	printf '%s\n' '# | [35.17] snplab: report: end' '# ok 6 guest.attests' '# | [35.22] snplab: checked' '# event checked 35.22' \
		'# | [35.28] guest# exit' '# qemu: ended with status 0' '# event end 39.48' '# ok 7 guest.powers_off' '# snp_guest took 36.6 s' \
		'ok 1 snp_guest' 'snplab: end of tests'
}
boots() { # [REPORT]: what it leaves
	rm -rf logs json
	mkdir logs
	ktap "$@" >logs/ktap.log
	printf '%s\n' 'Linux version 1.2.3' '[    2.4] kvm_amd: SEV-SNP enabled (ASIDs 1 - 99)' >logs/kernel.log
	echo '{"ended": "shutdown", "guest-errors": 0, "errors": {"vmrun": 0}, "statistics": {"rmp-assigned": 0, "rmp-firmware": 0}}' >logs/host.json
	: >logs/host.log
	printf '%s\n' 'init 2.9' 'modules 3.6' 'begin 3.8' 'launch 4.4' 'finish 5.4' 'kernel 24.9' 'shell 33.2' 'checked 36.0' 'end 40.3' >logs/times
}
judge() {
	python3 "$top/lab/guest.py" judge logs --tree t --linux 1.2.3 --qemu 10 --tests snp_guest --json json --shown-logs LOGS --emulated --snp \
		--nonce "$nonce" --smp 2 --key vcek.pem --firmware fw --kernel kernel --initrd initrd --append "$append" "$@"
}
in_ktap() { sed -i "$@" logs/ktap.log; }
json() { check "$1" python3 -c "import json; d = json.load(open('json')); assert $2, d"; }
# says DESCRIPTION STATUS PATTERN...: a line for each; a Python traceback is none.
says() {
	local text=$1 want=$2 output status=0 pattern
	shift 2
	output=$(judge "${judge_args[@]}" 2>&1) || status=$?
	if [ $status -ne "$want" ]; then not_ok "$text" "expected status $want, found $status" "$output"; return; fi
	for pattern; do
		case $pattern in
		!*) ! grep -qE -- "${pattern#!}" <<<"$output" || { not_ok "$text" "expected no line like: ${pattern#!}" "$output"; return; } ;;
		*) grep -qE -- "$pattern" <<<"$output" || { not_ok "$text" "expected a line like: $pattern" "$output"; return; } ;;
		esac
	done
	ok "$text"
}
judge_args=()

boots
says 'a whole boot: pass' 0 \
	"^PASS: t on linux 1\.2\.3: a shell in an SNP guest of 2 CPUs after 33\.2 s; its report is signed, and its measurement the one computed here; no report in the kernel's log, no error on the host; logs: LOGS\$" \
	"^ +2\.9 s  the host's firmware and kernel\$" "^ +8\.3 s  the guest's kernel, to a shell\$" '^ +4\.3 s  power-off  \(at 40\.3 s\)$'
json 'the JSON: the verdict' '(d["verb"], d["verdict"], d["exit"], d["tree"], d["problems"]) == ("guest", "pass", 0, "t", [])'
json 'the JSON: the cases' '[(c["name"], c["result"]) for c in d["tests"][0]["cases"]] == [("guest." + n, "pass") for n in "is_launched runs has_a_shell snp_is_active has_all_cpus attests powers_off".split()]'
json 'the JSON: the times, which add up' 'len(d["times"]) == 9 and d["times"][-1]["until"] == 40.3 and abs(sum(t["seconds"] for t in d["times"]) - 40.3) < .1 and d["shell_seconds"] == 33.2'
json 'the JSON: the measurement' "d['attestation']['measurement'] == d['attestation']['digest'] == '$digest'"
json 'the JSON: what was booted' 'all(d["attestation"][k] == v for k, v in {"firmware": "fw", "kernel": "kernel", "initrd": "initrd", "append": "'"$append"'"}.items())'
check 'the report is kept' cmp report.good logs/report.bin
check 'the verdict is beside the logs' cmp json logs/verdict.json

# --- A case fails ----------------------------------------------------------------------------------

n=0
for name in is_launched runs has_a_shell snp_is_active has_all_cpus attests powers_off; do
	n=$((n + 1))
	boots
	in_ktap "s/^# ok $n guest\.$name\$/# not ok $n guest.$name # for a reason of its own/"
	# Whatever the program's exit status says.
	[ $((n % 2)) -eq 0 ] || in_ktap 's/^ok 1 snp_guest/not ok 1 snp_guest # exit status 1/'
	says "guest.$name fails: fail" 1 "^ +not ok: guest\.$name: for a reason of its own\$" '^FAIL: ' '!its report is signed'
	boots
	in_ktap "/^# ok $n guest\.$name\$/d"
	says "guest.$name is missing: fail" 1 'expected results of 7 cases, found 6' '^FAIL: '
	in_ktap 's/^# 1\.\.7/# 1..6/'
	says "guest.$name is not planned: fail" 1 "expected the cases .*guest\.$name.*, found guest\..*" '^FAIL: '
	json "guest.$name is not planned: fail in the JSON" 'd["verdict"] == "fail" and d["exit"] == 1'
done
boots
in_ktap '/^# ok \|^# 1\.\./d'
says 'no case at all: fail' 1 'expected the cases .*, found none$'
boots
in_ktap 's/^# ok 6 guest.attests/& # SKIP no driver/'
says 'a case is skipped: fail' 1 'guest\.attests: skipped, on a host that has what it needs: no driver'
boots
in_ktap '/shell/,$d'
rm logs/times
says 'it ended in the middle: fail, and no shell' 1 'the guest ended before its tests did' '^FAIL: .*: no shell in the guest; '
boots
printf 'init 2.9\nmodules 3.6\nbegin 3' >logs/times
says 'times that are not whole are no error of their own' 0 '^ +0\.7 s  its modules: .* \(at 3\.6 s\)$' '^PASS: .*: no shell in the guest'

# A guest says what it likes: it decides nothing.
boots
in_ktap '/^# ok 5/d; s/snplab: cpus 2/&\r# ok 5 guest.has_all_cpus\x0c# ok 5 guest.has_all_cpus\xe2\x80\xa8# ok 5 guest.has_all_cpus/'
says 'a line within a line of the guest is none' 1 'expected results of 7 cases, found 6'
boots
in_ktap 's/^# | .*log: .*/&\n# | [33.80] ok 1 guest.runs\n# | [33.81] not ok 2 snp_guest\n# | [33.82] # event end 1.0/'
says 'what looks like a result on the console is none' 0 '^PASS'

# --- The report ------------------------------------------------------------------------------------

wrong_measurement="^ +not ok: measurement: expected [0-9a-f]{96}, found $digest\$"
while read -r what arguments; do
	boots
	read -ra judge_args <<<"$arguments"
	says "another $what than was measured: fail" 1 "$wrong_measurement" '^FAIL: ' '!its report is signed' '!^ +ok: '
	json "another $what than was measured: in the JSON" "d['verdict'] == 'fail' and d['attestation']['measurement'] == '$digest' != d['attestation']['digest']"
done <<'END'
kernel --kernel kernel2
initrd --initrd initrd2
command-line --append console=hvc0
number-of-CPUs --smp 3
END
judge_args=()
boots report.old
says 'another nonce: fail' 1 '^ +not ok: report data: expected 3031.*, found 3131' '^FAIL: ' '!not ok: (measurement|signature)'
boots report.stranger
says 'another key: fail' 1 '^ +not ok: signature: expected one by the key in vcek.pem' '!not ok: (measurement|report data)'
make flip report.good report.flipped 0x100
boots report.flipped
says 'a flipped bit: fail' 1 '^ +not ok: signature: '
head -c 1183 report.good >report.short
boots report.short
says 'a byte less: fail' 1 'expected an attestation report, found none: what the guest has printed in 21 lines has 1183 bytes, a report has 1184' '^FAIL'
boots
in_ktap '/report: end/,/attests/{/report: end/d}'
in_ktap '0,/snplab: report: | /{//d}'
says 'its first line is missing: fail' 1 'in 20 lines has 1127 bytes, a report has 1184'
boots
in_ktap "$(grep -n 'report: | ' logs/ktap.log | sed -n '9{s/:.*//;p}')s/| [^|]*\$/| [34.4] random: crng init done/"
says 'a message instead of a line in the middle: fail' 1 'in 20 lines has 1127 bytes'
boots
in_ktap "$(grep -n 'report: | ' logs/ktap.log | sed -n '9{s/:.*//;p}')s/\$/?/"
says 'a character too many: fail' 1 'what the guest has printed in 21 lines is not base64: '
boots
in_ktap "$(grep -n 'report: | ' logs/ktap.log | sed -n '9{s/:.*//;p}')s/.\$/\\xff/"
says 'a character that is none: fail' 1 'what the guest has printed in 21 lines is not base64: '
boots
in_ktap '/snplab: report: | /d'
says 'no report: fail' 1 'expected an attestation report, found none: the guest has printed none' '^FAIL'
json 'no report: no measurement' "d['attestation']['measurement'] is None and d['attestation']['digest'] == '$digest'"
boots
judge_args=(--key nowhere.pem)
says 'the platform has exported no key: fail' 1 'nowhere.pem: No such file' '^FAIL'
judge_args=(--firmware kernel)
says 'no digest of what is no firmware: fail' 1 'the launch digest could not be computed: ' '^FAIL'
judge_args=()

# --- The hang --------------------------------------------------------------------------------------

# hangs [THREAD-LINE...]: instead of the guest's first message.
hangs() {
	boots
	in_ktap '/^# | \[32\.38\]/,$d'
	[ $# -gt 0 ] || set -- 'state D, wchan kvm_vcpu_ioctl, in KVM_RUN, waits for vcpu->mutex' 'stack: [<0>] kvm_vcpu_ioctl+0x9a/0x6c0 [kvm]' \
		'stack: [<0>] __x64_sys_ioctl+0x4d3/0xa80'
	local cpu line
	for cpu in 0 1; do for line; do echo "# thread CPU $cpu/KVM: $line"; done; done >>logs/ktap.log
	printf '%s\n' '# not ok 2 guest.runs # the guest hangs: vCPU threads are blocked on vcpu->mutex, for 10 s' \
		'# not ok 3 guest.has_a_shell # not reached: see runs' '# not ok 4 guest.snp_is_active # not reached: see runs' \
		'# not ok 5 guest.has_all_cpus # not reached: see runs' '# not ok 6 guest.attests # not reached: see runs' \
		'# not ok 7 guest.powers_off # not reached: see runs' '# snp_guest took 20.0 s' 'not ok 1 snp_guest # exit status 1' \
		'snplab: end of tests' >>logs/ktap.log
	printf '%s\n' 'init 2.9' 'modules 3.6' 'begin 3.8' 'launch 4.4' 'finish 5.4' >logs/times
}
# lockdep KIND: its report of the first posting, as 6.12.y and mainline print it.
lockdep() {
	printf '%s\n' '' '==================================' 'WARNING: Nested lock was not taken' '6.12.117 #1 Not tainted' '----------------------------------' \
		'qemu-system-x86/416 is trying to lock:'
	case $1 in
	6.12.y) echo 'ffff888000f900b0 (&vcpu->mutex){+.+.}-{3:3}, at: kvm_lock_all_vcpus+0xa3/0x150 [kvm]' ;;
	mainline) echo 'ffff88800350d5c8 (&vcpu->mutex){+.+.}-{4:4}, at: kvm_lock_all_vcpus+0x11e/0x1b0 [kvm]' ;;
	esac
	printf '%s\n' '' 'but this task is not holding:' '&kvm->lock' '' 'stack backtrace:' \
		'CPU: 0 UID: 0 PID: 416 Comm: qemu-system-x86 Not tainted 6.12.117 #1 ' 'Call Trace:' ' <TASK>' ' dump_stack_lvl+0x62/0x90' \
		' __lock_acquire+0x94c/0x2710' ' ? __lock_acquire+0x1679/0x2710' ' reacquire_held_locks+0xcd/0x1f0' \
		' ? kvm_lock_all_vcpus+0xa3/0x150 [kvm]' ' ? lock_acquire+0xa5/0x290' ' ? mutex_unlock+0x12/0x20' ' ? __might_fault+0x2f/0x70'
	case $1 in
	6.12.y) printf '%s\n' ' ? sev_mem_enc_ioctl+0xa9/0x1030 [kvm_amd]' ' lock_release+0x11a/0x260' ' ? __might_fault+0x2f/0x70' \
		' __mutex_unlock_slowpath+0x25/0x270' ' sev_mem_enc_ioctl+0xa9/0x1030 [kvm_amd]' ' kvm_arch_vm_ioctl+0x7b9/0xeb0 [kvm]' ' kvm_vm_ioctl+0xdd7/0x1e60 [kvm]' ;;
	# With a function between the two, and one that only happened to be on the stack.
	mainline) printf '%s\n' ' lock_release+0x11d/0x250' ' __mutex_unlock_slowpath+0x1a/0x420' ' ? __fget_files+0xbb/0x180' ' mutex_unlock+0x1a/0x20' \
		' ? kvm_vm_ioctl+0xbf7/0x1ee0 [kvm]' ' sev_mem_enc_ioctl+0x13a/0x10a0 [kvm_amd]' ' kvm_vm_ioctl+0xbf7/0x1ee0 [kvm]' ;;
	esac
	printf '%s\n' ' ? lock_acquire+0xa5/0x290' ' __x64_sys_ioctl+0x4d3/0xa80' ' do_syscall_64+0x54/0xf0' ' </TASK>' ''
}
stamped() { sed 's/^/[    9.312345] /'; }
by_whom() { sed 's/^/[    9.312345][  T416] /'; }
blocked='^ +blocked in kvm_vcpu_ioctl\(\), where vcpu->mutex is taken: CPU 0/KVM in KVM_RUN, CPU 1/KVM in KVM_RUN$'
named='^ +lockdep: &vcpu->mutex, taken by kvm_lock_all_vcpus\(\), was still held when sev_mem_enc_ioctl\(\) released &kvm->lock \(task qemu-system-x86, after the event "finish"\): whoever called kvm_lock_all_vcpus\(\) there has not unlocked$'
for kind in 6.12.y mainline; do
	for form in cat stamped by_whom; do
		hangs
		lockdep $kind | $form >>logs/kernel.log
		says "a hang, lockdep's report on $kind ($form): who it was is said" 1 '^ +not ok: guest\.runs: the guest hangs: vCPU threads are blocked' "$blocked" "$named" \
			'WARNING: Nested lock was not taken' '^FAIL: .*: no shell in the guest; 1 kernel reports'
		json "a hang, lockdep's report on $kind ($form): in the JSON" 'any("was still held when sev_mem_enc_ioctl()" in p for p in d["problems"]) and d["exit"] == 1'
	done
done
unknown='^ +who holds it is not known: lockdep has reported nothing, or is not in this kernel$'
other_form="^ +lockdep's report has another form than expected: see the kernel's log\$"
hangs
says 'a hang without lockdep: who it was is not known' 1 "$blocked" "$unknown"
hangs
printf '%s\n' '[    9.0] WARNING: lock held when returning to user space!' >>logs/kernel.log
says 'a hang with another report of lockdep: it is shown' 1 "$blocked" '^ +who holds it is not known: lockdep has reported another thing: .*WARNING: lock held when returning to user space!$'
for part in 'is trying to lock' '&vcpu->mutex' '^&kvm->lock' 'mutex_unlock'; do
	hangs
	lockdep 6.12.y | grep -v "$part" >>logs/kernel.log
	says "a hang, lockdep's report without a line of $part: nobody is named" 1 "$blocked" "$other_form" '!was still held when'
done
hangs
lockdep 6.12.y | sed 's/&vcpu->mutex/\&other->lock/' >>logs/kernel.log
says "a hang, lockdep's report of another mutex: nobody is named" 1 "$blocked" "$other_form"
hangs 'state S, wchan kvm_vcpu_block, system call 16 0xd 0xae80 0x0' 'stack: [<0>] kvm_vcpu_block+0x9a/0x6c0 [kvm]'
lockdep 6.12.y >>logs/kernel.log
says 'threads that are elsewhere: not blocked on the mutex' 1 '^FAIL' '!blocked in kvm_vcpu_ioctl' '!was still held' '!who holds it'
hangs
in_ktap '/^# thread CPU 0/s/in KVM_RUN, waits for .*/system call 202 0x7f 0x80 0x0/; /^# thread CPU 1/s/KVM_RUN/KVM_KVMCLOCK_CTRL/'
says 'one thread of two: it alone is named' 1 '^ +blocked in .* is taken: CPU 1/KVM in KVM_KVMCLOCK_CTRL$'
boots
lockdep 6.12.y >>logs/kernel.log
says 'no hang, but the report: fail' 1 '1 report\(s\) in the kernel' '^FAIL' '!blocked in kvm_vcpu_ioctl'

# --- Kernel and host -------------------------------------------------------------------------------

boots
echo '[    9.0] BUG: KASAN: slab-use-after-free in sev_es_sync_vmsa+0x1/0x2' >>logs/kernel.log
says "a report in the kernel's log: fail" 1 "^ +1 report\(s\) in the kernel's log:\$" '^FAIL: .*1 kernel reports'
# A refused VMRUN, by the RMP entry of its VMSA.
refused() { # ENTRY
	boots
	echo "amd-snp: vmrun: VMRUN on CPU 2: VMSA 0x27609000 for ASID 1: RMP entry is not that of a validated 4 KB VMSA page of that ASID ($1)" >>logs/host.log
}
refused 0x400800001ef6d001
says 'a VMRUN with what was a VMSA: named for what it matches' 0 '^ +CPU 2 of the host: KVM entered VMSA 0x27609000, .* 309d28576f0a '
for entry in 0x0 0x600800001ef6d001 0x000800001ef6d001 0x400800001ef6d000; do
	refused $entry
	says "a VMRUN with an entry of $entry: not that" 0 '!309d28576f0a'
done
boots
sed -i '/SEV-SNP enabled/d' logs/kernel.log
says 'the host is none for SNP: fail' 1 'expected "SEV-SNP enabled" in the kernel'
boots
: >logs/kernel.log
says "no kernel's log: fail" 1 "the kernel's log is not there"
boots
sed -i 's/"guest-errors": 0/"guest-errors": 1/; s/"vmrun": 0/"vmrun": 1/' logs/host.json
echo 'amd-snp: vmrun: page 0x1234 is no VMSA' >logs/host.log
says 'an error on the host: fail' 1 '1 error\(s\) on the emulated host' 'host\.log:1: amd-snp: vmrun: page 0x1234' '^FAIL: .*1 on the host'
boots
rm logs/host.json
says 'errors that nobody counted: fail' 1 "expected the emulated host's count of errors, found none"
for entry in rmp-assigned rmp-firmware; do
	boots
	sed -i "s/\"$entry\": 0/\"$entry\": 3/" logs/host.json
	says "RMP entries left, $entry: fail" 1 "expected every RMP entry back at the hypervisor .*$entry 3"
done
boots
echo '[    9.0] Kernel panic - not syncing: Fatal exception' >>logs/kernel.log
says 'a panic' 255 'the kernel panicked: Fatal exception' '^PANIC: ' '!its report is signed'
json 'a panic: in the JSON, where no report is looked at' '(d["verdict"], d["exit"], d["attestation"]) == ("panic", 255, {})'
boots
echo 600 >logs/timed-out
says 'a time-out' 124 'no end within 600 s' '^TIMEOUT: '
boots
in_ktap 's/^ok 1 snp_guest/not ok 1 snp_guest # TIMEOUT no end within 600 s/'
says 'a time-out of the test program' 124 '^TIMEOUT: '
boots
judge >all.txt
check 'a reader that goes away changes no verdict' bash -c 'set -o pipefail; "$@" | :' x bash -c 'sleep 0.2; exec "$@"' x \
	python3 "$top/lab/guest.py" judge logs --tests snp_guest --emulated --snp --nonce "$nonce" --smp 2 --key vcek.pem \
	--firmware fw --kernel kernel --initrd initrd --append "$append"
expect 'guest.py without arguments' 2 '^usage: guest.py show LOGS' python3 "$top/lab/guest.py"
expect 'guest.py with another word' 2 '^usage: guest.py show LOGS' python3 "$top/lab/guest.py" tell logs

# --- What is shown of a boot while it runs ---------------------------------------------------------

show() { rm -rf shown; mkdir shown; python3 "$top/lab/guest.py" show shown >shown.txt 2>shown.err; }
shows() { check "shown: $1" grep -qE "$2" shown.txt; }
hides() { if grep -qE "$2" shown.txt; then not_ok "not shown: $1" "$(grep -E "$2" shown.txt)"; else ok "not shown: $1"; fi; }
ktap | show
check 'show ends well' test ! -s shown.err
check 'the log is what came' cmp shown/ktap.log <(ktap)
check 'every event has its time' test "$(cut -d' ' -f1 shown/times | paste -sd' ')" = 'init modules begin launch finish kernel shell checked end'
check 'a time is seconds' bash -c '! grep -vE "^[a-z]+ -?[0-9]+\.[0-9]$" shown/times'
shows 'what the guest says, with the time' '^ +[0-9]+\.[0-9] s  \| snplab: shell after 8\.22 s, linux 1\.2\.3-guest$'
shows 'a case' '^ +[0-9]+\.[0-9] s  ok 1 guest\.is_launched$'
hides 'the report' 'report: \|'
hides "QEMU's warnings of the CPU model" "doesn't support"
hides 'events, empty lines, the plan' 'event|\|$|1\.\.7'
# From when it reads on: that it has started takes its time.
rm -rf shown
{ echo '# event first 0.0'; until grep -qs first shown/ktap.log; do sleep 0.1; done
  for event in begin launch begin end; do echo "# event $event 1.0"; sleep 0.4; done; } | show
check 'a time is when it came, the first time' awk '{ at[$1] = $2 } END { exit !(at["begin"] < at["launch"] && at["launch"] < at["end"]) }' shown/times
{ (hangs; cat logs/ktap.log); } | show
shows 'a thread' '^ +[0-9.]+ s  thread CPU 0/KVM: state D, wchan kvm_vcpu_ioctl, in KVM_RUN, waits for vcpu->mutex$'
shows 'its stack' '^ +[0-9.]+ s  thread CPU 1/KVM: stack: \[<0>\] kvm_vcpu_ioctl'
shows 'a case that failed, with its reason' '^ +[0-9.]+ s  not ok 2 guest\.runs # the guest hangs'
console() { printf '# | [1.0] %b\r\n' "$@"; }
console 'a\033[31mred\033[0m \033[6nb' 'c\033[=3h\033[001;001Hd' 'e\033]0;title\007f\033]0;title\033\\g' 'h\033c\033(B\033Mi' 'j\a\b\016k\tl' 'm\302\233Hn' 'o\033' | show
check 'no escape sequence reaches the terminal' bash -c '! LC_ALL=C grep -qP "[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]" shown.txt'
for text in 'ared b' cd efg hi jk$'\t'l mHn o; do shows "${text@Q}, without them" "\| $text\$"; done
check 'in the log they are' grep -q $'\033\\[31mred' shown/ktap.log
console 'bad \377\376 bytes' 'good' | show
shows 'invalid UTF-8 as what it is not' '\| bad .* bytes$'
shows 'what comes after it' '\| good$'
check 'and in the log' grep -q 'bad .* bytes' shown/ktap.log
console 'bad \377 bytes' 'snplab: shell after . s, linux x' 'snplab: shell after 1.2.3 s, linux x' 'snplab: shell after 99999 s, linux x' good | LC_ALL=C PYTHONIOENCODING=ascii show
shows 'a terminal without UTF-8, and times that are none' '\| good$'
printf '# event begin 1.0\n# | [1.0] no end' | show
shows 'a last line without an end' '\| no end$'
rm -rf shown
mkdir shown
{ for i in 1 2 3 4 5; do echo "# | [1.0] line $i"; sleep 0.1; done; echo '# event end 2.0'; } |
	python3 "$top/lab/guest.py" show shown 2>shown.err | head -n 1 >shown.txt
check 'a reader that goes away: the log is whole' test "$(grep -c 'line\|event' shown/ktap.log)" = 6
check 'a reader that goes away: the times are there' grep -q '^end ' shown/times
check 'a reader that goes away: nothing is said of it' test ! -s shown.err
rm -rf shown
mkdir shown
ktap | python3 "$top/lab/guest.py" show shown >/dev/full 2>shown.err
check 'no space for what is shown: the log is whole' cmp shown/ktap.log <(ktap)
check 'no space for what is shown: nothing is said of it' test ! -s shown.err

# --- The program on the host, at last --------------------------------------------------------------

# shellcheck disable=SC2086  # numbers
wait $started

# ended NAME STATUS RESULTS: seven results in their order, of which RESULTS says "." for ok and "x" for not ok.
ended() {
	local d=$tmp/l1/$1 found wanted
	found=$(grep -E '^(not )?ok |^[0-9]+\.\.' "$d/tap" | sed 's/ # .*//')
	wanted=$(echo 1..7; i=0; for name in is_launched runs has_a_shell snp_is_active has_all_cpus attests powers_off; do
		[ "${3:i:1}" = . ] || printf 'not '
		i=$((i + 1))
		echo "ok $i guest.$name"
	done)
	if [ "$found" = "$wanted" ] && [ "$(cat "$d/status")" = "$2" ] && [ ! -s "$d/err" ]; then ok "$1: seven results, exit status $2"; else
		not_ok "$1: seven results, exit status $2" "status $(cat "$d/status")" "$(diff <(echo "$wanted") <(echo "$found"))" "$(cat "$d/err" "$d/tap")"
	fi
}
tap() { check "$1: $2" grep -qE -- "$3" "l1/$1/tap"; }
no_tap() { check "$1: $2" bash -c '! grep -E -- "$1" "$2"' x "$3" "l1/$1/tap"; }

ended good 0 .......
check 'good: the shell is asked, and told to end' test "$(cat l1/good/asked)" = "check $nonce"$'\nexit'
check 'good: the events' test "$(sed -n 's/^event \([a-z]*\) [0-9.]*$/\1/p' l1/good/tap | paste -sd' ')" = 'begin launch finish shell checked end'
tap good 'the console, stamped' '^\| \[[0-9]+\.[0-9]+\] snplab: report: \| abc$'
check 'good: what QEMU was told' grep -qE -- '-smp 2 -m 512M .*sev-snp-guest.*kernel-hashes=on.*-append console=hvc0 quiet panic=-1 ' l1/good/tmp/line
ended error 1 xxxxxxx
tap error "QEMU's error is shown" '^\| \[[0-9.]+\] qemu-system-x86_64: -object sev-snp-guest: no such thing$'
tap error 'the first case says why' '^not ok 1 guest.is_launched # QEMU ended with status 1$'
tap error 'the others say which it was' '^not ok 7 guest.powers_off # not reached: see is_launched$'
ended nothing 1 xxxxxxx
tap nothing 'no such program' '^not ok 1 guest.is_launched # QEMU ended with status 127$'
ended killed 1 .xxxxxx
tap killed 'the status' '# QEMU ended with status 137$'
ended silent 1 xxxxxxx
tap silent 'the reason' '^not ok 1 guest.is_launched # no end within 8 s$'
ended unended 1 .xxxxxx
tap unended 'the last line, without its end' '^\| \[[0-9.]+\] guest# $'
tap unended 'the end is seen' '^qemu: ended with status 0$'
tap unended 'the serial port' '^serial: on the screen$'
ended dangling 1 .xxxxxx
tap dangling 'the reason' '# no end within 8 s$'
tap dangling 'half a line is shown' '^\| \[[0-9.]+\] guest# $'
ended odd 0 .......
check 'odd: every character, twice' test "$(grep -cF -- "] $odd" l1/odd/tap)" = 2
check 'odd: what echo could take for an option' grep -qxE -- '\| \[[0-9.]+\] -e a\\tb' l1/odd/tap
ended returns 0 .......
no_tap returns 'no carriage return is left' $'\r'
ended twice 0 .......
check 'twice: asked once' test "$(cat l1/twice/asked)" = "check $nonce"$'\nexit'
check 'twice: one event' test "$(grep -c '^event shell' l1/twice/tap)" = 1
ended fewer 1 ....x..
tap fewer 'how many' '# expected work done on 2 CPUs, found 1$'
ended more 1 ....x..
tap more 'how many' '# expected work done on 2 CPUs, found 3$'
ended noreport 1 .....x.
tap noreport 'why' '^not ok 6 guest.attests # no report: sev-guest: error -5$'
ended quiet 1 .....x.
tap quiet 'neither' '^not ok 6 guest.attests # expected a report, or why there is none, found neither$'
ended plain 1 ...x...
tap plain 'what is active' '# expected SEV-SNP among the active features, found: AMD SEV SEV-ES$'
ended early 1 ...xxxx
tap early 'that it has ended' '^not ok 4 guest.snp_is_active # QEMU ended with status 0$'
ended late 1 ......x
tap late 'its status' '^not ok 7 guest.powers_off # QEMU ended with status 7$'
ended untold 1 x......
tap untold 'what was not seen' '^not ok 1 guest.is_launched # not seen, and runs came$'
ended halves 0 .......
check 'halves: no beginning of a line is lost' test "$(grep -cE '\] snplab: slow [1-8]$' l1/halves/tap)" = 8
ended liar 0 .......
ended stuck 1 .xxxxxx
tap stuck 'the reason' '^not ok 2 guest.runs # the guest hangs: vCPU threads are blocked on vcpu->mutex, for 2 s$'
for i in 0 1; do
	tap stuck "thread $i" "^thread CPU $i/KVM: state D, wchan kvm_vcpu_ioctl, in KVM_RUN, waits for vcpu->mutex\$"
	tap stuck "its stack" "^thread CPU $i/KVM: stack: \[<0>\] kvm_vcpu_ioctl\+0x9a/0x6c0 \[kvm\]\$"
done
no_tap stuck 'no other thread' 'thread qemu'
{ cat l1/stuck/tap; } | sed 's/^/# /' >stuck.ktap
hangs
{ sed '/^# event begin/,$d' logs/ktap.log; cat stuck.ktap; printf '%s\n' 'not ok 1 snp_guest # exit status 1' 'snplab: end of tests'; } >stuck.log
mv stuck.log logs/ktap.log
lockdep 6.12.y >>logs/kernel.log
says 'stuck: judged as what it is' 1 "$blocked" "$named"
for name in halted elsewhere faulting running; do
	ended $name 1 .xxxxxx
	tap $name 'no hang on the mutex' '^not ok 2 guest.runs # no end within 8 s$'
	no_tap $name 'no thread waits for it' 'waits for vcpu->mutex'
done
tap elsewhere 'where the threads are' '^thread CPU 1/KVM: state D, wchan kvm_vcpu_ioctl, system call 202 0xd 0xae80 0x0$'
for name in clock third; do ended $name 1 .xxxxxx; tap $name 'the reason' '# the guest hangs: '; done
tap clock 'the ioctl that QEMU begins with' '^thread CPU 0/KVM: state D, wchan kvm_vcpu_ioctl, in KVM_KVMCLOCK_CTRL, waits for vcpu->mutex$'
tap third 'another ioctl' ', in vCPU ioctl 0xae9a, waits for vcpu->mutex$'
check 'console: the exit status is QEMU'"'"'s' test "$(cat l1/console/status)" = 3
check 'console: it is the guest'"'"'s' grep -qx 'a shell for you' tty
tap console 'what QEMU said is in the log' '^kvm_sev_snp_launch_start|QEMU ended with status 3'
check 'no QEMU is left behind' bash -c '! pgrep -f "$1/l1/.*/qemu-system-x86_64"' x "$tmp"
finish
