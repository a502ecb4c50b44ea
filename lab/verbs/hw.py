# SPDX-License-Identifier: GPL-2.0-only
"""The verb hw: builds the launch test for this machine and hands it to lab/hw.sh, which stands alone."""
from __future__ import annotations

import os
import re
from pathlib import Path

from lab.build.deps import install_step
from lab.build.selftests import selftests_for
from lab.build.target import selftests_of
from lab.core.errors import Exit
from lab.core.options import Given, Option
from lab.core.places import LAB, tilde
from lab.core.process import Command, command
from lab.core.session import Session
from lab.core.steps import Plan
from lab.patches.series import is_tree, series_dir
from lab.verbs import common

LAUNCH_TEST = "sev_snp_launch_test"
# lab/hw.sh has written the JSON when it ends with one of these.
JUDGED = (Exit.PASS, Exit.FAIL, Exit.SKIP, Exit.TIMEOUT)
OPTIONS = (Option("--check"), Option("--force"), Option("--binary", "FILE"), Option("--timeout", "SEC"),
           Option("--json", "FILE"), Option("--selftests", "DIR"))
USAGE = f"""\
usage: ./snplab hw [--check] [--binary FILE] [--force] [--timeout SEC] [--json FILE] [--selftests DIR] [--dry-run]

Tests the kernel that is running, on a machine with SEV-SNP: looks at each prerequisite and says what to do if
it is missing, builds the launch test, runs it, and prints what to mail (docs/hardware.md). Loads no module and
changes no setting.

  --check         look at the prerequisites, build and run nothing
  --binary FILE   this sev_snp_launch_test, built elsewhere
  --force         run the test even though something is missing: a pass then counts as SKIP
  --timeout SEC   for the whole test (default 600)
  --json FILE     the verdict, machine-readable
{common.OPTIONS_SELFTESTS}
  --dry-run       print what would be done, as commands
  --help          this text

lab/hw.sh does the same without the build: with it and the test's binary alone, any machine can be tested.
"""


def main(session: Session, given: Given) -> int:
    """Looks at the machine, builds if need be, and runs the test."""
    given.no_arguments("hw")
    flags, binary = flags_of(given), given.file("--binary")
    selftests = selftests_for(session, "hw", None, selftests_of(given))
    if binary is not None or given.flag("--check"):
        return hand_over(session, hw(given, *flags, *with_value("--binary", binary)))

    # Before minutes go into a build: is there something to run the test on?
    status = hand_over(session, hw(given, "--check"))
    if status != Exit.PASS and not (status == Exit.SKIP and given.flag("--force")):
        return status
    session.json_done = False

    plan = Plan(session)
    install = install_step(plan, *(() if selftests.source.given else ("fetch",)), "overlay", "build")
    tests = session.run_dir / "tests"
    selftests.add_steps(plan, [LAUNCH_TEST], tests, (install,))
    plan.run()
    built = tests / LAUNCH_TEST
    if not session.dry_run:
        session.terminal.note(f"the test: {tilde(built)}; it and lab/hw.sh are all that another machine needs")
    return hand_over(session, hw(given, *flags, "--brief", "--binary", built))


def expect_list(release: str) -> Path | None:
    """The list of known failures on the kernel that is running, if there is a series for it."""
    found = re.match(r"\d+\.\d+", release)
    if found is None or not is_tree(f"{found[0]}.y"):
        return None
    path = series_dir(f"{found[0]}.y") / "expect"
    return path if path.is_file() else None


def flags_of(given: Given) -> list[str | Path]:
    """The options that lab/hw.sh has as well."""
    flags: list[str | Path] = [flag for flag in ("--check", "--force") if given.flag(flag)]
    seconds = given.seconds("--timeout")
    return [*flags, *with_value("--expect", expect_list(os.uname().release)),
            *with_value("--timeout", str(seconds) if seconds is not None else None)]


def hw(given: Given, *words: str | Path) -> Command:
    """lab/hw.sh's line."""
    json = given.value("--json")
    return command("sh", LAB / "hw.sh", *with_value("--json", Path(json).absolute() if json else None), *words)


def with_value(option: str, value: str | Path | None) -> list[str | Path]:
    """The option and its value, or nothing."""
    return [] if value is None else [option, value]


def hand_over(session: Session, cmd: Command) -> int:
    """Runs lab/hw.sh, whose output is the user's. Its exit status; in a dry run the command is shown."""
    if session.dry_run:
        session.terminal.note(cmd.shown())
        return Exit.PASS
    status = session.processes.ended(session.processes.start(cmd))
    session.json_done = status in JUDGED
    return status
