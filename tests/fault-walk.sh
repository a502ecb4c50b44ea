#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Every firmware command of an SNP guest's launch fails once, each in a launch of its own, on both kernels: the
# caller is told, every vCPU is free, nothing is left, the kernel's log has no report. Where the kernel is to warn
# and to leak, it does exactly that. What it is known to get wrong, it still does: a repair is not to go unseen.
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=host/tests/lib.sh
. "$top/host/tests/lib.sh"

# walk DIR NAME ARGUMENT: one boot; what it left is in DIR/NAME.
walk() {
	host_boot "$1" snp.gz "snp_fault_walk$3 snplab.timeout=120" "$1/$2" 200
	host_results "$1/$2" >"$1/$2/results"
}

# reports FILE: where the kernel's reports in host_results' words come from: functions, or what was reported.
reports() {
	grep -E $'^(report|panic)\t' "$1" | grep -v 'cut here' |
		sed -E 's/^.*WARNING: .*\bat ([A-Za-z0-9_]+)\+.*/\1/; s/^.*Leaking PFN range .*/leak/
			s/^.*Failed to reclaim PFN .*/not-reclaimed/; s/^(report|panic)\t//' | paste -sd' '
}

# judge TREE DIR NAME ARGUMENT ERRORS REPORTS: the program's cases; the host's errors and the kernel's reports, which
# are a pattern.
judge() {
	local text="$1: snp_fault_walk${4//:/ }" logs=$2/$3 line found
	if grep -qx $'end\tyes' "$logs/results"; then ok "$text: the guest ran to its end"; else
		# The folder goes with the test: what there is of a hang is said here.
		not_ok "$text: the guest ran to its end" "$(cat "$logs/results" "$logs/not-booted" 2>/dev/null)" \
			"$(tail -n 12 "$logs/ktap.log")" "$(tail -n 40 "$logs/kernel.log")"
	fi
	while read -r line; do
		case $line in
		'ok '*) ok "$text: ${line#ok * }" ;;
		*) not_ok "$text: ${line#not ok * }" "$(grep -F "# ${line#not ok * }: " "$logs/ktap.log")" ;;
		esac
	done < <(sed -nE 's/^# ((not )?ok [0-9]+ .*)/\1/p' "$logs/ktap.log")
	# The program's plan is in its exit status.
	found=$(host_result "$logs/results" "snp_fault_walk$4")
	if [ "$found" = pass ]; then ok "$text: passes"; else
		not_ok "$text: passes" "$(cat "$logs/results")" "$(tail -n 15 "$logs/ktap.log")"
	fi
	found=$(awk -F'\t' '$1 == "errors" { print $2 }' "$logs/results")
	if [ "$found" = "$5" ]; then ok "$text: $5 errors on the host"; else
		not_ok "$text: $5 errors on the host" "found ${found:-no count}" "$(head -n 10 "$logs/host.log")"
	fi
	found=$(reports "$logs/results")
	if [[ $found =~ ^($6)$ ]]; then ok "$text: the kernel reports ${found:-nothing}"; else
		not_ok "$text: the kernel reports ${6:-nothing}" "found: $found" "$(grep -E $'^(report|panic)\t' "$logs/results")"
	fi
}

for tree in 6.12.y mainline; do
	dir=$tmp/$tree
	if ! host_prepare "$dir" "$tree" >"$tmp/said"; then
		not_ok "$tree: kernel, tests and emulated host are built" "$(cat "$tmp/said")"
		continue
	fi
	walk "$dir" all '' &
	{
		walk "$dir" warned :-w
		walk "$dir" vmsa :-d:vmsa_0
		walk "$dir" page :-d:page_0
	} &
	wait
	judge "$tree" "$dir" all '' 0 ''
	# The guest's context cannot be released: once in a kernel's life it warns of that, and leaks what it must.
	judge "$tree" "$dir" warned :-w 0 'snp_decommission_context leak leak'
	# Known, in both: the VMSA's page is put on the list of leaked pages, and again when the vCPU is freed.
	judge "$tree" "$dir" vmsa :-d:vmsa_0 1 'not-reclaimed snp_page_reclaim leak leak __list_add_valid_or_report'
	# Known, in both: the guest's page is put on the list, and freed. Its next owner gets an RMP fault, if there is one
	# before the boot ends: then nothing else that comes after it says anything.
	freed="not-reclaimed snp_page_reclaim leak $([ $tree = mainline ] && echo sev_gmem_make_shared || echo sev_gmem_invalidate)"
	found=$(reports "$dir/page/results")
	if [[ $found == "$freed BUG: unable to handle page fault for address: "*' #PF: error_code('*') - RMP violation'* ]]; then
		ok "$tree: snp_fault_walk -d page_0: the kernel frees a page that the firmware has, and its next owner meets it, as known"
	else
		judge "$tree" "$dir" page :-d:page_0 1 "$freed"
	fi
	rm -rf "$dir"
done
finish
