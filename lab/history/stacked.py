# SPDX-License-Identifier: GPL-2.0-only
"""Which fixes of a series has a tree, although later patches of the series have changed the same lines?

The patches of tests/history are made for a tree with one fix. In a tree with a whole series, the fix of one bug is the
context of the next. So the patches of series/*-backlog are taken out of copies of the tree's files, the last one first, and
each that can be taken out was there."""
from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from lab.history.presence import Stack, Trial
from lab.patches.patchfile import PatchFile
from lab.patches.series import all_trees, base_tree, list_series, series_dir

UPSTREAM = re.compile(r"\[ Upstream commit ([0-9a-f]{40}) \]")


def upstream_commit(patch: PatchFile) -> str:
    """The id that a patch's message begins with, as stable's patches do; else nothing."""
    first = next((line for line in patch.message if line), "")
    found = UPSTREAM.fullmatch(first)
    return found[1] if found else ""


def diff_of_patch(patch: PatchFile) -> list[str]:
    """The lines from the first "diff --git" to the end."""
    lines = patch.from_rule
    return lines[next((i for i, line in enumerate(lines) if line.startswith("diff --git ")), len(lines)):]


def stacked_series() -> list[list[Path]]:
    """The patches of each series that is on top of another."""
    return [list_series(series_dir(tree)) for tree in all_trees() if tree != base_tree(tree)]


def stack_of(trial: Trial, series: Iterable[list[Path]]) -> Stack:
    """The fixes of these series that the tree has. `trial`: its copies of files get changed."""
    found: dict[str, str] = {}
    for path in (path for patches in series for path in reversed(patches)):
        patch = PatchFile.read(path)
        place = trial.take_out(diff_of_patch(patch))
        if place is not None:
            found[upstream_commit(patch)] = place
    return Stack(found, trial)
