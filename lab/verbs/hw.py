# SPDX-License-Identifier: GPL-2.0-only
"""The verb hw: builds the launch test for this machine and gives it to lab/hw.sh, which also works without snplab."""
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
# If lab/hw.sh ends with one of these, it has written the JSON.
JUDGED = (Exit.PASS, Exit.FAIL, Exit.SKIP, Exit.TIMEOUT)
OPTIONS = (Option("--check"), Option("--force"), Option("--binary", "FILE"), Option("--timeout", "SEC"),
           Option("--json", "FILE"), Option("--selftests", "DIR"))
USAGE = f"""\
usage: ./snplab hw [--check] [--binary FILE] [--force] [--timeout SEC] [--json FILE] [--selftests DIR] [--dry-run]

Tests the running kernel on a machine with SEV-SNP: checks each prerequisite (and says how to provide a missing one),
builds the launch test, runs it, and prints a text to mail (docs/hardware.md). Loads no module and changes no setting.

  --check         only check the prerequisites
  --binary FILE   use this sev_snp_launch_test, built elsewhere
  --force         run the test even if a prerequisite is missing: a pass then counts as SKIP
  --timeout SEC   time limit of the whole test (default 600)
  --json FILE     write the verdict as JSON
{common.OPTIONS_SELFTESTS}
  --dry-run       print what would be done, as commands
  --help          this text

lab/hw.sh does the same without the build: another machine needs only that file and the test's binary.
"""


def main(session: Session, given: Given) -> int:
    """Checks the machine, builds the test if none was given, and runs it."""
    given.no_arguments("hw")
    flags, binary = flags_of(given), given.file("--binary")
    selftests = selftests_for(session, "hw", None, selftests_of(given))
    if binary is not None or given.flag("--check"):
        return hand_over(session, hw(given, *flags, *with_value("--binary", binary)))

    # Check the machine first: the build takes minutes.
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
        session.terminal.note(f"the test: {tilde(built)}; to test another machine, copy it and lab/hw.sh there")
    return hand_over(session, hw(given, *flags, "--brief", "--binary", built))


def expect_list(release: str) -> Path | None:
    """The list of known failures of the running kernel, if there is a series for it."""
    found = re.match(r"\d+\.\d+", release)
    if found is None or not is_tree(f"{found[0]}.y"):
        return None
    path = series_dir(f"{found[0]}.y") / "expect"
    return path if path.is_file() else None


def flags_of(given: Given) -> list[str | Path]:
    """The options for lab/hw.sh."""
    flags: list[str | Path] = [flag for flag in ("--check", "--force") if given.flag(flag)]
    seconds = given.seconds("--timeout")
    return [*flags, *with_value("--expect", expect_list(os.uname().release)),
            *with_value("--timeout", str(seconds) if seconds is not None else None)]


def hw(given: Given, *words: str | Path) -> Command:
    """The command line of lab/hw.sh."""
    json = given.value("--json")
    return command("sh", LAB / "hw.sh", *with_value("--json", Path(json).absolute() if json else None), *words)


def with_value(option: str, value: str | Path | None) -> list[str | Path]:
    """The option and its value, or nothing."""
    return [] if value is None else [option, value]


def hand_over(session: Session, cmd: Command) -> int:
    """Runs lab/hw.sh with its output on the terminal, or shows the command in a dry run. Returns the exit status."""
    if session.dry_run:
        session.terminal.note(cmd.shown())
        return Exit.PASS
    status = session.processes.ended(session.processes.start(cmd))
    session.json_done = status in JUDGED
    return status
