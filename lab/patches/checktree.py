# SPDX-License-Identifier: GPL-2.0-only
"""Checks that a work tree can be written back as patches: it must have no change outside of its commits."""
from __future__ import annotations

from pathlib import Path

from lab.core.errors import Stop, setup_error
from lab.core.places import tilde
from lab.core.process import Command, command
from lab.patches.git import answer, git_own
from lab.patches.queues import Queue
from lab.patches.series import series_digest
from lab.patches.tree import setting

UNFINISHED = ("rebase-merge", "rebase-apply", "MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD")


def no_tree(tree: str, folder: Path, named: bool) -> Stop:
    """The error for a folder that does not exist. `named`: the user gave its name."""
    return setup_error(f"expected a work tree in {tilde(folder)}, found none",
                       f"make it: ./snplab tree {tree}{' DIR' if named else ''}")


def commits_of(folder: Path) -> list[str]:
    """The series' commits, oldest first."""
    return (answer(git_own(folder, "rev-list", "--reverse", "base..HEAD")) or "").split()


def lines_of(cmd: Command, shown: str) -> list[str]:
    """The output lines of a git command in a work tree, which messages call `shown`."""
    text = answer(cmd)
    if text is None:
        raise setup_error(f"{shown}: git fails there", f"the command that failed: {cmd.shown()}")
    return text.splitlines()


def check_tree(queue: Queue, folder: Path, named: bool) -> None:
    """Raises a Stop for a work tree that cannot be written back."""
    shown, tree = tilde(folder), queue.name
    if not folder.is_dir():
        raise no_tree(tree, folder, named)
    found = setting(folder, "tree")
    if found != tree:
        raise setup_error(f"{shown}: expected a work tree of {tree}, found {found and 'one of '}{found or 'something else'}",
                          f"./snplab tree {tree} DIR makes one")
    check_state(tree, folder, shown)
    check_changes(folder, shown)
    check_commits(folder, shown)
    digest = series_digest(tree)
    if setting(folder, "series") != digest:
        raise setup_error(
            f"the patches in {queue.shown} have changed since {shown} was made: refreshing would undo that",
            f"./snplab tree {tree} NEWDIR, cherry-pick your commits there, ./snplab refresh {tree} NEWDIR",
            f"or, if the commits in {shown} are the ones to keep: git -C {shown} config snplab.series {digest}")


def check_state(tree: str, folder: Path, shown: str) -> None:
    """Raises if a rebase or the like is unfinished, or HEAD is not on top of "base"."""
    for state in UNFINISHED:
        path = lines_of(git_own(folder, "rev-parse", "--path-format=absolute", "--git-path", state), shown)[0]
        if Path(path).exists():
            raise setup_error(
                f"{shown} is in the middle of a rebase, am, merge, cherry-pick or revert ({state}): nothing written",
                "finish it, or abandon it with --abort, then run again")
    if answer(git_own(folder, "rev-parse", "-q", "--verify", "refs/tags/base^{commit}")) is None:
        raise setup_error(f"{shown} has no tag \"base\": expected it on the commit below the series",
                          f"git -C {shown} tag base COMMIT")
    if answer(git_own(folder, "merge-base", "--is-ancestor", "base", "HEAD")) is None:
        raise setup_error(f"{shown}: expected HEAD to be on top of the tag \"base\", and it is not",
                          f"git -C {shown} switch snplab/{tree}")


def check_changes(folder: Path, shown: str) -> None:
    """Raises if the work tree has changes that are not committed."""
    # Use the user's own list of ignored files, so that an editor's swap file does not count as a change.
    ignored = answer(command("git", "-C", folder, "config", "--get", "--path", "core.excludesFile")) or "/dev/null"
    found = lines_of(git_own(folder, "-c", f"core.excludesFile={ignored}", "status", "--porcelain",
                             "--untracked-files=normal", "--ignore-submodules=none"), shown)
    if found:
        raise setup_error(f"{shown} has uncommitted changes: nothing written",
                          f"found: {', '.join(found[:5])}{' …' if len(found) > 5 else ''}",
                          "commit them (git commit --amend, or --fixup and rebase), or drop them")


def check_commits(folder: Path, shown: str) -> None:
    """Raises unless the commits form a series: at least one, no merge, no Signed-off-by."""
    merges = lines_of(git_own(folder, "rev-list", "--merges", "base..HEAD"), shown)
    if merges:
        raise setup_error(f"{shown}: {merges[0][:12]} is a merge: a series is a straight line of commits",
                          f"git -C {shown} rebase base")
    if not commits_of(folder):
        raise setup_error(f"{shown}: expected commits after the tag \"base\", found none: nothing written",
                          f"git -C {shown} reflog lists earlier commits")
    signed = lines_of(git_own(folder, "log", "--format=%h %s", "-i", "--grep=^Signed-off-by:", "base..HEAD"), shown)
    if signed:
        raise setup_error(f"{shown}: \"{signed[-1]}\" has a Signed-off-by: patches in this repository have none",
                          "take it out (git rebase -i base, reword); ./snplab mail adds the sender's own",
                          "format.signOff and commit templates may have added it")
