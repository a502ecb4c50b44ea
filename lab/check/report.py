# SPDX-License-Identifier: GPL-2.0-only
"""The report of `check` on all test files that it ran: the text below the files' lines, and the JSON."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lab.check.results import FileTally, Result, summary
from lab.core.errors import Exit
from lab.judge.files import versioned
from lab.judge.part import Part, joined_logs

# How many lines of a failure to show; the log has all of them.
MOST_LINES = 40
OUTCOMES = ("passed", "failed", "skipped")


@dataclass(frozen=True)
class File:
    """The results of one test file."""

    name: str
    lane: str
    seconds: int
    results: list[Result]

    @classmethod
    def of(cls, tally: FileTally, seconds: float) -> File:
        """The results of a file that has ended."""
        return cls(tally.entry.name, tally.entry.lane.value, round(seconds), list(tally.results))

    @property
    def line(self) -> str:
        """The end of the file's line."""
        return f"{summary_of(self.results)}, {self.seconds} s"

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return {"name": self.name, "lane": self.lane, "seconds": self.seconds,
                "results": [{"test": r.id, "result": r.outcome, "seconds": r.seconds, "reason": r.reason, "text": r.text}
                            for r in self.results]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> File:
        """The reverse of to_json()."""
        return cls(data["name"], data["lane"], data["seconds"],
                   [Result(r["test"], r["result"], r["seconds"], r["reason"], r["text"]) for r in data["results"]])


def summary_of(results: Iterable[Result]) -> str:
    """The counts of results in words."""
    outcomes = [result.outcome for result in results]
    return summary(*(outcomes.count(outcome) for outcome in OUTCOMES))


def failure_lines(result: Result) -> list[str]:
    """A failed test's name, and the last lines of pytest's text."""
    lines = result.text.splitlines()
    if len(lines) > MOST_LINES:
        lines = [f"({len(lines) - MOST_LINES} more lines are in the log)", *lines[-MOST_LINES:]]
    return [f"not ok - {result.title}", *(f"| {line}" for line in lines)]


@dataclass
class Report:
    """The verdict on all files."""

    part: Part
    # The value of -k.
    expression: str | None
    seconds: int
    shown_logs: str
    files: Sequence[File] = ()

    def __post_init__(self) -> None:
        # Files that run at the same time end in any order.
        order = {name: number for number, name in enumerate(self.part.names)}
        self.files = sorted(self.files, key=lambda file: order.get(file.name, len(order)))

    @property
    def results(self) -> list[Result]:
        """The results of all files."""
        return [result for file in self.files for result in file.results]

    def of(self, outcome: str) -> list[Result]:
        """The results with this outcome."""
        return [result for result in self.results if result.outcome == outcome]

    @property
    def matches_nothing(self) -> bool:
        """Did -k pick no test at all? It may pick none of a shard."""
        return not self.results and self.part.shard.is_whole

    @property
    def status(self) -> Exit:
        """A pass if tests were run and none has failed."""
        return Exit.FAIL if self.matches_nothing or self.of("failed") else Exit.PASS

    @property
    def done(self) -> list[str]:
        """The names of the files that it has results of."""
        return [file.name for file in self.files]

    @property
    def kernels(self) -> dict[str, str | None]:
        """The tests' kernels are not known."""
        return {}

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return versioned({
            "verb": "check", "verdict": "fail" if self.status else "pass", "exit": int(self.status),
            "seconds": self.seconds, "counts": {outcome: len(self.of(outcome)) for outcome in OUTCOMES},
            "expression": self.expression, "files": [file.to_json() for file in self.files], "logs": self.shown_logs,
            "shard": self.part.to_json()})

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Report:
        """The reverse of to_json()."""
        return cls(Part.from_json(data["shard"]), data["expression"], data["seconds"], data["logs"],
                   [File.from_json(file) for file in data["files"]])

    @classmethod
    def joined(cls, reports: Sequence[Report], part: Part) -> Report:
        """The verdict on all shards, in the order of a whole run."""
        return cls(part, reports[0].expression, sum(report.seconds for report in reports),
                   joined_logs(report.shown_logs for report in reports),
                   [file for report in reports for file in report.files])

    def last_lines(self) -> list[str]:
        """The text below the files' lines: the skipped and the failed tests, and the counts."""
        if self.matches_nothing:
            return [f"no test matches -k '{self.expression}'", summary(0, 1, 0)]
        return [*(f"skipped: {result.title}: {result.reason}" for result in self.of("skipped")),
                *(f"failed: {result.title}" for result in self.of("failed")),
                f"logs: {self.shown_logs}", summary_of(self.results)]

    def lines(self) -> list[str]:
        """The whole text."""
        said = []
        for file in self.files:
            said += [f"      {line}" for result in file.results if result.outcome == "failed"
                     for line in failure_lines(result)]
            said.append(f"tests: {file.name} … {file.line}")
        return [*said, *self.last_lines()]
