# SPDX-License-Identifier: GPL-2.0-only
"""Writes the commits of a work tree back as patch files.

A patch whose message and hunks are unchanged is not written, even if the work tree has another base: the names of blobs and
the function after a hunk's "@@" depend on the base and do not count as changes."""
from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from lab.core.steps import Job
from lab.patches.beside import folder_beside
from lab.patches.checktree import commits_of
from lab.patches.git import git_own
from lab.patches.names import name_commits
from lab.patches.newfiles import FOLDER, brought_names, drop, files_below, place, read_whole, take_apart
from lab.patches.patchfile import PatchFile, read, write
from lab.patches.queues import Queue
from lab.patches.series import entries, merge_list, series_digest
from lab.patches.tree import name_commit
from lab.patches.writepatch import Repository, check_patch, write_patch


@dataclass
class Changes:
    """The names of the patches, by kind of change."""

    changed: list[str] = field(default_factory=list)
    # Patches with the same hunks at other lines.
    moved: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)

    def sort(self, name: str, old: PatchFile | None, new: PatchFile, same_files: bool) -> None:
        """Adds a patch to one of the lists, unless it is unchanged. `same_files`: it keeps the same files in "files"."""
        if old is None:
            self.added.append(name)
        elif not same_files:
            self.changed.append(name)
        elif old.without_base() == new.without_base():
            pass
        elif old.without_base(positions=False) == new.without_base(positions=False):
            self.moved.append(name)
        else:
            self.changed.append(name)

    @property
    def to_write(self) -> list[str]:
        """The patches whose files have to be written."""
        return self.changed + self.moved + self.added

    def tell(self, job: Job, base: str) -> None:
        """Lists the changes for the user. `base` is the base's name."""
        for name in self.changed:
            job.tell(f"changed {name}")
        for name in self.moved:
            job.tell(f"moved   {name}: its hunks are at other lines of {base}")
        for name in self.added:
            job.tell(f"new     {name}")
        for name in self.gone:
            job.tell(f"gone    {name}")
        if not self.to_write and not self.gone:
            job.tell("no patch has changed")


def refresh(job: Job, queue: Queue, folder: Path) -> None:
    """Writes the commits back: makes and checks all patches in a temporary folder, then moves them to the series."""
    series = queue.folder
    temporary = folder_beside(job.session, series.parent / "refresh")
    new = temporary / "new"
    new.mkdir()
    repository = Repository.of(job, folder, temporary)
    commits, old_names = commits_of(folder), entries(series)
    names = name_commits(job, folder, series, commits)
    changes = Changes(gone=[name for name in old_names if name not in names])
    # Files that no patch has named are somebody's work: they stay.
    named = {file for name in old_names if (series / name).exists() for file in brought_names(series / name)}
    # The names of the new files kept in "files".
    taken: set[str] = set()
    for number, (commit, name) in enumerate(zip(commits, names), 1):
        job.write(f"{number} {commit} {name}")
        old = read_whole(series / name) if (series / name).exists() else None
        text = write_patch(repository, commit, old)
        write(new / name, text)
        check_patch(repository, commit, new / name)
        # A series for stable has no folder "files".
        kept, files = (text, []) if queue.stable else take_apart(text, taken)
        write(new / name, kept)
        place(files, new / FOLDER)
        changes.sort(name, old, PatchFile(text), old is None or brought_names(series / name) == brought_names(new / name))
    old_list = read(series / "series")
    new_list = merge_list(old_list, names)
    write(new / "series", new_list)
    with job.whole():
        for name in changes.to_write + (["series"] if new_list != old_list else []):
            for file in brought_names(new / name):
                (series / FOLDER / file).parent.mkdir(parents=True, exist_ok=True)
                os.replace(new / FOLDER / file, series / FOLDER / file)
            os.replace(new / name, series / name)
        for name in changes.gone:
            (series / name).unlink(missing_ok=True)
        drop(series, sorted(named - taken))
        unnamed = sorted(set(files_below(series)) - taken)
        for commit, name in zip(commits, names):
            name_commit(job, folder, commit, name)
        job.run(git_own(folder, "config", "snplab.series", series_digest(queue.name)))
    for file in unnamed:
        job.tell(f"left    {FOLDER}/{file}: no patch names it")
    changes.tell(job, f"{queue.project} {queue.version(folder) or 'of this work tree'}")
