# SPDX-License-Identifier: GPL-2.0-only
"""One run of snplab: the state that all its parts share, and the clean-up at its end."""
from __future__ import annotations

import fcntl
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from lab.core import locks
from lab.core.errors import Exit
from lab.core.places import Cache, cache_root
from lab.core.process import Processes
from lab.core.terminal import Terminal

# How many old folders of logs are kept, besides those of the last hour.
RUNS_KEPT = 20
# The lock that every run holds shared, and cache --prune takes exclusively.
IN_USE = "in-use"
WORDS = {Exit.FAIL: "fail", Exit.USAGE: "usage", Exit.SKIP: "skip"}
INTERRUPTED = (129, 130, 143)


class Session:
    """One run of a verb: its output, its cache, its folder of logs, its processes."""

    def __init__(self, verb: str, *, dry_run: bool = False, answers: bool = False) -> None:
        self.verb = verb
        self.dry_run = dry_run
        self.cache = Cache(cache_root())
        # If the verb's result goes to standard output, everything else goes to standard error.
        self.terminal = Terminal(sys.stderr if answers else sys.stdout)
        self.processes = Processes()
        # How many seconds a process gets between SIGTERM and SIGKILL. dpkg gets more, to finish unpacking.
        self.grace = 3.0
        self.json: Path | None = None
        # True once the verb has written its own JSON.
        self.json_done = False
        # The page that --html asks for.
        self.html: Path | None = None
        self._run_dir: Path | None = None
        self._at_exit: list[Callable[[], None]] = []
        # This process's locks by name: its own steps wait for each other silently.
        self._own_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._in_use: int | None = None

    @property
    def run_dir(self) -> Path:
        """This run's folder for logs, created at first use; in a dry run just a name."""
        if self._run_dir is None:
            if self.dry_run:
                self._run_dir = self.cache.root / "runs" / "<this run>"
            else:
                self.use_cache()
                runs = self.cache.folder("runs")
                drop_old_runs(runs)
                self._run_dir = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-") + self.verb + "-", dir=runs))
        return self._run_dir

    @property
    def has_run_dir(self) -> bool:
        """Has this run created its folder of logs?"""
        return self._run_dir is not None and not self.dry_run

    def at_exit(self, function: Callable[[], None]) -> None:
        """Registers a function for clean_up(), which calls them in reverse order, however the run ends."""
        self._at_exit.append(function)

    def lock(self, name: str, tell: Callable[[str], None] | None = None) -> locks.Lock:
        """Holds the cache's lock NAME."""
        return locks.take(self.cache.folder("locks") / name, self.processes, tell or self.terminal.note,
                          self._own_locks[name])

    def use_cache(self) -> None:
        """Keeps cache --prune from removing sources, modules and logs until this process ends."""
        if self._in_use is None:
            self._in_use = os.open(self.cache.folder("locks") / IN_USE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
            fcntl.flock(self._in_use, fcntl.LOCK_SH)

    def claim_json(self, path: Path) -> None:
        """Empties the file now, so that nobody takes an old verdict for this run's."""
        with open(path, "w", encoding="utf-8"):
            pass
        self.json = path

    def claim_html(self, path: Path) -> None:
        """Removes an old page, which must not be taken for this run's. Raises OSError if none can be written there."""
        if path.exists() and not path.is_file():
            with open(path, "w", encoding="utf-8"):
                pass
        else:
            # The file that a link names is replaced, not the link.
            real = Path(os.path.realpath(path))
            with tempfile.NamedTemporaryFile(dir=real.parent):
                real.unlink(missing_ok=True)
        self.html = path

    def clean_up(self) -> None:
        """Runs the functions given to at_exit(), even if one of them fails."""
        while self._at_exit:
            try:
                self._at_exit.pop()()
            except OSError as e:
                print(f"snplab: while cleaning up: {e}", file=sys.stderr)

    def json_of_failure(self, status: int, shown: int | None = None) -> None:
        """Writes a JSON file that says why the run ended without a verdict of its own."""
        if self.json is None or self.json_done or self.dry_run:
            return
        known = Exit(status) if status in list(Exit) else Exit.SETUP
        word = "interrupted" if status in INTERRUPTED else WORDS.get(known, "setup-failed")
        text = json.dumps({"version": 1, "verb": self.verb, "verdict": word, "exit": status if shown is None else shown})
        try:
            self.json.write_text(text + "\n", encoding="utf-8")
        except OSError as e:
            print(f"snplab: --json: cannot write {self.json}: {e.strerror}", file=sys.stderr)


def drop_old_runs(runs: Path) -> None:
    """Removes old folders of logs. Those of the last hour stay: another run may still write to them."""
    hour_ago = time.time() - 3600
    old = sorted((d for d in runs.iterdir() if d.is_dir() and d.stat().st_mtime < hour_ago), reverse=True)
    for folder in old[RUNS_KEPT - 1:]:
        shutil.rmtree(folder, ignore_errors=True)
