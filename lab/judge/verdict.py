# SPDX-License-Identifier: GPL-2.0-only
"""From the logs of a boot to pass or fail, in words and as JSON.

A report of L1's kernel is a failure even when every test passed. On the emulated host so are each error that no test
provokes on purpose and, where the kernel is to be an SNP host, a kernel that is none, a case that was skipped, and an
RMP entry that is not the hypervisor's at the end.
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
        """The exit status that goes with it."""
        return Exit[self.name]


# Nobody took the counts of a boot that ended like this, and they would explain nothing.
CUT_SHORT = (Status.PANIC, Status.TIMEOUT)
NOT_FAILED = (Status.PASS, Status.SKIP)


@dataclass(frozen=True)
class BootQuestion:
    """The boot to judge, and the results that it was to have."""

    logs: Path
    tree: str
    linux: str
    qemu: str
    # The programs' names, with their arguments, in their order.
    wanted: Sequence[str]
    expect: Path | None = None
    # The tree may be ahead of the list of known failures.
    may_pass: bool = False
    emulated: bool = False
    # The errors on the emulated host that the programs provoke: how many of each kind, None for any number.
    provoked: Mapping[str, int | None] = field(default_factory=dict)
    # The kernel is to become an SNP host.
    snp: bool = False
    # Why KUnit was left out.
    untested: str | None = None
    # How long each step of the run took, and its title.
    stages: Sequence[tuple[int, str]] = ()
    # The logs' folder as the user would write it.
    shown_logs: str | None = None


@dataclass
class Evidence:
    """The evidence for the rules: the boot's logs, and its programs with known failures taken off."""

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
        """The cases that failed as known, and why."""
        return [known for settled in self.settled for known in settled.known]

    def count(self, *results: Result) -> int:
        """How many programs have one of these results."""
        return sum(test.result in results for test in self.tests)


@dataclass(frozen=True)
class Finding:
    """The finding of a rule: lines for the user, and the verdict that follows, if one does."""

    status: Status | None
    problems: Sequence[str] = ()


NOTHING = Finding(None)
Deciding = Callable[[BootQuestion, Evidence], Finding]
# With the verdict so far.
Adding = Callable[[BootQuestion, Evidence, Status], Finding]


# --- The first of these that applies decides ------------------------------------------------------------------------


def kernel_panicked(_: BootQuestion, seen: Evidence) -> Finding:
    """Applies to a panic, whatever passed before it."""
    if seen.kernel.panic is None:
        return NOTHING
    return Finding(Status.PANIC, [f"the kernel panicked: {seen.kernel.panic}"])


def time_is_over(_: BootQuestion, seen: Evidence) -> Finding:
    """Applies to an L1 that did not power off in time, and to a program that did not end in its time."""
    limit = seen.logs.timed_out
    if limit is not None:
        return Finding(Status.TIMEOUT, [f"no end within {limit} s"])
    return Finding(Status.TIMEOUT) if seen.count(Result.TIMEOUT) else NOTHING


def results_are_missing(asked: BootQuestion, seen: Evidence) -> Finding:
    """Applies unless L1 planned and reported exactly the programs that were asked for, in their order, to the end."""
    ktap = seen.logs.ktap
    names = [test.name for test in seen.tests]
    if ktap.ended and names == list(asked.wanted) and ktap.plan == len(asked.wanted):
        return NOTHING
    return Finding(Status.FAIL, [f"expected results of {len(asked.wanted)} tests, found {len(names)}"
                                 + ("" if ktap.ended else ": L1 ended before its tests did")])


def kernel_log_is_missing(_: BootQuestion, seen: Evidence) -> Finding:
    """Applies where the beginning of the kernel's log is not there: a report may be in what is missing."""
    if seen.kernel.whole:
        return NOTHING
    return Finding(Status.FAIL, ["the kernel's log is not there, or not whole: its reports are not known"])


def something_failed(_: BootQuestion, seen: Evidence) -> Finding:
    """Applies to a failed test, and to a report of the kernel's though all tests passed."""
    return Finding(Status.FAIL) if seen.count(Result.FAIL) or seen.kernel.matches else NOTHING


def nothing_passed(_: BootQuestion, seen: Evidence) -> Finding:
    """Applies where every test was skipped."""
    return NOTHING if seen.count(Result.PASS) else Finding(Status.SKIP)


def function_was_not_tested(asked: BootQuestion, seen: Evidence) -> Finding:
    """Applies where neither KUnit nor the launch test ran: a pass needs a test of snp_launch_update_vmsa()."""
    why = [test.reason or "skipped" for test in seen.tests if test.name == KUNIT and test.result is Result.SKIP]
    if asked.untested:
        why.append(asked.untested)
    launched = any(test.program == LAUNCH_TEST and test.result is Result.PASS for test in seen.tests)
    if not why or launched:
        return NOTHING
    return Finding(Status.SKIP, [f"nothing here tested snp_launch_update_vmsa(): {why[0]}"])


