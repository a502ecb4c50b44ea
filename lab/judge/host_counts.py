# SPDX-License-Identifier: GPL-2.0-only
"""The only reader of the emulated host's counts (host.json) and messages (host.log).

The host counts, by kind, each action of the guest that the architecture forbids. A test may provoke such errors on purpose;
any other error fails a run.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.judge.files import read_json, read_lines

# RMP entries at the end that still belong to a guest, or to the firmware. By then the drivers have shut down and returned
# their pages.
RMP_LEFT = ("rmp-assigned", "rmp-firmware")
# For each kind, the number of errors that the tests may provoke; None: any number.
Provoked = Mapping[str, "int | None"]
SHOWN = 8


@dataclass
class HostCounts:
    """The counts of one boot."""

    # The object in host.json.
    data: dict[str, Any] = field(default_factory=dict)
    log: Sequence[str] = ()

    @classmethod
    def read(cls, folder: Path) -> HostCounts:
        """The counts that a boot left in its folder."""
        return cls(read_json(folder / "host.json"), read_lines(folder / "host.log"))

    @property
    def kinds(self) -> dict[str, Any]:
        """The number of errors of each kind."""
        kinds = self.data.get("errors", {})
        return kinds if isinstance(kinds, dict) else {}

    @property
    def total(self) -> int | None:
        """The number of errors; None if nobody counted them."""
        total = self.data.get("guest-errors")
        return total if isinstance(total, int) else None

    @property
    def counted(self) -> bool:
        """Does host.json have the total, and are all counts numbers?"""
        return self.total is not None and all(isinstance(n, int) for n in self.kinds.values())

    @property
    def missing(self) -> str:
        """Why there is no count."""
        return str(self.data.get("missing", "host.json is missing or incomplete"))

    def rmp_left(self) -> dict[str, int | None]:
        """The numbers of RMP entries that do not belong to the hypervisor at the end."""
        statistics = self.data.get("statistics", {})
        return {name: statistics.get(name) for name in RMP_LEFT}

    def unasked(self, provoked: Provoked) -> tuple[int, list[str]]:
        """The number of errors that no test provokes, and the lines that report them."""
        total = self.total
        if total is None or not self.counted:
            return 1, [f"expected the emulated host's count of errors, found none: {self.missing}"]
        allowed = {kind: total if most is None else most for kind, most in provoked.items()}
        over = {kind: n - allowed.get(kind, 0) for kind, n in sorted(self.kinds.items()) if n > allowed.get(kind, 0)}
        said = [f"  {kind}: {self.kinds[kind]}" + (f", expected at most {allowed[kind]}" if kind in allowed else "")
                for kind in over]
        unasked = sum(over.values())
        by_kind = sum(self.kinds.values())
        if total != by_kind:
            # Errors without a kind are unexpected: a test can only announce errors of a kind.
            unasked += abs(total - by_kind)
            said.append(f"  guest-errors says {total}, its kinds say {by_kind}")
        if not unasked:
            return 0, []
        head = f"{unasked} error(s) on the emulated host that no test provokes:"
        return unasked, [head, *said, *self._log_of(list(over))]

    def _log_of(self, kinds: Sequence[str]) -> list[str]:
        """The lines of host.log about these kinds of errors."""
        # "amd-snp: KIND: TEXT"; other messages of QEMU about L1 are not counted as errors.
        heads = tuple(f"amd-snp: {kind}: " for kind in kinds)
        lines = [(i, line.strip()) for i, line in enumerate(self.log, 1) if line.strip().startswith(heads)]
        said = [f"  host.log:{i}: {line}" for i, line in lines[:SHOWN]]
        if len(lines) > SHOWN:
            said.append(f"  and {len(lines) - SHOWN} more lines of {', '.join(kinds)} in host.log")
        return said

    def differs(self, wanted: Mapping[str, int]) -> str:
        """For tests of the emulated host: the difference from exactly these counts; empty if there is none."""
        if self.total is None:
            return f"errors unknown: {self.missing}"
        found = {kind: n for kind, n in sorted(self.kinds.items()) if n}
        if found != dict(wanted):
            return f"expected: {_some(wanted)}; found: {_some(found)}"
        if self.total != sum(found.values()):
            return f"the kinds' sum is not the total, {self.total}: {_some(found)}"
        return ""


def _some(kinds: Mapping[str, int]) -> str:
    return " ".join(f"{kind} {n}" for kind, n in sorted(kinds.items())) or "none"
