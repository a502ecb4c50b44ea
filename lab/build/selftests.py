# SPDX-License-Identifier: GPL-2.0-only
"""Builds the programs that run in L1: KVM selftests, and our own (host/tests/kvm), which use the selftests' library.

The selftests are always those of a 7.x kernel, with the selftests of the mainline series on top. The static programs run on
every kernel. Older trees have neither the test of SNP_LAUNCH_FINISH nor the library to build it with."""
from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from lab.build import overlay
from lab.build.kernel import ccache_env, compiler, compiler_version, jobs, kmake
from lab.build.overlay import Tree, read, write
from lab.build.sources import Source, kernel_source
from lab.core.errors import Stop, setup_error
from lab.core.places import LAB, SERIES, TOP, kernel_version, short_digest, slug
from lab.core.process import Command, CommandFailed, command
from lab.core.session import Session
from lab.core.steps import Job, Plan, Step
from lab.judge.programs import Origin, all_programs
from lab.patches.git import applies
from lab.patches.newfiles import brought_names, whole_text
from lab.patches.patchfile import to_bytes
from lab.patches.series import list_series

KVM = "tools/testing/selftests/kvm"
OWN = TOP / "host/tests/kvm"
# If only programs of ours are wanted, this upstream test is built to build the library.
LIBRARY = ("sev_smoke_test",)


def selftest_patches() -> list[Path]:
    """The mainline series' patches to the selftests. Without the patches to the kernel, any 7.x tree can be the source."""
    return [p for p in list_series(SERIES / "mainline") if f"\n+++ b/{KVM}/" in p.read_text(encoding="utf-8")]


class Selftests:
    """The selftests' source and build."""

    def __init__(self, session: Session, source: Source, of_tree: bool = False) -> None:
        self.session = session
        self.source = source
        # The source is the tree under test.
        self.of_tree = of_tree

    @property
    def work(self) -> Path:
        """The work folder: one for the cache's base, and one for each source tree of the user's."""
        path = self.source.path
        name = "selftests" if self.source.is_base or self.source.given is None else \
            f"selftests-{slug(path.name)}-{short_digest(str(path))}"
        return self.session.cache.root / "work" / name

    def tree(self) -> Tree:
        """The source with the mainline series' selftests on top."""
        source = self.source.path
        return Tree(source, self.work, self.patches(), self.source.is_base or self.source.given is None,
                    name=f"linux {kernel_version(source)} (for its selftests)", is_kernel=False)

    def patches(self) -> list[Path]:
        """The patches that the source lacks: a tree of the user's may have the mainline series already."""
        if self.source.given is None or self.source.is_base:
            return selftest_patches()
        return [patch for patch in selftest_patches() if not carries(self.source.path, patch)]

    def build_command(self, names: Sequence[str]) -> Command:
        """The command that builds these upstream selftests."""
        work, cc = self.work, compiler()
        return command("make", "-s", "-C", work / "src" / KVM, f"-j{jobs()}", f"CC={cc}", f"OUTPUT={work}/kselftest",
                       f"KHDR_INCLUDES=-isystem {work}/src/obj/usr/include", "LDFLAGS=-static",
                       *(f"{work}/kselftest/x86/{name}" for name in names), env=ccache_env(self.session.cache))

    def own_command(self) -> Command:
        """The command that builds our own programs, which link with the selftests' library."""
        work = self.work
        return command("make", "-s", "-C", OWN, f"-j{jobs()}", f"CC={compiler()}", f"LINUX={work}/src",
                       f"HEADERS={work}/src/obj/usr/include", f"LIB={work}/kselftest", f"OUT={work}/own",
                       env=ccache_env(self.session.cache))

    def shown(self, names: Sequence[str]) -> list[Command]:
        """The commands for --dry-run."""
        upstream, own = split(names)
        return [*self.tree().shown(), kmake(self.session.cache, self.work, "-s", "headers"),
                self.build_command(upstream or LIBRARY), *([self.own_command()] if own else [])]

    def state(self) -> str:
        """A digest of everything that the programs depend on, except edits of the source."""
        digest = hashlib.sha256("\0".join([str(self.source.path), compiler_version()]).encode())
        for patch in selftest_patches():
            digest.update(to_bytes(whole_text(patch)))
        for path in [*sorted(OWN.glob("*.[ch]")), OWN / "Makefile", LAB / "build/selftests.py",
                     LAB / "build/kernel.py"]:
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def build(self, job: Job, names: Sequence[str], out: Path) -> None:
        """Builds the programs. If the source is the tree under test, that is at fault for an error."""
        try:
            self.build_programs(job, names, out)
        except Stop as e:
            e.of_tree = self.of_tree
            raise

    def build_programs(self, job: Job, names: Sequence[str], out: Path) -> None:
        """Builds the programs that are missing, and links all of them to the folder `out`, since another run may build
        others meanwhile."""
        work = self.work
        with job.lock(f"work-{work.name}"):
            # Only under the lock: cache --prune may have removed the folder before.
            work.mkdir(parents=True, exist_ok=True)
            state, tests = self.state(), work / "tests"
            if not self.source.is_base or read(work / "state") != state:
                (work / "state").unlink(missing_ok=True)
                for old in (tests, work / "own", *([work / "kselftest"] if self.source.is_base else [])):
                    shutil.rmtree(old, ignore_errors=True)
            lacking = [name for name in names if not (tests / name).exists()]
            if lacking:
                # If this run is killed, the next one must not take half-made programs for whole.
                (work / "state").unlink(missing_ok=True)
                overlay.apply(job, self.tree())
                self.make(job, lacking)
                write(work / "state", state)
            out.mkdir(exist_ok=True)
            for name in names:
                link_file(tests / name, out / name)

    def make(self, job: Job, names: Sequence[str]) -> None:
        """Makes the programs, into WORK/tests."""
        work = self.work
        upstream, own = split(names)
        for folder in ("kselftest", "tests"):
            (work / folder).mkdir(exist_ok=True)
        try:
            # Every time, as headers that a killed run has exported in part look complete.
            job.run(kmake(self.session.cache, work, "-s", "headers"))
            job.run(self.build_command(upstream or LIBRARY))
            if own:
                job.run(self.own_command())
        except CommandFailed as e:
            raise setup_error("the KVM selftests do not build", "the compiler's messages are in the log") from e
        for name in names:
            built = work / "own" / name if name in own else work / "kselftest/x86" / name
            # Rename last, so that a program that exists is whole.
            shutil.copy2(built, work / "tests" / f".{name}")
            (work / "tests" / f".{name}").replace(work / "tests" / name)

    def add_steps(self, plan: Plan, names: Sequence[str], out: Path, after: tuple[Step, ...] | None = None) -> list[Step]:
        """Adds the steps that fetch and build the programs, into the folder `out`."""
        steps = []
        fetch = self.source.add_fetch(plan, "fetch linux for its selftests", after)
        if fetch is not None:
            steps.append(fetch)
        steps.append(plan.add(lambda: f"build the selftests of linux {self.source.version}",
                              lambda job: self.build(job, names, out), lambda: self.shown(names),
                              (fetch,) if fetch is not None else after))
        return steps


