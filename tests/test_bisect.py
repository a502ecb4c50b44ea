# SPDX-License-Identifier: GPL-2.0-only
"""bisect-step answers git bisect run: which commits are good, bad and skipped, and when the bisection stops.

A wrong answer names an innocent commit. A real `git bisect run` searches a made-up history here, with a stub for the build
and the boot; tests/test_bisect_real.py has real kernels.
"""
from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.core.places import TOP
from lab.core.terminal import OneLine
from lab.judge.bisection import Answer, Word, answer_of
from lab.judge.verdict import BootQuestion, judge
from lab.patches.git import git_own
from tests.support import kernel_history
from tests.support.front import Done, expect, listing, run_command, run_snplab
from tests.support.judge import LAUNCH, LINUX, SNP_ENABLED, counted, edit, write_logs
from tests.test_any_tree import make_host
from tests.test_errors import make_kernel

ABOUT = "bisect-step: the answer for each way that a commit can end, and git bisect run with a stub for the boot"
LANE = "fast"
NEEDS = ("overlay",)
TAKES = 10

STUB = TOP / "tests/support/bisect_stub.py"
COMMITS = 20


def git(folder: Path, *words: str) -> str:
    """Runs git in the repository, with an identity of its own."""
    cmd = git_own(folder, *words)
    return subprocess.run(cmd.argv, env=cmd.environment(), check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class World:
    """A repository with a kernel tree, and a cache."""

    root: Path

    @property
    def tree(self) -> Path:
        """The kernel tree."""
        return self.root / "linux"

    @property
    def env(self) -> dict[str, str | None]:
        """The environment of the stub."""
        return {"XDG_CACHE_HOME": str(self.root / "cache"), "SNPLAB_STUB_LOG": str(self.root / "log"),
                "HOME": str(self.root)}

    def make(self, outcomes: Sequence[str]) -> None:
        """A history with these outcomes, the first of the tag "first"."""
        make_kernel(self.tree)
        git(self.tree, "init", "-q", "-b", "main")
        for number, word in enumerate(outcomes):
            (self.tree / "outcome").write_text(f"{word}\n", encoding="utf-8")
            (self.tree / "number").write_text(f"{number}\n", encoding="utf-8")
            git(self.tree, "add", "-A")
            git(self.tree, "commit", "-q", "-m", f"commit {number}: {word}")
            if number == 0:
                git(self.tree, "tag", "first")

    def make_repository(self) -> None:
        """A history of one commit, with the files that are there."""
        git(self.tree, "init", "-q", "-b", "main")
        git(self.tree, "add", "-A")
        git(self.tree, "commit", "-q", "-m", "all")

    def step(self, *words: str | Path, cwd: Path | None = None) -> Done:
        """One step, without git."""
        return run_command("/usr/bin/python3", "-B", STUB, *words, env=self.env, cwd=cwd or self.tree)

    def bisect(self, *words: str) -> Done:
        """A whole bisection."""
        env: dict[str, str | None] = {**self.env, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        expect(run_command("git", "bisect", "start", "main", "first", cwd=self.tree, env=env), 0)
        return run_command("git", "bisect", "run", "/usr/bin/python3", "-B", STUB, *words, cwd=self.tree, env=env)

    def tried(self) -> list[str]:
        """The outcomes of the commits that were tried."""
        path = self.root / "log"
        return path.read_text(encoding="utf-8").split() if path.exists() else []


@pytest.fixture(name="world")
def fixture_world(tmp_path: Path) -> World:
    """An empty one."""
    return World(tmp_path)


def history(changes: Mapping[int, str], bad: int) -> list[str]:
    """The outcomes of a history that is bad from one commit on, but for these commits."""
    return [changes.get(number, "bad" if number >= bad else "good") for number in range(COMMITS)]


# --- A whole bisection -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", (1, 7, 13, COMMITS - 1))
def test_the_bad_commit_is_found(world: World, bad: int) -> None:
    """Also if it is the first or the last one. The commit in the middle does not build, and another is skipped."""
    world.make(history({number: word for number, word in ((9, "build"), (10, "skip")) if number != bad}, bad))
    done = world.bisect("--test", "sev_smoke_test")
    expect(done, 0, r" is the first bad commit$")
    assert f"commit {bad}: bad" in done.stdout.partition("first bad commit")[2]
    tried = world.tried()
    assert {"good", "bad"} & set(tried) and set(tried) & {"build", "skip"} and len(tried) <= 9
    assert git(world.tree, "status", "--porcelain", "--ignored") == ""


def test_each_step_is_one_line(world: World) -> None:
    """The commit, its subject, and the answer with its reason."""
    world.make(history({}, 7))
    lines = [line for line in world.bisect("--test", "sev_smoke_test").stdout.splitlines() if ": commit" not in line]
    steps = [line for line in lines if " … " in line]
    assert len(steps) == len(world.tried())
    for line, word in zip(steps, world.tried()):
        assert line.split(" ", 1)[1].startswith("commit ") and f" … {word}: " in line and "; logs: " in line, line


@pytest.mark.parametrize("words, outcome", ((("--test", "no_such_test"), "good"), (("--frob",), "good"), ((), "setup")))
def test_the_bisection_stops(world: World, words: Sequence[str], outcome: str) -> None:
    """A wrong command line, or a fault of the machine, would make each commit bad or good."""
    world.make(["good", *[outcome] * (COMMITS - 2), "bad"])
    done = world.bisect(*words)
    assert done.status != 0 and "first bad commit" not in done.output, done.output
    assert len(world.tried()) <= 1


# --- One step ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome, status, word", (
    ("good", 0, "good: 1 passed; "), ("bad", 1, "bad: not ok: a.b; "),
    ("build", 125, "skip: the kernel does not build: sev.c:7"),
    ("skip", 125, "skip: nothing is left to run; "), ("setup", 128, "stopped")))
