# SPDX-License-Identifier: GPL-2.0-only
"""`status` on real kernels, compared with the verdict of a boot.

A fixture is only as complex as its author thought of; a real sev.c is more. Debian's 6.12 is open, its 7.x fixed, its 6.1
not affected, and our series fix the trees that they are for. Then the test removes a line of sev.c in our work tree and
puts it back: `status` and `run --tree DIR` must both notice, although the restored file is older than all objects, and
neither may write into the tree.
"""
from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.build.deps import install_step
from lab.build.sources import kernel_source
from lab.core.process import set_environment
from lab.core.session import Session
from lab.core.steps import Plan
from lab.history.corpus import bugs_of
from tests.support.front import Done, expect, run_command, run_snplab
from tests.support.status_trees import SEV

ABOUT = "status on Debian's kernels and on our work trees; run --tree DIR follows an edit of one line"
LANE = "boot"
NEEDS = ("fetch", "overlay", "build", "host", "boot", "status")
TAKES = 240

# A kernel in a new folder is built anew, with ccache.
BUILD_LIMIT = 3600
FUNCTION = re.compile(r"^static int snp_launch_update_vmsa\(.*?^}", re.M | re.S)
OLD = 1577836800  # 2020-01-01
# How many bugs `status --all` may not decide on: a newer kernel may have changed the code around a fix.
MOST_UNKNOWN = 10

WorkTree = Callable[[str], Done]


@pytest.fixture(scope="module", name="session")
def fixture_session() -> Iterator[Session]:
    """A session of the lab. What it runs ends with it."""
    set_environment()
    session = Session("check")
    yield session
    session.processes.stop_all(session.grace)
    session.clean_up()


@pytest.fixture(scope="module", name="work_tree")
def fixture_work_tree(tmp_path_factory: pytest.TempPathFactory) -> WorkTree:
    """work_tree(name): runs `snplab tree`, once for each; returns the only line on standard output."""
    made: dict[str, Done] = {}

    def make(name: str) -> Done:
        if name not in made:
            made[name] = run_snplab("tree", name, tmp_path_factory.mktemp("trees") / name, timeout=BUILD_LIMIT)
        return made[name]
    return make


@pytest.mark.parametrize("tree, status, word", [("6.12.y", 1, "open"), ("mainline", 0, "fixed"), ("6.1", 0, "not affected")])
def test_debian(tree: str, status: int, word: str, session: Session) -> None:
    """The verdict on each of Debian's kernels."""
    source = kernel_source(session, tree, None)
    plan = Plan(session)
    install_step(plan, "fetch")
    source.add_fetch(plan, f"fetch linux for {tree}")
    plan.run()
    expect(run_snplab("status", source.path), status, f"^{word}: ")


@pytest.mark.parametrize("tree", ["6.12.y", "mainline"])
def test_tree_prints_its_path(tree: str, work_tree: WorkTree) -> None:
    """tree prints nothing else on standard output."""
    done = work_tree(tree)
    expect(done, 0)
    assert re.fullmatch(rf"/.*/{re.escape(tree)}\n", done.stdout), done.stdout


@pytest.mark.parametrize("tree", ["6.12.y", "mainline"])
def test_work_tree_is_fixed(tree: str, work_tree: WorkTree) -> None:
    """Each series fixes its kernel."""
    expect(run_snplab("status", work_tree(tree).stdout.strip()), 0, "^fixed: ")


@pytest.mark.parametrize("tree", ["6.12.y", "mainline"])
def test_all_bugs_of_a_work_tree(tree: str, work_tree: WorkTree, tmp_path: Path) -> None:
    """--all: each patch of tests/history is made for this tree, so its answer must be right; few may be unknown."""
    done = run_snplab("status", work_tree(tree).stdout.strip(), "--all", "--json", tmp_path / "json")
    data = json.loads((tmp_path / "json").read_text(encoding="utf-8"))
    answers = {bug["bug"]: bug["answer"] for bug in data["bugs"]}
    wanted = {bug.slug: "open" if bug.present else "fixed" for bug in bugs_of(tree)}
    wrong = {slug: answers[slug] for slug, word in wanted.items() if answers[slug] not in (word, "unknown")}
    assert not wrong, wrong
    assert sum(answers[slug] == "unknown" for slug in wanted) <= MOST_UNKNOWN, done.stdout
    assert done.status == data["exit"]


@dataclass
class Loop:
    """What was said while one line of sev.c was taken out and put back."""

    before: Done
    status: Done
    run: Done
    took: float
    changed: str
    after: Done


@pytest.fixture(scope="module", name="loop")
def fixture_loop(work_tree: WorkTree) -> Loop:
    """The edit and its undoing, with all verdicts."""
    path = Path(work_tree("6.12.y").stdout.strip())
    sev = path / SEV
    good = sev.read_text(encoding="utf-8")

    def run() -> Done:
        return run_snplab("run", "--tree", path, "--test", "kunit", timeout=BUILD_LIMIT)
    before = run()
    bad = FUNCTION.sub(lambda found: found[0].replace("kvm_unlock_all_vcpus(kvm);", ";"), good)
    assert bad != good, "expected an unlock in snp_launch_update_vmsa(), found none"
    sev.write_text(bad, encoding="utf-8")
    status = run_snplab("status", path)
    begin = time.monotonic()
    edited = run()
    took = time.monotonic() - begin
    changed = run_command("git", "-C", path, "status", "--porcelain", "--ignored").stdout
    # As when an editor's backup is moved back: the build has not seen this file, yet its time stamp is old.
    sev.write_text(good, encoding="utf-8")
    os.utime(sev, (OLD, OLD))
    return Loop(before, status, edited, took, changed, run())


def test_run_of_the_work_tree(loop: Loop) -> None:
    """run --tree DIR passes before the edit."""
    expect(loop.before, 0, "^PASS: ")


def test_status_without_the_unlock(loop: Loop) -> None:
    """Without the unlock, status says that the tree leaks the lock."""
    expect(loop.status, 1, "^leaking: ")


def test_run_without_the_unlock(loop: Loop) -> None:
    """Without the unlock, run --tree DIR fails."""
    print(f"{loop.took:.1f} s from the edited line to the verdict")
    expect(loop.run, 1, "^FAIL: ")


def test_nothing_is_written_into_the_tree(loop: Loop) -> None:
    """git sees the edit and no other change."""
    assert loop.changed == f" M {SEV}\n"


def test_run_of_the_old_file(loop: Loop) -> None:
    """With the file restored, run passes, although its time stamp is old."""
    expect(loop.after, 0, "^PASS: ")
