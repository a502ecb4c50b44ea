#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Would the tests have caught it? Every wrong version in tests/mutants is built and booted, and must
# be caught by whom its header names: "Caught-by: kunit CASE", "Caught-by: lockdep TEXT".
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"

caught() { # JSON KIND WHAT
	python3 - "$@" <<'EOF'
import json, sys
d = json.load(open(sys.argv[1]))
kind, what = sys.argv[2:]
if kind == "kunit":
    failed = [f for t in d["tests"] if t["name"] == "kunit" for f in t["failed"]]
    # A parameterised case's own line, not one of its parameters'.
    sys.exit(what not in [f.split(" # ")[0].strip() for f in failed])
sys.exit(not any(what.strip('"') in r for r in d["reports"]))
EOF
}

for tree in 6.12.y mainline; do
	dir=$top/tests/mutants/$([ $tree = mainline ] && echo mainline || echo "linux-$tree")
	for p in "$dir"/*.patch; do
		name=$tree/$(basename "$p" .patch)
		json=$tmp/json log=$tmp/log status=0
		rm -f "$json"
		"$top/snplab" run --tree "$tree" --test kunit --patch "$p" --timeout 240 --json "$json" >"$log" 2>&1 || status=$?
		if [ $status -ne 1 ]; then
			not_ok "$name: the run fails" "expected exit status 1, found $status" "$(tail -n 25 "$log")"
			continue
		fi
		ok "$name: the run fails"
		while read -r _ kind what; do
			# Other layers have tests of their own.
			[[ $kind == kunit || $kind == lockdep ]] || continue
			if caught "$json" "$kind" "$what"; then ok "$name: caught by $kind $what"; else
				not_ok "$name: caught by $kind $what" "$(sed -n '/ on linux /,$p' "$log")" "$(grep -E '^ *not ok|: .*: ' "$log" | tail -n 15)"
			fi
		done < <(grep '^Caught-by: ' "$p")
	done
done
finish
