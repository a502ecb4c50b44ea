# SPDX-License-Identifier: GPL-2.0-only
"""Lists the cache's contents by kind and size, and removes parts that the newest versions do not use.

A folder is removed only under its lock; a folder that another run uses stays."""
from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.build.mutants import KEPT
from lab.build.overlay import put_away, read
from lab.build.qemu import own_meson
from lab.core import locks
from lab.core.places import Cache
from lab.core.session import IN_USE, RUNS_KEPT, Session
from lab.patches.series import is_tree

DAY = 24 * 3600


@dataclass(frozen=True)
class Kind:
    """A folder of the cache."""

    folder: str
    about: str


KINDS = (
    Kind("base", "unpacked sources and packages"),
    Kind("work", "source copies, objects, kernels, QEMU, selftests"),
    Kind("mutants", "modules of wrong versions"),
    Kind("programs", "small static programs for L1"),
    Kind("ccache", "the compiler cache"),
    Kind("apt", "package lists"),
    Kind("runs", "logs of runs"),
    Kind("locks", "locks"),
)


@dataclass(frozen=True)
class Removable:
    """A folder or file that the newest versions do not use."""

    path: Path
    why: str
    # The lock to hold while it is removed.
    lock: str


def size(path: Path, seen: set[tuple[int, int]] | None = None) -> int:
    """The bytes on the disk below a path. A file with several hard links counts once, where it is found first."""
    seen = set() if seen is None else seen
    total = 0
    stack = [path]
    while stack:
        here = stack.pop()
        try:
            stat = here.lstat()
        except OSError:
            continue
        if here.is_dir() and not here.is_symlink():
            try:
                stack += [Path(entry.path) for entry in os.scandir(here)]
            except OSError:
                continue
        if stat.st_nlink > 1 and not here.is_dir():
            key = (stat.st_dev, stat.st_ino)
            if key in seen:
                continue
            seen.add(key)
        total += stat.st_blocks * 512
    return total


def shown_size(count: int) -> str:
    """A number of bytes as text, in MB or GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def sizes(cache: Cache) -> list[tuple[str, str, int]]:
    """(folder, description, bytes) for each folder of the cache; unknown folders last."""
    seen: set[tuple[int, int]] = set()
    found = [(kind.folder, kind.about, size(cache.root / kind.folder, seen)) for kind in KINDS
             if (cache.root / kind.folder).exists()]
    known = {kind.folder for kind in KINDS}
    for path in sorted(cache.root.iterdir()) if cache.root.is_dir() else ():
        if path.name not in known:
            found.append((path.name, "not snplab's, or of another version", size(path, seen)))
    return found


def removable(cache: Cache) -> list[Removable]:
    """Everything that the newest versions do not use."""
    return [*old_bases(cache), *old_works(cache), *half_made(cache), *old_mutants(cache), *old_runs(cache)]


def named_bases(cache: Cache) -> set[str]:
    """The names of the newest unpacked sources, from the files NAME.newest."""
    return {read(path).strip() for path in (cache.root / "base").glob("*.newest")}


def old_bases(cache: Cache) -> Iterable[Removable]:
    """Sources and packages that a newer version has replaced."""
    base = cache.root / "base"
    keep = named_bases(cache) | {own_meson(cache).name}
    for path in sorted(base.iterdir()) if base.is_dir() else ():
        if path.is_dir() and not path.name.startswith(".") and path.name not in keep:
            yield Removable(path, "not the newest", lock_of_base(path.name))


def lock_of_base(name: str) -> str:
    """The lock that is held while this source is fetched."""
    if name.startswith("linux-source-"):
        release = name.removeprefix("linux-source-").partition("_")[0]
        return f"base-{release}.y" if is_tree(f"{release}.y") else "base-mainline"
    for prefix, lock in (("qemu-system", "base-guest-qemu"), ("qemu", "base-qemu"), ("ovmf", "base-guest-firmware"),
                         ("linux-image", "base-guest-kernel"), ("meson", "base-meson")):
        if name.startswith(prefix):
            return lock
    return "base-other"


def old_works(cache: Cache) -> Iterable[Removable]:
    """Work folders whose source is gone or not the newest, and work folders of the user's own trees that were not built for
    thirty days."""
    work = cache.root / "work"
    keep = named_bases(cache)
    for path in sorted(work.iterdir()) if work.is_dir() else ():
        if not path.is_dir() or path.name.startswith("."):
            continue
        base = read(path / "base").strip()
        if base and (Path(base).name not in keep or not Path(base).is_dir()):
            yield Removable(path, f"made of {Path(base).name}, which is not the newest", f"work-{path.name}")
        elif not base and time.time() - newest_change(path) > 30 * DAY:
            yield Removable(path, "not built for thirty days", f"work-{path.name}")


def newest_change(path: Path) -> float:
    """When a work folder was last used."""
    return max((p.stat().st_mtime for p in path.iterdir()), default=path.stat().st_mtime)


def half_made(cache: Cache) -> Iterable[Removable]:
    """Leftovers of runs that were killed."""
    for path in sorted((cache.root / "base").glob(".*")):
        name = path.name.lstrip(".")
        yield Removable(path, "left by a run that was killed", lock_of_base(name))
    for folder in (cache.root / "work").glob("*"):
        for path in sorted([*folder.glob(".new.*"), *folder.glob("src.tmp"), *folder.glob("host.tmp")]):
            yield Removable(path, "left by a run that was killed", f"work-{folder.name}")


def old_mutants(cache: Cache) -> Iterable[Removable]:
    """Modules that no run has used for thirty days, and the oldest of more than KEPT."""
    folder = cache.root / "mutants"
    there = sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime) if folder.is_dir() else []
    for number, path in enumerate(there):
        if number < len(there) - KEPT or time.time() - path.stat().st_mtime > 30 * DAY:
            yield Removable(path, "not used lately", "mutants")


def old_runs(cache: Cache) -> Iterable[Removable]:
    """The logs of runs, except those of the last hour and the newest ones before that."""
    runs = cache.root / "runs"
    old = sorted((p for p in runs.iterdir() if p.is_dir() and time.time() - p.stat().st_mtime > 3600),
                 reverse=True) if runs.is_dir() else []
    for path in old[RUNS_KEPT:]:
        yield Removable(path, "logs of an old run", "runs")


def prune(session: Session, tell: Callable[[str], None]) -> tuple[int, int]:
    """Removes each unused folder under its lock. Returns how many bytes it freed, and how many folders are in use."""
    with open(session.cache.folder("locks") / IN_USE, "a", encoding="utf-8") as in_use:
        try:
            fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("another snplab is running: sources, modules and logs stay")
            return prune_items(session, [i for i in removable(session.cache) if i.lock.startswith("work-")], tell)
        return prune_items(session, removable(session.cache), tell)


def prune_items(session: Session, items: Sequence[Removable], tell: Callable[[str], None]) -> tuple[int, int]:
    """Removes these, each under its lock."""
    freed = busy = 0
    for item in items:
        file = session.cache.folder("locks") / item.lock
        if locks.is_held(file):
            tell(f"another snplab uses {item.path.name}: it stays")
            busy += 1
            continue
        with session.lock(item.lock):
            # Check again: before we had the lock, another run may have put it into use.
            if item.path not in {again.path for again in removable(session.cache)}:
                continue
            count = size(item.path)
            put_away(item.path)
            tell(f"removed {item.path.relative_to(session.cache.root)}, {shown_size(count)}: {item.why}")
            freed += count
    return freed, busy