def test_exit_status(world: World, outcome: str, status: int, word: str) -> None:
    """The status, the line and the JSON agree."""
    world.make([outcome])
    done = world.step("--json", world.root / "json")
    expect(done, status, rf"^[0-9a-f]+ commit 0: {outcome} … {word}")
    data = json.loads((world.root / "json").read_text(encoding="utf-8"))
    assert data["exit"] == status and data["verdict"] == {"setup": "setup-failed", "build": "skip"}.get(outcome, outcome)


@pytest.mark.parametrize("words, pattern", (
    (("--frob",), "bisect-step has no option --frob"), (("x",), "bisect-step takes no argument: 'x'"),
    (("--test", "zz"), "no test matches 'zz'"), (("--broken-boot", "good"), "--broken-boot wants bad or skip, found 'good'"),
    (("--tree", ".."), "expected the top of a git work tree, found none"), (("--tree", "no"), "--tree: no such directory"),
    (("--test", "kunit:a", "--test", "kunit:b"), "expected one choice of KUnit's cases"),
    (("--timeout", "soon"), "--timeout wants seconds"),
    (("--config", "Makefile"), "Makefile: line 1: expected CONFIG_SYMBOL")))
def test_a_wrong_command_line_stops(world: World, words: Sequence[str], pattern: str) -> None:
    """git bisect would take status 2 for "bad"."""
    world.make(["good"])
    expect(world.step(*words), 128, pattern)
    assert world.tried() == []


def test_the_tree_is_the_current_one(world: World) -> None:
    """From any folder of the work tree, or with --tree from elsewhere; outside of a repository it stops."""
    world.make(["good"])
    (world.tree / "drivers").mkdir()
    expect(world.step(cwd=world.tree / "drivers"), 0)
    expect(world.step("--tree", world.tree, cwd=world.root), 0)
    expect(world.step(cwd=world.root), 128, "expected a git work tree, found none around")


