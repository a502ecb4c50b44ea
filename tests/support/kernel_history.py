#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Makes a git repository whose history has one bad commit, for docs/bisect.md: the first posting of the fix for
CVE-2026-31591, which leaks every vcpu->mutex on success.

usage: python3 tests/support/kernel_history.py SOURCE DIR

SOURCE is a linux-6.12.y source tree, such as the one that `./snplab run` has unpacked; it is only read. DIR must not exist:
it becomes a git work tree with a copy of the source, 1.5 GB, and a repository of 0.4 GB. The tag "good" names a commit
before the bad one. All commits but three are harmless: the bad one, and two that do not build.
"""
from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from lab.core.places import SERIES, TOP, kernel_version  # noqa: E402
from lab.patches.git import git_own  # noqa: E402

RELEASE = "6.12."
QUEUE = SERIES / "linux-6.12.y"
# What the fix needs. A change of these headers compiles the whole kernel, so it comes before the commit "good".
HELPERS = ("mutex-lock-killable-nest-lock.patch", "kvm-lock-all-vcpus.patch")
POSTED = (QUEUE / "kvm-sev-snp-launch-finish-lock-vcpus.patch", TOP / "tests/mutants/linux-6.12.y/leak-on-success.patch")
SUBJECT = "KVM: SEV: Lock all vCPUs when synchronizing VMSAs for SNP launch finish"
GOOD = "good"
# The files that the harmless commits change, in turn: the prefix of the subject, and the file. They are in modules: a change
# of other files links the whole kernel.
FILES = (("KVM: SEV", "arch/x86/kvm/svm/sev.c"), ("KVM: SVM", "arch/x86/kvm/svm/svm.c"),
         ("crypto: ccp", "drivers/crypto/ccp/sev-dev.c"), ("KVM: SVM", "arch/x86/kvm/svm/nested.c"),
         ("KVM: SVM", "arch/x86/kvm/svm/avic.c"))
# The commits after "good", counted from 1: how many there are, the bad one, and those that do not build. The first commit
# that git tries is the middle one.
COMMITS = 36
BAD = 24
BROKEN = (18, 27)
# The line that no compiler takes.
NONSENSE = "this line is no C\n"
INCLUDE = "#include <linux/"


@dataclass(frozen=True)
class Commit:
    """A commit of the history: its subject, and the file that it changes; none for the bad one, which is a patch."""

    subject: str
    file: str | None = None
    # The lines that it puts above the file's first #include, and those that it removes.
    adds: str = ""
    removes: str = ""


def commits() -> Iterator[Commit]:
    """The commits after "good", in order."""
    broken: str | None = None
    for number in range(1, COMMITS + 1):
        area, file = FILES[number % len(FILES)]
        if number == BAD:
            yield Commit(SUBJECT)
        elif number in BROKEN:
            broken = FILES[0][1]
            yield Commit(f"{FILES[0][0]}: Change {number}, which does not build", broken, NONSENSE)
        elif broken is not None:
            yield Commit(f"{FILES[0][0]}: Change {number}, which builds again", broken, removes=NONSENSE)
            broken = None
        else:
            yield Commit(f"{area}: Change {number}", file, f"/* Change {number}. */\n")


def git(folder: Path, *words: str | Path) -> None:
    """Runs git, without the user's configuration."""
    run(*git_own(folder, *words).argv)


def run(*words: str | Path) -> None:
    """Runs a command; ends this program if it fails."""
    done = subprocess.run([str(word) for word in words], check=False)
    if done.returncode:
        sys.exit(f"{Path(words[0]).name} ended with status {done.returncode}; its message is above")


def change(path: Path, commit: Commit) -> None:
    """Makes a commit's change. The file is written anew: it may be a hard link to somebody else's."""
    text = path.read_text(encoding="utf-8").replace(commit.removes, "", 1)
    head, include, rest = text.partition(INCLUDE)
    path.unlink()
    path.write_text(f"{head}{commit.adds}{include}{rest}", encoding="utf-8")


def make_history(source: Path, folder: Path) -> None:
    """Makes the repository in a new folder."""
    run("cp", "-a", "--reflink=auto", source, folder)
    git(folder, "init", "-q", "-b", "main")
    # Speed, not size.
    git(folder, "config", "core.looseCompression", "1")
    for name in HELPERS:
        git(folder, "apply", QUEUE / name)
    git(folder, "add", "-A", "-f", ".")
    git(folder, "commit", "-q", "-m", "Linux, and what the fix for CVE-2026-31591 needs")
    git(folder, "tag", GOOD)
    for commit in commits():
        if commit.file is None:
            for patch in POSTED:
                git(folder, "apply", patch)
        else:
            change(folder / commit.file, commit)
        git(folder, "commit", "-q", "-a", "-m", commit.subject)


def main(words: list[str]) -> None:
    """Checks the command line."""
    if len(words) != 2:
        sys.exit("usage: python3 tests/support/kernel_history.py SOURCE DIR")
    source, folder = (Path(word).absolute() for word in words)
    found = kernel_version(source)
    if found is None or not found.startswith(RELEASE):
        sys.exit(f"expected the top of a linux-{RELEASE}y source tree, found {found or 'none'} in {source}")
    if folder.exists():
        sys.exit(f"expected a folder that does not exist, found {folder}")
    make_history(source, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
