#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Is a mutant judged by what the boots left? Made-up logs, no boot: who is caught, who is not, and what is no catch.
# shellcheck disable=SC2001,SC2317  # sed for what needs its anchors; a function that expect calls
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"

good='KTAP version 1
1..2
# Subtest: kunit
    KTAP version 1
        ok 1 nothing_is_held
        ok 2 all_are_waited_for # a remark
    ok 1 suite
ok 1 kunit
# Subtest: sev_snp_launch_test:-w:3
# TAP version 13
# 1..3
# ok 1 snp_launch_smp.2_vcpus.finish_then_run
# ok 2 snp_launch.finish_releases_vcpus
# not ok 3 snp_launch.known_to_fail
ok 2 sev_snp_launch_test:-w:3
snplab: end of tests'
linux='Linux version 7.3.4'
counted='{"ended": "shutdown", "guest-errors": 0, "errors": {"vmrun": 0}, "statistics": {"rmp-assigned": 0, "rmp-firmware": 0}}'
kunit() { sed 's/^        ok 1/        not ok 1/; s/^    ok/    not ok/; s/^ok 1/not ok 1/' <<<"$good"; }
launch() { sed 's/^# ok 1/# not ok 1/; s/^ok 2/not ok 2/' <<<"$good"; }

boot() { # FOLDER [KTAP [KERNEL-LOG]]: what a boot leaves
	mkdir -p "$1"
	printf '%s\n' "${2-$good}" >"$1/ktap.log"
	printf '%s\n' "$linux" "${3-}" >"$1/kernel.log"
	printf '%s\n' "${host-$counted}" >"$1/host.json"
}
# mutant NAME HEADER-LINES [KTAP [KERNEL-LOG]]: one more mutant of the tree "t", judged.
mutant() {
	local f=$tmp/t/$1
	boot "$f" "${@:3}"
	[ -z "${left:-}" ] || echo 9 >"$f/$left"
	printf '%s\n' 'It is wrong.' '' "$2" --- >"$tmp/$1.patch"
	echo "$tmp/$1.patch" >>"$tmp/t/mutants"
	python3 "$top/lab/mutants.py" judge t "$tmp/$1.patch" "$f" "$tmp/t/control" --tests "${tests-kunit,sev_snp_launch_test:-w:3}"
}
fresh() {
	rm -rf "$tmp/t"
	host=$counted boot "$tmp/t/control"
	printf '{"exit": %s, "verdict": "x", "tests": []}\n' "${1-0}" >"$tmp/t/control/verdict.json"
}
# judged: the matrix of the tree.
judged() { python3 "$top/lab/mutants.py" matrix --json "$tmp/json" "$tmp/t"; }
# one DESCRIPTION STATUS PATTERN HEADER-LINES [KTAP [KERNEL-LOG]]: a tree with this one mutant.
one() {
	fresh
	mutant m "${@:4}" >"$tmp/said" 2>&1 || { not_ok "$1: judged" "$(cat "$tmp/said")"; return; }
	expect "$1" "$2" "$3" judged
}
not_kunit='Not-seen-by: kunit: why' not_launch='Not-seen-by: kselftest: why'

