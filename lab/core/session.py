# SPDX-License-Identifier: GPL-2.0-only
"""One run of snplab: the state that every part of it shares, and the cleaning up at its end."""
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

# The newest folders of logs that stay, those of the last hour aside.
RUNS_KEPT = 20
# The lock that every run shares.
IN_USE = "in-use"
WORDS = {Exit.USAGE: "usage", Exit.SKIP: "skip"}
INTERRUPTED = (129, 130, 143)


class Session:
    """A verb that runs: its output, its cache, its folder of logs, its processes."""

    def __init__(self, verb: str, *, dry_run: bool = False, answers: bool = False) -> None:
        self.verb = verb
        self.dry_run = dry_run
        self.cache = Cache(cache_root())
        # A verb that answers on standard output says everything else on standard error.
        self.terminal = Terminal(sys.stderr if answers else sys.stdout)
        self.processes = Processes()
        # How many seconds a stopped process may take to end; dpkg, in the middle of unpacking, gets more.
        self.grace = 3.0
        self.json: Path | None = None
        # The verb has written its JSON itself.
        self.json_done = False
        # The page that --html asks for.
        self.html: Path | None = None
        self._run_dir: Path | None = None
        self._at_exit: list[Callable[[], None]] = []
        # Steps that run side by side want the same lock: they wait for each other without a word.
        self._own_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._in_use: int | None = None

    @property
    def run_dir(self) -> Path:
        """This run's own folder for logs, made when it is first asked for; a name only in a dry run."""
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
        """Has anybody asked for the folder?"""
        return self._run_dir is not None and not self.dry_run

    def at_exit(self, function: Callable[[], None]) -> None:
        """Called at the end, however the run ends; the last one first."""
        self._at_exit.append(function)

    def lock(self, name: str, tell: Callable[[str], None] | None = None) -> locks.Lock:
        """Holds the cache's lock NAME."""
        return locks.take(self.cache.folder("locks") / name, self.processes, tell or self.terminal.note,
                          self._own_locks[name])

    def use_cache(self) -> None:
        """Until this process ends, cache --prune leaves sources, modules and logs alone."""
        if self._in_use is None:
            self._in_use = os.open(self.cache.folder("locks") / IN_USE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
            fcntl.flock(self._in_use, fcntl.LOCK_SH)

    def claim_json(self, path: Path) -> None:
        """Empties the file now: an old verdict must not be taken for this run's."""
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
        """Runs the functions given to at_exit(); one that fails does not keep the others from running."""
        while self._at_exit:
            try:
                self._at_exit.pop()()
            except OSError as e:
                print(f"snplab: while cleaning up: {e}", file=sys.stderr)

    def json_of_failure(self, status: int) -> None:
        """A run that does not get as far as a verdict leaves one that says so."""
        if self.json is None or self.json_done or self.dry_run:
            return
        known = Exit(status) if status in list(Exit) else Exit.SETUP
        word = "interrupted" if status in INTERRUPTED else WORDS.get(known, "setup-failed")
        text = json.dumps({"version": 1, "verb": self.verb, "verdict": word, "exit": status})
        try:
            self.json.write_text(text + "\n", encoding="utf-8")
        except OSError as e:
            print(f"snplab: --json: cannot write {self.json}: {e.strerror}", file=sys.stderr)


def drop_old_runs(runs: Path) -> None:
    """Keeps the newest folders of logs, and those of the last hour: another run may be writing to them."""
    hour_ago = time.time() - 3600
    old = sorted((d for d in runs.iterdir() if d.is_dir() and d.stat().st_mtime < hour_ago), reverse=True)
    for folder in old[RUNS_KEPT - 1:]:
        shutil.rmtree(folder, ignore_errors=True)
