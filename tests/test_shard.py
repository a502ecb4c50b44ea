# SPDX-License-Identifier: GPL-2.0-only
"""Does --shard I/N split a run into parts that are disjoint, complete, of about the same size, and the same on each machine?

A mutant that no shard runs would look caught. The verbs run dry here, so that the split is seen as a user gets it.
"""
from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from lab.check.table import Lane, pick, read_table
from lab.core.errors import Stop
from lab.core.options import Given
from lab.core.places import TOP
from lab.core.shard import KERNEL, Shard, by_cost, by_kernel, request_of, shard_of
from lab.history.corpus import bugs_of
from lab.judge.part import Part, commit_of
from lab.patches.git import answer, git_own
from lab.patches.series import trees
from lab.verbs.history import Selection, take_shard
from tests.support.front import Done, expect, run_snplab
from tests.support.wrong_versions import names_of

ABOUT = "--shard splits mutants, history, check and guest --boots completely, without overlap, into parts of the same size"
LANE = "fast"
NEEDS = ()
TAKES = 10

BOOTS = ["a"] * 35 + ["b"] * 39


@pytest.mark.parametrize("value,number,total", [("1/1", 1, 1), ("2/3", 2, 3), ("999/999", 999, 999)])
def test_good_values(value: str, number: int, total: int) -> None:
    assert shard_of(Given(values={"--shard": value})) == Shard(number, total)


def test_without_it_all_is_run() -> None:
    assert shard_of(Given()).is_whole


@pytest.mark.parametrize("value", ("0/2", "3/2", "x", "2", "1/0", "-1/2", "1/2/3", "1 / 2", "1/1000", "1/2\n", "٢/٣"))
def test_bad_values(value: str) -> None:
    with pytest.raises(Stop) as stop:
        shard_of(Given(values={"--shard": value}))
    assert stop.value.status == 2 and f"found '{value}'" in stop.value.message


@pytest.mark.parametrize("verb", ("mutants", "history", "check", "guest"))
@pytest.mark.parametrize("value", ("0/2", "3/2", "x"))
def test_each_verb_refuses_bad_values(verb: str, value: str, tmp_path: Path) -> None:
    done = run_snplab(verb, "--shard", value, "--json", tmp_path / "json")
    expect(done, 2, rf"^snplab: --shard wants I/N with 1 <= I <= N <= 999, found '{value}'$")
    assert json.loads((tmp_path / "json").read_text(encoding="utf-8"))["verdict"] == "usage"


# --- By cost --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", (1, 2, 3, 7, 40))
def test_by_cost(total: int) -> None:
    """Each thing has one owner, and no shard has more than the mean and one more thing."""
    costs = [1500, 3600, 90, 45, 600, 600, 900, 900, 300, 300, 100, 1200, 1800, 1]
    owners = by_cost(costs, total)
    assert len(owners) == len(costs) and set(owners) <= set(range(1, total + 1))
    loads = [sum(cost for cost, owner in zip(costs, owners) if owner == number) for number in range(1, total + 1)]
    assert max(loads) <= sum(costs) / total + max(costs)
    assert min(loads) > 0 or total > len(costs)


def test_equal_costs_go_round() -> None:
    assert by_cost([1] * 5, 2) == [1, 2, 1, 2, 1]


# --- By kernel ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("total", (1, 2, 3, 5, 74, 100))
def test_by_kernel(total: int) -> None:
    """Each shard's boots follow each other, no shard is empty that need not be, and few kernels are built twice."""
    owners = by_kernel(BOOTS, total)
    assert len(owners) == len(BOOTS) and owners == sorted(owners)
    assert set(owners) == set(range(1, min(total, len(BOOTS)) + 1))
    assert len(set(zip(owners, BOOTS))) <= total + 1


def test_no_kernel_is_built_twice_without_need() -> None:
    """Two kernels and two shards: a shard for each, although their boots are not as many. With three shards, the larger is
    split."""
    assert by_kernel(BOOTS, 2) == [1] * 35 + [2] * 39
    assert Counter(zip(by_kernel(BOOTS, 3), BOOTS)) == {(1, "a"): 35, (2, "b"): 19, (3, "b"): 20}


def test_a_long_kernel_is_split() -> None:
    """A kernel with many more boots than another: its boots are shared out, though it is built twice."""
    owners = by_kernel(["a"] * 10 * KERNEL + ["b"], 2)
    assert Counter(owners)[1] == pytest.approx(5 * KERNEL, abs=KERNEL)


def test_no_boots() -> None:
    assert by_kernel([], 3) == []


# --- The verbs ------------------------------------------------------------------------------------------------------


def dry(*words: str) -> Done:
    """A dry run without a cache."""
    return run_snplab(*words, "--dry-run", env={"XDG_CACHE_HOME": "/nonexistent"}, timeout=60)


