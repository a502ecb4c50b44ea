# SPDX-License-Identifier: GPL-2.0-only
"""Makes the initrds of L1 and L2 from a few programs and modules. L1's is not compressed; L2's is small, and compressed
fast."""
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
from lab.build.overlay import read
from lab.build.sources import scratch_folder
from lab.core.errors import setup_error
from lab.core.places import LAB
from lab.core.process import Command, command
from lab.core.steps import Job

INIT = (LAB / "l1" / "init.c", LAB / "l1" / "locktrace.c")
CPIO = ("cpio", "-0", "-o", "-H", "newc", "-R", "0:0", "--reproducible", "--quiet")
FOLDERS = ("dev", "proc", "sys", "tmp", "lib/modules", "tests", "bin")


def archive(job: Job, root: Path, compressed: bool = True) -> bytes:
    """Packs a folder as a part of an initrd. An initrd may have several parts; a file in a later part replaces the same file
    in an earlier one. The same content always gives the same bytes."""
    names = sorted(os.path.join(".", os.path.relpath(os.path.join(folder, name), root))
                   for folder, folders, files in os.walk(root) for name in [*folders, *files])
    for name in (".", *names):
        # Otherwise each run's L2 would have another measurement: cpio copies the time.
        os.utime(root / name, (0, 0), follow_symlinks=False)
    data = job.bytes_of(command(*CPIO, cwd=root), stdin="".join(f"{name}\0" for name in [".", *names]).encode())
    return gzip.compress(data, 1, mtime=0) if compressed else data


def compile_static(job: Job, sources: Sequence[Path], out: Path, *flags: str) -> None:
    """Compiles a static program, and keeps it in the cache under a digest of its sources, compiler and flags."""
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
    """The command that compiles a static program."""
    return command("gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", *flags, "-o", out, *sources)


def find_module(folder: Path, name: str) -> Path | None:
    """A module's file below a folder; as for modprobe, dashes and underscores are the same."""
    wanted = re.compile("".join("[-_]" if c in "-_" else re.escape(c) for c in name) + r"\.ko(\.xz)?")
    return next((p for p in sorted(folder.rglob("*.ko*")) if wanted.fullmatch(p.name)), None)


def modules_with_needs(job: Job, folder: Path, names: Iterable[str]) -> list[Path]:
    """The files of these modules and of those they depend on, in loading order. A module without a file is left out: it may
    be built in, and if not, loading a module that depends on it fails with a message."""
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


def is_built_in(folder: Path, name: str) -> bool:
    """Is the module part of the kernel that was built in this folder?"""
    return f"/{name}.ko\n" in read(folder / "modules.builtin")


def copy_modules(job: Job, folder: Path, out: Path, *names: str) -> list[str]:
    """Copies the modules and those they depend on, uncompressed; OUT/order lists them in loading order."""
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
    """Copies a static busybox. The program of Debian's package busybox has the same name, but does not start in an initrd
    without libraries."""
    if not is_static("busybox"):
        found = shutil.which("busybox")
        raise setup_error(f"expected a static busybox, found {f'{found}, which needs libraries' if found else 'none'}",
                          "Debian's package is busybox-static")
    path = shutil.which("busybox")
    assert path is not None
    shutil.copy(path, out)


def strip(job: Job, *files: Path) -> None:
    """Removes debug information. The status does not matter: strip fails for a script, which has none."""
    if files:
        job.status(command("strip", "--strip-debug", *files))


def shown(out: Path) -> list[Command]:
    """The commands for --dry-run."""
    return [compile_command(INIT, Path("init")), command(*CPIO, note=f"into {out}")]


def build_initrd(job: Job, modules: Path, out: Path, programs: Sequence[Path] = (), shell: bool = False,
                 keep_debug: bool = False) -> None:
    """Makes L1's initrd: init, kvm-amd and the modules it depends on (from below the folder `modules`), the programs, and
    a shell if wanted."""
    with scratch_folder(".root.", out.parent) as root:
        # Only its owner may enter a folder of mkdtemp(), but L1 also has other users, who must be able to enter the root.
        root.chmod(0o755)
        for name in FOLDERS:
            (root / name).mkdir(parents=True)
        compile_static(job, INIT, root / "init")
        if not copy_modules(job, modules, root / "lib/modules", "kvm-amd") and not is_built_in(modules, "kvm-amd"):
            raise setup_error("expected a kvm-amd module to load, found none",
                              "lab/config/kvm.config sets CONFIG_KVM_AMD=m; is that still possible in this tree?")
        for program in programs:
            shutil.copy2(program, root / "tests" / program.name)
        if shell:
            copy_busybox(root / "bin/busybox")
        if not keep_debug:
            strip(job, *(root / "lib/modules").glob("*.ko"), *(root / "tests").iterdir())
        # Not compressed: QEMU loads it at once, while L1's kernel would decompress it slowly, under TCG.
        out.write_bytes(archive(job, root, compressed=False))
