# SPDX-License-Identifier: GPL-2.0-only
"""Do the series compile with every kind of mutex?

DEBUG_LOCK_ALLOC and PREEMPT_RT, each on and off: in all four configurations the folders that the series change must
compile, and the kernel must export each lock function that KVM's modules call. Upstream's mutex_lock_killable_nest_lock()
did not link in one of the four, which compiling an object does not show.
"""
from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from lab.build.kernel import CONFIGS, Kernel, kmake
from lab.build.overlay import Tree
from lab.core.process import command
from lab.core.steps import Job, last_lines
from lab.patches.series import trees
from tests.support.patched import Patched, patched_tree

ABOUT = "the series compiles with and without lockdep and PREEMPT_RT, and the kernel exports the locks that KVM calls"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "check")
TAKES = 600

KINDS = [pytest.param(*kind, id=", ".join(kind)) for kind in product(("lockdep", "no lockdep"), ("no RT", "RT"))]
TARGETS = ("kernel/locking/", "arch/x86/kvm/")
LOCK_FUNCTION = re.compile(r"(__?)?(rt_)?(mutex|rwsem|down|up)_")
# PREEMPT_RT excludes the other preemption models, huge pages and DEBUG_MUTEXES.
NOT_WITH_RT = re.compile(r"^CONFIG_(PREEMPT|TRANSPARENT_HUGEPAGE|DEBUG_MUTEXES)=.*\n", re.M)


@pytest.fixture(scope="module", params=trees())
def patched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Patched]:
    """Each tree with its series. All four configurations use one folder, so that kbuild's tools are built once."""
    with patched_tree(tmp_path_factory.mktemp("configs"), request.param, f"configs-{request.param}") as patched:
        patched.apply()
        yield patched


def fragments(folder: Path, lockdep: str, rt: str) -> list[Path]:
    """The fragments of a configuration."""
    base = (CONFIGS / "base.config").read_text(encoding="utf-8")
    debug = (CONFIGS / "debug.config").read_text(encoding="utf-8") if lockdep == "lockdep" else "CONFIG_DEBUG_KERNEL=y\n"
    if rt == "RT":
        base, debug = NOT_WITH_RT.sub("", base), NOT_WITH_RT.sub("", debug) + "CONFIG_PREEMPT_RT=y\n"
    made = []
    for name, text in (("base", base), ("kvm", (CONFIGS / "kvm.config").read_text(encoding="utf-8")), ("extra", debug)):
        path = folder / f"{name}.config"
        path.write_text(text, encoding="utf-8")
        made.append(path)
    return made


def symbols(job: Job, objects: list[Path], *options: str) -> list[list[str]]:
    """nm's output, each line split into words."""
    return [line.split() for line in job.output(command("nm", *options, *objects)).splitlines()]


@pytest.mark.parametrize("lockdep, rt", KINDS)
def test_compiles_and_exports_what_kvm_calls(patched: Patched, tmp_path: Path, lockdep: str, rt: str) -> None:
    cache = patched.session.cache
    kernel = Kernel(Tree(patched.source.path, patched.work, [], True), cache)
    kernel.fragments = fragments(tmp_path, lockdep, rt)
    job = Job(patched.session, tmp_path / "build.log")
    kernel.configure(job)
    assert job.status(kmake(cache, patched.work, *TARGETS)) == 0, "\n".join(last_lines(tmp_path / "build.log", 20))

    config = (kernel.obj / ".config").read_text(encoding="utf-8").splitlines()
    assert ("CONFIG_DEBUG_LOCK_ALLOC=y" in config, "CONFIG_PREEMPT_RT=y" in config) == (lockdep == "lockdep", rt == "RT")

    kvm = [kernel.obj / "arch/x86/kvm" / name for name in ("kvm.o", "kvm-amd.o")]
    wanted = {words[-1] for words in symbols(job, kvm, "-u") if words[:1] == ["U"]}
    # If nm finds no mutex in KVM, it could not read KVM.
    assert "mutex_unlock" in wanted
    exported = {match[1] for words in symbols(job, sorted((kernel.obj / "kernel/locking").glob("*.o")))
                if words and (match := re.fullmatch(r"__export_symbol_(.+)", words[-1]))}
    assert {name for name in wanted if LOCK_FUNCTION.match(name)} - exported == set()
