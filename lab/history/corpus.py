# SPDX-License-Identifier: GPL-2.0-only
"""All bugs of tests/history. A bug may have a patch for each tree; it is one bug, with one name."""
from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from lab.core.places import TOP
from lab.history.bug import Bug
from lab.patches.series import series_name, trees

HISTORY = TOP / "tests" / "history"
# Fields that do not depend on the tree.
SAME = ("Fix", "Subject", "Since", "Component")


@dataclass(frozen=True)
class Entry:
    """One bug, in each tree that can have it."""

    slug: str
    # By the tree's name.
    bugs: dict[str, Bug]

    @property
    def any(self) -> Bug:
        """One of them, for what they have in common."""
        return next(iter(self.bugs.values()))

    def differences(self) -> list[str]:
        """A sentence for each field that differs between the trees but must not."""
        found = []
        for name in SAME:
            values = {bug.fields.get(name, "") for bug in self.bugs.values()}
            if len(values) > 1:
                found.append(f'{self.slug}: expected the same "{name}:" in all trees, found {" and ".join(sorted(values))}')
        return found


def bugs_of(tree: str, folder: Path = HISTORY) -> list[Bug]:
    """The bugs of one tree, by name."""
    return [Bug.read(tree, patch) for patch in sorted((folder / series_name(tree)).glob("*.patch"))]


def corpus(folder: Path = HISTORY) -> list[Entry]:
    """All bugs of all trees, by name."""
    found: defaultdict[str, dict[str, Bug]] = defaultdict(dict)
    for tree in trees():
        for bug in bugs_of(tree, folder):
            found[bug.slug][tree] = bug
    return [Entry(slug, found[slug]) for slug in sorted(found)]