one 'caught by whom it names' 0 '^PASS: 1 mutants: 1 caught, 0 survived' "Caught-by: kunit nothing_is_held
$not_launch" "$(kunit)"
check 'the JSON says by whom' python3 -c "import json; d = json.load(open('$tmp/json')); m = d['trees']['t']['mutants'][0]
assert d['exit'] == 0 and m['layers']['kunit'] == {'result': 'caught', 'by': ['nothing_is_held']}, m
assert m['layers']['kselftest']['result'] == 'not seen', m"
one 'the matrix has a cell for each layer' 0 '^ *m +caught +- +- +-$' "Caught-by: kunit nothing_is_held
$not_launch" "$(kunit)"
one 'a case is named by its last part' 0 '^PASS' "Caught-by: kselftest finish_then_run
$not_kunit" "$(launch)"
one 'or by all of it' 0 '^PASS' "Caught-by: kselftest snp_launch_smp.2_vcpus.finish_then_run
$not_kunit" "$(launch)"
one 'but not by some end of it' 1 'has no such case' "Caught-by: kselftest then_run
$not_kunit" "$(launch)"
one 'a survivor fails' 1 '^FAIL: 1 mutants: 0 caught, 1 survived' "Caught-by: kunit nothing_is_held"
one 'and is named' 1 'm: survived: not caught by kunit nothing_is_held' "Caught-by: kunit nothing_is_held"
one 'caught, and by nobody whom it names: fails' 1 'm: not as named: caught by nobody whom its header names' "Caught-by: kunit all_are_waited_for
$not_launch" "$(kunit)"
one 'caught by one of two whom it names: fails' 1 'm: not as named: not caught by kunit all_are_waited_for' "Caught-by: kunit nothing_is_held
Caught-by: kunit all_are_waited_for
$not_launch" "$(kunit)"
one 'what fails without the mutant as well catches nothing' 1 'm: survived: not caught by kselftest known_to_fail' "Caught-by: kselftest known_to_fail"
one 'a layer that sees nothing is to be named' 1 'has no "Not-seen-by: kselftest: why"' 'Caught-by: kunit nothing_is_held' "$(kunit)"
one 'nobody is named: fails' 1 'its header names nobody' "$not_launch" "$(kunit)"
one 'an unknown layer is named: fails' 1 'found "Caught-by: luck it' "Caught-by: luck it
Caught-by: kunit nothing_is_held
$not_launch" "$(kunit)"
one 'a layer that was left out catches nothing' 1 'kselftest finish_then_run: that layer was not run' "Caught-by: kselftest finish_then_run
Caught-by: kunit nothing_is_held
Not-run: kselftest: why" "$(kunit)"
check 'what is left out is not run' test "$(python3 "$top/lab/mutants.py" tests "$tmp/m.patch" --tests kunit,sev_snp_launch_test:-w:3 2>&1)" = kunit

report='[ 1.0] WARNING: Nested lock was not taken
[ 1.0] test/1 is trying to lock:
[ 1.0] (&vcpu->mutex) at: kvm_lock_all_vcpus'
both="$not_kunit
$not_launch"
one 'a report in the log' 0 '^PASS' "Caught-by: lockdep \"Nested lock was not taken\"
Caught-by: lockdep \"(&vcpu->mutex)\"
$both" "$good" "$report"
one 'with other words' 1 'not caught by lockdep bad unlock balance' "Caught-by: lockdep \"bad unlock balance\"
$both" "$good" "$report"
one 'words that are in no report' 1 'm: survived' "Caught-by: lockdep \"is trying to lock\"" "$good" '[ 1.0] test/1 is trying to lock:'

# Whose report is it?
trace=' Call Trace:
  sev_mem_enc_ioctl+0xa9/0x1030 [kvm_amd]'
assertion='------------[ cut here ]------------
WARNING: CPU: 1 PID: 9 at sev_es_sync_vmsa+0x31b/0x360 [kvm_amd]'
found() { # DESCRIPTION PATTERN KIND WORDS KERNEL-LOG: 0 if the words are found, 1 if not
	local status=0
	[ "$2" = '^PASS' ] || status=1
	one "$1" $status "$2" "Caught-by: $3 \"$4\"
$both" "$good" "$5"
}
found 'below the first line of one of lockdep'\''s' ^PASS lockdep sev_mem_enc_ioctl "$report
$trace"
for line in 'rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:' 'rcu: INFO: rcu_preempt self-detected stall on CPU' \
	'watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [test:9]' 'INFO: task test:9 blocked for more than 120 seconds.'; do
	found "not in: $line" 'm: survived: not caught by lockdep sev_mem_enc_ioctl' lockdep sev_mem_enc_ioctl "$line
$trace"
	found "nor as an oops: $line" 'm: survived: not caught by oops sev_mem_enc_ioctl' oops sev_mem_enc_ioctl "$line
$trace"
	found "but as a stall: $line" ^PASS stall sev_mem_enc_ioctl "$line
