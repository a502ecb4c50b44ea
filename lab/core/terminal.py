# SPDX-License-Identifier: GPL-2.0-only
"""The user's view: lines of steps, notes below them, and progress."""
from __future__ import annotations

import os
import threading
import time
from typing import TextIO

# Seconds before progress is shown. If the output is not a terminal, a line follows every PROGRESS_LINES seconds.
PROGRESS_AFTER = 5
PROGRESS_LINES = 30
BAR = 24


def bar(done: int, total: int) -> str:
    """A bar of a fixed width, and the numbers beside it."""
    total = max(total, done, 1)
    full = BAR * done // total
    return f"[{'#' * full}{'.' * (BAR - full)}] {done} of {total}"


class Terminal:
    """Writes to standard output, or to standard error if the verb's result goes to standard output."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.is_tty = stream.isatty()
        self._lock = threading.RLock()
        # True: the last line is a head from begin(), without its newline.
        self._open = False
        # True: the last line is a progress text, to be overwritten.
        self._progress = False

    def _write(self, text: str) -> None:
        """Writes the text. A reader that goes away does not end the run."""
        try:
            self.stream.write(text)
            self.stream.flush()
        except OSError:
            null = open(os.devnull, "w", encoding="utf-8")
            # Otherwise Python's flush at exit would fail too. The verb's result may go to the other stream.
            os.dup2(null.fileno(), self.stream.fileno())
            self.stream, self.is_tty = null, False

    def _clear(self) -> None:
        if self._progress:
            self._write("\r\033[K")
            self._progress = False
        if self._open:
            self._write("\n")
            self._open = False

    def say(self, text: str) -> None:
        """Prints a line."""
        with self._lock:
            self._clear()
            self._write(text + "\n")

    def note(self, text: str) -> None:
        """Prints an indented line, below a step's."""
        self.say("      " + text)

    def begin(self, head: str) -> None:
        """Prints the start of a line that end() completes."""
        with self._lock:
            self._clear()
            self._write(head)
            self._open = True

    def end(self, head: str, result: str) -> None:
        """Completes the line of begin(); repeats the head if other lines came after it."""
        with self._lock:
            if self._open:
                self._write(f" {result}\n")
                self._open = False
            else:
                self._clear()
                self._write(f"{head} {result}\n")

    def progress(self, text: str) -> None:
        """Shows a text that the next line overwrites; a line of its own if the output is not a terminal."""
        with self._lock:
            if not self.is_tty:
                self.note(text)
                return
            if self._open:
                self._write("\n")
                self._open = False
            width = max(os.get_terminal_size(self.stream.fileno()).columns - 1, 40) if self.is_tty else 100
            self._write("\r\033[K" + ("      " + text)[:width])
            self._progress = True


class OneLine(Terminal):
    """A verb's output as one line. On a terminal everything else is progress; elsewhere it is in the logs alone."""

    def first(self, head: str) -> None:
        """Prints the start of the line, before any work."""
        super().begin(head)

    def last(self, head: str, result: str) -> None:
        """Completes the line."""
        super().end(head, result)

    def say(self, text: str) -> None:
        self.progress(text.strip())

    def note(self, text: str) -> None:
        self.progress(text.strip())

    def begin(self, head: str) -> None:
        self.progress(head)

    def end(self, head: str, result: str) -> None:
        self.progress(f"{head} {result}")

    def progress(self, text: str) -> None:
        if self.is_tty:
            super().progress(text)


class ProgressClock:
    """Decides when the next progress text is due."""

    def __init__(self, is_tty: bool) -> None:
        self.is_tty = is_tty
        self.begin = time.monotonic()
        self._next = self.begin + PROGRESS_AFTER

    def due(self) -> bool:
        """True each time a progress text should be shown: twice a second on a terminal, else every PROGRESS_LINES."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + (0.5 if self.is_tty else PROGRESS_LINES)
        return True
