# SPDX-License-Identifier: GPL-2.0-only
"""The verdict on all bugs of tests/history: which layer caught which bug, and how many of those that software can show.

A bug that two trees had is one bug. It is caught if each tree that was booted with it caught it."""
from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import shorten
from typing import Any

from lab.core.errors import Exit
from lab.history.bug import COMPONENTS, Bug
from lab.judge.files import read_json, versioned
from lab.judge.mutants import Header, MutantResult, Word
from lab.judge.part import Part, joined_logs

INDENT = "      "
# For bugs whose header names none.
NO_COMPONENT = "no component"


class Fate(enum.Enum):
    """The result for a bug."""

    # After a boot, in the words for a mutant.
    CAUGHT = Word.CAUGHT.value
    NOT_AS_NAMED = Word.NOT_AS_NAMED.value
    SURVIVED = Word.SURVIVED.value
    NOT_JUDGED = Word.NOT_JUDGED.value
    # The header is wrong.
    BAD_HEADER = "bad header"
    # Not booted: its patch does not apply any more, ...
    STALE = "stale"
    # ... a test is missing, ...
    WAITS = "waits for a test"
    # ... or it takes what the emulated host does not model, or luck.
    NEEDS = "not shown here"

    @property
    def fails(self) -> bool:
        """Does the verb fail because of it?"""
        return self in (Fate.NOT_AS_NAMED, Fate.SURVIVED, Fate.NOT_JUDGED, Fate.BAD_HEADER)


# The result of a bug that two trees have is the first of these: a failure in one counts, as does a catch in one if the other
# was not booted.
ORDER = (Fate.BAD_HEADER, Fate.NOT_JUDGED, Fate.SURVIVED, Fate.NOT_AS_NAMED, Fate.CAUGHT, Fate.WAITS, Fate.NEEDS, Fate.STALE)


@dataclass
class BugResult:
    """One bug in one tree."""

    bug: Bug
    fate: Fate
    # Who caught it, or why it was not booted.
    by: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        bug = self.bug
        return {"tree": bug.tree, "bug": bug.slug, "result": self.fate.value, "by": self.by, "problems": self.problems,
                "seconds": self.seconds, "fix": bug.commit, "subject": bug.subject, "component": bug.component,
                "class": bug.fields.get("Class", ""), "present": bug.present, "story": bug.story, "header": bug.fields}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> BugResult:
        """The reverse of to_json(). The bug has its fields, but not the layers that its header names."""
        bug = Bug(data["tree"], Path(f"{data['bug']}.patch"), Header(data["bug"]), data["story"], data["header"])
        return cls(bug, Fate(data["result"]), data["by"], data["problems"], data["seconds"])


def without_boot(bug: Bug, stale: bool) -> BugResult | None:
    """The result of a bug that is not booted; None if it is to be booted."""
    if bug.errors:
        return BugResult(bug, Fate.BAD_HEADER, problems=bug.errors)
    if stale:
        return BugResult(bug, Fate.STALE, ["its patch does not apply any more: history --rebase shows the hunks"])
    if bug.must_be_caught:
        return None
    # For a race, a test that waits for luck is no use.
    if "Needs" in bug.fields and not bug.shows.in_software:
        return BugResult(bug, Fate.NEEDS, [bug.fields["Needs"]])
    return BugResult(bug, Fate.WAITS, [bug.fields["Waits-for"]])


def booted(bug: Bug, folder: Path) -> BugResult:
    """The result of a bug's boot, as judge_mutant() wrote it into the folder."""
    data = read_json(folder / "result.json")
    if data.get("name") != bug.slug:
        return BugResult(bug, Fate.NOT_JUDGED, problems=["it was not run"])
    result = MutantResult.from_json(data)
    fate = Fate(result.word.value)
    problems = result.problems or ([] if fate is Fate.CAUGHT else ["no layer saw a difference"])
    return BugResult(bug, fate, [str(catcher) for catcher, caught in result.named if caught], problems, result.seconds)


@dataclass
class Row:
    """One bug, in all trees that were tried."""

    slug: str
    results: list[BugResult]

    @property
    def bug(self) -> Bug:
        """One of the bugs, for what they have in common."""
        return self.results[0].bug

    @property
    def fate(self) -> Fate:
        """Its result, of those of its trees."""
        return next(fate for fate in ORDER if any(result.fate is fate for result in self.results))

    @property
    def counts(self) -> bool:
        """Is it one of the bugs that recall is measured on?"""
        return self.fate not in (Fate.STALE, Fate.BAD_HEADER) and self.bug.shows.in_software

    def cells(self) -> tuple[str, ...]:
        """Its row of the table."""
        trees = " ".join(result.bug.tree + ("*" if result.bug.present else "")
                         + (f" ({result.fate.value})" if result.fate is not self.fate else "") for result in self.results)
        who = list(dict.fromkeys(what for result in self.results if result.fate is self.fate for what in result.by))
        more = f" and {len(who) - 1} more" if len(who) > 1 else ""
        return (self.slug, self.bug.fields.get("Class", "?")[:1], trees,
                self.fate.value.upper() if self.fate.fails else self.fate.value, shorten(who[0] if who else "", 90) + more)


