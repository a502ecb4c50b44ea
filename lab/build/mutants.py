# SPDX-License-Identifier: GPL-2.0-only
"""Builds the mutants' modules, one mutant after the other, in the series' own tree. The cache keeps them under a digest of
the kernel, its source and the mutant's diff; the patch's header does not count, so that it can be edited.

A mutant changes KVM's modules or ccp. They are appended to the initrd of the kernel without mutant, whose files of the same
name they replace. A bug of tests/history may be in another module or in the kernel itself: whatever differs is kept."""
from __future__ import annotations

import filecmp
import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lab.build import image, overlay
from lab.build.prepare import Preparation
from lab.core.errors import Cancelled, Stop, setup_error
from lab.core.process import CommandFailed
from lab.core.session import Session
from lab.core.steps import Job, last_lines
from lab.judge.mutants import END
from lab.patches.series import patch_name

# How many folders of modules the cache keeps, of about 2 MB each; of 12 MB where the kernel differs.
KEPT = 400
# The modules that the series' tests load, and the kernel.
MODULES = ("arch/x86/kvm/kvm.ko", "arch/x86/kvm/kvm-amd.ko", "drivers/crypto/ccp/ccp.ko")
IMAGE = "arch/x86/boot/bzImage"
KERNEL = IMAGE.rpartition("/")[2]
# What a mutant may change.
PLACES = ("arch/x86/kvm/", "virt/kvm/", "drivers/crypto/ccp/")


def below_header(patch: Path) -> bytes:
    """The diff of a patch, without its header."""
    lines = patch.read_bytes().splitlines(keepends=True)
    return b"".join(lines[lines.index(f"{END}\n".encode()) + 1:])


class Store:
    """The modules of one tree's mutants in the cache."""

    def __init__(self, session: Session, prepared: Preparation, logs: Path, places: Sequence[str] | None = PLACES) -> None:
        """`places`: the folders whose files a patch may change; None: any."""
        self.places = places
        self.session = session
        self.prepared = prepared
        self.logs = logs
        self.folder = session.cache.folder("mutants")
        self.plain = logs / "plain"
        self.key = ""
        self._scratch: list[Path] = []

    def take_plain(self, job: Job) -> None:
        """Computes the digest of all that a mutant's modules depend on except the mutant itself, and copies the unmutated
        modules. The caller holds the tree's lock."""
        obj, src = self.prepared.kernel_build().obj, self.prepared.work / "src"
        digest = hashlib.sha256()
        files = [obj / ".config", obj / IMAGE, *(obj / name for name in MODULES if (obj / name).exists())]
        files += sorted(p for place in PLACES for p in (src / place).rglob("*.[ch]"))
        for path in files:
            digest.update(str(path.relative_to(src)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        self.key = digest.hexdigest()[:32]
        self.plain.mkdir()
        self.copy_built(job, self.plain)

    def copy_built(self, job: Job, out: Path) -> list[Path]:
        """Copies the modules as they are built now, stripped, and the kernel. Returns the copies."""
        obj = self.prepared.kernel_build().obj
        copies = [Path(shutil.copy(obj / name, out)) for name in (*MODULES, IMAGE) if (obj / name).exists()]
        image.strip(job, *(path for path in copies if path.suffix == ".ko"))
        return copies

    def path(self, patch: Path) -> Path:
        """The folder for a mutant's modules, which may not exist yet."""
        return self.folder / hashlib.sha256(self.key.encode() + b"\n" + below_header(patch)).hexdigest()[:32]

    def has_all(self, patches: Sequence[Path]) -> bool:
        """Has the cache all these mutants' modules? Renews their times, so that no other run removes them as unused."""
        for patch in patches:
            if self.path(patch).is_dir():
                os.utime(self.path(patch))
        return all(self.path(patch).is_dir() for patch in patches)

    def build_all(self, job: Job, patches: Sequence[Path]) -> None:
        """Builds the modules that the cache lacks. If a mutant does not build, its logs get a file "not-built"."""
        work = self.prepared.work
        # Leftovers of runs that were killed; we hold the tree's lock.
        for old in self.folder.glob(f".{work.name}.*"):
            shutil.rmtree(old, ignore_errors=True)
        lacking = [patch for patch in patches if not self.path(patch).is_dir()]
        for patch in lacking:
            made = Path(tempfile.mkdtemp(prefix=f".{work.name}.", dir=self.folder))
            self._scratch.append(made)
            logs = self.logs / patch.stem
            try:
                self.build(Job(self.session, logs / "build"), patch, made)
                made.rename(self.path(patch))
            except Cancelled:
                raise
            except (Stop, CommandFailed, OSError) as e:
                shutil.rmtree(made, ignore_errors=True)
                (logs / "not-built").write_text(why_not_built(e, logs / "build"), encoding="utf-8")
        if lacking:
            # Undo the last mutant now, not in the next run.
            self.prepared.kernel_build(self.apply(job, [])).build(job)
        self.drop_old()

    def apply(self, job: Job, more: Sequence[Path]) -> overlay.Tree:
        """Applies the series, and these patches on top."""
        prepared = self.prepared
        tree = prepared.target.tree(prepared.source, self.session.cache, [*prepared.extra, *more], prepared.flavour.suffix)
        overlay.apply(job, tree)
        return tree

    def build(self, job: Job, patch: Path, out: Path) -> None:
        """Builds a mutant, and keeps what differs from the unmutated build."""
        places = self.places
        others = sorted(f for f in overlay.touched(job, [patch]) if places is not None and not f.startswith(tuple(places)))
        if others:
            raise setup_error(f"{patch_name(patch)} changes {' '.join(others)}",
                              f"expected changes below {' and '.join(places or ())} only: a mutant is built as modules")
        tree = self.apply(job, [patch])
        self.prepared.kernel_build(tree).build(job)
        for built in self.copy_built(job, out):
            if filecmp.cmp(built, self.plain / built.name, shallow=False):
                built.unlink()
        if not any(out.iterdir()):
            raise setup_error(f"{patch_name(patch)} changes nothing in the kernel and its modules",
                              "expected a wrong version to be compiled to something else")

    def drop_old(self) -> None:
        """Removes the least recently used folders above KEPT."""
        kept = sorted((p for p in self.folder.iterdir() if not p.name.startswith(".")), key=lambda p: p.stat().st_mtime)
        for path in kept[:-KEPT]:
            overlay.put_away(path)

    def drop_half_built(self) -> None:
        """Removes the folders of our own interrupted build; another run's stay."""
        for path in self._scratch:
            shutil.rmtree(path, ignore_errors=True)


def why_not_built(error: Exception, log: Path) -> str:
    """The error and the compiler's first errors, in a few lines."""
    said = [line for line in last_lines(log, 400) if "rror:" in line][:5] or last_lines(log, 5)
    return "\n".join([error.text() if isinstance(error, Stop) else str(error), *said]) + "\n"
