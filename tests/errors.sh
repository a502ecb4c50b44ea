#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Bad input, no network, a full disk, a missing program: the exit status, what was expected and found,
# and a hint; and nothing half-done is left behind.
# shellcheck disable=SC2016  # expanded later, by an inner shell
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
cd "$tmp" || exit
s=$top/snplab

expect 'no verb: usage' 2 '^usage: ./snplab VERB' "$s"
expect '--help' 0 '^usage: ./snplab VERB' "$s" --help
expect 'an unknown verb' 2 "no such verb: 'frobnicate'" "$s" frobnicate
for v in run check status mutants shell bench guest host hw tree refresh mail; do expect "$v --help" 0 "^usage: ./snplab $v" "$s" $v --help; done
expect 'run: an unknown option' 2 'run has no option --frob' "$s" run --frob x
expect 'run: an option without its value' 2 '--tree wants a value' "$s" run --tree
expect 'run: an unknown tree names the known ones' 2 "expected 6\.12\.y, mainline or a directory, found '5\.4\.y'" "$s" run --tree 5.4.y
expect 'run: a directory that is no kernel' 3 'is no kernel source tree: expected a Makefile' "$s" run --tree "$tmp"
expect 'run: --linux that is no kernel' 3 'is no kernel source tree' "$s" run --linux "$tmp"
expect 'run: --linux that is not there' 2 'no such directory' "$s" run --linux "$tmp/no"
expect 'run: --qemu that is not there' 2 '--qemu: no such directory' "$s" run --qemu "$tmp/no"
expect 'run: --qemu that is no QEMU' 3 'is no QEMU source tree: expected a VERSION' "$s" run --qemu "$tmp"
expect 'host: what it can print' 2 "--print wants line, binary, args or kunit, found 'x'" "$s" host --print x
expect 'host: an argument' 2 "host takes no argument: 'x'" "$s" host x
expect 'host --dry-run prints the build and the line' 0 'ninja .*qemu-system-x86_64$' "$s" host --dry-run
expect 'a QEMU that is not there' 3 'SNPLAB_QEMU: expected a QEMU that can be executed, found /nope' env SNPLAB_QEMU=/nope "$s" run --dry-run
mkdir -p "$tmp/q/include/qemu"
echo 10.0.99 >"$tmp/q/VERSION"
touch "$tmp/q/include/qemu/osdep.h"
expect 'two of them' 2 'give one of them' env SNPLAB_QEMU=/bin/true "$s" host --qemu "$tmp/q"
expect 'host: a QEMU that is no SNP host' 3 'expected .*/true to be an SNP host, found no ' env SNPLAB_QEMU=/bin/true "$s" host
expect 'run: a glob that matches no test names the tests' 2 'there are: kunit sev_snp_launch_test' "$s" run --test 'zz*'
expect 'run: a time-out that is no number' 2 "--timeout wants seconds, found 'soon'" "$s" run --timeout soon
expect 'run: a patch that is not there' 2 '--patch: no such file' "$s" run --patch no.patch
expect 'run: a JSON file that cannot be written' 2 '--json: cannot write' "$s" run --json no/such/file
expect 'run: an argument' 2 "run takes no argument: 'mainline'" "$s" run mainline
expect 'run: an option is no value' 2 '--json wants a value' "$s" run --json --dry-run
check 'and no file is made of it' test ! -e ./--dry-run
expect 'HOME and XDG_CACHE_HOME unset' 3 "the cache cannot be in '/.cache/snplab'" env -u HOME -u XDG_CACHE_HOME "$s" run
expect 'a cache folder with a space' 3 'without spaces' env XDG_CACHE_HOME="$tmp/a b" "$s" run
check 'a reader that goes away ends no run' bash -c 'trap "" PIPE; set -o pipefail; "$0" run --dry-run --tree 6.12.y | head -n 1' "$s"
expect 'hw: an argument' 2 "hw takes no argument: 'x'" "$s" hw x
expect 'hw: a binary that is not there' 2 '--binary: no such file: /nope' "$s" hw --binary /nope
expect 'hw: a time-out that is no number' 2 "--timeout wants seconds, found 'soon'" "$s" hw --timeout soon
expect 'run: an option of hw' 2 'run has no option --force' "$s" run --force
expect 'hw --dry-run prints the checks, the build and the run' 0 'lab/hw.sh --brief --binary .*/sev_snp_launch_test.?$' "$s" hw --dry-run
expect 'hw.sh without anything' 2 'what is to be run\? expected --binary FILE, or --check' sh "$top/lab/hw.sh"
expect 'hw.sh: an unknown option' 2 'hw has no option --frob' sh "$top/lab/hw.sh" --frob
expect 'hw.sh: an option without its value' 2 '--binary wants a value' sh "$top/lab/hw.sh" --binary
expect 'check: a second glob' 2 "found a second: 'b'" "$s" check a b
expect 'check: a glob that matches nothing' 2 "no test matches 'zz'" "$s" check zz
expect 'status: no directory given' 2 . "$s" status
expect 'status: a directory that is not there' 2 . "$s" status "$tmp/no"
expect 'status: a directory that is no kernel' 3 . "$s" status "$tmp"
expect 'mutants: a name that no mutant has' 2 "no mutant matches 'no-such'" "$s" mutants 'leak-*' no-such
expect 'mutants: an unknown tree' 2 "no such tree: expected 6\.12\.y, mainline, found '5\.4\.y'" "$s" mutants --tree 5.4.y
# Of a guest: what was expected and found, and a hint, before anything is fetched or built.
guest_refused() { # DESCRIPTION STATUS PATTERN ARGUMENT...
	local text=$1 want=$2 pattern=$3 output status=0
	shift 3
	output=$(env XDG_CACHE_HOME="$tmp/guest-cache" "${guest_env[@]}" "$s" guest "$@" 2>&1 </dev/null) || status=$?
	if [ $status -eq "$want" ] && grep -qE -- "^snplab: .*$pattern" <<<"$output" && grep -q '^        hint: .' <<<"$output" && [ "$(wc -l <<<"$output")" -eq 2 ]; then
		ok "guest: $text"
	else
		not_ok "guest: $text" "expected status $want, a line like: $pattern, and a hint; found status $status:" "$output"
	fi
}
guest_env=()
for n in 0 17 x '' -1 2.5 1000000; do guest_refused "--smp '$n'" 2 "--smp wants a number from 1 to 16, found '$n'$" --smp "$n"; done
for n in 255 2049 512M; do guest_refused "--memory $n" 2 "--memory wants a number from 256 to 2048, found '$n'$" --memory "$n"; done
for n in 0 10001 many; do guest_refused "--boots $n" 2 "--boots wants a number from 1 to 10000, found '$n'$" --boots "$n"; done
for n in 0 soon; do guest_refused "--timeout $n" 2 "--timeout wants seconds, found '$n'$" --timeout "$n"; done
guest_refused 'a time-out in which nothing boots' 2 "--timeout wants 30 seconds at least, found '29'$" --timeout 29
guest_refused 'a kernel that is not there' 2 '--kernel: no such file: no/kernel$' --kernel no/kernel
guest_refused 'a kernel that is none' 2 '--kernel: expected a bzImage that can be read, found none in .*/README.md$' --kernel "$top/README.md"
guest_refused 'a command line of two lines' 2 '--append: expected one line, found several$' --append a$'\n'b
guest_refused 'no value' 2 '--append wants a value$' --append
guest_refused 'an unknown tree' 2 "no such tree: expected 6\.12\.y, mainline, debian or a directory, found 'nonsense'$" --tree nonsense
guest_refused 'an argument' 2 "guest takes no argument: 'mainline'$" mainline
guest_refused 'an option of another verb' 2 'guest has no option --selftests$' --selftests "$tmp"
guest_refused 'a package and a patch' 2 '--tree debian is a package as it is: it goes with neither --patch nor --linux$' --tree debian --patch "$top/tests/mutants/linux-6.12.y/no-lock.patch"
guest_refused 'a package, and lockdep' 2 'it does not go with --without-lockdep$' --tree debian --without-lockdep
guest_env=(SNPLAB_QEMU=/bin/true)
guest_refused 'on a QEMU that is no SNP host' 4 '/bin/true has no emulated SNP host: nothing can be launched$' --check
guest_env=()
mkdir "$tmp/k"
printf 'VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 1\n' >"$tmp/k/Makefile"
touch "$tmp/k/Kbuild"
guest_refused 'a package and a source' 2 'it goes with neither --patch nor --linux$' --tree debian --linux "$tmp/k"
check 'guest: and nothing has been fetched or built' test ! -e "$tmp/guest-cache"
expect 'guest --dry-run prints the packages' 0 "apt-get download 'ovmf-amdsev linux-image" "$s" guest --dry-run
expect 'guest --dry-run prints the QEMU line' 0 '-machine q35,amd-snp-host=on .*snplab\.tests=snp_guest' "$s" guest --tree debian --dry-run
check 'guest --dry-run says nothing else' bash -c '[ -z "$(XDG_CACHE_HOME=$1/none "$0" guest --tree debian --dry-run 2>&1 >/dev/null)" ] && [ ! -e "$1/none" ]' "$s" "$tmp"
expect 'mutants: --linux is for one tree' 2 'it goes with --tree' "$s" mutants --linux "$tmp/k"
expect 'mutants --dry-run prints a patch for each' 0 'patch .*/linux-6\.12\.y/leak-on-success\.patch$' "$s" mutants --dry-run leak-on-success
expect 'mutants --dry-run prints the QEMU line' 0 'snplab\.tests=kunit,sev_snp_launch_test' "$s" mutants --dry-run --tree mainline leak-on-success
expect 'tree: no tree given' 2 'which tree\? expected 6\.12\.y, mainline' "$s" tree
expect 'refresh: an unknown tree' 2 'no such tree' "$s" refresh 5.4.y
expect 'mail: an unknown tree' 2 'no such tree' "$s" mail 5.4.y
expect 'shell without a terminal' 2 'shell wants a terminal' "$s" shell </dev/null
expect 'run --dry-run prints the QEMU build' 0 '^ *env -C .* ninja .*qemu-system-x86_64$' "$s" run --dry-run
expect 'run --dry-run prints the QEMU line' 0 '/bin/qemu-system-x86_64.* -machine q35,amd-snp-host=on .*-append ' "$s" run --dry-run
expect 'with a QEMU that is no SNP host, that is said' 0 '/bin/true has no emulated SNP host: what needs one will be skipped' env SNPLAB_QEMU=/bin/true "$s" run --dry-run
check 'run --dry-run leaves no cache behind' env XDG_CACHE_HOME="$tmp/none" bash -c '"$0" run --dry-run >/dev/null; [ ! -e "$XDG_CACHE_HOME" ]' "$s"