def test_a_dry_run_changes_nothing(world: World) -> None:
    """It prints the commands, among them QEMU's with all cases, and ends with 0 whatever the commit."""
    make_host(world.tree)
    world.make_repository()
    before = listing(world.root)
    done = run_snplab("bisect-step", "--dry-run", "--test", "sev_smoke_test", "--test", "sev_snp_launch_test:a.b",
                      cwd=world.tree, env=world.env)
    expect(done, 0, r"snplab\.tests=sev_smoke_test,sev_snp_launch_test:-r:a\.b ")
    assert listing(world.root) == before


def test_a_tree_that_cannot_be_tested_is_skipped(world: World) -> None:
    """The verb itself, not the stub: a commit without KVM's code."""
    make_host(world.tree, without=("KVM_AMD",))
    world.make_repository()
    done = run_snplab("bisect-step", "--test", "sev_smoke_test", cwd=world.tree, env=world.env)
    expect(done, 125, r"^[0-9a-f]+ all … skip: .*: expected the code of a SEV host, found no KVM_AMD in ")
    assert git(world.tree, "status", "--porcelain", "--ignored") == ""


def test_python_that_is_missing_stops(tmp_path: Path) -> None:
    """snplab itself, where it finds no Python that it can use, ends with a status at which git bisect stops."""
    script = (TOP / "snplab").read_text(encoding="utf-8").replace("python=/usr/bin/python3", f"python={tmp_path}/none")
    (tmp_path / "snplab").write_text(script.replace('"$(id -u)" -eq 0', "1 -eq 0"), encoding="utf-8")
    expect(run_command("sh", tmp_path / "snplab", "bisect-step"), 128, "expected Python 3.11 or newer")
    expect(run_command("sh", tmp_path / "snplab", "run"), 3, "expected Python 3.11 or newer")


# --- The answer for a boot ---------------------------------------------------------------------------------------------

PANIC = "[    3.0] Kernel panic - not syncing: Fatal exception"
PASSES = edit(edit(LAUNCH, "^# not ok", "# ok"), "^not ok 1 (.*) # .*", r"ok 1 \1")
SKIPPED = ("KTAP version 1", "1..1", "# Subtest: sev_snp_launch_test", "# 1..0 # SKIP no SNP",
           "ok 1 sev_snp_launch_test # SKIP no SNP", "snplab: end of tests")
HOST = (LINUX, SNP_ENABLED)
# The name, L1's report, the kernel's log, the limit that was exceeded, the answer, and that with --broken-boot bad.
BOOTS: dict[str, tuple[Sequence[str], Sequence[str], str | None, Word, Word, str]] = {
    "all passed": (PASSES, HOST, None, Word.GOOD, Word.GOOD, "1 passed"),
    "a case failed": (LAUNCH, HOST, None, Word.BAD, Word.BAD, "a.second"),
    "a report": (PASSES, (*HOST, "[   3.0] WARNING: Nested lock was not taken"), None, Word.BAD, Word.BAD, "1 report"),
    "a panic in a test": (LAUNCH[:4], (*HOST, PANIC), None, Word.BAD, Word.BAD, "the kernel panicked: Fatal"),
    "a panic while the modules load": (LAUNCH[:1], (LINUX, PANIC), None, Word.BAD, Word.BAD, "panicked"),
    "a panic before init": ((), (LINUX, PANIC), None, Word.SKIP, Word.BAD, "it does not boot: the kernel panicked"),
    "a hang in a test": (LAUNCH[:4], HOST, "600", Word.BAD, Word.BAD, "no end within 600 s"),
    "a hang before init": ((), (LINUX,), "600", Word.SKIP, Word.BAD, "it does not boot: no end within 600 s"),
    "an end before init": ((), (LINUX,), None, Word.SKIP, Word.BAD, "it does not boot: expected results of 1 tests"),
    "skipped, no SNP host": (SKIPPED, (LINUX,), None, Word.SKIP, Word.BAD, "it is no SNP host"),
    "skipped, an SNP host": (SKIPPED, HOST, None, Word.BAD, Word.BAD, "skipped, although this host can run it"),
    "skipped, a report": (SKIPPED, (LINUX, "[   3.0] WARNING: CPU: 1 PID: 2 at x"), None, Word.BAD, Word.BAD,
                          "skipped, although"),
}


