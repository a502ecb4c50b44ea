# SPDX-License-Identifier: GPL-2.0-only
"""Is every patch of the series fit to be sent to a maintainer?

On the newest base each patch applies without fuzz and passes checkpatch --strict, and each new file has a maintainer. A
series on top of another applies to the plain base, too.
tests/test_series_builds.py, which takes longer, tests that each patch compiles by itself.
"""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.core.session import Session
from lab.patches.combined import needs_lower
from lab.patches.series import all_trees, base_tree, list_series, lower_series, series_dir
from tests.support.l1 import lab_session
from tests.support.patches import patch
from tests.support.patches_real import checkpatch, copy_some, maintained, new_files, newest_base

ABOUT = "every patch of the series applies without fuzz, passes checkpatch, and has a maintainer"
LANE = "boot"
NEEDS = ("fetch", "overlay", "mail")
TAKES = 40

PATCHES = [(tree, file.name) for tree in all_trees() for file in list_series(series_dir(tree))]
ADDED = [(tree, name) for tree in all_trees() for name in new_files(list_series(series_dir(tree)))]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """The lab's, for this file."""
    with lab_session(tmp_path_factory.mktemp("session")) as session:
        yield session


@pytest.fixture(scope="module")
def bases(session: Session, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A copy of each tree's newest base with the series below its own; the tests apply its patches one after the other."""
    folder = tmp_path_factory.mktemp("bases")
    made = {tree: copy_some(session, newest_base(session, folder, base_tree(tree)), folder / tree) for tree in all_trees()}
    for tree, top in made.items():
        for file in lower_series(tree):
            patch(top, file)
    return made


@pytest.mark.parametrize("tree, name", PATCHES)
def test_applies_with_no_fuzz(bases: dict[str, Path], tree: str, name: str) -> None:
    """On top of the patches before it: pytest runs them in the series' order."""
    earlier = [n for t, n in PATCHES if t == tree]
    applied = bases[tree] / ".applied"
    done = applied.read_text(encoding="utf-8").split() if applied.exists() else []
    for one in earlier[len(done):earlier.index(name) + 1]:
        patch(bases[tree], series_dir(tree) / one)
        done.append(one)
        applied.write_text(" ".join(done), encoding="utf-8")


@pytest.mark.parametrize("tree", [tree for tree in all_trees() if tree != base_tree(tree)])
def test_applies_to_the_plain_base(session: Session, tmp_path: Path, tree: str) -> None:
    """All patches but those that need the series below."""
    plain = copy_some(session, newest_base(session, tmp_path, base_tree(tree)), tmp_path / "plain")
    apart = needs_lower(tree)
    for file in list_series(series_dir(tree)):
        if file.name not in apart:
            patch(plain, file)


@pytest.mark.parametrize("tree, name", PATCHES)
def test_pleases_checkpatch(session: Session, tmp_path: Path, bases: dict[str, Path], tree: str, name: str) -> None:
    assert checkpatch(session, tmp_path, bases[tree], series_dir(tree) / name) == []


@pytest.mark.parametrize("tree, name", ADDED)
def test_new_file_is_maintained(session: Session, tmp_path: Path, bases: dict[str, Path], tree: str, name: str) -> None:
    test_applies_with_no_fuzz(bases, tree, [n for t, n in PATCHES if t == tree][-1])
    assert maintained(session, tmp_path, bases[tree], name)
    assert not maintained(session, tmp_path, bases[tree], "lib/Kconfig"), "expected lib/Kconfig not to be KVM's, found it is"
