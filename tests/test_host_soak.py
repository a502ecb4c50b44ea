# SPDX-License-Identifier: GPL-2.0-only
"""Boots L1 and launches an SNP guest with 8 vCPUs again and again, on both kernels: no flake is allowed.

A race in the emulated host or in a patch may show in one boot of many. This test runs host/tests/soak: 5 boots with a launch
in each, then one boot with 5 launches. SNPLAB_SOAK=200 makes that 200 boots, and 200 launches in the last.
"""
from __future__ import annotations

import os

import pytest

from tests.support.front import TOP, expect, run_command

ABOUT = "many boots, and many launches of 8 vCPUs, without a flake, on both kernels"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "boot", "host", "hostsource")
TAKES = 300

BOOTS = int(os.environ.get("SNPLAB_SOAK") or 5)
# Seconds for the builds before the boots.
BUILDS = 3600


@pytest.mark.parametrize("tree", ["6.12.y", "mainline"])
def test_no_flake(tree: str) -> None:
    done = run_command(TOP / "host/tests/soak", "-n", str(BOOTS), "--tree", tree, timeout=BUILDS + BOOTS * 200)
    expect(done, 0, f"^{tree}: {BOOTS + 1} boots, {2 * BOOTS} of {2 * BOOTS} launches of 8 vCPUs, 0 flakes, ")
