#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The emulated secure processor alone: QEMU's qtest of it, on the lab's own build. Each command's success
# and each refusal, buffers that are malformed, launch digests, signatures, failures on demand.
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab.sh
. "$(dirname "$0")/lab.sh"
# shellcheck source=tests/host-tap.sh
. "$(dirname "$0")/host-tap.sh"

binary=$("$top/snplab" host --print binary 2>"$tmp/err")
check 'the emulated host is built' test -x "$binary"
check 'its qtest is built' lab_quietly build_host_tests

each_case 'amd-psp-test ends well' env QTEST_QEMU_BINARY="$binary" timeout -k 5 300 "$(qemu_work)/src/build/tests/qtest/amd-psp-test"

check 'with cryptography: it is built with GnuTLS' grep -q '^ok .*/amd-psp/snp/id-block' "$tmp/said"

# The digests that it expects are computed a second time, by other code.
check 'launch digests, computed in Python, are those that the qtest has' \
	python3 "$top/host/tests/launch-digest.py" "$top/host/qemu/tests/qtest/amd-psp-test.c"
finish
