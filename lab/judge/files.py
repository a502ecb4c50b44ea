# SPDX-License-Identifier: GPL-2.0-only
"""Reads the logs of a boot, whatever is in them, and writes files so that a reader never sees half a file."""
from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

# First in every JSON output. It changes when a field changes its meaning or goes; docs/json.md has the fields.
JSON_VERSION = 1


def read_lines(path: Path) -> list[str]:
    """The lines of a log; none if it is not there."""
    try:
        # L1 may print other line separators: the text after one of them is not a line of its own.
        with open(path, encoding="utf-8", errors="replace", newline="\n") as f:
            return [line.rstrip("\r\n") for line in f]
    except OSError:
        return []


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one if the file is not there, is not whole, or holds something else."""
    try:
        with open(path, encoding="utf-8") as f:
            data = json.load(f)
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def versioned(data: dict[str, Any]) -> dict[str, Any]:
    """The object as it is written: with the version of its form as the first key."""
    return {"version": JSON_VERSION, **data}


def write_json(path: Path, data: dict[str, Any]) -> None:
    """An object as a file, whole."""
    write_whole(path, json.dumps(data, indent=1) + "\n")


def write_whole(path: Path, text: str) -> None:
    """All of it or nothing, except to a pipe or a device, which stays one."""
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    # The file that a link names is replaced, not the link.
    real = Path(os.path.realpath(path))
    with tempfile.NamedTemporaryFile("w", dir=real.parent, delete=False, encoding="utf-8") as f:
        f.write(text)
    os.chmod(f.name, 0o644)
    os.replace(f.name, real)
