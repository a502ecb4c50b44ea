# SPDX-License-Identifier: GPL-2.0-only
"""Runs the front door's Python part in a fork of this process: starting an interpreter for each command line would take
most of the time. tests/test_front_door.py tests ./snplab itself."""
from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lab import cli
from tests.support.front import Done, changed_environment


def run_forked(*words: str | Path, env: Mapping[str, str | None] | None = None, cwd: Path | None = None,
               events: Path | None = None) -> Done:
    """Runs ./snplab with these words and an empty standard input; returns its output and status. Writes Python's audit
    events to the file `events`."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            status = 99
            try:
                become(out.fileno(), err.fileno(), changed_environment(env), cwd)
                if events is not None:
                    record(events)
                status = cli.main([str(word) for word in words])
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                # The child must not run pytest's own exit code.
                os._exit(status)
        _, ended = os.waitpid(child, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    return Done(os.waitstatus_to_exitcode(ended), *texts)


def record(events: Path) -> None:
    """Writes each audit event from now on to the file, one a line: its name and its arguments."""
    file = open(events, "w", encoding="utf-8", buffering=1)
    recording = False

    def hook(name: str, arguments: tuple[object, ...]) -> None:
        nonlocal recording
        if recording or not name.startswith(("open", "os.", "fcntl.", "shutil.", "tempfile.", "subprocess.")):
            return
        recording = True
        # The event open has (path, mode, flags).
        about = (arguments[0], arguments[2]) if name == "open" else arguments
        file.write("\t".join([name, *(repr(word) if "\t" in str(word) or "\n" in str(word) else str(word)
                                      for word in about)]) + "\n")
        recording = False
    sys.addaudithook(hook)


def become(out: int, err: int, environment: dict[str, str], cwd: Path | None) -> None:
    """Gives this process the standard files, environment and folder that a shell would give it."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(out, 1)
    os.dup2(err, 2)
    sys.stdin, sys.stdout, sys.stderr = open(0, closefd=False), open(1, "w", closefd=False), open(2, "w", closefd=False)
    os.environ.clear()
    os.environ.update(environment)
    if cwd is not None:
        os.chdir(cwd)
