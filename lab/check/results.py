# SPDX-License-Identifier: GPL-2.0-only
"""Adds up the results of a test file. A test without a result counts as failed."""
from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from lab.check.table import Entry, name_of

# How many characters of a failure's text to keep; the log has all of it.
MOST_TEXT = 20000
# pytest's exit status if it found no test.
NO_TESTS = 5


@dataclass(frozen=True)
class Result:
    """The result of a test, or of a TAP case."""

    id: str
    outcome: str
    seconds: float = 0.0
    reason: str = ""
    text: str = ""

    @property
    def title(self) -> str:
        """The name for the user: the file's and the test's."""
        file, _, test = self.id.partition("::")
        return f"{name_of(file)}: {test.replace('::', ' ') or 'the file'}"


def summary(passed: int, failed: int, skipped: int) -> str:
    """The last line of `check`."""
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


@dataclass
class FileTally:
    """The results of one test file, from the lines that the plugin writes."""

    entry: Entry
    # -k was given: a file may have no test that matches.
    some_only: bool = False
    planned: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    results: list[Result] = field(default_factory=list)
    closed: bool = False

    def count(self, outcome: str) -> int:
        """The number of results with this outcome."""
        return sum(result.outcome == outcome for result in self.results)

    def read(self, line: str) -> Result | None:
        """Reads one of the plugin's lines. Returns its result, if it has one."""
        event = json.loads(line)
        if event["event"] == "planned":
            self.planned |= set(event["ids"])
            return None
        nodeid, case = event["id"], event.get("case")
        if case is None:
            self.ended.add(nodeid)
        result = Result(nodeid if case is None else f"{nodeid}::{case}", event["outcome"], event["seconds"],
                        event["reason"], event["text"])
        self.results.append(result)
        return result

    def close(self, status: int) -> Result | None:
        """Ends the file after pytest has ended. If results are missing, adds and returns a failure."""
        self.closed = True
        text = self.fault(status)
        if not text:
            return None
        result = Result(self.entry.path.name, "failed", text=text)
        self.results.append(result)
        return result

    def fault(self, status: int) -> str:
        """Why the file has failed, if its results do not show that; empty if they do."""
        left = sorted(self.planned - self.ended)
        if left:
            done = len(self.planned) - len(left)
            return f"ended with status {status} after {done} of {len(self.planned)} tests, before {left[0]}"
        if not self.planned and not self.results:
            none_asked = self.some_only and status == NO_TESTS
            return "" if none_asked else f"no test in it was run; pytest ended with status {status}"
        # NO_TESTS is also the status of a file that skips itself.
        if status not in (0, NO_TESTS) and not self.count("failed"):
            return f"ended with status {status}, and no test has failed"
        return ""


def read_lines(path: Path, offset: int) -> tuple[list[str], int]:
    """The complete lines after an offset, and the new offset."""
    try:
        with open(path, "rb") as f:
            f.seek(offset)
            new = f.read()
    except OSError:
        return [], offset
    whole = new.rfind(b"\n") + 1
    return new[:whole].decode("utf-8", "replace").splitlines(), offset + whole
