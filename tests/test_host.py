# SPDX-License-Identifier: GPL-2.0-only
"""The build of the emulated host: what `host` prints for other tools, and what an edit rebuilds.

Another tool uses the printed line as it is, so QEMU must accept all its arguments. An edit must rebuild what depends on it
and nothing else. A patch that does not fit QEMU's source must be named, and the old host must stay. The same source must
give the same binary. A user's source tree is copied, and never written to.

The tests are steps in one sequence: an edit in a second clone, faults in it, and back to the start.
"""
from __future__ import annotations

import ast
import hashlib
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.build.qemu import KIND, Host
from lab.build.sources import Source
from tests.support.front import TOP, Done, copy_repository, expect, listing, run_command, run_snplab
from tests.support.l1 import BUILD_LIMIT, lab_session

ABOUT = "the emulated host for other tools; an edit rebuilds what it must; a patch that does not fit is named"
LANE = "boot"
NEEDS = ("fetch", "overlay", "host", "hostsource", "boot")
TAKES = 100

DEVICE = "host/files/hw/misc/amd-psp.c"
COMPILED = re.compile(r"^\[\d+/\d+\] Compiling C object", re.M)


def host(*words: str | Path, top: Path = TOP) -> Done:
    """Runs the verb, of this clone or of another."""
    return run_snplab("host", *words, top=top, timeout=BUILD_LIMIT)


def answer(*words: str) -> str:
    """The verb's answer on standard output."""
    done = host(*words)
    expect(done, 0)
    return done.stdout.rstrip("\n")


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Clone:
    """Another clone, and the host as it was before anybody edited that."""

    top: Path
    binary: Path
    before: str
    runs: Path

    def build(self, top: Path | None = None) -> int:
        """Builds the clone's host. Returns the number of objects compiled, from the run's own logs."""
        had = set(self.runs.glob("*-host-*"))
        expect(host("--print", "binary", top=top or self.top), 0)
        logs = [log for run in set(self.runs.glob("*-host-*")) - had for log in run.glob("*.log")]
        assert logs
        return sum(len(COMPILED.findall(log.read_text(encoding="utf-8", errors="replace"))) for log in logs)


@pytest.fixture(scope="module", name="clone")
def fixture_clone(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Clone]:
    """An unchanged clone. At the end, builds this clone's host again."""
    binary = Path(answer("--print", "binary"))
    yield Clone(copy_repository(tmp_path_factory.mktemp("clone") / "copy"), binary, digest(binary), cache / "runs")
    host("--print", "binary")


def test_line_can_be_run() -> None:
    """QEMU accepts all arguments of the printed line: it starts stopped (-S), and quits on request."""
    line = answer()
    assert re.match("/.*/bin/qemu-system-x86_64 -accel tcg,thread=multi -machine q35,amd-snp-host=on -cpu ", line)
    # Split the line as a shell does.
    done = run_command(*shlex.split(line), "-S", "-nodefaults", "-display", "none", "-monitor", "stdio", stdin="quit\n",
                       timeout=60)
    expect(done, 0)


def test_arguments_alone() -> None:
    """The arguments are those of the printed line, without the accelerator."""
    assert answer().endswith(f"-accel tcg,thread=multi {answer('--print', 'args')}")


def test_file_for_kunit_py() -> None:
    """The file for kunit.py is valid Python."""
    ast.parse(answer("--print", "kunit"))


def test_binary_is_there(clone: Clone) -> None:
    """The printed binary runs, for vng."""
    assert subprocess.run([clone.binary, "--version"], check=False, capture_output=True).returncode == 0


def test_unchanged_clone_compiles_nothing(clone: Clone) -> None:
    """Another clone with the same files uses the same host."""
    assert clone.build() == 0


def test_edited_file_is_all_that_is_compiled(clone: Clone) -> None:
    """One edited file means one object compiled."""
    with open(clone.top / DEVICE, "a", encoding="utf-8") as source:
        source.write("/* a comment */\n")
    assert clone.build() == 1


@contextmanager
def one_more_patch(clone: Clone, text: str) -> Iterator[None]:
    """Adds no.patch to the clone's queue, as the last patch."""
    series, patch = clone.top / "host/series", clone.top / "host/no.patch"
    before = series.read_text(encoding="utf-8")
    patch.write_text(text, encoding="utf-8")
    series.write_text(f"{before}no.patch\n", encoding="utf-8")
    try:
        yield
    finally:
        series.write_text(before, encoding="utf-8")
        patch.unlink()


def test_new_file_that_qemu_has(clone: Clone) -> None:
    """The run names the file and QEMU's version."""
    (clone.top / "host/files/VERSION").write_text("10.0.0\n", encoding="utf-8")
    with one_more_patch(clone, "diff --git a/VERSION b/VERSION\nnew file mode 100644\n"):
        expect(host(top=clone.top), 3, r"^snplab: host/files/VERSION is in QEMU 10\.0\.[0-9]+ already")


def test_patch_that_does_not_apply(clone: Clone) -> None:
    """The run names the patch and QEMU's version."""
    with one_more_patch(clone, "--- a/VERSION\n+++ b/VERSION\n@@ -1 +1 @@\n-9.9.9\n+9.9.10\n"):
        expect(host(top=clone.top), 3, r"^snplab: host/no\.patch does not apply to QEMU 10\.0\.")


def test_file_that_does_not_compile(clone: Clone) -> None:
    """The run says so and keeps the old binary. With the edit undone, the same binary is built again."""
    source = clone.top / DEVICE
    text = source.read_text(encoding="utf-8")
    source.write_text(text + "int broken\n", encoding="utf-8")
    try:
        expect(host(top=clone.top), 3, "the emulated host does not build")
    finally:
        source.write_text(text, encoding="utf-8")
    assert clone.binary.exists()
    assert clone.build(TOP) >= 1
    assert digest(clone.binary) == clone.before


def test_source_tree_of_the_users(tmp_path: Path) -> None:
    """The tree is copied and built; no name, time or size in the original changes."""
    answer("--print", "binary")
    with lab_session(tmp_path) as session:
        theirs = tmp_path / "qemu"
        shutil.copytree(Source(session, KIND).path, theirs, symlinks=True)
        had, work = listing(theirs), Host(session, Source(session, KIND, theirs)).work
        try:
            expect(host("--qemu", theirs), 0, f"^{re.escape(str(work))}/host/bin/qemu-system-x86_64 ")
            assert listing(theirs) == had
        finally:
            shutil.rmtree(work, ignore_errors=True)
            shutil.rmtree(theirs)
