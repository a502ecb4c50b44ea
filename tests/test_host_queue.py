# SPDX-License-Identifier: GPL-2.0-only
"""Can one work on the emulated host's patches as a QEMU developer does, with commits and mails?

A patch that cannot become a commit cannot be rebased onto the next QEMU; a file that comes back changed is lost work; mails
that git refuses cannot be sent. The tests use Debian's QEMU and the real queue, in a copy of this repository.
"""
from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.patches.git import AM, git_own
from lab.patches.newfiles import FOLDER, brought_names
from lab.patches.patchfile import PatchFile
from lab.patches.series import HOST, list_series
from tests.support.front import TOP, Done, changed_environment, expect, listing, run_command, run_snplab
from tests.support.patches import copy_program, write_identity

ABOUT = "the emulated host's patches as commits, as patches again, and as mails that git takes"
LANE = "boot"
NEEDS = ("fetch", "overlay", "mail", "hostsource")
TAKES = 90


@dataclass
class Queue:
    """A copy of this repository with the host's patches, and a work tree of them."""

    folder: Path

    @property
    def top(self) -> Path:
        """The repository's copy."""
        return self.folder / "repo"

    @property
    def work(self) -> Path:
        """The work tree."""
        return self.top / "trees" / HOST

    @property
    def patches(self) -> list[Path]:
        """The copy's patches."""
        return list_series(self.top / HOST)

    def snplab(self, *words: str | Path) -> Done:
        """Runs the copy's ./snplab, with the user's cache, outside of any repository, which could have an identity."""
        env = {"GIT_CONFIG_GLOBAL": str(self.folder / "gitconfig"), "GIT_CONFIG_NOSYSTEM": "1"}
        return run_snplab(*words, top=self.top, env=env, cwd=self.folder, timeout=300)

    def git(self, *words: str | Path) -> str:
        """Runs git in the work tree."""
        cmd = git_own(self.work, *words)
        done = run_command(*cmd.argv, env=changed_environment({}))
        assert done.status == 0, done.output
        return done.stdout.rstrip("\n")


@pytest.fixture(scope="module")
def queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Queue]:
    """The queue's copy and work tree, for all tests of this file."""
    queue = Queue(tmp_path_factory.mktemp("queue"))
    copy_program(queue.top)
    shutil.copytree(TOP / HOST, queue.top / HOST)
    (queue.top / "series").mkdir()
    write_identity(queue.folder)
    expect(queue.snplab("tree", HOST), 0)
    yield queue
    # The folder has 500 MB.
    shutil.rmtree(queue.folder, ignore_errors=True)


def test_no_change_no_byte(queue: Queue) -> None:
    before = listing(queue.top / HOST)
    expect(queue.snplab("refresh", HOST), 0, "no patch has changed")
    assert listing(queue.top / HOST) == before


def test_each_patch_is_a_commit_with_author_date_and_subject(queue: Queue) -> None:
    commits = queue.git("log", "--reverse", "--format=%an <%ae>|%ad|%s", "base..HEAD").split("\n")
    assert len(commits) == len(queue.patches)
    for commit, patch in zip(commits, queue.patches):
        author, date, subject = commit.split("|", 2)
        parts = PatchFile.read(patch)
        assert parts.values("From") == [author] and parts.date and date and parts.subject == subject


def test_each_new_file_comes_with_the_patch_that_names_it(queue: Queue) -> None:
    commits = queue.git("rev-list", "--reverse", "base..HEAD").split()
    for commit, patch in zip(commits, queue.patches):
        added = queue.git("diff-tree", "-r", "--no-commit-id", "--name-only", "--diff-filter=A", "--no-renames", commit)
        assert added.split() == sorted(brought_names(patch)), patch.name


def test_an_edit_in_the_work_tree_is_one_patch_or_one_file(queue: Queue) -> None:
    """First the last patch is edited, then a new file that another patch brings."""
    before = {path: path.read_bytes() for path in (queue.top / HOST).rglob("*") if path.is_file()}
    head = queue.git("rev-parse", "HEAD")

    def changed() -> list[str]:
        return sorted(str(path.relative_to(queue.top / HOST)) for path, data in before.items() if path.read_bytes() != data)

    try:
        queue.git("commit", "-q", "--amend", "-m", "meson: Another subject")
        expect(queue.snplab("refresh", HOST), 0, f"changed {queue.patches[-1].name}")
        assert changed() == [queue.patches[-1].name]
        queue.git("reset", "-q", "--hard", head)
        expect(queue.snplab("refresh", HOST), 0)
        assert not changed()
        device = queue.work / "hw/misc/amd-psp.c"
        brings = next(patch for patch in queue.patches if "hw/misc/amd-psp.c" in brought_names(patch))
        with open(device, "a", encoding="utf-8") as f:
            f.write("/* A comment. */\n")
        queue.git("commit", "-q", "-a", "-m", "hw/misc: Comment")
        expect(queue.snplab("refresh", HOST), 0, "new     hw-misc-comment.patch")
        # The file in host/files stays as its patch brings it; the change becomes a new patch.
        assert changed() == ["series"] and brings.name not in changed()
    finally:
        queue.git("reset", "-q", "--hard", head)
        expect(queue.snplab("refresh", HOST), 0)
    assert not changed()


def test_git_takes_the_mails_with_the_same_result(queue: Queue) -> None:
    out = queue.folder / "out"
    done = queue.snplab("mail", HOST, "--output", out)
    expect(done, 0, f"git am applies all {len(queue.patches)} mails, with the same result as the series")
    wanted, head = queue.git("rev-parse", "HEAD^{tree}"), queue.git("rev-parse", "HEAD")
    mails = sorted(out.glob("0*.patch"))
    assert len(mails) == len(queue.patches) + 1
    try:
        queue.git("checkout", "-q", "--detach", "base")
        queue.git(*AM, *mails[1:])
        assert queue.git("rev-parse", "HEAD^{tree}") == wanted
        assert set(queue.git("log", "--format=%an <%ae>", "base..HEAD").split("\n")) == {"A Tester <tester@example.org>"}
    finally:
        queue.git("checkout", "-q", "snplab/host")
        assert queue.git("rev-parse", "HEAD") == head
    for mail in mails[1:]:
        text = mail.read_text(encoding="utf-8")
        assert text.count("Signed-off-by:") == 1 and re.search(r"^To: ", text, re.M), mail.name


def test_checkpatch_of_qemu_is_pleased(queue: Queue) -> None:
    """Mails contain whole new files, so all of host/files is checked. Ignored: the question for each new file whether
    MAINTAINERS needs updating. The sign-off is the sender's."""
    out = queue.folder / "checked"
    done = queue.snplab("mail", HOST, "--output", out)
    texts = "".join(mail.read_text(encoding="utf-8") for mail in out.glob("0*.patch"))
    ours = [path.relative_to(TOP / HOST / FOLDER) for path in (TOP / HOST / FOLDER).rglob("*.[ch]")]
    missing = [name for name in ours if f"\n+++ b/{name}\n" not in texts]
    assert ours and not missing, f"expected each C file of host/files in a checked mail, found none with {missing}"
    findings = [line.strip() for line in done.output.split("\n") if re.match(r" +line \d+: ", line)]
    assert not [line for line in findings if "does MAINTAINERS need updating" not in line], "\n".join(findings)
