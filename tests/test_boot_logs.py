# SPDX-License-Identifier: GPL-2.0-only
"""Do the tests that boot read a boot's logs rightly? Here on made-up logs.

A test that reads logs wrongly stays green when the kernel breaks. So each fault that a boot of the fault walk can have must
fail the walk's check; only the one known early end of a boot is allowed.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lab.judge.logs import BootLogs
from tests.support.fault_walk import PAGE, WARNED, Walk, Walked, walks_of
from tests.support.judge import counted, edit, without, write_logs
from tests.support.l1 import reports_of, said_by, why_no_end

ABOUT = "the tests that boot see each kind of fault in a boot's logs"
LANE = "fast"
NEEDS = ()
TAKES = 1

WARN = ("------------[ cut here ]------------", "WARNING: CPU: 1 PID: 70 at {}+0x9/0x20 [kvm_amd], CPU#1: x/70")
LEAK = "SEV: Leaking PFN range 0x1-0x2"
TAKEN = "SEV: Failed to reclaim PFN 0x1"
MET = ("BUG: unable to handle page fault for address: ffff888000001000", "#PF: supervisor write access in kernel mode",
       "#PF: error_code(0x80000003) - RMP violation", "Oops: Oops: 8003 [#1] SMP NOPTI")
KERNEL = ("Linux version 7.3.4", "kvm_amd: SEV-SNP enabled (ASIDs 1 - 99)")


def warning(function: str) -> list[str]:
    """The kernel's lines for a warning in that function."""
    return [line.format(function) for line in WARN]


def ktap(word: str) -> list[str]:
    """The KTAP of a boot in which the program ran two cases and L1 came to its end."""
    return ["KTAP version 1", "1..1", f"# Subtest: {word}", "# TAP version 13", "# 1..2", "# ok 1 first_launch",
            "# ok 2 b", f"# {word} took 1.0 s", f"ok 1 {word}", "snplab: end of tests"]


REPORTS = {
    WARNED: [*warning("snp_decommission_context"), LEAK, LEAK],
    PAGE: [TAKEN, *warning("snp_page_reclaim"), LEAK, *warning("sev_gmem_invalidate")],
}


def walked(folder: Path, walk: Walk, lines: Sequence[str], kernel: Sequence[str], errors: int | None = None) -> Walked:
    """The results of such a boot."""
    host = counted(walk.errors if errors is None else errors)
    return Walked(walk, BootLogs.read(write_logs(folder / "logs", lines, [*KERNEL, *kernel], host=host)))


def test_announced_reports(tmp_path: Path) -> None:
    """A message that a test has announced is no report, once; all others are, and so is one that came before."""
    said = "[ 1.0] snplab: on purpose: Leaking PFN"
    boots: list[tuple[list[str], list[str]]] = [
        ([said, LEAK], []), ([LEAK, said], ["leak"]), ([said, LEAK, LEAK], ["leak"]),
        ([said, TAKEN, LEAK], ["not-reclaimed"]), ([said, said, LEAK, LEAK], [])]
    for kernel, left in boots:
        logs = BootLogs.read(write_logs(tmp_path / "logs", [], kernel))
        assert reports_of(logs.kernel) == left
        assert len(logs.kernel.matches) == len(left)


def test_reports(tmp_path: Path) -> None:
    """Each report is one word: the function of a warning, a leak, a page that was not returned."""
    kernel = [*warning("snp_page_reclaim"), LEAK, TAKEN, *MET, "Kernel panic - not syncing: x"]
    logs = BootLogs.read(write_logs(tmp_path / "logs", [], kernel))
    assert reports_of(logs.kernel) == ["snp_page_reclaim", "leak", "not-reclaimed", MET[0], MET[2], MET[3],
                                       "Kernel panic - not syncing: x"]


@pytest.mark.parametrize("name", REPORTS)
def test_walk_passes(name: str, tmp_path: Path) -> None:
    """A boot as known passes."""
    walk = walks_of("6.12.y")[name]
    walked(tmp_path, walk, ktap(walk.word), REPORTS[name]).check()


