# SPDX-License-Identifier: GPL-2.0-only
"""Is a work tree exactly the base plus the series as commits?

A tree that lacks ignored files, changes line endings or depends on the user's git configuration gives each user other
commits. A half-made tree, or one that overwrites a user's file, is worse than none. Each case makes a tree of a kernel of a
few files, in a copy of this repository with a series of three patches.
"""
from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.front import expect, listing
from tests.support.patches import MESSAGES, NAMES, TREE, Lab, make_lab, replace

ABOUT = "tree: exactly the base, the series as commits, no file of the user's changed"
LANE = "boot"
NEEDS = ("overlay",)
TAKES = 15


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Made once; each test gets a copy."""
    return make_lab(tmp_path_factory.mktemp("pristine"))


@pytest.fixture
def lab(pristine: Lab, tmp_path: Path) -> Lab:
    """A copy of the pristine one, for one test."""
    return pristine.copy(tmp_path)


def head(lab: Lab, folder: Path) -> str:
    """The last commit of the series."""
    return lab.git("rev-parse", "HEAD", cwd=folder)


def differences(one: Path, other: Path) -> str:
    """The differences between two trees, .git aside; links are not followed."""
    return subprocess.run(["diff", "-r", "--no-dereference", "-x", ".git", str(one), str(other)], capture_output=True,
                          text=True, check=False).stdout


def test_series_becomes_commits(lab: Lab) -> None:
    subjects = lab.git("log", "--reverse", "--format=%s", "base..HEAD").splitlines()
    assert subjects == [message.split("\n")[0] for message in MESSAGES]
    notes = [lab.git("notes", "--ref=snplab", "show", commit) for commit in
             lab.git("rev-list", "--reverse", "base..HEAD").split()]
    assert notes == list(NAMES)
    assert lab.git("symbolic-ref", "HEAD") == f"refs/heads/snplab/{TREE}"


def test_prints_the_path_and_nothing_else(lab: Lab, tmp_path: Path) -> None:
    done = lab.tree(tmp_path / "other")
    assert (done.status, done.stdout) == (0, f"{tmp_path}/other\n")
    assert done.steps() == ["install missing programs", "make a work tree of linux 6.12.999 and the series"]


def test_base_has_every_file_as_it_is(lab: Lab) -> None:
    lab.git("checkout", "-q", "base")
    assert differences(lab.kernel, lab.work) == ""
    files = sorted(str(p.relative_to(lab.kernel)) for p in lab.kernel.rglob("*") if p.is_symlink() or p.is_file())
    assert sorted(lab.git("ls-tree", "-r", "--name-only", "base").splitlines()) == files
    assert "100755 blob" in lab.git("ls-tree", "base", "run.sh")


def test_same_series_same_commits(lab: Lab, tmp_path: Path) -> None:
    expect(lab.tree(tmp_path / "second"), 0)
    assert head(lab, tmp_path / "second") == head(lab, lab.work)


def test_files_are_the_users_own(lab: Lab) -> None:
    linked = [p for p in lab.work.rglob("*") if p.is_file() and not p.is_symlink() and p.stat().st_nlink > 1]
    assert not [p for p in linked if ".git" not in p.parts]
    assert not (lab.work / ".git/objects/info/alternates").exists()
    assert lab.work.stat().st_mode & 0o777 == 0o777 & ~umask()


def umask() -> int:
    """This process's umask."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def test_tree_that_is_there_is_left_alone(lab: Lab) -> None:
    (lab.work / "mine.c").write_text("mine\n", encoding="utf-8")
    done = lab.snplab("tree", TREE)
    assert (done.status, done.stdout, done.stderr) == (0, f"{lab.work}\n", "")
    assert (lab.work / "mine.c").read_text(encoding="utf-8") == "mine\n"


def test_linux_has_no_effect_on_a_tree_that_is_there(lab: Lab) -> None:
    expect(lab.tree(), 0, "left alone, --linux has no effect")


def test_tree_older_than_the_series_is_said(lab: Lab) -> None:
    replace(lab.series / "count.patch", "more", "much more")
    done = lab.snplab("tree", TREE)
    assert done.status == 0 and "has changed since" in done.stderr


def test_notes_and_dates_are_no_change_of_the_series(lab: Lab) -> None:
    replace(lab.series / "add-new.patch", "Seen on a Tuesday", "Seen on a Friday")
    replace(lab.series / "series", "# The head comment", "# Another")
    done = lab.snplab("tree", TREE)
    assert (done.status, done.stderr) == (0, "")


