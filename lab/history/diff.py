# SPDX-License-Identifier: GPL-2.0-only
"""The hunks of a diff: which function each is about, which lines it takes and inserts, and where git found it."""
from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lab.patches.patchfile import HUNK_LINE

FOUND = re.compile(r"Hunk #([0-9]+) succeeded at ([0-9]+)")
REDUCED = re.compile(r"Context reduced to \(([0-9]+)/([0-9]+)\) to apply fragment at ([0-9]+)")
CHECKING = re.compile(r"Checking patch (.+)\.\.\.$")
# The first line of a function, or of another definition that a hunk's header may name.
DEFINITION = re.compile(r"[A-Za-z_$].*")
# git cuts the definition in a hunk's header after so many characters.
SHOWN = 80
CALLED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*\(")


@dataclass(frozen=True)
class Hunk:
    """One hunk of a patch."""

    file: str
    # Its number in the file, from 1.
    number: int
    # The function that it changes, or another definition; "" if the hunk does not tell.
    function: str
    # Functions whose first line the hunk takes away or inserts.
    defines: tuple[str, ...]
    # How many lines of context are above the first change.
    leading: int
    # Its first line in the file before the patch, and in the one after it.
    before: int
    after: int
    # Its blocks of lines.
    taken: tuple[tuple[str, ...], ...]
    inserted: tuple[tuple[str, ...], ...]

    @property
    def grows(self) -> int:
        """How many lines longer the file gets."""
        return sum(map(len, self.inserted)) - sum(map(len, self.taken))


def defined_name(line: str) -> str:
    """The name of what the first line of a definition defines: a function's name, or the line itself for anything else."""
    found = CALLED.search(line[:SHOWN])
    return found[1] if found else line[:SHOWN].strip()


def definition_in(lines: Sequence[str]) -> str:
    """The last definition that begins in these lines: what a hunk's header names. A label is none."""
    return next((defined_name(line) for line in reversed(lines)
                 if DEFINITION.match(line) and not line.rstrip().endswith(":")), "")


def blocks(body: Sequence[str], sign: str) -> tuple[tuple[str, ...], ...]:
    """The blocks of adjacent lines with that sign."""
    return tuple(tuple(line[1:] for line in group)
                 for signed, group in itertools.groupby(body, lambda line: line.startswith(sign)) if signed)


def of_a_hunk(line: str) -> bool:
    """Is the line one of a hunk's, not the header of the next hunk or file?"""
    return line[:1] in ("", " ", "+", "-") and line[:4] not in ("--- ", "+++ ")


def hunks_of(diff: Sequence[str]) -> list[Hunk]:
    """The hunks of a diff."""
    found: list[Hunk] = []
    file, number = "", 0
    for at, line in enumerate(diff):
        header = HUNK_LINE.fullmatch(line)
        if line.startswith(("+++ ", "--- ")) and not line.endswith(" /dev/null") and header is None:
            file, number = line[4:].split("\t")[0].partition("/")[2], 0
        elif header:
            number += 1
            body = list(itertools.takewhile(of_a_hunk, diff[at + 1:]))
            context = [more[1:] for more in itertools.takewhile(lambda more: more[:1] in ("", " "), body)]
            about = definition_in([line.split("@@", 2)[2].removeprefix(" "), *context])
            defines = tuple(name for more in body if more[:1] in ("+", "-") and (name := definition_in([more[1:]])))
            found.append(Hunk(file, number, about, defines, len(context), int(header[1]), int(header[3]),
                              blocks(body, "-"), blocks(body, "+")))
    return found


def takes_lines(diff: Sequence[str], reverse: bool) -> bool:
    """Does the diff take lines away, in each of its hunks, if applied like that?"""
    return all(hunk.inserted if reverse else hunk.taken for hunk in hunks_of(diff))


def single_hunks(diff: Sequence[str]) -> Iterator[list[str]]:
    """Each hunk as a diff of its own."""
    header: list[str] = []
    hunk: list[str] = []
    for line in [*diff, "diff --git a/end b/end"]:
        is_hunk, begins_file = HUNK_LINE.fullmatch(line), line.startswith("diff --git ")
        if hunk and (is_hunk or begins_file):
            yield [*header, *hunk]
            hunk = []
        if begins_file:
            header = [line]
        elif is_hunk or hunk:
            hunk.append(line)
        else:
            header.append(line)


def moved_hunks(said: str) -> dict[tuple[str, int], tuple[int, int | None]]:
    """The hunks that git found elsewhere than at their line, by what it said: for (file, number) the line and the number of
    lines of leading context that matched; None for all of them. The line is that of the first one that matched."""
    found: dict[tuple[str, int], tuple[int, int | None]] = {}
    file, last = "", None
    for line in said.split("\n"):
        checking, moved, reduced = CHECKING.match(line), FOUND.match(line), REDUCED.search(line)
        if checking:
            file, last = checking[1], None
        elif moved:
            last = (file, int(moved[1]))
            found[last] = (int(moved[2]), None)
        elif reduced and last is not None and found[last][0] == int(reduced[3]):
            found[last] = (found[last][0], int(reduced[1]))
    return found
