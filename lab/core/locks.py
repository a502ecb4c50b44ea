# SPDX-License-Identifier: GPL-2.0-only
"""Locks of the cache: one run at a time works in a folder; the others say so and wait."""
from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from lab.core.errors import Cancelled
from lab.core.process import Processes


class Lock:
    """A lock that is held, until release() or the end of this process and of everything that it has started."""

    def __init__(self, descriptor: int, processes: Processes, own: threading.Lock) -> None:
        self._descriptor = descriptor
        self._processes = processes
        self._own = own
        processes.keep(descriptor)

    def release(self) -> None:
        """Lets others have it. Releasing it twice does no harm."""
        if self._descriptor < 0:
            return
        # Children have the same lock: closing our descriptor alone would leave it theirs.
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._processes.close(self._descriptor)
        self._descriptor = -1
        self._own.release()

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def take(file: Path, processes: Processes, tell: Callable[[str], None], own: threading.Lock | None = None) -> Lock:
    """Waits for the lock. If another run holds it, tell() gets one line about that. `own` is this process's lock of that
    name: steps that run side by side wait for each other without a word."""
    own = own or threading.Lock()
    while not own.acquire(timeout=0.1):
        if processes.cancelled.is_set():
            raise Cancelled
    descriptor = os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return Lock(descriptor, processes, own)
        except BlockingIOError:
            if not told:
                tell(f"waiting for another snplab that uses {file.name}")
                told = True
        # Not a blocking flock(): a Ctrl-C must end the wait.
        if processes.cancelled.wait(0.1):
            os.close(descriptor)
            own.release()
            raise Cancelled


def is_held(file: Path) -> bool:
    """Does another process hold it now? Changes nothing."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)


def wait_until(condition: Callable[[], bool], processes: Processes, every: float = 0.1) -> None:
    """Returns when it is true; Cancelled if the run ends first."""
    while not condition():
        if processes.cancelled.is_set():
            raise Cancelled
        time.sleep(every)
