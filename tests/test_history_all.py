# SPDX-License-Identifier: GPL-2.0-only
"""Every bug of tests/history in both trees: who caught it, and how many were caught."""
from __future__ import annotations

import json
from typing import Any

import pytest

from lab.history.corpus import bugs_of
from lab.patches.series import trees
from tests.support.front import Done, run_snplab
from tests.support.l1 import BUILD_LIMIT

ABOUT = "all bugs that SNP's host code had: none whose header names a catcher survives, and enough are caught"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot")
TAKES = 3600

# At least so many are caught.
CAUGHT = 38
NAMED = [(bug.tree, bug.slug) for tree in trees() for bug in bugs_of(tree) if bug.must_be_caught]


@pytest.fixture(scope="module", name="run")
def fixture_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, dict[str, Any]]:
    """The verb's output and JSON."""
    result = tmp_path_factory.mktemp("history") / "json"
    done = run_snplab("history", "--json", result, timeout=4 * BUILD_LIMIT)
    return done, json.loads(result.read_text(encoding="utf-8"))


@pytest.mark.parametrize(("tree", "name"), NAMED, ids=[f"{tree}-{name}" for tree, name in NAMED])
def test_caught(tree: str, name: str, run: tuple[Done, dict[str, Any]]) -> None:
    """A stale patch is no failure of ours."""
    results = [bug for bug in run[1]["bugs"] if (bug["tree"], bug["bug"]) == (tree, name)]
    assert [bug["result"] for bug in results] in (["caught"], ["stale"]), results


def test_enough_are_caught(run: tuple[Done, dict[str, Any]]) -> None:
    assert run[1]["counts"]["caught"] >= CAUGHT, run[0].output[-4000:]
