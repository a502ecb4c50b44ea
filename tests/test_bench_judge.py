# SPDX-License-Identifier: GPL-2.0-only
"""The verdict of `bench` on made-up counts, good and bad; `./snplab bench` counts for real.

Counts that differ between boots must not pass as a result, and a comparison of two kernels that both lock must not pass as
cheap locks. A turn that a timer tick interrupted must not count.
"""
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.core.errors import Stop
from lab.judge.bench import BenchQuestion, BenchVerdict, fit, judge_bench
from tests.support.judge import assert_line

ABOUT = "the benchmark's verdict on made-up counts, good and bad"
LANE = "fast"
NEEDS = ()
TAKES = 1

Judge = Callable[..., BenchVerdict]


MORE_OF_TURN = (-7, 0, 30000, 50)


def counts(fixed: int, each: int, more: int = 0) -> list[str]:
    """A boot's log for 1, 2, 4 and 8 vCPUs, each costing fixed + each * vCPUs, plus `more` for the last. The warm-up turn
    has lower counts and must not be used; a tick or other work has interrupted the last two turns."""
    return [f"# # bench: vcpus={n} turn={turn} ticks={fixed + each * n + MORE_OF_TURN[turn] + (more if n == 8 else 0)}"
            for n in (1, 2, 4, 8) for turn in range(4)]


WITH = counts(500, 1000)


@pytest.fixture(name="judge")
def fixture_judge(tmp_path: Path) -> Judge:
    """judge(with, with, without, without, limit=N): the verdict on two boots of each kernel."""
    def judge(*boots: list[str], limit: int | None = None) -> BenchVerdict:
        paths = []
        for i, lines in enumerate(boots):
            paths.append(tmp_path / str(i))
            paths[-1].write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return judge_bench(BenchQuestion("T", "1.2.3", 8, 3, paths[:2], paths[2:], limit))
    return judge


def check(given: BenchVerdict, status: int, pattern: str) -> None:
    """Fails unless the verdict has that exit status and a line that matches."""
    assert_line(given.lines(), pattern)
    assert given.status == status, "\n".join(given.lines())


def test_cheap_locks(judge: Judge, tmp_path: Path) -> None:
    """Locks that cost little pass; the interrupted turn does not count; the line fitted is printed."""
    without = counts(500, 995)
    given = judge(WITH, WITH, without, without, limit=10)
    check(given, 0, r"^PASS: bench of T on linux 1\.2\.3: the locks cost at most 5 instructions for each vCPU, 0\.47 %")
    given.write(tmp_path / "json")
    data = json.loads((tmp_path / "json").read_text(encoding="utf-8"))
    assert next(iter(data)) == "version"
    assert data["rows"][3] == {"vcpus": 8, "with": 8500, "without": 8460, "lock": 40, "each": 5,
                               "share": 100 * 40 / 8500, "firmware": 0}
    line = data["line"]
    assert abs(line["slope"] - 1000) < 1e-6 and abs(line["intercept"] - 500) < 1e-6 and line["r2"] > 0.999999
    assert data["repeats"] == {"with": True, "without": True}


def test_dear_locks(judge: Judge) -> None:
    """Locks that cost much fail, and the verdict says how long the firmware must take to make them one percent."""
    without = counts(500, 900)
    given = judge(WITH, WITH, without, without, limit=99)
    check(given, 1, "8 vCPUs: the locks cost 100 instructions each, expected at most 99")
    assert given.to_json()["rows"][3]["firmware"] == (100 * 800 - 8500) / 8


def test_no_limit(judge: Judge) -> None:
    """Without a limit, the verdict prints their cost but does not judge it."""
    without = counts(500, 900)
    check(judge(WITH, WITH, without, without), 0, "^PASS")


def test_locks_that_cost_nothing(judge: Judge) -> None:
    """If locks cost nothing, both kernels or neither have them: no pass."""
    check(judge(WITH, WITH, WITH, WITH), 1, "1 vCPUs: the locks cost 0 instructions")


def test_boot_that_does_not_repeat(judge: Judge) -> None:
    """Counts that differ between boots give no verdict."""
    without = counts(500, 900)
    check(judge(WITH, counts(500, 1001), without, without), 1, "with the locks, the boots differ, first at 1 vCPUs")


def test_no_straight_line(judge: Judge) -> None:
    """The counts for many vCPUs are above the line."""
    without = counts(500, 900)
    bent = counts(500, 1000, 4000)
    check(judge(bent, bent, without, without), 1, "not a straight line")


def test_few_vcpus_off_the_line(judge: Judge) -> None:
    """One vCPU costs 100 instructions more than the line says: R² hides that, the distance in percent does not."""
    bent = [*counts(600, 1000)[:4], *WITH[4:]]
    given = judge(bent, bent, counts(500, 900), counts(500, 900))
    check(given, 1, "not a straight line: -2.20 % off it at 2 vCPUs")
    assert len(given.problems) == 1


@pytest.mark.parametrize("lines", [WITH[:5], WITH[:-1], [*WITH, WITH[-1]]],
                         ids=["vCPUs are missing", "a turn is missing", "a turn too many"])
def test_early_end(lines: list[str], judge: Judge) -> None:
    """A boot that ended early has no verdict."""
    without = counts(500, 900)
    with pytest.raises(Stop, match=r"expected 4 launches for each of \[1, 2, 4, 8\] vCPUs, found") as e:
        judge(WITH, lines, without, without)
    assert e.value.status == 3


def test_no_log(tmp_path: Path) -> None:
    """A boot without a log has no verdict."""
    nowhere = [tmp_path / "nowhere"] * 2
    with pytest.raises(Stop, match="nowhere: No such file") as e:
        judge_bench(BenchQuestion("T", "1.2.3", 8, 3, nowhere, nowhere))
    assert e.value.status == 3


def test_fit() -> None:
    """The line minimizes distances in percent, so that it also fits the few vCPUs."""
    points = [(1, 1130), (2, 1190), (4, 1410), (8, 1800), (16, 2590), (512, 53000)]
    best = fit(points)

    def distances(intercept: float, slope: float) -> float:
        return sum(((y - intercept - slope * x) / y) ** 2 for x, y in points)
    for intercept, slope in ((1.001, 1), (0.999, 1), (1, 1.001), (1, 0.999)):
        assert distances(best.intercept, best.slope) < distances(best.intercept * intercept, best.slope * slope)
