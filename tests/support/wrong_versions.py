# SPDX-License-Identifier: GPL-2.0-only
"""Runs `snplab mutants` as a user does, and reads each mutant's result from its JSON."""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.core.places import TOP
from lab.patches.series import series_name
from tests.support.front import Done, run_snplab
from tests.support.l1 import BUILD_LIMIT

CONTROL = "control"


def names_of(tree: str) -> list[str]:
    """The mutants of a tree."""
    return sorted(path.stem for path in (TOP / "tests/mutants" / series_name(tree)).glob("*.patch"))


@dataclass(frozen=True)
class MutantsRun:
    """One run of the verb on one tree."""

    tree: str
    done: Done
    data: dict[str, Any]

    def check(self, name: str) -> None:
        """Fails unless every layer named in the mutant's header caught it; "control" is the series itself, which must
        pass."""
        tree = self.data["trees"][self.tree]
        if name == CONTROL:
            assert tree["control"] == "pass", self.done.output[-4000:]
            return
        found = [mutant for mutant in tree["mutants"] if mutant["name"] == name]
        assert [mutant["result"] for mutant in found] == ["caught"], [mutant["problems"] for mutant in found]


def run_mutants(folder: Path, tree: str, names: tuple[str, ...] = ()) -> MutantsRun:
    """Runs `mutants` to its verdict, with these mutants or with all."""
    result = folder / "json"
    done = run_snplab("mutants", "--tree", tree, "--json", result, *names, timeout=2 * BUILD_LIMIT)
    data = json.loads(result.read_text(encoding="utf-8"))
    assert "trees" in data, f"no verdict:\n{done.output[-4000:]}"
    return MutantsRun(tree, done, data)
