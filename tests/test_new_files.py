# SPDX-License-Identifier: GPL-2.0-only
"""Are the new files of a series at their place in files/, and are its patches complete everywhere else?

A file that is lost between commits and files/, or comes back with other bytes or another mode, is lost work; a patch that
git refuses cannot be sent. Each case changes the commits of a small mainline series, and checks its folder and the work
tree that it gives.
"""
from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.patches.newfiles import FOLDER, brought_names, files_below, take_apart, whole_text
from lab.patches.patchfile import read
from tests.support.front import expect, listing
from tests.support.patches import Lab, make_lab, replace

ABOUT = "new files of a series are at their place in files/; patches are complete everywhere else"
LANE = "boot"
NEEDS = ("overlay",)
TAKES = 15


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Made once; each test gets a copy."""
    return make_lab(tmp_path_factory.mktemp("pristine"), "mainline")


@pytest.fixture
def lab(pristine: Lab, tmp_path: Path) -> Lab:
    """A copy of the pristine one, for one test."""
    return pristine.copy(tmp_path)


def round_trip(lab: Lab) -> None:
    """refresh, then a second work tree from the result: it has the same commits, and its refresh changes no byte."""
    expect(lab.refresh(), 0)
    second = lab.folder / "second"
    expect(lab.tree(second), 0)
    assert lab.git("rev-parse", "HEAD^{tree}", cwd=second) == lab.git("rev-parse", "HEAD^{tree}")
    assert lab.git("log", "--format=%s%n%b", cwd=second) == lab.git("log", "--format=%s%n%b")
    lab.check_same_tree(work=second)
    before = listing(lab.series)
    expect(lab.refresh(second), 0, "no patch has changed")
    assert listing(lab.series) == before
    shutil.rmtree(second)


def test_a_new_file_lies_at_its_place(lab: Lab) -> None:
    assert files_below(lab.series) == ["kernel/new.c"]
    assert (lab.series / FOLDER / "kernel/new.c").read_text(encoding="utf-8") == "new\n"
    assert brought_names(lab.series / "add-new.patch") == ["kernel/new.c"]
    assert "+new" not in lab.patch("add-new.patch")
    round_trip(lab)
    assert lab.changes() == []


def test_an_edit_at_its_place_is_in_the_next_work_tree(lab: Lab) -> None:
    """A file of ours can be edited without a work tree."""
    (lab.series / FOLDER / "kernel/new.c").write_text("newer\nlonger\n", encoding="utf-8")
    shutil.rmtree(lab.work)
    expect(lab.tree(), 0)
    assert (lab.work / "kernel/new.c").read_text(encoding="utf-8") == "newer\nlonger\n"
    round_trip(lab)


def odd_files(lab: Lab) -> None:
    """Files without a final newline, of one line, empty, executable, with carriage returns, not UTF-8, containing a diff."""
    new = lab.work / "kernel"
    for name, content in (("cut", b"one\ntwo"), ("line", b"one"), ("empty", b""), ("crlf", b"a\r\nb\r\n"),
                          ("latin", b"\xe9\n"), ("diff", b"diff --git a/x b/x\nnew file mode 100644\n"),
                          ("blank", b"\n\n"), ("a b", b"space\n")):
        (new / name).write_bytes(content)
    (new / "line").chmod(0o755)
    lab.commit("kernel: Add odd files")


def link(lab: Lab) -> None:
    """A symbolic link stays inside its patch."""
    (lab.work / "kernel/link.c").symlink_to("a.c")
    lab.commit("kernel: Add a link")


def changed_by_a_second(lab: Lab) -> None:
    """The file in files/ is the first patch's; the second patch stays a patch to it."""
    lab.edit("kernel/new.c", "new\n", "new\nand changed\n")
    lab.commit("kernel: Change new")


def mode_changed(lab: Lab) -> None:
    """A second patch makes it executable."""
    (lab.work / "kernel/new.c").chmod(0o755)
    lab.commit("kernel: Make new executable")


