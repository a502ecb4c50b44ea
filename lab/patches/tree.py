# SPDX-License-Identifier: GPL-2.0-only
"""Makes a git work tree with a series as commits on top of its base."""
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
# Files besides objects that a build inside a source tree leaves there.
BUILT = ("./.git", "./.config", "./vmlinux", "./include/config", "./include/generated", "./arch/*/include/generated")
OBJECTS = ("*.o", "*.ko", "*.a", "*.cmd")


def setting(folder: Path, name: str) -> str:
    """A setting that `tree` made in a work tree: "tree", the tree's name, or "series", the digest of the series. Empty if
    the folder is no work tree of ours."""
    if not (folder / ".git").exists():
        return ""
    return answer(git_own(folder, "config", "--local", "--get", f"snplab.{name}")) or ""


def is_there(session: Session, queue: Queue, folder: Path, given: Path | None) -> None:
    """Raises unless the existing folder is a work tree of this queue; tells the user if it is out of date."""
    shown, note, tree = tilde(folder), session.terminal.note, queue.name
    if setting(folder, "tree") != tree:
        raise setup_error(f"{shown} exists, and is no work tree of {tree} that ./snplab tree made: left untouched",
                          "name another DIR, or move that one away")
    if setting(folder, "series") != series_digest(tree):
        note(f"the series has changed since {shown} was made: left alone")
        note(f"to make one of the current series: ./snplab tree {tree} DIR with another DIR, or remove that one first")
    elif given is not None:
        note(f"{shown} exists already: left alone, {queue.option} has no effect")


def commands(queue: Queue, source: Source, folder: Path) -> Iterator[Command]:
    """The commands for --dry-run."""
    yield command("cp", "-a", source.path, folder)
    yield command("git", "init", folder)
    yield command("git", "-C", folder, "add", "-A", "-f")
    yield command("git", "-C", folder, "commit", "-m", f"{queue.project} {source.version}")
    for patch in queue.lower:
        yield command("git", "-C", folder, "am", patch)
    yield command("git", "-C", folder, "tag", "base")
    for patch in list_series(queue.folder):
        yield command("git", "-C", folder, "am", patch)
        names = brought_names(patch)
        for name in names:
            # git am creates the file empty.
            yield command("cp", patch.parent / FOLDER / name, folder / name)
        if names:
            yield command("git", "-C", folder, "commit", "-a", "--amend", "--no-edit")


def make(job: Job, queue: Queue, source: Source, folder: Path) -> None:
    """Makes a work tree. It gets its final name once it is complete."""
    beside = folder_beside(job.session, folder, "name a DIR in a folder that can be written")
    temporary = beside / "new"
    need_space(folder.parent, SPACE, "a work tree")
    temporary.mkdir()
    job.write(f"copying {source.path}")
    copy_base(job, source, temporary)
    commit_base(job, queue, source, temporary)
    add_commits(job, queue, source, temporary, queue.lower, beside / "lower")
    job.run(git_own(temporary, "tag", "base"))
    add_commits(job, queue, source, temporary, list_series(queue.folder), beside / "whole")
    job.run(git_own(temporary, "config", "snplab.tree", queue.name))
    job.run(git_own(temporary, "config", "snplab.series", series_digest(queue.name)))
    with job.whole():
        try:
            os.rename(temporary, folder)
        except OSError as e:
            raise setup_error(f"somebody else has created {folder} meanwhile", "run again") from e


def add_commits(job: Job, queue: Queue, source: Source, folder: Path, patches: list[Path], beside: Path) -> None:
    """Makes each patch a commit. The whole patches, with their new files, go into the folder `beside`."""
    for patch, whole in zip(patches, write_whole(patches, beside)):
        job.write(f"applying {patch}")
        try:
            job.run(git_own(folder, *AM, whole))
        except CommandFailed as e:
            raise setup_error(f"{patch_name(patch)} does not apply to {queue.project} {source.version}",
                              "expected every hunk to apply with no fuzz; git's messages are in the log",
                              f"give the version it was made for with {queue.option} DIR") from e
        name_commit(job, folder, "HEAD", patch.name)


def copy_base(job: Job, source: Source, folder: Path) -> None:
    """Copies the files of the source, owned by the user, without files that a build made."""
    path = source.path
    if source.is_base:
        job.run(command("cp", "-a", "--no-preserve=ownership", "--reflink=auto", f"{path}/.", f"{folder}/"))
    elif is_top_of_repository(path):
        # A developer's tree: the files that git tracks, as they are on the disk.
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
    # bigFileThreshold makes git write one pack instead of 90,000 loose objects.
    # -f: the kernel's .gitignore matches some of the kernel's own files.
    job.run(git_own(folder, "-c", "core.bigFileThreshold=1", "-c", "core.compression=1", "-c", "core.safecrlf=false",
                    "add", "-A", "-f", "."))
    job.run(git_own(folder, "commit", "-q", "--no-verify", "-m", f"{queue.project} {source.version}"))
    # The user's configuration must not make git convert line endings.
    job.run(git_own(folder, "config", "core.autocrlf", "false"))
    # A commit that is amended or rebased keeps its note, which is its patch's file name.
    job.run(git_own(folder, "config", "notes.rewriteRef", "refs/notes/snplab"))


def name_commit(job: Job, folder: Path, commit: str, patch: str) -> None:
    """Adds a note to the commit: the name of its patch file."""
    job.run(git_own(folder, "notes", "--ref=snplab", "add", "-f", "-m", patch, commit))
