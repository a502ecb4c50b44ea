# SPDX-License-Identifier: GPL-2.0-only
"""Debian's snphost, the administrator's tool of virtee, as a part of L1's initrd."""
from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from lab.build.guest import copy_program
from lab.build.packages import get_closure, unpack_closure
from lab.build.sources import Kind, Source
from lab.core.session import Session
from lab.core.steps import Job
from tests.support.l1 import initrd_part

PROGRAM = "usr/bin/snphost"
# A line of `snphost ok`: [ PASS ] - NAME, or [ PASS ] - NAME: TEXT.
LINE = re.compile(r"\[ (PASS|FAIL|SKIP) \] *- *(.+)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def _version(folder: Path) -> str | None:
    return "snphost" if (folder / PROGRAM).exists() else None


KIND = Kind("snphost", "snphost", "a Debian package snphost", 100, lambda apt: apt.candidates("^snphost$"), get_closure,
            unpack_closure, _version, what="snphost", own_trees="")


def add_snphost(session: Session, folder: Path, initrd: Path) -> None:
    """Fetches snphost and everything that it depends on, and adds it to an initrd as the program snphost."""
    job = Job(session, folder / "snphost.log")
    source = Source(session, KIND)
    source.fetch(job)
    with initrd_part(session, folder, initrd) as root:
        (root / "tests").mkdir()
        copy_program(source.path, PROGRAM, root)
        shutil.move(root / PROGRAM, root / "tests/snphost")


def results_of(lines: Sequence[str]) -> dict[str, str]:
    """What `snphost ok` says: PASS, FAIL or SKIP for each name."""
    found = {}
    for line in lines:
        match = LINE.search(COLOUR.sub("", line))
        if match:
            found[match[2].strip()] = match[1]
    return found
