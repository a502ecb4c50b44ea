# SPDX-License-Identifier: GPL-2.0-only
"""On mainline, too, the guest of the fix's first posting hangs, and the verdict must report the hang with its cause."""
from __future__ import annotations

from pathlib import Path

from tests.support.guest import check_hang

ABOUT = "the first posting's guest hangs on mainline as well, and the verdict reports the hang"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot", "shell", "guest")
TAKES = 45


def test_first_posting_hangs(tmp_path: Path) -> None:
    """As on 6.12.y, in tests/test_guest.py."""
    check_hang("mainline", tmp_path)
