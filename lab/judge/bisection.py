# SPDX-License-Identifier: GPL-2.0-only
"""Answers git bisect: is a commit good, bad, or not to be judged? The exit statuses are those of `git bisect run`
(git-bisect(1), "Bisect run"): 0 good, 1 bad, 125 skip; 128 and more end the bisection."""
from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from lab.judge.files import versioned
from lab.judge.ktap import Result
from lab.judge.verdict import Status, Verdict


class Word(enum.Enum):
    """The answer."""

    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"

    @property
    def exit(self) -> int:
        """The exit status that git bisect takes for this answer."""
        return {Word.GOOD: 0, Word.BAD: 1, Word.SKIP: 125}[self]


# git bisect run ends at this status: a wrong command line, or a machine on which no commit can be tested.
STOP = 128


@dataclass(frozen=True)
class Answer:
    """The answer and its reason, in one line."""

    word: Word
    reason: str


@dataclass(frozen=True)
class Commit:
    """The commit that is checked out."""

    id: str
    subject: str

    @property
    def shown(self) -> str:
        """As the output has it."""
        return f"{self.id} {self.subject}"


def answer_of(verdict: Verdict, broken_boot: Word) -> Answer:
    """The answer for a boot. `broken_boot`: that for a kernel on which L1's init did not start, or that is no SNP host
    although it has the code for one: such a commit has another fault than the one that the tests look for."""
    if verdict.status is Status.PASS:
        return Answer(Word.GOOD, f"{verdict.seen.count(Result.PASS)} passed")
    if not verdict.seen.logs.ktap_lines:
        return Answer(broken_boot, f"it does not boot: {first_problem(verdict)}")
    if verdict.status is Status.SKIP:
        return Answer(Word.SKIP, f"the tests were skipped: {why_skipped(verdict)}")
    if is_no_snp_host(verdict):
        return Answer(broken_boot, "it is no SNP host: no \"SEV-SNP enabled\" in the kernel's log; all tests were skipped")
    return Answer(Word.BAD, first_problem(verdict))


def is_no_snp_host(verdict: Verdict) -> bool:
    """Did the tests run to their end with nothing to see, because the kernel did not become an SNP host?"""
    raw = verdict.seen.logs.ktap.tests
    return (verdict.status is Status.FAIL and verdict.snp is False and not verdict.seen.kernel.matches
            and verdict.seen.logs.ktap.ended and all(test.result is Result.SKIP for test in raw))


def first_problem(verdict: Verdict) -> str:
    """The problem that says most in one line: a failed case, or else the first of all."""
    problems = [problem.strip() for problem in verdict.problems if not problem.startswith("known failure: ")]
    case = next((problem for problem in problems if problem.startswith("not ok: ")), None)
    return case or (problems[0] if problems else verdict.status.value)


def why_skipped(verdict: Verdict) -> str:
    """The reason of the first skipped program, or the rule's."""
    reasons = [test.reason for test in verdict.seen.tests if test.result is Result.SKIP and test.reason]
    return (reasons or [first_problem(verdict)])[0]


@dataclass(frozen=True)
class Step:
    """One step of a bisection."""

    tree: str
    linux: str
    commit: Commit
    answer: Answer
    seconds: int
    logs: str

    def result(self) -> str:
        """The end of the line; it begins with the commit."""
        return f"{self.answer.word.value}: {self.answer.reason}; {self.seconds} s; logs: {self.logs}"

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return versioned({
            "verb": "bisect-step", "tree": self.tree, "linux": self.linux, "commit": self.commit.id,
            "subject": self.commit.subject, "verdict": self.answer.word.value, "exit": self.answer.word.exit,
            "reason": self.answer.reason, "seconds": self.seconds, "logs": self.logs})
