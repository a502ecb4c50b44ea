# SPDX-License-Identifier: GPL-2.0-only
"""Reads the --json files of a run's shards, and makes of them the report that one run of all would give.

The files must be parts of one run: the same verb, command line, commit and kernels; each shard once; a result for each name.
Anything else is an error that names the file and what is missing."""
from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

from lab.check.report import Report as Checked
from lab.core.errors import Exit, Stop, setup_error
from lab.core.places import tilde
from lab.core.process import quote
from lab.core.shard import Shard
from lab.judge.boots import Boots
from lab.judge.history import History
from lab.judge.matrix import Matrix
from lab.judge.part import Part
from lab.judge.schema import violations

FAILURE, EMPTY = "failure", "empty-shard"
# More violations and names than a user wants to read.
MOST = 5


class Report(Protocol):
    """The verdict of a verb, on one shard or on all."""

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The verdict as --json has it."""

    @classmethod
    def joined(cls, reports: Sequence[Self], part: Part) -> Self:
        """The verdict on all shards."""

    @property
    def done(self) -> list[str]:
        """The names that it has results of."""

    @property
    def kernels(self) -> Mapping[str, str | None]:
        """The kernels' versions, by tree."""

    @property
    def status(self) -> int:
        """The exit status."""

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""

    def lines(self) -> list[str]:
        """The text for the user."""


KINDS: dict[str, type[Matrix] | type[History] | type[Checked] | type[Boots]] = {
    "mutants": Matrix, "history": History, "check": Checked, "guest": Boots}


@dataclass(frozen=True)
class Input:
    """A shard's file."""

    path: Path
    verb: str
    part: Part
    data: dict[str, Any]
    # Had the shard nothing to do?
    is_empty: bool

    @property
    def name(self) -> str:
        """The file's name for the user."""
        return tilde(self.path)


def some(words: Sequence[str]) -> str:
    """Words for a message."""
    return ", ".join(words[:MOST]) + (f" and {len(words) - MOST} more" if len(words) > MOST else "")


def read_input(path: Path) -> Input:
    """Reads a shard's file. Raises Stop if it has no verdict of a verb with shards."""
    data, name = read_object(path), tilde(path)
    verb = data.get("verb")
    if not isinstance(verb, str) or verb not in KINDS:
        raise setup_error(f"{name}: expected the JSON of {', '.join(KINDS)}, found {verb or 'no verb'}",
                          "name the files that these verbs wrote with --json")
    is_empty = not data.keys() - {"version", "verb", "verdict", "exit", "shard"}
    if is_empty and "shard" not in data:
        wrong = violations(FAILURE, data)
        if not wrong:
            status = data["exit"] if data["exit"] in list(Exit) and data["exit"] else Exit.SETUP
            raise Stop(status, f"{name}: expected a shard's verdict, found that its run ended without: {data['verdict']}",
                       "that run's output says why; run that shard again")
    else:
        wrong = violations(EMPTY if is_empty else verb, data)
    if not wrong and "shard" not in data:
        wrong = [": 'shard' is missing: is this the verdict of one boot, from the folder of logs?"]
    if wrong:
        raise setup_error(f"{name}: expected the JSON of {verb} --json as docs/json.md has it, found: {some(wrong)}",
                          "was it written by this version of snplab?")
    part = Part.from_json(data["shard"])
    if part.shard.number > part.shard.total:
        raise setup_error(f"{name}: expected a shard I/N with I <= N, found {part.shard}")
    return Input(path, verb, part, data, is_empty)


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises Stop if there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        why = e.strerror if isinstance(e, OSError) else "it is no text"
        raise setup_error(f"{tilde(path)}: expected a JSON file that can be read, found: {why}") from e
    if not text.strip():
        raise setup_error(f"{tilde(path)}: expected JSON, found an empty file",
                          "the run that was to write it was killed, or still runs")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise setup_error(f"{tilde(path)}: expected JSON, found: {e}") from e
    if not isinstance(data, dict):
        raise setup_error(f"{tilde(path)}: expected a JSON object, found another value")
    return data


