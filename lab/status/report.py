# SPDX-License-Identifier: GPL-2.0-only
"""The verdict on a kernel tree, as lines of text and as JSON."""
from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field

from lab.core.errors import Exit

CVE = "CVE-2026-31591"
JSON_VERSION = 1


class Word(enum.Enum):
    """A verdict in one word. ERROR: there is no verdict, as the tree or this machine cannot be used."""

    FIXED = "fixed"
    NOT_AFFECTED = "not affected"
    OPEN = "open"
    LEAKING = "leaking"
    BROKEN = "broken"
    UNKNOWN = "unknown"
    ERROR = "error"

    @property
    def exit(self) -> Exit:
        """The exit status of this verdict."""
        if self in (Word.FIXED, Word.NOT_AFFECTED):
            return Exit.PASS
        return Exit.SETUP if self in (Word.UNKNOWN, Word.ERROR) else Exit.FAIL


@dataclass(frozen=True)
class Finding:
    """A line of the tree that the verdict is based on."""

    file: str
    line: int
    message: str


@dataclass(frozen=True)
class Verdict:
    """A word with the lines that it is based on, or with a message if there are none."""

    word: Word
    findings: tuple[Finding, ...] = ()
    message: str = ""


class Decided(Exception):
    """Ends the examination early: the verdict is known."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.word.value)
        self.verdict = verdict


class CannotSay(Exception):
    """Ends the examination without a verdict: the tree or this machine cannot be used. Details say what to do."""

    def __init__(self, message: str, *details: str) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


def unknown(*findings: Finding) -> Decided:
    """The verdict UNKNOWN because of these lines, without further questions."""
    return Decided(Verdict(Word.UNKNOWN, findings))


@dataclass
class Report:
    """The output of `status` for a tree."""

    tree: str
    linux: str = ""
    function: str = ""
    verdict: Verdict = Verdict(Word.ERROR, message="not set up, see the messages")
    notes: list[str] = field(default_factory=list)
    # With ERROR: lines for standard error.
    complaint: list[str] = field(default_factory=list)

    @property
    def exit(self) -> int:
        """The exit status."""
        return int(self.verdict.word.exit)

    def lines(self) -> list[str]:
        """The lines for standard output; the verdict's are the last ones."""
        word, linux = self.verdict.word, f"(linux {self.linux})"
        if word is Word.ERROR:
            return []
        lines = [f"note: {note}" for note in self.notes]
        lines += [f"{word.value}: {f.file}:{f.line}: {f.message} {linux}" for f in self.verdict.findings]
        if self.verdict.message:
            lines.append(f"{word.value}: {self.verdict.message} {linux}")
        return lines

    def json(self) -> str:
        """The report as JSON."""
        verdict = self.verdict
        return json.dumps({
            "version": JSON_VERSION,
            "verdict": verdict.word.value,
            "exit": self.exit,
            "cve": CVE,
            "tree": self.tree,
            "linux": self.linux,
            "function": self.function,
            "message": verdict.message,
            "findings": [{"file": f.file, "line": f.line, "message": f.message} for f in verdict.findings],
            "notes": self.notes,
        }, indent=2) + "\n"
