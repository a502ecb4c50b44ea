# SPDX-License-Identifier: GPL-2.0-only
"""Does `status --all` tell a tree with a bug's fix from one without it?

A patch that applies at the wrong place would call a tree fixed that is not, and nobody would look again. So here are twin
functions, moved and changed surroundings, and trees that lack the code. The bugs and trees are made up.
"""
from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lab.history.bug import Bug
from lab.history.corpus import Entry, corpus
from lab.history.diff import hunks_of, single_hunks
from lab.history.presence import PARTS, AllReport, Answer, Presence, Trial, presence_of
from tests.support.front import expect, listing, run_snplab
from tests.support.status_trees import make_tree

ABOUT = "status --all: whether a tree has a bug's fix, by the patches of tests/history"
LANE = "fast"
NEEDS = ("overlay",)
TAKES = 5

FILE = "arch/x86/kvm/svm/sev.c"
HEADER = """A vCPU is used without a check.

Fix: 0123456789ab
Subject: KVM: SEV: Check the vCPU
Since: unknown
Fixed-in: 7.1
Component: kvm-sev
Class: D
Caught-by: sev_smoke_test
"""
CHECK = "\tif (!vcpu->ready)\n\t\treturn -EINVAL;\n"


def function(name: str, check: str = CHECK) -> str:
    """A function with a check in it."""
    return (f"static int {name}(struct kvm_vcpu *vcpu)\n{{\n\tint ret;\n\n\tprepare(vcpu);\n{check}\n\tret = use(vcpu);\n"
            "\treturn ret;\n}\n\n")


def removal(name: str, present: bool = False) -> str:
    """The patch that takes the check out of that function; with `present`, the fix that puts it in."""
    sign = "+" if present else "-"
    lines = [" ", " \tprepare(vcpu);", *(f"{sign}{line}" for line in CHECK.splitlines()), " ", " \tret = use(vcpu);",
             " \treturn ret;"]
    sides = ("10,5 +10,7" if present else "10,7 +10,5").split(" +")
    return (f"diff --git a/{FILE} b/{FILE}\n--- a/{FILE}\n+++ b/{FILE}\n@@ -{sides[0]} +{sides[1]} @@ "
            f"static int {name}(struct kvm_vcpu *vcpu)\n" + "\n".join(lines) + "\n")