def need_one_run(inputs: Sequence[Input]) -> None:
    """Raises unless the files are shards of one run, each shard once."""
    first = inputs[0]
    for other in inputs[1:]:
        for what, one, two in (
                ("verb", first.verb, other.verb),
                ("commit of snplab", first.part.commit, other.part.commit),
                ("number of shards", first.part.shard.total, other.part.shard.total),
                ("command line but for --shard", " ".join(first.part.request) or "no option",
                 " ".join(other.part.request) or "no option")):
            if one != two:
                raise setup_error(f"expected shards of one run, found another {what}: {one} in {first.name}, {two} in "
                                  f"{other.name}", "merge joins what ./snplab VERB --shard 1/N to N/N wrote")
        if first.part.names != other.part.names:
            differ = sorted(set(first.part.names) ^ set(other.part.names)) or ["their order"]
            raise setup_error(f"expected shards of one run, found that {first.name} and {other.name} split other things: "
                              f"{some(differ)}")
    where: dict[int, Input] = {}
    for given in inputs:
        seen = where.setdefault(given.part.shard.number, given)
        if seen is not given:
            raise setup_error(f"expected each shard once, found shard {given.part.shard} in {seen.name} and in {given.name}")
    total = first.part.shard.total
    lost = [f"{number}/{total}" for number in range(1, total + 1) if number not in where]
    if lost:
        verb = "is" if len(lost) == 1 else "are"
        words = ["./snplab", first.verb, "--shard", lost[0], "--json", "FILE", *first.part.request]
        raise setup_error(f"expected all {total} shards, found that {some(lost)} {verb} missing", f"run: {quote(words)}")


def need_all_results(names: Sequence[str], reports: Sequence[tuple[Input, Report]]) -> None:
    """Raises unless each name has one result, and all shards had the same kernels."""
    if not reports:
        raise setup_error("expected a result in one of the files, found that no shard had anything to do")
    done = Counter(name for _, report in reports for name in report.done)
    lost, twice = [name for name in names if not done[name]], [name for name in done if done[name] > 1]
    strange = [name for name in done if name not in set(names)]
    for words, what in ((lost, "without a result"), (twice, "with two results"), (strange, "that no shard was to have")):
        if words:
            raise setup_error(f"expected a result of each of the {len(names)}, found some {what}: {some(words)}",
                              "was a run killed? Run its shard again")
    known: dict[str, tuple[str, str]] = {}
    for given, report in reports:
        for tree, version in report.kernels.items():
            if version is not None:
                before, by = known.setdefault(tree, (version, given.name))
                if before != version:
                    raise setup_error(f"{tree}: expected the same kernel in all shards, found linux {before} in {by} and "
                                      f"{version} in {given.name}", "run all shards with the same --linux, or on one day")


def merged(paths: Sequence[Path]) -> tuple[str, Matrix | History | Checked | Boots]:
    """The verb, and its report on all shards. Raises Stop if the files are not all shards of one run."""
    inputs = [read_input(path) for path in paths]
    need_one_run(inputs)
    inputs.sort(key=lambda given: given.part.shard.number)
    verb, first = inputs[0].verb, inputs[0].part
    whole = Part(Shard(), first.names, first.request, first.commit)
    kind: Any = KINDS[verb]
    try:
        reports = [(given, kind.from_json(given.data)) for given in inputs if not given.is_empty]
        need_all_results(whole.names, reports)
        found: Matrix | History | Checked | Boots = kind.joined([report for _, report in reports], whole)
        # A schema does not say all: find a wrong value now, before something is printed or written.
        found.lines(), found.to_json()
    except (LookupError, ValueError) as e:
        raise setup_error(f"expected files as {verb} --json writes them, found a value that no run writes: {e}",
                          "was one of them edited?") from e
    return verb, found
