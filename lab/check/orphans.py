# SPDX-License-Identifier: GPL-2.0-only
"""Ends what a test has started and left behind, in whatever session or process group it is.

A process whose parent ends becomes a child of the nearest "subreaper" above it. `check` makes itself one: what a test has
left is then a child of `check`, until it is ended.
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
    """From now on, what loses its parent below this process becomes its child."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children(parent: int) -> list[tuple[int, str]]:
    """(number, name) of a process's children, zombies included."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        # The name is in parentheses and may have some itself.
        name, _, rest = stat.partition("(")[2].rpartition(")")
        if int(rest.split()[1]) == parent:
            found.append((int(folder.name), name))
    return found


def end(keep: Collection[int] = (), seconds: float = 10.0) -> list[str]:
    """Kills the children but those to keep, and what becomes a child by that. Returns the names of those that still ran."""
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
