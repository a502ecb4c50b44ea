# SPDX-License-Identifier: GPL-2.0-only
"""Every x86 KVM selftest of 7.x, on stock QEMU and on the emulated host: none does worse on the emulated host.

A test that fails or hangs on stock QEMU as well is only listed. A test that passes there must pass on the emulated host: a
change for SNP must not break virtualization for other guests. Each boot runs all tests, each for a limited time.
"""
from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.core.errors import setup_error
from lab.core.process import set_environment
from lab.core.steps import side_by_side
from lab.judge.ktap import Result
from lab.judge.logs import BootLogs
from tests.support.l1 import L1, lab_session, shown, upstream_selftests, why_no_end
from tests.support.recorder import Tap

ABOUT = "every x86 KVM selftest on stock QEMU and on the emulated host: none does worse there"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot", "check")
TAKES = 400

# The longest test that passes takes 10 s on an idle machine, and took more than 25 s on a busy one.
SECONDS = int(os.environ.get("SNPLAB_SELFTEST_SECONDS", "90"))
TREE = os.environ.get("SNPLAB_SELFTEST_TREE", "mainline")
# Enough for a boot in which many tests hang.
LIMIT = 1500
STOCK, EMULATED = "stock", "emulated"
SIDES = (STOCK, EMULATED)
MANY = 50
# Results from bad to good.
RANKS = (None, Result.TIMEOUT, Result.FAIL, Result.SKIP, Result.PASS)


@dataclass(frozen=True)
class Both:
    """What both boots have left, and the tests that were to run."""

    names: list[str]
    logs: dict[str, BootLogs]


@pytest.fixture(scope="module", name="both")
def fixture_both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Both boots, in parallel."""
    folder = tmp_path_factory.mktemp("selftests")
    set_environment()
    stock = shutil.which("qemu-system-x86_64")
    if stock is None:
        raise setup_error("expected a stock qemu-system-x86_64, found none")
    with lab_session(folder) as session:
        names = list(upstream_selftests(session, folder))
        l1, logs = L1(session, folder / "l1", TREE, names), dict[str, BootLogs]()
        # A file, because the kernel's command line is too short for all names.
        l1.add_files({"tests/list": "".join(f"{name}\n" for name in names)})

        def boot(side: str, qemu: str | None) -> None:
            logs[side] = l1.boot(side, "@list", LIMIT, each=SECONDS, stock=qemu)
        try:
            side_by_side(lambda: boot(STOCK, stock), lambda: boot(EMULATED, None))
            yield Both(names, logs)
        finally:
            l1.drop()


@pytest.mark.parametrize("side", SIDES)
def test_end(side: str, both: Both) -> None:
    """L1 ran all tests and came to its end."""
    assert why_no_end(both.logs[side]) == ""
    assert [test.name for test in both.logs[side].ktap.tests] == both.names
    assert len(both.names) > MANY


def test_no_report(both: Both) -> None:
    """The kernel's log on the emulated host has no report."""
    assert (both.logs[EMULATED].kernel.matches, both.logs[EMULATED].kernel.panic) == ([], None)


def word(result: Result | None) -> str:
    """A result in one word, for the user."""
    return "none" if result is None else result.value


def test_none_is_worse(both: Both, tap: Tap) -> None:
    """Records a result for each selftest."""
    for name in both.names:
        stock, emulated = (both.logs[side].result(name) for side in SIDES)
        text = f"{name}: stock {word(stock)}, emulated {word(emulated)}"
        if stock in (Result.FAIL, Result.TIMEOUT):
            print(text)
        tap.case(text, RANKS.index(emulated) >= RANKS.index(stock), shown(both.logs[EMULATED], name))
