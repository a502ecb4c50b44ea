# SPDX-License-Identifier: GPL-2.0-only
"""Judges a boot by its logs: the verdict as text and as JSON.

A report in L1's kernel log is a failure even if every test passed. On the emulated host, an error that no test provokes on
purpose is a failure too. If the kernel must become an SNP host there, these are failures as well: it does not become one, a
case is skipped, or at the end an RMP entry does not belong to the hypervisor.
"""
from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.core.errors import Exit
from lab.judge.cases import KUNIT, LAUNCH_TEST, Settled, settle
from lab.judge.expect import read_known
from lab.judge.files import versioned, write_json
from lab.judge.kernel_log import KernelLog
from lab.judge.ktap import Result, TestResult
from lab.judge.logs import BootLogs


class Status(enum.Enum):
    """The verdict in a word."""

    PASS = "pass"
    FAIL = "fail"
    SKIP = "skip"
    TIMEOUT = "timeout"
    PANIC = "panic"

    @property
    def exit(self) -> Exit:
        """The exit status of this verdict."""
        return Exit[self.name]


# After such an end the emulated host's counts are missing, and would explain nothing.
CUT_SHORT = (Status.PANIC, Status.TIMEOUT)
NOT_FAILED = (Status.PASS, Status.SKIP)


@dataclass(frozen=True)
class BootQuestion:
    """The boot to judge, and the results that it must have."""

    logs: Path
    tree: str
    linux: str
    qemu: str
    # The names of the programs that had to run, with arguments, in order.
    wanted: Sequence[str]
    expect: Path | None = None
    # A listed case may pass: the tree may be newer than the list of known failures.
    may_pass: bool = False
    emulated: bool = False
    # The errors that the programs may provoke on the emulated host: (kind, most); None: any number.
    provoked: Mapping[str, int | None] = field(default_factory=dict)
    # The kernel must become an SNP host.
    snp: bool = False
    # The reason, if KUnit was left out.
    untested: str | None = None
    # The seconds that each step of the run took, and its title.
    stages: Sequence[tuple[int, str]] = ()
    # The logs' folder for messages.
    shown_logs: str | None = None


@dataclass
class Evidence:
    """The input of the rules: the boot's logs, and the programs' results after their cases were judged."""

    logs: BootLogs
    settled: list[Settled]

    @property
    def tests(self) -> list[TestResult]:
        """The programs' results."""
        return [settled.test for settled in self.settled]

    @property
    def kernel(self) -> KernelLog:
        """The kernel's log."""
        return self.logs.kernel

    @property
    def known(self) -> list[tuple[str, str]]:
        """The known failures: (case, reason)."""
        return [known for settled in self.settled for known in settled.known]

    def count(self, *results: Result) -> int:
        """The number of programs with one of these results."""
        return sum(test.result in results for test in self.tests)


@dataclass(frozen=True)
class Finding:
    """The result of a rule: lines for the user, and a verdict or None."""

    status: Status | None
    problems: Sequence[str] = ()


NOTHING = Finding(None)
Deciding = Callable[[BootQuestion, Evidence], Finding]
# These rules also get the verdict so far.
Adding = Callable[[BootQuestion, Evidence, Status], Finding]


# --- The first of these rules that applies decides ------------------------------------------------------------------


def kernel_panicked(_: BootQuestion, seen: Evidence) -> Finding:
    """Applies to a panic, even if all tests passed before it."""
    if seen.kernel.panic is None:
        return NOTHING
    return Finding(Status.PANIC, [f"the kernel panicked: {seen.kernel.panic}"])


def time_is_over(_: BootQuestion, seen: Evidence) -> Finding:
    """Applies if L1 did not power off in time, or a program did not end in time."""
    if seen.logs.why_late is not None:
        return Finding(Status.TIMEOUT, [seen.logs.why_late])
    return Finding(Status.TIMEOUT) if seen.count(Result.TIMEOUT) else NOTHING


def results_are_missing(asked: BootQuestion, seen: Evidence) -> Finding:
    """Applies unless L1 planned and reported exactly the wanted programs, in order, to the end."""
    ktap = seen.logs.ktap
    names = [test.name for test in seen.tests]
    if ktap.ended and names == list(asked.wanted) and ktap.plan == len(asked.wanted):
        return NOTHING
    return Finding(Status.FAIL, [f"expected results of {len(asked.wanted)} tests, found {len(names)}"
                                 + ("" if ktap.ended else ": L1 ended before its tests did")])


def kernel_log_is_missing(_: BootQuestion, seen: Evidence) -> Finding:
    """Applies if the beginning of the kernel's log is missing: the missing part may have a report."""
    if seen.kernel.whole:
        return NOTHING
    return Finding(Status.FAIL, ["the kernel's log is missing or incomplete: it may have had reports"])


