# SPDX-License-Identifier: GPL-2.0-only
"""The only reader of series/TREE/expect, the list of a tree's known failures:

    TEST[ CASE]: known failure: REASON
        says: REGULAR EXPRESSION        matches a line that the failing case prints, or why it is skipped
        evidence: FILE                  a patch in host/tests/kvm/evidence with which the case passes
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.core.errors import setup_error
from lab.judge.files import read_lines
from lab.judge.ktap import WHERE, Case

# Python and grep -E read these forms differently: \d, (?:), [[:digit:]], *?.
READ_DIFFERENTLY = re.compile(r"\\[A-Za-z0-9]|\(\?|\[\[[:.=]|[*+?}]\?")
ENTRY = re.compile(r"^(\S+)(?: (\S+))?: known failure: (.+)$")
# A case that prints this is no known failure: something hangs, or was not tested. lab/hw.sh has the same pattern.
NEVER_KNOWN = re.compile(r"did not (return|end|die)|left behind|cannot be killed|thread is gone|not run:|"
                         r"expected it to block|stopped waiting")


def never_known_pattern() -> str:
    """NEVER_KNOWN as an extended regular expression, as it must be in lab/hw.sh."""
    return NEVER_KNOWN.pattern


@dataclass
class Known:
    """One entry of the list."""

    program: str
    case: str | None
    reason: str
    says: str | None = None
    evidence: str | None = None

    def objection(self, case: Case) -> str | None:
        """Why this failure is not the known one; None if it is."""
        never = next((line for line in case.said if NEVER_KNOWN.search(line)), None)
        if never is not None:
            return f"known to fail, but not in this way: {WHERE.sub('', never)}"
        if self.says is None:
            return f"known to fail, but the list has no \"says:\" for it: {case.complaint()}"
        if not any(re.search(self.says, line) for line in case.said):
            return f"known to fail, but not in this way: expected \"{self.says}\", found: {case.complaint()}"
        return None

    def covers_skip(self, case: Case) -> bool:
        """Does the list say that this kernel cannot run the case, for the reason that the case gives?"""
        return self.says is not None and re.search(self.says, case.reason) is not None


@dataclass
class KnownFailures:
    """The list of one tree, by program and case. If the program fails as a whole, the case is None."""

    entries: dict[tuple[str, str | None], Known] = field(default_factory=dict)

    def of(self, program: str, case: str | None) -> Known | None:
        """The entry of a case, or of a whole program."""
        return self.entries.get((program, case))

    def cases_of(self, program: str) -> set[str]:
        """The names of a program's cases that are in the list."""
        return {case for name, case in self.entries if name == program and case is not None}

    def whole_programs(self) -> Sequence[Known]:
        """The programs that fail as a whole."""
        return [known for known in self.entries.values() if known.case is None]


def fault_of(expression: str) -> str | None:
    """Why an expression cannot be used after "says:", which Python reads here and grep -E in lab/hw.sh; None if it can."""
    if not expression:
        return "it is empty"
    if READ_DIFFERENTLY.search(expression):
        return "Python and grep -E read it differently"
    try:
        re.compile(expression)
    except re.error as e:
        return str(e)
    return None


def checked(path: Path | None, expression: str) -> str:
    """Returns the expression; raises Stop if it cannot be used."""
    fault = fault_of(expression)
    if fault is not None:
        raise setup_error(f"{path}: expected an extended regular expression after \"says:\", found {expression}: {fault}",
                          "use only what Python and grep -E both know; write a literal bracket or star with a backslash")
    return expression


def read_known(path: Path | None) -> KnownFailures:
    """Reads a list. Without a file there are no known failures."""
    found = KnownFailures()
    last: Known | None = None
    for line in read_lines(path) if path else []:
        m = ENTRY.match(line)
        if m:
            last = found.entries.setdefault((m[1], m[2]), Known(m[1], m[2], m[3]))
        elif last and line[:1].isspace():
            key, _, value = line.strip().partition(":")
            if key == "says":
                last.says = checked(path, value.strip())
            elif key == "evidence":
                last.evidence = value.strip()
            else:
                raise setup_error(f"{path}: expected \"says: …\" or \"evidence: …\" below an entry, found: {line.strip()}",
                                  "see series/linux-6.12.y/expect for the form")
        elif line.strip() and not line.startswith("#"):
            raise setup_error(f"{path}: expected \"TEST[ CASE]: known failure: REASON\" or an indented \"says: ...\", "
                              f"found: {line}", "see series/linux-6.12.y/expect for the form")
    return found