@pytest.mark.parametrize("name", BOOTS)
def test_answer(tmp_path: Path, name: str) -> None:
    """The tree has the code of an SNP host."""
    ktap, kernel, late, answer, broken, pattern = BOOTS[name]
    logs = write_logs(tmp_path / "logs", ktap, kernel, host=counted(0), **({} if late is None else {"timed_out": late}))
    verdict = judge(BootQuestion(logs, "t", "6.12.9", "10", ["sev_snp_launch_test"], emulated=True, snp=True))
    for word, wanted in ((Word.SKIP, answer), (Word.BAD, broken)):
        given = answer_of(verdict, word)
        assert given.word is wanted and pattern in given.reason, given


def test_skipped_tests_of_an_old_tree(tmp_path: Path) -> None:
    """A tree without the code of an SNP host: --broken-boot changes nothing."""
    logs = write_logs(tmp_path / "logs", SKIPPED, (LINUX,), host=counted(0))
    verdict = judge(BootQuestion(logs, "t", "6.9.9", "10", ["sev_snp_launch_test"], emulated=True, snp=False))
    assert answer_of(verdict, Word.BAD) == Answer(Word.SKIP, "the tests were skipped: no SNP")


def test_statuses_are_those_of_git() -> None:
    """git-bisect(1): 0 is good, 125 is skip, 1 to 127 are bad."""
    assert [word.exit for word in (Word.GOOD, Word.BAD, Word.SKIP)] == [0, 1, 125]


# --- The output, and the history that docs/bisect.md searches --------------------------------------------------------------


def test_one_line_elsewhere_than_on_a_terminal(tmp_path: Path) -> None:
    """The steps of the plan and the tests' results are not in the output."""
    with open(tmp_path / "out", "w", encoding="utf-8") as out:
        line = OneLine(out)
        line.first("c s …")
        line.say("[1/2] x … 3 s")
        line.begin("[2/2] y …")
        line.note("n")
        line.progress("p")
        line.end("[2/2] y …", "4 s")
        line.last("c s …", "good")
    assert (tmp_path / "out").read_text(encoding="utf-8") == "c s … good\n"


def test_the_made_up_history() -> None:
    """As the issue asks: 32 commits at least, one bad, and some that do not build, which the next commit mends."""
    commits = list(kernel_history.commits())
    bad = [number for number, commit in enumerate(commits, 1) if commit.file is None]
    broken = [number for number, commit in enumerate(commits, 1) if commit.adds == kernel_history.NONSENSE]
    assert len(commits) >= 32 and bad == [kernel_history.BAD] and broken == list(kernel_history.BROKEN)
    assert all(commits[number].removes == kernel_history.NONSENSE for number in broken)
    assert len({commit.subject for commit in commits}) == len(commits)
    assert all(path.is_file() for path in kernel_history.POSTED)


@pytest.mark.parametrize("words", ((), ("a",), ("/nonexistent", "b")))
def test_the_maker_of_histories_refuses(words: Sequence[str], tmp_path: Path) -> None:
    """Bad input leaves nothing behind."""
    done = run_command(sys.executable, TOP / "tests/support/kernel_history.py", *words, cwd=tmp_path,
                       env={"PYTHONDONTWRITEBYTECODE": "1"})
    expect(done, 1, "^usage: |expected the top of a linux-6.12.y source tree")
    assert not list(tmp_path.iterdir())
