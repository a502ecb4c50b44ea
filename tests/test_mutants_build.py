# SPDX-License-Identifier: GPL-2.0-only
"""Mutants are built and booted in parallel: builder and boots wait for each other, and the cache keeps the modules that
they need.

Nothing is built or booted here: both are replaced. If a boot lane waits for a builder that has gone, the run hangs; if it
does not wait, it judges a kernel without its mutant. If the cache drops modules that this run is about to boot, the mutant
is "not built".
"""
from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.build import mutants as build_mutants
from lab.build.mutants import Store, below_header
from lab.build.prepare import Preparation
from lab.core.errors import Stop, setup_error
from lab.core.session import Session
from lab.core.steps import Job
from lab.core.terminal import Terminal
from lab.judge.mutants import check_header_ends
from lab.verbs.mutants import TreeRun, Waits

ABOUT = "mutants: builder and boots wait for each other; the cache keeps the modules that they need"
LANE = "fast"
NEEDS = ()
TAKES = 4
TEXT = "It is wrong.\n---\ndiff --git a/x b/x\n+1\n"


class Made:
    """A tree's run whose builds and boots are made up."""

    def __init__(self, root: Path, session: Session) -> None:
        self.session = session
        self.root = root
        self.patches = []
        for name, digit in (("one", "1"), ("two", "2")):
            patch = root / f"{name}.patch"
            patch.write_text(TEXT.replace("+1", f"+{digit}"))
            self.patches.append(patch)
            (root / "run" / name).mkdir(parents=True)
        self.released = threading.Event()
        self.kernel_builds = 0
        prepared = SimpleNamespace(work=root / "w-1", release=self.released.set, kernel_build=self.kernel_build)
        self.store = Store(session, cast(Preparation, prepared), root / "run")
        self.store.key = "k"
        self.job = Job(session, root / "log")

    def kernel_build(self, tree: object = None) -> Any:
        """Counts the builds that restore the tree."""
        def build(job: Job) -> None:
            self.kernel_builds += 1
        return SimpleNamespace(build=build)

    def run(self) -> TreeRun:
        """A run with all fields that judge_all() reads."""
        run = TreeRun.__new__(TreeRun)
        run.__dict__.update(
            session=self.session, tree="t", patches=self.patches, headers=[], folder=self.root / "run", store=self.store,
            prepared=self.store.prepared, waits=Waits(40), took=12.0, passed=True, _begun=set(), _lock=threading.Lock(),
            _building=threading.Event())
        for patch in self.patches:
            (run.folder / patch.stem).rmdir()
        return run


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    """A tree's run with two mutants and an empty store."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    session = Session("test")
    session.terminal = Terminal(io.StringIO())
    found = Made(tmp_path, session)
    monkeypatch.setattr(Store, "apply", lambda self, job, more: None)
    yield found
    session.processes.stop_all(1)


def builder(monkeypatch: pytest.MonkeyPatch, build: Callable[[Path, Path], None]) -> None:
    """Replaces the build of a mutant."""
    monkeypatch.setattr(Store, "build", lambda self, job, patch, out: build(patch, out))


def test_words_in_a_header_do_not_change_the_key_and_the_diff_does(made: Made) -> None:
    one, two = made.patches
    before = made.store.path(one)
    one.write_text(TEXT.replace("It is wrong.", "It is very wrong."))
    assert made.store.path(one) == before
    assert made.store.path(two) != before
    assert below_header(one) == b"diff --git a/x b/x\n+1\n"


@pytest.mark.parametrize("text", ["It is wrong.\ndiff --git a/x b/x\n+1\n",
                                  "It is wrong.\ndiff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n---\n+x\n"])
def test_a_header_without_an_end_is_refused(tmp_path: Path, text: str) -> None:
    patch = tmp_path / "m.patch"
    patch.write_text(text)
    with pytest.raises(Stop, match='m.patch: expected a line "---" between its header and its diff, found none'):
        check_header_ends(patch)


def test_what_is_built_gets_its_name_when_it_is_whole(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(patch: Path, out: Path) -> None:
        assert not made.store.path(patch).exists()
        (out / "kvm.ko").write_text(patch.stem)
    builder(monkeypatch, build)
    made.store.build_all(made.job, made.patches)
    assert [(made.store.path(p) / "kvm.ko").read_text() for p in made.patches] == ["one", "two"]
    assert made.kernel_builds == 1, "expected the last build to undo the mutant, found it left for the next run"
    made.store.build_all(made.job, made.patches)
    assert made.kernel_builds == 1, "expected no further build, found one"


def test_one_that_does_not_build_says_so_and_the_next_is_built(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(patch: Path, out: Path) -> None:
        if patch.stem == "one":
            raise setup_error("the kernel does not build")
        (out / "kvm.ko").touch()
    builder(monkeypatch, build)
    made.store.build_all(made.job, made.patches)
    assert "the kernel does not build" in (made.root / "run/one/not-built").read_text()
    assert made.store.path(made.patches[1]).is_dir() and not made.store.path(made.patches[0]).exists()
    assert not list(made.store.folder.glob(".*")), "expected no half-made modules, found some"


def boots(monkeypatch: pytest.MonkeyPatch, found: list[str]) -> None:
    """Replaces the boots and their verdicts; records which mutants had modules."""
    def boot(self: TreeRun, logs: Path, initrd: Path, tests: list[str], kernel: Path | None) -> None:
        found.append(logs.name)

    def judge(tree: str, patch: Path, logs: Path, *rest: object) -> Any:
        return SimpleNamespace(lines=lambda: [patch.stem])
    monkeypatch.setattr(TreeRun, "boot", boot)
    monkeypatch.setattr("lab.verbs.mutants.judge_mutant", judge)
    monkeypatch.setattr("lab.build.image.archive", lambda job, root, compressed=True: b"")


def judge_all(made: Made) -> None:
    """Runs the step, with an initrd to append to."""
    run = made.run()
    initrd = made.root / "initrd"
    initrd.write_bytes(b"")
    made.store.prepared.initrd = initrd
    run.judge_all(made.job)


def test_each_mutant_is_booted_once_and_not_before_it_is_built(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(patch: Path, out: Path) -> None:
        time.sleep(0.3)
        (out / "kvm.ko").touch()
    builder(monkeypatch, build)
    found: list[str] = []
    boots(monkeypatch, found)
    judge_all(made)
    assert sorted(found) == ["one", "two"]
    assert sorted(made.job.take_told()) == ["one", "two"], "expected the lines of both mutants"
    assert made.released.is_set()


def test_a_builder_that_dies_ends_the_step_and_nobody_waits_for_it(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(self: Store, job: Job, patches: list[Path]) -> None:
        time.sleep(0.3)
        raise setup_error("no space left")
    monkeypatch.setattr(Store, "build_all", die)
    found: list[str] = []
    boots(monkeypatch, found)
    begin = time.monotonic()
    with pytest.raises(Stop, match="no space left"):
        judge_all(made)
    assert time.monotonic() - begin < 20 and not found
    said = [(made.root / "run" / name / "not-built").read_text() for name in ("one", "two")]
    assert said == ["the build was stopped\n"] * 2


def test_where_nothing_is_to_be_built_the_tree_is_free_at_once(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    for patch in made.patches:
        made.store.path(patch).mkdir()
    other = made.store.folder / ".w-1.abcdef"
    other.mkdir()
    monkeypatch.setattr(Store, "build_all", lambda *rest: pytest.fail("nothing is to be built"))
    found: list[str] = []

    def boot(self: TreeRun, logs: Path, initrd: Path, tests: list[str], kernel: Path | None) -> None:
        assert made.released.is_set()
        found.append(logs.name)
    boots(monkeypatch, found)
    monkeypatch.setattr(TreeRun, "boot", boot)
    judge_all(made)
    assert sorted(found) == ["one", "two"]
    assert other.is_dir(), "expected another run's half-made modules to stay: this run does not hold the tree's lock"


def test_a_mutant_that_this_run_needs_stays_in_the_cache(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_mutants, "KEPT", 3)
    builder(monkeypatch, lambda patch, out: (out / "kvm.ko").touch())
    own = made.store.path(made.patches[0])
    own.mkdir()
    os.utime(own, (time.time() - 86400,) * 2)
    assert not made.store.has_all(made.patches)
    for name in "abcd":
        (made.store.folder / name).mkdir()
        os.utime(made.store.folder / name, (time.time() - 3600,) * 2)
    made.store.build_all(made.job, made.patches)
    assert own.is_dir() and made.store.path(made.patches[1]).is_dir()
    assert len(list(made.store.folder.iterdir())) == 3


@pytest.mark.parametrize("pace,wait", [(4, 2), (40, 10), (400, 15)])
def test_waits_follow_the_pace_within_limits(pace: int, wait: int) -> None:
    waits = Waits(pace)
    assert waits.wait == wait
    assert waits.limit > waits.test_limit > 20 * wait
    assert f"sev_snp_launch_test:-w:{wait}:-V:64_vcpus" in waits.tests
