# SPDX-License-Identifier: GPL-2.0-only
"""The verdict on boots in a row with an SNP guest: `guest --boots N`, or a shard of it."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.core.errors import Exit
from lab.core.places import tilde
from lab.judge.guest import GuestVerdict
from lab.judge.part import Part, joined_logs


@dataclass(frozen=True)
class Boot:
    """One boot."""

    number: int
    verdict: str
    exit: int
    # What the user sees of it.
    lines: list[str]

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return {"number": self.number, "verdict": self.verdict, "exit": self.exit, "lines": self.lines}


@dataclass
class Boots:
    """The boots so far."""

    part: Part
    # Where their logs are.
    shown_logs: str
    boots: list[Boot] = field(default_factory=list)
    # The verdict of the first boot that fails, or else of the last boot, as JSON.
    kept: dict[str, Any] = field(default_factory=dict)

    def add(self, number: int, verdict: GuestVerdict) -> None:
        """Adds a boot's verdict. Once a boot has failed, its verdict is kept."""
        if self.status == Exit.PASS:
            self.kept = verdict.to_json()
        self.boots.append(Boot(number, verdict.status.value, int(verdict.status.exit), verdict.lines()))

    @property
    def status(self) -> int:
        """The exit status of the first boot that failed; a pass if none did."""
        return next((boot.exit for boot in self.boots if boot.exit), Exit.PASS)

    @property
    def done(self) -> list[str]:
        """The boots' numbers."""
        return [str(boot.number) for boot in self.boots]

    @property
    def kernels(self) -> Mapping[str, str | None]:
        """The version of L1's kernel, by its tree."""
        return {self.kept["tree"]: self.kept["linux"]}

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return {**self.kept, "boots": [boot.to_json() for boot in self.boots], "shard": self.part.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Boots:
        """The reverse of to_json()."""
        kept = {name: value for name, value in data.items() if name not in ("boots", "shard")}
        boots = [Boot(boot["number"], boot["verdict"], boot["exit"], boot["lines"]) for boot in data["boots"]]
        return cls(Part.from_json(data["shard"]), tilde(Path(data["logs"]).parent), boots, kept)

    @classmethod
    def joined(cls, reports: Sequence[Boots], part: Part) -> Boots:
        """The verdict on all shards, in the order of a whole run."""
        boots = sorted((boot for report in reports for boot in report.boots), key=lambda boot: boot.number)
        # As in one run: the first boot that failed, or else the last boot.
        kept = next((boot for boot in boots if boot.exit), boots[-1])
        owner = next(report for report in reports if kept in report.boots)
        return cls(part, joined_logs(report.shown_logs for report in reports), boots, owner.kept)

    def last_lines(self) -> list[str]:
        """The count of the boots, if there was to be more than one."""
        if len(self.part.names) <= 1:
            return []
        passed = sum(boot.exit == Exit.PASS for boot in self.boots)
        word = "PASS" if passed == len(self.boots) else "FAIL"
        return [f"{word}: {passed} of {len(self.boots)} boots; logs: {self.shown_logs}"]

    def lines(self) -> list[str]:
        """The text for the user: that of each boot, and the count."""
        return [*(line for boot in self.boots for line in boot.lines), *self.last_lines()]
