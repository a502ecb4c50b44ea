# SPDX-License-Identifier: GPL-2.0-only
"""The verb merge: one report of a run's shards."""
from __future__ import annotations

from pathlib import Path

from lab.build import deps
from lab.core.errors import usage_error
from lab.core.options import Given, Option
from lab.core.session import Session
from lab.core.steps import Plan
from lab.judge.files import write_json
from lab.judge.history import History
from lab.judge.matrix import Matrix
from lab.judge.merge import merged
from lab.verbs import common
from lab.view.elements import Element, html_text
from lab.view.history_page import history_page
from lab.view.mutants_page import mutants_page

DRY_RUN = False
# A result must not replace a file that is still to be read.
READS_ARGUMENTS = True
OPTIONS = (Option("--json", "FILE"), Option("--html", "FILE"))
USAGE = """\
usage: ./snplab merge FILE... [--json FILE] [--html FILE]

Joins the files that the shards of one run wrote with --json, a run of mutants, history, check or guest.
Prints the report that one run of all would have printed, and exits as that run would have. The files must have the
same command line, commit and kernels, and each shard once; otherwise an error names what differs or is missing. Times
are added up.

  --json FILE     write the whole result as JSON, as the verb writes it
  --html FILE     write the page of mutants or history
  --help          this text

Exit status: that of the verb; 3 if the files are not the shards of one run.
"""


def main(session: Session, given: Given) -> int:
    """Reads the files, and prints the report."""
    if not given.arguments:
        raise usage_error("merge wants the files that the shards wrote with --json, found none")
    if deps.missing(["merge"]):
        plan = Plan(session)
        deps.install_step(plan, "merge")
        plan.run()
    verb, found = merged([Path(argument) for argument in given.arguments])
    if given.value("--html") and not isinstance(found, (Matrix, History)):
        raise usage_error(f"--html goes with the files of mutants and history: {verb} has no page")
    if given.value("--json") and session.json is not None:
        write_json(session.json, found.to_json())
        session.json_done = True
    common.say_result(session, found.lines(), lambda: html_text(page_of(found)))
    return found.status


def page_of(found: object) -> Element:
    """The page of a report that has one."""
    if isinstance(found, History):
        return history_page(found)
    assert isinstance(found, Matrix)
    return mutants_page(found)
