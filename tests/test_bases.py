# SPDX-License-Identifier: GPL-2.0-only
"""Do tree, refresh, mail and the checks of the series work on another base than the one the series was made on?

Debian's newest kernel changes every few weeks. A patch names the base's blobs and the lines of its hunks. If `refresh`
updated those each time, everybody's patches would change with each kernel, and nobody would see a real change among them.
So the real series run on the newest base, on an older one from the archive, and on a base with an added line above each
hunk.
"""
from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.core.session import Session
from lab.patches.newfiles import whole_text
from lab.patches.series import all_trees, base_tree, groups, list_series, lower_series, series_dir, series_name
from tests.support.front import TOP, Done, expect, run_snplab
from tests.support.l1 import lab_session
from tests.support.patches import copy_program, patch, write_identity
from tests.support.patches_mail import CHECKS, Mails, can_send, header, send_email
from tests.support.patches_real import changed_base, checkpatch, copy_some, newest_base, older_base

ABOUT = "tree, refresh and mail of the real series on two bases: only bytes that the base moves change, and refresh says so"
LANE = "boot"
NEEDS = ("fetch", "overlay", "mail", "sendmail")
TAKES = 150

# A tree and a base. The verb fetches the newest base by itself; other bases are given by --linux.
BASES = (("6.12.y", "newest"), ("6.12.y", "older"), ("6.12.y", "changed"), ("6.12.y-backlog", "small"),
         ("mainline", "newest"), ("mainline", "changed"))
# What is mailed: such a pair, and the group of patches.
MAILED = [*((*base, "") for base in BASES if base[1] != "changed"),
          *((tree, "newest", group) for tree in all_trees() for group in groups(series_dir(tree)))]
POSITION = re.compile(r"^@@ -[0-9]+(,[0-9]+)? \+[0-9]+(,[0-9]+)? @@.*")


@dataclass
class Base:
    """A base, and a copy of this repository whose series is on it."""

    tree: str
    kind: str
    folder: Path
    # The folder for --linux; None: the verb fetches the newest base.
    linux: Path | None
    # A source with MAINTAINERS and scripts.
    source: Path
    # The patches whose hunks the base moves, if that is known.
    moved: set[str] = field(default_factory=set)

    @property
    def top(self) -> Path:
        """The copy of the repository."""
        return self.folder / "repo"

    @property
    def original(self) -> Path:
        """The series as they were at the start: somebody may edit the repository's meanwhile."""
        return self.folder / "series-as-it-was"

    @property
    def series(self) -> Path:
        """The folder of patches."""
        return self.top / "series" / series_name(self.tree)

    @property
    def env(self) -> dict[str, str | None]:
        """The user's cache, with a git identity of its own."""
        return {"GIT_CONFIG_GLOBAL": str(self.folder / "gitconfig"), "GIT_CONFIG_NOSYSTEM": "1"}

    def snplab(self, verb: str, *words: str | Path, linux: bool = True) -> Done:
        """The copy's ./snplab."""
        base = ["--linux", str(self.linux)] if linux and self.linux else []
        done = run_snplab(verb, self.tree, *words, *base, top=self.top, env=self.env, cwd=self.folder, timeout=1200)
        expect(done, 0)
        return done

    def refresh(self) -> Done:
        """Runs refresh of the work tree."""
        return self.snplab("refresh", self.folder / "work", linux=False)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """The lab's, for this file."""
    with lab_session(tmp_path_factory.mktemp("session")) as session:
        yield session


def make_base(session: Session, folder: Path, tree: str, kind: str) -> Base:
    """Makes the base, and the copy of the repository."""
    newest = newest_base(session, folder, base_tree(tree))
    base = Base(tree, kind, folder, None, newest)
    if kind == "changed":
        base.linux, base.moved = changed_base(session, tree, newest, folder / "linux")
    elif kind == "older":
        # Without an older base in the archive, or without a network: change the newest one.
        base.linux = older_base(session, folder, tree, newest)
        if base.linux is None:
            base.linux, base.moved = changed_base(session, tree, newest, folder / "linux")
    elif kind == "small" or tree == "mainline" or newest.parent.name != "base":
        base.linux = copy_some(session, newest, folder / "linux")
    base.source = base.linux or newest
    copy_program(base.top)
    for target in (base.original, base.top / "series"):
        shutil.copytree(TOP / "series", target)
    write_identity(folder)
    return base


