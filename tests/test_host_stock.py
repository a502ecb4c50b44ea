# SPDX-License-Identifier: GPL-2.0-only
"""What a plain nested guest gains from the generic patches of host/, shown on Debian's own QEMU.

The patches before the platform's are said to repair QEMU. A repair of nothing, or one that a newer QEMU makes superfluous,
would stay unnoticed if only the emulated host ran their cases. So each of them must fail a case on the QEMU that the queue
is made for, and exactly those of host/tests/cpu/stock.fails.
"""
from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.build.deps import install_step
from lab.build.packages import QEMU, GuestPackages, loader_command
from lab.core.steps import Plan
from tests.support.front import TOP
from tests.support.host_build import emulated_host
from tests.support.l1 import lab_session, run_plan
from tests.support.recorder import Tap
from tests.support.tap import TapRun, run_tap

ABOUT = "the generic patches of host/: which cases Debian's QEMU fails without them"
LANE = "boot"
NEEDS = ("fetch", "overlay", "boot", "host", "hostsource", "guest")
TAKES = 30

CPU = TOP / "host" / "tests" / "cpu"
FAILS = CPU / "stock.fails"
README = TOP / "host" / "README.md"
# Several CPUs race here.
RACE = "target-i386-change-ignne-of-cpu-0-on-its-own-thread-only: a guest runs while other CPUs load their FPUs"
# The first patch that is the platform's; and patches after the platform's that are not.
PLATFORM = "target-i386-cpu-features-and-state-of-an-emulated-sev-snp"
LATER = ("system-physmem-one-memory-map-for-a-tlb-until-it-is-flushed",
         "target-i386-pause-with-a-thread-for-each-cpu-is-no-exit")
# Patches that no case of the CPU test can show.
NO_CASE = {
    "target-i386-sync-the-registers-before-helper-write-crn":
        "QEMU 10.0 happens to store a register where a block sets it last, so that none is stale at the call",
    "system-physmem-one-memory-map-for-a-tlb-until-it-is-flushed":
        "a race between a CPU and a change of the memory map",
    "target-i386-pause-with-a-thread-for-each-cpu-is-no-exit": "speed only",
}


def listed() -> list[str]:
    """The cases that Debian's QEMU fails."""
    lines = FAILS.read_text(encoding="utf-8").splitlines()
    return sorted(line for line in lines if line and not line.startswith("#"))


def generic_patches() -> list[str]:
    """The names of the patches that do without the platform."""
    lines = (TOP / "host/series").read_text(encoding="utf-8").splitlines()
    names = [line.removesuffix(".patch") for line in lines if line.endswith(".patch")]
    return [*names[:names.index(PLATFORM)], *(name for name in names if name in LATER)]


@pytest.fixture(scope="module", name="stock")
def fixture_stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TapRun]:
    """The run on Debian's QEMU, which is not installed but unpacked."""
    folder = tmp_path_factory.mktemp("stock")
    with lab_session(folder) as session:
        qemu = GuestPackages(session).qemu
        plan = Plan(session, logs=folder / "steps")
        plan.add("fetch Debian's QEMU", qemu.fetch, after=(install_step(plan, "fetch", "guest"),))
        run_plan(plan)
        program = folder / "qemu-system-x86_64"
        words = list(loader_command(qemu.path, qemu.path / QEMU).argv)
        program.write_text(f"#!/usr/bin/python3\nimport os, sys\nos.execv({words[0]!r}, {words!r} + sys.argv[1:])\n",
                           encoding="utf-8")
        program.chmod(0o755)
        yield run_tap((CPU / "run", "--stock", program))


def test_each_patch_has_a_case() -> None:
    shown = {line.partition(":")[0] for line in listed()}
    assert sorted(shown | set(NO_CASE)) == sorted(generic_patches())
    assert not shown & set(NO_CASE)


def test_readme_has_each_patch() -> None:
    rows = [line.split("|")[1].strip().strip("`") for line in README.read_text(encoding="utf-8").splitlines()
            if line.startswith(("| `target-", "| `hw-i386-amd-iommu", "| `system-"))]
    assert sorted(rows) == sorted(generic_patches())


def test_emulated_host(tap: Tap) -> None:
    tap.program("all groups of cases ran", CPU / "run", "--stock", emulated_host())


def test_stock(stock: TapRun) -> None:
    """Debian's QEMU fails the listed cases and no other. It survives RACE by luck, seldom."""
    assert stock.plan == len(stock.cases), stock.tail()
    assert RACE in listed()
    # Some names are there twice.
    found = sorted([*(case.name for case in stock.failed if case.name != RACE), RACE])
    assert found == listed(), "\n".join(
        [f"expected what {FAILS.name} lists, found on Debian's QEMU:",
         *(f"fails and is not listed: {name}" for name in found if name not in listed()),
         *(f"is listed and passes: {name}" for name in listed() if name not in found)])