$trace"
done
found 'nor in one that comes after lockdep'\''s' 'not caught by lockdep sev_mem_enc_ioctl' lockdep sev_mem_enc_ioctl "$report
rcu: INFO: rcu_preempt self-detected stall on CPU
$trace"
found 'nor in an oops' 'm: not as named: .*not caught by|caught by nobody' lockdep sev_mem_enc_ioctl "BUG: unable to handle page fault for address: 1
$trace"
found 'which is one, also where it says that lockdep is off' ^PASS oops sev_mem_enc_ioctl "BUG: unable to handle page fault for address: 1
INFO: lockdep is turned off.
$trace"
found 'lockdep off is no report of lockdep'\''s' 'm: survived' lockdep 'turned off' 'INFO: lockdep is turned off.'
found 'an assertion, where it is' ^PASS lockdep sev_es_sync_vmsa "$assertion
$trace"
found 'and as mainline says it' ^PASS lockdep sev_es_sync_vmsa '------------[ cut here ]------------
WARNING: at sev_es_sync_vmsa+0x31b/0x360 [kvm_amd], CPU#2: test/380'
found 'but not what led to it' 'not caught by lockdep sev_mem_enc_ioctl' lockdep sev_mem_enc_ioctl "$assertion
$trace"
found 'a WARN() that says why is no assertion' 'not caught by lockdep sev_es_sync_vmsa' lockdep sev_es_sync_vmsa "${assertion/$'\n'/$'\nit is odd\n'}"
found 'but an oops' ^PASS oops 'it is odd' "${assertion/$'\n'/$'\nit is odd\n'}"
found 'or lockdep'\''s, by what it says' ^PASS lockdep sev_mem_enc_ioctl "${assertion/$'\n'/$'\nDEBUG_LOCKS_WARN_ON(depth <= 0)\n'}
$trace"
for line in 'WARNING: possible recursive locking detected' 'WARNING: possible circular locking dependency detected' \
	'WARNING: bad unlock balance detected!' 'WARNING: lock held when returning to user space!' 'WARNING: held lock freed!' \
	'WARNING: test/9 still has locks held!' 'WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected' \
	'WARNING: suspicious RCU usage' 'BUG: MAX_LOCK_DEPTH too low!' '[ BUG: Invalid wait context ]'; do
	found "lockdep's: $line" ^PASS lockdep sev_mem_enc_ioctl "$line
$trace"
done

