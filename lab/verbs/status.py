# SPDX-License-Identifier: GPL-2.0-only
"""`snplab status DIR`: is this kernel tree fixed, open, leaking, or not affected?"""
from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from lab.build import deps
from lab.core.errors import Exit, usage_error
from lab.core.options import Given, Option
from lab.core.session import Session
from lab.core.steps import Plan
from lab.core.terminal import Terminal
from lab.history.bug import FORM
from lab.history.corpus import corpus
from lab.history.presence import PARTS, AllReport, Trial, presence_of
from lab.history.stacked import stack_of, stacked_series
from lab.judge.headers import refuse_wrong_headers
from lab.patches import git
from lab.status.examine import examine
from lab.status.report import CannotSay
from lab.status.tree import Tree, read_tree

USAGE = """\
usage: ./snplab status DIR [--all] [--json FILE]

Checks whether the Linux kernel tree in DIR has the fix for CVE-2026-31591
(SNP launch finish must lock all vCPUs). The last lines of the output are
the verdict, one line for each line of source that it is based on:

  fixed: FILE:LINE: ...      all vCPUs locked, unlocked on every path
  open: FILE:LINE: ...       VMSAs are encrypted with vCPUs unlocked
  leaking: FILE:LINE: ...    returns here with every vcpu->mutex held
  broken: FILE:LINE: ...     unlocks vCPUs here that are not locked
  not affected: ...          there is no SNP launch code
  unknown: ...               cannot be decided, for this reason

Lines that begin with "note:" come before it.

With --all it prints a line for each bug that SNP's host code had
(docs/history.md) instead: does the tree have the fix?

  open: BUG: FILE:LINE: ...      no, the tree has the bug
  fixed: BUG: FILE:LINE: ...     yes
  not affected: BUG: ...         it has no such code, or does without the fix
  unknown: BUG: ...              it has other code than our patch expects

  --json FILE   also write the verdict to FILE, as JSON
  -h, --help    this text

Exit status: 0 fixed or not affected; 1 open, leaking or broken; 2 usage;
3 cannot be decided, or not set up (the message says what to do). With
--all: 1 if a bug is open, or a patch's header in tests/history is wrong;
otherwise 3 if one is unknown; otherwise 0.
Needs coccinelle (spatch); --all needs git instead.
"""
OPTIONS = (Option("--all"), Option("--json", "FILE"))
# No --dry-run: the verb changes nothing.
DRY_RUN = False
# The verdict is on standard output; the installation of coccinelle is shown on standard error.
ANSWERS = True
# For a folder whose name begins with a dash.
TAKES_REST = True


def main(session: Session, given: Given) -> int:
    """Prints the verdict on one tree. Returns its exit status."""
    tree = the_tree(given.arguments + given.rest)
    if given.flag("--all"):
        return say_all(session, tree)
    report = examine(tree, session.processes, lambda: install_missing(session, "status"))
    answer = Terminal(sys.stdout)
    for line in report.lines():
        answer.say(line)
    complain(report.complaint)
    return write_json(session, report.json(), report.exit)


def say_all(session: Session, name: str) -> int:
    """Prints of each bug of tests/history whether the tree has its fix. Returns the exit status."""
    try:
        tree = read_tree(name)
        need_parts(tree)
    except CannotSay as e:
        complain([e.message, *e.details])
        return Exit.SETUP
    entries = corpus()
    refuse_wrong_headers(((bug.patch, bug.errors) for entry in entries for bug in entry.bugs.values()), FORM)
    install_missing(session, "overlay")
    if not git.is_here():
        complain(["git is missing: --all needs it to try the patches of tests/history", "to do: apt-get install git"])
        return Exit.SETUP
    with tempfile.TemporaryDirectory(prefix="snplab-status-") as scratch:
        stack = stack_of(Trial(tree.top, Path(scratch, "below"), tree.version), stacked_series())
        trial = Trial(tree.top, Path(scratch, "each"), tree.version)
        report = AllReport(name, tree.version, [presence_of(trial, entry, stack) for entry in entries])
    answer = Terminal(sys.stdout)
    for line in report.lines():
        answer.say(line)
    return write_json(session, report.json(), report.exit)


def need_parts(tree: Tree) -> None:
    """Raises if the tree lacks whole parts: a bug is "not affected" only where a complete tree lacks the code."""
    lacking = [part for part in PARTS if not (tree.top / part).is_dir()]
    if lacking:
        raise CannotSay(f"{tree.name} is not a complete Linux kernel tree", f"missing: {', '.join(lacking)}",
                        "to do: complete the checkout (git sparse-checkout disable), or unpack the whole source")


def complain(lines: list[str]) -> None:
    """Prints an error: its first line, and what to do."""
    if lines:
        print("\n  ".join([f"snplab status: {lines[0]}", *lines[1:]]), file=sys.stderr)


def the_tree(names: list[str]) -> str:
    """The folder that the command line names."""
    if not names or not names[0]:
        raise usage_error("expected the top folder of a Linux kernel tree, found no DIR")
    if len(names) > 1:
        raise usage_error(f"expected one DIR, found '{names[0]}' and '{names[1]}'")
    if not Path(names[0]).exists():
        raise usage_error(f"no such folder: {names[0]}")
    if not Path(names[0]).is_dir():
        raise usage_error(f"not a folder: {names[0]}: give the top folder of a Linux kernel tree")
    return names[0]


def install_missing(session: Session, purpose: str) -> None:
    """Installs what the verb needs if this user can install packages. Otherwise a message says how to install it."""
    if deps.missing([purpose]) and deps.can_install():
        plan = Plan(session)
        deps.install_step(plan, purpose)
        plan.run()


def write_json(session: Session, text: str, status: int) -> int:
    """Writes the JSON. Returns the exit status, which is another one if that fails."""
    if session.json is not None:
        try:
            session.json.write_text(text, encoding="utf-8")
        except OSError:
            print(f"snplab status: cannot write {session.json}: check that it is writable and the disk is not full",
                  file=sys.stderr)
            return Exit.SETUP
        session.json_done = True
    return status
