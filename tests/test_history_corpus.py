# SPDX-License-Identifier: GPL-2.0-only
"""Are the bugs of tests/history what a program and a reader need?

A header that cannot be read, a fix that is counted twice, or a patch without its tree makes the count of bugs wrong. Nothing
is built here.
"""
from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from lab.build.kernel import CONFIGS
from lab.core.places import TOP
from lab.history.bug import Bug
from lab.history.corpus import HISTORY, Entry, bugs_of, corpus
from lab.history.diff import hunks_of
from lab.history.presence import diff_of
from lab.patches.series import series_name, trees

ABOUT = "every bug of tests/history has a right header, one name and one fix, and a patch for its tree"
LANE = "fast"
NEEDS = ()
TAKES = 3

# At least so many different fixes, so many of them outside of sev.c, so many that software can show.
MANY, ELSEWHERE, SHOWN = 45, 12, 45
SEV = "arch/x86/kvm/svm/sev.c"
BUGS = [bug for tree in trees() for bug in bugs_of(tree)]
ENTRIES = corpus()


def name_of(bug: Bug) -> str:
    """A bug's name among all trees."""
    return f"{bug.tree}/{bug.slug}"


@pytest.mark.parametrize("bug", BUGS, ids=name_of)
def test_header_and_diff(bug: Bug) -> None:
    assert bug.errors == []
    diff = diff_of(bug)
    assert hunks_of(diff) and not [line for line in diff if re.match(r"\+.*[ \t]$", line)]
    config = bug.fields.get("Config")
    assert config is None or not bug.header.named or (CONFIGS / f"{config}.config").exists()


def test_each_gap_is_a_row_of_the_host_s_table() -> None:
    """What the emulated host lacks is written down at one place; a row that is renamed or filled is found here."""
    text = (TOP / "host/README.md").read_text(encoding="utf-8")
    part = text.partition("\n## What is modelled, simplified, absent\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in part.splitlines() if line.startswith("| ")]
    gaps = {bug.fields["Gap"] for bug in BUGS if "Gap" in bug.fields}
    assert gaps and gaps <= set(rows)
    assert [name_of(bug) for bug in BUGS if "Gap" in bug.fields and "Needs" not in bug.fields] == []


@pytest.mark.parametrize("entry", ENTRIES, ids=[entry.slug for entry in ENTRIES])
def test_trees_agree(entry: Entry) -> None:
    assert entry.differences() == []


def test_each_fix_is_there_once() -> None:
    fixes = Counter(entry.any.commit or entry.any.subject for entry in ENTRIES)
    assert [fix for fix, count in fixes.items() if count > 1] == []


def test_there_are_enough() -> None:
    assert len(ENTRIES) >= MANY
    elsewhere = [entry for entry in ENTRIES if SEV not in {hunk.file for hunk in hunks_of(diff_of(entry.any))}]
    assert len(elsewhere) >= ELSEWHERE
    assert sum(entry.any.shows.in_software for entry in ENTRIES) >= SHOWN


def test_only_patches_of_known_trees() -> None:
    """A patch in a misspelt folder would be read by nobody."""
    known = {HISTORY / series_name(tree) for tree in trees()}
    strangers = [path for path in Path(HISTORY).rglob("*") if path.is_file()
                 and (path.parent not in known or path.suffix != ".patch")]
    assert strangers == []
