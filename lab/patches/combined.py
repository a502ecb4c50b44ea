# SPDX-License-Identifier: GPL-2.0-only
"""The series as a whole: the tree that it results in, its diffstat, its base."""
from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from lab.build.sources import Source
from lab.core.errors import setup_error
from lab.core.process import CommandFailed
from lab.core.steps import Job
from lab.patches.cover import read_cover_letter
from lab.patches.git import AM, answer, git_own, is_top_of_repository
from lab.patches.newfiles import write_whole
from lab.patches.patchfile import PatchFile
from lab.patches.queues import Queue
from lab.patches.series import base_tree, list_series, series_dir


class SmallRepository:
    """A git work tree of the base's files that the series changes. The tag "base" has the patches that it is on top of."""

    def __init__(self, job: Job, queue: Queue, source: Source, folder: Path, patches: Sequence[Path]) -> None:
        self.job = job
        self.queue = queue
        self.source = source
        self.folder = folder
        self.patches = patches
        job.run(git_own(None, "init", "-q", "--template=", "--object-format=sha1", folder))
        lower = write_whole(queue.lower, folder.parent / "lower")
        # Run it in this repository: git apply skips files outside of the repository it is run in.
        for line in job.output(git_own(folder, "apply", "--numstat", *lower, *patches)).splitlines():
            name = line.split("\t", 2)[2]
            if (source.path / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source.path / name, folder / name)
        job.run(git_own(folder, "add", "-A", "-f", "."))
        job.run(git_own(folder, "commit", "-q", "--allow-empty", "-m", "base"))
        if lower:
            self.apply(lower)
        job.run(git_own(folder, "tag", "base"))

    def tree_of(self, mails: Sequence[Path]) -> str:
        """The id of the tree after the mails are applied. Raises CommandFailed if they do not apply."""
        self.job.run(git_own(self.folder, "reset", "-q", "--hard", "base"))
        self.job.run(git_own(self.folder, *AM, *mails))
        return self.job.output(git_own(self.folder, "rev-parse", "HEAD^{tree}")).strip()

    def apply(self, patches: Sequence[Path]) -> None:
        """Makes each patch of a series a commit."""
        try:
            self.job.run(git_own(self.folder, *AM, *patches))
        except CommandFailed as e:
            raise setup_error(f"the series does not apply to {self.queue.project} {self.source.version}",
                              "expected every hunk to apply with no fuzz; git's messages are in the log",
                              f"give the version it was made for with {self.queue.option} DIR") from e

    def series_tree(self) -> str:
        """The id of the tree after the series is applied."""
        self.job.run(git_own(self.folder, "reset", "-q", "--hard", "base"))
        self.apply(self.patches)
        return self.job.output(git_own(self.folder, "rev-parse", "HEAD^{tree}")).strip()

    def diffstat(self) -> str:
        """The diffstat, as in a cover letter of git format-patch, of the patches that tree_of() applied last."""
        return self.job.output(git_own(self.folder, "diff", "--stat=72", "--summary", "--no-renames", "--no-color",
                                       "base", "HEAD"))


def lower_subject(tree: str) -> str:
    """The subject of the series that a tree's own series is on top of."""
    return read_cover_letter(series_dir(base_tree(tree)) / "cover-letter").subject


def needs_lower(tree: str) -> set[str]:
    """The names of patches that do not apply to the plain base: their message names the series below."""
    if tree == base_tree(tree):
        return set()
    words = f'the series "{lower_subject(tree)}"'
    return {patch.name for patch in list_series(series_dir(tree))
            if words in " ".join(" ".join(PatchFile.read(patch).message).split())}


def base_lines(queue: Queue, source: Source) -> str:
    """The lines in the cover letter that name the base, and the series that it is on top of."""
    if not queue.lower:
        return base_line(source)
    apart = needs_lower(queue.name)
    numbers = ", ".join(str(number) for number, patch in enumerate(queue.patches, 1) if patch.name in apart)
    return (f"{base_line(source)}On top of the series \"{lower_subject(queue.name)}\".\n"
            f"Patches that need that series: {numbers or 'none'}. The others apply to the base alone, too.\n")


def base_line(source: Source) -> str:
    """The line in the cover letter that names the base: base-commit, which robots read, if there is such a commit."""
    path = source.path
    if is_top_of_repository(path):
        commit = answer(git_own(path, "rev-parse", "HEAD")) or ""
        known = answer(git_own(path, "for-each-ref", "--count=1", "--contains", commit, "refs/remotes", "refs/tags/v[0-9]*"))
        # Only a commit that others can fetch.
        if known and answer(git_own(path, "status", "--porcelain", "--untracked-files=no")) == "":
            return f"base-commit: {commit}\n"
    if source.is_base:
        package, _, version = path.name.partition("_")
        return (f"Base: v{source.version}, as in Debian's {package} {version.replace('_', '~')} "
                "(a tarball: there is no base-commit to name)\n")
    return f"Base: v{source.version} (no commit of it is known upstream: there is no base-commit to name)\n"
