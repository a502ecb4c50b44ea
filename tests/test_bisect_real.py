# SPDX-License-Identifier: GPL-2.0-only
"""git bisect run with bisect-step finds the first posting of the fix for CVE-2026-31591, which leaks every vcpu->mutex,
in a made-up history of 6.12.y: docs/bisect.md has the transcript.

It builds and boots real kernels: an incremental build that misses a change, or a step that takes a kernel that does not
build for a bad one, would name another commit.
"""
from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.patches.git import answer, git_own
from tests.support import kernel_history
from tests.support.front import TOP, Done, expect, run_command
from tests.support.l1 import BUILD_LIMIT, lab_session
from tests.support.patches_real import newest_base

ABOUT = "git bisect run with bisect-step on a history of 36 commits finds the bad one"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot")
TAKES = 600

CASE = "sev_snp_launch_test:snp_launch_smp.2_vcpus.finish_then_run"
STEP = re.compile(r"^[0-9a-f]+ (.*) … (good|bad|skip): ", re.M)
# Two commits more than a bisection without skipped commits takes at most.
MOST_STEPS = 9


@dataclass(frozen=True)
class Search:
    """The bisection, and the repository."""

    tree: Path
    done: Done

    def steps(self) -> dict[str, str]:
        """The answer for each commit that was tried, by subject."""
        return dict(STEP.findall(self.done.stdout))


@pytest.fixture(scope="module", name="search")
def fixture_search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """One bisection, for all tests."""
    folder = tmp_path_factory.mktemp("bisect")
    with lab_session(folder) as session:
        kernel_history.make_history(newest_base(session, folder, "6.12.y"), folder / "linux")
    env: dict[str, str | None] = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    expect(run_command("git", "bisect", "start", "main", kernel_history.GOOD, cwd=folder / "linux", env=env), 0)
    done = run_command("git", "bisect", "run", TOP / "snplab", "bisect-step", "--test", CASE, cwd=folder / "linux", env=env,
                       timeout=2 * BUILD_LIMIT)
    return Search(folder / "linux", done)


def test_the_bad_commit_is_found(search: Search) -> None:
    expect(search.done, 0, "is the first bad commit$")
    found = answer(git_own(search.tree, "log", "-1", "--format=%s", "refs/bisect/bad"))
    assert found == kernel_history.SUBJECT


def test_each_answer_is_right(search: Search) -> None:
    """Of the commits that were tried: also that a commit that does not build is skipped, of which the middle one is one."""
    subjects = [commit.subject for commit in kernel_history.commits()]
    steps = search.steps()
    assert 5 <= len(steps) <= MOST_STEPS and "skip" in steps.values(), steps
    for subject, word in steps.items():
        number = subjects.index(subject) + 1
        wanted = "skip" if number in kernel_history.BROKEN else "bad" if number >= kernel_history.BAD else "good"
        assert word == wanted, f"{subject}: expected {wanted}, found {word}\n{search.done.stdout}"


def test_nothing_is_written_into_the_tree(search: Search) -> None:
    assert answer(git_own(search.tree, "status", "--porcelain", "--ignored")) == ""
