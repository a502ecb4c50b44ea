# SPDX-License-Identifier: GPL-2.0-only
"""L1 is an SNP host to a stock tool, and to a kernel that encrypts its memory.

Debian's snphost asks CPUID, MSRs, KVM and the firmware for what an administrator needs; a host that lacks one of these looks
unlike hardware. With mem_encrypt=on, a kernel encrypts itself in place and sets the C-bit in its page tables and in each
address that it gives to VMRUN, the firmware and the IOMMU. It cannot boot, or cannot launch, if one of these is read through
another key.
"""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.judge.ktap import Result
from lab.judge.logs import BootLogs
from tests.support.l1 import L1, prepared_l1, reports_of, said_by, shown, why_no_end
from tests.support.snphost import add_snphost, results_of

ABOUT = "Debian's snphost ok passes in L1; a kernel with mem_encrypt=on boots there and launches guests"
LANE = "boot"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot")
TAKES = 100

LAUNCH, PARALLEL, SNPHOST = "sev_snp_launch_test", "snp_smp_test", "snphost:ok"
ACTIVE = "Memory Encryption Features active: AMD SME"


def checked(logs: BootLogs, *programs: str) -> BootLogs:
    """A boot that came to its end, without a report, and whose programs passed."""
    assert why_no_end(logs) == ""
    for program in programs:
        assert logs.result(program) is Result.PASS, shown(logs, program)
    assert reports_of(logs.kernel) == []
    return logs


@pytest.fixture(scope="module")
def l1(tmp_path_factory: pytest.TempPathFactory) -> Iterator[L1]:
    with prepared_l1(tmp_path_factory.mktemp("6.12.y"), "6.12.y", [PARALLEL]) as built:
        add_snphost(built.session, built.folder, built.prepared.initrd)
        yield built


def test_snphost_and_launches_under_sme(l1: L1) -> None:
    """Not with the launch test, of which two cases are known to fail on 6.12.y: test_mainline has it."""
    logs = checked(l1.boot("sme", f"{SNPHOST},{PARALLEL}", append="mem_encrypt=on"), SNPHOST, PARALLEL)
    assert any(ACTIVE in line for line in logs.kernel.lines)


def test_snphost_without(l1: L1) -> None:
    logs = checked(l1.boot("plain", SNPHOST), SNPHOST)
    assert not any(ACTIVE in line for line in logs.kernel.lines)
    results = results_of(said_by(logs, SNPHOST))
    assert {"Secure Memory Encryption (SME)", "SNP initialized"} <= set(results), shown(logs, SNPHOST)
    assert set(results.values()) == {"PASS"}, results


def test_mainline(tmp_path: Path) -> None:
    with prepared_l1(tmp_path, "mainline", [LAUNCH]) as built:
        logs = checked(built.boot("sme", LAUNCH, append="mem_encrypt=on"), LAUNCH)
    assert any(ACTIVE in line for line in logs.kernel.lines)