@dataclass
class History:
    """The verdict."""

    rows: list[Row]
    # A sentence for each problem that is no bug's: a control that does not pass.
    problems: list[str]
    seconds: int
    shown_logs: str
    # The kernels' versions, by tree.
    kernels: dict[str, str | None] = field(default_factory=dict)
    part: Part = Part()

    @property
    def results(self) -> list[BugResult]:
        """Each bug in each tree."""
        return [result for row in self.rows for result in row.results]

    @property
    def done(self) -> list[str]:
        """The names of the bugs that it has results of."""
        return [f"{result.bug.tree}/{result.bug.slug}" for result in self.results]

    @property
    def counts(self) -> Counter[Fate]:
        """The number of bugs for each result."""
        return Counter(row.fate for row in self.rows)

    @property
    def gaps(self) -> int:
        """How many of the bugs that are not shown here wait for a gap of the emulated host that host/README.md names."""
        return sum(row.fate is Fate.NEEDS and "Gap" in row.bug.fields for row in self.rows)

    @property
    def recall(self) -> tuple[int, int]:
        """How many of the bugs that software on an emulated host can show were caught, and how many those are."""
        counted = [row for row in self.rows if row.counts]
        return sum(row.fate is Fate.CAUGHT for row in counted), len(counted)

    @property
    def all_problems(self) -> list[str]:
        """All problems, each with the tree and the bug."""
        return self.problems + [f"{result.bug.tree}/{result.bug.slug}: {result.fate.value}: {problem}"
                                for result in self.results if result.fate.fails for problem in result.problems]

    @property
    def status(self) -> Exit:
        """A pass if a bug was caught, no bug's result fails, and there is no other problem; a skip if none was booted. A
        shard may have only bugs that are not booted."""
        if self.problems or any(row.fate.fails for row in self.rows):
            return Exit.FAIL
        return Exit.PASS if self.counts[Fate.CAUGHT] or not self.part.shard.is_whole else Exit.SKIP

    @property
    def word(self) -> str:
        """The verdict in a word."""
        return {Exit.PASS: "PASS", Exit.SKIP: "SKIP"}.get(self.status, "FAIL")

    def components(self) -> dict[str, tuple[int, int, int]]:
        """By component: bugs caught, bugs that software can show, all bugs."""
        found = {}
        for name in (*COMPONENTS, ""):
            rows = [row for row in self.rows if row.bug.component == name]
            if rows:
                shown = [row for row in rows if row.counts]
                found[name] = (sum(row.fate is Fate.CAUGHT for row in shown), len(shown), len(rows))
        return found

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        caught, shown = self.recall
        return versioned({
            "verb": "history", "verdict": self.word.lower(), "exit": int(self.status),
            "seconds": self.seconds,
            "counts": {"bugs": len(self.rows), **{fate.value: self.counts[fate] for fate in Fate}},
            "recall": {"caught": caught, "shown_in_software": shown}, "gaps": self.gaps,
            "components": {name or NO_COMPONENT: {"caught": caught, "shown_in_software": shown, "bugs": bugs}
                           for name, (caught, shown, bugs) in self.components().items()},
            "problems": self.all_problems, "controls": self.problems, "linux": self.kernels,
            "bugs": [result.to_json() for result in self.results], "logs": self.shown_logs, "shard": self.part.to_json()})

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> History:
        """The reverse of to_json()."""
        return history_of([BugResult.from_json(bug) for bug in data["bugs"]], data["controls"], data["seconds"],
                          data["logs"], data["linux"], Part.from_json(data["shard"]))

    @classmethod
    def joined(cls, reports: Sequence[History], part: Part) -> History:
        """The verdict on all shards, in the order of a whole run."""
        results = {name: result for report in reports for name, result in zip(report.done, report.results)}
        kernels = {tree: version for report in reports for tree, version in report.kernels.items()}
        return history_of([results[name] for name in part.names], [p for report in reports for p in report.problems],
                          sum(report.seconds for report in reports), joined_logs(report.shown_logs for report in reports),
                          kernels, part)

    def lines(self) -> list[str]:
        """The text for the user: a table for each component, the problems, the counts, the verdict."""
        said: list[str] = []
        for name, (caught, shown, bugs) in self.components().items():
            said.append(f"{name or NO_COMPONENT}: {caught} caught of {shown} that software can show; {bugs} bugs")
            said += table([row.cells() for row in self.rows if row.bug.component == name])
        said += [INDENT + problem for problem in self.all_problems]
        said += [f"{INDENT}{result.bug.tree}/{row.slug}: stale: {result.by[0]}"
                 for row in self.rows for result in row.results if result.fate is Fate.STALE]
        if any(result.bug.present for result in self.results):
            said.append(f"{INDENT}*: the tree still has the bug; its patch is the fix, and the boot with it the control")
        counts, (caught, shown) = self.counts, self.recall
        more = {Fate.NEEDS: f" ({self.gaps} for a gap that host/README.md names)"}
        rest = ", ".join(f"{counts[fate]} {fate.value}{more.get(fate, '')}" for fate in ORDER
                         if fate is not Fate.CAUGHT and counts[fate])
        said.append(f"{self.word}: {len(self.rows)} bugs: {counts[Fate.CAUGHT]} caught"
                    f"{', ' + rest if rest else ''}; recall: {caught} of {shown} that software can show; {self.seconds} s; "
                    f"logs: {self.shown_logs}")
        return said


def table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows as lines, with columns below each other."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return [INDENT + "  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows]


def history_of(results: Sequence[BugResult], problems: Sequence[str], seconds: int, shown_logs: str,
               kernels: Mapping[str, str | None] | None = None, part: Part = Part()) -> History:
    """Joins the trees' results, by bug."""
    by_slug: dict[str, list[BugResult]] = {}
    for result in results:
        by_slug.setdefault(result.bug.slug, []).append(result)
    return History([Row(slug, by_slug[slug]) for slug in sorted(by_slug)], list(problems), seconds, shown_logs,
                   dict(kernels or {}), part)
