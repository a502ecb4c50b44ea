# SPDX-License-Identifier: GPL-2.0-only
"""`bench --quick` boots two kernels twice each, counts instructions, and gives a verdict on the counts.

tests/test_bench_judge.py tests the verdict on made-up counts. This file counts for real, with up to 16 vCPUs, on the kernel
that `run` builds. It fails if a second boot counts otherwise, if the counting program does not fit the kernel, or if the
kernel "without locks" has them.
"""
from __future__ import annotations

import json
from pathlib import Path

from tests.support.front import expect, run_snplab
from tests.support.l1 import BUILD_LIMIT

ABOUT = "bench --quick: both boots of a kernel count the same, the locks' cost grows linearly, one of the two kernels locks"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot")
TAKES = 150


def test_quick(tmp_path: Path, cache: Path) -> None:
    """The verdict is pass, and the JSON has a row for each number of vCPUs."""
    result = tmp_path / "json"
    done = run_snplab("bench", "--quick", "--json", result, timeout=2 * BUILD_LIMIT)
    expect(done, 0, "^PASS: bench of 6.12.y on linux ")
    data = json.loads(result.read_text(encoding="utf-8"))
    assert (data["version"], data["verdict"], data["exit"]) == (1, "pass", 0)
    assert data["repeats"] == {"with": True, "without": True}
    assert [row["vcpus"] for row in data["rows"]] == [1, 2, 4, 8, 16]
    assert all(0 < row["lock"] < row["with"] for row in data["rows"])
    run = max((cache / "runs").glob("*-bench-*"), key=lambda path: path.stat().st_mtime)
    assert sorted(path.suffix for path in run.iterdir() if path.suffix in (".ktap", ".initrd", ".bzImage")) == 4 * [".ktap"]
