# SPDX-License-Identifier: GPL-2.0-only
"""Judges all mutants together: was each one caught as its header says, and by which layers, on each tree?"""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.core.errors import Exit
from lab.judge.files import read_json, read_lines, versioned, write_json
from lab.judge.ktap import Result
from lab.judge.mutants import BOOT, HOST, IN_LOG, PANIC, Boot, MutantResult, Word
from lab.judge.part import Part, joined_logs
from lab.judge.programs import all_programs

# The columns after those of the programs.
OTHER_COLUMNS = {"kernel log": (*IN_LOG, PANIC), "other": (HOST, BOOT)}
INDENT = "      "
# The verdict of a control that passes.
PASSED = "pass"


@dataclass
class TreeResults:
    """The results of one tree's mutants, and of its control: the boot of its series without a mutant."""

    tree: str
    # The control's verdict in a word, and its kernel's version; None without a verdict.
    control: str | None
    linux: str | None
    results: list[MutantResult]
    # For each program, the cases that passed in the control and that no mutant made fail.
    idle: dict[str, list[str]]
    # The mutants whose control did not pass. A shard has a control of its own.
    in_vain: set[str] = field(default_factory=set)

    @property
    def problems(self) -> list[str]:
        """A sentence for each problem of the control and of the mutants."""
        found = []
        if self.in_vain or (self.control != PASSED and not self.results):
            found.append(f"{self.tree}: the series without a mutant does not pass: no mutant was judged, as each one "
                         "would seem caught")
        for result in self.results:
            if result.name not in self.in_vain or not result.problems:
                problems = result.problems or (["no layer saw a difference"] if result.word is Word.SURVIVED else [])
                found += [f"{self.tree}/{result.name}: {result.word.value}: {problem}" for problem in problems]
        if not self.results:
            found.append(f"{self.tree}: expected mutants, found none")
        return found

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return {"control": self.control, "linux": self.linux,
                "mutants": [result.to_json() for result in self.results], "cases_that_caught_nothing": self.idle}

    @classmethod
    def from_json(cls, tree: str, data: dict[str, Any]) -> TreeResults:
        """The reverse of to_json()."""
        results = [MutantResult.from_json(mutant) for mutant in data["mutants"]]
        return cls(tree, data["control"], data["linux"], results, data["cases_that_caught_nothing"],
                   set() if data["control"] == PASSED else {result.name for result in results})

    @classmethod
    def joined(cls, shards: Sequence[TreeResults]) -> TreeResults:
        """The results of all shards. If one shard's control did not pass, its word is the tree's."""
        control = next((shard.control for shard in shards if shard.control != PASSED), PASSED)
        # A shard's control runs the programs that its mutants need: another's may have run others.
        idle: dict[str, list[str]] = {}
        for shard in shards:
            for program, cases in shard.idle.items():
                idle[program] = [case for case in idle.get(program, cases) if case in cases]
        return cls(shards[0].tree, control, next((shard.linux for shard in shards if shard.linux), None),
                   [result for shard in shards for result in shard.results], _in_order(idle),
                   set().union(*(shard.in_vain for shard in shards)))


