# SPDX-License-Identifier: GPL-2.0-only
"""The parsers of a boot's logs, as the tests of the emulated host use them.

Those tests require exactly the errors that their programs provoke, and must notice each kind of failure: a report, a panic,
an early end. Made-up logs show that they notice each. Each known failure of a tree must name the text that the test prints
when it fails, and a patch that proves the reason.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lab.core.places import SERIES, TOP
from lab.judge.expect import Known, read_known
from lab.judge.ktap import Result
from lab.judge.logs import BootLogs
from lab.judge.programs import provoked_by
from tests.support.judge import write_logs

ABOUT = "the emulated host's tests notice each kind of failure in a boot's logs, and require exactly the provoked errors"
LANE = "fast"
NEEDS = ()
TAKES = 1

KTAP = ["1..4", "ok 1 a", "ok 2 b # SKIP no SEV", "not ok 3 c # exit status 1",
        "not ok 4 d # TIMEOUT no end within 5 s", "snplab: end of tests"]
CLEAN = '{"guest-errors": 0, "errors": {"rmp": 0}}'
# The errors that snp_ap_test provokes, according to the list of programs.
WANTED = provoked_by(["snp_ap_test"])
(KIND, N), = WANTED.items()

Boot = Callable[..., BootLogs]


@pytest.fixture(name="boot")
def fixture_boot(tmp_path: Path) -> Boot:
    """boot(ktap, kernel, host.json): the logs of such a boot, parsed."""
    def boot(ktap: Sequence[str], kernel: Sequence[str], host: str | None, **marks: str) -> BootLogs:
        return BootLogs.read(write_logs(tmp_path / "logs", ktap, kernel, host=host, **marks))
    return boot


def errors(total: int, of_kind: int) -> str:
    """A host.json with that many errors in all, and that many of one kind."""
    return f'{{"guest-errors": {total}, "errors": {{"{KIND}": {of_kind}}}}}'


@pytest.mark.parametrize(("name", "result"), [("a", Result.PASS), ("b", Result.SKIP), ("c", Result.FAIL),
                                              ("d", Result.TIMEOUT), ("e", None)])
def test_result(name: str, result: Result | None, boot: Boot) -> None:
    """A test's result, or that it has none."""
    assert boot(KTAP, ["Linux version 6"], CLEAN).result(name) == result


def test_end(boot: Boot) -> None:
    """The parser finds the end, and no errors where none are expected."""
    logs = boot(KTAP, ["Linux version 6"], CLEAN)
    assert logs.ended
    assert logs.host.differs(provoked_by(["a"])) == ""


def test_early_end(boot: Boot) -> None:
    """An L1 that ended early, or whose boot timed out, has no end."""
    assert not boot(["ok 1 a"], [], None).ended
    assert not boot(KTAP, [], CLEAN, timed_out="9").ended


def test_reports(boot: Boot) -> None:
    """The parser finds a report and a panic in the log; the host's error counts are fine."""
    logs = boot(["ok 1 a"], ["WARNING: at nowhere"], None)
    assert logs.kernel.matches == ["WARNING: at nowhere"] and logs.kernel.panic is None
    assert "unknown" in logs.host.differs({})
    assert boot(KTAP, ["Kernel panic - not syncing: x"], CLEAN).kernel.panic == "x"


def test_not_booted(boot: Boot) -> None:
    """The parser reads why QEMU did not boot."""
    assert boot([], [], None, not_booted="setup: no").not_booted == "setup: no"


DIFFERS: dict[str, tuple[int, int, dict[str, int], str]] = {
    "errors that no test provokes": (N, N, {}, f"expected: none; found: {KIND} {N}"),
    "errors that a test provokes": (N, N, WANTED, ""),
    "more than a test provokes": (N + 1, N + 1, WANTED, f"expected: {KIND} {N}; found: {KIND} {N + 1}"),
    "fewer than a test provokes": (0, 0, WANTED, f"expected: {KIND} {N}; found: none"),
    "an error of no known kind": (N + 1, N, WANTED, f"the kinds' sum is not the total, {N + 1}: {KIND} {N}"),
}


@pytest.mark.parametrize("name", DIFFERS)
def test_errors_on_the_host(name: str, boot: Boot) -> None:
    """differs() is empty for exactly the provoked errors; otherwise it describes the difference."""
    total, of_kind, wanted, said = DIFFERS[name]
    assert boot(KTAP, [], errors(total, of_kind)).host.differs(wanted) == said


def test_provoked_errors_are_added_up() -> None:
    """The errors of several programs add up; a program that provokes none adds none; arguments don't matter."""
    assert provoked_by(["snp_smp_test", "snp_ap_test"]) == WANTED
    assert provoked_by(["snp_ap_test", "snp_ap_test:-n:2"]) == {KIND: 2 * N}


TREES = ("linux-6.12.y", "mainline")
WHOLE = [(tree, known) for tree in TREES for known in read_known(SERIES / tree / "expect").whole_programs()]


@pytest.mark.parametrize("tree", TREES)
def test_list_of_known_failures(tree: str) -> None:
    """Every tree has a list, and each entry has the text that the test prints when it fails."""
    path = SERIES / tree / "expect"
    assert path.stat().st_size > 0
    known = read_known(path).entries.values()
    assert [entry for entry in known if not entry.reason or not entry.says] == []


@pytest.mark.parametrize(("tree", "known"), WHOLE, ids=[f"{tree}-{known.program}" for tree, known in WHOLE])
def test_evidence(tree: str, known: Known) -> None:
    """An entry for a whole program names a patch with which the program passes."""
    assert tree and known.evidence
    assert (TOP / "host/tests/kvm/evidence" / known.evidence).stat().st_size > 0


def test_program_without_an_entry() -> None:
    """A program without an entry in the list is expected to pass."""
    known = read_known(SERIES / "linux-6.12.y/expect")
    assert known.of("snp_smp_test", None) is None
    assert known.of("sev_dbg_test", None) is not None
    assert known.cases_of("sev_snp_launch_test") and not known.cases_of("sev_dbg_test")
