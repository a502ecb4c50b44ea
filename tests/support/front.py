# SPDX-License-Identifier: GPL-2.0-only
"""Runs the front door as a user does: ./snplab in a process of its own."""
from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
# Seconds that a run gets to clean up after a SIGTERM.
GRACE = 15.0
# Work folders and caches: a copy of the repository does not need them. The last three are those of docs/ci.
NOT_COPIED = (".git", "trees", "outgoing", "__pycache__", ".mypy_cache", ".pytest_cache", ".cache", "shards", "logs")
STEP = re.compile(r"^\[(\d+)/(\d+)\] (.*?) …")


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    status: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """Standard output, then standard error."""
        return self.stdout + self.stderr

    def steps(self) -> list[str]:
        """The titles of the steps, in the order of their lines. A step that says something has two lines with the same
        number in a row: counted once."""
        found = [match for line in self.output.splitlines() if (match := STEP.match(line))]
        return [match[3] for before, match in zip([None, *found], found) if before is None or before[1] != match[1]]


def changed_environment(env: Mapping[str, str | None] | None) -> dict[str, str]:
    """Our environment with these changes; None removes a variable."""
    merged: dict[str, str | None] = {**os.environ, **(env or {})}
    return {name: value for name, value in merged.items() if value is not None}


def run_command(*words: str | Path, env: Mapping[str, str | None] | None = None, cwd: Path | None = None,
                stdin: str = "", timeout: float = 600) -> Done:
    """Runs a command to its end. After `timeout`, or when the test is stopped, sends SIGTERM, then SIGKILL."""
    process = subprocess.Popen([str(word) for word in words], env=changed_environment(env), cwd=cwd, text=True,
                               errors="replace", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        stdout, stderr = process.communicate(stdin, timeout=timeout)
    except BaseException:
        process.terminate()
        try:
            process.communicate(timeout=GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        raise
    return Done(128 - process.returncode if process.returncode < 0 else process.returncode, stdout, stderr)


def run_snplab(*words: str | Path, top: Path = TOP, env: Mapping[str, str | None] | None = None, cwd: Path | None = None,
               stdin: str = "", timeout: float = 600) -> Done:
    """Runs ./snplab of this repository, or of a copy."""
    return run_command(top / "snplab", *words, env=env, cwd=cwd, stdin=stdin, timeout=timeout)


def expect(done: Done, status: int, pattern: str = "") -> None:
    """Fails unless the command ended with that status and printed a line that matches."""
    assert done.status == status, f"expected status {status}, found {done.status}:\n{done.output[-4000:]}"
    assert re.search(pattern, done.output, re.M), f"expected a line like: {pattern}\nfound:\n{done.output[-4000:]}"


def copy_repository(target: Path, *without: str) -> Path:
    """Copies the repository, without the top folders named in `without`."""
    def left_out(folder: str, names: list[str]) -> list[str]:
        at_top = Path(folder) == TOP
        return [name for name in names if name in NOT_COPIED or (at_top and name in without)]
    shutil.copytree(TOP, target, symlinks=True, ignore=left_out)
    return target


def listing(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Maps each file and folder below `folder` to its mode, size and time of change."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        try:
            stat = path.lstat()
        except FileNotFoundError:
            continue
        found[str(path.relative_to(folder))] = (stat.st_mode, stat.st_size, stat.st_mtime_ns)
    return found


def open_to_everybody(folder: Path) -> None:
    """Lets other users enter the folder: pytest's folders are for their user alone."""
    for path in (folder, *folder.parents):
        mode = path.stat().st_mode
        if path.stat().st_uid == os.geteuid() and mode & 0o055 != 0o055:
            path.chmod(mode | 0o055)
