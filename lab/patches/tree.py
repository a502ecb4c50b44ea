# SPDX-License-Identifier: GPL-2.0-only
"""A series as commits in a git work tree, on top of its base."""
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from lab.build.sources import Source, pipe
from lab.core.errors import setup_error
from lab.core.places import need_space, tilde
from lab.core.process import Command, CommandFailed, command
from lab.core.session import Session
from lab.core.steps import Job
from lab.patches.beside import folder_beside
from lab.patches.git import AM, answer, git_own, is_top_of_repository
from lab.patches.newfiles import FOLDER, brought_names, write_whole
from lab.patches.queues import Queue
from lab.patches.series import list_series, patch_name, series_digest

# The size of a work tree, in MiB.
SPACE = 3000
# A build inside a source tree leaves these, besides objects.
BUILT = ("./.git", "./.config", "./vmlinux", "./include/config", "./include/generated", "./arch/*/include/generated")
OBJECTS = ("*.o", "*.ko", "*.a", "*.cmd")


def setting(folder: Path, name: str) -> str:
    """The note that `tree` left in a work tree: of which tree it is, and the digest of the series; nothing if it is none."""
    if not (folder / ".git").exists():
        return ""
    return answer(git_own(folder, "config", "--local", "--get", f"snplab.{name}")) or ""


def is_there(session: Session, queue: Queue, folder: Path, given: Path | None) -> None:
    """Returns if the folder is such a work tree; anything else is left untouched."""
    shown, note, tree = tilde(folder), session.terminal.note, queue.name
    if setting(folder, "tree") != tree:
        raise setup_error(f"{shown} is there, and is no work tree of {tree} that ./snplab tree made: left untouched",
                          "name another DIR, or move that one away")
    if setting(folder, "series") != series_digest(tree):
        note(f"the series has changed since {shown} was made: left alone")
        note(f"for one of the series as it is now: ./snplab tree {tree} DIR with another DIR, or remove that one first")
    elif given is not None:
        note(f"{shown} was there already: left alone, {queue.option} has no effect")


def commands(queue: Queue, source: Source, folder: Path) -> Iterator[Command]:
    """The same in a few commands that can be pasted."""
    yield command("cp", "-a", source.path, folder)
    yield command("git", "init", folder)
    yield command("git", "-C", folder, "add", "-A", "-f")
    yield command("git", "-C", folder, "commit", "-m", f"{queue.project} {source.version}")
    yield command("git", "-C", folder, "tag", "base")
    for patch in list_series(queue.folder):
        yield command("git", "-C", folder, "am", patch)
        names = brought_names(patch)
        for name in names:
            # git am has made it empty.
            yield command("cp", patch.parent / FOLDER / name, folder / name)
        if names:
            yield command("git", "-C", folder, "commit", "-a", "--amend", "--no-edit")


def make(job: Job, queue: Queue, source: Source, folder: Path) -> None:
    """Makes a work tree. Only a whole one gets the final name."""
    beside = folder_beside(job.session, folder, "name a DIR in a folder that can be written")
    temporary = beside / "new"
    need_space(folder.parent, SPACE, "a work tree")
    temporary.mkdir()
    job.write(f"copying {source.path}")
    copy_base(job, source, temporary)
    commit_base(job, queue, source, temporary)
    patches = list_series(queue.folder)
    for patch, whole in zip(patches, write_whole(patches, beside / "whole")):
        job.write(f"applying {patch}")
        try:
            job.run(git_own(temporary, *AM, whole))
        except CommandFailed as e:
            raise setup_error(f"{patch_name(patch)} does not apply to {queue.project} {source.version}",
                              "expected every hunk to apply with no fuzz; what git said is in the log",
                              f"give the version it was made for with {queue.option} DIR") from e
        name_commit(job, temporary, "HEAD", patch.name)
    job.run(git_own(temporary, "config", "snplab.tree", queue.name))
    job.run(git_own(temporary, "config", "snplab.series", series_digest(queue.name)))
    with job.whole():
        try:
            os.rename(temporary, folder)
        except OSError as e:
            raise setup_error(f"{folder} has appeared meanwhile", "run again") from e


def copy_base(job: Job, source: Source, folder: Path) -> None:
    """The user's own copies, of what belongs to the source."""
    path = source.path
    if source.is_base:
        job.run(command("cp", "-a", "--no-preserve=ownership", "--reflink=auto", f"{path}/.", f"{folder}/"))
    elif is_top_of_repository(path):
        # A developer's tree: what git tracks, as it is on the disk.
        pipe(job, git_own(path, "ls-files", "-z"),
             command("rsync", "-a", "--no-o", "--no-g", "--from0", "--files-from=-", "--ignore-missing-args",
                     f"{path}/", f"{folder}/"))
    else:
        pipe(job, command("tar", "-C", path, "-c", "--anchored", *(f"--exclude={name}" for name in BUILT),
                          "--no-anchored", *(f"--exclude={name}" for name in OBJECTS), "."),
             command("tar", "-C", folder, "-x", "--no-same-owner"))


def commit_base(job: Job, queue: Queue, source: Source, folder: Path) -> None:
    """Makes a repository, with the base as its first commit."""
    job.run(git_own(None, "init", "-q", "--template=", "--object-format=sha1", folder))
    job.run(git_own(folder, "symbolic-ref", "HEAD", f"refs/heads/snplab/{queue.name}"))
    (folder / ".git" / "info").mkdir(exist_ok=True)
    job.write("adding the files to git")
    # bigFileThreshold makes git write one pack as it reads, instead of 90 000 loose objects.
    # -f: the kernel's .gitignore names files that the kernel has.
    job.run(git_own(folder, "-c", "core.bigFileThreshold=1", "-c", "core.compression=1", "-c", "core.safecrlf=false",
                    "add", "-A", "-f", "."))
    job.run(git_own(folder, "commit", "-q", "--no-verify", "-m", f"{queue.project} {source.version}"))
    job.run(git_own(folder, "tag", "base"))
    # The copy stays byte for byte what it is, whatever the user's own configuration says.
    job.run(git_own(folder, "config", "core.autocrlf", "false"))
    # A commit keeps its note, and with it its patch's file name, when it is amended or rebased.
    job.run(git_own(folder, "config", "notes.rewriteRef", "refs/notes/snplab"))


def name_commit(job: Job, folder: Path, commit: str, patch: str) -> None:
    """Notes the name of the commit's patch file."""
    job.run(git_own(folder, "notes", "--ref=snplab", "add", "-f", "-m", patch, commit))