@dataclass
class Matrix:
    """The verdict on all mutants."""

    trees: list[TreeResults]
    seconds: int
    shown_logs: str
    part: Part = Part()

    @property
    def problems(self) -> list[str]:
        """The problems of all trees."""
        return [problem for tree in self.trees for problem in tree.problems]

    @property
    def counts(self) -> Counter[str]:
        """The number of mutants for each result."""
        return Counter(result.word.value for tree in self.trees for result in tree.results)

    @property
    def status(self) -> Exit:
        """A pass if there are mutants, all were caught, and there is no problem."""
        total = sum(self.counts.values())
        all_caught = total and self.counts[Word.CAUGHT.value] == total
        return Exit.PASS if all_caught and not self.problems else Exit.FAIL

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return versioned({
            "verb": "mutants", "verdict": "fail" if self.status else "pass", "exit": int(self.status),
            "seconds": self.seconds, "counts": {"mutants": sum(self.counts.values()), **self.counts},
            "problems": self.problems, "trees": {tree.tree: tree.to_json() for tree in self.trees},
            "logs": self.shown_logs, "shard": self.part.to_json()})

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Matrix:
        """The reverse of to_json()."""
        return cls([TreeResults.from_json(tree, found) for tree, found in data["trees"].items()], data["seconds"],
                   data["logs"], Part.from_json(data["shard"]))

    @classmethod
    def joined(cls, reports: Sequence[Matrix], part: Part) -> Matrix:
        """The verdict on all shards, in the order of a whole run."""
        by_tree: dict[str, list[TreeResults]] = {name.partition("/")[0]: [] for name in part.names}
        for tree in (tree for report in reports for tree in report.trees):
            by_tree[tree.tree].append(tree)
        trees = [TreeResults.joined(shards) for shards in by_tree.values()]
        for tree in trees:
            tree.results.sort(key=lambda result: part.names.index(f"{tree.tree}/{result.name}"))
        return cls(trees, sum(report.seconds for report in reports), joined_logs(report.shown_logs for report in reports),
                   part)

    @property
    def done(self) -> list[str]:
        """The names of the mutants that it has results of."""
        return [f"{tree.tree}/{result.name}" for tree in self.trees for result in tree.results]

    @property
    def kernels(self) -> dict[str, str | None]:
        """The kernels' versions, by tree."""
        return {tree.tree: tree.linux for tree in self.trees}

    def lines(self) -> list[str]:
        """The text for the user: a table for each tree, the problems, the verdict."""
        said: list[str] = []
        for tree in self.trees:
            said += _table(tree)
            said += [f"{INDENT}{tree.tree}: no mutant failed these cases of {program}: {', '.join(cases)}"
                     for program, cases in tree.idle.items() if cases]
        said += [INDENT + problem for problem in self.problems]
        counts = self.counts
        bad = (Word.SURVIVED, Word.NOT_AS_NAMED, Word.NOT_JUDGED)
        rest = ", ".join(f"{counts[word.value]} {word.value}" for word in bad if counts[word.value])
        said.append(f"{'FAIL' if self.status else 'PASS'}: {sum(counts.values())} mutants: "
                    f"{counts[Word.CAUGHT.value]} caught, {rest or '0 survived'}; {self.seconds} s; "
                    f"logs: {self.shown_logs}")
        return said


def matrix(folders: Sequence[Path], *, seconds: int = 0, shown_logs: str | None = None, json: Path | None = None,
           part: Part = Part()) -> Matrix:
    """Reads the results that judge_mutant() wrote. Each folder is named after its tree; it has the control's logs in the
    folder "control", and the names of the mutants' patches in the file "mutants". `json`: a file for the JSON."""
    found = Matrix([_read_tree(folder) for folder in folders], seconds, shown_logs or " ".join(map(str, folders)), part)
    if json is not None:
        write_json(json, found.to_json())
    return found


def _read_tree(folder: Path) -> TreeResults:
    """One tree's results."""
    control, boot = read_json(folder / "control" / "verdict.json"), Boot(folder / "control")
    results = [_read_result(folder, Path(patch).stem) for patch in read_lines(folder / "mutants")]
    return TreeResults(folder.name, control.get("verdict"), control.get("linux"), results, _idle(boot, results),
                       set() if control.get("verdict") == PASSED else {result.name for result in results})


def _read_result(folder: Path, name: str) -> MutantResult:
    data = read_json(folder / name / "result.json")
    if data.get("name") == name:
        return MutantResult.from_json(data)
    return MutantResult(folder.name, name, "", Word.NOT_JUDGED, 0, ["it was not run"])


def _idle(control: Boot, results: Sequence[MutantResult]) -> dict[str, list[str]]:
    """The cases that passed in the control and that no mutant made fail, by program."""
    idle = {}
    for program, cases in control.cases.items():
        caught = {case for result in results for case in result.layers.get(program, ("", []))[1]}
        idle[program] = [case for case, result in cases.items() if result is Result.PASS and case not in caught]
    return _in_order(idle)


def _in_order(idle: dict[str, list[str]]) -> dict[str, list[str]]:
    """The same, in the order of lab/l1/programs."""
    order = [program.name for program in all_programs()]
    return dict(sorted(idle.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def _table(tree: TreeResults) -> list[str]:
    """A row for each mutant, a column for each program and for the logs."""
    programs = [p.name for p in all_programs() if any(p.name in result.layers for result in tree.results)]
    columns: dict[str, Sequence[str]] = {**{program: (program,) for program in programs}, **OTHER_COLUMNS}
    rows = [(tree.tree, *columns, "")]
    for result in tree.results:
        rows.append((result.name, *(cell(result, layers) for layers in columns.values()),
                     "" if result.word is Word.CAUGHT else result.word.value.upper()))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [INDENT + "  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows]


def cell(result: MutantResult, layers: Sequence[str]) -> str:
    """A cell of the table; "(caught)" means that the header does not name the layer."""
    words = [result.layers[layer][0] for layer in layers if layer in result.layers]
    if "caught" in words:
        named = any(catcher.layer in layers and caught for catcher, caught in result.named)
        return "caught" if named else "(caught)"
    return "-" if "not seen" in words else "not run"
