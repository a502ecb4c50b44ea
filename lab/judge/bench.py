# SPDX-License-Identifier: GPL-2.0-only
"""Judges the cost of LAUNCH_FINISH with the locks and without, from the counts of several boots.

Each log has lines "bench: vcpus=N turn=N ticks=N" for 1, 2, 4, ... vCPUs. All logs of a kind must have the same numbers:
a count that is not repeatable proves nothing. For each number of vCPUs the turn with the fewest instructions counts: the
other turns were interrupted by a tick or by work left over from earlier turns. `bench` prints the locks' share of all
instructions, but does not judge it: the emulated firmware encrypts without executing instructions, so that all of them are
KVM's. A line therefore says how many instructions' time the firmware must take for each vCPU to make the share SHARE.

The locks' own instructions must lie on a straight line up to NODE vCPUs, and on another one beyond. The line of all
instructions of LAUNCH_FINISH is printed, but not judged: the series does not change KVM's other work there.
"""
from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.core.errors import Exit, setup_error
from lab.judge.files import versioned, write_json

LINE = re.compile(r"bench: vcpus=(\d+) turn=(\d+) ticks=(\d+)")
# For the locks' lines: the largest distance, in percent of the count, the least R², and the fewest points that can prove a
# line: two points always lie on one.
MAX_RESIDUAL, MIN_R2, LEAST_POINTS = 1.0, 0.9999, 3
# With more vCPUs than a node of KVM's xarray has slots, each look-up of a vCPU goes through one more level. A vCPU may then
# cost this much more, in percent of the slope up to NODE. It was 16 % in both series, about 50 instructions. Less or more is
# no look-up, but work that is done for few vCPUs only, or for many.
NODE, STEP = 64, (10.0, 20.0)
SHARE = 1.0
WITH, WITHOUT = "with", "without"
# For each number of vCPUs, the ticks of each turn.
Counts = dict[int, list[int]]


@dataclass(frozen=True)
class BenchQuestion:
    """The boots to judge."""

    tree: str
    linux: str
    most_vcpus: int
    turns: int
    # The logs of the boots with the locks, and without.
    with_locks: Sequence[Path]
    without: Sequence[Path]
    # The most instructions that the locks may cost for each vCPU.
    limit: int | None = None


@dataclass(frozen=True)
class Row:
    """The results for one number of vCPUs."""

    vcpus: int
    with_locks: int
    without: int

    @property
    def lock(self) -> int:
        """The instructions of the locks."""
        return self.with_locks - self.without

    @property
    def each(self) -> float:
        """The instructions of the locks for each vCPU."""
        return self.lock / self.vcpus

    @property
    def share(self) -> float:
        """The locks' share of all instructions, in percent."""
        return 100 * self.lock / self.with_locks

    @property
    def firmware(self) -> float:
        """The time, in instructions, that the firmware must take for each vCPU to make the locks' share SHARE percent."""
        return max(0.0, (100 / SHARE * self.lock - self.with_locks) / self.vcpus)

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return {"vcpus": self.vcpus, WITH: self.with_locks, WITHOUT: self.without, "lock": self.lock, "each": self.each,
                "share": self.share, "firmware": self.firmware}


@dataclass(frozen=True)
class Line:
    """A straight line fitted to counts."""

    intercept: float
    slope: float
    r2: float
    # The largest distance from the line, in percent of the count, and its number of vCPUs.
    residual: float
    residual_vcpus: int

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return {"intercept": self.intercept, "slope": self.slope, "r2": self.r2, "residual": self.residual,
                "residual-vcpus": self.residual_vcpus}

    def __str__(self) -> str:
        return (f"{self.intercept:,.0f} + {self.slope:,.1f} × vCPUs, R² {self.r2:.7f}, "
                f"at most {abs(self.residual):.2f} % off it (at {self.residual_vcpus} vCPUs)")


@dataclass(frozen=True)
class LockLine:
    """The line fitted to the instructions of the locks alone, from one number of vCPUs to another."""

    first: int
    last: int
    line: Line

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return {"from": self.first, "to": self.last, "line": self.line.to_json()}

    def __str__(self) -> str:
        return f"the locks from {self.first} to {self.last} vCPUs"


