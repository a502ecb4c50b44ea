# SPDX-License-Identifier: GPL-2.0-only
"""The verb `tree`: makes a git work tree with a series as commits."""
from __future__ import annotations

from pathlib import Path

from lab.build.deps import install_step
from lab.build.sources import Source
from lab.core.errors import Exit, usage_error
from lab.core.options import Given
from lab.core.places import absolute
from lab.core.session import Session
from lab.core.steps import Plan
from lab.patches import git, tree as work_tree
from lab.patches.beside import is_used
from lab.patches.queues import LINUX_OPTION, QEMU_OPTION, Queue, need_queue, queues

USAGE = f"""\
usage: ./snplab tree TREE [DIR] [--linux DIR | --qemu DIR] [--dry-run]

Makes a git work tree with the base as one commit and each patch of the series as a commit, in DIR
(default trees/TREE in this repository), and prints its path. An existing work tree is left alone.
TREE: {", ".join(queues())} (the patches to QEMU that make the emulated host)
"""
OPTIONS = (LINUX_OPTION, QEMU_OPTION)
# The path is alone on standard output.
ANSWERS = True


def main(session: Session, given: Given) -> int:
    """Makes the work tree, unless it exists, and prints its path."""
    words = given.arguments
    queue = need_queue(words[0] if words else None, given)
    if len(words) > 2:
        raise usage_error(f"tree takes a tree and a directory, found a third argument: '{words[2]}'")
    folder = absolute(words[1]) if len(words) > 1 else queue.work_tree
    source = queue.source(session, given)
    if is_used(folder):
        if not git.is_here() and not session.dry_run:
            plan = Plan(session)
            install_step(plan, "overlay")
            plan.run()
        work_tree.is_there(session, queue, folder, source.given)
    else:
        make(session, queue, source, folder)
    print(folder)
    return Exit.PASS


def make(session: Session, queue: Queue, source: Source, folder: Path) -> None:
    """Makes the work tree."""
    plan = Plan(session)
    before = [install_step(plan, "fetch", "overlay")]
    fetch = source.add_fetch(plan, queue.fetch_title)
    if fetch is not None:
        before.append(fetch)
    plan.add(lambda: f"make a work tree of {queue.project} {source.version} and the series",
             lambda job: work_tree.make(job, queue, source, folder),
             lambda: work_tree.commands(queue, source, folder), after=tuple(before))
    plan.run()
