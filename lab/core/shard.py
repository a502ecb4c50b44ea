# SPDX-License-Identifier: GPL-2.0-only
"""--shard I/N: the part of a run that one of N machines does. The split follows from the names and costs of what would run
alone, so that all machines split alike without talking to each other: each thing is in one shard, and in one only."""
from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lab.core.errors import usage_error
from lab.core.options import Given, Option

T = TypeVar("T")
SHARD = Option("--shard", "I/N")
MOST = 999
# What a further kernel costs, in boots. On an empty cache its build and the boot without a patch take about as long as
# thirty builds and boots with one.
KERNEL = 30
# Options that change nothing about the result, or name what may lie elsewhere on another machine.
ANYHOW = (SHARD.name, "--json", "--html", "--dry-run", "-n", "--linux", "--qemu", "--selftests")
USAGE = """\
  --shard I/N     only the I-th of N parts of about the same size; ./snplab merge joins their --json files"""


@dataclass(frozen=True)
class Shard:
    """The I-th of N parts: 1 <= number <= total."""

    number: int = 1
    total: int = 1

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    @property
    def is_whole(self) -> bool:
        """Is it all there is to do?"""
        return self.total == 1

    def of(self, things: Sequence[T], owners: Sequence[int]) -> list[T]:
        """The things that are this shard's."""
        return [thing for thing, owner in zip(things, owners) if owner == self.number]


def shard_of(given: Given) -> Shard:
    """The shard that the command line names; without --shard, the whole. Raises a usage error if I/N is none."""
    value = given.value("--shard")
    if value is None:
        return Shard()
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", value)
    if not found or not 1 <= int(found[1]) <= int(found[2]) <= MOST:
        raise usage_error(f"--shard wants I/N with 1 <= I <= N <= {MOST}, found '{value}'",
                          "--shard 2/3 is the second of three parts")
    return Shard(int(found[1]), int(found[2]))


def by_cost(costs: Sequence[int], total: int) -> list[int]:
    """Gives each thing, the dearest first, to the shard with the least to do. Returns the shard's number for each."""
    loads, owners = [0] * total, [0] * len(costs)
    for index in sorted(range(len(costs)), key=lambda index: (-costs[index], index)):
        least = loads.index(min(loads))
        loads[least] += costs[index]
        owners[index] = least + 1
    return owners


def by_kernel(kernels: Sequence[Hashable], total: int) -> list[int]:
    """Splits boots, each on a kernel; those on one kernel follow each other. Returns the shard's number for each.

    Each shard gets boots that follow each other, so that few kernels are built twice. A shard's load is its boots and KERNEL
    for each kernel; of all such splits the one is taken whose loads have the least sum of squares."""
    count = len(kernels)
    parts = min(total, count)
    starts = [0, *(i for i in range(1, count) if kernels[i] != kernels[i - 1])]
    group = [sum(start <= i for start in starts) for i in range(count)]
    # best[j]: the least sum for the first j boots in as many parts as rounds so far; cuts[p][j]: where the last one begins.
    best: list[float] = [0.0] + [float("inf")] * count
    cuts: list[list[int]] = []
    for _ in range(parts):
        after, cut = [float("inf")] * (count + 1), [0] * (count + 1)
        for j in range(1, count + 1):
            for i in range(j):
                load = j - i + KERNEL * (group[j - 1] - group[i] + 1)
                if best[i] + load * load < after[j]:
                    after[j], cut[j] = best[i] + load * load, i
        best = after
        cuts.append(cut)
    owners, end = [0] * count, count
    for number in range(parts, 0, -1):
        begin = cuts[number - 1][end]
        owners[begin:end] = [number] * (end - begin)
        end = begin
    return owners


def request_of(given: Given) -> tuple[str, ...]:
    """The words of the command line that a result depends on. Files may have other paths on another machine, and the trees
    that --linux, --qemu and --selftests name may as well."""
    words = [*sorted(given.flags), *(f"{name}={value}" for name, value in sorted(given.values.items())),
             *sorted(given.arguments), *(["--", *given.rest] if given.rest else [])]
    return tuple(word for word in words if word.partition("=")[0] not in ANYHOW)
