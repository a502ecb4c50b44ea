# SPDX-License-Identifier: GPL-2.0-only
"""Do the pipelines of docs/ci give the report of one run where they boot kernels?

Mutants in two shards with one cache: the second shard builds in the folders that the first one has used. Boots of a guest
in two shards with caches of their own, empty at first, as on two machines. tests/test_ci.py does the same without a boot.
"""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.front import copy_repository, expect, run_snplab
from tests.support.l1 import BUILD_LIMIT
from tests.support.pipeline import GITHUB, GITLAB, REPORT, Pipeline

ABOUT = "docs/ci with kernels: mutants in two shards, and a guest's boots in two shards with caches of their own"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot", "shell", "guest", "check", "docs")
TAKES = 1500

MUTANTS = "mutants leak-on-success mainline/trylock"


@pytest.fixture(name="top")
def fixture_top(tmp_path: Path) -> Path:
    """A copy of the repository, as a checkout."""
    return copy_repository(tmp_path / "copy")


def results(path: Path) -> dict[str, Any]:
    """What mutants' JSON says besides times, logs and what each boot printed."""
    data = json.loads(path.read_text(encoding="utf-8"))
    mutants = {f"{tree}/{mutant['name']}": (mutant["result"], mutant["named"], mutant["problems"])
               for tree, found in data["trees"].items() for mutant in found["mutants"]}
    return {"mutants": mutants, "linux": {tree: found["linux"] for tree, found in data["trees"].items()},
            "idle": {tree: found["cases_that_caught_nothing"] for tree, found in data["trees"].items()},
            **{name: data[name] for name in ("verdict", "exit", "counts", "problems", "shard")}}


def test_mutants_with_one_cache(top: Path, cache: Path) -> None:
    """Three mutants of two trees, with the user's cache."""
    env = {"XDG_CACHE_HOME": str(cache.parent.parent)}
    pipeline = Pipeline(GITLAB, top, MUTANTS, "--html report.html")
    for shard in pipeline.shards(env, timeout=2 * BUILD_LIMIT, after=False):
        expect(shard, 0, "^PASS: [12] mutants: ")
    report = pipeline.do(REPORT, 0, env)
    expect(report, 0, "^PASS: 3 mutants: 3 caught, 0 survived; ")
    one = run_snplab(*MUTANTS.split(), "--json", top.parent / "one", top=top, env=env, timeout=2 * BUILD_LIMIT)
    expect(one, 0, "^PASS: 3 mutants: 3 caught, 0 survived; ")
    assert results(top / "report.json") == results(top.parent / "one")
    assert "leak-on-success" in (top / "report.html").read_text(encoding="utf-8")


def test_a_guest_with_caches_of_their_own(top: Path) -> None:
    """Each shard fetches its packages and builds QEMU."""
    pipeline = Pipeline(GITHUB, top, "guest --tree debian --boots 2", "")
    caches = [{"XDG_CACHE_HOME": str(top.parent / f"cache{number}")} for number in (1, 2)]
    for shard in pipeline.shards(*caches, timeout=2 * BUILD_LIMIT):
        expect(shard, 0, "^PASS: Debian's kernel on linux ")
    expect(pipeline.do(REPORT, 0, {}), 0, "^PASS: 2 of 2 boots; logs: ")