@pytest.mark.parametrize("kind", ["folder", "file", "repository"])
def test_something_else_is_left_untouched(lab: Lab, tmp_path: Path, kind: str) -> None:
    other = tmp_path / "other"
    if kind == "file":
        other.write_text("precious\n", encoding="utf-8")
    else:
        other.mkdir()
        (other / "file").write_text("precious\n", encoding="utf-8")
        if kind == "repository":
            lab.git("init", "-q", ".", cwd=other)
    before = listing(other)
    expect(lab.tree(other), 3, "left untouched")
    assert listing(other) == before


def test_patch_that_does_not_apply_leaves_no_half_made_tree(lab: Lab, tmp_path: Path) -> None:
    replace(lab.series / "count.patch", "x += 3;", "x += 4;")
    expect(lab.tree(tmp_path / "half" / "tree"), 3, "count.patch does not apply to linux 6.12.999")
    assert not list((tmp_path / "half").iterdir())


def test_patch_that_is_not_there(lab: Lab, tmp_path: Path) -> None:
    (lab.series / "count.patch").unlink()
    expect(lab.tree(tmp_path / "other"), 3, "names count.patch, which does not exist")


def test_path_with_a_space(lab: Lab, tmp_path: Path) -> None:
    folder = tmp_path / "with a space" / "tree"
    expect(lab.tree(folder), 0)
    expect(lab.refresh(folder), 0, "no patch has changed")
    assert lab.changes() == []


def test_what_a_build_left_is_no_part_of_the_base(lab: Lab, tmp_path: Path) -> None:
    for name in ("kernel/a.o", "vmlinux", ".config", "include/generated/x.h", "arch/x86/include/generated/x.h"):
        (lab.kernel / name).parent.mkdir(parents=True, exist_ok=True)
        (lab.kernel / name).write_text("built\n", encoding="utf-8")
    expect(lab.tree(tmp_path / "built"), 0)
    assert head(lab, tmp_path / "built") == head(lab, lab.work)


def test_of_a_repository_what_git_tracks_as_it_is_on_the_disk(lab: Lab, tmp_path: Path) -> None:
    lab.git("init", "-q", ".", cwd=lab.kernel)
    lab.git("add", "-A", "-f", cwd=lab.kernel)
    lab.git("commit", "-qm", "mine", cwd=lab.kernel)
    replace(lab.kernel / "kernel/c.c", "x += 1", "x += 11")
    (lab.kernel / "untracked.c").write_text("untracked\n", encoding="utf-8")
    expect(lab.tree(tmp_path / "dev"), 0)
    assert "x += 11" in (tmp_path / "dev" / "kernel/c.c").read_text(encoding="utf-8")
    assert not (tmp_path / "dev" / "untracked.c").exists()


@pytest.mark.parametrize("words, status, text", [
    ((), 2, "which tree. expected 6.12.y"), (("5.4.y",), 2, "no such tree: expected 6.12.y, host, found '5.4.y'"),
    ((TREE, "one", "two"), 2, "found a third argument: 'two'"), ((TREE, "--frob"), 2, "tree has no option --frob"),
    ((TREE, "--linux", "/nonexistent"), 2, "--linux: no such directory"),
    ((TREE, "new", "--linux", "/proc"), 3, "/proc is no kernel source tree")], ids=str)
def test_wrong_words(lab: Lab, words: tuple[str, ...], status: int, text: str) -> None:
    expect(lab.snplab("tree", *words), status, text)


def test_folder_that_cannot_be_made(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    expect(lab.tree(tmp_path / "file" / "tree"), 3, "cannot create .*/file\n.*hint: name a DIR")


def test_dry_run_lists_the_runs_steps_and_touches_nothing(lab: Lab, tmp_path: Path) -> None:
    before = listing(tmp_path)
    dry = lab.tree(tmp_path / "other", "--dry-run", env={"XDG_CACHE_HOME": "/nonexistent/cache"})
    assert dry.status == 0 and listing(tmp_path) == before
    assert f"git -C {tmp_path}/other am {lab.series}/count.patch" in dry.stderr
    assert lab.tree(tmp_path / "other").steps() == dry.steps()


def test_dry_run_with_an_empty_cache(lab: Lab, tmp_path: Path) -> None:
    done = lab.snplab("tree", TREE, tmp_path / "other", "--dry-run")
    assert (done.status, done.stdout) == (0, f"{tmp_path}/other\n")
    assert "linux <newest 6.12> and the series" in done.stderr and not (tmp_path / "cache" / "snplab" / "base").exists()
