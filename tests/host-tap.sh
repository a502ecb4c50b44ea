# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# For tests that run a program with TAP of its own. Sourced after tap.sh.

# each_case TEXT COMMAND...: a line for each of the command's; and one, TEXT: it ended with status 0, with as
# many lines as it had planned, and with more than none. What it said is in $tmp/said.
each_case() {
	local text=$1 line lines status=0 n=0 plan
	shift
	"$@" >"${tmp:?}/said" 2>&1 || status=$?
	mapfile -t lines <"$tmp/said"
	for line in "${lines[@]}"; do
		case $line in
		'ok '*) ok "${line#ok * }" ;;
		'not ok '*) not_ok "${line#not ok * }" "$(grep -A4 -F -x -- "$line" "$tmp/said" | tail -n +2)" ;;
		*) continue ;;
		esac
		n=$((n + 1))
	done
	plan=$(sed -n 's/^1\.\.\([0-9]*\).*/\1/p' "$tmp/said" | tail -n 1)
	if [ "$status" -eq 0 ] && [ "$n" -gt 0 ] && [ "$n" = "$plan" ]; then ok "$text"; else
		not_ok "$text" "expected status 0 and as many results as planned, found status $status, $n of ${plan:-no plan}" "$(tail -n 25 "$tmp/said")"
	fi
}
