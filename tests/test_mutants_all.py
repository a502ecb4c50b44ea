# SPDX-License-Identifier: GPL-2.0-only
"""Would the tests have caught a wrong version? Every layer that a mutant's header names must catch it; here all mutants."""
from __future__ import annotations

import pytest

from lab.patches.series import trees
from tests.support.front import expect
from tests.support.wrong_versions import CONTROL, MutantsRun, names_of, run_mutants

ABOUT = "all wrong versions of both series are caught by every layer that their headers name"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot")
TAKES = 1500

# There must be at least so many.
MANY = 20
ALL = [(tree, name) for tree in trees() for name in (CONTROL, *names_of(tree))]


@pytest.fixture(scope="module", name="runs")
def fixture_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, MutantsRun]:
    """Builds and boots all mutants, tree after tree."""
    return {tree: run_mutants(tmp_path_factory.mktemp(tree), tree) for tree in trees()}


@pytest.mark.parametrize(("tree", "name"), ALL, ids=[f"{tree}-{name}" for tree, name in ALL])
def test_caught(tree: str, name: str, runs: dict[str, MutantsRun]) -> None:
    """Every layer that the mutant's header names catches it; the series itself passes."""
    runs[tree].check(name)


@pytest.mark.parametrize("tree", trees())
def test_verdict(tree: str, runs: dict[str, MutantsRun]) -> None:
    """The verb's verdict is pass."""
    expect(runs[tree].done, 0, f"^PASS: {len(names_of(tree))} mutants: ")


@pytest.mark.parametrize("tree", trees())
def test_there_are_many(tree: str) -> None:
    """No mutant disappears unnoticed."""
    assert len(names_of(tree)) >= MANY


@pytest.mark.parametrize("tree", trees())
def test_every_case_catches_something(tree: str, runs: dict[str, MutantsRun]) -> None:
    """A case that no mutant makes fail may be unable to fail."""
    idle = runs[tree].data["trees"][tree]["cases_that_caught_nothing"]
    assert not any(idle.values()), idle