def split(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits the names into upstream's selftests and our programs."""
    ours = {program.name for program in all_programs() if program.origin is Origin.OURS}
    return [n for n in names if n not in ours], [n for n in names if n in ours]


def carries(source: Path, patch: Path) -> bool:
    """Has the tree this patch already? Then it has the patch's new files, or, if there are none, its lines."""
    names = brought_names(patch)
    if names:
        return all((source / name).exists() for name in names)
    return applies(source, patch, 1, reverse=True) is not None


def selftests_for(session: Session, tree: str, linux: Path | None, selftests: Path | None,
                  tested: Path | None = None) -> Selftests:
    """The selftests of --selftests DIR, or of --linux DIR if that is for the mainline series, or of Debian's newest 7.x.
    `tested`: --tree DIR."""
    given = selftests or (linux if tree == "mainline" else None)
    return Selftests(session, kernel_source(session, "mainline", given), of_tree=given is not None and given == tested)


def selftest_folder_error(shown: str) -> Exception:
    """The error for a --selftests DIR without KVM selftests."""
    return setup_error(f"{shown}: expected the KVM selftests of a 7.x kernel, found no {KVM}/x86",
                       "name the top of a newer Linux source tree")


def link_tree(source: Path, target: Path) -> None:
    """Makes hard links to all files of a folder, or copies if the target is on another disk."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, copy_function=_link, symlinks=True)


def link_file(source: Path, target: Path) -> None:
    """Makes a hard link, or a copy if the target is on another disk."""
    target.unlink(missing_ok=True)
    _link(str(source), str(target))


def _link(source: str, target: str) -> str:
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)
    return target
