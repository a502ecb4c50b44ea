# SPDX-License-Identifier: GPL-2.0-only
"""Does `status` tell a fixed tree from an open one?

A tool that only searches for the lock's name is fooled by a lock in a comment, under an #if or in the neighbouring
function, and misses a fix of an unusual shape. Each fixture in tests/status/ has one such shape, with the verdict and the
lines that `status` must name. Other tests use unusual paths, folders that are no kernel tree, and a machine without a
working spatch.
"""
from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.core.process import Processes
from lab.status.examine import examine
from lab.status.report import Report, Word
from lab.status.source import conditional_lines, narrow
from lab.status.spatch import Marks, marks_of
from tests.support.front import TOP, Done, expect, listing, run_command
from tests.support.status_trees import SEV, VERSION, Fixture, fixture_names, make_tree, tree_of

ABOUT = "status gives each shape of fixed, open, leaking and broken code its verdict, and names the right lines"
LANE = "boot"
NEEDS = ("status",)
TAKES = 75

EXITS = {"fixed": 0, "not affected": 0, "open": 1, "leaking": 1, "broken": 1, "unknown": 3}
FAKE = TOP / "tests" / "support" / "status_fake.py"

Snplab = Callable[..., Done]
Ask = Callable[[str], Report]


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files. Fails if one is left at the end."""
    folder = tmp_path / "TMPDIR"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield folder
    assert not list(folder.iterdir()), "a temporary file is left"


@pytest.fixture
def ask() -> Ask:
    """ask(folder): the report on the tree in that folder."""
    return lambda folder: examine(folder, Processes())


@pytest.fixture
def spaced(tmp_path: Path) -> Path:
    """A fixed tree in a folder with an unusual name."""
    return tree_of(tmp_path / "a tree (with) spaces & 'quotes'", "fixed")


def expect_fixed(report: Report) -> None:
    """Fails unless the report is the one on the fixture "fixed"."""
    (line,) = Fixture("fixed").marked
    assert [text for text in report.lines() if text.startswith(f"fixed: {SEV}:{line}: ")], report
    assert report.exit == 0


def expect_refused(report: Report, pattern: str) -> None:
    """Fails unless status refused the folder with such a message."""
    assert (report.verdict.word, report.exit, report.lines()) == (Word.ERROR, 3, [])
    assert re.search(pattern, "\n".join(report.complaint)), report.complaint


# ---- one test for each fixture


@pytest.mark.parametrize("name", fixture_names())
def test_fixture(name: str, tmp_path: Path, ask: Ask) -> None:
    """Verdict, exit status, the lines named, and their text are as the fixture says."""
    fixture = Fixture(name)
    word = fixture.field("expect")
    assert word in EXITS, f"the fixture expects '{word}', which is no verdict"
    report = ask(str(tree_of(tmp_path / "tree", name)))
    assert report.complaint == []
    verdicts = [line for line in report.lines() if not line.startswith("note: ")]
    assert verdicts, "no verdict at all"
    for line in verdicts:
        assert line.startswith(f"{word}: ")
        assert f"(linux {fixture.field('linux') or VERSION})" in line
        assert fixture.field("says") in line
    at = [re.match(rf"{word}: {re.escape(SEV)}:(\d+): ", line) for line in verdicts]
    assert sorted(int(found[1]) for found in at if found) == fixture.marked
    assert report.exit == EXITS[word]


# ---- trees


def test_odd_path(spaced: Path, ask: Ask) -> None:
    """DIR contains spaces, brackets and quotes."""
    expect_fixed(ask(str(spaced)))


def test_relative_from_below(spaced: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """DIR is "..", from inside the tree."""
    monkeypatch.chdir(spaced / "arch")
    expect_fixed(ask(".."))


def test_relative_name(spaced: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """DIR is a name without a slash."""
    monkeypatch.chdir(spaced.parent)
    expect_fixed(ask(spaced.name))


def test_relative_dash(tmp_path: Path, run_snplab: Snplab) -> None:
    """DIR begins with a dash, and comes after "--"."""
    tree_of(tmp_path / "-dash", "fixed")
    expect(run_snplab("status", "--", "-dash", cwd=tmp_path), 0, f"^fixed: {SEV}:{Fixture('fixed').marked[0]}: ")


def test_read_only(spaced: Path, ask: Ask) -> None:
    """A read-only tree gets its verdict and stays unchanged."""
    folders = [spaced, *spaced.rglob("*")]
    for path in folders:
        path.chmod(path.stat().st_mode & ~0o222)
    before = listing(spaced)
    expect_fixed(ask(str(spaced)))
    assert listing(spaced) == before
    for path in folders:
        path.chmod(path.stat().st_mode | 0o200)


def test_other_config(spaced: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree's own .cocciconfig, which spatch would read in its folder, has no effect."""
    (spaced / ".cocciconfig").write_text("[spatch]\n\toptions = --no-such-option\n", encoding="utf-8")
    monkeypatch.chdir(spaced)
    expect_fixed(ask("."))


