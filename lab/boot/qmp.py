# SPDX-License-Identifier: GPL-2.0-only
"""Runs QEMU until L1 has ended, reads the emulated host's counts, and ends QEMU.

QEMU gets its QMP channel as an open file descriptor, so that no socket file has to be waited for and removed. When L1 powers
off, or panics and reboots, QEMU pauses and still answers."""
from __future__ import annotations

import json
import select
import socket
import subprocess
import time
from dataclasses import dataclass, field
from typing import Any

from lab.core.errors import Exit
from lab.core.process import Processes, command

# The seconds that QEMU gets for an answer, which takes far less, and for its last writes to its logs.
ANSWER = 5.0
# The seconds for its first answers: on a busy machine QEMU starts slowly.
START = 120.0


class Gone(Exception):
    """QEMU closed the channel, or did not answer in time."""


class Refused(Exception):
    """QEMU answered with an error."""


Message = dict[str, Any]


class Channel:
    """QMP over a socket. Sends one command at a time, and keeps events until event() takes them."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.data = b""
        self.events: list[Message] = []
        # The seconds that an answer may take.
        self.answer = ANSWER

    def message(self, deadline: float | None) -> Message | None:
        """The next message; None if there is none before the deadline."""
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
            message = json.loads(line) if line.strip() else {}
        except ValueError as e:
            raise Gone(f"not QMP: {line[:80]!r}") from e
        if not isinstance(message, dict):
            raise Gone(f"not QMP: {line[:80]!r}")
        return message

    def greeting(self, deadline: float | None) -> None:
        """Waits for QEMU's first message."""
        while True:
            message = self.message(deadline)
            if message is None:
                raise Gone("no greeting")
            if "QMP" in message:
                return

    def command(self, name: str, **arguments: object) -> Any:
        """Sends a command; returns what QEMU returns. Raises Gone or Refused."""
        deadline = time.monotonic() + self.answer
        try:
            self.sock.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        except OSError as e:
            raise Gone(str(e)) from e
        while True:
            message = self.message(deadline)
            if message is None:
                raise Gone(f"no answer to {name} within {self.answer:.0f} s")
            if "event" in message:
                self.events.append(message)
            elif "error" in message:
                raise Refused(f"{name}: {message['error'].get('desc', message['error'])}")
            elif "return" in message:
                return message["return"]

    def event(self, name: str, deadline: float | None) -> Message | None:
        """The first event of that name, or None at the deadline."""
        while True:
            while self.events:
                event = self.events.pop(0)
                if event["event"] == name:
                    return event
            message = self.message(deadline)
            if message is None:
                return None
            if "event" in message:
                self.events.append(message)


def counters(channel: Channel, path: str) -> Message:
    """The counts of the object at `path`: {"guest-errors": n, "errors": {kind: n}, "statistics": {name: n}}."""
    result: Message = {"guest-errors": None, "errors": {}, "statistics": {}}
    for listed in channel.command("qom-list", path=path):
        name = listed["name"]
        for prefix, group in (("errors-", "errors"), ("stat-", "statistics")):
            if name.startswith(prefix):
                result[group][name.removeprefix(prefix)] = channel.command("qom-get", path=path, property=name)
        if name == "guest-errors":
            result[name] = channel.command("qom-get", path=path, property=name)
    if result["guest-errors"] is None:
        result["missing"] = f"{path} has no guest-errors"
    return result


def monitor_arguments() -> tuple[list[str], tuple[socket.socket, socket.socket]]:
    """QEMU's arguments that connect a QMP monitor with L1's third serial port, and the pair of sockets between them. Through
    it, tests in L1 make the emulated host fail a command, and read its counters (host/tests/kvm/snp_host.c)."""
    pair = socket.socketpair()
    return ["-chardev", f"socket,id=snplab-monitor,fd={pair[0].fileno()}", "-mon", "chardev=snplab-monitor,mode=control",
            "-chardev", f"socket,id=snplab-port,fd={pair[1].fileno()}",
            "-device", "isa-serial,chardev=snplab-port,index=2,irq=5"], pair


def end(qemu: subprocess.Popen[bytes], channel: Channel, answers: bool) -> None:
    """Ends QEMU: by the command "quit" (if it does not answer, waits for it to end by itself), then by SIGTERM, then by
    SIGKILL."""
    for how in (lambda: channel.command("quit") if answers else None, qemu.terminate, qemu.kill):
        try:
            how()
        except (Gone, Refused):
            pass
        try:
            qemu.wait(ANSWER)
            return
        except subprocess.TimeoutExpired:
            pass
    qemu.wait()


