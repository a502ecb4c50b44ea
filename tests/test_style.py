# SPDX-License-Identifier: GPL-2.0-only
"""Does our C in kernel style pass the kernel's checkpatch.pl?

tests/test_series.py checks the patches; this file checks each C file whole, with --strict, by the checkpatch.pl of the tree
that the file is for. It fails for each finding that EXCEPTIONS does not list, and for each exception that no file needs any
more. Files in QEMU's style lie in host/files: tests/test_host_queue.py checks those by QEMU's checkpatch.pl.
"""
from __future__ import annotations

import fnmatch
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.core.places import TOP
from lab.core.process import command
from lab.core.session import Session
from lab.core.steps import Job
from lab.patches.series import trees
from tests.support.l1 import lab_session
from tests.support.patches_real import newest_base

ABOUT = "our C files in kernel style pass the kernel's checkpatch --strict"
LANE = "boot"
NEEDS = ("fetch",)
TAKES = 40

PATTERNS = ("host/tests/*.[chS]", "lab/l1/*.[ch]", "lab/kunit/*.[ch]", "series/*.[ch]")
# The findings that are right for a kernel and wrong for these programs: files, type, reason.
EXCEPTIONS = (
    ("*", "LONG_LINE_STRING", "a message stays in one piece, so that grep finds it: the coding style wants that"),
    ("host/*", "LONG_LINE_COMMENT", "a comment may take the 125 columns of this repository's other files"),
    ("lab/l1/*", "LONG_LINE_COMMENT", "a comment may take the 125 columns of this repository's other files"),
    ("*", "EMBEDDED_FUNCTION_NAME", "a word of a message is taken for the function's name: run, end, user, get"),
    ("host/tests/cpu/*", "VOLATILE", "a freestanding program has no READ_ONCE(); other CPUs and devices write here"),
    ("host/tests/kvm/*", "VOLATILE", "host and guest write to these pages"),
    ("host/tests/cpu/lib.h", "PREFER_DEFINED_ATTRIBUTE_MACRO", "lib.h defines these macros for the other files"),
    ("host/tests/cpu/lib.h", "PREFER_KERNEL_TYPES", "lib.h defines u8 to u64 for the other files"),
    ("host/tests/*", "AVOID_EXTERNS", "labels and functions that only inline assembly uses: no header would help"),
    ("lab/l1/*", "PREFER_KERNEL_TYPES", "a program of user space, which has stdint.h"),
    ("lab/l1/*", "STRCPY", "a program of user space, which has no strscpy()"),
    ("lab/l1/*", "BIT_MACRO", "a program of user space, which has no BIT_ULL()"),
)
FINDING = re.compile(r"(.+?):(\d+): (?:ERROR|WARNING|CHECK):([A-Z0-9_]+): (.*)")


def our_files() -> list[str]:
    """The C files in kernel style."""
    words = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "--", *PATTERNS]
    names = subprocess.run(words, cwd=TOP, check=True, capture_output=True, text=True).stdout.splitlines()
    return [name for name in names if (TOP / name).is_file()]


def tree_of(name: str) -> str:
    """The tree that a file is for: lab/kunit/linux-6.12.y/… and series/linux-6.12.y/… name one; else it is mainline."""
    return next((tree for tree in trees() if f"/linux-{tree}/" in name), "mainline")


def exception(name: str, kind: str) -> tuple[str, str, str] | None:
    """The first exception that allows a type of finding in a file."""
    return next((e for e in EXCEPTIONS if e[1] == kind and fnmatch.fnmatchcase(name, e[0])), None)


class Checkpatch:
    """Runs checkpatch.pl of a tree, once for each file."""

    def __init__(self, session: Session, folder: Path) -> None:
        self.job = Job(session, folder / "checkpatch.log")
        self.sources = {tree: newest_base(session, folder, tree) for tree in trees()}
        self.seen: dict[str, list[tuple[str, str]]] = {}

    def findings(self, name: str) -> list[tuple[str, str]]:
        """The type and the text of each finding in a file."""
        if name not in self.seen:
            script = self.sources[tree_of(name)] / "scripts/checkpatch.pl"
            said = self.job.output(command("perl", script, "--no-tree", "--strict", "--terse", "--show-types",
                                           "--color=never", "--file", name, cwd=TOP), ok=(0, 1)).splitlines()
            self.seen[name] = [(found[3], f"{found[1]}:{found[2]}: {found[3]}: {found[4]}")
                               for line in said if (found := FINDING.fullmatch(line))]
            # checkpatch.pl says nothing of a clean file. A last line that is no summary means that it has failed.
            assert not said or said[-1].startswith("total:"), f"expected checkpatch.pl's summary, found {said[-3:]}"
            assert len(said) <= len(self.seen[name]) + 1, f"expected one line for each finding, found {said}"
        return self.seen[name]


@pytest.fixture(scope="module")
def checkpatch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkpatch]:
    """For all tests of this file."""
    folder = tmp_path_factory.mktemp("style")
    with lab_session(folder) as session:
        yield Checkpatch(session, folder)


def test_there_are_files_to_check() -> None:
    assert {"host/tests/kvm/snp_guest.h", "host/tests/cpu/boot.S", "lab/l1/init.c",
            "series/mainline/files/tools/testing/selftests/kvm/x86/sev_snp_launch_test.c"} <= set(our_files())


@pytest.mark.parametrize("name", our_files())
def test_pleases_checkpatch(checkpatch: Checkpatch, name: str) -> None:
    found = [text for kind, text in checkpatch.findings(name) if exception(name, kind) is None]
    assert not found, "\n".join([*found, "mend these; EXCEPTIONS is only for findings that are wrong for the program"])


@pytest.mark.parametrize("entry", EXCEPTIONS, ids=[f"{files}:{kind}" for files, kind, _ in EXCEPTIONS])
def test_exception_is_needed(checkpatch: Checkpatch, entry: tuple[str, str, str]) -> None:
    used = any(exception(name, kind) is entry for name in our_files() for kind, _ in checkpatch.findings(name))
    assert used, f"expected a finding of type {entry[1]} in {entry[0]}, found none: drop the exception"


def test_checkpatch_finds_bad_style(checkpatch: Checkpatch, tmp_path: Path) -> None:
    """A script that finds nothing would pass every test above."""
    bad = tmp_path / "bad.c"
    bad.write_text("// SPDX-License-Identifier: GPL-2.0-only\nint main(void)\n{\n    if (1) {return 0;}\n}\n",
                   encoding="utf-8")
    assert {"LEADING_SPACE", "SPACING"} <= {kind for kind, _ in checkpatch.findings(str(bad))}
