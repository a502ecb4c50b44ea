# SPDX-License-Identifier: GPL-2.0-only
"""The first posting of the fix on the other tree: its guest hangs as well, and the verdict must name the hang."""
from __future__ import annotations

from pathlib import Path

from tests.support.guest import check_hang

ABOUT = "the first posting's guest hangs on mainline, too, and the hang is named"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot", "shell", "guest")
TAKES = 45


def test_first_posting_hangs(tmp_path: Path) -> None:
    """As on 6.12.y."""
    check_hang("mainline", tmp_path)