def all_is_well(_: BootQuestion, __: Evidence) -> Finding:
    """Applies to everything else."""
    return Finding(Status.PASS)


# --- Each of these adds lines, and some of these rules a failure ----------------------------------------------------


def failed_tests(_: BootQuestion, seen: Evidence, __: Status) -> Finding:
    """Names the tests that failed, and the cases below them."""
    said: list[str] = []
    for settled in seen.settled:
        test = settled.test
        if test.result in (Result.FAIL, Result.TIMEOUT):
            said.append(f"{test.name}: {test.reason or test.result.value}")
            said.extend(f"  not ok: {below}" for below in test.failed[:12])
            said.extend(f"  not ok: {wrong}" for wrong in settled.wrong[:20])
    return Finding(None, said)


def known_failures(_: BootQuestion, seen: Evidence, __: Status) -> Finding:
    """Names the cases that failed as known."""
    return Finding(None, [f"known failure: {name}: {why}" for name, why in seen.known])


def host_has_errors(asked: BootQuestion, seen: Evidence, so_far: Status) -> Finding:
    """Applies to an emulated host that counted errors which no test asked for, or left no count. A panic stays one."""
    if not asked.emulated:
        return NOTHING
    unasked, said = seen.logs.host.unasked(asked.provoked)
    if not unasked:
        return NOTHING
    if so_far in CUT_SHORT:
        return Finding(None, said if "errors" in seen.logs.host.data else ())
    return Finding(Status.FAIL, said)


def rmp_entries_are_left(asked: BootQuestion, seen: Evidence, so_far: Status) -> Finding:
    """Applies to a boot that would not fail otherwise: RMP entries are not the hypervisor's, or nobody counted them."""
    left = seen.logs.host.rmp_left()
    if not (asked.emulated and asked.snp) or so_far not in NOT_FAILED or set(left.values()) == {0}:
        return NOTHING
    return Finding(Status.FAIL, ["expected every RMP entry back at the hypervisor after the last VM and the driver are "
                                 "gone, found " + ", ".join(f"{name} {n}" for name, n in left.items())])


def kernel_is_no_snp_host(asked: BootQuestion, seen: Evidence, so_far: Status) -> Finding:
    """Applies to a boot that would not fail otherwise: its kernel was to become an SNP host and did not."""
    if not (asked.emulated and asked.snp) or so_far not in NOT_FAILED or seen.kernel.snp_enabled:
        return NOTHING
    head = "expected \"SEV-SNP enabled\" in the kernel's log, found none; its lines on SEV, SNP and ccp:"
    return Finding(Status.FAIL, [head, *(f"  {line}" for line in seen.kernel.about_snp()[:8])])


def kunit_without_a_result(_: BootQuestion, seen: Evidence, __: Status) -> Finding:
    """Names the KUnit cases that failed before L1 ended too early."""
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
        """Did the kernel become an SNP host? None where the machine is not the emulated host."""
        return self.seen.kernel.snp_enabled if self.asked.emulated else None

    @property
    def unasked(self) -> int:
        """The errors on the emulated host that no test asked for."""
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
        """Whether kernel and host were quiet."""
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

    def last_line(self) -> str:
        """The verdict in one line."""
        cases = next((test.cases for test in self.seen.tests if test.program == LAUNCH_TEST), ())
        launched = ""
        if cases:
            passed = sum(case.result is Result.PASS for case in cases)
            launched = f" (the launch test: {passed} of {len(cases)} cases passed"
            launched += f", {len(self.seen.known)} known to fail)" if self.seen.known else ")"
        return (f"{self.status.value.upper()}: {self.asked.tree} on linux {self.asked.linux}: "
                f"{self.seen.count(Result.PASS)} passed, {self.seen.count(Result.FAIL, Result.TIMEOUT)} failed, "
                f"{self.seen.count(Result.SKIP)} skipped{launched}; {self.summary()}; "
                f"logs: {self.asked.shown_logs or self.asked.logs}")

    def lines(self) -> list[str]:
        """For the user: what is wrong, then the verdict."""
        return [*(f"      {problem}" for problem in self.problems), self.last_line()]

    def write(self, path: Path | None = None) -> None:
        """The JSON, beside the logs and where the user wants it."""
        data = self.to_json()
        if path is not None:
            write_json(path, data)
        write_json(self.asked.logs / "verdict.json", data)


def judge(asked: BootQuestion) -> Verdict:
    """Applies the rules in their order."""
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