def something_failed(_: BootQuestion, seen: Evidence) -> Finding:
    """Applies to a failed test, and to a report in the kernel's log."""
    return Finding(Status.FAIL) if seen.count(Result.FAIL) or seen.kernel.matches else NOTHING


def nothing_passed(_: BootQuestion, seen: Evidence) -> Finding:
    """Applies if every test was skipped."""
    return NOTHING if seen.count(Result.PASS) else Finding(Status.SKIP)


def function_was_not_tested(asked: BootQuestion, seen: Evidence) -> Finding:
    """Applies if neither KUnit nor the launch test ran: only these test snp_launch_update_vmsa()."""
    why = [test.reason or "skipped" for test in seen.tests if test.name == KUNIT and test.result is Result.SKIP]
    if asked.untested:
        why.append(asked.untested)
    launched = any(test.program == LAUNCH_TEST and test.result is Result.PASS for test in seen.tests)
    if not why or launched:
        return NOTHING
    return Finding(Status.SKIP, [f"nothing here tested snp_launch_update_vmsa(): {why[0]}"])


def all_is_well(_: BootQuestion, __: Evidence) -> Finding:
    """Applies always."""
    return Finding(Status.PASS)


# --- Each of these rules adds lines; some can turn the verdict into a failure ---------------------------------------


def failed_tests(_: BootQuestion, seen: Evidence, __: Status) -> Finding:
    """Names the failed tests and their failed cases."""
    said: list[str] = []
    for settled in seen.settled:
        test = settled.test
        if test.result in (Result.FAIL, Result.TIMEOUT):
            said.append(f"{test.name}: {test.reason or test.result.value}")
            said.extend(f"  not ok: {below}" for below in test.failed[:12])
            said.extend(f"  not ok: {wrong}" for wrong in settled.wrong[:20])
    return Finding(None, said)


def known_failures(_: BootQuestion, seen: Evidence, __: Status) -> Finding:
    """Names the known failures."""
    return Finding(None, [f"known failure: {name}: {why}" for name, why in seen.known])


def host_has_errors(asked: BootQuestion, seen: Evidence, so_far: Status) -> Finding:
    """Applies if the emulated host counted errors that no test provokes, or left no count. A panic or time-out remains the
    verdict."""
    if not asked.emulated:
        return NOTHING
    unasked, said = seen.logs.host.unasked(asked.provoked)
    if not unasked:
        return NOTHING
    if so_far in CUT_SHORT:
        return Finding(None, said if "errors" in seen.logs.host.data else ())
    return Finding(Status.FAIL, said)


def rmp_entries_are_left(asked: BootQuestion, seen: Evidence, so_far: Status) -> Finding:
    """Applies to a boot that has not failed yet, if more RMP entries than the tests leak on purpose do not belong to the
    hypervisor, or if they were not counted."""
    left = seen.logs.host.rmp_left()
    allowed = {name: asked.provoked.get(name, 0) for name in left}
    if not (asked.emulated and asked.snp) or so_far not in NOT_FAILED or all(
            n is not None and (most := allowed[name]) is not None and n <= most for name, n in left.items()):
        return NOTHING
    return Finding(Status.FAIL, ["expected every RMP entry to belong to the hypervisor once the last VM and the driver have "
                                 "ended, found " + ", ".join(f"{name} {n}" for name, n in left.items())])


def kernel_is_no_snp_host(asked: BootQuestion, seen: Evidence, so_far: Status) -> Finding:
    """Applies to a boot that has not failed yet, if its kernel did not become an SNP host but must."""
    if not (asked.emulated and asked.snp) or so_far not in NOT_FAILED or seen.kernel.snp_enabled:
        return NOTHING
    head = "expected \"SEV-SNP enabled\" in the kernel's log, found none; its lines about SEV, SNP and ccp:"
    return Finding(Status.FAIL, [head, *(f"  {line}" for line in seen.kernel.about_snp()[:8])])


def kunit_without_a_result(_: BootQuestion, seen: Evidence, __: Status) -> Finding:
    """Names the failed KUnit cases of a boot that ended before KUnit's result."""
    return Finding(None, [f"  not ok: {below}" for below in seen.logs.ktap.below[:12]])


def kernel_reported(_: BootQuestion, seen: Evidence, __: Status) -> Finding:
    """Shows the kernel's reports."""
    lines = seen.kernel.matches
    if not lines:
        return NOTHING
    return Finding(None, [f"{len(lines)} report(s) in the kernel's log:", *(f"  {line}" for line in lines[:8])])


