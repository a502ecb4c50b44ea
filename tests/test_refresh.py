# SPDX-License-Identifier: GPL-2.0-only
"""Does `refresh` turn commits into patches without losing or adding anything?

A `refresh` that rewrites unchanged patches hides the change among them; one that leaves out a change loses work. Its output
must depend on the commits alone: not on git's version, the user's configuration, or the base's last digit. Each case
changes the commits of a small series in a copy of this repository, and checks all its files.
"""
from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.front import changed_environment, expect, listing
from tests.support.patches import TREE, Lab, make_lab, replace

ABOUT = "refresh: without a change no byte changes; one change is one file; it refuses what a patch cannot hold"
LANE = "boot"
NEEDS = ("overlay",)
TAKES = 25

# git settings, each of which could change a patch.
HOSTILE = """\
[user]
    name = Somebody Else
    email = else@example.org
[diff]
    noprefix = true
    mnemonicPrefix = true
    algorithm = histogram
    context = 9
    interHunkContext = 40
    external = false
    renames = copies
    statGraphWidth = 5
    statNameWidth = 10
    indentHeuristic = false
    suppressBlankEmpty = true
    relative = true
    orderFile = Kbuild
[diff "cpp"]
    xfuncname = "^nothing"
    textconv = false
[format]
    signOff = true
    signature = hostile
    subjectPrefix = HOSTILE
    attach = true
    numbered = true
    useAutoBase = true
    notes = *
[core]
    abbrev = 40
    autocrlf = true
    hooksPath = hooks
    pager = false
    attributesFile = attributes
[color]
    ui = always
[i18n]
    commitEncoding = ISO-8859-1
    logOutputEncoding = ISO-8859-1
[apply]
    whitespace = fix
[mailinfo]
    scissors = true
[commit]
    gpgSign = true
[am]
    threeWay = true
    keepcr = true
[log]
    showSignature = true
    date = relative
"""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Made once; each test gets a copy."""
    return make_lab(tmp_path_factory.mktemp("pristine"))


@pytest.fixture
def lab(pristine: Lab, tmp_path: Path) -> Lab:
    """A copy of the pristine one, for one test."""
    return pristine.copy(tmp_path)


# --- No change -----------------------------------------------------------------------------------


def test_no_change_no_byte(lab: Lab) -> None:
    before = listing(lab.series)
    done = lab.refresh()
    expect(done, 0, "^ +no patch has changed$")
    assert listing(lab.series) == before and lab.changes() == []
    assert done.steps()[-1] == "write 3 commits to series/linux-6.12.y"


def test_tree_of_what_refresh_wrote_no_byte(lab: Lab, tmp_path: Path) -> None:
    expect(lab.tree(tmp_path / "third"), 0)
    expect(lab.refresh(tmp_path / "third"), 0)
    assert lab.changes() == []


def test_hostile_configuration_changes_nothing(lab: Lab, tmp_path: Path) -> None:
    hostile = tmp_path / "hostile"
    hostile.write_text(HOSTILE, encoding="utf-8")
    (lab.work / "hooks").mkdir()
    for name in ("pre-commit", "applypatch-msg"):
        (lab.work / "hooks" / name).symlink_to("/bin/false")
    # Set in the user's configuration, in the work tree's and in the environment.
    with open(lab.work / ".git/config", "a", encoding="utf-8") as f:
        f.write(HOSTILE)
    with open(lab.work / ".git/info/exclude", "a", encoding="utf-8") as f:
        f.write("/hooks/\n")
    (lab.work / ".git/info/attributes").write_text("*.c -diff\n", encoding="utf-8")
    env: dict[str, str | None] = {
        "GIT_CONFIG_GLOBAL": str(hostile), "GIT_DIFF_OPTS": "-u1", "GIT_EXTERNAL_DIFF": "false", "GIT_AUTHOR_NAME": "x",
        "GIT_COMMITTER_DATE": "now"}
    expect(lab.refresh(env=env), 0, "no patch has changed")
    expect(lab.tree(tmp_path / "other", env=env), 0)
    assert lab.changes() == []
    assert lab.git("rev-parse", "HEAD", cwd=tmp_path / "other") == lab.git("rev-parse", "HEAD")


def test_no_identity_is_needed(lab: Lab, tmp_path: Path) -> None:
    expect(lab.refresh(env={"GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(tmp_path / "nowhere")}), 0)
    assert lab.changes() == []


def test_notes_and_comments_edited_by_hand_stay(lab: Lab, tmp_path: Path) -> None:
    replace(lab.series / "add-new.patch", "Seen on a Tuesday", "Seen on a Friday")
    replace(lab.series / "series", "About the next", "About it")
    before = {path.name: path.read_bytes() for path in lab.series.iterdir()}
    expect(lab.refresh(), 0, "no patch has changed")
    assert {path.name: path.read_bytes() for path in lab.series.iterdir()} == before


def test_dry_run_lists_the_runs_steps_and_touches_nothing(lab: Lab, tmp_path: Path) -> None:
    lab.git("commit", "-q", "--amend", "-m", "kernel: Dry")
    # Make the index stale: then a plain "git status" would rewrite it.
    (lab.work / "Kbuild").touch()
    before = listing(tmp_path)
    dry = lab.refresh("--dry-run", env={"XDG_CACHE_HOME": "/nonexistent/cache"})
    expect(dry, 0, f"git -C {lab.work} format-patch -1 [0-9a-f]{{40}} -o {lab.series}$")
    assert listing(tmp_path) == before
    # A step that says something has two lines.
    assert list(dict.fromkeys(lab.refresh().steps())) == dry.steps()


def test_dry_run_without_a_tree(lab: Lab, tmp_path: Path) -> None:
    shutil.rmtree(lab.work)
    before = listing(tmp_path)
    expect(lab.refresh("--dry-run"), 0,
           "no work tree in .*: ./snplab tree 6.12.y makes it")
    assert listing(tmp_path) == before


# --- Another base --------------------------------------------------------------------------------


def on_newer(lab: Lab, name: str, old: str, new: str) -> tuple[Path, Path]:
    """A kernel with that change, and a work tree on it."""
    kernel = lab.newer_kernel(name, old, new)
    work = lab.folder / "newer-tree"
    expect(lab.tree(work, linux=kernel), 0, "a work tree of linux 6.12.1000 and the series")
    return kernel, work


@pytest.mark.parametrize("old, new", [
    ("y *= 9", "y *= 99"), ("int second(int y)", "int second(int y) /* x */"), ("int first(void)", "int renamed(void)")],
    ids=["another blob", "another blob, nearer", "the function that a hunk names"])
def test_newer_base_beside_the_hunks_no_byte(lab: Lab, old: str, new: str) -> None:
    before = lab.patch("count.patch")
    _, work = on_newer(lab, "kernel/a.c", old, new)
    blob = lab.git("rev-parse", "--short=12", "base:kernel/a.c", cwd=work)
    assert f"index {blob}" not in before, "the base has the same blob: nothing is tested"
    expect(lab.refresh(work), 0, "^ +no patch has changed$")
    assert lab.changes() == []


def test_newer_base_that_moves_hunks_is_said(lab: Lab, tmp_path: Path) -> None:
    kernel, work = on_newer(lab, "kernel/a.c", "int first(void)", "int zeroth(void);\nint first(void)")
    done = lab.refresh(work)
    expect(done, 0, "^ +moved   count.patch: its hunks are at other lines of linux 6.12.1000$")
    assert "multiply.patch" not in done.output and "changed" not in done.output
    assert lab.changes() == [" M count.patch"]
    was = lab.git("show", "HEAD:./count.patch", cwd=lab.series)
    old, new = was.split("\n"), lab.patch("count.patch").split("\n")
    different = [one for one, other in zip(old, new) if one != other]
    assert [line.split()[0] for line in different] == ["index", "@@"], different
    lab.check_same_tree(kernel, work)
    # And it ends there: what it wrote, it leaves alone; on the older base the hunks are back where they were.
    expect(lab.refresh(work), 0, "no patch has changed")
    expect(lab.tree(tmp_path / "back"), 0)
    expect(lab.refresh(tmp_path / "back"), 0, "moved   count.patch: its hunks are at other lines of linux 6.12.999")


def test_newer_base_in_a_hunk_is_a_change(lab: Lab) -> None:
    kernel = lab.newer_kernel("kernel/b.c", "y *= 7", "y *= 77")
    first, second, third = lab.git("rev-list", "--reverse", "base..HEAD").split()
    lab.git("checkout", "-q", "--detach", "base")
    for name in ("Makefile", "kernel/b.c"):
        shutil.copy(kernel / name, lab.work / name)
    lab.commit("linux 6.12.1000")
    lab.git("tag", "-f", "base")
    lab.git("cherry-pick", first)
    lab.edit("kernel/b.c", "y *= 8", "y *= 80")
    lab.git("commit", "-qa", "-C", second)
    lab.git("cherry-pick", third)
    done = lab.refresh()
    expect(done, 0, "^ +changed multiply.patch$")
    assert "moved" not in done.output and lab.changes() == [" M multiply.patch"]


def test_lines_that_a_message_has_are_no_index_line(lab: Lab) -> None:
    text = "kernel: Add new\n\nindex 1111111..2222222 100644"
    lab.git("commit", "-q", "--amend", "-m", text)
    expect(lab.refresh(), 0, "changed add-new.patch")
    lab.git("commit", "-q", "--amend", "-m", text.replace("2222222", "3333333"))
    expect(lab.refresh(), 0, "changed add-new.patch")


# --- Changes -------------------------------------------------------------------------------------


def test_amended_message_one_file(lab: Lab) -> None:
    lab.git("commit", "-q", "--amend", "-m", "kernel: Add new, under another title\n\nA text.")
    expect(lab.refresh(), 0, "^ +changed add-new.patch$")
    assert lab.changes() == [" M add-new.patch"]
    lines = lab.patch("add-new.patch").split("\n")
    for line in ("Subject: [PATCH] kernel: Add new, under another title", "Seen on a Tuesday.", "Forwarded: no",
                 "Date: Tue, 1 Jan 2019 12:00:00 +0100"):
        assert line in lines


def test_changed_code_squashed_into_its_commit_one_file(lab: Lab) -> None:
    lab.edit("kernel/a.c", "x += 9", "x += 90")
    lab.git("commit", "-q", "-a", "--fixup=HEAD~2")
    lab.git("rebase", "-q", "-i", "--autosquash", "base", env={"GIT_SEQUENCE_EDITOR": "true"})
    expect(lab.refresh(), 0)
    assert lab.changes() == [" M count.patch"]
    lab.check_same_tree()


def test_new_commit_a_file_and_a_line(lab: Lab) -> None:
    lab.edit("kernel/c.c", "y *= 2", "y *= 20")
    lab.commit("KVM: SEV: kernel/c: Multiply_by 20 (at last), which makes a long subject longer")
    name = "kvm-sev-kernel-c-multiply-by-20-at-last-which-makes-a-long.patch"
    expect(lab.refresh(), 0, f"^ +new     {name}$")
    assert lab.changes() == [" M series", f"?? {name}"]
    assert lab.list_diff() == [f"+{name}"]
    lab.check_same_tree()


def test_new_first_commit_with_the_others_picked_again(lab: Lab) -> None:
    lab.git("checkout", "-q", "--detach", "base")
    lab.edit("kernel/c.c", "y *= 2", "y *= 20")
    lab.commit("kernel: First")
    lab.git("cherry-pick", f"base..snplab/{TREE}")
    expect(lab.refresh(), 0)
    assert lab.changes() == [" M series", "?? kernel-first.patch"]
    assert lab.entries() == ["kernel-first.patch", "count.patch", "multiply.patch", "add-new.patch"]
    assert (lab.series / "series").read_text(encoding="utf-8").startswith("# The head comment.\n")


def test_second_commit_of_the_same_title_gets_a_name_of_its_own(lab: Lab) -> None:
    lab.edit("kernel/c.c", "y *= 2", "y *= 20")
    lab.commit("kernel: Add new")
    expect(lab.refresh(), 0)
    assert lab.changes() == [" M series", "?? kernel-add-new.patch"]


def test_dropped_commit_its_file_and_line_go(lab: Lab) -> None:
    lab.rebase("1", "3")
    expect(lab.refresh(), 0, "^ +gone    multiply.patch$")
    assert lab.changes() == [" D multiply.patch", " M series"]
    assert lab.list_diff() == ["-multiply.patch"]
    lab.check_same_tree()


def test_reordered_one_line_moves(lab: Lab) -> None:
    lab.rebase("2", "1", "3")
    expect(lab.refresh(), 0)
    assert lab.changes() == [" M series"]
    assert lab.list_diff() == ["-count.patch", "+count.patch"]
    assert lab.entries() == ["multiply.patch", "count.patch", "add-new.patch"]
    lab.check_same_tree()


def test_what_stands_on_a_list_line_moves_with_it(lab: Lab) -> None:
    lab.rebase("3", "1", "2")
    expect(lab.refresh(), 0)
    assert lab.changes() == [" M series"]
    assert lab.list_diff() == ["+add-new.patch # last", "-add-new.patch # last"]


def test_renamed_twice_the_file_keeps_its_name(lab: Lab) -> None:
    lab.git("commit", "-q", "--amend", "-m", "kernel: Another")
    expect(lab.refresh(), 0)
    lab.git("commit", "-qam", "x", cwd=lab.top)
    lab.git("commit", "-q", "--amend", "-m", "kernel: Yet another")
    expect(lab.refresh(), 0)
    assert lab.changes() == [" M add-new.patch"]


def test_removed_file(lab: Lab) -> None:
    lab.git("rm", "-q", "kernel/b.c")
    lab.commit("kernel: Remove b")
    expect(lab.refresh(), 0)
    lab.check_same_tree()


def test_renamed_file_is_a_removed_and_a_new_one(lab: Lab) -> None:
    lab.git("mv", "kernel/b.c", "kernel/z.c")
    lab.commit("kernel: Rename b")
    expect(lab.refresh(), 0)
    lab.check_same_tree()
    assert not [line for line in lab.patch("kernel-rename-b.patch").split("\n") if line.startswith("rename")]


def test_text_that_is_no_utf8_stays(lab: Lab) -> None:
    (lab.work / "kernel/latin.c").write_bytes(b"/* gr\xf6\xdfer */\r\n\x0c\n")
    lab.commit("kernel: Latin")
    expect(lab.refresh(), 0)
    assert b"+/* gr\xf6\xdfer */\r\n+\x0c\n" in (lab.series / "kernel-latin.patch").read_bytes()
    lab.check_same_tree()
    expect(lab.refresh(), 0, "no patch has changed")


# --- Refusals, each with its message; no file changes --------------------------------------------


def dirty(lab: Lab) -> None:
    with open(lab.work / "kernel/a.c", "a", encoding="utf-8") as f:
        f.write("int z;\n")


def untracked(lab: Lab) -> None:
    (lab.work / "kernel/z.c").write_text("int z;\n", encoding="utf-8")


def staged(lab: Lab) -> None:
    dirty(lab)
    lab.git("add", "-A")


def rebasing(lab: Lab) -> None:
    lab.rebase("edit:1", "2", "3")


def merged(lab: Lab) -> None:
    lab.git("checkout", "-q", "-b", "side", "base")
    lab.edit("kernel/c.c", "x += 1", "x += 7")
    lab.commit("side")
    lab.git("checkout", "-q", f"snplab/{TREE}")
    lab.git("merge", "-q", "--no-edit", "side")


def below_base(lab: Lab) -> None:
    lab.git("checkout", "-q", "--orphan", "elsewhere")
    lab.commit("kernel: Elsewhere")


def binary(lab: Lab) -> None:
    (lab.work / "kernel/bin").write_bytes(b"a\0b")
    lab.commit("kernel: Binary")


def behind(lab: Lab) -> None:
    replace(lab.series / "count.patch", "So that it is more", "So that it is much more")
    lab.git("commit", "-qam", "other", cwd=lab.top)


def foreign(lab: Lab) -> None:
    shutil.rmtree(lab.work)
    lab.work.mkdir()
    lab.git("init", "-q", ".")


def other_tree(lab: Lab) -> None:
    lab.git("config", "snplab.tree", "mainline")


def amend(message: str) -> Callable[[Lab], object]:
    """Changes the message of the last commit."""
    return lambda lab: lab.git("commit", "-q", "--amend", "-m", message)


REFUSED: dict[str, tuple[Callable[[Lab], object], str]] = {
    "an uncommitted change": (dirty, "uncommitted changes"),
    "a new file that was forgotten": (untracked, "kernel/z.c"),
    "a staged change": (staged, "uncommitted changes"),
    "a Signed-off-by": (lambda lab: lab.git("commit", "-q", "--amend", "-s", "--no-edit"), "Signed-off-by"),
    "in the middle of a rebase": (rebasing, "in the middle of"),
    "a merge": (merged, "is a merge"),
    "no tag base": (lambda lab: lab.git("tag", "-d", "base"), 'no tag "base"'),
    "HEAD is not on top of the base": (below_base, "expected HEAD to be on top of"),
    "no tree": (lambda lab: shutil.rmtree(lab.work), "./snplab tree 6.12.y$"),
    "somebody else's repository": (foreign, "something else"),
    "a work tree of another series": (other_tree, "found one of mainline"),
    "no commit at all": (lambda lab: lab.git("reset", "-q", "--hard", "base"), "found none"),
    "an empty commit": (lambda lab: lab.git("commit", "-q", "--allow-empty", "-m", "kernel: Nothing"), "changes no file"),
    "a binary file": (binary, "binary"),
    "a message that a mail would cut": (amend("kernel: Add new\n\nFirst.\n---\nThis would be lost."), "would not survive"),
    "a message that begins like a header": (
        amend("kernel: Add new\n\nFrom: Somebody <else@example.org>\n\nText."), "would not survive"),
    "the patches were changed since": (behind, "would undo that"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(lab: Lab, case: str) -> None:
    break_it, text = REFUSED[case]
    break_it(lab)
    before = listing(lab.series)
    expect(lab.refresh(), 3, text)
    assert listing(lab.series) == before and lab.changes() == []
    assert [path.name for path in lab.series.parent.iterdir()] == [lab.series.name]


@pytest.mark.parametrize("words, status, text", [
    ((), 2, "which tree. expected 6.12.y"), (("5.4.y",), 2, "no such tree: expected 6.12.y, host, found '5.4.y'"),
    ((TREE, "one", "two"), 2, "found a third argument: 'two'"),
    ((TREE, "--linux", "x"), 2, "refresh has no option --linux")], ids=str)
def test_wrong_words(lab: Lab, words: tuple[str, ...], status: int, text: str) -> None:
    expect(lab.snplab("refresh", *words), status, text)


def test_interrupted_leaves_nothing_half_made(lab: Lab) -> None:
    """After a SIGTERM at any moment, either all files are written or none."""
    lab.git("commit", "-q", "--amend", "-m", "kernel: Interrupted")
    process = subprocess.Popen([str(lab.top / "snplab"), "refresh", TREE], env=changed_environment(lab.env),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while process.poll() is None and not list(lab.series.parent.glob(".refresh.*")) and time.monotonic() < end:
        time.sleep(0.01)
    process.terminate()
    assert process.wait(30) in (143, 0)
    assert not list(lab.series.parent.glob(".refresh.*"))
    assert lab.changes() == ([" M add-new.patch"] if process.returncode == 0 else [])
