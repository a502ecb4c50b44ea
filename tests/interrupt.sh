#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Ctrl-C in the middle of a download and of a build: nothing goes on running, nothing half-made counts
# as made, and the next run works.
# shellcheck disable=SC2016  # expanded later, by an inner shell
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
cd "$tmp" || exit
fresh=$tmp/cache/snplab
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
	session=$!
	for ((i = 0; i < 3000; i++)); do
		! eval "$1" >/dev/null 2>&1 || break
		kill -0 $session 2>/dev/null || break
		sleep 0.1
	done
	began=$SECONDS
	kill -INT -- -$session
	status=0
	wait $session || status=$?
	took=$((SECONDS - began))
}

judge() {
	if [ $status -eq 130 ]; then ok "$1: exit status 130"; else not_ok "$1: exit status 130" "found $status" "$(tail -n 15 "$tmp/log")"; fi
	if [ $took -le 5 ]; then ok "$1: at once"; else not_ok "$1: at once" "took $took s"; fi
	check "$1: says so" grep -q 'interrupted' "$tmp/log"
	if left=$(pgrep -a -s $session); then not_ok "$1: nothing goes on running" "$left"; else ok "$1: nothing goes on running"; fi
	# A process group that left the session would still work in the cache.
	if left=$(pgrep -af "$tmp/cache"); then not_ok "$1: nobody works in the cache" "$left"; else ok "$1: nobody works in the cache"; fi
}

interrupted 'ls -d "$fresh"/base/.linux-source-6.12*'
judge 'in the middle of a download'
check 'no base has got its name' test -z "$(find "$fresh/base" -mindepth 1 -maxdepth 1 -not -name '.*' 2>/dev/null)"
interrupted 'ls "$fresh"/base/.linux-source-6.12*/linux-source-6.12/kernel'
judge 'in the middle of unpacking'
check 'no base has got its name' test -z "$(find "$fresh/base" -mindepth 1 -maxdepth 1 -not -name '.*' 2>/dev/null)"
interrupted 'ls "$fresh"/work/6.12.y/src/obj/kernel/*.o'
judge 'in the middle of a build'
expect 'the next run works' 0 '^PASS: ' env XDG_CACHE_HOME="$tmp/cache" "$top/snplab" run --test kunit
check 'and has cleared what the first left' test -z "$(find "$fresh/base" -mindepth 1 -maxdepth 1 -name '.*')"
finish
