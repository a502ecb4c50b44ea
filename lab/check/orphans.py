# SPDX-License-Identifier: GPL-2.0-only
"""Kills processes that a test has left running, in any session and process group.

A process whose parent ends becomes a child of the nearest "subreaper" among its ancestors. `check` makes itself a subreaper,
so that processes that a test has left become its children.
"""
from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path

# <linux/prctl.h>
PR_SET_CHILD_SUBREAPER = 36


def adopt() -> None:
    """Makes this process a subreaper: descendants whose parent ends become its children."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(parent: int) -> list[tuple[int, str]]:
    """(pid, name) of a process's children, zombies included."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        # The name is in parentheses, and may contain parentheses.
        name, _, rest = stat.partition("(")[2].rpartition(")")
        if int(rest.split()[1]) == parent:
            found.append((int(folder.name), name))
    return found


def end(keep: Collection[int] = (), seconds: float = 10.0) -> list[str]:
    """Kills all children except `keep`, then their children, and so on. Returns the names of those that still ran."""
    names: list[str] = []
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        found = [(number, name) for number, name in children(os.getpid()) if number not in keep]
        if not found:
            break
        for number, name in found:
            ended, _ = os.waitpid(number, os.WNOHANG)
            if not ended:
                names.append(name)
                os.kill(number, signal.SIGKILL)
                os.waitpid(number, 0)
    return names
