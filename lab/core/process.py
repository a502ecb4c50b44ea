# SPDX-License-Identifier: GPL-2.0-only
"""Commands: as they are shown, and as they are run."""
from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.core.errors import Cancelled

PLAIN = re.compile(r"[A-Za-z0-9_./:=,@%+-]+")
# Build output must not depend on somebody's habits, nor git on somebody's repository.
HABITS = ("MAKEFLAGS", "MFLAGS", "CDPATH", "GREP_OPTIONS", "KBUILD_OUTPUT", "ARCH", "CROSS_COMPILE",
          "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
# First the programs that apt installs: a pyenv's python, first on somebody's PATH, lacks packages that kernels want.
SYSTEM_PATH = "/usr/bin:/usr/sbin:/bin:/sbin"


def set_environment() -> None:
    """Makes this process's environment, and so that of everything it starts, the lab's."""
    os.environ["PATH"] = SYSTEM_PATH + (":" + os.environ["PATH"] if os.environ.get("PATH") else "")
    os.environ["LC_ALL"] = "C.UTF-8"
    for name in HABITS:
        os.environ.pop(name, None)


def quote(words: Iterable[str]) -> str:
    """Words as they can be pasted into a shell."""
    return " ".join(word if PLAIN.fullmatch(word) else shlex.quote(word) for word in words)


@dataclass(frozen=True)
class Command:
    """A command line, its folder, and the variables that it has besides our environment."""

    argv: tuple[str, ...]
    cwd: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def shown(self) -> str:
        """One line that can be pasted into a shell."""
        words = list(self.argv)
        if self.cwd is not None or self.env:
            where = ["-C", str(self.cwd)] if self.cwd is not None else []
            words = ["env", *where, *(f"{k}={v}" for k, v in self.env.items()), *words]
        return quote(words) + (f"  # {self.note}" if self.note else "")

    def environment(self) -> dict[str, str]:
        """The whole environment that it runs in."""
        return {**os.environ, **self.env}


def command(*words: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None, note: str = "") -> Command:
    """A Command of words and paths."""
    return Command(tuple(str(word) for word in words), cwd, dict(env or {}), note)


class CommandFailed(Exception):
    """A command that a step needs ended with another status than 0."""

    def __init__(self, status: int, cmd: Command) -> None:
        super().__init__(f"{cmd.argv[0]} ended with status {status}")
        self.status = status
        self.command = cmd


class Processes:
    """All processes that run for this session, each in a group of its own, so that Ctrl-C ends all of each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        # Descriptors of the locks that are held. Children keep them: after a kill -9 of ours, a build that goes on without
        # us still holds its tree's lock, and the next run waits for it.
        self._kept: set[int] = set()
        self.cancelled = threading.Event()
        # Held while something must be done whole or not at all.
        self.whole = threading.Lock()

    def keep(self, descriptor: int) -> None:
        """From now on children inherit it."""
        with self._lock:
            self._kept.add(descriptor)

    def close(self, descriptor: int) -> None:
        """Closes it, while nothing is just being started that would inherit it."""
        with self._lock:
            self._kept.discard(descriptor)
            os.close(descriptor)

    def start(self, cmd: Command, *, stdin: int | None = None, stdout: int | None = None, stderr: int | None = None,
              more_fds: Iterable[int] = (), locks: bool = True) -> subprocess.Popen[bytes]:
        """Starts it in a process group of its own; Cancelled once the run is ending. Without `locks` it holds none of
        ours: for a QEMU, which pauses at L1's end and would hold them for ever if we were killed."""
        with self._lock:
            if self.cancelled.is_set():
                raise Cancelled
            process = subprocess.Popen(
                cmd.argv, cwd=cmd.cwd, env=cmd.environment(), stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=stdout, stderr=stderr, process_group=0, pass_fds=(*(self._kept if locks else ()), *more_fds))
            self._running.add(process)
        return process

    def ended(self, process: subprocess.Popen[bytes]) -> int:
        """Waits for it, and ends whatever it has left in its group. Its exit status, 128 + the signal's number if any."""
        status = process.wait()
        self._kill(process, signal.SIGKILL)
        with self._lock:
            self._running.discard(process)
        if self.cancelled.is_set():
            raise Cancelled
        return 128 - status if status < 0 else status

    def stop_all(self, grace: float) -> None:
        """Asks all of them to end, and makes them after that many seconds."""
        with self.whole:
            self.cancelled.set()
        with self._lock:
            running = list(self._running)
        for process in running:
            self._kill(process, signal.SIGTERM)
        end = time.monotonic() + grace
        while time.monotonic() < end and any(self._alive(p) for p in running):
            time.sleep(0.05)
        for process in running:
            self._kill(process, signal.SIGKILL)

    @staticmethod
    def _kill(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    @staticmethod
    def _alive(process: subprocess.Popen[bytes]) -> bool:
        """Does any process of its group still run? Our own zombies do not count."""
        if process.poll() is None:
            return True
        try:
            os.killpg(process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True
