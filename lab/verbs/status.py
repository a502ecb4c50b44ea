# SPDX-License-Identifier: GPL-2.0-only
"""`snplab status DIR`: is this kernel tree fixed, open, leaking, or not affected?"""
from __future__ import annotations

import sys
from pathlib import Path

from lab.build import deps
from lab.core.errors import Exit, usage_error
from lab.core.options import Given, Option
from lab.core.session import Session
from lab.core.steps import Plan
from lab.core.terminal import Terminal
from lab.status.examine import examine
from lab.status.report import Report

USAGE = """\
usage: ./snplab status DIR [--json FILE]

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

  --json FILE   also write the verdict to FILE, as JSON
  -h, --help    this text

Exit status: 0 fixed or not affected; 1 open, leaking or broken; 2 usage;
3 cannot be decided, or not set up (the message says what to do).
Needs coccinelle (spatch).
"""
OPTIONS = (Option("--json", "FILE"),)
# No --dry-run: the verb changes nothing.
DRY_RUN = False
# The verdict is on standard output; the installation of coccinelle is shown on standard error.
ANSWERS = True
# For a folder whose name begins with a dash.
TAKES_REST = True


def main(session: Session, given: Given) -> int:
    """Prints the verdict on one tree. Returns its exit status."""
    tree = the_tree(given.arguments + given.rest)
    report = examine(tree, session.processes, lambda: install_missing(session))
    answer = Terminal(sys.stdout)
    for line in report.lines():
        answer.say(line)
    if report.complaint:
        print("\n  ".join([f"snplab status: {report.complaint[0]}", *report.complaint[1:]]), file=sys.stderr)
    return write_json(session, report)


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


def install_missing(session: Session) -> None:
    """Installs coccinelle if this user can install packages. Otherwise examine() says how to install it."""
    if deps.missing(["status"]) and deps.can_install():
        plan = Plan(session)
        deps.install_step(plan, "status")
        plan.run()


def write_json(session: Session, report: Report) -> int:
    """Writes the JSON. Returns the exit status."""
    if session.json is not None:
        try:
            session.json.write_text(report.json(), encoding="utf-8")
        except OSError:
            print(f"snplab status: cannot write {session.json}: check that it is writable and the disk is not full",
                  file=sys.stderr)
            return Exit.SETUP
        session.json_done = True
    return report.exit
