# SPDX-License-Identifier: GPL-2.0-only
"""Where things are: the repository, the cache, and paths as a user writes them."""
from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

from lab.core.errors import setup_error

LAB = Path(__file__).resolve().parent.parent
TOP = LAB.parent
SERIES = TOP / "series"
# The cache's current layout is the folder v2. The layout before it had these folders at the cache's top.
LAYOUT = "v2"
OLD_LAYOUT = ("apt", "base", "ccache", "locks", "mutants", "runs", "work")
VERSION_LINE = re.compile(r"^(VERSION|PATCHLEVEL|SUBLEVEL) *= *(\d*)", re.M)


def tilde(path: Path | str) -> str:
    """The path, with ~ for the user's home."""
    text, home = str(path), os.environ.get("HOME") or "/nonexistent"
    return "~" + text[len(home):] if text.startswith(home + "/") else text


def slug(text: str) -> str:
    """The text with each character replaced that a file's name should not have."""
    return re.sub(r"[^A-Za-z0-9.+-]", "_", text)


def short_digest(text: str) -> str:
    """Eight hexadecimal digits that tell two paths with the same last part apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def free_mib(folder: Path) -> int:
    """The space that is left on the folder's disk, in MiB."""
    return shutil.disk_usage(folder).free >> 20


def need_space(folder: Path, mib: int, what: str) -> None:
    """Raises if the folder's disk has too little space left for `what`, before a build fails in the middle."""
    have = free_mib(folder)
    if have < mib:
        raise setup_error(
            f"{what} needs {mib} MiB in {tilde(folder)}, {have} MiB are free",
            f"free some (everything in {tilde(cache_top())} can be deleted), or set XDG_CACHE_HOME to a larger disk")


def out_of_space(folder: Path) -> None:
    """Raises if the disk is full: call it after a failure that a full disk may have caused."""
    have = free_mib(folder)
    if have <= 300:
        raise setup_error(f"no space left in {tilde(folder)}: {have} MiB are free",
                          "free some, or set XDG_CACHE_HOME to a larger disk")


def cache_top() -> Path:
    """The cache's top folder, for all layouts. The XDG specification says to ignore a relative XDG_CACHE_HOME."""
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    return Path(xdg if xdg.startswith("/") else os.environ.get("HOME", "") + "/.cache") / "snplab"


def cache_root() -> Path:
    """The folder of the current layout. Each layout has its own folder, so that no version misreads another's files."""
    return cache_top() / LAYOUT


def older_parts() -> list[Path]:
    """Folders that versions with an older layout have left beside the current one."""
    top = cache_top()
    return sorted(p for p in top.iterdir() if p.name in OLD_LAYOUT) if top.is_dir() else []


class Cache:
    """The folder for all that is fetched and built. The user can delete all of it at any time."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def check(self) -> None:
        """Refuses a path with spaces, colons or quotes: kbuild and make cannot work there."""
        place = str(self.root.parent)
        if place == "/.cache/snplab" or re.search(r"[\s:'\"]", place):
            raise setup_error(f"the cache cannot be in '{place}': expected a folder without spaces, colons and quotes",
                              "set HOME, or XDG_CACHE_HOME to such a folder")

    def folder(self, name: str) -> Path:
        """The cache's folder NAME, created if it is missing."""
        self.check()
        path = self.root / name
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise setup_error(f"cannot create {tilde(path)}: expected a cache folder that can be written ({e.strerror})",
                              "set XDG_CACHE_HOME to one that can") from e
        return path

    def holds(self, path: Path) -> bool:
        """Is this path one of the cache's unpacked sources, which nobody edits?"""
        return path.parent == self.root / "base"


def kernel_version(source: Path) -> str | None:
    """The version of a kernel source tree, as in "6.12.118"; None if it is no kernel source tree."""
    try:
        with open(source / "Makefile", encoding="utf-8", errors="replace") as f:
            head = f.read(4096)
    except OSError:
        return None
    found = VERSION_LINE.findall(head)[:3]
    version = ".".join(digits for _, digits in found)
    if not re.fullmatch(r"\d+\.\d+\.\d*", version) or not (source / "Kbuild").exists():
        return None
    return version


def absolute(path: str) -> Path:
    """An absolute path without . and .., whose last parts need not exist, links left as they are."""
    return Path(os.path.normpath(os.path.join(os.getcwd(), path)))
