# SPDX-License-Identifier: GPL-2.0-only
"""Runs each test file in its own pytest process, and shows the progress."""
from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from lab.check import orphans
from lab.check.report import File, failure_lines
from lab.check.results import FileTally, Result, read_lines
from lab.check.table import Entry
from lab.core.places import TOP, tilde
from lab.core.process import Command, command
from lab.core.session import Session
from lab.core.steps import Plan, last_lines
from lab.core.terminal import ProgressClock

PYTHON = "/usr/bin/python3"
# Seconds; more than a snplab that a test runs needs to clean up after a Ctrl-C.
GRACE = 10.0
# The name of a test file's temporary folder; our pid and random letters follow.
FOLDER = "snplab-check-"
FOLDER_NAME = re.compile(FOLDER + r"(\d+)-\w+")


def pytest_command(entry: Entry, results: Path, expression: str | None, folder: Path | None = None) -> Command:
    """pytest's command line for one file, with `folder` as its temporary folder. xdist is turned off: when a worker dies, it
    runs a test again, or hangs."""
    words = ["-B", "-m", "pytest", "-p", "no:xdist", f"--results={results}", "-rA", "--color=no"]
    if folder is not None:
        words.append(f"--basetemp={folder}")
    if expression is not None:
        words += ["-k", expression]
    return command(PYTHON, *words, entry.path.relative_to(TOP), cwd=TOP)


def clean_environment() -> None:
    """Keeps the user's Python modules and pytest plugins away from the tests."""
    for name in [name for name in os.environ if name.startswith(("PYTHON", "PYTEST_"))]:
        del os.environ[name]
    # Write no bytecode into the repository; ignore packages that the user has installed.
    os.environ["PYTHONDONTWRITEBYTECODE"] = os.environ["PYTHONNOUSERSITE"] = "1"


def drop_old_folders(kept: int = 3) -> None:
    """Removes temporary folders of this user's earlier checks, left because a test failed or the check was killed. Keeps the
    newest ones, and those of checks that still run."""
    old = []
    for path in Path(tempfile.gettempdir()).iterdir():
        name = FOLDER_NAME.fullmatch(path.name)
        try:
            if name and path.stat().st_uid == os.getuid() and not Path("/proc", name[1]).exists():
                old.append((path.stat().st_mtime, path))
        except OSError:
            # Another check has removed the folder meanwhile.
            continue
    for _, path in sorted(old)[:-kept]:
        shutil.rmtree(path, ignore_errors=True)


class Watch:
    """A running test file."""

    def __init__(self, session: Session, entry: Entry, expression: str | None) -> None:
        self.tally = FileTally(entry, expression is not None)
        self.log = session.run_dir / f"{entry.name}.log"
        # By default each pytest first removes the folders of earlier ones, gigabytes, while the user waits: give it its own
        # folder. The name is short since tests put sockets there, whose paths have a limit.
        self._folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-"))
        self._results = session.run_dir / f"{entry.name}.results"
        self._offset = 0
        self.begun = time.monotonic()
        with open(self.log, "a", encoding="utf-8") as log:
            cmd = pytest_command(entry, self._results, expression, self._folder / "t")
            self.process = session.processes.start(cmd, stdout=log.fileno(), stderr=log.fileno())

    def new_results(self) -> list[Result]:
        """The results since the last call."""
        lines, self._offset = read_lines(self._results, self._offset)
        return [result for line in lines if (result := self.tally.read(line)) is not None]

    def drop_folder(self) -> str | None:
        """Removes the tests' temporary folder. After a failure it stays, and its name is returned."""
        if self.tally.count("failed") and any(self._folder.iterdir()):
            return tilde(self._folder)
        shutil.rmtree(self._folder, ignore_errors=True)
        return None


class Runner:
    """Runs test files, several at a time, and shows their lines."""

    def __init__(self, session: Session, plan: Plan, expression: str | None) -> None:
        self.session = session
        self.terminal = session.terminal
        self.files: list[File] = []
        self._plan = plan
        self._expression = expression
        self._number = len(plan.steps)

    def head(self, entry: Entry) -> str:
        """The start of a file's line."""
        self._number += 1
        return self._plan.head(self._number, f"tests: {entry.name}")

    def run(self, entries: Sequence[Entry], at_a_time: int) -> None:
        """Runs the files, and kills processes that they leave running."""
        drop_old_folders()
        waiting, running = list(entries), list[Watch]()
        clock, begun = ProgressClock(self.terminal.is_tty), time.monotonic()
        # If files run one at a time, the line begins with the file; otherwise the line appears when the file has ended.
        head, last = "", ""
        try:
            while waiting or running:
                while waiting and len(running) < at_a_time:
                    running.append(Watch(self.session, waiting.pop(0), self._expression))
                    if at_a_time == 1:
                        head = self.head(running[0].tally.entry)
                        self.terminal.begin(head)
                        clock, begun, last = ProgressClock(self.terminal.is_tty), time.monotonic(), ""
                for watch in list(running):
                    last = self.advance(watch, head) or last
                    if watch.tally.closed:
                        running.remove(watch)
                        self.end_orphans(running)
                        self.drop(watch)
                if running and clock.due():
                    self.terminal.progress(f"{time.monotonic() - begun:3.0f} s  {last}")
                time.sleep(0.05)
        except BaseException:
            self.session.processes.stop_all(GRACE)
            orphans.end()
            for watch in running:
                self.drop(watch)
            raise

    def advance(self, watch: Watch, head: str) -> str:
        """Shows a file's new failures, and its line if it has ended. Returns the last result's title."""
        ended = watch.process.poll() is not None
        new = watch.new_results()
        for result in new:
            if result.outcome == "failed":
                self.show_failure(result)
        if ended:
            status = self.session.processes.ended(watch.process)
            late = watch.tally.close(status)
            if late is not None:
                self.show_failure(late)
                for line in last_lines(watch.log, 20):
                    self.terminal.note(f"| {line}")
            file = File.of(watch.tally, time.monotonic() - watch.begun)
            self.terminal.end(head or self.head(watch.tally.entry), file.line)
            self.files.append(file)
        return new[-1].title[:70] if new else ""

    def drop(self, watch: Watch) -> None:
        """Removes a file's temporary folder, or tells the user its name if it is kept."""
        kept = watch.drop_folder()
        if kept is not None:
            self.terminal.note(f"the tests' files: {kept}")

    def end_orphans(self, running: Sequence[Watch]) -> None:
        """Kills processes that tests have left, once no other file runs, to which they could belong."""
        left = [] if running else orphans.end()
        if left:
            self.terminal.note(f"killed processes that tests left running: {' '.join(sorted(set(left)))}")

    def show_failure(self, result: Result) -> None:
        """Shows the test's name, and the last lines of pytest's text."""
        for line in failure_lines(result):
            self.terminal.note(line)