def read_counts(path: Path, most_vcpus: int, turns: int) -> Counts:
    """The counts of one boot."""
    counted: Counts = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            for m in map(LINE.search, f):
                if m:
                    counted.setdefault(int(m[1]), []).append(int(m[3]))
    except OSError as e:
        raise setup_error(f"{path}: {e.strerror}") from e
    wanted = [1 << i for i in range(most_vcpus.bit_length())]
    if sorted(counted) != wanted or any(len(ticks) != turns + 1 for ticks in counted.values()):
        raise setup_error(f"{path}: expected {turns + 1} launches for each of {wanted} vCPUs, found "
                          f"{ {n: len(ticks) for n, ticks in counted.items()} }")
    return counted


def fit(points: Sequence[tuple[int, int]]) -> Line:
    """Fits a line to [(vCPUs, count)] by least squares. The weights are 1 / count², which minimizes the distances in percent
    of the count: otherwise the small counts would hardly matter."""
    weights = [1 / (y * y) for _, y in points]
    total = sum(weights)
    mx = sum(w * x for w, (x, _) in zip(weights, points)) / total
    my = sum(w * y for w, (_, y) in zip(weights, points)) / total
    slope = sum(w * (x - mx) * (y - my) for w, (x, y) in zip(weights, points)) / \
        sum(w * (x - mx) ** 2 for w, (x, _) in zip(weights, points))
    intercept = my - slope * mx
    rest = [y - intercept - slope * x for x, y in points]
    mean = sum(y for _, y in points) / len(points)
    spread = sum((y - mean) ** 2 for _, y in points)
    r2 = 1 - sum(r * r for r in rest) / spread if spread else 0.0
    residuals = [100 * r / y for r, (_, y) in zip(rest, points)]
    worst = max(residuals, key=abs)
    return Line(intercept, slope, r2, worst, points[residuals.index(worst)][0])