@dataclass
class Ended:
    """How a QEMU ended."""

    # 0: L1 ended. 124: L1 did not end in time. Otherwise QEMU ended first: its exit status, or 3 if that was 0.
    status: int
    # The emulated host's counts: "object", "ended", "reason", "guest-errors", "errors", "statistics", "missing".
    found: Message = field(default_factory=dict)
    # The reason, if QEMU ended before L1.
    why: str = ""


@dataclass
class Qemu:
    """A QEMU that runs until L1 ends."""

    processes: Processes
    line: list[str]
    object_path: str
    # Connect L1's third serial port with a QMP monitor.
    monitor: bool = False
    channel: Channel | None = field(default=None, init=False)
    # time.monotonic() when L1 must have ended; None: there is no limit.
    deadline: float | None = field(default=None, init=False)

    def end_within(self, seconds: float) -> None:
        """From now on L1 has so many seconds to end, if it has a limit at all. Another thread calls this."""
        if self.deadline is not None:
            self.deadline = time.monotonic() + seconds

    def stop_now(self) -> None:
        """Stops the machine; gdb continues it. Another thread calls this: the one in run() reads and drops the answer."""
        if self.channel is not None:
            self.channel.sock.sendall(b'{"execute": "stop"}\n')

    def run(self, timeout: float | None, stdout: int | None, stderr: int | None) -> Ended:
        """Starts QEMU, waits for L1's end, reads the counts, and ends QEMU. Raises Cancelled if the run ends first, OSError
        if QEMU cannot be started."""
        self.deadline = None if timeout is None else time.monotonic() + timeout
        ours, theirs = socket.socketpair()
        # shutdown=pause: QEMU still answers after L1's end. -S: L1 does not start before we listen for its end.
        line = [*self.line, "-S", "-action", "shutdown=pause", "-mon", "chardev=snplab-qmp,mode=control",
                "-chardev", f"socket,id=snplab-qmp,fd={theirs.fileno()}"]
        passed = [theirs]
        if self.monitor:
            more, pair = monitor_arguments()
            line += more
            passed += pair
        try:
            qemu = self.processes.start(command(*line), stdout=stdout, stderr=stderr, more_fds=[s.fileno() for s in passed],
                                        locks=False)
        finally:
            for sock in passed:
                sock.close()
        channel = self.channel = Channel(ours)
        try:
            found, answers = self.watch(channel)
            # The deadline may have moved meanwhile.
            timed_out = found["ended"] == "timeout" or (self.is_late() and found["ended"] != "shutdown")
            end(qemu, channel, answers)
        finally:
            ours.close()
        status = self.processes.ended(qemu)
        if timed_out:
            return Ended(Exit.TIMEOUT, found)
        if found["ended"] == "shutdown":
            return Ended(0, found)
        return Ended(status or Exit.SETUP, found,
                     f"QEMU ended before L1 did: {found.get('missing', 'no SHUTDOWN event')}")

    def is_late(self) -> bool:
        """Has L1 had its time?"""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def shutdown(self, channel: Channel) -> Message | None:
        """The event of L1's end; None if L1 did not end in time. Looks at the deadline once a second, as it may change."""
        while True:
            event = channel.event("SHUTDOWN", time.monotonic() + 1)
            if event is not None or self.is_late():
                return event

    def watch(self, channel: Channel) -> tuple[Message, bool]:
        """Starts L1 and waits for its end. Returns the counts, and whether QEMU still answers."""
        found: Message = {"object": self.object_path, "ended": None, "reason": None, "guest-errors": None, "errors": {},
                          "statistics": {}}
        try:
            # QEMU may start slowly on a busy machine: wait until the run's own time limit.
            channel.greeting(self.deadline)
            channel.answer = START
            channel.command("qmp_capabilities")
            channel.command("cont")
            channel.answer = ANSWER
            shutdown = self.shutdown(channel)
            found["ended"] = "shutdown" if shutdown else "timeout"
            found["reason"] = shutdown["data"].get("reason") if shutdown else None
            found.update(counters(channel, self.object_path))
        except Refused as e:
            found["missing"] = str(e)
        except Gone as e:
            found["missing"] = str(e)
            return found, False
        return found, True
