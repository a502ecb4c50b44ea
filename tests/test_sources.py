# SPDX-License-Identifier: GPL-2.0-only
"""A run stays with the source that it fetched, and steps that run in parallel share the cache's locks silently.

Another run may fetch a newer version at any time. If this run switched to it, its verdict would name a version that it
never built, or it would boot one version's modules on another's kernel.
"""
from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.build.sources import Source, kernel_kind
from lab.core.session import Session
from lab.core.steps import Job, side_by_side
from lab.core.terminal import Terminal

ABOUT = "a run stays with one source; locks between steps and between runs"
LANE = "fast"
NEEDS = ()
TAKES = 2


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A session with two made-up kernels in its cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = Session("test")
    made.terminal = Terminal(io.StringIO())
    for digit in ("1", "2"):
        base = made.cache.folder("base") / f"linux-source-6.12_6.12.{digit}-1"
        base.mkdir()
        (base / "Makefile").write_text(f"VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = {digit}\n")
        (base / "Kbuild").touch()
    yield made
    made.processes.stop_all(1)


def newest(session: Session, digit: str) -> None:
    """Makes a version the newest, as a fetch does."""
    (session.cache.root / "base/6.12.y.newest").write_text(f"linux-source-6.12_6.12.{digit}-1\n")


def test_a_newer_one_that_another_run_fetches_is_not_taken(session: Session, tmp_path: Path) -> None:
    newest(session, "1")
    source = Source(session, kernel_kind("6.12.y"))
    source.fetch(Job(session, tmp_path / "log"))
    newest(session, "2")
    assert source.version == "6.12.1" and source.path.name == "linux-source-6.12_6.12.1-1"
    assert Source(session, kernel_kind("6.12.y")).version == "6.12.2", "the next run takes it"


def test_what_is_not_fetched_yet_is_a_placeholder(session: Session) -> None:
    source = Source(session, kernel_kind("6.12.y"))
    assert source.version == "<newest 6.12>" and source.path.name == "<newest 6.12>"
    newest(session, "2")
    assert source.version == "6.12.2"


def test_steps_of_one_run_wait_for_each_other_without_a_word(session: Session) -> None:
    told: list[str] = []
    held, most = [], []
    guard = threading.Lock()

    def work() -> None:
        with session.lock("apt", told.append):
            with guard:
                held.append(1)
                most.append(len(held))
            threading.Event().wait(0.1)
            with guard:
                held.pop()
    side_by_side(work, work, work)
    assert most == [1, 1, 1] and told == []


def test_another_run_is_named_while_it_is_waited_for(session: Session) -> None:
    other = Session("other")
    told: list[str] = []
    lock = other.lock("apt")
    threading.Timer(0.4, lock.release).start()
    with session.lock("apt", told.append):
        pass
    assert told == ["waiting for another snplab that uses apt"]
