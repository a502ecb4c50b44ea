# SPDX-License-Identifier: GPL-2.0-only
"""Are bugs that SNP's host code had caught, each by the test that its header names? Here a few, of both trees; all of them:
tests/test_history_all.py.

Among them are a bug in a module, one in ccp, and one that 6.12.y still has, where the patch is the fix and the test has to
fail without it.
"""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.front import expect, run_snplab
from tests.support.l1 import BUILD_LIMIT

ABOUT = "a few bugs that SNP's host code had: each is caught by the tests that its header names, and not without it"
LANE = "boot"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot")
TAKES = 200

SOME = {"mainline": ("psc-indices-unchecked", "get-id-copied-after-failure"), "6.12.y": ("ap-sev-features-unchecked",)}


@pytest.fixture(scope="module", name="found")
def fixture_found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON of one run on both trees."""
    result = tmp_path_factory.mktemp("history") / "json"
    names = [f"{tree}/{name}" for tree, names in SOME.items() for name in names]
    done = run_snplab("history", "--json", result, *names, timeout=2 * BUILD_LIMIT)
    count = len(names)
    expect(done, 0, f"^PASS: {count} bugs: {count} caught; recall: {count} of {count} that software can show")
    data: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    return data


@pytest.mark.parametrize(("tree", "name"), [(tree, name) for tree, names in SOME.items() for name in names])
def test_caught(tree: str, name: str, found: dict[str, Any]) -> None:
    results = [bug for bug in found["bugs"] if (bug["tree"], bug["bug"]) == (tree, name)]
    assert [bug["result"] for bug in results] == ["caught"], results


def test_no_such_bug(tmp_path: Path) -> None:
    """A misspelt name must not pass."""
    expect(run_snplab("history", "no-such-bug", "--json", tmp_path / "json"), 2, "no bug matches 'no-such-bug'")
