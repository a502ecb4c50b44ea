# SPDX-License-Identifier: GPL-2.0-only
"""Does each patch of the series compile by itself?

A bisection may stop at any patch. Each patch is built on top of those before it, in the folders that it changes, with W=1
and KVM_WERROR; neither gcc nor sparse may print a warning that the base does not have. The KVM selftests are built without
the patches to the kernel: any tree may take them.
"""
from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.build.kernel import TESTED, Kernel, ccache_env, compiler, jobs, kmake
from lab.build.overlay import Tree
from lab.build.selftests import KVM, LIBRARY, selftest_patches
from lab.core.process import Command, command
from lab.core.session import Session
from lab.core.steps import Job, last_lines
from lab.patches.newfiles import whole_text
from lab.patches.series import all_trees, groups, list_series, lower_series, series_dir
from tests.support.patched import Patched, patched_tree

ABOUT = "each patch of the series compiles by itself, without a new warning of gcc or sparse"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "check")
TAKES = 1800

PATCHES = [(tree, file.name) for tree in all_trees() for file in list_series(series_dir(tree))]
SPARSE = f"{sys.executable} -B {Path(__file__).parent / 'support' / 'sparse_some.py'}"
# Kbuild's targets for the folders that a patch changes.
TARGETS = ((re.compile(r"(arch/x86/kvm|virt/kvm)/|arch/x86/include/asm/kvm|include/linux/kvm_host\.h"), "arch/x86/kvm/"),
           (re.compile(r"kernel/locking/|include/linux/mutex\.h"), "kernel/locking/"))
WARNING = re.compile(r"(?:warning|error):")
MAINLINE = series_dir("mainline")
# The selftests' patches up to each of them; and each group without the patches that are not in it.
SELFTESTS = {patch.name.removesuffix(".patch"): selftest_patches()[:number + 1]
             for number, patch in enumerate(selftest_patches())}
SELFTESTS.update({f"group {group}": list_series(MAINLINE, group) for group in groups(MAINLINE)})
ADDED_PROGRAM = re.compile(r"^\+TEST_GEN_PROGS_x86 \+= x86/(\w+)$", re.M)


def touched(patches: Sequence[Path]) -> list[str]:
    """The files that the patches change or add."""
    found = {name for patch in patches for name in re.findall(r"^\+\+\+ b/(.+)$", whole_text(patch), re.M)}
    return sorted(found)


def targets(patches: Sequence[Path]) -> list[str]:
    """The arguments for make."""
    return sorted({target for name in touched(patches) for pattern, target in TARGETS if pattern.match(name)})


class Builds:
    """A tree, built patch by patch in one folder."""

    def __init__(self, patched: Patched, folder: Path, tree: str) -> None:
        self.patched = patched
        self.folder = folder
        self.lower = lower_series(tree)
        self.patches = list_series(series_dir(tree))
        self.files = [name for name in touched(self.patches) if name.endswith((".c", ".h"))]
        self.calls = folder / "sparse.calls"
        patched.apply(self.lower)
        status, self.base_log = self.compile("base", targets(self.patches))
        assert status == 0, "\n".join(["the base does not compile with W=1", *last_lines(self.base_log, 25)])
        self.known = self.warnings(self.base_log)

    @property
    def cache_session(self) -> Session:
        """The lab's."""
        return self.patched.session

    def compile(self, name: str, wanted: Sequence[str]) -> tuple[int, Path]:
        """Configures and builds. Returns the exit status and the log."""
        work, log = self.patched.work, self.folder / f"{name}.log"
        job = Job(self.cache_session, log)
        kernel = Kernel(Tree(self.patched.source.path, work, [], True), self.cache_session.cache, TESTED)
        kernel.configure(job)
        cmd = kmake(self.cache_session.cache, work, "W=1", "C=1", f"CHECK={SPARSE}", *wanted)
        names = ":".join(Path(file).name for file in self.files if file.endswith(".c"))
        env = {**cmd.env, "SPARSE_FILES": names, "SPARSE_CALLS": str(self.calls)}
        return job.status(Command(cmd.argv, cmd.cwd, env)), log

    def warnings(self, log: Path) -> set[str]:
        """The warnings of gcc and sparse on the files that the series changes, without line numbers."""
        found = set()
        for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
            if WARNING.search(line) and any(name in line for name in self.files):
                found.add(re.sub(r":\d+:\d+:", ":", re.sub(r"^.*/src/", "", line)))
        return found


