# SPDX-License-Identifier: GPL-2.0-only
"""Does each patch that puts a mistake into a kernel still apply to it: each mutant, each bug of tests/history?

A new kernel or a change of the series moves the code under them. A mutant that does not apply fails `mutants` after the
build of a kernel; a bug that does not is stale, and silently out of the count. Nothing is built here.
"""
from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from lab.core.places import LAB, TOP
from lab.history.presence import Trial
from lab.judge.mutants import END
from lab.patches.newfiles import whole_text
from lab.patches.patchfile import read, to_lines
from lab.patches.series import list_series, series_name, trees, whole_series
from tests.support.l1 import lab_session
from tests.support.patches import patch
from tests.support.patches_real import newest_base

ABOUT = "every mutant and every bug of tests/history applies without fuzz to the newest kernel with its series"
LANE = "boot"
NEEDS = ("fetch", "overlay")
TAKES = 6

KINDS = ("mutants", "history")
PATCHES = [(tree, file) for tree in trees() for kind in KINDS
           for file in sorted((TOP / "tests" / kind / series_name(tree)).glob("*.patch"))]
CHANGED = re.compile(r"^(?:---|\+\+\+) [ab]/(\S+)", re.M)


def series_of(tree: str) -> list[Path]:
    """The patches of the kernel that mutants and bugs are put into: those of the series, and the lab's KUnit test."""
    kunit = LAB / "kunit" / series_name(tree)
    return [*whole_series(tree), *(list_series(kunit) if kunit.is_dir() else [])]


class Patched(NamedTuple):
    """A kernel with its series: the files that the patches change, and its version."""
    folder: Path
    version: str


def version_of(source: Path) -> str:
    """The version of a kernel's source, by its Makefile: "7.3.4"."""
    text = (source / "Makefile").read_text()
    return ".".join(re.findall(r"^(?:VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)$", text, re.M))


def measured() -> list[str]:
    """The kernels that docs/history.md is about: on a newer one, a bug's patch may be stale, which is no failure."""
    found = re.search(r"^On linux (\S+) and (\S+),", (TOP / "docs/history.md").read_text(), re.M)
    assert found, 'expected "On linux VERSION and VERSION," in docs/history.md'
    return list(found.groups())


@pytest.fixture(scope="module", name="kernels")
def fixture_kernels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Patched]]:
    """The newest kernel of each tree with its series: those of its files that any of the patches changes."""
    folder = tmp_path_factory.mktemp("kernels")
    with lab_session(tmp_path_factory.mktemp("session")) as session:
        kernels = {}
        for tree in trees():
            source, series = newest_base(session, folder, tree), series_of(tree)
            kernels[tree] = Patched(folder / tree, version_of(source))
            texts = [*map(whole_text, series), *(read(file) for of, file in PATCHES if of == tree)]
            for name in {name for text in texts for name in CHANGED.findall(text) if (source / name).exists()}:
                (folder / tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source / name, folder / tree / name)
            for file in series:
                patch(folder / tree, file)
        yield kernels


@pytest.mark.parametrize("tree, file", PATCHES, ids=[str(file.relative_to(TOP / "tests")) for _, file in PATCHES])
def test_applies_without_fuzz(kernels: dict[str, Patched], tree: str, file: Path, tmp_path: Path) -> None:
    """By the rules of the verb, which tries hunk by hunk with all context, and by those of the build."""
    lines, kernel = to_lines(read(file)), kernels[tree]
    hunks = Trial(kernel.folder, tmp_path / "scratch").rejected(lines[lines.index(END) + 1:])
    if hunks and file.parent.parent.name == "history" and kernel.version not in measured():
        pytest.skip(f"stale on linux {kernel.version}, which is newer than docs/history.md: rebase it")
    assert not hunks, f"{file.relative_to(TOP)} does not apply to {tree} any more; these hunks:\n" + "\n".join(
        line for hunk in hunks for line in hunk)
    done = subprocess.run(["patch", "-d", kernel.folder, "-p1", "-F0", "--dry-run", "--force", "-i", file],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{file.relative_to(TOP)} does not apply to {tree} any more:\n{done.stdout}{done.stderr}"
