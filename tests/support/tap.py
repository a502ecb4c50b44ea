# SPDX-License-Identifier: GPL-2.0-only
"""Runs a program that prints TAP, such as a C test, and reads the result of each case."""
from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

RESULT = re.compile(r"(?P<bad>not )?ok(?: +\d+)?(?: +- +| +|$)(?P<name>.*?)(?:\s*# *SKIP\b *(?P<skip>.*))?$", re.I)
PLAN = re.compile(r"1\.\.(\d+)")
TIMEOUT = 124
# Seconds that a program gets to clean up after a SIGTERM.
GRACE = 5.0
# Number of lines after a failed case that are shown with it.
DIAGNOSTICS = 12


@dataclass(frozen=True)
class TapCase:
    """One result."""

    name: str
    ok: bool
    # The lines between this result and the next one, which explain a failure.
    text: str = ""
    # The reason, if the case was skipped.
    skip: str | None = None


@dataclass(frozen=True)
class TapRun:
    """A program's results and status: 128 + N if signal N killed it, 124 if it did not end in time."""

    cases: list[TapCase] = field(default_factory=list)
    plan: int | None = None
    status: int = 0
    output: str = ""

    @property
    def problem(self) -> str | None:
        """Why the run as a whole counts as failed; None if it does not. A program that stops early or has no case must
        not pass, even if all its cases pass."""
        n = len(self.cases)
        if self.status == 0 and n > 0 and n == self.plan:
            return None
        return (f"expected status 0 and as many results as planned, found status {self.status}, "
                f"{n} of {'no plan' if self.plan is None else self.plan}")

    @property
    def failed(self) -> list[TapCase]:
        return [case for case in self.cases if not case.ok]

    def tail(self, lines: int = 25) -> str:
        """The last lines of the output."""
        return "\n".join(self.output.splitlines()[-lines:])

    @classmethod
    def parse(cls, output: str, status: int) -> TapRun:
        """Reads TAP. Only results at the beginning of a line count; indented ones belong to a part."""
        cases: list[TapCase] = []
        plan: int | None = None
        lines = output.splitlines()
        for i, line in enumerate(lines):
            if line.startswith(("ok ", "not ok ")) and (found := RESULT.fullmatch(line)):
                cases.append(TapCase(found["name"], not found["bad"], _explanation(lines[i + 1:]), found["skip"]))
            elif planned := PLAN.match(line):
                plan = int(planned[1])
        return cls(cases, plan, status, output)


def _explanation(lines: Sequence[str]) -> str:
    """The lines up to the next result or plan."""
    said: list[str] = []
    for line in lines[:DIAGNOSTICS]:
        if line.startswith(("ok ", "not ok ")) or PLAN.match(line):
            break
        said.append(line)
    return "\n".join(said)


def run_tap(command: Sequence[str | Path], timeout: float = 300, env: Mapping[str, str] | None = None) -> TapRun:
    """Runs the command, with these variables added to our environment. At the time-out, or if the test is stopped, ends the
    command and all processes that it has started."""
    process = subprocess.Popen([str(word) for word in command], env={**os.environ, **(env or {})}, text=True,
                               errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, process_group=0)
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        output = _end(process)
        return TapRun.parse(f"{output}\n# no end within {timeout:g} s\n", TIMEOUT)
    except BaseException:
        _end(process)
        raise
    status = process.returncode
    return TapRun.parse(output, 128 - status if status < 0 else status)


def _end(process: subprocess.Popen[str]) -> str:
    """Ends the process group. Returns its output."""
    for number, grace in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        try:
            return process.communicate(timeout=grace)[0]
        except subprocess.TimeoutExpired:
            continue
    return ""