WRONG: dict[str, Callable[[list[str]], list[str]]] = {
    "no result": lambda lines: without(lines, "^ok 1 "),
    "a failure": lambda lines: edit(lines, "^ok 1 (.*)", r"not ok 1 \1 # exit status 1"),
    "a skip": lambda lines: edit(lines, "^ok 1 (.*)", r"ok 1 \1 # SKIP no SNP"),
    "no end": lambda lines: without(lines, "^snplab: end"),
}


@pytest.mark.parametrize("name", WRONG)
def test_walk_fails(name: str, tmp_path: Path) -> None:
    """A failed program and an L1 without an end both fail the walk."""
    walk = walks_of("mainline")[WARNED]
    with pytest.raises(AssertionError):
        walked(tmp_path, walk, WRONG[name](ktap(walk.word)), REPORTS[WARNED]).check()


@pytest.mark.parametrize("kernel", ([], [LEAK], [*REPORTS[WARNED], LEAK], [*REPORTS[WARNED], *MET]),
                         ids=["none", "another", "one more", "an oops"])
def test_walk_with_other_reports(kernel: Sequence[str], tmp_path: Path) -> None:
    """Fewer reports than known fail the walk, and so do more."""
    walk = walks_of("mainline")[WARNED]
    found = walked(tmp_path, walk, ktap(walk.word), kernel)
    with pytest.raises(AssertionError):
        found.check()


def test_walk_with_errors_on_the_host(tmp_path: Path) -> None:
    """The host must have counted exactly as many errors as known."""
    walk = walks_of("mainline")[WARNED]
    with pytest.raises(AssertionError):
        walked(tmp_path, walk, ktap(walk.word), REPORTS[WARNED], walk.errors + 1).check()


def test_next_owner_meets_the_page(tmp_path: Path) -> None:
    """The one allowed early end: an RMP fault on the page freed too early, after the known reports."""
    walk = walks_of("6.12.y")[PAGE]
    assert walked(tmp_path, walk, [], [*REPORTS[PAGE], *MET]).next_owner_met_the_page()
    assert not walked(tmp_path, walk, [], REPORTS[PAGE]).next_owner_met_the_page()
    assert not walked(tmp_path, walk, [], [*REPORTS[PAGE][1:], *MET]).next_owner_met_the_page()
    assert not walked(tmp_path, walk, [], [*REPORTS[PAGE], MET[0]]).next_owner_met_the_page()


def test_lines_of_a_program(tmp_path: Path) -> None:
    """A program's lines run from its begin to its result."""
    lines = ["1..2", "# Subtest: a", "# x", "ok 1 a", "# Subtest: a_b", "# y", "not ok 2 a_b # exit status 1"]
    logs = BootLogs.read(write_logs(tmp_path / "logs", lines, []))
    assert said_by(logs, "a") == lines[1:4]
    assert said_by(logs, "a_b") == lines[4:]
    assert said_by(logs, "c") == []


def test_why_there_is_no_end(tmp_path: Path) -> None:
    """why_no_end() explains a time-out, an early end, and a QEMU that did not boot."""
    lines = ktap("x")
    assert why_no_end(BootLogs.read(write_logs(tmp_path / "logs", lines, KERNEL))) == ""
    assert "no end within 9 s" in why_no_end(BootLogs.read(write_logs(tmp_path / "logs", lines[:-1], KERNEL, timed_out="9")))
    assert "not power off" in why_no_end(BootLogs.read(write_logs(tmp_path / "logs", lines, KERNEL, timed_out="9")))
    assert "ended before" in why_no_end(BootLogs.read(write_logs(tmp_path / "logs", lines[:-1], KERNEL)))
    assert "status 1" in why_no_end(BootLogs.read(write_logs(tmp_path / "logs", lines, KERNEL, not_booted="status 1")))
