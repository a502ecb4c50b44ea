# SPDX-License-Identifier: GPL-2.0-only
"""Two runs of one tree at the same time wait for each other, and each judges its own kernel.

One run has a mutant on top, the other has not: two kernels in the same work folder. A run that unlocks the tree too early,
or boots from it instead of from its own copy, passes the wrong kernel or fails the right one.
"""
from __future__ import annotations

import subprocess
import time
from pathlib import Path

from lab.core.places import TOP

ABOUT = "two runs of one tree wait for each other, and each judges its own kernel"
LANE = "boot"
NEEDS = ("fetch", "overlay", "build", "boot", "host", "hostsource")
TAKES = 60
WRONG = TOP / "tests/mutants/linux-6.12.y/leak-on-success.patch"
# This one case tells the two kernels apart.
CASE = "sev_snp_launch_test:finish_releases_vcpus"


def start(log: Path, *words: str) -> subprocess.Popen[bytes]:
    """Starts a run in the background."""
    with open(log, "wb") as out:
        return subprocess.Popen([str(TOP / "snplab"), "run", "--test", CASE, *words], stdout=out, stderr=out,
                                stdin=subprocess.DEVNULL)


def test_each_run_judges_its_own_kernel(tmp_path: Path) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    first = start(wrong, "--patch", str(WRONG))
    # Either run may get the lock first.
    time.sleep(0.5)
    second = start(right)
    statuses = first.wait(900), second.wait(900)
    assert statuses == (1, 0), f"{wrong.read_text()[-3000:]}\n{right.read_text()[-3000:]}"
    assert "finish_releases_vcpus" in wrong.read_text() and "\nFAIL: 6.12.y" in wrong.read_text()
    assert "\nPASS: 6.12.y" in right.read_text()
    assert "waiting for another snplab that uses work-6.12.y" in right.read_text() + wrong.read_text()
