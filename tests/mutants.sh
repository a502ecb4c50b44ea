#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Would the tests have caught it? Every wrong version in tests/mutants must be, by whom its header names.
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"

status=0
"$top/snplab" mutants --json "$tmp/json" >"$tmp/log" 2>&1 || status=$?
if [ $status -ne 0 ] && [ $status -ne 1 ] || [ ! -s "$tmp/json" ]; then
	not_ok 'snplab mutants' "status $status" "$(tail -n 25 "$tmp/log")"
	finish
fi
while IFS=$'\t' read -r name result problems; do
	if [ "$result" = caught ]; then ok "$name: caught"; else not_ok "$name: caught" "$result: $problems"; fi
done < <(python3 - "$tmp/json" <<'PYTHON'
import json, sys
data = json.load(open(sys.argv[1]))
for tree, t in data["trees"].items():
    print(f"{tree}/control", "caught" if t["control"] == "pass" else t["control"], "the series itself is to pass", sep="\t")
    for m in t["mutants"]:
        print(f"{tree}/{m['name']}", m["result"], "; ".join(m["problems"]), sep="\t")
PYTHON
)
for tree in linux-6.12.y mainline; do
	n=$(find "$top/tests/mutants/$tree" -name '*.patch' | wc -l)
	if [ "$n" -ge 20 ]; then ok "$tree: $n mutants"; else not_ok "$tree: at least 20 mutants" "found $n"; fi
done
check 'and the verb says so itself' test $status -eq 0
finish
