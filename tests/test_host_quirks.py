# SPDX-License-Identifier: GPL-2.0-only
"""Kernels that lack what real hardware asks of them fail on the emulated host as they do on hardware.

Each patch in host/tests/kvm/without takes one such thing out of the kernel. The unpatched kernel must pass the same program,
so that the failure is the patch's.
"""
from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.core.places import TOP
from lab.judge.ktap import Result
from tests.support.l1 import prepared_l1, shown, why_no_end

ABOUT = "a kernel that does not reserve the RMP's ends, or has a VMCB at 2 MB, fails; the unpatched one passes"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot")
TAKES = 600

TREE = "mainline"
WITHOUT = TOP / "host/tests/kvm/without"


@dataclass(frozen=True)
class Quirk:
    """What a patch takes out: the program that shows it, and the kernel's line."""

    patch: str
    program: str
    says: str


QUIRKS = (
    Quirk("rmp-table-fixups-reserved", "snp_memory_test",
          r"SEV-SNP: RMPUPDATE failed for PFN [0-9a-f]+, pg_level: 1, ret: 2"),
    Quirk("snp-safe-alloc-page", "sev_snp_launch_test", r"#PF: error_code\(0x80000003\) - RMP violation"),
)


def test_every_patch_is_tried() -> None:
    assert {path.stem for path in WITHOUT.glob("*.patch")} == {quirk.patch for quirk in QUIRKS}


@pytest.mark.parametrize("program", sorted({quirk.program for quirk in QUIRKS}))
def test_unpatched_passes(program: str, tmp_path: Path) -> None:
    with prepared_l1(tmp_path, TREE, [program]) as l1:
        logs = l1.boot("logs", program)
    assert why_no_end(logs) == ""
    assert logs.result(program) is Result.PASS, shown(logs, program)


@pytest.mark.parametrize("quirk", QUIRKS, ids=[quirk.patch for quirk in QUIRKS])
def test_patched_fails(quirk: Quirk, tmp_path: Path) -> None:
    with prepared_l1(tmp_path, TREE, [quirk.program], [WITHOUT / f"{quirk.patch}.patch"]) as l1:
        # After the first fault nothing can be relied on: end there, and do not wait for the limit.
        logs = l1.boot("logs", quirk.program, append="oops=panic")
    assert any(re.search(quirk.says, line) for line in logs.kernel.lines), "\n".join(logs.kernel.lines[-40:])
    assert why_no_end(logs) != "" or logs.result(quirk.program) is not Result.PASS
