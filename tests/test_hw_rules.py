# SPDX-License-Identifier: GPL-2.0-only
"""lab/hw.sh and the lab's judges have the same rules.

hw.sh must run on a machine without Python, so it has its own copy of the rules: what a kernel's report looks like, which
words no known failure may print, and how the list of known failures is read. If only one of the two changed, real hardware
would pass a kernel that the lab fails, or fail one that it passes.
"""
from __future__ import annotations


import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from lab.core.places import LAB, SERIES, TOP
from lab.judge.expect import Known, never_known_pattern, read_known
from lab.judge.kernel_log import report_pattern
from lab.judge.ktap import Case, Result

ABOUT = "lab/hw.sh and lab/judge have the same rules for reports and known failures"
LANE = "fast"
NEEDS = ()
TAKES = 2

HW = LAB / "hw.sh"
TREES = ("linux-6.12.y", "mainline")
ENTRIES = [known for tree in TREES for known in read_known(SERIES / tree / "expect").entries.values()]


def part(pattern: str) -> str:
    """Cuts a part out of hw.sh, unchanged."""
    m = re.search(pattern, HW.read_text(encoding="utf-8"), re.M | re.S)
    assert m, f"lab/hw.sh has no {pattern}"
    return m[0]


def shell(text: str, *words: str) -> str:
    """Runs a part of hw.sh in a POSIX shell; returns a variable's value or a function's output."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as f:
        f.write(text + "\n")
        f.flush()
        return subprocess.run(["sh", "-eu", TOP / "tests/hw/part.sh", f.name, *words], capture_output=True, text=True,
                              check=True).stdout


def test_report() -> None:
    """Both take the same kernel lines for reports."""
    assignment = part(r"^report=.*?[^\\]$")
    assert shell(assignment, "report") == report_pattern()


def test_never_known() -> None:
    """Both have the same words that no known failure may print."""
    assignment = part(r"^never_known=.*?$")
    assert shell(assignment, "never_known") == never_known_pattern()


def listed(expect: Path, program: str, case: str) -> list[str]:
    """The reason and the words that hw.sh reads from a list."""
    function = part(r"^listed[(][)] [{].*?^[}]$")
    return shell(function, "listed", f"/somewhere/{program}", str(expect), case).split("\n")[:2]


@pytest.mark.parametrize("tree", TREES)
def test_lists(tree: str) -> None:
    """Both read the same entry for each case in the lists, and none for other cases."""
    path = SERIES / tree / "expect"
    for known in read_known(path).entries.values():
        if known.case is not None:
            assert listed(path, known.program, known.case) == [known.reason, known.says or ""]
    assert listed(path, "sev_snp_launch_test", "snp_launch.no_such_case") == ["", ""]


@pytest.mark.parametrize("known", [known for known in ENTRIES if known.says],
                         ids=[f"{known.program} {known.case}" for known in ENTRIES if known.says])
def test_words_are_read_alike(known: Known, tmp_path: Path) -> None:
    """A list's expression means the same to grep -E and to Python."""
    assert known.says
    line = f"# {sample(known.says)}"
    (tmp_path / "out").write_text(line + "\n", encoding="utf-8")
    grep = subprocess.run(["grep", "-aqE", "-e", known.says, tmp_path / "out"], check=False)
    assert grep.returncode == 0 and re.search(known.says, line)
    assert known.objection(Case("x", Result.FAIL, "", [line])) is None
    assert known.objection(Case("x", Result.FAIL, "", ["# another line"])) is not None


def sample(pattern: str) -> str:
    """A text that matches such a simple expression."""
    for expression, text in ((r"\[0-9\]\+", "7"), (r"\.\*", " and "), (r"\\(.)", r"\1")):
        pattern = re.sub(expression, text, pattern)
    return pattern


def test_entry_without_words(tmp_path: Path) -> None:
    """An entry without the words that the case must print excuses nothing in either."""
    path = tmp_path / "expect"
    path.write_text("program a.b: known failure: a reason\n", encoding="utf-8")
    known = read_known(path).of("program", "a.b")
    assert known and known.objection(Case("a.b", Result.FAIL, "", ["# all of it"])) is not None
    assert listed(path, "program", "a.b") == ["a reason", ""]
    assert 'the list has no "says:" for it' in HW.read_text(encoding="utf-8")