DECIDING: tuple[Deciding, ...] = (kernel_panicked, time_is_over, results_are_missing, kernel_log_is_missing,
                                  something_failed, nothing_passed, function_was_not_tested, all_is_well)
ADDING: tuple[Adding, ...] = (failed_tests, known_failures, host_has_errors, rmp_entries_are_left,
                              kernel_is_no_snp_host, kunit_without_a_result, kernel_reported)
RULES: tuple[Callable[..., Finding], ...] = (*DECIDING, *ADDING)


@dataclass
class Verdict:
    """A boot's verdict."""

    asked: BootQuestion
    seen: Evidence
    status: Status
    problems: list[str]

    @property
    def snp(self) -> bool | None:
        """Did the kernel become an SNP host? None if the machine is not the emulated host."""
        return self.seen.kernel.snp_enabled if self.asked.emulated else None

    @property
    def unasked(self) -> int:
        """The number of errors on the emulated host that no test provokes."""
        return self.seen.logs.host.unasked(self.asked.provoked)[0] if self.asked.emulated else 0

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        host = self.seen.logs.host.data if self.asked.emulated else {}
        return versioned({
            "verb": "run", "tree": self.asked.tree, "linux": self.asked.linux, "qemu": self.asked.qemu,
            "verdict": self.status.value, "exit": int(self.status.exit), "passed": self.seen.count(Result.PASS),
            "failed": self.seen.count(Result.FAIL, Result.TIMEOUT), "skipped": self.seen.count(Result.SKIP),
            "known_failures": len(self.seen.known), "tests": [test.to_json() for test in self.seen.tests],
            "reports": self.seen.kernel.matches, "problems": self.problems, "snp": self.snp, "host": host,
            "host_errors": host.get("guest-errors"), "host_errors_unasked": self.unasked,
            "stages": [{"seconds": seconds, "stage": stage} for seconds, stage in self.asked.stages],
            "logs": str(self.asked.logs)})

    def summary(self) -> str:
        """The reports of the kernel and the errors on the host, for the last line."""
        reports = len(self.seen.kernel.matches)
        said = f"{reports} kernel reports" if reports else "no report in the kernel's log"
        if self.asked.emulated:
            total = self.seen.logs.host.data.get("guest-errors")
            if total is None:
                said += ", errors on the emulated host not known"
            elif total == 0:
                said += ", no error on the emulated host"
            else:
                said += f", {total} error(s) on the emulated host" + ("" if self.unasked else ", all provoked by tests")
        return said

    def case_counts(self) -> str:
        """The launch test's cases and the known failures, in brackets; empty if there are none. With --html, L1 runs the
        launch test twice; the first time counts."""
        launch = next((settled for settled in self.seen.settled if settled.test.program == LAUNCH_TEST), None)
        said, known = [], len(self.seen.known)
        if launch is not None and launch.test.cases:
            cases = launch.test.cases
            said.append(f"the launch test: {sum(case.result is Result.PASS for case in cases)} of {len(cases)} cases passed"
                        + (f", {len(launch.known)} known to fail" if launch.known else ""))
            known -= len(launch.known)
        if known:
            said.append(f"{'other programs: ' if said else ''}{known} known to fail")
        return f" ({'; '.join(said)})" if said else ""

    def last_line(self) -> str:
        """The verdict in one line."""
        return (f"{self.status.value.upper()}: {self.asked.tree} on linux {self.asked.linux}: "
                f"{self.seen.count(Result.PASS)} passed, {self.seen.count(Result.FAIL, Result.TIMEOUT)} failed, "
                f"{self.seen.count(Result.SKIP)} skipped{self.case_counts()}; {self.summary()}; "
                f"logs: {self.asked.shown_logs or self.asked.logs}")

    def lines(self) -> list[str]:
        """The text for the user: problems, then the verdict."""
        return [*(f"      {problem}" for problem in self.problems), self.last_line()]

    def write(self, path: Path | None = None) -> None:
        """Writes the JSON beside the logs, and to the user's file."""
        data = self.to_json()
        if path is not None:
            write_json(path, data)
        write_json(self.asked.logs / "verdict.json", data)


def judge(asked: BootQuestion) -> Verdict:
    """Applies the rules in order."""
    logs, expected = BootLogs.read(asked.logs), read_known(asked.expect)
    seen = Evidence(logs, [settle(test, expected, may_pass=asked.may_pass, may_skip=not asked.snp)
                           for test in logs.ktap.tests])
    first = next(finding for finding in (rule(asked, seen) for rule in DECIDING) if finding.status is not None)
    assert first.status is not None
    status, problems = first.status, list(first.problems)
    for rule in ADDING:
        finding = rule(asked, seen, status)
        status = finding.status or status
        problems.extend(finding.problems)
    return Verdict(asked, seen, status, problems)
