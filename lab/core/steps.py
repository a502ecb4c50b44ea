# SPDX-License-Identifier: GPL-2.0-only
"""A verb's plan is a list of steps.

A step has a title, a body that does the work, the commands that --dry-run shows for it, and the steps that it comes after.
Steps that do not depend on each other run in parallel. A step's line appears when every step above it in the plan has ended,
so a run lists the steps in the order of the dry run.
"""
from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from lab.core.errors import Cancelled, Exit, Stop, setup_error
from lab.core.locks import Lock
from lab.core.places import tilde
from lab.core.process import Command, CommandFailed
from lab.core.session import Session
from lab.core.terminal import ProgressClock, bar

Shown = Callable[[], Iterable["Command | str"]]
# Takes the new lines of a step's log; returns (objects done, objects in all), or None.
Meter = Callable[[list[str]], "tuple[int, int] | None"]
# Beginnings of log lines that do not show progress.
DULL = ("+ ", "== ", "make: ", "make[")


class Job:
    """The handle that a step's body gets. All that the body starts through it is logged, and ends with the step."""

    def __init__(self, session: Session, log: Path) -> None:
        self.session = session
        self.log_path = log
        self.log: TextIO = open(log, "a", encoding="utf-8", buffering=1)
        self.meter: Meter | None = None
        self._told: list[str] = []
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raises Cancelled if the run is ending. A loop that starts no process has to call it."""
        if self.session.processes.cancelled.is_set():
            raise Cancelled

    def write(self, text: str) -> None:
        """Writes a line to the log."""
        self.log.write(text + "\n")

    def tell(self, text: str) -> None:
        """Writes a line to the log, and shows it to the user below the step's line."""
        self.write(text)
        with self._lock:
            self._told.append(text)

    def take_told(self) -> list[str]:
        """Returns the lines that are not shown yet, and forgets them."""
        with self._lock:
            told, self._told = self._told, []
        return told

    def lock(self, name: str) -> Lock:
        """Holds the cache's lock NAME; waits, and says so, if another run has it."""
        return self.session.lock(name, self.tell)

    def status(self, cmd: Command, *, stdin: bytes | None = None) -> int:
        """Runs a command with its output in the log. Returns its exit status."""
        self.write(f"+ {cmd.shown()}")
        return self._run(cmd, stdin, None)[0]

    def run(self, cmd: Command, *, stdin: bytes | None = None) -> None:
        """Runs a command with its output in the log. Raises CommandFailed for any status but 0."""
        status = self.status(cmd, stdin=stdin)
        if status:
            raise CommandFailed(status, cmd)

    def bytes_of(self, cmd: Command, *, stdin: bytes | None = None, ok: Iterable[int] = (0,)) -> bytes:
        """Returns a command's standard output; standard error goes to the log. Raises CommandFailed for a status not in
        `ok`."""
        status, output = self._run(cmd, stdin, subprocess.PIPE)
        if status not in ok:
            self.write(f"+ {cmd.shown()}: status {status}")
            raise CommandFailed(status, cmd)
        return output

    def output(self, cmd: Command, *, stdin: bytes | None = None, ok: Iterable[int] = (0,)) -> str:
        """bytes_of(), decoded."""
        return self.bytes_of(cmd, stdin=stdin, ok=ok).decode("utf-8", "replace")

    def _run(self, cmd: Command, stdin: bytes | None, stdout: int | None) -> tuple[int, bytes]:
        processes = self.session.processes
        process = processes.start(cmd, stdin=subprocess.PIPE if stdin is not None else None,
                                  stdout=stdout if stdout is not None else self.log.fileno(), stderr=self.log.fileno())
        output, _ = process.communicate(stdin)
        return processes.ended(process), output or b""

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Runs the block without interruption: a Ctrl-C takes effect after it."""
        with self.session.processes.whole:
            self.check()
            yield


def side_by_side(*functions: Callable[[], None]) -> None:
    """Runs the functions in parallel, each in a thread. Raises the first exception after all have ended."""
    errors: list[BaseException] = []

    def work(function: Callable[[], None]) -> None:
        try:
            function()
        except BaseException as e:  # raised again below
            errors.append(e)
    threads = [threading.Thread(target=work, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@dataclass(eq=False)
class Step:
    """One step of a plan."""

    title: str | Callable[[], str]
    body: Callable[[Job], None]
    shown: Shown
    # The steps that must end first. None: the one before it in the plan; (): none.
    after: tuple[Step, ...] | None = None
    # How many seconds its processes get to end after a Ctrl-C.
    grace: float = 3.0
    job: Job | None = field(default=None, repr=False)
    begun: float = 0.0
    took: float = 0.0
    done: bool = False
    error: BaseException | None = None

    def text(self) -> str:
        """The title. It may change: some titles name a version that an earlier step finds."""
        return self.title if isinstance(self.title, str) else self.title()


def nothing() -> Iterable[Command | str]:
    """For a step without commands to show."""
    return ()


class Plan:
    """The steps of a verb."""

    def __init__(self, session: Session, more: int = 0, logs: Path | None = None) -> None:
        self.session = session
        # The folder for the steps' logs; None: this run's folder.
        self.logs = logs
        self.steps: list[Step] = []
        # How many more steps the verb runs and shows itself after these, such as a boot with live output.
        self.more = more
        self._changed = threading.Condition()

    def add(self, title: str | Callable[[], str], body: Callable[[Job], None], shown: Shown = nothing,
            after: tuple[Step, ...] | None = None, grace: float = 3.0) -> Step:
        """Adds a step. Without `after` it comes after the one before it."""
        if after is None:
            after = (self.steps[-1],) if self.steps else ()
        step = Step(title, body, shown, after, grace)
        self.steps.append(step)
        return step

    def head(self, number: int, title: str) -> str:
        """The start of a step's line; numbers start with 1."""
        return f"[{number}/{len(self.steps) + self.more}] {title} …"

    def times(self) -> list[tuple[int, str]]:
        """(seconds, title) of the steps that have ended."""
        return [(int(step.took), step.text()) for step in self.steps if step.done]

    def run(self) -> None:
        """Runs all steps, or shows them. Raises the Stop of the first that fails."""
        if self.session.dry_run:
            for number, step in enumerate(self.steps, 1):
                self.session.terminal.say(self.head(number, step.text()))
                show(self.session, step.shown())
            return
        # Created here, before two steps could do so at the same time.
        (self.logs or self.session.run_dir).mkdir(exist_ok=True)
        shown = 0
        try:
            while shown < len(self.steps):
                self._start_ready()
                self._show_until_done(shown)
                shown += 1
        except BaseException:
            self.session.processes.stop_all(max((s.grace for s in self.steps if s.begun and not s.done), default=3.0))
            self._join()
            raise

    def _start_ready(self) -> None:
        """Starts each step whose predecessors have ended."""
        for number, step in enumerate(self.steps, 1):
            if not step.begun and all(other.done and other.error is None for other in step.after or ()):
                step.begun = time.monotonic()
                step.job = Job(self.session, (self.logs or self.session.run_dir) / f"step-{number:02}.log")
                step.job.write(f"== {step.text()}")
                threading.Thread(target=self._work, args=(step,), daemon=True).start()

    def _work(self, step: Step) -> None:
        assert step.job is not None
        try:
            step.body(step.job)
        except BaseException as e:  # shown by the main thread
            step.error = e
        finally:
            step.took = time.monotonic() - step.begun
            with self._changed:
                step.done = True
                self._changed.notify_all()

    def _show_until_done(self, index: int) -> None:
        """Shows the step until it has ended, and meanwhile starts other steps that become ready."""
        step, terminal = self.steps[index], self.session.terminal
        head = self.head(index + 1, step.text())
        terminal.begin(head)
        clock, tail = ProgressClock(terminal.is_tty), Tail(step)
        while True:
            with self._changed:
                if not step.done:
                    self._changed.wait(0.1)
            self._fail_if_any(index, head)
            self._start_ready()
            for text in step.job.take_told() if step.job else ():
                terminal.note(text)
            if step.done:
                terminal.end(head, f"{step.took:.0f} s")
                return
            if clock.due():
                said = "; ".join(filter(None, (tail.text(), self._beside(step))))
                terminal.progress(f"{step_seconds(step):3.0f} s  {said}".rstrip())

    def _beside(self, shown: Step) -> str:
        others = [s.text() for s in self.steps if s.begun and not s.done and s is not shown]
        return f"in parallel: {', '.join(others)}" if others else ""

    def _fail_if_any(self, index: int, head: str) -> None:
        failed = next((s for s in self.steps if s.error is not None and not isinstance(s.error, Cancelled)), None)
        if failed is None:
            return
        terminal = self.session.terminal
        for text in failed.job.take_told() if failed.job else ():
            terminal.note(text)
        number = self.steps.index(failed)
        if number != index:
            terminal.end(head, "stopped")
            head = self.head(number + 1, failed.text())
            terminal.say(f"{head} failed")
        else:
            terminal.end(head, "failed")
        raise describe(failed)

    def _join(self) -> None:
        """Waits until the steps' threads have noticed that their processes were stopped."""
        end = time.monotonic() + 5
        with self._changed:
            while time.monotonic() < end and any(s.begun and not s.done for s in self.steps):
                self._changed.wait(0.1)


