# SPDX-License-Identifier: GPL-2.0-only
"""Would the tests have caught a wrong version? Here a few mutants, at least one for each layer.

A test that passes whatever the kernel does is worth nothing. So each layer that a mutant's header names must catch it: the
launch test, KUnit, lockdep, an oops. The first posting of the fix is among the mutants here; tests/test_mutants_all.py runs
all mutants of both trees.
"""
from __future__ import annotations

import pytest

from lab.core.places import TOP
from lab.judge.cases import LAUNCH_TEST
from lab.judge.mutants import Header
from lab.judge.programs import pick, program_named
from lab.patches.series import series_name
from tests.support.front import expect
from tests.support.wrong_versions import CONTROL, MutantsRun, names_of, run_mutants

ABOUT = "a few wrong versions, for each layer of a plain run one: every layer that their headers name catches them"
LANE = "boot"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot")
TAKES = 105

TREE = "mainline"
SOME = ("leak-on-success", "leak-on-kill", "reclaim-forgotten", "trylock", "fpu-state-left-open")


@pytest.fixture(scope="module", name="run")
def fixture_run(tmp_path_factory: pytest.TempPathFactory) -> MutantsRun:
    """Builds and boots the mutants chosen here."""
    return run_mutants(tmp_path_factory.mktemp("mutants"), TREE, SOME)


@pytest.mark.parametrize("name", (CONTROL, *SOME))
def test_caught(name: str, run: MutantsRun) -> None:
    """Every layer that the mutant's header names catches it; the series itself passes."""
    run.check(name)


def test_verdict(run: MutantsRun) -> None:
    """The verb's verdict is pass."""
    expect(run.done, 0, f"^PASS: {len(SOME)} mutants: {len(SOME)} caught, 0 survived; ")


def layers(names: tuple[str, ...]) -> set[str]:
    """The layers that catch at least one of these mutants."""
    headers = [Header.read(TOP / "tests/mutants" / series_name(TREE) / f"{name}.patch") for name in names]
    return {catcher.layer for header in headers for catcher in header.named}


def test_each_layer_is_among_them() -> None:
    """Each layer that catches any mutant of this tree catches one here, but for the programs that `run` leaves out: each of
    them would make every boot here longer."""
    always = {picked.program.name for picked in pick(None)}
    wanted = {layer for layer in layers(tuple(names_of(TREE))) if program_named(layer) is None or layer in always}
    assert layers(SOME) == wanted and LAUNCH_TEST in wanted
