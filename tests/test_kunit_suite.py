# SPDX-License-Identifier: GPL-2.0-only
"""One KUnit suite for both trees.

Two suites would drift apart: a case mended on one tree would stay wrong on the other, and a mutant caught by a case of one
name here would be caught by another there. This fails if the suite exists twice, if it asks which kernel it is built for, if
a tree's seam lacks something that the suite needs, if a mutant names a case that its tree does not have, and if mutants of
both trees that are wrong in the same way have no case in common.
"""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.core.places import LAB, TOP
from lab.judge.cases import KUNIT
from lab.judge.mutants import Header
from lab.patches.newfiles import FOLDER, brought_names
from lab.patches.series import list_series

ABOUT = "one KUnit suite for both trees, with a seam for each; mutants of both are caught by the same cases"
LANE = "fast"
NEEDS = ()
TAKES = 1

TESTS = "arch/x86/kvm/svm/tests"
QUEUES = {"mainline": TOP / "series" / "mainline", "linux-6.12.y": LAB / "kunit" / "linux-6.12.y"}
SUITE = QUEUES["mainline"] / FOLDER / TESTS / "sev_kunit.c"
INCLUDE = '#include "sev_kunit_seam.h"'
MUTANTS = TOP / "tests" / "mutants"

# Mutants of mainline that are wrong as one of 6.12.y's is, under another name.
OTHER_NAMES = {"kvm-lock-taken-again": ["kvm-lock-retaken"], "leak-on-kill": ["leak-when-killed"],
               "leak-on-failure": ["leak-at-k", "leak-on-firmware-failure", "leak-on-rmp-failure"],
               "unkillable": ["unkillable-lock"]}
# Mainline's seam replaces the function that these are wrong in.
IN_THE_STEP = {"encrypted-check-removed", "protected-too-early", "reclaim-forgotten", "register-not-copied"}
PAIRS = sorted({(path.stem, path.stem) for path in (MUTANTS / "mainline").glob("*.patch")
                if (MUTANTS / "linux-6.12.y" / path.name).exists() and path.stem not in IN_THE_STEP}
               | {(ours, theirs) for ours, names in OTHER_NAMES.items() for theirs in names})


def seam(tree: str) -> str:
    return (QUEUES[tree] / FOLDER / TESTS / "sev_kunit_seam.h").read_text(encoding="utf-8")


def cases(tree: str) -> set[str]:
    """The cases that a tree's kernel has."""
    return set(re.findall(r"^\tKUNIT_CASE(?:_PARAM)?\((\w+)", SUITE.read_text(encoding="utf-8") + seam(tree), re.M))


def named(patch: Path) -> set[str]:
    """The KUnit cases that a mutant's header names."""
    return {catcher.what for catcher in Header.read(patch).named if catcher.layer == KUNIT}


@pytest.mark.parametrize("tree", QUEUES)
def test_the_suite_exists_once(tree: str) -> None:
    files = {name for patch in list_series(QUEUES[tree]) for name in brought_names(patch)}
    assert {f"{TESTS}/sev_kunit.c", f"{TESTS}/sev_kunit_seam.h"} <= files
    assert (QUEUES[tree] / FOLDER / TESTS / "sev_kunit.c").resolve() == SUITE.resolve()
    assert not SUITE.is_symlink()


def test_it_asks_for_no_version() -> None:
    text = SUITE.read_text(encoding="utf-8")
    assert not re.search(r"^#\s*(if|else|elif)|KERNEL_VERSION", text, re.M)
    assert text.count(INCLUDE) == 1


@pytest.mark.parametrize("tree", QUEUES)
def test_a_seam_has_what_the_suite_names(tree: str) -> None:
    """The comment above its #include lists it."""
    comment = SUITE.read_text(encoding="utf-8").split(INCLUDE)[0].rsplit("/*", 1)[1]
    wanted = re.findall(r"^ \* (?:\w+ )*(\w+)(?:\[\]|\(.*\))?$", comment, re.M)
    assert len(wanted) == 6
    for name in wanted:
        assert re.search(rf"^(#define |static .*\b){name}\b", seam(tree), re.M), name


@pytest.mark.parametrize("tree", QUEUES)
def test_mutants_name_cases_that_there_are(tree: str) -> None:
    patches = sorted((MUTANTS / tree).glob("*.patch"))
    assert any(named(patch) for patch in patches)
    assert {f"{patch.stem}: {case}" for patch in patches for case in named(patch) - cases(tree)} == set()


@pytest.mark.parametrize("ours,theirs", PAIRS)
def test_the_same_case_catches_it_on_both_trees(ours: str, theirs: str) -> None:
    assert named(MUTANTS / "mainline" / f"{ours}.patch") & named(MUTANTS / "linux-6.12.y" / f"{theirs}.patch")