def renamed(lab: Lab) -> None:
    """A patch renames a file of ours."""
    lab.git("mv", "kernel/new.c", "kernel/newest.c")
    lab.commit("kernel: Rename new")


def renamed_of_the_base(lab: Lab) -> None:
    """A patch renames a file of the kernel, which must not come into this repository."""
    lab.git("mv", "kernel/c.c", "kernel/d.c")
    lab.commit("kernel: Rename c")


def removed_and_brought_again(lab: Lab) -> None:
    """Two patches bring the same file: files/ holds the first one's."""
    lab.git("rm", "-q", "kernel/new.c")
    lab.commit("kernel: Remove new")
    (lab.work / "kernel/new.c").write_text("again\n", encoding="utf-8")
    lab.commit("kernel: Add new again")


CASES: dict[str, tuple[Callable[[Lab], None], list[str]]] = {
    "odd files": (odd_files, ["kernel/blank", "kernel/crlf", "kernel/cut", "kernel/diff", "kernel/latin", "kernel/line",
                              "kernel/new.c"]),
    "a link": (link, ["kernel/new.c"]),
    "changed by a second patch": (changed_by_a_second, ["kernel/new.c"]),
    "its mode changed by a second patch": (mode_changed, ["kernel/new.c"]),
    "renamed": (renamed, ["kernel/new.c"]),
    "a file of the base is renamed": (renamed_of_the_base, ["kernel/new.c"]),
    "removed and brought again": (removed_and_brought_again, ["kernel/new.c"]),
}


@pytest.mark.parametrize("case", CASES)
def test_there_and_back(lab: Lab, case: str) -> None:
    change, files = CASES[case]
    change(lab)
    round_trip(lab)
    assert files_below(lab.series) == files
    for name in files:
        path = lab.series / FOLDER / name
        assert bool(path.stat().st_mode & 0o100) == (name == "kernel/line"), name


def test_a_file_that_no_commit_brings_any_more_goes(lab: Lab) -> None:
    lab.git("rm", "-q", "kernel/new.c")
    (lab.work / "include/other.h").write_text("other\n", encoding="utf-8")
    lab.commit("kernel: Add new", "--amend")
    round_trip(lab)
    assert files_below(lab.series) == ["include/other.h"]
    assert sorted(p.name for p in (lab.series / FOLDER).iterdir()) == ["include"]


def test_two_patches_change_places(lab: Lab) -> None:
    """A file's owner is the patch that brings it, not a name in the list."""
    (lab.work / "kernel/other.c").write_text("other\n", encoding="utf-8")
    lab.commit("kernel: Add other")
    expect(lab.refresh(), 0)
    lab.rebase("1", "2", "4", "3")
    round_trip(lab)
    assert files_below(lab.series) == ["kernel/new.c", "kernel/other.c"]


def test_stable_takes_patches_alone(tmp_path: Path) -> None:
    lab = make_lab(tmp_path)
    assert not (lab.series / FOLDER).exists() and "+new" in lab.patch("add-new.patch")


def test_a_file_that_is_not_there_is_named(lab: Lab, tmp_path: Path) -> None:
    (lab.series / FOLDER / "kernel/new.c").unlink()
    done = lab.tree(tmp_path / "other")
    expect(done, 3, r"^snplab: add-new\.patch adds kernel/new\.c: expected it in mainline/files, found no such file$")
    assert not (tmp_path / "other").exists()


def test_a_patch_of_the_series_is_whole_and_comes_apart(lab: Lab) -> None:
    """whole_text() and take_apart() are inverse to each other."""
    odd_files(lab)
    expect(lab.refresh(), 0)
    for name in lab.entries():
        whole = whole_text(lab.series / name)
        kept, files = take_apart(whole, set())
        assert kept == read(lab.series / name)
        assert [file.name for file in files] == brought_names(lab.series / name)
    replace(lab.series / "add-new.patch", "diff --git", "diff --no-git")
    assert whole_text(lab.series / "add-new.patch") == read(lab.series / "add-new.patch")
