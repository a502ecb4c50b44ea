#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Every x86 KVM selftest of 7.x, on stock QEMU and on the emulated host: none is worse there. What a stock QEMU
# fails or hangs in is listed; it tells nothing of the emulated host. Each boot runs all of them, each for at
# most a few seconds.
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=host/tests/lib.sh
. "$top/host/tests/lib.sh"

# The longest that passes takes 10 s on an idle machine.
seconds=${SNPLAB_SELFTEST_SECONDS:-25}
tree=${SNPLAB_SELFTEST_TREE:-mainline}
dir=$tmp/$tree

if ! host_prepare "$dir" "$tree" >"$tmp/said"; then
	not_ok "$tree: kernel, tests and emulated host are built" "$(cat "$tmp/said")"
	finish
fi
boot() { # STOCK-OR-NOTHING LOGS
	host_boot "$dir" all.gz "@list snplab.timeout=$seconds" "$2" 500 "$1"
	host_results "$2" >"$2/results"
}
boot "$(PATH=$PATH:/usr/bin command -v qemu-system-x86_64)" "$dir/stock" &
boot '' "$dir/emulated" &
wait

for side in stock emulated; do
	check "$side: the guest ran to its end" grep -qx $'end\tyes' "$dir/$side/results"
	n=$(grep -c $'^test\t' "$dir/$side/results") wanted=$(wc -l <"$dir/all.list")
	if [ "$n" -eq "$wanted" ] && [ "$n" -gt 50 ]; then ok "$side: $n tests ran"; else not_ok "$side: $wanted tests ran" "found $n"; fi
done
found=$(grep -E $'^(report|panic)\t' "$dir/emulated/results" | head -n 10)
if [ -z "$found" ]; then ok "no report in the kernel's log on the emulated host"; else
	not_ok "no report in the kernel's log on the emulated host" "$found"
fi

# From bad to good: what is at least as good is not worse.
rank() { case $1 in none) echo 0 ;; timeout) echo 1 ;; fail) echo 2 ;; skip) echo 3 ;; pass) echo 4 ;; esac; }
while read -r t; do
	stock=$(host_result "$dir/stock/results" "$t") emulated=$(host_result "$dir/emulated/results" "$t")
	case $stock in fail | timeout) echo "# stock QEMU: $t: $stock; emulated host: $emulated" ;; esac
	if [ "$(rank "$emulated")" -ge "$(rank "$stock")" ]; then ok "$t: stock $stock, emulated $emulated"; else
		not_ok "$t: stock $stock, emulated $emulated" \
			"$(sed -n "/^# Subtest: $t\$/,/^# $t took/p" "$dir/emulated/ktap.log" | tail -n 20)"
	fi
done <"$dir/all.list"
finish
