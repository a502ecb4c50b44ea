# SPDX-License-Identifier: GPL-2.0-only
"""The one reader of series/TREE/expect, the list of what is known to fail on a tree:

    TEST[ CASE]: known failure: REASON
        says: REGULAR EXPRESSION        a line that the test prints for the case then
        evidence: FILE                  a patch of host/tests/kvm/evidence with which it passes
"""
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.core.errors import setup_error
from lab.judge.files import read_lines
from lab.judge.ktap import WHERE, Case

# Python and grep -E read these differently: \d, (?:), [[:digit:]], *?.
READ_DIFFERENTLY = re.compile(r"\\[A-Za-z0-9]|\(\?|\[\[[:.=]|[*+?}]\?")
ENTRY = re.compile(r"^(\S+)(?: (\S+))?: known failure: (.+)$")
# No known failure says this: something hangs, or was not looked at. lab/hw.sh has the same words.
NEVER_KNOWN = re.compile(r"did not (return|end|die)|left behind|cannot be killed|thread is gone|not run:|"
                         r"expected it to block|stopped waiting")


def never_known_pattern() -> str:
    """NEVER_KNOWN as the extended regular expression that lab/hw.sh has to have."""
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
        """Why the failure of this case is not the known one; None if it is."""
        never = next((line for line in case.said if NEVER_KNOWN.search(line)), None)
        if never is not None:
            return f"known to fail, but not so: {WHERE.sub('', never)}"
        if self.says is None:
            return f"known to fail, but the list has no \"says:\" for it: {case.complaint()}"
        if not any(re.search(self.says, line) for line in case.said):
            return f"known to fail, but to say \"{self.says}\": {case.complaint()}"
        return None


@dataclass
class KnownFailures:
    """The list of one tree, by program and case; the case is None where the program fails as a whole."""

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
    """Why it cannot stand behind "says:", which Python reads here and grep -E in lab/hw.sh. None if it can."""
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
    """The expression. Raises Stop if it has a fault."""
    fault = fault_of(expression)
    if fault is not None:
        raise setup_error(f"{path}: expected an extended regular expression behind \"says:\", found {expression}: {fault}",
                          "use what Python and grep -E both know; write a literal bracket or star with a backslash")
    return expression


def read_known(path: Path | None) -> KnownFailures:
    """Reads a list; without one nothing is known to fail."""
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