panic='[ 2.0] Kernel panic - not syncing: stack is corrupt'
half=$(sed -n '1,/ok 1 kunit/p' <<<"$(kunit)")
one 'a panic is no catch' 1 'm: not judged: the kernel panicked: stack is corrupt, after 1 of the tests' "Caught-by: kunit nothing_is_held
$not_launch" "$half" "$panic"
one 'but where it is named' 0 '^PASS' "Caught-by: kunit nothing_is_held
Caught-by: panic \"stack is corrupt\"
$not_launch" "$half" "$panic"
one 'nor is an end before the tests'\' 1 'm: not judged: the guest ended before its tests did, after 0' "Caught-by: kunit nothing_is_held" 'KTAP version 1'
left=timed-out one 'nor is a boot without an end' 1 'm: not judged: no end within 9 s, after 1' "Caught-by: kunit nothing_is_held
$not_launch" "$half"
left=timed-out one 'but where it is named' 0 '^PASS' "Caught-by: boot timeout
$both" "$good"
left=not-built one 'nor is one that does not build' 1 'm: not judged: it was not built' "Caught-by: kunit nothing_is_held
$not_launch" "$(kunit)"
late=$(sed 's/^ok 2.*/not ok 2 sev_snp_launch_test:-w:3 # TIMEOUT no end within 60 s/; /^# ok 2/d' <<<"$good")
one 'a program without an end, named' 0 '^PASS' "Caught-by: kselftest timeout
$not_kunit" "$late"
one 'the case that it did not get to is no catch, and said to have no result' 1 'not caught by kselftest finish_releases_vcpus, which its header names: it has no result in this boot$' "Caught-by: kselftest finish_releases_vcpus
$not_kunit" "$late"
# What the launch test leaves out, as it has too many stuck processes already: now, and before.
one 'a case that is skipped is no catch, and said to be skipped' 1 'm: survived: not caught by kselftest finish_releases_vcpus, which its header names: it was skipped$' "Caught-by: kselftest finish_releases_vcpus
$not_kunit" "$(sed 's/^# ok 2 .*/& # SKIP not run: the processes of 3 cases are stuck in the kernel already/' <<<"$good")"
left_out() { # [LINE]: and one more that the case says
	sed 's/^# ok 2 /# #  RUN           snp_launch.finish_releases_vcpus ...\
# # x86\/sev_snp_launch_test.c:697:finish_releases_vcpus:Expected MAX_LEFT_BEHIND (3) > READ_ONCE(shared->nr_left_behind) (3)\
# # x86\/sev_snp_launch_test.c:698:finish_releases_vcpus:not run: the processes of 3 cases are stuck in the kernel already\
'"${1:+# # x86\\/sev_snp_launch_test.c:700:finish_releases_vcpus:$1\\
}"'# # finish_releases_vcpus: Test terminated by assertion\
# #          FAIL  snp_launch.finish_releases_vcpus\
# not ok 2 /; s/^ok 2/not ok 2/' <<<"$good"
}
one 'nor is one that failed, as it was not run' 1 'm: survived: not caught by kselftest finish_releases_vcpus, which its header names: it was skipped$' "Caught-by: kselftest finish_releases_vcpus
$not_kunit" "$(left_out)"
one 'of one that ran, and saw nothing, no more is said' 1 'm: survived: not caught by kselftest finish_releases_vcpus, which its header names$' "Caught-by: kselftest finish_releases_vcpus
$not_kunit"
one 'one variant of two was skipped' 1 'not caught by kselftest finish_then_run, which its header names: 1 of 2 were skipped$' "Caught-by: kselftest finish_then_run
$not_kunit" "$(sed 's/^# ok 1 .*/&\n# ok 9 snp_launch_smp.64_vcpus.finish_then_run # SKIP not run/' <<<"$good")"
one 'but one that says something else as well' 0 '^PASS' "Caught-by: kselftest finish_releases_vcpus
$not_kunit" "$(left_out 'Expected 0 (0) == ret (-1)')"
leaked=${counted/rmp-assigned\": 0/rmp-assigned\": 2}
host=$leaked one 'leaked pages, named' 0 '^PASS' "Caught-by: host rmp-assigned
$both" "$good"
host=${counted/vmrun\": 0/vmrun\": 3} one 'an error on the host, named' 0 '^PASS' "Caught-by: host vmrun
$both" "$good"

# Several, and the series itself.
fresh
mutant a "Caught-by: kunit nothing_is_held
$not_launch" "$(kunit)" >/dev/null
mutant b 'Caught-by: kunit nothing_is_held' >/dev/null
expect 'one survivor of two fails' 1 '^FAIL: 2 mutants: 1 caught, 1 survived' judged
fresh 1
mutant a "Caught-by: kunit nothing_is_held
$not_launch" "$(kunit)" >/dev/null
expect 'the series itself fails: no catch counts' 1 't: the series without a mutant does not pass' judged
fresh
mutant a "Caught-by: kunit nothing_is_held
$not_launch" "$(kunit)" >/dev/null
echo "$tmp/c.patch" >>"$tmp/t/mutants"
expect 'one without a result fails' 1 't/c: not judged: it was not run' judged
fresh
: >"$tmp/t/mutants"
expect 'none at all fails' 1 't: expected mutants, found none' judged

# Building and booting at once: who waits for whom, and what stays in the cache. No build, no boot.
lab() { # COMMAND [ARG]...: with the lab's functions
	# shellcheck disable=SC2016  # for the shell that is started
	timeout 60 bash -c 'set -euo pipefail; . "$top/lab/lib.sh"; . "$top/lab/overlay.sh"; . "$top/lab/mutants.sh"
		cache=$tmp/cache dry_run=; eval "$@"' lab "$@"
}
export tmp
new_store() {
	rm -rf "$tmp/cache" "$tmp/run"
	mkdir -p "$tmp/cache/mutants" "$tmp/run"
	printf '%s\n' 'It is wrong.' --- "diff --git a/x b/x" '+1' >"$tmp/one.patch"
	sed 's/+1/+2/' "$tmp/one.patch" >"$tmp/two.patch"
}
sed '/^---$/d' "$tmp/m.patch" >"$tmp/no-end.patch"
printf '%s\n' 'It is wrong.' 'diff --git a/x b/x' '--- a/x' '+++ b/x' '@@ -1 +1 @@' --- '+x' >"$tmp/late.patch"
for p in no-end late; do
	expect "a header without an end is refused: $p" 3 "$p.patch: expected a line \"---\" between its header and its diff, found none" \
		lab "need_headers '$tmp/$p.patch'"
done
new_store
check 'one with an end is not' lab "need_headers '$tmp/one.patch' '$tmp/two.patch'"
check 'each mutant has a key' lab "[ \$(mutant_key k '$tmp/one.patch') != \$(mutant_key k '$tmp/two.patch') ]"

expect 'the builder is gone: nobody waits for it' 0 '^the builder ended$' \
	lab "(exit 1) & wait \$! || true; wait_for_modules '$tmp/none' '$tmp/run' \$!; cat '$tmp/run/not-built'"
new_store
expect 'nor if there was none' 0 '^the builder ended$' lab "wait_for_modules '$tmp/none' '$tmp/run' ''; cat '$tmp/run/not-built'"
new_store
check 'what it made before is taken' lab "(sleep 0.5; mkdir '$tmp/run/made') & wait_for_modules '$tmp/run/made' '$tmp/run' \$!; [ ! -e '$tmp/run/not-built' ]"
# What judge_mutants does, with other builders and lanes.
lanes="mutant_lanes=2 run_dir=$tmp/run work=$tmp/w-1 tree=t mutants=('$tmp/one.patch' '$tmp/two.patch'); exec {work_lock}>/dev/null
	boot_mutants() { for m in one two; do ! mkdir $tmp/run/\$m/begun 2>/dev/null || wait_for_modules '$tmp/none' $tmp/run/\$m \"\$3\"; done; }"
new_store
expect 'a builder that dies ends the stage' 7 '' lab "$lanes; builds=1; build_mutants() { sleep 0.3; exit 7; }; judge_mutants k"
check 'and each mutant that waited is not built' grep -qx 'the builder ended' "$tmp/run/one/not-built" "$tmp/run/two/not-built"
new_store
mkdir "$tmp/cache/mutants/.w-1.99.abcdef"
check 'nothing is to be built: no builder' lab "$lanes; builds=; judge_mutants k"
check 'another run'\''s half-made one stays' test -d "$tmp/cache/mutants/.w-1.99.abcdef"

# In the cache: one of this run's own, the oldest, and more than are kept.
new_store
# shellcheck disable=SC2016  # for lab
check 'a mutant that this run needs stays in the cache' lab '
	mutants_kept=3 run_dir=$tmp/run work=$tmp/w-1 tree=t source=s mutants=("$tmp/one.patch" "$tmp/two.patch")
	cd "$tmp/cache/mutants"; own=$(mutant_key k "$tmp/one.patch")
	mkdir "$own" a b c d "$run_dir/one" "$run_dir/two"
	touch -d "1 day ago" "$own"
	patches_for() { :; }; overlay() { :; }; build_kernel() { :; }; build_mutant() { touch "$2/kvm.ko"; }
	keep_built k; touch -d "1 hour ago" a b c d; build_mutants . k
	[ -d "$own" ]; [ -d "$(mutant_key k "$tmp/two.patch")" ]; [ "$(ls | wc -l)" -eq 3 ]'

# What three lanes say at once while it is shown: slowly, each between opening the file and writing to it.
# shellcheck disable=SC2016
expect 'no line that is told is lost' 0 '^90$' lab '
	printf() { sleep 0.01; builtin printf "$@"; }
	stage_log=$tmp/run/log shown=1; : >"$stage_log"
	for lane in 1 2 3; do (for ((i = 0; i < 30; i++)); do tell "$lane $i"; done) & done
	while [ -n "$(jobs -r)" ]; do flush_tell; done >"$tmp/run/shown"; flush_tell >>"$tmp/run/shown"
	sort -u "$tmp/run/shown" | wc -l'
finish