def mutants_in(done: Done) -> list[str]:
    """The mutants that a dry run applies."""
    return re.findall(r"^ +patch .*-F0 -i \S*/tests/mutants/linux-(\S+)\.patch$|^ +patch .*-F0 -i \S*/tests/mutants/"
                      r"(mainline/\S+)\.patch$", done.stdout, re.M)


@pytest.mark.parametrize("total", (2, 4))
def test_mutants(total: int) -> None:
    """All mutants of both trees, each in one shard; each shard boots the control of its trees."""
    found = []
    for number in range(1, total + 1):
        done = dry("mutants", "--shard", f"{number}/{total}")
        mine = ["".join(pair) for pair in mutants_in(done)]
        controls = re.findall(r"^\[.*\] boot .* without a mutant", done.stdout, re.M)
        assert len(controls) == len({name.split("/")[0] for name in mine})
        found += mine
    assert found == [f"{tree}/{name}" for tree in trees() for name in names_of(tree)]


def chosen() -> list[Selection]:
    """All bugs of the history."""
    return [Selection(tree, bugs_of(tree)) for tree in trees()]


@pytest.mark.parametrize("total", (1, 2, 3, 8))
def test_history(total: int) -> None:
    """All bugs, those that are not booted as well; a kernel is built by few shards."""
    found, kernels, given = list[str](), 0, Given()
    whole = Part(Shard(), tuple(name for selection in chosen() for name in selection.names))
    for number in range(1, total + 1):
        mine = take_shard(Part(Shard(number, total), whole.names), given, chosen())
        found += [name for selection in mine for name in selection.names]
        kernels += len({kernel for selection in mine for kernel, _ in selection.boots(given)})
        assert all(selection.boots(given) for selection in mine), "a tree is put together, and none of its bugs is booted"
    assert sorted(found) == sorted(whole.names)
    all_kernels = {kernel for selection in chosen() for kernel, _ in selection.boots(given)}
    assert kernels <= len(all_kernels) + total - 1


def test_check() -> None:
    """All files of the lane, in the order of the whole; the times that they declare are about the same."""
    table = pick(read_table(TOP / "tests"), [Lane.BOOT], "*")
    takes, found = {entry.name: entry.takes for entry in table}, []
    loads = []
    for number in (1, 2, 3):
        done = run_snplab("check", "--lane", "boot", "--list", "--shard", f"{number}/3")
        mine = [line.split()[0] for line in done.stdout.splitlines()[1:]]
        assert mine == [name for name in takes if name in mine]
        found += mine
        loads.append(sum(takes[name] for name in mine))
    assert sorted(found) == sorted(takes)
    assert max(loads) - min(loads) < max(takes.values())


def test_guest() -> None:
    """Boots keep their numbers, and need no other guest's."""
    done = dry("guest", "--boots", "5", "--shard", "2/2")
    expect(done, 0, r"^\[\d+/\d+\] boot linux .* with 2 CPUs, boot 2 of 5")


@pytest.mark.parametrize("words,count", {
    "mutants": (("mutants", "mainline/no-lock", "--shard", "2/2"), 1),
    "history": (("history", "mainline/psc-indices-unchecked", "--shard", "2/3"), 1),
    "check": (("check", "shard", "--shard", "5/7"), 1),
    "guest": (("guest", "--boots", "2", "--shard", "3/3"), 2)}.values(), ids=lambda value: str(value)[:12])
def test_nothing_to_do(words: tuple[str, ...], count: int, tmp_path: Path) -> None:
    """A shard that has nothing to do says so, passes, and builds nothing."""
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = run_snplab(*words, "--json", tmp_path / "json", env=cache)
    expect(done, 0, rf"^PASS: shard {words[-1]} has nothing to do: {count} in all$")
    assert len(done.stdout.splitlines()) == 1 and not (tmp_path / "cache").exists()
    assert json.loads((tmp_path / "json").read_text(encoding="utf-8"))["shard"]["total"] == int(words[-1][-1])


def test_the_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """git's, with a mark if a file was changed; in a container without git, that of GitLab or GitHub."""
    for name in ("CI_COMMIT_SHA", "GITHUB_SHA"):
        monkeypatch.delenv(name, raising=False)
    assert commit_of(tmp_path) is None
    monkeypatch.setenv("GITHUB_SHA", "abc")
    assert commit_of(tmp_path) == "abc"
    for words in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", "x")):
        assert answer(git_own(tmp_path, *words)) is not None
    assert commit_of(tmp_path) == answer(git_own(tmp_path, "rev-parse", "HEAD"))
    (tmp_path / "file").touch()
    assert answer(git_own(tmp_path, "add", "file")) is not None
    assert str(commit_of(tmp_path)).endswith("-dirty")


def test_the_request_is_what_the_result_depends_on() -> None:
    """Files and folders of the machine, and the shard, are left out."""
    values = {"--json": "x", "--shard": "1/2", "--linux": "d", "--tree": "mainline"}
    assert request_of(Given(["b", "a"], values, flags={"--sanitize"}, rest=["-s"])) == (
        "--sanitize", "--tree=mainline", "a", "b", "--", "-s")
