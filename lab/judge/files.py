# SPDX-License-Identifier: GPL-2.0-only
"""Reads the logs of a boot, whatever they contain, and writes files atomically."""
from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

# The first field of every JSON output. It changes when a field is removed or changes its meaning; see docs/json.md.
JSON_VERSION = 1


def read_lines(path: Path) -> list[str]:
    """The lines of a log; none if the file does not exist."""
    try:
        # Split at newlines only: L1 may print other characters that Python takes for line separators.
        with open(path, encoding="utf-8", errors="replace", newline="\n") as f:
            return [line.rstrip("\r\n") for line in f]
    except OSError:
        return []


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one if the file does not exist, is incomplete, or has no object."""
    try:
        with open(path, encoding="utf-8") as f:
            data = json.load(f)
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def versioned(data: dict[str, Any]) -> dict[str, Any]:
    """Adds the version as the first key."""
    return {"version": JSON_VERSION, **data}


def write_json(path: Path, data: dict[str, Any]) -> None:
    """Writes an object as JSON."""
    write_whole(path, json.dumps(data, indent=1) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Replaces the file atomically; a pipe or a device is written to instead."""
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    # Replace the file that a link names, not the link.
    real = Path(os.path.realpath(path))
    with tempfile.NamedTemporaryFile("w", dir=real.parent, delete=False, encoding="utf-8") as f:
        try:
            f.write(text)
            f.flush()
            os.chmod(f.name, 0o644)
            os.replace(f.name, real)
        except BaseException:
            os.unlink(f.name)
            raise
