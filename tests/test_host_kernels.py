# SPDX-License-Identifier: GPL-2.0-only
"""L1 runs every SEV test that upstream has, and each known failure fails for the reason given.

tests/test_run.py boots both trees with all programs and compares each result with the expected one. It cannot notice that
the list of programs lacks a SEV test of a newer kernel, nor that a known failure is the emulated host's fault and not the
kernel's. So each known failure has an evidence: a patch of the kernel with which the program passes.
"""
from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.core.places import TOP
from lab.judge.expect import Known, read_known
from lab.judge.ktap import Result
from lab.judge.programs import Origin, all_programs
from lab.patches.series import series_dir, trees
from tests.support.l1 import lab_session, prepared_l1, shown, upstream_selftests, why_no_end

ABOUT = "L1 runs all of upstream's SEV tests; each known failure passes with the patch that is its evidence"
LANE = "boot"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot")
TAKES = 50

EVIDENCE = TOP / "host/tests/kvm/evidence"
KNOWN = [(tree, known) for tree in trees() for known in read_known(series_dir(tree) / "expect").whole_programs()]


def test_every_sev_test_of_upstream_is_in_the_list(tmp_path: Path) -> None:
    """Each selftest of Debian's newest 7.x kernel whose source mentions SEV must be a program that `run` runs in L1."""
    with lab_session(tmp_path) as session:
        sources = upstream_selftests(session, tmp_path)
    sev = {name for name, source in sources.items() if re.search("sev", source, re.I)}
    assert "sev_smoke_test" in sev
    assert sev - {program.name for program in all_programs() if program.origin is Origin.UPSTREAM} == set()


@pytest.mark.parametrize(("tree", "known"), KNOWN, ids=[f"{tree}-{known.program}" for tree, known in KNOWN])
def test_passes_with_evidence(tree: str, known: Known, tmp_path: Path) -> None:
    """With the patch the program passes: so the failure is the kernel's, for the reason given."""
    assert known.evidence is not None
    with prepared_l1(tmp_path, tree, [known.program], [EVIDENCE / known.evidence]) as l1:
        logs = l1.boot("logs", known.program)
    assert why_no_end(logs) == ""
    assert logs.result(known.program) is Result.PASS, shown(logs, known.program)
