# SPDX-License-Identifier: GPL-2.0-only
"""The verb `check`: runs the tests of this repository, or some of them."""
from __future__ import annotations

import time
from collections.abc import Sequence

from lab.build import deps
from lab.check import orphans
from lab.check.report import Report
from lab.check.runner import Runner, clean_environment, pytest_command
from lab.check.table import Entry, Lane, format_table, pick, read_table
from lab.core import shard
from lab.core.errors import Exit, usage_error
from lab.core.options import Given, Option
from lab.core.places import TOP, tilde
from lab.core.session import Session
from lab.core.steps import Plan
from lab.judge.files import write_json
from lab.judge.part import Part, nothing_to_do

USAGE = f"""\
usage: ./snplab check [GLOB] [-k EXPR] [--lane fast|boot|long] [-n N] [--shard I/N] [--json FILE]
       ./snplab check [GLOB] [--lane fast|boot|long] [--shard I/N] --list

Runs the tests of this repository: those of the lanes fast and boot, or those whose names match GLOB. Ends with a line
"N passed, N failed" (", N skipped" may follow). Skipped tests are listed with their reasons before that line.

  --lane LANE     fast: need no root, no network, no build; all of them take at most 90 seconds
                  boot: build kernels and boot them, or take too long for the lane fast
                  long: take longer still: soaks, sanitizers, all mutants, a build of each commit
  -k EXPR         the tests whose names match pytest's EXPR, such as 'launch and not digest'
  -n N            run N files of the lane fast at a time (default 3)
{shard.USAGE}
  --json FILE     write the results as JSON
  --list          print each test file's name, lane, time, needs, and what it is about
  --dry-run       print what would be done, as commands
  --help          this text
"""

OPTIONS = (Option("--lane", "LANE"), Option("-k", "EXPR"), Option("-n", "N"), Option("--list"), shard.SHARD,
           Option("--json", "FILE"))
NAMED = "./snplab check --list names them"
# One more than the cores of the usual machine, as some files wait more than they compute.
WORKERS = 3


def main(session: Session, given: Given) -> int:
    """Runs the verb."""
    entries = picked(given)
    part = Part.of(given, shard.shard_of(given), [entry.name for entry in entries])
    entries = part.shard.of(entries, shard.by_cost([entry.takes for entry in entries], part.shard.total))
    if given.flag("--list"):
        for line in format_table(entries):
            session.terminal.say(line)
        return Exit.PASS
    workers = given.number("-n", 1, 64, WORKERS)
    if not entries:
        return nothing_to_do(session, part)
    begin = time.monotonic()
    plan = Plan(session, more=len(entries))
    deps.install_step(plan, *purposes_of(entries))
    if session.dry_run:
        plan.run()
        show(session, entries, given)
        return Exit.PASS
    # Two checks at the same time would build in the same folders.
    if any(entry.lane is not Lane.FAST for entry in entries):
        session.lock("check")
    plan.run()
    clean_environment()
    orphans.adopt()
    runner = Runner(session, plan, given.value("-k"))
    runner.run([entry for entry in entries if entry.lane is Lane.FAST], workers)
    runner.run([entry for entry in entries if entry.lane is not Lane.FAST], 1)
    return conclude(session, Report(part, given.value("-k"), int(time.monotonic() - begin), tilde(session.run_dir),
                                    runner.files))


def picked(given: Given) -> list[Entry]:
    """The test files that the command line names."""
    if len(given.arguments) > 1:
        raise usage_error(f"check takes one GLOB, found a second: '{given.arguments[1]}'")
    lane = given.value("--lane")
    if lane is None:
        lanes = list(Lane) if given.flag("--list") else [Lane.FAST, Lane.BOOT]
    elif lane in [known.value for known in Lane]:
        lanes = [Lane(lane)]
    else:
        raise usage_error(f"--lane wants fast, boot or long, found '{lane}'")
    table, glob = read_table(TOP / "tests"), given.arguments[0] if given.arguments else "*"
    entries = pick(table, lanes, glob)
    if not entries:
        other = pick(table, list(Lane), glob)
        hints = [f"--lane {entry.lane.value} has {entry.name}" for entry in other[:3]]
        where = f" in the lane {lane}" if lane else " in the lanes fast and boot" if other else ""
        raise usage_error(f"no test matches '{glob}'{where}", *hints, NAMED)
    return entries


def purposes_of(entries: Sequence[Entry]) -> list[str]:
    """The purposes in needs.list of these files and of `check` itself."""
    return sorted({"check", *(purpose for entry in entries for purpose in entry.needs)})


def show(session: Session, entries: Sequence[Entry], given: Given) -> None:
    """Prints the commands of a dry run."""
    for entry in entries:
        session.terminal.say(f"tests: {entry.name}")
        results = session.run_dir / f"{entry.name}.results"
        session.terminal.note(pytest_command(entry, results, given.value("-k")).shown())


def conclude(session: Session, found: Report) -> int:
    """Writes the JSON, and prints the skipped and the failed tests and the last line. Returns the exit status."""
    if session.json is not None:
        write_json(session.json, found.to_json())
        session.json_done = True
    for line in found.last_lines():
        session.terminal.say(line)
    return found.status
