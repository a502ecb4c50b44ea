#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# The emulated host's build: what other tools get of it; an edit rebuilds what it must and nothing else;
# what does not fit QEMU's source is named; the same source is the same binary.
# shellcheck disable=SC2016,SC2317  # inner shells; functions that check calls
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab.sh
. "$(dirname "$0")/lab.sh"
cd "$tmp" || exit

expect 'host prints a line that can be run' 0 '^/.*/bin/qemu-system-x86_64 -accel tcg,thread=multi -machine q35,amd-snp-host=on -cpu ' "$top/snplab" host
line=$("$top/snplab" host 2>/dev/null)
# Not started (-S) and told to quit: that it takes all its arguments is what is asked.
check 'and QEMU takes it' bash -c "echo quit | timeout 60 $line -S -nodefaults -display none -monitor stdio"
binary=$("$top/snplab" host --print binary 2>/dev/null)
check 'the binary, for vng' test -x "$binary"
check 'a file for kunit.py' bash -c '"$0" host --print kunit 2>/dev/null | python3 -c "import ast, sys; ast.parse(sys.stdin.read())"' "$top/snplab"
before=$(sha256sum <"$binary")

# Another clone, with an edit.
mkdir copy
cp -a "$top"/{snplab,lab,series,host} copy/
compiled() { grep -c '^\[[0-9]*/[0-9]*\] Compiling C object' "$(find "$cache/runs" -maxdepth 1 -name '*-host-*' -newer mark | sort | tail -n 1)/log"; }
build() { touch mark; sleep 1; "$1/snplab" host --print binary; }

check 'an unchanged clone builds' build copy
n=$(compiled)
if [ "$n" -eq 0 ]; then ok 'and compiles nothing'; else not_ok 'and compiles nothing' "found $n"; fi
echo '/* a comment */' >>copy/host/qemu/hw/misc/amd-psp.c
check 'an edited file builds' build copy
n=$(compiled)
if [ "$n" -eq 1 ]; then ok 'and is all that is compiled'; else not_ok 'and is all that is compiled' "found $n"; fi
cp "$(qemu_source)/VERSION" copy/host/qemu/
expect 'a new file that QEMU has' 3 '^snplab: host/qemu/VERSION is in QEMU 10\.0\.[0-9]+ already' copy/snplab host
rm copy/host/qemu/VERSION
printf '%s\n' '--- a/VERSION' '+++ b/VERSION' '@@ -1 +1 @@' '-9.9.9' '+9.9.10' >copy/host/patches/9999-no.patch
expect 'a patch that does not apply' 3 '^snplab: host/patches/9999-no.patch does not apply to QEMU 10\.0\.' copy/snplab host
rm copy/host/patches/9999-no.patch
echo 'int broken' >>copy/host/qemu/hw/misc/amd-psp.c
expect 'a file that does not compile' 3 'the emulated host does not build' copy/snplab host
check 'the binary that was there still is' test -x "$binary"
check 'back to what it was' build "$top"
if [ "$(sha256sum <"$binary")" = "$before" ]; then ok 'and the same binary'; else not_ok 'and the same binary' "another sum"; fi

# A source tree of the user's: a copy is built, what is there is left alone.
cp -a --reflink=auto "$(qemu_source)" qemu
manifest() { (cd qemu && find . -printf '%P %T@ %s\n' | sort | sha256sum); }
had=$(manifest)
check '--qemu DIR' "$top/snplab" host --qemu qemu
if [ "$(manifest)" = "$had" ]; then ok 'nothing is written into it'; else not_ok 'nothing is written into it' 'names, times or sizes have changed'; fi
rm -rf "$cache/work/qemu-qemu-$(printf %s "$tmp/qemu" | sha256sum | cut -c1-8)"
finish