def test_moved_file(tmp_path: Path, ask: Ask) -> None:
    """The function is in another file of KVM."""
    file, fixture = f"{Path(SEV).parent}/snp.c", Fixture("leaking-success")
    tree = make_tree(tmp_path / "moved", "int sev_something;\n")
    (tree / file).write_text(fixture.source, encoding="utf-8")
    report = ask(str(tree))
    assert (report.exit, report.verdict.word) == (1, Word.LEAKING)
    assert [(found.file, found.line) for found in report.verdict.findings] == [(file, n) for n in fixture.marked]


@pytest.mark.parametrize("name, other, says", [
    ("fixed", "open", "not only here"),
    ("renamed", "renamed", "not the only one"),
])
def test_twice(name: str, other: str, says: str, tmp_path: Path, ask: Ask) -> None:
    """Two files define the function."""
    tree = make_tree(tmp_path / "twice", Fixture(name).source)
    (tree / SEV).with_name("snp.c").write_text(Fixture(other).source, encoding="utf-8")
    report = ask(str(tree))
    assert (report.exit, report.verdict.word) == (3, Word.UNKNOWN)
    assert len(report.verdict.findings) == 2 and all(says in found.message for found in report.verdict.findings)


def test_taken_out(tmp_path: Path, ask: Ask) -> None:
    """A new tree from which SNP was removed does not count as unaffected."""
    report = ask(str(make_tree(tmp_path / "taken", Fixture("not-affected").source)))
    assert report.exit == 3 and re.match("unknown: .*since 6.11", report.lines()[-1])


def test_no_amd(tmp_path: Path, ask: Ask) -> None:
    """arch/x86/kvm has no AMD code."""
    report = ask(str(make_tree(tmp_path / "noamd", version="6.1.99")))
    assert report.exit == 3 and re.match("unknown: .*no AMD code", report.lines()[-1])


@pytest.mark.parametrize("name, returned, noted", [
    ("fixed", "0", "creation is in progress"),
    ("fixed-backport", "0", ""),
    ("fixed", "kvm_is_vcpu_creation_in_progress(kvm) ? -EBUSY : 0", ""),
    ("fixed", "", "does not have it"),
], ids=["nobody refuses", "the function does", "the lock does", "no lock"])
def test_creation(name: str, returned: str, noted: str, tmp_path: Path, ask: Ask) -> None:
    """A note says so if the code does not refuse while a vCPU is being created."""
    tree = tree_of(tmp_path / "creation", name)
    (tree / "virt" / "kvm").mkdir(parents=True)
    text = f"int kvm_lock_all_vcpus(struct kvm *kvm)\n{{\n\treturn {returned};\n}}\n" if returned else "int other;\n"
    (tree / "virt" / "kvm" / "kvm_main.c").write_text(text, encoding="utf-8")
    report = ask(str(tree))
    assert report.exit == 0
    notes = [line for line in report.lines() if line.startswith("note: ")]
    assert len(notes) == (1 if noted else 0) and all(noted in line for line in notes)


# ---- no tree


def test_no_kernel_empty(tmp_path: Path, ask: Ask) -> None:
    """An empty folder: the message lists the parts that were expected and those found."""
    (tmp_path / "empty").mkdir()
    report = ask(str(tmp_path / "empty"))
    expect_refused(report, "looked for: Makefile with VERSION")
    expect_refused(report, "found: none of them")