# No network: a proxy that nobody listens at. Port 9 of the loopback is discard's, and closed.
# (In the environment, and for a machine whose apt has a proxy of its own, in apt's configuration.)
printf 'Acquire::%s::Proxy "http://127.0.0.1:9";\n' http https >apt.conf
offline=(env http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 APT_CONFIG="$tmp/apt.conf")
expect 'no network and nothing cached' 3 'no package lists could be read: the network or the mirror' \
	"${offline[@]}" XDG_CACHE_HOME="$tmp/offline" "$s" run --json "$tmp/offline.json"
expect 'no network and nothing cached: no option stands for a guest'"'"'s packages' 3 'hint: without a network: copy .*/snplab/base from a machine that has them' \
	"${offline[@]}" XDG_CACHE_HOME="$tmp/offline" "$s" guest --tree debian
check 'with a JSON that says so' python3 -c "import json; d = json.load(open('$tmp/offline.json')); assert (d['verdict'], d['exit']) == ('setup-failed', 3), d"
check 'and no half-made base' test -z "$(find "$tmp/offline/snplab/base" -mindepth 1 2>/dev/null)"

# A tree that the series is not for, with no network to look for a newer one: what is there is used,
# and the patch that does not apply is named.
base=$tmp/stale/snplab/base
mkdir -p "$base/linux-source-6.12_6.12.999/kernel/locking" "$base/linux-source-6.12_6.12.999/include/linux"
printf 'VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 999\n' >"$base/linux-source-6.12_6.12.999/Makefile"
touch "$base/linux-source-6.12_6.12.999/Kbuild" "$base/linux-source-6.12_6.12.999/include/linux/mutex.h"
echo linux-source-6.12_6.12.999 >"$base/6.12.y.newest"
touch -d '3 days ago' "$base/6.12.y.newest"
expect 'no network but a cached kernel: goes on' 3 'no network: going on with linux-source-6.12_6.12.999' \
	"${offline[@]}" XDG_CACHE_HOME="$tmp/stale" "$s" run
