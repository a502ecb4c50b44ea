# SPDX-License-Identifier: GPL-2.0-only
"""Temporary folders in the target's own folder: a rename is atomic only within one file system."""
from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from lab.core.errors import setup_error
from lab.core.session import Session


def folder_beside(session: Session, target: Path, *hints: str) -> Path:
    """Makes an empty folder beside the target; it is removed at the end of the run. `hints` are for the error message."""
    parent = target.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise setup_error(f"cannot create {parent}", *hints) from e
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=parent))
    except OSError as e:
        raise setup_error(f"cannot write into {parent}", *hints) from e
    session.at_exit(lambda: shutil.rmtree(folder, ignore_errors=True))
    return folder


def is_used(folder: Path) -> bool:
    """Is there a file of this name, or a folder that is not empty?"""
    if folder.is_dir():
        with os.scandir(folder) as found:
            return any(found)
    return folder.exists() or folder.is_symlink()
