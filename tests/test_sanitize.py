# SPDX-License-Identifier: GPL-2.0-only
"""The same programs on a kernel with KASAN, and each allocation of a launch failing once, on both trees.

KASAN sees what goes unseen otherwise: the kernel's log must say that it is on, so that a kernel without it does not pass.
"""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.judge.files import read_lines
from tests.support.front import run_snplab
from tests.support.l1 import BUILD_LIMIT

ABOUT = "run --sanitize on both trees: all programs under KASAN, and each allocation of a launch failing once"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot")
TAKES = 1500

TREES = ("6.12.y", "mainline")
KASAN = "KernelAddressSanitizer initialized"


def run(tree: str, tests: str, tmp_path: Path) -> dict[str, Any]:
    """The verdict of a run that passes."""
    result = tmp_path / "verdict.json"
    done = run_snplab("run", "--tree", tree, "--sanitize", "--test", tests, "--json", result, cwd=tmp_path,
                      timeout=2 * BUILD_LIMIT)
    assert done.status == 0, done.output
    verdict: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    logs = Path(verdict["logs"]).expanduser()
    assert any(KASAN in line for line in read_lines(logs / "kernel.log")), logs
    return verdict


@pytest.mark.parametrize("tree", TREES)
def test_all_programs(tree: str, tmp_path: Path) -> None:
    assert run(tree, "*", tmp_path)["verdict"] == "pass"


@pytest.mark.parametrize("tree", TREES)
def test_failing_allocations(tree: str, tmp_path: Path) -> None:
    verdict = run(tree, "sev_alloc_fail_test", tmp_path)
    assert verdict["verdict"] == "pass" and not verdict["skipped"], verdict