def test_no_kernel_other_project(tmp_path: Path, ask: Ask) -> None:
    """Another project's Makefile is not a kernel's."""
    (tmp_path / "Makefile").write_text("all:\n\ttrue\n", encoding="utf-8")
    expect_refused(ask(str(tmp_path)), "missing: Makefile with VERSION and PATCHLEVEL, Kbuild, arch/x86/kvm")


def test_no_kernel_inside(spaced: Path, ask: Ask) -> None:
    """DIR is a folder inside a tree."""
    expect_refused(ask(str(spaced / "arch" / "x86")), r"did you mean .*quotes. \?")


def test_no_kernel_above(spaced: Path, ask: Ask) -> None:
    """DIR is the folder above a tree."""
    spaced.rename(spaced.with_name("linux"))
    expect_refused(ask(str(spaced.parent)), r"did you mean .*/linux \?")


def test_no_kernel_sparse(spaced: Path, ask: Ask) -> None:
    """The tree has no KVM."""
    shutil.rmtree(spaced / "arch")
    expect_refused(ask(str(spaced)), "without KVM for x86")


@pytest.mark.parametrize("words, pattern", [
    ([], "found no DIR"),
    (["nowhere"], "no such folder: nowhere"),
    (["tree/Makefile"], "not a folder"),
    (["tree", "tree"], "expected one DIR"),
    (["--frob", "tree"], "has no option --frob"),
    (["--dry-run", "tree"], "has no option --dry-run"),
    (["tree", "--json"], "--json wants a value"),
    (["tree", "--json", "nowhere/x"], "--json: cannot write nowhere/x"),
    (["tree", "--json", "tree"], "--json: cannot write tree"),
], ids=["no DIR", "DIR is not there", "DIR is a file", "two DIRs", "bad option", "no dry run", "--json without FILE",
        "--json into nowhere", "--json into a folder"])
def test_usage(words: list[str], pattern: str, tmp_path: Path, run_snplab: Snplab) -> None:
    """Bad command lines."""
    tree_of(tmp_path / "tree", "fixed")
    done = run_snplab("status", *words, cwd=tmp_path)
    expect(done, 2, pattern)
    assert done.stdout == ""


def test_help(run_snplab: Snplab) -> None:
    """--help needs no tree and no spatch."""
    done = run_snplab("status", "--help")
    assert (done.status, done.stderr) == (0, "") and done.stdout.startswith("usage: ./snplab status DIR")


# ---- a machine without a spatch that works


def run_with(folder: Path, *words: str | Path) -> Done:
    """Runs `snplab status` with only the programs of one folder on PATH."""
    return run_command(sys.executable, "-I", "-B", FAKE, folder, *words)


def fake_spatch(folder: Path, text: str) -> Path:
    """A folder with a made-up spatch."""
    folder.mkdir()
    program = folder / "spatch"
    program.write_text(f"#!/usr/bin/python3\nimport os, sys, time\n{text}\n", encoding="utf-8")
    program.chmod(0o755)
    return folder


def test_no_spatch(spaced: Path, tmp_path: Path) -> None:
    """The message says how to install spatch."""
    (tmp_path / "bin").mkdir()
    done = run_with(tmp_path / "bin", spaced)
    expect(done, 3, "apt-get install coccinelle")
    assert done.stdout == ""


def test_failing_spatch(spaced: Path, tmp_path: Path) -> None:
    """A spatch that fails leads to no verdict."""
    done = run_with(fake_spatch(tmp_path / "bin", 'print("Fatal error: no", file=sys.stderr)\nsys.exit(2)'), spaced)
    expect(done, 3, "it said: Fatal error: no$")
    assert done.stdout == ""


def test_installed_when_needed(spaced: Path, tmp_path: Path) -> None:
    """Coccinelle is installed only if the tree has launch code."""
    asked: list[Path] = []
    for tree in (tmp_path, tree_of(tmp_path / "old", "not-affected"), spaced):
        examine(str(tree), Processes(), install=lambda tree=tree: asked.append(tree))  # type: ignore[misc]
    assert asked == [spaced]


