#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Runs QEMU until its guest has ended, asks it what the emulated host has counted, and ends it.

usage: qmp.py [--out FILE] [--object PATH] [--timeout SECONDS] [--guest-monitor] QEMU ARGUMENT...

QEMU gets its QMP channel as an open file descriptor: there is no socket in any folder to find, to wait
for or to clean up. A guest that powers off, or panics and reboots, leaves QEMU paused and answering;
then FILE gets, as JSON, how it ended and the integer properties of PATH: "guest-errors" (all of them),
"errors-KIND", and "stat-..." .

--guest-monitor: the guest's third serial port, with interrupt 5, is a QMP monitor, for tests that make the
emulated host fail a command and look at its counters in between (host/tests/kvm/snp_host.c).

Exit status: 0 the guest has ended, 124 it had not after that many seconds, else QEMU's own; 3 if QEMU
was gone before it could say how the guest ended.
"""
import argparse
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

# For what a QEMU with a running main loop answers at once, and for its last writes to its logs.
ANSWER = 5
EX_SETUP, EX_TIMEOUT = 3, 124


class Gone(Exception):
    """The channel is closed, or there was no answer in time."""


class Refused(Exception):
    """QEMU answered with an error."""


class Channel:
    """QMP over a socket: commands one at a time; events are kept until they are asked for."""

    def __init__(self, sock):
        self.sock = sock
        self.data = b""
        self.events = []

    def message(self, deadline):
        """The next message; None when there is none before the deadline."""
        while b"\n" not in self.data:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return None
            if not select.select([self.sock], [], [], left)[0]:
                return None
            try:
                more = self.sock.recv(65536)
            except OSError as e:
                raise Gone(str(e)) from e
            if not more:
                raise Gone("QEMU closed the channel")
            self.data += more
        line, self.data = self.data.split(b"\n", 1)
        try:
            return json.loads(line) if line.strip() else {}
        except ValueError as e:
            raise Gone(f"not QMP: {line[:80]!r}") from e

    def greeting(self, deadline):
        while True:
            m = self.message(deadline)
            if m is None:
                raise Gone("no greeting")
            if "QMP" in m:
                return

    def command(self, name, **arguments):
        deadline = time.monotonic() + ANSWER
        try:
            self.sock.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        except OSError as e:
            raise Gone(str(e)) from e
        while True:
            m = self.message(deadline)
            if m is None:
                raise Gone(f"no answer to {name} within {ANSWER} s")
            if "event" in m:
                self.events.append(m)
            elif "error" in m:
                raise Refused(f"{name}: {m['error'].get('desc', m['error'])}")
            elif "return" in m:
                return m["return"]

    def event(self, name, deadline):
        """The first event of that name, or None at the deadline."""
        while True:
            while self.events:
                e = self.events.pop(0)
                if e["event"] == name:
                    return e
            m = self.message(deadline)
            if m is None:
                return None
            if "event" in m:
                self.events.append(m)


def counters(channel, path):
    """What the object at path has counted: {"guest-errors": n, "errors": {...}, "statistics": {...}}."""
    result = {"guest-errors": None, "errors": {}, "statistics": {}}
    for p in channel.command("qom-list", path=path):
        name = p["name"]
        if name == "guest-errors":
            result[name] = channel.command("qom-get", path=path, property=name)
        elif name.startswith("errors-"):
            result["errors"][name[len("errors-"):]] = channel.command("qom-get", path=path, property=name)
        elif name.startswith("stat-"):
            result["statistics"][name[len("stat-"):]] = channel.command("qom-get", path=path, property=name)
    if result["guest-errors"] is None:
        result["missing"] = f"{path} has no guest-errors"
    return result


def write_whole(path, data):
    with open(path + ".tmp", "w", encoding="utf-8") as f:
        json.dump(data, f, indent=1)
        f.write("\n")
    os.replace(path + ".tmp", path)


def guest_monitor():
    """QEMU's arguments for a monitor at one end of a pair of sockets, a serial port at the other; and the pair."""
    pair = socket.socketpair()
    return ["-chardev", f"socket,id=snplab-monitor,fd={pair[0].fileno()}", "-mon", "chardev=snplab-monitor,mode=control",
            "-chardev", f"socket,id=snplab-port,fd={pair[1].fileno()}",
            "-device", "isa-serial,chardev=snplab-port,index=2,irq=5"], pair


def end(qemu, channel, answers):
    """Asked (or, with its channel closed, given the time to end by itself), then told, then made to."""
    ask = (lambda: channel.command("quit")) if answers else (lambda: None)
    for how in (ask, qemu.terminate, qemu.kill):
        try:
            how()
        except (Gone, Refused):
            pass
        try:
            return qemu.wait(ANSWER)
        except subprocess.TimeoutExpired:
            pass
    return qemu.wait()


def main():
    p = argparse.ArgumentParser(add_help=False)
    p.add_argument("--out")
    p.add_argument("--object", default="/machine/amd-snp")
    p.add_argument("--timeout", type=float)
    p.add_argument("--guest-monitor", action="store_true")
    p.add_argument("command", nargs=argparse.REMAINDER)
    args = p.parse_args()
    deadline = None if args.timeout is None else time.monotonic() + args.timeout
    ours, theirs = socket.socketpair()
    # Paused, not gone: there would be nobody left to ask. Not started before somebody listens for its end.
    command = args.command + ["-S", "-action", "shutdown=pause", "-mon", "chardev=snplab-qmp,mode=control",
                              "-chardev", f"socket,id=snplab-qmp,fd={theirs.fileno()}"]
    passed = [theirs]
    if args.guest_monitor:
        more, pair = guest_monitor()
        command += more
        passed += pair
    try:
        qemu = subprocess.Popen(command, pass_fds=[s.fileno() for s in passed])
    except OSError as e:
        print(f"{args.command[0]}: {e.strerror}", file=sys.stderr)
        return EX_SETUP
    for s in passed:
        s.close()

    def stop(number, _):
        try:
            os.kill(qemu.pid, signal.SIGKILL)
            os.waitpid(qemu.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        sys.exit(128 + number)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)

    channel, answers = Channel(ours), True
    found = {"object": args.object, "ended": None, "reason": None, "guest-errors": None, "errors": {}, "statistics": {}}
    try:
        # A machine that is busy may take its time to start one; a time-out of the run's ends that as well.
        channel.greeting(deadline)
        channel.command("qmp_capabilities")
        channel.command("cont")
        shutdown = channel.event("SHUTDOWN", deadline)
        found["ended"] = "shutdown" if shutdown else "timeout"
        found["reason"] = shutdown["data"].get("reason") if shutdown else None
        found.update(counters(channel, args.object))
    except Refused as e:
        found["missing"] = str(e)
    except Gone as e:
        answers = False
        found["missing"] = str(e)
    timed_out = deadline is not None and time.monotonic() >= deadline and found["ended"] != "shutdown"
    status = end(qemu, channel, answers)
    if args.out:
        try:
            write_whole(args.out, found)
        except OSError as e:
            print(f"expected to write {args.out}, found: {e.strerror}", file=sys.stderr)
            return EX_SETUP
    if timed_out:
        return EX_TIMEOUT
    if found["ended"] == "shutdown":
        return 0
    print(f"QEMU ended before its guest did: {found.get('missing', 'no SHUTDOWN event')}", file=sys.stderr)
    return 128 - status if status < 0 else status or EX_SETUP


if __name__ == "__main__":
    sys.exit(main())
