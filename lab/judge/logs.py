# SPDX-License-Identifier: GPL-2.0-only
"""Reads all logs that a boot leaves in its folder."""
from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lab.judge.files import read_lines
from lab.judge.host_counts import HostCounts
from lab.judge.kernel_log import KernelLog
from lab.judge.ktap import Ktap, Result, TestResult, parse_ktap


@dataclass
class BootLogs:
    """The logs of one boot of L1."""

    folder: Path
    ktap_lines: list[str] = field(default_factory=list)
    ktap: Ktap = field(default_factory=Ktap)
    kernel: KernelLog = field(default_factory=KernelLog)
    host: HostCounts = field(default_factory=HostCounts)
    # If L1 did not end in time: the limit in seconds, of the boot or, once its tests have ended, of the power-off.
    timed_out: str | None = None
    # The reason, if L1's modules were not built, or QEMU did not start.
    not_built: str | None = None
    not_booted: str | None = None

    @classmethod
    def read(cls, folder: Path, *, unfinished: bool = False) -> BootLogs:
        """Reads a boot's folder. With unfinished=True, a program that began but has no result has failed."""
        lines = read_lines(folder / "ktap.log")
        return cls(folder, lines, parse_ktap(lines, unfinished=unfinished), KernelLog.read(folder / "kernel.log"),
                   HostCounts.read(folder), _mark(folder / "timed-out"), _mark(folder / "not-built"),
                   _mark(folder / "not-booted"))

    @property
    def ended(self) -> bool:
        """Did L1 end its tests, and power off in time?"""
        return self.ktap.ended and self.timed_out is None

    @property
    def why_late(self) -> str | None:
        """If L1 did not end in time: how."""
        if self.timed_out is None:
            return None
        if self.ktap.ended:
            return f"L1 did not power off within {self.timed_out} s after its tests"
        return f"no end within {self.timed_out} s"

    def test(self, name: str) -> TestResult | None:
        """The last result of a program."""
        return next((test for test in reversed(self.ktap.tests) if test.name == name), None)

    def result(self, name: str) -> Result | None:
        """The last result of a program; None if there is none."""
        test = self.test(name)
        return test.result if test else None


def _mark(path: Path) -> str | None:
    """The text of a file that exists only if something went wrong; None if it does not exist."""
    return " ".join(read_lines(path)) if path.exists() else None
