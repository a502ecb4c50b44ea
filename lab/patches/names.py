# SPDX-License-Identifier: GPL-2.0-only
"""The names of the patch files that commits are written to."""
from __future__ import annotations

import re
from pathlib import Path

from lab.core.steps import Job
from lab.patches.git import answer, git_own
from lab.patches.series import entries, patch_subject

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\.patch")
# The most characters in a name that is made from a subject.
LONGEST = 60


def name_from_subject(subject: str) -> str:
    """A file's name without ".patch". A long one is cut between words."""
    name = re.sub(r"[^A-Za-z0-9]+", "-", subject).lower().strip("-")
    if len(name) > LONGEST:
        head, dash, _ = name[:LONGEST + 1].rpartition("-")
        name = head if dash else name[:LONGEST]
    return name or "patch"


def name_commits(job: Job, folder: Path, series: Path, commits: list[str]) -> list[str]:
    """The patches' file names, in the commits' order. A commit's note has the name. A commit without a note (cherry-picked
    or split) gets the name of the patch with the same subject, or else a name made from its subject."""
    subjects = [job.output(git_own(folder, "log", "-1", "--format=%s", "--encoding=UTF-8", c)).rstrip("\n") for c in commits]
    names: dict[int, str] = {}
    for i, commit in enumerate(commits):
        note = answer(git_own(folder, "notes", "--ref=snplab", "show", commit)) or ""
        name = note.partition("\n")[0]
        if NAME.fullmatch(name) and name not in names.values():
            names[i] = name
    there = [name for name in entries(series) if (series / name).is_file()]
    for i, subject in enumerate(subjects):
        if i not in names:
            free = (n for n in there if n not in names.values() and patch_subject(series / n) == subject)
            if (found := next(free, None)) is not None:
                names[i] = found
    for i, subject in enumerate(subjects):
        if i not in names:
            names[i] = free_name(name_from_subject(subject), series, set(names.values()))
    return [names[i] for i in range(len(commits))]


def free_name(name: str, series: Path, taken: set[str]) -> str:
    """A file name that neither another commit nor a file has."""
    number, candidate = 1, f"{name}.patch"
    while candidate in taken or (series / candidate).exists():
        number += 1
        candidate = f"{name}-{number}.patch"
    return candidate
