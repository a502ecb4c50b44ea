# SPDX-License-Identifier: GPL-2.0-only
"""The whole series at once: its diffstat, the tree that it gives, its base."""
from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from lab.build.sources import Source
from lab.core.errors import setup_error
from lab.core.process import CommandFailed
from lab.core.steps import Job
from lab.patches.git import AM, answer, git_own, is_top_of_repository
from lab.patches.queues import Queue


class SmallRepository:
    """A git work tree with those files of the base that the series touches, as one commit."""

    def __init__(self, job: Job, queue: Queue, source: Source, folder: Path, patches: Sequence[Path]) -> None:
        self.job = job
        self.queue = queue
        self.source = source
        self.folder = folder
        self.patches = patches
        job.run(git_own(None, "init", "-q", "--template=", "--object-format=sha1", folder))
        # Asked at the top of this repository: git apply leaves out what is outside the one it is run in.
        for line in job.output(git_own(folder, "apply", "--numstat", *patches)).splitlines():
            name = line.split("\t", 2)[2]
            if (source.path / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source.path / name, folder / name)
        job.run(git_own(folder, "add", "-A", "-f", "."))
        job.run(git_own(folder, "commit", "-q", "--allow-empty", "-m", "base"))
        job.run(git_own(folder, "tag", "base"))

    def tree_of(self, mails: Sequence[Path]) -> str:
        """The id of the tree that the mails give. Raises CommandFailed if git does not take them."""
        self.job.run(git_own(self.folder, "reset", "-q", "--hard", "base"))
        self.job.run(git_own(self.folder, *AM, *mails))
        return self.job.output(git_own(self.folder, "rev-parse", "HEAD^{tree}")).strip()

    def series_tree(self) -> str:
        """The id of the tree that the series gives."""
        try:
            return self.tree_of(self.patches)
        except CommandFailed as e:
            raise setup_error(f"the series does not apply to {self.queue.project} {self.source.version}",
                              "expected every hunk to apply with no fuzz; what git said is in the log",
                              f"give the version it was made for with {self.queue.option} DIR") from e

    def diffstat(self) -> str:
        """As git format-patch puts it below a cover letter; of what tree_of() was asked for last."""
        return self.job.output(git_own(self.folder, "diff", "--stat=72", "--summary", "--no-renames", "--no-color",
                                       "base", "HEAD"))


def base_line(source: Source) -> str:
    """The base of the mails, for people and, if there is one, as the commit that robots look for."""
    path = source.path
    if is_top_of_repository(path):
        commit = answer(git_own(path, "rev-parse", "HEAD")) or ""
        known = answer(git_own(path, "for-each-ref", "--count=1", "--contains", commit, "refs/remotes", "refs/tags/v[0-9]*"))
        # Only of a commit that others can have.
        if known and answer(git_own(path, "status", "--porcelain", "--untracked-files=no")) == "":
            return f"base-commit: {commit}\n"
    if source.is_base:
        package, _, version = path.name.partition("_")
        return (f"Base: v{source.version}, as in Debian's {package} {version.replace('_', '~')} "
                "(a tarball: there is no base-commit to name)\n")
    return f"Base: v{source.version} (no commit of it is known upstream: there is no base-commit to name)\n"
