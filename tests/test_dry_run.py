# SPDX-License-Identifier: GPL-2.0-only
"""--dry-run changes nothing: no file, no lock, no leftover of a killed run, even while another run is busy. It also works
with an empty cache, without a network, with packages missing, and as any user.

Each verb with a plan runs in a copy of the repository, with a made-up cache that a real run would clean up.
"""
from __future__ import annotations

import ast
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.core import locks
from lab.core.places import LAYOUT, Cache
from lab.core.process import Processes
from tests.support.forked import run_forked
from tests.support.front import (Done, copy_repository, expect, listing, open_to_everybody, run_command, run_snplab)

ABOUT = "--dry-run changes nothing, waits for no lock, and works on any machine as any user"
LANE = "fast"
NEEDS = ("overlay",)
TAKES = 14

VERBS = ("run", "run --tree mainline --gdb", "run --html {tmp}/page", "run --sanitize", "shell", "guest",
         "guest --tree debian", "mutants", "mutants --sanitize", "history --sanitize", "history --shard 2/3", "bench",
         "host", "host --install", "hw", "tree 6.12.y", "tree mainline {tmp}/new", "refresh 6.12.y", "mail 6.12.y", "check",
         "cache --prune")
NOBODY = 65534


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository."""
    return copy_repository(tmp_path_factory.mktemp("dry") / "copy")


@pytest.fixture
def used(tmp_path: Path) -> Cache:
    """A cache with the leftovers of a killed run, made long ago or just now."""
    cache = Cache(tmp_path / "cache" / "snplab" / LAYOUT)
    for name in ("work/6.12.y/src/obj/kernel/fork.o", "work/6.12.y/building", "work/6.12.y/src.tmp/Makefile",
                 "work/6.12.y/.new.abc/x", "base/.linux-source-6.12_6.12.1.abc/Makefile", "base/6.12.y.newest.tmp",
                 "mutants/old/x.ko", "runs/20200101-000000-run-abc/step-01.log", "apt/fresh"):
        path = cache.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (0, 0))
    # Leftovers of an older snplab.
    (tmp_path / "cache" / "snplab" / "base").mkdir()
    return cache


def dry(copy: Path, words: str, tmp: Path, **env: str | None) -> Done:
    """Runs the copy's verb dry."""
    listed = [word.replace("{tmp}", str(tmp)) for word in words.split()]
    return run_snplab(*listed, "--dry-run", top=copy, cwd=tmp, timeout=60,
                      env={"XDG_CACHE_HOME": str(tmp / "cache"), "HOME": str(tmp), **env})


@pytest.mark.parametrize("words", VERBS)
def test_it_touches_nothing(copy: Path, used: Cache, tmp_path: Path, words: str) -> None:
    before = listing(copy), listing(tmp_path)
    expect(dry(copy, words, tmp_path), 0)
    assert listing(copy) == before[0]
    assert listing(tmp_path) == before[1]


def test_a_change_would_be_seen(tmp_path: Path) -> None:
    """The listing that these tests compare notices a new file, a removed one and a rewritten one."""
    file = tmp_path / "file"
    file.write_text("a", encoding="ascii")
    seen = [listing(tmp_path)]
    os.utime(file, (1, 1))
    seen.append(listing(tmp_path))
    (tmp_path / "new").touch()
    seen.append(listing(tmp_path))
    file.unlink()
    seen.append(listing(tmp_path))
    assert all(one != other for one, other in zip(seen, seen[1:]))


@pytest.mark.parametrize("words", VERBS)
def test_it_makes_no_cache_and_needs_no_network(copy: Path, tmp_path: Path, words: str) -> None:
    nobody = "http://127.0.0.1:9"
    done = dry(copy, words, tmp_path, http_proxy=nobody, https_proxy=nobody)
    assert done.status == 0 and "Traceback" not in done.output, done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ("run", "guest --tree debian", "mutants", "mail 6.12.y", "check"))
