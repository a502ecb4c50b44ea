# SPDX-License-Identifier: GPL-2.0-only
"""Commands: how they are shown, and how they are run."""
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
# Variables of the user's environment that would change what make builds, or which repository git works in.
HABITS = ("MAKEFLAGS", "MFLAGS", "CDPATH", "GREP_OPTIONS", "KBUILD_OUTPUT", "ARCH", "CROSS_COMPILE",
          "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
# Before the user's PATH: a python of pyenv, for example, lacks Debian's packages that a kernel build needs.
SYSTEM_PATH = "/usr/bin:/usr/sbin:/bin:/sbin"


def set_environment() -> None:
    """Sets the environment of this process, and so of everything that it starts."""
    os.environ["PATH"] = SYSTEM_PATH + (":" + os.environ["PATH"] if os.environ.get("PATH") else "")
    os.environ["LC_ALL"] = "C.UTF-8"
    for name in HABITS:
        os.environ.pop(name, None)


def quote(words: Iterable[str]) -> str:
    """The words as one line that can be pasted into a shell."""
    return " ".join(word if PLAIN.fullmatch(word) else shlex.quote(word) for word in words)


@dataclass(frozen=True)
class Command:
    """A command line, its working folder, and the variables that it gets in addition to our environment."""

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
        """The whole environment that the command runs in."""
        return {**os.environ, **self.env}


def command(*words: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None, note: str = "") -> Command:
    """Makes a Command from words and paths."""
    return Command(tuple(str(word) for word in words), cwd, dict(env or {}), note)


class CommandFailed(Exception):
    """A command failed that a step needs."""

    def __init__(self, status: int, cmd: Command) -> None:
        super().__init__(f"{cmd.argv[0]} ended with status {status}")
        self.status = status
        self.command = cmd


class Processes:
    """The session's running processes. Each has a process group, so that Ctrl-C ends its children too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        # Descriptors of the held locks. Children inherit them: a build that survives a kill -9 of this process still holds
        # its tree's lock, and the next run waits for it.
        self._kept: set[int] = set()
        self.cancelled = threading.Event()
        # Held while a block runs that Ctrl-C must not interrupt (Job.whole()).
        self.whole = threading.Lock()

    def keep(self, descriptor: int) -> None:
        """Children that start from now on inherit this descriptor."""
        with self._lock:
            self._kept.add(descriptor)

    def close(self, descriptor: int) -> None:
        """Closes the descriptor. The lock keeps start() from passing it to a child at the same time."""
        with self._lock:
            self._kept.discard(descriptor)
            os.close(descriptor)

    def start(self, cmd: Command, *, stdin: int | None = None, stdout: int | None = None, stderr: int | None = None,
              more_fds: Iterable[int] = (), locks: bool = True) -> subprocess.Popen[bytes]:
        """Starts a command in its own process group; raises Cancelled once the run is ending. With locks=False the child
        inherits no lock: a QEMU pauses when L1 ends, and would hold the locks for ever if this process were killed."""
        with self._lock:
            if self.cancelled.is_set():
                raise Cancelled
            process = subprocess.Popen(
                cmd.argv, cwd=cmd.cwd, env=cmd.environment(), stdin=subprocess.DEVNULL if stdin is None else stdin,
                stdout=stdout, stderr=stderr, process_group=0, pass_fds=(*(self._kept if locks else ()), *more_fds))
            self._running.add(process)
        return process

    def ended(self, process: subprocess.Popen[bytes]) -> int:
        """Waits for the process, and kills what is left in its group. Returns its exit status, or 128 + the signal's
        number."""
        status = process.wait()
        self._kill(process, signal.SIGKILL)
        with self._lock:
            self._running.discard(process)
        if self.cancelled.is_set():
            raise Cancelled
        return 128 - status if status < 0 else status

    def stop_all(self, grace: float) -> None:
        """Sends SIGTERM to all processes, and SIGKILL after `grace` seconds."""
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
        """Does any process of the group still run? Zombies of ours do not count."""
        if process.poll() is None:
            return True
        try:
            os.killpg(process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True
