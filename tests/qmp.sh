#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# However a guest and its QEMU end, the lab learns of it in bounded time, with what the emulated host has
# counted where that can be had, and leaves no QEMU behind.
# shellcheck disable=SC2317  # functions that check calls
set -uo pipefail
# shellcheck source=tests/tap.sh
. "$(dirname "$0")/tap.sh"
cd "$tmp" || exit

# A QEMU that does what its first argument says.
cat >fake <<'EOF'
#!/usr/bin/env python3
import json, os, re, signal, socket, sys, time
how, arguments = sys.argv[1], sys.argv[2:]
open("pid", "w").write(str(os.getpid()))
assert arguments[:2] == ["-m", "1G"] and "-S" in arguments and arguments[arguments.index("-action") + 1] == "shutdown=pause"
fd = int(re.search(r"fd=(\d+)", " ".join(arguments)).group(1))
s = socket.socket(fileno=fd)
if how == "mute":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(300)
if how == "fails":
    sys.exit(7)
if how == "monitor":
    # Two descriptors more: what is written to the port's is read from the monitor's.
    fds = dict(re.findall(r"id=snplab-(\w+),fd=(\d+)", " ".join(arguments)))
    assert "isa-serial,chardev=snplab-port,index=2,irq=5" in arguments and "chardev=snplab-monitor,mode=control" in arguments
    socket.socket(fileno=int(fds["port"])).send(b"x")
    assert socket.socket(fileno=int(fds["monitor"])).recv(10) == b"x"
f = s.makefile("rw")
def send(m):
    f.write(json.dumps(m) + "\r\n")
    f.flush()
send({"QMP": {"version": {}, "capabilities": []}})
values = {"guest-errors": 3, "errors-vmrun": 1, "errors-firmware": 2, "stat-rmpupdate": 40, "type": "x"}
for line in f:
    c = json.loads(line)
    name, a = c["execute"], c["arguments"]
    if name == "qom-list" and (how == "no-object" or a["path"] != "/machine/amd-snp"):
        send({"error": {"class": "DeviceNotFound", "desc": f"Device '{a['path']}' not found"}})
        continue
    result = {}
    if name == "qom-list":
        result = [{"name": n, "type": "uint64"} for n in values if how != "uncounted" or n == "type"]
    if name == "qom-get":
        if how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        send({"event": "RTC_CHANGE", "data": {}, "timestamp": {}})
        result = values[a["property"]]
    send({"return": result})
    if name == "cont":
        if how == "leaves":
            sys.exit(0)
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how not in ("hangs",):
            send({"event": "SHUTDOWN", "data": {"guest": True, "reason": "guest-reset" if how == "panics" else "guest-shutdown"}})
    if name == "quit":
        sys.exit(0)
EOF
chmod +x fake
qmp() { rm -f out.json; python3 "$top/lab/qmp.py" --out out.json --timeout "$1" "${@:2}"; }
said() { python3 -c 'import json, sys; d = json.load(open("out.json")); sys.exit(not eval(sys.argv[1], {"d": d}))' "$1"; }
gone() { if kill -0 "$(cat pid)" 2>/dev/null; then not_ok "$1: no QEMU is left"; else ok "$1: no QEMU is left"; fi; }

expect 'powers off: status 0' 0 '' qmp 20 ./fake ends -m 1G
check 'with all that was counted' said 'd["guest-errors"] == 3 and d["errors"] == {"vmrun": 1, "firmware": 2} and d["statistics"] == {"rmpupdate": 40}'
check 'and how it ended' said '(d["ended"], d["reason"]) == ("shutdown", "guest-shutdown") and "missing" not in d'
gone 'powers off'
expect 'panics and reboots: an end like any other' 0 '' qmp 20 ./fake panics -m 1G
check 'its reason is told' said 'd["reason"] == "guest-reset" and d["guest-errors"] == 3'
expect 'a QEMU without the object: status 0' 0 '' qmp 20 ./fake no-object -m 1G
check 'and what is missing is told' said '"not found" in d["missing"] and d["errors"] == {}'
expect 'an object without a count: status 0' 0 '' qmp 20 ./fake uncounted -m 1G
check 'and told' said '"has no guest-errors" in d["missing"]'
expect 'a monitor for the guest' 0 '' qmp 20 --guest-monitor ./fake monitor -m 1G
check 'with all that was counted' said 'd["guest-errors"] == 3'
expect 'no monitor that was not asked for' 1 'QEMU ended before its guest did' qmp 20 ./fake monitor -m 1G
expect 'QEMU fails at start: its own status' 7 'QEMU ended before its guest did' qmp 20 ./fake fails -m 1G
expect 'QEMU leaves with status 0 before the guest ends: set-up failed' 3 'QEMU ended before its guest did' qmp 20 ./fake leaves -m 1G
expect 'QEMU is killed' 137 'QEMU ended before its guest did' qmp 20 ./fake killed -m 1G
expect 'no program of that name' 3 'no-such: No such file' qmp 20 ./no-such
expect 'QEMU dies while it is asked: the guest had ended' 0 '' qmp 20 ./fake dies -m 1G
check 'and what is missing is told' said '"missing" in d and d["ended"] == "shutdown"'
t0=$SECONDS
expect 'a guest that does not end: timed out' 124 '' qmp 1 ./fake hangs -m 1G
check 'what it has counted so far is told' said 'd["ended"] == "timeout" and d["guest-errors"] == 3'
gone 'a guest that does not end'
expect 'a QEMU that neither answers nor leaves: timed out' 124 '' qmp 1 ./fake mute -m 1G
gone 'a QEMU that neither answers nor leaves'
took=$((SECONDS - t0))
if [ $took -le 25 ]; then ok 'both in bounded time'; else not_ok 'both in bounded time' "took $took s"; fi

rm -f pid
qmp 60 ./fake hangs -m 1G &
waiting=$!
for ((i = 0; i < 300; i++)); do
	if [ -s pid ]; then break; fi
	sleep 0.1
done
# The job is a shell of ours; the Python below it is what gets the signal.
kill -TERM "$(pgrep -P $waiting)"
status=0
wait $waiting || status=$?
if [ $status -eq 143 ]; then ok 'SIGTERM ends it'; else not_ok 'SIGTERM ends it' "found $status"; fi
gone 'SIGTERM'

# The same with a real one.
if command -v qemu-system-x86_64 >/dev/null; then
	expect 'a real QEMU: timed out' 124 '' qmp 2 qemu-system-x86_64 -machine none -display none -nodefaults
	check 'it has answered' said "'amd-snp' in d['missing'] and d['ended'] == 'timeout'"
else
	skip 'a real QEMU' 'no qemu-system-x86_64'
fi
finish
