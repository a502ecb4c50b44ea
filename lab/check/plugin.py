# SPDX-License-Identifier: GPL-2.0-only
"""A pytest plugin that writes each result as a line of JSON; lab/check/results.py adds them up.

pytest's own summary will not do: it does not know the cases of the C tests, and does not count an error in a fixture as a
failure.
"""
from __future__ import annotations

import json
import signal
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from lab.check.results import MOST_TEXT

# The user property of a test in which its TAP cases are.
TAP_CASE = "tap case"


def on_term(number: int, frame: FrameType | None) -> None:
    """On SIGTERM, lets the test's fixtures clean up, such as unmount, before pytest ends."""
    raise KeyboardInterrupt


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The reason why a test was skipped."""
    longrepr: Any = report.longrepr
    text = longrepr[2] if isinstance(longrepr, tuple) and len(longrepr) == 3 else str(longrepr)
    return str(text).removeprefix("Skipped: ")


def text_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """pytest's text for a failure: the traceback and the test's output."""
    parts = [str(report.longrepr) if report.longrepr is not None else ""]
    parts += [f"--- {name}\n{content}" for name, content in report.sections]
    return "\n".join(parts)[-MOST_TEXT:]


class Recorder:
    """Writes events to a file: the ids of the planned tests, then each result."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "a", encoding="utf-8", buffering=1)
        self._parts: dict[str, list[pytest.TestReport]] = {}

    def write(self, event: dict[str, object]) -> None:
        """Writes one line, unbuffered, since the process may be killed next."""
        self._file.write(json.dumps(event) + "\n")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Writes the ids of the planned tests."""
        self.write({"event": "planned", "ids": [item.nodeid for item in session.items]})

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Writes a result for a file that cannot be imported, or that skips itself."""
        if report.failed:
            self.result(report.nodeid, "failed", 0.0, text=text_of(report))
        elif report.skipped:
            self.result(report.nodeid, "skipped", 0.0, reason=reason_of(report))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collects the reports of setup, call and teardown; after the last one, writes the test's result."""
        parts = self._parts.setdefault(report.nodeid, [])
        parts.append(report)
        if report.when != "teardown":
            return
        del self._parts[report.nodeid]
        for name, value in report.user_properties:
            if name == TAP_CASE and isinstance(value, dict):
                self.write({"event": "result", "id": report.nodeid, "seconds": 0.0, **value})
        self.conclude(report.nodeid, parts)

    def conclude(self, nodeid: str, parts: list[pytest.TestReport]) -> None:
        """Writes the result of a test from its reports. It has failed if one of them has."""
        seconds = sum(part.duration for part in parts)
        failed = [part for part in parts if part.failed]
        unused = [part for part in parts if hasattr(part, "wasxfail")]
        skipped = [part for part in parts if part.skipped]
        if failed:
            self.result(nodeid, "failed", seconds, text="\n".join(text_of(part) for part in failed))
        elif unused:
            self.result(nodeid, "failed", seconds,
                        text="xfail is not used here: a test passes, fails, or is skipped with a reason")
        elif skipped:
            self.result(nodeid, "skipped", seconds, reason=reason_of(skipped[0]))
        elif any(part.when == "call" for part in parts):
            self.result(nodeid, "passed", seconds)
        else:
            self.result(nodeid, "failed", seconds, text="the test was not called")

    def result(self, nodeid: str, outcome: str, seconds: float, reason: str = "", text: str = "") -> None:
        """Writes the line of a result."""
        self.write({"event": "result", "id": nodeid, "outcome": outcome, "seconds": round(seconds, 3), "reason": reason,
                    "text": text})


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option --results FILE. Without it, the plugin does nothing."""
    parser.addoption("--results", metavar="FILE", help="write each result as a line of JSON")


def pytest_configure(config: pytest.Config) -> None:
    """Starts the recorder if `check` gave --results."""
    results = config.getoption("--results")
    if results:
        signal.signal(signal.SIGTERM, on_term)
        config.pluginmanager.register(Recorder(Path(str(results))), "snplab-recorder")
