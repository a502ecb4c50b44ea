# SPDX-License-Identifier: GPL-2.0-only
"""The only parser of the KTAP that L1's init prints.

    1..2                                the plan
    # Subtest: sev_snp_launch_test       a program begins
    # # vCPU 1: said why                 init puts "# " before each line that the program prints
    # not ok 2 fixture.case              a case of the program
    not ok 1 sev_snp_launch_test # ...   the program's result
            ok 1 no_vcpu_is_no_error     a KUnit case: indented deeper than its suite, less deep than its parameters
    snplab: end of tests                 all programs have run
"""
from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


class Result(enum.Enum):
    """The result of a program or of one of its cases."""

    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"
    TIMEOUT = "timeout"
    KNOWN_FAILURE = "known-failure"


PLAN = re.compile(r"^1\.\.(\d+)$")
RESULT = re.compile(r"^(not )?ok (\d+) (\S+)(?: # ?(SKIP|TIMEOUT)? ?(.*))?$")
SUBTEST = "# Subtest: "
KUNIT_CASE = re.compile(r"^ {8}(not )?ok \d+ (.*)$")
CASE = re.compile(r"^# (not )?ok (\d+) (\S+)(?: +#? ?(SKIP)? ?(.*))?$")
CASE_PLAN = re.compile(r"^# 1\.\.(\d+)$")
RUN = re.compile(r"^# # +RUN  ")
END = "snplab: end of tests"
# Lines that the selftests' harness prints around every case; and the place in the source before a message.
CHATTER = re.compile(r"^#? *(RUN|OK|FAIL|SKIP) |: Test (failed|terminated)")
WHERE = re.compile(r"^# *(?:\S+\.c:\d+:\w+:)?")


@dataclass
class Case:
    """A case of a program, with the lines that the program printed while it ran."""

    name: str
    result: Result
    reason: str = ""
    said: Sequence[str] = ()
    # The reason in the list of known failures, if this is a known failure.
    known: str | None = None

    def own_words(self) -> list[str]:
        """The lines that the case printed itself, without the harness's."""
        return [line for line in self.said if not CHATTER.search(line)]

    def complaint(self) -> str:
        """The reason of the failure, or the first line that the case printed."""
        first = next((WHERE.sub("", line) for line in self.own_words()), "failed, and said nothing")
        return self.reason or first

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        data: dict[str, Any] = {"name": self.name, "reason": self.reason, "said": self.own_words()[:8],
                                "result": self.result.value}
        if self.known is not None:
            data["known"] = self.known
        return data


@dataclass
class TestResult:
    """The result of a program of L1, or of all KUnit suites, with the results of its cases."""

    # Tells pytest that this is no class of tests, in spite of its name.
    __test__ = False

    name: str
    result: Result
    reason: str = ""
    # The failed KUnit cases, with the rest of their lines.
    failed: Sequence[str] = ()
    cases: Sequence[Case] = ()
    cases_planned: int | None = None
    # The lines that the program printed after its last case.
    said: Sequence[str] = ()

    @property
    def program(self) -> str:
        """The name without its arguments."""
        return self.name.split(":")[0]

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return {"name": self.name, "result": self.result.value, "reason": self.reason, "failed": list(self.failed),
                "cases": [case.to_json() for case in self.cases], "cases_planned": self.cases_planned}


@dataclass
class Ktap:
    """Everything that L1's init reported."""

    plan: int | None = None
    tests: list[TestResult] = field(default_factory=list)
    # Failed KUnit cases that no program's result has followed yet.
    below: list[str] = field(default_factory=list)
    kunit_cases: list[Case] = field(default_factory=list)
    # Did L1 run all programs?
    ended: bool = False


class _Parser:
    """Reads line by line, and collects the lines for the next case and the next program's result."""

    def __init__(self) -> None:
        self.ktap = Ktap()
        self.begun: list[str] = []
        self.cases: list[Case] = []
        self.planned: int | None = None
        self.said: list[str] = []

    def line(self, line: str) -> None:
        """Parses one line of the report."""
        if line.startswith(SUBTEST):
            self.begun.append(line[len(SUBTEST):])
            self.cases, self.planned, self.said = [], None, []
        self._of_a_case(line)
        m = PLAN.match(line)
        if m:
            self.ktap.plan = int(m[1])
        m = KUNIT_CASE.match(line)
        if m:
            self._kunit(bool(m[1]), m[2])
        m = RESULT.match(line)
        if m:
            result = {"SKIP": Result.SKIP, "TIMEOUT": Result.TIMEOUT}.get(m[4] or "")
            self.end_of_test(m[3], result or (Result.FAIL if m[1] else Result.PASS), m[5] or "")
        if line.startswith(END):
            self.ktap.ended = True

    def _of_a_case(self, line: str) -> None:
        m = CASE_PLAN.match(line)
        if m:
            self.planned = int(m[1])
        m = CASE.match(line)
        if m:
            result = Result.SKIP if m[4] else Result.FAIL if m[1] else Result.PASS
            self.cases.append(Case(m[3], result, m[5] or "", self.said))
            self.said = []
        elif RUN.match(line):
            # The case's lines begin after this one, and end at its result.
            self.said = []
        elif line.startswith("# "):
            self.said.append(line[2:])

    def _kunit(self, failed: bool, text: str) -> None:
        result = Result.FAIL if failed else Result.SKIP if "# SKIP" in text else Result.PASS
        self.ktap.kunit_cases.append(Case(text.split(" #")[0].strip(), result))
        if failed:
            self.ktap.below.append(text.strip())

    def end_of_test(self, name: str, result: Result, reason: str) -> None:
        """Adds a program's result: all that came since the last result belongs to it."""
        below = self.ktap.below if result is Result.FAIL else []
        self.ktap.tests.append(TestResult(name, result, reason, below, self.cases, self.planned, self.said))
        self.ktap.below, self.cases, self.planned, self.said = [], [], None, []


NO_RESULT = "no result"


def parse_ktap(lines: Iterable[str], *, unfinished: bool = False) -> Ktap:
    """Parses a report. With unfinished=True, a program that began but has no result gets a failure with the reason
    NO_RESULT, so that its cases count even if L1 ended early."""
    parser = _Parser()
    for line in lines:
        parser.line(line)
    if unfinished and len(parser.begun) > len(parser.ktap.tests):
        parser.end_of_test(parser.begun[-1], Result.FAIL, NO_RESULT)
    return parser.ktap
