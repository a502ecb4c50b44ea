# SPDX-License-Identifier: GPL-2.0-only
"""Locks of the cache: one run at a time works in a folder; other runs wait, and tell the user."""
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
    """A held lock. It ends with release(), or once this process and all that it started have ended."""

    def __init__(self, descriptor: int, processes: Processes, own: threading.Lock) -> None:
        self._descriptor = descriptor
        self._processes = processes
        self._own = own
        processes.keep(descriptor)

    def release(self) -> None:
        """Releases the lock. A second call does nothing."""
        if self._descriptor < 0:
            return
        # Children inherited the descriptor: closing ours alone would leave the lock held by them.
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        self._processes.close(self._descriptor)
        self._descriptor = -1
        self._own.release()

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def take(file: Path, processes: Processes, tell: Callable[[str], None], own: threading.Lock | None = None) -> Lock:
    """Waits for the lock. If another run holds it, tell() gets one line that says so. `own` is this process's lock of the
    same name: steps of one run wait for each other silently."""
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
        # Polled: a blocking flock() would not see a Ctrl-C.
        if processes.cancelled.wait(0.1):
            os.close(descriptor)
            own.release()
            raise Cancelled


def is_held(file: Path) -> bool:
    """Does another process hold the lock now? Changes nothing."""
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
    """Returns when the condition is true; raises Cancelled if the run ends first."""
    while not condition():
        if processes.cancelled.is_set():
            raise Cancelled
        time.sleep(every)
