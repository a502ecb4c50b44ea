# SPDX-License-Identifier: GPL-2.0-only
"""`cache` lists what is there; `cache --prune` removes only what neither the newest versions nor another run use.

A wrong rule deletes an hour of somebody's builds, or a source tree while a build uses it.
"""
from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.core.places import LAYOUT
from tests.support.front import Done

ABOUT = "cache and cache --prune: what is removed, what is kept, and locks"
LANE = "fast"
NEEDS = ()
TAKES = 5
OLD, NEW = "linux-source-6.12_6.12.1-1", "linux-source-6.12_6.12.2-1"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A made-up cache: two bases, a work folder of each, a user's tree, leftovers, runs."""
    root = tmp_path / "snplab" / LAYOUT
    for base in (OLD, NEW):
        (root / "base" / base).mkdir(parents=True)
        (root / "base" / base / "Makefile").write_text(base)
    (root / "base/6.12.y.newest").write_text(NEW + "\n")
    (root / "base/.linux-source-6.12_6.12.3.abcdef").mkdir()
    for name, base in (("6.12.y", NEW), ("6.12.y-bench", OLD)):
        work = root / "work" / name
        (work / "src").mkdir(parents=True)
        (work / "src/vmlinux").write_bytes(b"x" * 200000)
        (work / "base").write_text(f"{root}/base/{base}\n")
    (root / "work/dir-linux-12345678/src").mkdir(parents=True)
    (root / "locks").mkdir()
    for number in range(30):
        run = root / "runs" / f"20260101-0000{number:02}-run-x"
        run.mkdir(parents=True)
        os.utime(run, (time.time() - 7200,) * 2)
    return root


def cache(run_snplab: Callable[..., Done], root: Path, *words: str) -> Done:
    """Runs ./snplab cache on the made-up cache."""
    return run_snplab("cache", *words, env={"XDG_CACHE_HOME": str(root.parent.parent)})


def test_kinds_and_sizes_are_listed(run_snplab: Callable[..., Done], root: Path) -> None:
    done = cache(run_snplab, root, "--json", str(root.parent / "json"))
    assert done.status == 0, done.output
    for word in ("base", "work", "runs", "locks", "--prune removes them", f"base/{OLD}: not the newest"):
        assert word in done.output
    data = json.loads((root.parent / "json").read_text())
    assert data["version"] == 1 and data["freed"] == 0
    assert {kind["folder"]: kind["bytes"] for kind in data["kinds"]}["work"] >= 400000
    assert (root / "base" / OLD).is_dir(), "a list removes nothing"


def test_prune_removes_what_is_not_the_newest(run_snplab: Callable[..., Done], root: Path) -> None:
    done = cache(run_snplab, root, "--prune")
    assert done.status == 0, done.output
    assert sorted(p.name for p in (root / "base").iterdir()) == ["6.12.y.newest", NEW]
    assert sorted(p.name for p in (root / "work").iterdir()) == ["6.12.y", "dir-linux-12345678"]
    assert len(list((root / "runs").iterdir())) <= 21
    assert f"removed base/{OLD}" in done.output and "not the newest" in done.output


def test_prune_twice_removes_nothing_more(run_snplab: Callable[..., Done], root: Path) -> None:
    cache(run_snplab, root, "--prune")
    before = sorted(str(p) for p in root.rglob("*"))
    done = cache(run_snplab, root, "--prune")
    assert "removed 0 MB" in done.output
    assert [p for p in sorted(str(p) for p in root.rglob("*")) if "/runs/" not in p and "/locks/" not in p] == \
        [p for p in before if "/runs/" not in p and "/locks/" not in p]


def test_what_another_run_uses_stays(run_snplab: Callable[..., Done], root: Path) -> None:
    with open(root / "locks/work-6.12.y-bench", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = cache(run_snplab, root, "--prune")
    assert done.status == 0, done.output
    assert "another snplab uses 6.12.y-bench: it stays" in done.output
    assert (root / "work/6.12.y-bench/src/vmlinux").exists()


def test_while_another_run_is_at_work_sources_and_logs_stay(run_snplab: Callable[..., Done], root: Path) -> None:
    """The other run may be copying a source or writing its log without any other lock."""
    with open(root / "locks/in-use", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        done = cache(run_snplab, root, "--prune")
    assert done.status == 0 and "another snplab is running: sources, modules and logs stay" in done.output
    assert (root / "base" / OLD).is_dir() and len(list((root / "runs").iterdir())) == 30
    assert not (root / "work/6.12.y-bench").exists(), "work folders have locks of their own"


def test_a_dry_run_prints_what_would_go_and_removes_nothing(run_snplab: Callable[..., Done], root: Path) -> None:
    before = sorted((str(p), p.stat().st_mtime_ns) for p in root.rglob("*"))
    done = cache(run_snplab, root, "--prune", "--dry-run")
    assert f"rm -rf {root}/base/{OLD}  # not the newest" in done.output
    assert sorted((str(p), p.stat().st_mtime_ns) for p in root.rglob("*")) == before


def test_an_empty_cache_is_no_error(run_snplab: Callable[..., Done], tmp_path: Path) -> None:
    done = run_snplab("cache", "--prune", env={"XDG_CACHE_HOME": str(tmp_path)})
    assert done.status == 0 and "the cache is empty" in done.output
    assert not (tmp_path / "snplab").exists()
