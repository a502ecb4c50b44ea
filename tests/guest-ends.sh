#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# How `guest` ends when its boot does not: with a script in place of the emulated host. The right exit status, the same in
# the JSON, and hundreds of MB less than while it ran.
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
cd "$tmp" || exit
# The packages are the cache's; the folders of these runs are their own.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/snplab
mkdir -p "$cache"/{base,apt,locks} c/snplab
for d in base apt locks; do ln -s "$cache/$d" c/snplab/; done

# A QEMU by turns as $SNPLAB_TURNS says, a letter for each boot: e ends at once with an error, p powers off, s sleeps.
cat >qemu <<'END'
#!/usr/bin/env python3
import json, os, re, socket, sys, time
said = " ".join(sys.argv[1:])
if said == "-machine q35,help":
    sys.exit(print("  amd-snp-host=<bool>"))
if said == "-device help":
    sys.exit(print('name "amd-psp"'))
if said == "--version":
    sys.exit(print("QEMU emulator version 10.0.99"))
with open(os.environ["SNPLAB_BOOTED"], "a+") as f:
    f.write("x")
    n = f.tell()
turn = os.environ["SNPLAB_TURNS"][n - 1]
if turn == "e":
    sys.exit("qemu: no such thing")
if turn == "s":
    time.sleep(60)
s = socket.socket(fileno=int(re.findall(r"id=snplab-qmp,fd=(\d+)", said)[0]))
def say(m):
    s.sendall(json.dumps(m).encode() + b"\n")
say({"QMP": {}})
for line in s.makefile():
    command = json.loads(line)["execute"]
    say({"return": []})
    if command == "cont":
        say({"event": "SHUTDOWN", "data": {"reason": "guest-shutdown"}})
    if command == "quit":
        sys.exit(0)
END
chmod +x qemu
export XDG_CACHE_HOME=$tmp/c SNPLAB_QEMU=$tmp/qemu SNPLAB_BOOTED=$tmp/booted
# by_turns TURNS COMMAND...
# shellcheck disable=SC2317  # expect calls it
by_turns() { : >booted; SNPLAB_TURNS=$1 "${@:2}"; }
json() { check "$1" python3 -c "import json; d = json.load(open('json')); assert (d['verdict'], d['exit']) == $2, (d['verdict'], d['exit'])"; }
booted() { check "$1" test "$(wc -c <booted)" = "$2"; }
# What is larger than 4 MB, or a folder of its own.
dropped() {
	check "$1: it had a folder" test -n "$(find c/snplab/runs -name '*-guest-*')"
	check "$1: nothing that was booted is left" test -z "$(find c/snplab/runs -size +4M -o -name guest -o -name host -o -name '.root.*')"
	rm -rf c/snplab/runs
}
guest=("$top/snplab" guest --tree debian)

expect 'a boot that fails, and a QEMU that does' 3 'QEMU ended with status 1' by_turns pe "${guest[@]}" --boots 2 --json json
booted 'both were booted' 2
json 'a boot that fails, and a QEMU that does: the JSON is not that of the first boot' "('setup-failed', 3)"
dropped 'a QEMU that fails'
expect 'two boots that fail' 1 '^FAIL: 0 of 2 boots' by_turns pp "${guest[@]}" --boots 2 --json json
json 'two boots that fail: in the JSON' "('fail', 1)"
dropped 'boots that fail'

# As a terminal interrupts: see tests/interrupt.sh. In its second boot.
: >booted
SNPLAB_TURNS='ps' python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.setsid()
os.execvp(sys.argv[1], sys.argv[1:])' "${guest[@]}" --boots 2 --json json >log 2>&1 &
session=$!
for ((i = 0; i < 1200; i++)); do
	[ "$(cat booted)" != xx ] || break
	kill -0 $session 2>/dev/null || break
	sleep 0.1
done
kill -INT -- -$session
status=0
wait $session || status=$?
check 'interrupted in a boot: exit status 130' test $status -eq 130
booted 'interrupted in its second boot' 2
json 'interrupted: in the JSON' "('interrupted', 130)"
left=0
pgrep -s $session >left || left=$?
if [ $left -eq 1 ]; then ok 'interrupted: nobody is left'; else not_ok 'interrupted: nobody is left' "pgrep: status $left" "$(cat left)"; fi
dropped 'interrupted'

on_terminal=(python3 -c 'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))' "${guest[@]}")
expect 'on a terminal, a QEMU that fails is said' 1 'snplab: the guest did not end by itself, or QEMU failed' by_turns e "${on_terminal[@]}"
booted 'on a terminal: it was booted' 1
dropped 'on a terminal'
expect 'on a terminal, nobody is thrown out after the ten minutes of a test' 0 'snplab\.timeout=1000000' "${on_terminal[@]}" --dry-run
finish