def step_seconds(step: Step) -> float:
    """For how long the step has run."""
    return time.monotonic() - step.begun if step.begun else 0.0


def describe(step: Step) -> BaseException:
    """Makes the Stop that says why a step failed, with the path of its log."""
    error, log = step.error, step.job.log_path if step.job else Path()
    where = f"        log: {tilde(log)}"
    if isinstance(error, Stop):
        failed = StepFailed(error.status, f"{error.text()}\n{where}")
        failed.of_tree, failed.why = error.of_tree, error.message
        return failed
    if isinstance(error, CommandFailed):
        lines = "".join(f"      | {line}\n" for line in last_lines(log, 15))
        return StepFailed(Exit.SETUP, f"{lines}snplab: {step.text()}: failed with status {error.status}\n{where}")
    if isinstance(error, OSError):
        stop = setup_error(f"{step.text()}: {error}", "is the disk full, or a folder of the cache not writable?")
        return StepFailed(Exit.SETUP, f"{stop.text()}\n{where}")
    assert error is not None
    return error


class StepFailed(Stop):
    """A Stop whose message has its hints and prefix already."""

    # The message alone.
    why = ""

    def text(self) -> str:
        return self.message


def show(session: Session, commands: Iterable[Command | str]) -> None:
    """Prints the commands of a dry run."""
    for cmd in commands:
        session.terminal.note(cmd if isinstance(cmd, str) else cmd.shown())


def last_lines(path: Path, count: int) -> list[str]:
    """The last lines of a file, without reading all of it."""
    try:
        with open(path, "rb") as f:
            f.seek(0, 2)
            f.seek(max(0, f.tell() - 64 * 1024))
            return f.read().decode("utf-8", "replace").splitlines()[-count:]
    except OSError:
        return []


class Tail:
    """Reads a step's progress from the end of its log."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._offset = 0
        self._last = ""
        self._objects: tuple[int, int] | None = None

    def text(self) -> str:
        """A bar if the step counts objects; otherwise the last line of the log that shows progress."""
        job = self._step.job
        if job is None:
            return ""
        try:
            with open(job.log_path, "rb") as f:
                f.seek(self._offset)
                new = f.read()
        except OSError:
            return self._last
        whole = new.rfind(b"\n") + 1
        self._offset += whole
        lines = new[:whole].decode("utf-8", "replace").replace("\r", "\n").splitlines()
        if job.meter is not None:
            self._objects = job.meter(lines) or self._objects
        said = [line for line in lines if line.strip() and not line.startswith(DULL)]
        if said:
            self._last = said[-1].strip()[:70]
        return bar(*self._objects) if self._objects else self._last
