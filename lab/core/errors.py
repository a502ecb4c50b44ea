# SPDX-License-Identifier: GPL-2.0-only
"""How a run ends: the exit statuses that README lists, and the exceptions that lead to them."""
from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """The exit statuses that README.md lists."""

    PASS = 0
    FAIL = 1
    USAGE = 2
    SETUP = 3
    SKIP = 4
    TIMEOUT = 124
    PANIC = 255


class Stop(Exception):
    """Ends the run with a message for the user: what was expected and found, then hints at what to do."""

    def __init__(self, status: int, message: str, *hints: str) -> None:
        super().__init__(message)
        self.status = int(status)
        self.message = message
        self.hints = hints
        # The kernel tree under test is at fault, not the machine and not the command line: `bisect-step` skips this commit.
        self.of_tree = False
        # Lines that explain the message, printed above it.
        self.before = ""

    def text(self) -> str:
        """The lines for standard error."""
        return self.before + "\n".join([f"snplab: {self.message}", *(f"        hint: {hint}" for hint in self.hints)])


class Cancelled(Exception):
    """A step ends early because another one failed, or the user pressed Ctrl-C."""


class Interrupted(Exception):
    """A signal asked the run to end; `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.number = number


def setup_error(message: str, *hints: str) -> Stop:
    """Something is wrong with the machine, the network, a tree or a patch: nothing was tested."""
    return Stop(Exit.SETUP, message, *hints)


def tree_error(message: str, *hints: str) -> Stop:
    """The kernel tree under test cannot be tested: it does not build, or a patch does not apply. Another tree may do."""
    stop = setup_error(message, *hints)
    stop.of_tree = True
    return stop


def usage_error(message: str, *hints: str) -> Stop:
    """The command line is wrong."""
    return Stop(Exit.USAGE, message, *hints)