class World:
    """A folder with a tree and bugs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = folder / "tree"

    def write(self, text: str, name: str = FILE) -> World:
        """Writes the tree's file."""
        path = self.tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        # The names that the check uses.
        (self.tree / "arch/x86/kvm/kvm.h").write_text("struct kvm_vcpu *vcpu; bool ready; EINVAL\n", encoding="utf-8")
        return self

    def bug(self, diff: str, tree: str = "mainline", more: str = "") -> Bug:
        """Writes a bug's patch."""
        patch = self.folder / tree / "unchecked-vcpu.patch"
        patch.parent.mkdir(exist_ok=True)
        patch.write_text(f"{HEADER}{more}---\n{diff}", encoding="utf-8")
        return Bug.read(tree, patch)

    def ask(self, *bugs: Bug, version: str = "6.12.1") -> Presence:
        """The answer for these patches of one bug."""
        before = listing(self.tree)
        with TemporaryDirectory(dir=self.folder) as scratch:
            trial = Trial(self.tree, Path(scratch), version)
            found = presence_of(trial, Entry("unchecked-vcpu", {bug.tree: bug for bug in bugs}))
        assert listing(self.tree) == before, "expected the tree unchanged"
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A folder with a tree and bugs."""
    return World(tmp_path)


def file_of(*functions: str, above: int = 6) -> str:
    """A file with these functions."""
    return "// SPDX\n" + "#define X 1\n" * above + "".join(functions)


def line_of(world: World, text: str) -> int:
    """The number of the line after the first one that contains the text."""
    lines = (world.tree / FILE).read_text(encoding="utf-8").splitlines()
    return next(i for i, line in enumerate(lines, 1) if text in line) + 1


@pytest.mark.parametrize("above", [0, 5, 400])
def test_fixed_and_open_wherever_the_code_is(world: World, above: int) -> None:
    bug = world.bug(removal("launch"))
    fixed = world.write(file_of(function("launch"), above=above)).ask(bug)
    assert (fixed.answer, fixed.where) == (Answer.FIXED, f"{FILE}:{line_of(world, 'prepare')}")
    found = world.write(file_of(function("launch", ""), above=above)).ask(bug)
    assert (found.answer, found.where) == (Answer.OPEN, f"{FILE}:{line_of(world, 'prepare')}")


def test_a_patch_that_is_the_fix_says_the_reverse(world: World) -> None:
    bug = world.bug(removal("launch", present=True), more="Present: yes\n")
    assert world.write(file_of(function("launch"))).ask(bug).answer is Answer.FIXED
    assert world.write(file_of(function("launch", ""))).ask(bug).answer is Answer.OPEN


def test_a_twin_does_not_answer_for_the_function(world: World) -> None:
    """The other function has the same lines, and the check."""
    bug = world.bug(removal("launch"))
    text = file_of(function("launch", "\tif (other(vcpu))\n\t\treturn -EBUSY;\n"), function("update"))
    assert world.write(text).ask(bug).answer is Answer.UNKNOWN
    assert world.write(file_of(function("launch_more"), function("update"))).ask(bug).answer is Answer.NO_SUCH_CODE


def test_how_much_context_is_enough(world: World) -> None:
    """Two lines; one, where the lines to take away are seen, too."""
    bug = world.bug(removal("launch"))
    for check, two, one in ((CHECK, Answer.FIXED, Answer.FIXED), ("", Answer.OPEN, Answer.UNKNOWN)):
        text = file_of(function("launch", check)).replace("\treturn ret;", "\treturn 0;")
        assert world.write(text).ask(bug).answer is two
        text = text.replace("\tret = use(vcpu);", "\tret = use_all(vcpu);")
        assert world.write(text).ask(bug).answer is one
    text = file_of(function("launch")).replace("\n\n\tret = use(vcpu);", "\n\tlog(vcpu);\n\tret = use(vcpu);")
    assert world.write(text).ask(bug).answer is Answer.UNKNOWN


@pytest.mark.parametrize("text,reason", [
    (None, f"no {FILE}"), ("int x;\n", "no launch()"), ("/* prelaunch() */\n", "no launch()")])
def test_no_such_code(world: World, text: str | None, reason: str) -> None:
    world.tree.mkdir()
    if text is not None:
        world.write(text)
    found = world.ask(world.bug(removal("launch")))
    assert (found.answer, found.where) == (Answer.NO_SUCH_CODE, reason)


def test_a_function_that_has_moved_is_unknown(world: World) -> None:
    """It is in another file."""
    world.write("int x;\n").write(file_of(function("launch", "")), "arch/x86/kvm/svm/launch.c")
    assert world.ask(world.bug(removal("launch"))).answer is Answer.UNKNOWN


def test_a_fix_made_of_other_code_is_unknown(world: World) -> None:
    """The tree does not know what the fix looks at: whether it has the bug cannot be said."""
    bug = world.bug(removal("launch"))
    world.write(file_of(function("launch", "")))
    (world.tree / "arch/x86/kvm/kvm.h").write_text("vcpu EINVAL\n", encoding="utf-8")
    found = world.ask(bug)
    assert (found.answer, found.where) == (Answer.UNKNOWN, "its fix uses ready, which this tree does not have")


def test_a_fix_that_is_there_is_not_inserted_again(world: World) -> None:
    """The check has moved within the function, so that the patch applies in reverse behind it."""
    text = file_of(function("launch", "").replace("\tint ret;\n", "\tint ret;\n\n" + CHECK))
    assert world.write(text).ask(world.bug(removal("launch"))).answer is Answer.UNKNOWN


def test_a_removal_with_little_context_must_be_unique(world: World) -> None:
    bug = world.bug(removal("launch"))
    text = function("launch", CHECK).replace("\treturn ret;", "\treturn 0;").replace("use(vcpu)", "use_all(vcpu)")
    assert world.write(file_of(text)).ask(bug).answer is Answer.FIXED
    twice = text.replace("\tint ret;\n", "\tint ret;\n\n" + CHECK)
    assert world.write(file_of(twice)).ask(bug).answer is Answer.UNKNOWN


@pytest.mark.parametrize("above", [0, 3, 50])
def test_the_second_of_two_hunks_is_found(world: World, above: int) -> None:
    """git counts its line in the file as the first hunk has left it."""
    both = removal("launch") + removal("finish").split("+++", 1)[1].split("\n", 1)[1].replace("-10,7 +10,5", "-40,7 +38,5")
    bug = world.bug(both)
    middle = "#define Y 1\n" * 17
    text = file_of(function("launch"), middle, function("finish"), above=above)
    assert world.write(text).ask(bug).answer is Answer.FIXED
    assert world.write(text.replace(CHECK, "")).ask(bug).answer is Answer.OPEN


def test_a_definition_that_is_no_function(world: World) -> None:
    """A table's first line ends in a brace."""
    diff = (f"diff --git a/{FILE} b/{FILE}\n--- a/{FILE}\n+++ b/{FILE}\n"
            "@@ -4,5 +4,4 @@ static const struct ops all_ops = {\n"
            " \t.one = one,\n \t.two = two,\n-\t.three = three,\n \t.four = four,\n \t.five = five,\n")
    table = "static const struct ops all_ops = {\n\t.zero = zero,\n\t.one = one,\n\t.two = two,\n\t.three = three,\n" \
        "\t.four = four,\n\t.five = five,\n};\n"
    bug = world.bug(diff)
    assert world.write(file_of(table)).ask(bug).answer is Answer.FIXED
    (world.tree / "arch/x86/kvm/more.h").write_text("three\n", encoding="utf-8")
    assert world.write(file_of(table.replace("\t.three = three,\n", ""))).ask(bug).answer is Answer.OPEN


