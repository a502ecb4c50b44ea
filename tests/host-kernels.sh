#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Kernels on the emulated host: both come up as SNP hosts and say exactly what such a kernel says; our tests
# and upstream's SEV tests have exactly the results expected of each; nobody did what the architecture forbids.
# A test that is known to fail does so for the reason given: with the evidence's patch it passes.
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=host/tests/lib.sh
. "$top/host/tests/lib.sh"

# What a kernel says of SEV, SNP, the RMP and the PSP before it runs anything: every one of these lines...
must_say=(
	'SEV-SNP: RMP table physical range \[0x[0-9a-f]{16} - 0x[0-9a-f]{16}\]'
	'AMD-Vi: IOMMU SNP support enabled\.'
	'AMD-Vi: Extended features .* SNP'
	'ccp [0-9a-f:.]+: sev enabled'
	'ccp [0-9a-f:.]+: psp enabled'
	'ccp [0-9a-f:.]+: SEV API:1\.[0-9]+ build:[0-9]+'
	'ccp [0-9a-f:.]+: SEV-SNP API:1\.[0-9]+ build:[0-9]+'
	'kvm_amd: SEV enabled \(ASIDs 100 - 509\)'
	'kvm_amd: SEV-ES enabled \(ASIDs 1 - 99\)'
	'kvm_amd: SEV-SNP enabled \(ASIDs 1 - 99\)'
)
# ... and none but these: what the tests' guests do at their ends, and what is not about SNP.
may_say=(
	'kvm_amd: SEV-ES guest requested termination: 0x[0-9a-f]+:0x[0-9a-f]+'
	'kvm_amd: (Nested Virtualization enabled|Nested Paging (en|dis)abled|TSC scaling supported|LBR virtualization supported|Virtual (GIF|VMLOAD VMSAVE|NMI) (en|dis)abled|PMU virtualization is disabled)'
	'(Linux version|Command line:|Kernel command line:) .*'
	' *#.*' ' *(not )?ok [0-9].*'
)

said() { grep -E 'SEV|SNP|RMP|PSP|psp|ccp|kvm_amd' "$1/kernel.log" | tr -d '\r' | sed 's/^\[[^]]*\] *//'; }

check_log() { # TREE LOGS
	local p unexpected
	for p in "${must_say[@]}"; do
		check "$1: the kernel says: $p" grep -qxE "$p" <(said "$2")
	done
	unexpected=$(said "$2" | grep -vxE "$(IFS='|'; echo "${must_say[*]}|${may_say[*]}")" | sort | uniq -c | head -n 10)
	if [ -z "$unexpected" ]; then ok "$1: and nothing else about them"; else not_ok "$1: and nothing else about them" "$unexpected"; fi
}

# check_boot TREE LOGS FILE NAME...: what FILE, host_results' words, says apart from single tests.
check_boot() {
	local tree=$1 logs=$2 file=$3 found
	shift 3
	check "$tree: the guest ran to its end" grep -qx $'end\tyes' "$file"
	found=$(grep -E $'^(report|panic)\t' "$file" | head -n 10)
	if [ -z "$found" ]; then ok "$tree: no report in the kernel's log"; else not_ok "$tree: no report in the kernel's log" "$found"; fi
	found=$(host_wrong_errors "$file" "$@")
	if [ -z "$found" ]; then ok "$tree: no error on the host that no test asked for"; else
		not_ok "$tree: no error on the host that no test asked for" "$found" "$(head -n 15 "$logs/host.log")"
	fi
}

# check_known TREE NAME RESULT LOGS: one that is to fail, and to say why.
check_known() {
	local says reason
	reason=$(host_expectation "$1" "$2" reason) says=$(host_expectation "$1" "$2" says)
	if [ "$3" = pass ]; then
		not_ok "$1: $2 fails as known: $reason" 'it passes: is the kernel repaired? Then take it out of the list'
	elif [ "$3" != fail ]; then
		not_ok "$1: $2 fails as known: $reason" "found $3"
	else
		check "$1: $2 fails as known: $reason" grep -qE "^# .*$says" "$4/ktap.log"
	fi
}

check_evidence() { # TREE NAME
	local patch dir=$tmp/$1-with-evidence
	patch=$(host_expectation "$1" "$2" evidence)
	if ! host_prepare "$dir" "$1" "$host_kvm/evidence/$patch" >"$tmp/said"; then
		not_ok "$1: $2 passes with $patch" "$(cat "$tmp/said")"
		return
	fi
	host_boot "$dir" snp.gz "$2" "$dir/logs" 150
	host_results "$dir/logs" >"$dir/results"
	if [ "$(host_result "$dir/results" "$2")" = pass ]; then ok "$1: $2 passes with $patch"; else
		not_ok "$1: $2 passes with $patch" "$(cat "$dir/results")" "$(tail -n 15 "$dir/logs/ktap.log")"
	fi
	rm -rf "$dir"
}

for tree in 6.12.y mainline; do
	dir=$tmp/$tree logs=$tmp/$tree/logs
	if ! host_prepare "$dir" "$tree" >"$tmp/said"; then
		not_ok "$tree: kernel, tests and emulated host are built" "$(cat "$tmp/said")"
		continue
	fi
	ok "$tree: kernel, tests and emulated host are built"
	mapfile -t tests < <(host_upstream_tests "$dir"; host_own_tests)
	check "$tree: upstream's SEV tests are there" grep -qx sev_smoke_test "$dir/sev.list"
	host_boot "$dir" snp.gz "$(IFS=,; echo "${tests[*]}")" "$logs" 300
	host_results "$logs" >"$dir/results"
	check_boot "$tree" "$logs" "$dir/results" "${tests[@]}"
	check_log "$tree" "$logs"
	for t in "${tests[@]}"; do
		result=$(host_result "$dir/results" "$t")
		if [ -n "$(host_expectation "$tree" "$t" reason)" ]; then
			check_known "$tree" "$t" "$result" "$logs"
		elif [ "$result" = pass ]; then
			ok "$tree: $t"
		else
			not_ok "$tree: $t" "found $result: $(grep -P "^test\t$t\t" "$dir/results")" \
				"$(sed -n "/^# Subtest: $t\$/,/^# $t took/p" "$logs/ktap.log" | tail -n 25)"
		fi
	done
	sed -n 's/^# *# \(median ratio .*\)/# \1/p' "$logs/ktap.log"
	for t in $(host_expected_names "$tree"); do check_evidence "$tree" "$t"; done
	rm -rf "$dir"
done
finish
