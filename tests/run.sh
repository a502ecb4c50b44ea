#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The main job on both trees: a pass verdict in words, in JSON and as exit status; the kernel is an SNP
# host, every test that was to run did, and nothing that the architecture forbids was done.
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"

ask() { python3 -c 'import json, re, sys; d = json.load(open(sys.argv[1])); print(eval(sys.argv[2], {"d": d, "re": re, "t": {x["name"]: x for x in d.get("tests", [])}}))' "$1" "$2"; }
is() { # DESCRIPTION JSON EXPRESSION WANTED
	local found
	found=$(ask "$2" "$3" 2>&1)
	if [[ $found == "$4" ]]; then ok "$1"; else not_ok "$1" "expected $4, found $found"; fi
}

for tree in 6.12.y mainline; do
	json=$tmp/$tree.json log=$tmp/$tree.log status=0
	"$top/snplab" run --tree "$tree" --test '*' --json "$json" >"$log" 2>&1 || status=$?
	if [ $status -eq 0 ]; then ok "run --tree $tree: exit status 0"; else
		not_ok "run --tree $tree: exit status 0" "found $status" "$(tail -n 30 "$log")"
		[ -s "$json" ] || continue
	fi
	check "$tree: the last line is the verdict" grep -qE "^PASS: $tree on linux [0-9.]+: .*logs: " <(tail -n 1 "$log")
	check "$tree: the first line comes before any work" grep -qE '^snplab run: ' <(head -n 1 "$log")
	check "$tree: stages have their time" grep -qE '^\[[0-9]+/[0-9]+\] build linux [0-9.]+ … [0-9]+ s$' "$log"
	check "$tree: KTAP is in what the user sees" grep -qE '^ok 1 kunit' "$log"
	is "$tree: JSON says pass" "$json" 'd["verdict"]' pass
	is "$tree: JSON names the QEMU" "$json" 'd["qemu"].startswith("10.0.")' True
	is "$tree: no report in the kernel's log" "$json" 'd["reports"]' '[]'
	for t in kunit sev_snp_launch_test sev_smoke_test state_test svm_vmcall_test sev_init2_tests sev_migrate_tests sync_regs_test; do
		is "$tree: $t passes" "$json" "t['$t']['result']" pass
	done
	is "$tree: nothing is skipped" "$json" "[x['name'] for x in d['tests'] if x['result'] == 'skip']" '[]'
	is "$tree: the launch test's cases passed or are known to fail, and nothing else" "$json" \
		"sorted({c['result'] for c in t['sev_snp_launch_test']['cases']} - {'pass', 'known-failure'})" '[]'
	for n in 1 2 8 64; do
		is "$tree: a guest with $n vCPU(s) is launched and run" "$json" \
			"[c['result'] for c in t['sev_snp_launch_test']['cases'] if re.search(r'[^0-9]$n(_vcpus?)?\\.finish_then_run', c['name'])]" "['pass']"
	done
	known=$(grep -c '^sev_snp_launch_test .*: known failure: ' "$top/series/$([ $tree = mainline ] && echo mainline || echo "linux-$tree")/expect")
	is "$tree: as many of its cases are known to fail as the list says" "$json" \
		"sum(c['result'] == 'known-failure' for c in t['sev_snp_launch_test']['cases'])" "$known"
	is "$tree: no RMP entry is a guest's or the firmware's at the end" "$json" \
		'[d["host"]["statistics"][k] for k in ("rmp-assigned", "rmp-firmware")]' '[0, 0]'
	is "$tree: the kernel is an SNP host" "$json" 'd["snp"]' True
	# The three ID blocks that the launch test gets wrong on purpose.
	is "$tree: no error on the host but what is asked for" "$json" \
		'{k: n for k, n in d["host"]["errors"].items() if n}' "{'firmware': 3}"
	is "$tree: the host did what launching a guest takes" "$json" \
		'min(d["host"]["statistics"][k] for k in ("rmpupdate", "commands", "vmrun-sev")) > 0' True
	logs=$(ask "$json" 'd["logs"]')
	check "$tree: lockdep was on" grep -q 'Lock dependency validator' "$logs/kernel.log"
	for line in 'AMD-Vi: IOMMU SNP support enabled' 'ccp .*: SEV-SNP API:1\.' 'kvm_amd: SEV enabled (ASIDs ' \
		'kvm_amd: SEV-ES enabled (ASIDs ' 'kvm_amd: SEV-SNP enabled (ASIDs '; do
		check "$tree: the kernel says: $line" grep -q "$line" "$logs/kernel.log"
	done
	check "$tree: KUnit ran the suite of the function" grep -q 'kvm_sev_snp_launch_finish' "$logs/ktap.log"
done

# Without --test: the quick ones, in seconds once everything is built.
# On two cores with nothing else to do it takes 15 s, and the guest's init starts within 3: here, twice that.
t0=$SECONDS
expect 'the quick tests' 0 '^PASS: 6.12.y on linux .*: [0-9]+ passed, 0 failed, 0 skipped .*; no report .*, 3 on the host, all asked for' "$top/snplab" run
took=$((SECONDS - t0))
if [ $took -le 30 ]; then ok "which takes $took s, at most 30"; else not_ok 'which takes 30 s at most' "found $took"; fi
init=$(sed -n 's/^# linux .*, init after \([0-9.]*\) s.*/\1/p' "$tmp/6.12.y.log")
if awk -v s="${init:-99}" 'BEGIN { exit !(s <= 6) }'; then ok "init after $init s, at most 6"; else not_ok 'init after 6 s at most' "found ${init:-nothing}"; fi
finish
