# SPDX-License-Identifier: GPL-2.0-only
"""The result of a program by its cases: known failures are none, and a case that is missing or skipped is one."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lab.judge.expect import KnownFailures
from lab.judge.ktap import Case, Result, TestResult

LAUNCH_TEST = "sev_snp_launch_test"
KUNIT = "kunit"
# A result that a program's cases can explain.
ORDINARY = (Result.PASS, Result.FAIL)
# How a case is picked: see lab/l1/programs.
PICKS = (":-t:", ":-r:")


@dataclass
class Settled:
    """A program's result after its cases were looked at."""

    test: TestResult
    # The faults, in words.
    wrong: list[str]
    # The cases that failed as known, by name, and why.
    known: list[tuple[str, str]]


def settle(test: TestResult, expected: KnownFailures, *, may_pass: bool, may_skip: bool) -> Settled:
    """Takes known failures off a program and its cases. may_pass: the tree may be ahead of the list; may_skip: the
    machine may lack what a case needs."""
    wrong: list[str] = []
    known: list[tuple[str, str]] = []
    # A program without cases is looked at as its own only case.
    whole = not test.cases
    cases = []
    for case in test.cases or [Case(test.name, test.result, test.reason, test.said)]:
        case, problem = _settle_case(case, test, expected, may_pass=may_pass, may_skip=may_skip, whole=whole)
        if problem is not None:
            wrong.append(problem)
        if case.known is not None:
            known.append((case.name, case.known))
        cases.append(case)
    wrong += _missing_cases(test, expected, may_pass)
    result, reason = test.result, test.reason
    if wrong and result in (Result.PASS, Result.SKIP):
        result = Result.FAIL
    elif known and not wrong and result is Result.FAIL and reason.startswith("exit status "):
        # The cases account for the exit status. They do not for a signal, nor for an end before the plan's.
        result, reason = Result.PASS, ""
    return Settled(replace(test, result=result, reason=reason, cases=[] if whole else cases), wrong, known)


def _settle_case(case: Case, test: TestResult, expected: KnownFailures, *, may_pass: bool, may_skip: bool,
                 whole: bool) -> tuple[Case, str | None]:
    """The case, as known to fail if it is, and what is wrong with it."""
    entry = expected.of(test.program, None if whole else case.name)
    if case.result is Result.SKIP and not may_skip and test.name != KUNIT:
        return case, f"{case.name}: skipped, on a host that has what it needs: {case.reason}"
    if case.result is Result.FAIL and entry:
        objection = entry.objection(case)
        if objection is not None:
            return case, f"{case.name}: {objection}"
        return replace(case, result=Result.KNOWN_FAILURE, known=entry.reason), None
    if case.result is Result.FAIL and not whole:
        return case, f"{case.name}: {case.complaint()}"
    if case.result is Result.PASS and entry and not may_pass:
        return case, f"{case.name}: passes, and is known to fail ({entry.reason}): take it out of the list"
    return case, None


def _missing_cases(test: TestResult, expected: KnownFailures, may_pass: bool) -> Sequence[str]:
    """The faults in the number of cases and in their names."""
    if test.result not in ORDINARY:
        return []
    if not test.cases:
        if test.result is not Result.PASS:
            return []
        if any(pick in test.name for pick in PICKS):
            return ["expected the case that was asked for, found no case"]
        return ["expected cases of the launch test, found none"] if test.program == LAUNCH_TEST else []
    wrong = []
    # With arguments the program may have been asked for some of its cases.
    gone = expected.cases_of(test.name) - {case.name for case in test.cases}
    if gone and not may_pass:
        wrong.append(f"known to fail, and no case of this test: {', '.join(sorted(gone))}")
    if test.cases_planned != len(test.cases):
        wrong.append(f"expected results of {test.cases_planned} cases, found {len(test.cases)}")
    return wrong
