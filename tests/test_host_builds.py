# SPDX-License-Identifier: GPL-2.0-only
"""Does each commit of the emulated host's patches compile by itself?

A commit that does not compile stops a bisection, and QEMU would not take it. At each commit, all objects are built whose
source any patch of the queue changes: so a header that only a later patch brings is noticed.
"""
from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.build.kernel import jobs
from lab.build.qemu import KIND, Host, fetch_meson
from lab.build.sources import Source, fetch
from lab.core.session import Session
from lab.core.steps import Job, last_lines
from lab.patches.git import git_own
from lab.patches.queues import Queue
from lab.patches.series import HOST, list_series
from lab.patches.tree import make
from tests.support.l1 import lab_session

ABOUT = "each commit of the emulated host's patches compiles all objects that the queue changes"
LANE = "long"
NEEDS = ("fetch", "overlay", "host", "hostsource")
TAKES = 900

QUEUE = Queue(HOST)
PATCHES = [patch.name for patch in list_series(QUEUE.folder)]
DEVICES = "configs/devices/x86_64-softmmu"
# What stands for a device in a QEMU without it: the lab's has it.
STUB = "-stub.c"
SYMBOL = re.compile(r"^CONFIG_(\w+)=y$", re.M)


@dataclass
class WorkTree(Host):
    """QEMU in a work tree that is made for this file, built at one commit after the other."""

    folder: Path = Path()

    @property
    def work(self) -> Path:
        """The folder whose src is the work tree."""
        return self.folder

    def flags(self) -> list[str]:
        """configure's arguments, with a list of devices that every commit has."""
        return [flag.replace("=snplab", "=each-commit") for flag in super().flags()]

    def git(self, job: Job, *words: str) -> str:
        """Runs git in the work tree."""
        return job.output(git_own(self.folder / "src", *words)).rstrip("\n")

    def write_devices(self, wanted: str) -> None:
        """The lab's list of devices, without those that this commit's Kconfig does not know yet."""
        src = self.folder / "src"
        known = {name for path in src.rglob("Kconfig") for name in re.findall(r"^config (\w+)", path.read_text(), re.M)}
        lines = "".join(f"CONFIG_{name}=y\n" for name in SYMBOL.findall(wanted) if name in known)
        path = src / DEVICES / "each-commit.mak"
        if not path.exists() or path.read_text() != lines:
            path.write_text(lines)

    def objects(self, sources: set[str]) -> dict[str, str]:
        """The objects of these sources, by their names in the build folder."""
        commands = json.loads((self.build_folder / "compile_commands.json").read_text())
        found = {}
        for one in commands:
            name = str((self.build_folder / one["file"]).resolve().relative_to(self.folder / "src"))
            if name in sources:
                found[one["output"]] = name
        return found


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    """The lab's, for this file."""
    with lab_session(tmp_path_factory.mktemp("session")) as session:
        yield session


@pytest.fixture(scope="module")
def tree(session: Session, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkTree]:
    """The work tree, checked out at its last commit."""
    folder = tmp_path_factory.mktemp("builds").resolve()
    job = Job(session, folder / "log")
    fetch(job, KIND)
    fetch_meson(job)
    source = Source(session, KIND)
    make(job, QUEUE, source, folder / "src")
    yield WorkTree(session, source, folder=folder)
    # The folder has 1.5 GB.
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("name", PATCHES)
def test_compiles_by_itself(tree: WorkTree, session: Session, tmp_path: Path, name: str) -> None:
    """pytest runs the commits in the queue's order, so each build is incremental."""
    job = Job(session, tmp_path / "log")
    commits = tree.git(job, "rev-list", "--reverse", "base..snplab/host").split()
    assert len(commits) == len(PATCHES)
    commit = commits[PATCHES.index(name)]
    wanted = tree.git(job, "show", f"snplab/host:{DEVICES}/snplab.mak")
    tree.git(job, "checkout", "-q", "--detach", commit)
    tree.write_devices(wanted)
    changed = set(tree.git(job, "diff", "--name-only", "--no-renames", "base", "snplab/host").split())
    here = {path for path in tree.git(job, "diff-tree", "-r", "--no-commit-id", "--name-only", commit).split()
            if path.endswith(".c") and not path.endswith(STUB)}
    tree.configure(job)
    # If the commit changes a file that meson reads, run meson first: the list of objects must be this commit's.
    job.run(tree.in_build("ninja", "build.ninja"))
    objects = tree.objects(changed)
    assert here <= set(objects.values()), f"expected an object of each, found none of {sorted(here - set(objects.values()))}"
    status = job.status(tree.in_build("ninja", f"-j{jobs()}", *sorted(objects)))
    assert status == 0, "\n".join([f"{name} does not compile", *last_lines(job.log_path, 30)])
