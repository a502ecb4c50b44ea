# SPDX-License-Identifier: GPL-2.0-only
"""The initial RAM disks of L1 and L2, made of a few programs and modules. L1's is not packed; for L2's, which is small, fast
compression is enough."""
from __future__ import annotations

import gzip
import hashlib
import lzma
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from lab.build.deps import is_static
from lab.build.kernel import compiler_version
from lab.build.sources import scratch_folder
from lab.core.errors import setup_error
from lab.core.places import LAB
from lab.core.process import Command, command
from lab.core.steps import Job

INIT = (LAB / "l1" / "init.c", LAB / "l1" / "locktrace.c")
CPIO = ("cpio", "-0", "-o", "-H", "newc", "-R", "0:0", "--reproducible", "--quiet")
FOLDERS = ("dev", "proc", "sys", "tmp", "lib/modules", "tests", "bin")


def archive(job: Job, root: Path, compressed: bool = True) -> bytes:
    """A folder as one more part of an initrd. The kernel takes several, and a later file for an earlier one.
    Reproducible: the same content is the same file."""
    names = sorted(os.path.join(".", os.path.relpath(os.path.join(folder, name), root))
                   for folder, folders, files in os.walk(root) for name in [*folders, *files])
    data = job.bytes_of(command(*CPIO, cwd=root), stdin="".join(f"{name}\0" for name in [".", *names]).encode())
    return gzip.compress(data, 1, mtime=0) if compressed else data


def compile_static(job: Job, sources: Sequence[Path], out: Path, *flags: str) -> None:
    """A static program of ours, kept in the cache under a digest of its sources, compiler and flags."""
    cmd = compile_command(sources, out, *flags)
    digest = hashlib.sha256("\0".join([compiler_version(), *flags]).encode())
    for path in [*sources, *sorted(sources[0].parent.glob("*.h"))]:
        digest.update(path.read_bytes())
    kept = job.session.cache.folder("programs") / f"{sources[0].stem}-{digest.hexdigest()[:16]}"
    if not kept.exists():
        with scratch_folder(".program.", kept.parent) as scratch:
            job.run(compile_command(sources, scratch / "program", *flags))
            (scratch / "program").replace(kept)
    job.write(f"+ {cmd.shown()}")
    shutil.copy2(kept, out)


def compile_command(sources: Sequence[Path], out: Path, *flags: str) -> Command:
    """gcc's line for a static program."""
    return command("gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", *flags, "-o", out, *sources)


def find_module(folder: Path, name: str) -> Path | None:
    """A module's file below a folder; dashes and underscores are the same."""
    wanted = re.compile("".join("[-_]" if c in "-_" else re.escape(c) for c in name) + r"\.ko(\.xz)?")
    return next((p for p in sorted(folder.rglob("*.ko*")) if wanted.fullmatch(p.name)), None)


def modules_with_needs(job: Job, folder: Path, names: Iterable[str]) -> list[Path]:
    """These modules' files below a folder, those that a module needs before it. One that is built in, or not in this
    configuration, is left out: loading a module that needs it fails with a message."""
    found: list[Path] = []
    for name in names:
        path = find_module(folder, name)
        if path is None:
            continue
        needs = job.output(command("modinfo", "-F", "depends", path)).strip()
        for p in [*modules_with_needs(job, folder, filter(None, needs.split(","))), path]:
            if p not in found:
                found.append(p)
    return found


def copy_modules(job: Job, folder: Path, out: Path, *names: str) -> list[str]:
    """Copies the modules and those that they need, uncompressed; OUT/order lists them in the order of loading."""
    order = []
    for path in modules_with_needs(job, folder, names):
        target = out / path.name.removesuffix(".xz")
        if path.suffix == ".xz":
            target.write_bytes(lzma.decompress(path.read_bytes()))
        else:
            shutil.copy(path, target)
        order.append(target.stem)
    (out / "order").write_text("".join(f"{name}\n" for name in order), encoding="utf-8")
    return order


def copy_busybox(out: Path) -> None:
    """Debian's package without -static has the same name, and cannot start where there are no libraries."""
    if not is_static("busybox"):
        raise setup_error(f"expected a static busybox, found {shutil.which('busybox') or 'none'}, which wants libraries",
                          "Debian's package is busybox-static")
    path = shutil.which("busybox")
    assert path is not None
    shutil.copy(path, out)


def strip(job: Job, *files: Path) -> None:
    """Without debug information, where there is any: a script has none."""
    if files:
        job.status(command("strip", "--strip-debug", *files))


def shown(out: Path) -> list[Command]:
    """The commands that make an initrd."""
    return [compile_command(INIT, Path("init")), command(*CPIO, note=f"into {out}")]


def build_initrd(job: Job, modules: Path, out: Path, programs: Sequence[Path] = (), shell: bool = False,
                 keep_debug: bool = False) -> None:
    """L1's initrd: init, kvm-amd and what it needs from below the folder `modules`, these programs, and a shell if asked."""
    with scratch_folder(".root.", out.parent) as root:
        # mkdtemp's folders are their maker's alone: L1's other users may enter its root.
        root.chmod(0o755)
        for name in FOLDERS:
            (root / name).mkdir(parents=True)
        compile_static(job, INIT, root / "init")
        if not copy_modules(job, modules, root / "lib/modules", "kvm-amd"):
            raise setup_error("expected a kvm-amd module to load, found none",
                              "lab/config/kvm.config makes KVM modules; is CONFIG_KVM_AMD=m still possible in this tree?")
        for program in programs:
            shutil.copy2(program, root / "tests" / program.name)
        if shell:
            copy_busybox(root / "bin/busybox")
        if not keep_debug:
            strip(job, *(root / "lib/modules").glob("*.ko"), *(root / "tests").iterdir())
        # Not compressed: QEMU loads it as it is, while the kernel would have to unpack it under TCG.
        out.write_bytes(archive(job, root, compressed=False))
