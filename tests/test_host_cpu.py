# SPDX-License-Identifier: GPL-2.0-only
"""The emulated host's CPUs, tested without Linux by host/tests/cpu: each instruction and each fault.

A kernel under test uses few of the architecture's rules, and mostly follows them. A host that allowed a forbidden access
would let a wrong kernel pass. So this test breaks each rule on purpose, with SNP and on a machine without it. A guest's
loop must also run about as fast with SNP as without: slow SNP checks would slow each boot.
"""
from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.support.front import TOP, run_command
from tests.support.host_build import emulated_host
from tests.support.recorder import Tap

ABOUT = "the emulated host's CPUs: each instruction and each fault, with SNP and without; its speed"
LANE = "boot"
NEEDS = ("fetch", "overlay", "boot", "host", "hostsource")
TAKES = 60

RUN = TOP / "host" / "tests" / "cpu" / "run"
# host/README.md, "Where the manual leaves room".
OTHER_READINGS = ("es-always-intercepts=on", "es-vmsave-exits=off", "trap-clts-lmsw=off", "vmsa-checks-xss=off",
                  "vmsa-in-use-busy=on", "es-any-asid=on")
# Events that VMRUN of a guest with SEV-ES refuses (APM 15.35.8).
REFUSED_EVENTS = {"#BP": 0x80000303, "#OF": 0x80000304, "a software interrupt": 0x80000480}
LEAST_RATIO = 0.9
# On a busy machine even the median of several runs may be too low: measure again.
TRIES = 3
RATIO = re.compile(r"^# ratio ([0-9.]+)", re.M)


@pytest.fixture(scope="module")
def qemu() -> Path:
    return emulated_host()


def test_built(qemu: Path) -> None:
    assert os.access(qemu, os.X_OK)


def test_with_snp(tap: Tap, qemu: Path, tmp_path: Path) -> None:
    """What VMRUN refuses is logged, also where any processor refuses it and SEV has no part."""
    log = tmp_path / "guest-errors"
    tap.program("the test kernel ran to its end", RUN, qemu, "-d", "guest_errors", "-D", log)
    said = log.read_text(errors="replace")
    for name, event in REFUSED_EVENTS.items():
        assert re.search(rf": VMRUN on CPU \d+: state or event .*EVENTINJ {event:#x}$", said, re.M), \
            f"expected a line of the log that VMRUN refused {name}, EVENTINJ {event:#x}; found none"


def test_other_readings(tap: Tap, qemu: Path) -> None:
    """The properties that are readings of the manual, each with the value that is not its default."""
    words = [word for line in OTHER_READINGS for word in ("-global", f"amd-snp-host.{line}")]
    tap.program("the test kernel ran to its end with the other readings", RUN, qemu, *words,
                "-fw_cfg", "name=opt/snp-cpu/readings,string=1")


def test_shared_tlb_records(tap: Tap, qemu: Path) -> None:
    """With few records of what TLBs have, pages share them, as in a machine with much memory."""
    tap.program("the test kernel ran to its end with 16 records", RUN, qemu, "-global", "amd-snp-host.x-tlb-records=16")


def test_without_snp(tap: Tap, qemu: Path) -> None:
    tap.program("the test kernel ran to its end without SNP", RUN, "--off", qemu)


def test_speed(qemu: Path) -> None:
    """With SNP, a guest's loop runs at 0.9 or more of its speed without."""
    for _ in range(TRIES):
        done = run_command(RUN, "--bench", qemu)
        found = RATIO.search(done.output)
        if found and float(found[1]) >= LEAST_RATIO:
            return
    pytest.fail(f"expected a ratio of {LEAST_RATIO}, found less or none, {TRIES} times:\n{done.output[-2000:]}")
