#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# What the tests of the emulated host read from a boot's logs: that each kind of failure is seen, and an
# error on the host counts unless a test provokes exactly that. No boot: logs written here.
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=host/tests/lib.sh
. "$top/host/tests/lib.sh"

logs=$tmp/logs
boot() { # KTAP-LINES KERNEL-LINES HOST-JSON
	rm -rf "$logs"
	mkdir "$logs"
	printf '%s\n' "$1" >"$logs/ktap.log"
	printf '%s\n' "$2" >"$logs/kernel.log"
	[ -z "$3" ] || printf '%s\n' "$3" >"$logs/host.json"
	host_results "$logs" >"$logs/results"
}
is() { if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "expected '$3', found '$2'" "$(cat "$logs/results")"; fi; }
wrong() { host_wrong_errors "$logs/results" "$@"; }

ktap=$'1..4\nok 1 a\nok 2 b # SKIP no SEV\nnot ok 3 c # exit status 1\nnot ok 4 d # TIMEOUT no end within 5 s\nsnplab: end of tests'
clean='{"guest-errors": 0, "errors": {"rmp": 0}}'
boot "$ktap" 'Linux version 6' "$clean"
for p in a:pass b:skip c:fail d:timeout e:none; do is "result of a test: ${p#*:}" "$(host_result "$logs/results" "${p%:*}")" "${p#*:}"; done
is 'the end is seen' "$(grep -c $'^end\tyes' "$logs/results")" 1
is 'no error, none expected' "$(wrong a)" ''
boot 'ok 1 a' 'WARNING: at nowhere' ''
is 'a guest that ended early' "$(grep -c $'^end\tno' "$logs/results")" 1
is 'a report in the log' "$(grep -c '^report' "$logs/results")" 1
is 'no count of errors is wrong' "$(wrong a | grep -c unknown)" 1
# What snp_ap_test provokes is in the list.
read -r kind n < <(host_provoked snp_ap_test)
boot "$ktap" 'Kernel panic - not syncing: x' "{\"guest-errors\": $n, \"errors\": {\"$kind\": $n}}"
is 'a panic' "$(grep -c '^panic' "$logs/results")" 1
is 'errors that nobody asked for' "$(wrong snp_smp_test)" "expected: none; found: $kind $n"
is 'errors that a test provokes' "$(wrong snp_smp_test snp_ap_test)" ''
boot "$ktap" '' "{\"guest-errors\": $((n + 1)), \"errors\": {\"$kind\": $((n + 1))}}"
is 'more than a test provokes' "$(wrong snp_ap_test)" "expected: $kind $n; found: $kind $((n + 1))"
boot "$ktap" '' "{\"guest-errors\": 0, \"errors\": {\"$kind\": 0}}"
is 'fewer than a test provokes' "$(wrong snp_ap_test)" "expected: $kind $n; found: none"
boot "$ktap" '' "{\"guest-errors\": $((n + 1)), \"errors\": {\"$kind\": $n}}"
is 'a kind that is not told apart' "$(wrong snp_ap_test | grep -c 'not the total')" 1

for tree in 6.12.y mainline; do
	check "$tree has a list of what is known to fail" test -s "$(host_expect "$tree")"
	for t in $(host_expected_names "$tree"); do
		check "$tree: $t has a reason and says what the test says" \
			test -n "$(host_expectation "$tree" "$t" reason)" -a -n "$(host_expectation "$tree" "$t" says)"
		check "$tree: $t has its evidence" test -s "$host_kvm/evidence/$(host_expectation "$tree" "$t" evidence)"
	done
done
is 'a test that is not in the list has no expectation' "$(host_expectation 6.12.y snp_smp_test reason)" ''
finish