@pytest.fixture(scope="module", params=BASES, ids=" ".join)
def base(request: pytest.FixtureRequest, session: Session, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Base]:
    """Each base, with a work tree, for all tests of this file."""
    folder = tmp_path_factory.mktemp("base")
    base = make_base(session, folder, *request.param)
    base.snplab("tree", folder / "work")
    yield base
    # A whole work tree is 1.5 GB.
    shutil.rmtree(folder, ignore_errors=True)


def of_base(line: str) -> str:
    """A patch's line without the parts that follow the base: blob ids, hunks' line numbers and functions."""
    found = POSITION.match(line)
    return f"@@{found[1]}{found[2]}" if found else "index" if re.match(r"index [0-9a-f]+\.\.", line) else line


def test_there_and_back(base: Base) -> None:
    """tree, then refresh: only hunks' line numbers that the base moves change, and refresh names those patches."""
    done = base.refresh()
    said = set(re.findall(r"^ +moved   (\S+): its hunks are at other lines of linux [0-9.]+$", done.output, re.M))
    original, different = base.original, set()
    for path in sorted(p for p in original.rglob("*") if p.is_file()):
        now = base.top / "series" / path.relative_to(original)
        if now.read_bytes() != path.read_bytes():
            different.add(path.name)
            old, new = (p.read_text(encoding="utf-8").split("\n") for p in (path, now))
            assert list(map(of_base, old)) == list(map(of_base, new)), path.name
    assert different == said
    assert sorted(p.relative_to(original) for p in original.rglob("*")) == sorted(
        p.relative_to(base.top / "series") for p in (base.top / "series").rglob("*"))
    assert base.moved <= said, f"expected these to be named: {base.moved}\n{done.output}"
    if not said:
        expect(done, 0, "no patch has changed")


def test_and_once_more(base: Base) -> None:
    """A second refresh changes nothing."""
    base.refresh()
    expect(base.refresh(), 0, "^ +no patch has changed$")


def test_applies_with_no_fuzz(base: Base, session: Session, tmp_path: Path) -> None:
    again = copy_some(session, base.source, tmp_path / "again")
    for file in lower_series(base.tree):
        patch(again, file)
    for file in list_series(base.series):
        patch(again, file)
        for name in re.findall(r"^\+\+\+ b/(\S+)$", whole_text(file), re.M):
            assert (again / name).read_bytes()


# tests/test_series.py checks the same on the newest base.
@pytest.mark.parametrize("base", [("6.12.y", "older")], ids=" ".join, indirect=True)
def test_pleases_the_bases_checkpatch(base: Base, session: Session, tmp_path: Path) -> None:
    for file in list_series(base.series):
        assert checkpatch(session, tmp_path, base.source, file) == [], file.name


# --- mail ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=MAILED, ids=" ".join)
def mails(request: pytest.FixtureRequest, session: Session, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mails]:
    """The mails of the unchanged series, on each real base; and of each group, which has to apply without the rest."""
    folder = tmp_path_factory.mktemp("mails")
    tree, kind, group = request.param
    base = make_base(session, folder, tree, kind)
    base.snplab("mail", *(("--group", group) if group else ()), "--output", folder / "out")
    yield Mails(folder / "out", base.series, base.tree, base.source, base.env, f".{group}" if group else "")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("check", CHECKS)
def test_mails(mails: Mails, check: str) -> None:
    CHECKS[check](mails)


@pytest.mark.skipif(not can_send(), reason="git send-email is not installed, or lacks Mail::Address")
@pytest.mark.parametrize("words", [("--no-thread",), ()], ids=["as the hint says", "and threads them the same by itself"])
def test_git_send_email_takes_them(mails: Mails, words: tuple[str, ...]) -> None:
    send_email(mails, *words)


def test_they_say_which_base(mails: Mails) -> None:
    makefile = (mails.linux / "Makefile").read_text(encoding="utf-8")
    version = ".".join(re.findall(r"^(?:VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)$", makefile, re.M))
    assert f"Base: v{version}" in mails.cover.read_text(encoding="utf-8")
    assert header(mails.cover, "To")