@dataclass
class BenchVerdict:
    """The verdict on the benchmark."""

    asked: BenchQuestion
    rows: list[Row]
    line: Line
    lock_lines: list[LockLine]
    # For each kind, the number of boots, and whether their counts are identical.
    repeats: dict[str, tuple[int, bool]]
    problems: list[str]

    @property
    def status(self) -> Exit:
        """A pass if there are no problems."""
        return Exit.FAIL if self.problems else Exit.PASS

    def to_json(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        return versioned({
            "verb": "bench", "verdict": "fail" if self.problems else "pass", "exit": int(self.status),
            "tree": self.asked.tree, "linux": self.asked.linux, "limit": self.asked.limit,
            "rows": [row.to_json() for row in self.rows], "line": self.line.to_json(),
            "lock-lines": [found.to_json() for found in self.lock_lines],
            "repeats": {kind: same for kind, (_, same) in self.repeats.items()}, "problems": self.problems})

    def lines(self) -> list[str]:
        """The text for the user: table, line, problems, verdict."""
        said = ["| vCPUs | instructions | without the locks | the locks | for each vCPU | share |",
                "|--:|--:|--:|--:|--:|--:|"]
        said += [f"| {r.vcpus} | {r.with_locks:,} | {r.without:,} | {r.lock:,} | {r.each:.0f} | {r.share:.2f} % |"
                 for r in self.rows]
        said.append(f"line: {self.line}")
        said += [f"line of {found}: {found.line}" for found in self.lock_lines]
        said.append("repeats: " + ", ".join(
            f"{kind} the locks {n} boots, {'identical' if same else 'not identical'}"
            for kind, (n, same) in self.repeats.items()))
        firmware = max(row.firmware for row in self.rows)
        said.append(f"firmware: the locks would be {SHARE:g} % of LAUNCH_FINISH if the firmware took the time of "
                    f"{firmware:,.0f} instructions for each vCPU; the emulated firmware takes none")
        said += [f"  {problem}" for problem in self.problems]
        each, share = max(row.each for row in self.rows), max(row.share for row in self.rows)
        said.append(f"{'FAIL' if self.problems else 'PASS'}: bench of {self.asked.tree} on linux {self.asked.linux}: "
                    f"the locks cost at most {each:.0f} instructions for each vCPU, {share:.2f} % of KVM's own in "
                    "LAUNCH_FINISH")
        return said

    def write(self, path: Path) -> None:
        """Writes the JSON to the user's file."""
        write_json(path, self.to_json())


def judge_bench(asked: BenchQuestion) -> BenchVerdict:
    """Reads the logs and judges them. Raises Stop for a log that cannot be judged."""
    boots = {kind: [read_counts(path, asked.most_vcpus, asked.turns) for path in logs]
             for kind, logs in ((WITH, asked.with_locks), (WITHOUT, asked.without))}
    rows = [Row(n, *(_fewest(boots[kind], n) for kind in (WITH, WITHOUT))) for n in boots[WITH][0]]
    line = fit([(row.vcpus, row.with_locks) for row in rows])
    repeats = {kind: (len(logs), all(log == logs[0] for log in logs)) for kind, logs in boots.items()}
    lock_lines = _lock_lines(rows)
    problems = [*_unequal(boots), *(problem for found in lock_lines for problem in _not_straight(found)),
                *_step(lock_lines), *_alone(rows, lock_lines), *_costly(rows, asked.limit)]
    return BenchVerdict(asked, rows, line, lock_lines, repeats, problems)


def _fewest(logs: Sequence[Counts], vcpus: int) -> int:
    """The fewest instructions of all turns, without the first turn, which warms up."""
    return min(min(log[vcpus][1:]) for log in logs)


def _unequal(boots: Mapping[str, Sequence[Counts]]) -> list[str]:
    problems = []
    for kind, logs in boots.items():
        n = next((n for log in logs for n in log if log[n] != logs[0][n]), None)
        if n is not None:
            problems.append(f"{kind} the locks, the boots differ, first at {n} vCPUs: "
                            + " and ".join(str(log[n]) for log in logs))
    return problems


def _lock_lines(rows: Sequence[Row]) -> list[LockLine]:
    """The lines up to NODE vCPUs and beyond, without one vCPU: a loop over one vCPU may save a turn that others take. No
    lines if there are locks that cost nothing, which _costly() reports."""
    if any(row.lock <= 0 for row in rows):
        return []
    few, many = [row for row in rows if 1 < row.vcpus <= NODE], [row for row in rows if row.vcpus > NODE]
    return [LockLine(part[0].vcpus, part[-1].vcpus, fit([(row.vcpus, row.lock) for row in part]))
            for part in (few, many) if len(part) >= LEAST_POINTS]


def _not_straight(found: LockLine) -> list[str]:
    problems, line = [], found.line
    if line.r2 < MIN_R2:
        problems.append(f"{found} are not on a straight line: R² is {line.r2:.6f}, expected at least {MIN_R2}")
    if abs(line.residual) > MAX_RESIDUAL:
        problems.append(f"{found} are not on a straight line: {line.residual:+.2f} % off it at "
                        f"{line.residual_vcpus} vCPUs, expected at most {MAX_RESIDUAL} %")
    return problems


def _step(lock_lines: Sequence[LockLine]) -> list[str]:
    if len(lock_lines) < 2:
        return []
    few, many = (found.line.slope for found in lock_lines)
    least, most = (few * (1 + percent / 100) for percent in STEP)
    if least <= many <= most:
        return []
    return [f"each vCPU adds {few:.1f} instructions of locks up to {NODE} vCPUs and {many:.1f} beyond, expected "
            f"{least:.1f} to {most:.1f} for one more level of KVM's xarray: is a lock taken in only one of the two?"]


def _alone(rows: Sequence[Row], lock_lines: Sequence[LockLine]) -> list[str]:
    """One vCPU may cost less than the line says, but not more."""
    if not lock_lines or lock_lines[0].first > NODE:
        return []
    line, found = lock_lines[0].line, next(row.lock for row in rows if row.vcpus == 1)
    most = (line.intercept + line.slope) * (1 + MAX_RESIDUAL / 100)
    if found <= most:
        return []
    return [f"1 vCPU: the locks cost {found} instructions, "
            f"expected at most {most:.0f}, as the line of more vCPUs has it"]


def _costly(rows: Sequence[Row], limit: int | None) -> list[str]:
    problems = []
    for row in rows:
        if row.lock <= 0:
            problems.append(f"{row.vcpus} vCPUs: the locks cost {row.lock} instructions: are they in both kernels, "
                            "or in none?")
        elif limit is not None and row.each > limit:
            problems.append(f"{row.vcpus} vCPUs: the locks cost {row.each:.0f} instructions each, "
                            f"expected at most {limit}")
    return problems
