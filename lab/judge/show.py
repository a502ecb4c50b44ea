# SPDX-License-Identifier: GPL-2.0-only
"""The live output of `./snplab guest`: L2's console with times, and the cases."""
from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

from lab.judge.files import read_lines
from lab.judge.ktap import CASE

CONSOLE = re.compile(r"^# \| \[([\d.]+)\] ?(.*)$")
EVENT = re.compile(r"^# event (\w+) ([\d.]+)$")
STARTED = re.compile(r"^# linux \S+, \d+ CPUs, init after ([\d.]+) s$")
MODULES = re.compile(r"^# modules after ([\d.]+) s$")
SHELL = re.compile(r"snplab: shell after (\d+\.?\d*) s, linux (\S+)")
THREAD = "# thread "
# Text that would control the user's terminal: ECMA-48's control sequences and strings, other escapes, control characters.
ESCAPE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?|"
                    r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
# Not shown, only in ktap.log: the encoded report, and QEMU's warnings that TCG lacks features of the CPU model.
UNSHOWN = re.compile(r"snplab: report: \| |qemu-system-x86_64: warning: host doesn't support requested feature: ")
TIME = re.compile(r"^(\w+) (\d+\.\d)$")


class Show:
    """Copies L1's report to LOGS/ktap.log, and shows L2's console and the cases. At the end, writes the time of each event
    to LOGS/times, in seconds since the start."""

    def __init__(self, logs: Path, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.times: dict[str, float] = {}
        self._times_file = logs / "times"
        self._log = open(logs / "ktap.log", "w", encoding="utf-8")
        self._tell, self._clock = tell, clock
        self._begin = clock()
        self._told = True

    def __enter__(self) -> Show:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the log and writes the times."""
        self._log.close()
        self._times_file.write_text("".join(f"{name} {t:.1f}\n" for name, t in self.times.items()), encoding="utf-8")

    def copy(self, stream: Iterable[bytes]) -> None:
        """Processes all lines of a stream."""
        for raw in stream:
            self.line(raw)

    def line(self, raw: bytes) -> None:
        """Processes one line of L1's report."""
        text = raw.decode("utf-8", "replace").rstrip("\r\n")
        now = self._clock() - self._begin
        self._log.write(text + "\n")
        self._log.flush()
        self._stamp(text, now)
        console = CONSOLE.match(text)
        said = ESCAPE.sub("", console[2]).rstrip() if console else ""
        if said and not UNSHOWN.match(said):
            self._show(f"      {now:5.1f} s  | {said}")
            up = SHELL.search(said)
            if up:
                # The shell prints L2's uptime, which begins with its kernel.
                self.times.setdefault("kernel", now - float(up[1]))
        elif CASE.match(text) or text.startswith(THREAD):
            self._show(f"      {now:5.1f} s  {ESCAPE.sub('', text[2:])}")

    def _stamp(self, text: str, now: float) -> None:
        event = EVENT.match(text)
        name = event[1] if event else "init" if STARTED.match(text) else "modules" if MODULES.match(text) else None
        if name:
            self.times.setdefault(name, now)

    def _show(self, text: str) -> None:
        """Shows a line. If that fails (the reader has gone away, the disk is full), the log still goes on."""
        if not self._told:
            return
        try:
            self._tell(text)
        except UnicodeEncodeError:
            # The terminal has no UTF-8.
            self._tell(text.encode("ascii", "replace").decode())
        except OSError:
            self._told = False


def read_times(logs: Path) -> dict[str, float]:
    """The time of each event. The last line may be incomplete if the boot was killed."""
    return {m[1]: float(m[2]) for m in map(TIME.match, read_lines(logs / "times")) if m}
