# SPDX-License-Identifier: GPL-2.0-only
"""The table of test files. Each file describes itself with ABOUT, LANE, NEEDS and TAKES, read without importing the file."""
from __future__ import annotations

import ast
import enum
import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

CONSTANTS = ("ABOUT", "LANE", "NEEDS", "TAKES")
# The order for the lane boot: tests whose kernels and hosts later tests use come first, tests with an empty cache last.
BOOT_ORDER = ("run", "host", "host-qtest", "host-cpu", "host-kernels", "guest", "guest-ends", "hw-boot",
              "host-admin", "fault-walk", "series", "mutants", "dry-run-steps")


class Lane(enum.Enum):
    """When a test is run; `check --help` explains the lanes."""

    FAST = "fast"
    BOOT = "boot"
    LONG = "long"


@dataclass(frozen=True)
class Entry:
    """One test file."""

    path: Path
    about: str
    lane: Lane
    needs: tuple[str, ...]
    takes: int
    # Errors in the constants. Such a file is run nevertheless: leaving it out would look like a pass.
    faults: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """tests/test_host_cpu.py is "host-cpu"."""
        return name_of(self.path.name)


def name_of(file: str) -> str:
    """The name of a test file for the user."""
    return Path(file).name.removeprefix("test_").removesuffix(".py").replace("_", "-")


def constants(source: str) -> dict[str, object]:
    """The literal values that a module assigns to ABOUT, LANE, NEEDS and TAKES."""
    found: dict[str, object] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in CONSTANTS:
            found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


def read_entry(path: Path) -> Entry:
    """A test file's row of the table."""
    try:
        found = constants(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as e:
        return Entry(path, f"(cannot be read: {e})", Lane.FAST, (), 0, (f"expected Python with literal constants: {e}",))
    about, lane, needs, takes = (found.get(name) for name in CONSTANTS)
    faults = []
    if not isinstance(about, str) or not about or "\n" in about:
        faults.append(f"ABOUT: expected one line, found {about!r}")
    if lane not in [known.value for known in Lane]:
        faults.append(f"LANE: expected fast, boot or long, found {lane!r}")
    if not isinstance(needs, tuple) or not all(isinstance(word, str) for word in needs):
        faults.append(f"NEEDS: expected a tuple of purposes, found {needs!r}")
    if not isinstance(takes, int) or takes <= 0:
        faults.append(f"TAKES: expected a number of seconds, found {takes!r}")
    if faults:
        return Entry(path, f"({'; '.join(faults)})", Lane.FAST, (), 0, tuple(faults))
    assert isinstance(about, str) and isinstance(needs, tuple) and isinstance(takes, int)
    return Entry(path, about, Lane(lane), needs, takes)


def read_table(folder: Path) -> list[Entry]:
    """All test files: by lane, and in each lane in the order in which they run."""
    entries = [read_entry(path) for path in sorted(folder.glob("test_*.py"))]
    return sorted(entries, key=place)


def place(entry: Entry) -> tuple[int, int, int, str]:
    """The sort key of an entry. In the fast lane the longest files come first, so that all processes end about together."""
    lane = list(Lane).index(entry.lane)
    if entry.lane is Lane.FAST:
        return lane, 0, -entry.takes, entry.name
    known = BOOT_ORDER.index(entry.name) if entry.name in BOOT_ORDER else len(BOOT_ORDER)
    return lane, known, entry.takes, entry.name


def pick(entries: Iterable[Entry], lanes: Sequence[Lane], glob: str) -> list[Entry]:
    """The entries of these lanes whose names match; - and _ are the same character."""
    pattern = glob.replace("_", "-")
    return [e for e in entries if e.lane in lanes and fnmatch.fnmatchcase(e.name, pattern)]


def format_table(entries: Sequence[Entry]) -> list[str]:
    """The lines of `check --list`."""
    rows = [("NAME", "LANE", "TAKES", "NEEDS", "ABOUT")]
    rows += [(e.name, e.lane.value, f"{e.takes} s", ",".join(e.needs) or "-", e.about) for e in entries]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[4]]) for row in rows]
