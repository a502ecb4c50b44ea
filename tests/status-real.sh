#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# status on real kernels: Debian's 6.12 is open, its 7.x fixed, its 6.1 not affected; our 6.12.y is fixed.
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab.sh
. "$(dirname "$0")/lab.sh"

for want in '6.12.y 1 open' 'mainline 0 fixed' '6.1 0 not.affected'; do
	read -r tree status word <<<"$want"
	base=$(lab_base "$tree") || { not_ok "linux-source for $tree" "$base"; continue; }
	expect "status of Debian's linux-source for $tree: $word" "$status" "^$word: " "$top/snplab" status "$base"
done
for tree in 6.12.y mainline; do
	path=$("$top/snplab" tree "$tree" "$tmp/$tree" 2>"$tmp/log")
	if [ "$path" != "$tmp/$tree" ]; then not_ok "tree $tree prints its path, and only that" "found: $path" "$(tail -n 5 "$tmp/log")"; continue; fi
	ok "tree $tree prints its path, and only that"
	expect "status of tree $tree: fixed" 0 '^fixed: ' "$top/snplab" status "$path"
	# One line of sev.c, in the tree: an incremental build and a verdict that follows the edit.
	if [ "$tree" = 6.12.y ]; then
		expect "run --tree DIR: the work tree passes" 0 '^PASS: ' "$top/snplab" run --tree "$path" --test kunit
		sed -i '/^static int snp_launch_update_vmsa/,/^}/s/kvm_unlock_all_vcpus(kvm);/;/' "$path/arch/x86/kvm/svm/sev.c"
		expect 'and is leaking with the unlock taken out' 1 '^leaking: ' "$top/snplab" status "$path"
		t0=$(date +%s%N)
		expect 'and run --tree DIR says so' 1 '^FAIL: ' "$top/snplab" run --tree "$path" --test kunit
		echo "# $((($(date +%s%N) - t0) / 1000000)) ms from the edited line to the verdict"
		is=$(git -C "$path" status --porcelain --ignored)
		if [ "$is" = ' M arch/x86/kvm/svm/sev.c' ]; then ok 'without a file written into the work tree'; else
			not_ok 'without a file written into the work tree' "expected sev.c to be all that git sees, found: $is"; fi
		# An editor's backup moved back: an old time stamp on what is new to the build.
		git -C "$path" show HEAD:arch/x86/kvm/svm/sev.c >"$path/arch/x86/kvm/svm/sev.c"
		touch -d '2020-01-01' "$path/arch/x86/kvm/svm/sev.c"
		expect 'and passes again with the old file, old time stamp and all' 0 '^PASS: ' "$top/snplab" run --tree "$path" --test kunit
	fi
	rm -rf "${tmp:?}/$tree"
done
finish