class Last:
    """The tree of the last test, with its base built. pytest would make it again for each patch, and some are 2 GB."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self.factory = factory
        self.stack = ExitStack()
        self.made: dict[str, Builds] = {}

    def get(self, tree: str) -> Builds:
        """That tree, or another one in its place."""
        if tree not in self.made:
            self.close()
            folder = self.factory.mktemp("builds")
            patched = self.stack.enter_context(patched_tree(folder, tree, f"series-{tree}"))
            self.made[tree] = Builds(patched, folder, tree)
        return self.made[tree]

    def close(self) -> None:
        """Deletes it."""
        self.made.clear()
        self.stack.close()


@pytest.fixture(scope="module")
def last(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Last]:
    """For all tests of this file."""
    kept = Last(tmp_path_factory)
    yield kept
    kept.close()


@pytest.fixture(params=all_trees())
def builds(request: pytest.FixtureRequest, last: Last) -> Builds:
    """Each tree, with its base built."""
    return last.get(request.param)


def test_sparse_has_read_the_bases_files(builds: Builds) -> None:
    """sparse read each changed file of the base; not the KUnit suite, which another file includes."""
    calls = builds.calls.read_text(encoding="utf-8")
    for name in builds.files:
        if name.endswith(".c") and (builds.patched.source.path / name).exists():
            assert Path(name).name in calls, name


def each_patch() -> list[object]:
    """The tree and the patch, for each patch that changes code. The fixture takes the tree."""
    return [pytest.param(tree, name, id=f"{tree}-{name.removesuffix('.patch')}") for tree, name in PATCHES
            if targets([series_dir(tree) / name])]


@pytest.mark.parametrize("builds, name", each_patch(), indirect=["builds"])
def test_compiles_by_itself_without_a_new_warning(builds: Builds, name: str) -> None:
    number = [patch.name for patch in builds.patches].index(name)
    builds.patched.apply([*builds.lower, *builds.patches[:number + 1]])
    status, log = builds.compile(name, targets([builds.patches[number]]))
    assert status == 0, "\n".join(last_lines(log, 30))
    assert builds.warnings(log) - builds.known == set()


# --- KVM selftests -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def selftests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patched]:
    """Mainline's base, for patches to its KVM selftests."""
    with patched_tree(tmp_path_factory.mktemp("selftests"), "mainline", "series-selftests") as patched:
        yield patched


@pytest.mark.parametrize("patches", SELFTESTS.values(), ids=SELFTESTS)
def test_selftests_compile_without_a_warning(selftests: Patched, patches: Sequence[Path]) -> None:
    """The library, and the programs that the patches add."""
    work, cache = selftests.work, selftests.session.cache
    selftests.apply(patches)
    programs = [*LIBRARY, *(name for patch in patches for name in ADDED_PROGRAM.findall(whole_text(patch)))]
    (work / "kselftest").mkdir(exist_ok=True)
    selftests.job.run(kmake(cache, work, "-s", "headers"))
    selftests.job.run(command(
        "make", "-s", "-C", work / "src" / KVM, f"-j{jobs()}", f"CC={compiler()}", f"OUTPUT={work}/kselftest",
        f"KHDR_INCLUDES=-isystem {work}/src/obj/usr/include", "LDFLAGS=-static", "EXTRA_CFLAGS=-Werror",
        *(f"{work}/kselftest/x86/{name}" for name in programs), env=ccache_env(cache)))
    assert {path.name for path in (work / "kselftest/x86").iterdir()} >= set(programs)
