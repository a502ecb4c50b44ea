# SPDX-License-Identifier: GPL-2.0-only
"""The verb `refresh`: writes the commits of a work tree back as patches."""
from __future__ import annotations

from collections.abc import Iterator

from lab.build.deps import install_step
from lab.core.errors import Exit, usage_error
from lab.core.options import Given, Option
from lab.core.places import absolute, tilde
from lab.core.process import Command, command
from lab.core.session import Session
from lab.core.steps import Job, Plan
from lab.patches import git
from lab.patches.checktree import check_tree, commits_of
from lab.patches.refresh import refresh
from lab.patches.queues import need_queue, queues

USAGE = f"""\
usage: ./snplab refresh TREE [DIR] [--dry-run]

Writes the commits of DIR (default trees/TREE) back to TREE's folder of patches: a patch for each commit, the list of
patches, and new files in "files". If the commits have not changed, no file changes. TREE: {", ".join(queues())}
"""
OPTIONS: tuple[Option, ...] = ()
ANSWERS = False


def main(session: Session, given: Given) -> int:
    """Writes the commits back."""
    words = given.arguments
    queue = need_queue(words[0] if words else None, given)
    tree = queue.name
    if len(words) > 2:
        raise usage_error(f"refresh takes a tree and a directory, found a third argument: '{words[2]}'")
    named = len(words) > 1
    folder = absolute(words[1]) if named else queue.work_tree

    # If git is still to be installed, the commits cannot be read yet.
    early = git.is_here() and (folder.is_dir() or not session.dry_run)
    if early:
        check_tree(queue, folder, named)
    count = str(len(commits_of(folder))) if early else "the"

    def body(job: Job) -> None:
        if not early:
            check_tree(queue, folder, named)
        refresh(job, queue, folder)

    def shown() -> Iterator[Command | str]:
        if not folder.is_dir():
            yield f"# no work tree in {tilde(folder)} yet: ./snplab tree {tree}{' DIR' if named else ''} makes it"
        for commit in commits_of(folder) or ["<commit>"]:
            yield command("git", "-C", folder, "format-patch", "-1", commit, "-o", queue.folder)

    plan = Plan(session)
    install_step(plan, "overlay")
    plan.add(f"write {count} commits to {queue.shown}", body, shown)
    plan.run()
    return Exit.PASS
