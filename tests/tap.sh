# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# What the tests share: TAP lines with a plan at the end, a folder that goes away, the repository's top.
# Sourced after `set -uo pipefail`; a test ends with `finish`.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/snplab-test.XXXXXX")
export top
tap_n=0 tap_failed=0
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

ok() { tap_n=$((tap_n + 1)); echo "ok $tap_n - $1"; }
not_ok() {
	tap_n=$((tap_n + 1)) tap_failed=$((tap_failed + 1))
	echo "not ok $tap_n - $1"
	shift
	local line
	for line; do echo "# ${line//$'\n'/$'\n'# }"; done
}
skip() { tap_n=$((tap_n + 1)); echo "ok $tap_n - $1 # SKIP $2"; }

# check DESCRIPTION COMMAND...: ok if the command succeeds; what it printed is shown if it does not.
check() {
	local text=$1 output status=0
	shift
	output=$("$@" 2>&1) || status=$?
	if [ $status -eq 0 ]; then ok "$text"; else not_ok "$text" "$(quote_command "$@"): status $status" "$(tail -n 25 <<<"$output")"; fi
}
quote_command() { printf '%q ' "$@"; }

# expect DESCRIPTION STATUS PATTERN COMMAND...: ok if it ends with that status and prints a line that
# matches the extended regular expression.
expect() {
	local text=$1 want=$2 pattern=$3 output status=0
	shift 3
	output=$("$@" 2>&1) || status=$?
	if [ $status -ne "$want" ]; then
		not_ok "$text" "expected status $want, found $status" "$(tail -n 25 <<<"$output")"
	elif ! grep -qE -- "$pattern" <<<"$output"; then
		not_ok "$text" "expected a line like: $pattern" "found:" "$(tail -n 25 <<<"$output")"
	else
		ok "$text"
	fi
}

finish() {
	echo "1..$tap_n"
	[ $tap_failed -eq 0 ]
	exit
}