@pytest.mark.parametrize("name,value", [("LANGUAGE", "de"), ("GIT_DIR", "/nonexistent"), ("GIT_CEILING_DIRECTORIES", "/x")])
def test_the_users_settings_do_not_matter(name: str, value: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a repository around the scratch folder."""
    subprocess.run(["git", "init", "-q", str(world.folder)], check=True)
    monkeypatch.setenv(name, value)
    found = world.write(file_of(function("launch"), above=40)).ask(world.bug(removal("launch")))
    assert (found.answer, found.where) == (Answer.FIXED, f"{FILE}:{line_of(world, 'prepare')}")


def test_files_that_cannot_be_used(world: World) -> None:
    bug = world.bug(removal("launch"))
    found = world.write(file_of(function("launch")).replace("\n", "\r\n")).ask(bug)
    assert (found.answer, found.where) == (Answer.UNKNOWN, f"{FILE} has CRLF line ends")
    (world.tree / FILE).unlink()
    (world.tree / FILE).symlink_to("nowhere")
    found = world.ask(bug)
    assert (found.answer, found.where) == (Answer.UNKNOWN, f"cannot read {FILE}: No such file or directory")


def test_other_code_is_unknown(world: World) -> None:
    text = file_of(function("launch", "\tif (!vcpu->ready || vcpu->busy)\n\t\treturn -EINVAL;\n"))
    found = world.write(text).ask(world.bug(removal("launch")))
    assert (found.answer, found.where) == (Answer.UNKNOWN, "its patch applies neither as it is nor in reverse")


def test_patches_for_several_trees(world: World) -> None:
    """One that does not fit leaves the answer to the other; two that do not agree are no answer."""
    other = removal("launch").replace("use(vcpu)", "use_it(vcpu)")
    world.write(file_of(function("launch")))
    assert world.ask(world.bug(removal("launch")), world.bug(other, "6.12.y")).answer is Answer.FIXED
    wrong = world.bug(removal("launch"), "6.12.y", "Present: yes\n")
    found = world.ask(world.bug(removal("launch")), wrong)
    assert (found.answer, found.where) == (Answer.UNKNOWN, "its patches for different trees do not agree")


def test_lines_seen_count_more_than_a_place_for_them(world: World) -> None:
    """The other tree's fix looks different, and is at another place of the function, which this tree has unchanged."""
    added = "+\tif (vcpu->ready == 0)\n+\t\treturn -EINVAL;\n"
    fix = world.bug(f"diff --git a/{FILE} b/{FILE}\n--- a/{FILE}\n+++ b/{FILE}\n@@ -9,4 +9,6 @@"
                    " static int launch(struct kvm_vcpu *vcpu)\n"
                    f" {{\n \tint ret;\n \n{added} \tprepare(vcpu);\n", "6.12.y", "Present: yes\n")
    world.write(file_of(function("launch")))
    assert world.ask(fix).answer is Answer.OPEN
    assert world.ask(world.bug(removal("launch")), fix).answer is Answer.FIXED


def test_hunks_know_their_function() -> None:
    """The definition that begins in the context counts, not the one in the header; a label is none."""
    diff = ["--- a/x.c", "+++ b/x.c",
            "@@ -1,4 +1,3 @@ static int before(void)", " static int", " named(struct a *a)", " {", "-\tint x;",
            "@@ -20,3 +19,4 @@ out:", " \tx();", "+\ty();", " \tz();",
            "diff --git a/y.c b/y.c", "--- /dev/null", "+++ b/y.c", "@@ -0,0 +1 @@", "+int y;"]
    found = [(hunk.file, hunk.number, hunk.function, hunk.leading) for hunk in hunks_of(diff)]
    assert found == [("x.c", 1, "named", 3), ("x.c", 2, "", 1), ("y.c", 1, "", 0)]
    whole = ["diff --git a/x.c b/x.c", *diff]
    first, second, third = single_hunks(whole)
    assert first == whole[:8] and second == [*whole[:3], *whole[8:12]] and third == whole[12:]


@pytest.mark.parametrize("version,answer", [
    ("7.2.13", Answer.OPEN), ("7.3", Answer.NO_SUCH_CODE), ("8.0-rc1", Answer.NO_SUCH_CODE)])
def test_a_fix_that_a_release_does_without(version: str, answer: Answer, world: World) -> None:
    bug = world.bug(removal("launch"), more="Not-needed-since: 7.3; use() checks by itself\n")
    assert not bug.errors
    found = world.write(file_of(function("launch", ""))).ask(bug, version=version)
    assert found.answer is answer
    if answer is Answer.NO_SUCH_CODE:
        assert found.where == "not needed since 7.3: use() checks by itself"
    assert world.write(file_of(function("launch"))).ask(bug, version=version).answer is Answer.FIXED


def report(answers: Iterable[Answer], entry: Entry) -> AllReport:
    """A report with these answers."""
    return AllReport("tree", "6.12.1", [Presence(entry, answer, "here") for answer in answers])


def test_exit_status_and_order(world: World) -> None:
    entry = Entry("unchecked-vcpu", {"mainline": world.bug(removal("launch"))})
    for answers, status in (((Answer.FIXED, Answer.NO_SUCH_CODE), 0), ((Answer.FIXED, Answer.UNKNOWN), 3),
                            ((Answer.OPEN, Answer.UNKNOWN), 1), ((), 3)):
        assert report(answers, entry).exit == status
    lines = report((Answer.OPEN, Answer.FIXED, Answer.NO_SUCH_CODE), entry).lines()
    assert lines == [f'{word}: unchecked-vcpu: here: 0123456789ab ("KVM: SEV: Check the vCPU")'
                     for word in ("not affected", "fixed", "open")] + [
        "3 bugs: 1 open, 0 unknown, 1 fixed, 1 not affected (linux 6.12.1)"]


def test_the_verb_answers_for_every_bug(tmp_path: Path) -> None:
    """The whole command, on a tree without any of the code."""
    tree, result = make_tree(tmp_path / "tree"), tmp_path / "json"
    expect(run_snplab("status", tree, "--all"), 3, "missing: virt/kvm, drivers, include/linux")
    for part in PARTS:
        (tree / part).mkdir(parents=True, exist_ok=True)
    done = run_snplab("status", tree, "--all", "--json", result)
    data = json.loads(result.read_text(encoding="utf-8"))
    slugs = [entry.slug for entry in corpus()]
    assert [bug["bug"] for bug in data["bugs"]] == slugs and sum(data["counts"].values()) == len(slugs)
    assert done.status == data["exit"]
    assert sorted(line.split(": ")[1] for line in done.stdout.splitlines()[:-1]) == slugs
    assert done.stdout.splitlines()[-1].startswith(f"{len(slugs)} bugs: ")


def test_no_tree(tmp_path: Path) -> None:
    expect(run_snplab("status", tmp_path, "--all"), 3, "is not a complete Linux kernel tree")
    expect(run_snplab("status", "--all"), 2, "expected the top folder of a Linux kernel tree")