def test_it_waits_for_nobody(copy: Path, used: Cache, tmp_path: Path, words: str) -> None:
    """A dry run does not wait, even if another run holds every lock."""
    folder = used.folder("locks")
    names = ("work-6.12.y", "work-mainline", "apt", "apt-install", "base-6.12.y", "base-mainline", "base-qemu-10.0", "check",
             "work-qemu", "host")
    processes = Processes()
    held = [locks.take(folder / name, processes, print) for name in names]
    before = listing(tmp_path)
    done = dry(copy, words, tmp_path)
    for lock in held:
        lock.release()
    expect(done, 0)
    assert "waiting" not in done.output
    assert listing(tmp_path) == before


@pytest.mark.parametrize("words", ("run", "guest", "host", "hw", "tree 6.12.y", "mail 6.12.y", "check"))
def test_any_user_may(copy: Path, tmp_path: Path, words: str) -> None:
    """A user without a home or a writable folder may run dry; a missing package shows as an installation."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    open_to_everybody(copy)
    done = run_command("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", copy / "snplab",
                       *words.split(), "--dry-run", env={"HOME": "/nonexistent", "XDG_CACHE_HOME": None}, cwd=Path("/"))
    assert done.status == 0 and "Traceback" not in done.output, done.output


@pytest.fixture(scope="module")
def lacking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository whose list needs a package that does not exist."""
    copy = copy_repository(tmp_path_factory.mktemp("lacking") / "copy")
    with open(copy / "lab" / "build" / "needs.list", "a", encoding="utf-8") as f:
        for purpose in ("overlay", "check"):
            f.write(f"{purpose}\tno-such-program\tno-such-package\n")
    return copy


@pytest.mark.parametrize("words", ("run", "host", "bench", "tree 6.12.y", "check"))
def test_what_is_missing_is_shown(lacking: Path, tmp_path: Path, words: str) -> None:
    expect(dry(lacking, words, tmp_path), 0, "apt-get .* install --no-install-recommends .*no-such-package")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ("run", "guest", "bench"))
def test_what_is_not_known_is_said_so(copy: Path, tmp_path: Path, words: str) -> None:
    """With an empty cache the dry run shows no made-up version or package name."""
    done = dry(copy, words, tmp_path)
    expect(done, 0, r"^\[\d+/\d+\] apply \d+ patches to linux <newest 6\.12>")
    assert not re.search(r"linux-source-6\.12\.\d", done.output)


# Python's audit events for changes and for waiting on a lock.
CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.utime", "os.chmod",
           "os.chown", "os.mkfifo", "fcntl.flock", "fcntl.lockf", "shutil.", "tempfile.", "os.system", "os.exec", "os.kill")
READERS = {"git", "qemu-system-x86_64", "ld-linux-x86-64.so.2"}


def program_of(line: Sequence[str]) -> str:
    """The program that a command line starts, after env and its options."""
    left = list(line)
    while left[0] == "env" or left[0].startswith("-") or "=" in left[0]:
        del left[:2 if left[0] in ("-u", "-C") else 1]
    return Path(left[0]).name


def doings(log: Path) -> list[str]:
    """The actions among the audit events, other than reading."""
    found = []
    for event, *words in (line.split("\t") for line in log.read_text(encoding="utf-8").splitlines()):
        opened = event == "open" and words[0] != "/dev/null" and int(words[1]) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        started = event == "subprocess.Popen" and program_of(ast.literal_eval(words[1])) not in READERS
        if opened or started or event.startswith(CHANGES):
            found.append(" ".join([event, *words]))
    return found


@pytest.mark.parametrize("words", VERBS)
def test_it_opens_nothing_to_write_and_starts_readers_only(used: Cache, tmp_path: Path, words: str) -> None:
    """The dry run does not even change something and restore it."""
    log = tmp_path.parent / f"{tmp_path.name}.events"
    listed = [word.replace("{tmp}", str(tmp_path)) for word in words.split()]
    expect(run_forked(*listed, "--dry-run", env={"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)},
                      events=log), 0)
    assert log.stat().st_size > 0
    assert doings(log) == []


def test_a_doing_would_be_seen(tmp_path: Path) -> None:
    """A real run shows actions; it ends early, because it cannot make its cache."""
    log = tmp_path / "events"
    expect(run_forked("run", env={"XDG_CACHE_HOME": "/dev/null/no"}, events=log), 3)
    assert doings(log)
