# SPDX-License-Identifier: GPL-2.0-only
"""Derives a program's result from its cases: a known failure does not count as one; a missing or skipped case does."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from lab.judge.expect import KnownFailures
from lab.judge.ktap import Case, Result, TestResult

LAUNCH_TEST = "sev_snp_launch_test"
KUNIT = "kunit"
# The results that can follow from a program's cases.
ORDINARY = (Result.PASS, Result.FAIL)
# The options that pick a case: see lab/l1/programs.
PICKS = (":-t:", ":-r:")


@dataclass
class Settled:
    """A program's result after its cases were judged."""

    test: TestResult
    # The problems, as text.
    wrong: list[str]
    # The cases with a known failure: (name, reason).
    known: list[tuple[str, str]]


def settle(test: TestResult, expected: KnownFailures, *, may_pass: bool, may_skip: bool) -> Settled:
    """Judges a program's cases by the list of known failures. may_pass: a listed case may pass, as the tree may be newer
    than the list; may_skip: a case may be skipped, as the machine may not be able to run it."""
    wrong: list[str] = []
    known: list[tuple[str, str]] = []
    # A program without cases is judged as a single case.
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
        # Failed cases explain an exit status. They do not explain a signal or a missing result.
        result, reason = Result.PASS, ""
    return Settled(replace(test, result=result, reason=reason, cases=[] if whole else cases), wrong, known)


def _settle_case(case: Case, test: TestResult, expected: KnownFailures, *, may_pass: bool, may_skip: bool,
                 whole: bool) -> tuple[Case, str | None]:
    """The case, marked as known to fail if it is, and its problem or None."""
    entry = expected.of(test.program, None if whole else case.name)
    if case.result is Result.SKIP and not may_skip and test.name != KUNIT:
        if entry and entry.covers_skip(case):
            return replace(case, result=Result.KNOWN_FAILURE, known=entry.reason), None
        return case, f"{case.name}: skipped, although this host can run it: {case.reason}"
    if case.result is Result.FAIL and entry:
        objection = entry.objection(case)
        if objection is not None:
            return case, f"{case.name}: {objection}"
        return replace(case, result=Result.KNOWN_FAILURE, known=entry.reason), None
    if case.result is Result.FAIL and not whole:
        return case, f"{case.name}: {case.complaint()}"
    if case.result is Result.PASS and entry and not may_pass:
        return case, f"{case.name}: passes, but is listed as known to fail ({entry.reason}): remove it from the list"
    return case, None


def _missing_cases(test: TestResult, expected: KnownFailures, may_pass: bool) -> Sequence[str]:
    """Problems with the number of cases and with their names."""
    if test.result not in ORDINARY:
        return []
    if not test.cases:
        if test.result is not Result.PASS:
            return []
        if any(pick in test.name for pick in PICKS):
            return ["expected the case that --test names, found no case"]
        return ["expected cases of the launch test, found none"] if test.program == LAUNCH_TEST else []
    wrong = []
    # The name has the arguments, which the list has not: a run of some cases may lack listed ones.
    gone = expected.cases_of(test.name) - {case.name for case in test.cases}
    if gone and not may_pass:
        wrong.append(f"listed as known to fail, but the test has no such case: {', '.join(sorted(gone))}")
    if test.cases_planned != len(test.cases):
        wrong.append(f"expected results of {test.cases_planned} cases, found {len(test.cases)}")
    return wrong
