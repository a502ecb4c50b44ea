#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The benchmark: what it says of counts that it is given, good and bad. To count is for ./snplab bench.
# shellcheck disable=SC2317  # functions that check calls
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
cd "$tmp" || exit

# counts FILE FIXED EACH [MORE]: 1, 2, 4, 8 vCPUs, FIXED + EACH for each; a tick in one turn of three; MORE for the last.
counts() {
	local n turn
	for n in 1 2 4 8; do
		for turn in 0 1 2 3; do
			echo "# # bench: vcpus=$n turn=$turn ticks=$(($2 + $3 * n + (turn == 2 ? 30000 : 0) + (n == 8 ? ${4:-0} : 0)))"
		done
	done >"$1"
}
judge() { python3 "$top/lab/bench.py" --tree T --linux 1.2.3 --most 8 --turns 3 --json json --with "$1" --with "$2" --without "$3" --without "$4" "${@:5}"; }
said() { python3 -c 'import json, sys; d = json.load(open("json")); sys.exit(not eval(sys.argv[1], {"d": d}))' "$1"; }

counts with 500 1000
counts without 500 995
expect 'locks that cost little: PASS' 0 '^PASS: bench of T on linux 1\.2\.3: the locks cost at most 5 instructions for each vCPU, 0\.47 %' judge with with without without --limit 10
check 'the turn that was interrupted does not count' said 'd["rows"][3] == {"vcpus": 8, "with": 8500, "without": 8460, "lock": 40, "each": 5, "share": 100 * 40 / 8500, "firmware": 0}'
check 'the line' said 'abs(d["line"]["slope"] - 1000) < 1e-6 and abs(d["line"]["intercept"] - 500) < 1e-6 and d["line"]["r2"] > 0.999999'
counts without 500 900
expect 'locks that cost much: FAIL' 1 '8 vCPUs: the locks cost 100 instructions each, expected at most 99' judge with with without without --limit 99
check 'what the firmware must take for 1 %' said 'd["rows"][3]["firmware"] == (100 * 800 - 8500) / 8'
expect 'of which nothing is asked: PASS' 0 '^PASS' judge with with without without
expect 'locks that cost nothing: FAIL' 1 '1 vCPUs: the locks cost 0 instructions' judge with with with with
counts other 500 1001
expect 'a boot that does not repeat: FAIL' 1 'with the locks, the boots differ, first at 1 vCPUs' judge with other without without
counts with 500 1000 4000
expect 'more for more vCPUs than a line has: FAIL' 1 'not a straight line' judge with with without without
head -n 5 with >short
expect 'a boot that ended early: no verdict' 3 'expected 4 launches for each of \[1, 2, 4, 8\] vCPUs, found' judge with short without without
expect 'no such log: no verdict' 3 'nowhere: No such file' judge with nowhere without without

finish
