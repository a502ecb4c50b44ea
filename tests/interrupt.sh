#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Ctrl-C in the middle of a download and of a build: nothing goes on running, nothing half-made counts
# as made, and the next run works.
# shellcheck disable=SC2016  # expanded later, by an inner shell
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
# shellcheck source=tests/lab.sh
. "$(dirname "$0")/lab.sh"
cd "$tmp" || exit
fresh=$tmp/cache/snplab mounted=
mkdir "$tmp/cache"
# In memory, all of it: only where there is plenty.
memory=$(awk '$1 == "MemAvailable:" { print int($2 / 1048576) }' /proc/meminfo)
if [ "$(id -u)" -eq 0 ] && [ "$memory" -ge 12 ] && mount -t tmpfs -o size=7g none "$tmp/cache" 2>/dev/null; then
	mounted=1
	trap 'umount "$tmp/cache"; rm -rf "$tmp"' EXIT
fi
mkdir -p "$fresh" "$cache/ccache"
# What has been compiled before need not be again: the time is the interrupts', not the compiler's.
ln -s "$cache/ccache" "$fresh/ccache"

# interrupted WHEN COMMAND: starts a run in a session of its own, waits until the command WHEN succeeds,
# interrupts it as a terminal would (SIGINT to its foreground process group), leaves its status in $status.
interrupted() {
	local i
	# Not "&" alone: a shell without job control starts that with SIGINT ignored.
	python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.setsid()
os.execvp(sys.argv[1], sys.argv[1:])' env XDG_CACHE_HOME="$tmp/cache" "$top/snplab" run --test kunit >"$tmp/log" 2>&1 &
	session=$! reached=
	for ((i = 0; i < 3000; i++)); do
		if eval "$1" >/dev/null 2>&1; then reached=1; break; fi
		kill -0 $session 2>/dev/null || break
		sleep 0.1
	done
	began=$SECONDS
	kill -INT -- -$session
	# Whoever is in a hurry presses it twice.
	sleep 0.3
	kill -INT -- -$session 2>/dev/null
	status=0
	wait $session || status=$?
	took=$((SECONDS - began))
}

nobody() { # DESCRIPTION PGREP-ARGUMENT...
	local left rc=0
	left=$(pgrep -a "${@:2}") || rc=$?
	if [ $rc -eq 1 ]; then ok "$1"; else not_ok "$1" "pgrep: status $rc" "$left"; fi
}

judge() {
	if [ -n "$reached" ]; then ok "$1: was reached"; else not_ok "$1: was reached" "$(tail -n 15 "$tmp/log")"; fi
	if [ $status -eq 130 ]; then ok "$1: exit status 130"; else not_ok "$1: exit status 130" "found $status" "$(tail -n 15 "$tmp/log")"; fi
	if [ $took -le 5 ]; then ok "$1: at once"; else not_ok "$1: at once" "took $took s"; fi
	check "$1: says so" grep -q 'interrupted' "$tmp/log"
	nobody "$1: nothing goes on running" -s $session
	# A process group that left the session would still work in the cache.
	nobody "$1: nobody works in the cache" -f "$tmp/cache"
}

interrupted 'ls -d "$fresh"/base/.linux-source-6.12*'
judge 'in the middle of a download'
check 'no base has got its name' test -z "$(find "$fresh/base" -mindepth 1 -maxdepth 1 -not -name '.*' 2>/dev/null)"
interrupted 'ls "$fresh/base"/.linux-source-6.12*/linux-source-6.12/kernel'
judge 'in the middle of unpacking'
check 'no base has got its name' test -z "$(find "$fresh/base" -mindepth 1 -maxdepth 1 -not -name '.*' 2>/dev/null)"
interrupted 'ls "$fresh/work/6.12.y"/src/obj/kernel/*.o'
judge 'in the middle of a build'
# A disk that fills up in the middle of a build: said, and after there is room again the next run works.
if [ -n "$mounted" ]; then
	env XDG_CACHE_HOME="$tmp/cache" "$top/snplab" run --test kunit >"$tmp/log" 2>&1 &
	pid=$!
	for ((i = 0; i < 1200; i++)); do
		if ls "$fresh/work/6.12.y"/src/obj/mm/*.o >/dev/null 2>&1; then break; fi
		sleep 0.1
	done
	# Not fallocate: the build goes on meanwhile, and it is all or nothing.
	dd if=/dev/zero of="$tmp/cache/filler" bs=1M status=none 2>/dev/null
	status=0
	wait $pid || status=$?
	if [ $status -eq 3 ]; then ok 'a disk that fills up during a build: exit status 3'; else not_ok 'a disk that fills up during a build: exit status 3' "found $status" "$(tail -n 15 "$tmp/log")"; fi
	check 'and said to be full' grep -qE 'no space left in .*: [0-9]+ MiB are free' "$tmp/log"
	rm -f "$tmp/cache/filler"
else
	skip 'a disk that fills up during a build' 'needs root, mount(2) and 12 GiB of memory'
fi
expect 'the next run works' 0 '^PASS: ' env XDG_CACHE_HOME="$tmp/cache" "$top/snplab" run --test kunit
check 'and has cleared what the first left' test -z "$(find "$fresh/base" -mindepth 1 -maxdepth 1 -name '.*')"
finish