def is_running(pid: int) -> bool:
    """Does the process run? A zombie does not."""
    try:
        state = re.search(r"^State:\s*(\S)", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"), re.M)
    except OSError:
        return False
    return state is not None and state[1] != "Z"


def test_interrupted(spaced: Path, tmp_path: Path) -> None:
    """A terminal's signal goes to the whole group: spatch ends, and so does the run."""
    pids = tmp_path / "pids"
    folder = fake_spatch(tmp_path / "bin", f"print(os.getpid(), file=open('{pids}', 'a'), flush=True)\ntime.sleep(60)")
    process = subprocess.Popen([sys.executable, "-I", "-B", FAKE, folder, spaced], start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 10
        while not (pids.exists() and pids.read_text(encoding="utf-8")) and time.monotonic() < end:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(20) == 143
    finally:
        process.kill()
        process.wait()
    started = [int(word) for word in pids.read_text(encoding="utf-8").split()]
    assert started, "spatch was never started"
    assert not [pid for pid in started if is_running(pid)]


# ---- JSON


def test_json_leaking(tmp_path: Path, run_snplab: Snplab) -> None:
    """The JSON has everything that the lines say."""
    tree, result = tree_of(tmp_path / "tree", "leaking-error"), tmp_path / "result.json"
    assert run_snplab("status", tree, "--json", result).status == 1
    said = json.loads(result.read_text(encoding="utf-8"))
    assert list(said)[0] == "version" and said["version"] == 1
    assert (said["verdict"], said["exit"], said["linux"]) == ("leaking", 1, VERSION)
    assert said["function"] == "snp_launch_update_vmsa"
    assert [(found["file"], found["line"]) for found in said["findings"]] == [
        (SEV, line) for line in Fixture("leaking-error").marked]


def test_json_odd_name(spaced: Path, tmp_path: Path, run_snplab: Snplab) -> None:
    """An unusual folder name is unchanged in the JSON."""
    result = tmp_path / "result.json"
    assert run_snplab("status", spaced, f"--json={result}").status == 0
    said = json.loads(result.read_text(encoding="utf-8"))
    assert (said["verdict"], said["tree"], said["exit"]) == ("fixed", str(spaced), 0)


def test_json_no_tree(tmp_path: Path, run_snplab: Snplab) -> None:
    """Without a kernel tree the JSON has no verdict."""
    (tmp_path / "empty").mkdir()
    result = tmp_path / "result.json"
    assert run_snplab("status", tmp_path / "empty", "--json", result).status == 3
    said = json.loads(result.read_text(encoding="utf-8"))
    assert (said["verdict"], said["exit"]) == ("error", 3)


def test_json_full_disk(spaced: Path, run_snplab: Snplab) -> None:
    """If the JSON cannot be written, the run fails."""
    expect(run_snplab("status", spaced, "--json", "/dev/full"), 3, "cannot write /dev/full")


# ---- the parts


def test_marks() -> None:
    """The line numbers of spatch's hunks are those of the marked lines."""
    marks = marks_of("--- a/x.c\n+++ /tmp/x.c\n@@ -12,2 +11,0 @@ int f(void)\n-\tone(\n---n;\n@@ -7 +6,0 @@\n"
                     "-static int f(int a)\n")
    assert marks == Marks(((12, "\tone("), (13, "--n;"), (7, "static int f(int a)")))
    assert (marks.lines(), marks.first, marks.text_at(12)) == ([7, 12, 13], 7, "one(")
    assert (marks.functions(), marks.defining("f")) == (["f", "one"], [7])
    assert marks.without(Marks(((12, ""),))) == [7, 13]


def test_narrow() -> None:
    """Items without the words become blank lines; line numbers, #if and #endif stay."""
    text = ("int a;\n#if X\nint f(void)\n{\n}\n/*\n} in a comment\n*/ int g(void)\n{\n\tword();\n}\n #endif\n"
            "int h(void)\n{\n}")
    assert narrow(text, ["no", "word"]).split("\n") == [
        "", "#if X", "", "", "", "/*", "} in a comment", "*/ int g(void)", "{", "\tword();", "}", " #endif",
        "", "", "", ""]


def test_conditional_lines() -> None:
    """Finds the lines under an #if inside the function, and no others."""
    text = ("#if A\nint f(void)\n{\n\tone();\n#ifdef B\n\ttwo();\n#else\n\tthree();\n#endif\n\tfour();\n}\n"
            "#if C\nint g;\n#endif\n")
    assert conditional_lines(text, [2]) == {5, 6, 7, 8}
