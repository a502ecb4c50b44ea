# SPDX-License-Identifier: GPL-2.0-only
"""Boots L1, and writes its logs to a folder for the judge.

kernel.log: L1's first serial port, the kernel's log. ktap.log: the second, the tests' KTAP. trace.log: the trace that L1's
init prints there too. host.json: the emulated host's counts. host.log: its messages. qemu.cmd: QEMU's command line.
timed-out: the limit in seconds that L1 exceeded: that of the boot, or that of its power-off. not-booted: the reason, if
QEMU ended by itself."""
from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

from lab.boot.line import OBJECT, Machine
from lab.boot.qmp import Ended, Qemu
from lab.core.errors import Exit, setup_error
from lab.core.places import tilde
from lab.core.process import quote
from lab.core.session import Session
from lab.core.steps import last_lines
from lab.judge.files import write_json
from lab.judge.ktap import END

# The seconds that L1 may take to power off after its tests. A kernel may be unable to, for example because a task died while
# it held a lock: the boot must not then last until its own, much longer limit. A slower kernel has more of them.
POWER_OFF = 60


@dataclass
class Boot:
    """One boot of L1 that runs tests."""

    machine: Machine
    kernel: Path
    initrd: Path
    # Words for the command line of L1's kernel; L1's init reads some of them.
    append: str
    # The folder for the logs.
    logs: Path
    # How many times as long the kernel takes: its Flavour's.
    slower: int
    # Called before QEMU starts; the debugger keeps the Qemu to stop it later.
    on_start: Callable[[Qemu], None] | None = None

    def line(self) -> list[str]:
        """QEMU's command line."""
        return self.machine.line(self.kernel, self.initrd, f"snplab.report=/dev/ttyS1 {self.append}",
                                 "-serial", f"file:{self.logs}/kernel.log", "-serial", "stdio",
                                 "-d", "guest_errors", "-D", f"{self.logs}/host.log")

    def run(self, session: Session, limit: float | None, on_line: Callable[[bytes], None]) -> Ended:
        """Runs L1 to its end; `on_line` gets each line of its report. Raises OSError if QEMU cannot be started."""
        qemu = Qemu(session.processes, self.line(), OBJECT, self.machine.emulated)
        if self.on_start is not None:
            self.on_start(qemu)
        logs = self.logs
        logs.mkdir(parents=True, exist_ok=True)
        (logs / "qemu.cmd").write_text(quote(self.line()) + "\n", encoding="utf-8")
        (logs / "kernel.log").touch()
        read, write = os.pipe()
        limits = Limits(qemu, limit, on_line, POWER_OFF * self.slower)
        reader = threading.Thread(target=each_line, args=(os.fdopen(read, "rb"), limits.line), daemon=True)
        reader.start()
        try:
            with open(logs / "qemu.err", "wb") as err:
                ended = qemu.run(limit, write, err.fileno())
        finally:
            os.close(write)
            reader.join(10)
        write_json(logs / "host.json", ended.found)
        if ended.why:
            with open(logs / "qemu.err", "a", encoding="utf-8") as text:
                text.write(ended.why + "\n")
        if ended.status == Exit.TIMEOUT and limits.seconds is not None:
            (logs / "timed-out").write_text(f"{limits.seconds:.0f}\n", encoding="utf-8")
        return ended


@dataclass
class Limits:
    """The limit of a boot: of the whole, and once the tests have ended, of the power-off."""

    qemu: Qemu
    # The limit in force; None if there is none.
    seconds: float | None
    then: Callable[[bytes], None]
    # The seconds for the power-off.
    power_off: int

    def line(self, raw: bytes) -> None:
        """Takes a line of L1's report, and passes it on."""
        if self.seconds is not None and raw.rstrip() == END.encode():
            self.seconds = self.power_off
            self.qemu.end_within(self.power_off)
        self.then(raw)


def each_line(source: BinaryIO, on_line: Callable[[bytes], None]) -> None:
    """Passes each line to `on_line`. It reads bytes, in which only a newline ends a line; in text others do too."""
    with source:
        for raw in source:
            on_line(raw)


# L1's init prints the kernel's trace with this before each line.
TRACE = "# trace: "


class KtapLog:
    """Writes L1's report to ktap.log, and passes each line to `then`. `traced`: L1 was asked for a trace, whose lines go to
    trace.log only. Without that, such a line is a test's own."""

    def __init__(self, logs: Path, then: Callable[[str], None] = lambda line: None, *, traced: bool = False) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._file = open(logs / "ktap.log", "w", encoding="utf-8", newline="\n")
        self._trace_path = logs / "trace.log"
        self._trace: TextIO | None = None
        self._then = then
        self._traced = traced

    def __enter__(self) -> KtapLog:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._trace is not None:
            self._trace.close()

    def line(self, raw: bytes) -> None:
        """Writes one line."""
        text = raw.decode("utf-8", "replace").rstrip("\r\n")
        if self._traced and text.startswith(TRACE):
            if self._trace is None:
                self._trace = open(self._trace_path, "w", encoding="utf-8", newline="\n")
            self._trace.write(text.removeprefix(TRACE) + "\n")
            return
        self._file.write(text + "\n")
        self._file.flush()
        self._then(text)


def fail_if_qemu_did(boot: Boot, ended: Ended) -> None:
    """Raises if QEMU ended by itself: that is an error of the set-up, not of the kernel."""
    if ended.status in (0, Exit.TIMEOUT):
        return
    said = "".join(f"      | {line}\n" for line in last_lines(boot.logs / "qemu.err", 15))
    error = setup_error(f"QEMU ended with status {ended.status}", f"its command line is in {tilde(boot.logs / 'qemu.cmd')}")
    error.before = said
    raise error


def on_terminal(line: list[str]) -> int:
    """Runs QEMU with the user's terminal as L1's console, so that Ctrl-C goes to L1. Returns QEMU's exit status."""
    return subprocess.run(line, check=False).returncode