expect 'a series that does not apply: the patch is named' 3 \
	'series/linux-6.12.y/.*\.patch does not apply to linux 6\.12\.999' "${offline[@]}" XDG_CACHE_HOME="$tmp/stale" "$s" run
check 'and no tree is left half-patched' test ! -e "$tmp/stale/snplab/work/6.12.y/src"

# A program that no package brings: in a copy of the repository whose list asks for one.
mkdir copy && (cd "$top" && git ls-files -z --cached --others --exclude-standard | tar -c --null -T - --ignore-failed-read 2>/dev/null) | tar -x -C copy
# Each option is in its verb's --help, is parsed if it has a value, and asked for if not: none is ignored.
# shellcheck disable=SC2317  # the next one does
options_of() { sed -n "s/^\t$1) echo \(.*\) ;;$/\1/p" "$top/snplab"; }
# shellcheck disable=SC2317  # check calls it
known_options() {
	local help o n=0
	help=$("$s" "$1" --help) || return
	for o in $(options_of "$1"); do
		n=$((n + 1))
		grep -qE -- "(^|[^-a-z])${o%=}($|[^-a-z])" <<<"$help" || { echo "expected ${o%=} in the help, found it not"; return 1; }
		case $o in
		*=) grep -qE "^[[:space:]]+${o%=}\)" "$top/snplab" || { echo "expected the parser to know $o"; return 1; } ;;
		*) grep -qE "given $o( |;|\))" -r "$top/snplab" "$top/lab" || { echo "expected somebody to ask whether $o is given"; return 1; } ;;
		esac
	done
	[ "$n" -gt 0 ]
}
for v in run shell mutants guest bench host hw tree mail; do check "$v: its options are known" known_options $v; done
cp copy/snplab frob
sed -i 's/^\trun) echo /&--frob= /' copy/snplab
expect 'an option that nobody has written is no option' 3 'options_of run has --frob, and nothing here knows what it sets' copy/snplab run --frob x
mv frob copy/snplab
# With libraries it is of no use in an initrd: Debian's busybox is not busybox-static.
printf 'x\tstatic:%s\tpackage-of-%s\n' ls ls busybox busybox no-such no-such >copy/static.list
check 'a program with libraries is none without' test "$(mv copy/static.list copy/lab/static.list && sed 's,/deps\.list,/static.list,' copy/lab/deps.sh >copy/deps.sh &&
	lab=copy/lab bash -c '. copy/deps.sh; missing x')" = $'static:ls\tpackage-of-ls\nstatic:no-such\tpackage-of-no-such'
