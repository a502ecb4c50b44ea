#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The mainline series' KUnit suite runs the way a kernel developer runs it: kunit.py, in the patched
# tree, everything built in, whatever CPU kunit.py's QEMU has; and on the emulated host.
# shellcheck disable=SC2016  # an inner shell
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab.sh
. "$(dirname "$0")/lab.sh"

base=$(lab_base mainline) || { not_ok 'a base' "$base"; finish; }
mapfile -t patches < <(list_series "$top/series/mainline")
work=$cache/work/kunit-py
mkdir -p "$work"
check 'a tree with the series' lab_quietly overlay "$base" "$work" "${patches[@]}"
cd "$work/src" || finish
# kunit.py, as root, first tries /dev/kvm, which can be there and of no use: TCG alone runs anywhere.
mkdir "$tmp/bin"
cat >"$tmp/bin/qemu-system-x86_64" <<EOF
#!/bin/bash
args=()
for a; do case \$a in kvm | hvf) a=tcg ;; esac; args+=("\$a"); done
exec $(command -v qemu-system-x86_64) "\${args[@]}"
EOF
chmod +x "$tmp/bin/qemu-system-x86_64"
PATH=$tmp/bin:$PATH
export CCACHE_DIR=$cache/ccache CCACHE_BASEDIR=$cache
if python3 tools/testing/kunit/kunit.py run --arch x86_64 --kunitconfig arch/x86/kvm/svm/tests \
	--build_dir "$work/src/obj" --make_options CC='ccache gcc' --jobs "$(nproc)" \
	--kernel_args no_timer_check >"$tmp/log" 2>&1
then
	ok 'kunit.py run --arch x86_64 --kunitconfig arch/x86/kvm/svm/tests'
else
	not_ok 'kunit.py run --arch x86_64 --kunitconfig arch/x86/kvm/svm/tests' "$(tail -n 30 "$tmp/log")"
fi
check 'it ran the suite' grep -q 'kvm_sev_snp_launch_finish' "$tmp/log"
check 'all of it passed' grep -qE 'Testing complete\. Ran [1-9][0-9]* tests: passed: [0-9]+(, skipped: [0-9]+)?$' "$tmp/log"
grep -E 'Testing complete' "$tmp/log" | sed 's/^/# /'
# The same kernel on the emulated host, as docs/using-the-host.md has it.
"$top/snplab" host --print kunit >"$tmp/host.py" 2>"$tmp/err" || not_ok 'host --print kunit' "$(cat "$tmp/err")"
binary=$("$top/snplab" host --print binary 2>/dev/null)
PATH=$(dirname "$binary"):$PATH
check 'kunit.py exec --qemu_config on the emulated host' bash -o pipefail -c '"$@" | tee "$0"' "$tmp/host.log" \
	timeout 300 python3 tools/testing/kunit/kunit.py exec --arch x86_64 --qemu_config "$tmp/host.py" --build_dir "$work/src/obj"
check 'it was that machine' grep -q -- '-machine q35,amd-snp-host=on' "$tmp/host.log"
check 'all of it passed there, too' grep -qE 'Testing complete\. Ran [1-9][0-9]* tests: passed: [0-9]+(, skipped: [0-9]+)?$' "$tmp/host.log"
cd "$top" && rm -rf "$work"
finish
