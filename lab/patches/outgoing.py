# SPDX-License-Identifier: GPL-2.0-only
"""The folder for the mails. It is replaced only if nobody has changed it since `mail` wrote it."""
from __future__ import annotations

import hashlib
from pathlib import Path

from lab.core.errors import setup_error
from lab.core.places import tilde
from lab.patches.beside import is_used

# A file in the folder: the output of sha256sum for all mails.
SUMS = Path(".snplab/sums")


def mails_in(folder: Path) -> list[str]:
    """The names of all files except SUMS."""
    files = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    return sorted(str(name) for name in files if name.parts[0] != SUMS.parts[0])


def sums_of(folder: Path) -> str:
    """The files' checksums, as sha256sum prints them."""
    return "".join(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in mails_in(folder))


def write_sums(folder: Path) -> None:
    """Writes the checksums of the folder's files to SUMS."""
    (folder / SUMS).parent.mkdir(exist_ok=True)
    (folder / SUMS).write_text(sums_of(folder), encoding="utf-8")


def need_free(folder: Path) -> None:
    """Raises unless the folder is new, empty, or unchanged since `mail` wrote it."""
    shown = tilde(folder)
    if not is_used(folder):
        return
    if not folder.is_dir():
        raise setup_error(f"{shown} is no folder", "name another one: --output DIR")
    if not (folder / SUMS).is_file():
        raise setup_error(f"{shown} is not empty, and ./snplab mail did not write it: left untouched",
                          "name another one (--output DIR), or empty it")
    if (folder / SUMS).read_text(encoding="utf-8", errors="replace") != sums_of(folder):
        raise setup_error(
            f"{shown} was changed since ./snplab mail wrote it: left untouched",
            "move lasting changes into series/; then remove that folder, or name another one: --output DIR")