printf 'build\tno-such-program\tno-such-package-at-all\n' >>copy/lab/deps.list
expect 'a program that cannot be installed is named' 3 'no-such-p(rogram|ackage)' env XDG_CACHE_HOME="$tmp/deps" copy/snplab run

# A read-only cache, a full disk.
if [ "$(id -u)" -eq 0 ] && mkdir full && mount -t tmpfs -o size=20m none full 2>/dev/null; then
	trap 'umount "$tmp/full" 2>/dev/null; rm -rf "$tmp"' EXIT
	expect 'a disk too small for the package lists' 3 'reading the package lists needs 300 MiB in .*, [0-9]+ MiB are free' env XDG_CACHE_HOME="$tmp/full" "$s" run
	mount -o remount,size=700m full
	expect 'a disk too small for a kernel is refused before the download' 3 'needs 6000 MiB in .*, [0-9]+ MiB are free' \
		env XDG_CACHE_HOME="$tmp/full" "$s" run
	check 'and holds nothing half-unpacked' test -z "$(find full/snplab/base -mindepth 1)"
	mount -o remount,ro full
	expect 'a cache that cannot be written' 3 'cannot create|Read-only' env XDG_CACHE_HOME="$tmp/full/sub" "$s" run
	umount full
else
	skip 'a full disk' 'needs root and mount(2)'
fi
finish
