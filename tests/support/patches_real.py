# SPDX-License-Identifier: GPL-2.0-only
"""Real bases for the real series: Debian's newest kernel source, an older one, and one with changes beside our hunks.

Only the files that the verbs and the kernel's scripts read are copied: a work tree of all 90 000 files takes long."""
from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.build.apt import Apt
from lab.build.sources import fetch, get_deb, kernel_kind, newest_path, package_pattern, pipe, scratch_folder
from lab.core.errors import Stop
from lab.core.places import kernel_version, slug
from lab.core.process import CommandFailed, command
from lab.core.session import Session
from lab.core.steps import Job
from lab.patches.newfiles import whole_text, write_whole
from lab.patches.series import list_series, series_dir

# get_maintainer.pl checks for these files at a kernel's top; the series change files in these folders.
MEMBERS = (
    "Makefile", "Kbuild", "Kconfig", "MAINTAINERS", "COPYING", "CREDITS", "README", "arch/x86/kvm", "virt/kvm",
    "drivers/crypto/ccp",
    "arch/x86/include/asm/kvm_host.h", "arch/x86/include/asm/kvm-x86-ops.h",
    "include/linux", "kernel/locking", "scripts/get_maintainer.pl", "scripts/checkpatch.pl", "scripts/spelling.txt",
    "scripts/const_structs.checkpatch", "Documentation/process", "Documentation/virt/kvm", "tools/testing/selftests/kvm",
    "drivers/Kconfig", "fs/Kconfig", "init/Kconfig", "ipc/Makefile", "lib/Kconfig")
MADE = "/* A line that the base does not have. */\n"
# Findings that are not a patch's fault: the sender adds the sign-off; a tarball has no git history to look commit ids up in;
# and checkpatch asks for every new file whether MAINTAINERS needs updating.
IGNORED = "MISSING_SIGN_OFF,NO_AUTHOR_SIGN_OFF,UNKNOWN_COMMIT_ID,FILE_PATH_CHANGES"
FINDING = re.compile(r".*\.patch:([0-9]+): (.*)")


def newest_base(session: Session, folder: Path, tree: str) -> Path:
    """The newest source, fetched if need be. SNPLAB_TEST_LINUX=DIR[:DIR] names sources to use for the trees that they
    fit."""
    for name in filter(None, os.environ.get("SNPLAB_TEST_LINUX", "").split(":")):
        release = (kernel_version(Path(name)) or "").rpartition(".")[0]
        if f"{release}.y" == tree or (tree == "mainline" and release and not series_dir(f"{release}.y").is_dir()):
            return Path(name)
    fetch(Job(session, folder / f"fetch-{tree}.log"), kernel_kind(tree))
    path = newest_path(session.cache, tree)
    assert path is not None
    return path


def members(source: Path) -> list[str]:
    """Those of MEMBERS that a source has."""
    return [name for name in MEMBERS if (source / name).exists()]


def copy_some(session: Session, source: Path, target: Path) -> Path:
    """Copies MEMBERS of a source."""
    target.mkdir(parents=True)
    job = Job(session, target.parent / f"{target.name}.log")
    job.run(command("cp", "-a", "--no-preserve=ownership", "--parents", *members(source), target, cwd=source))
    return target


def changed_base(session: Session, tree: str, source: Path, target: Path) -> tuple[Path, set[str]]:
    """A base with a line added at the head of each C file that the series changes; and the patches whose hunks that
    moves."""
    copy_some(session, source, target)
    moved = set()
    for patch in list_series(series_dir(tree)):
        touched = re.findall(r"^--- a/(\S+\.[ch])$", patch.read_text(encoding="utf-8"), re.M)
        for name in (n for n in touched if (source / n).exists()):
            moved.add(patch.name)
            text = (target / name).read_bytes()
            if not text.startswith(MADE.encode()):
                (target / name).write_bytes(MADE.encode() + text)
    return target, moved


def older_base(session: Session, folder: Path, tree: str, newest: Path) -> Path | None:
    """The archive's version just before the newest source; None if there is none, or no network."""
    job = Job(session, folder / f"older-{tree}.log")
    apt = Apt(job)
    try:
        if not apt.refresh_or(newest.name):
            return None
        # "6.12.118-1~deb12u1" is linux 6.12.118.
        found = [(p, v) for p, v in apt.candidates(package_pattern(tree)) if v.rpartition("-")[0] != kernel_version(newest)]
    except (Stop, CommandFailed):
        return None
    with job.lock("older-base"):
        for package, version in found:
            try:
                return unpack_some(apt, package, version)
            except CommandFailed:
                continue
    return None


def unpack_some(apt: Apt, package: str, version: str) -> Path:
    """Downloads a version and unpacks MEMBERS. The cache keeps one such version."""
    kept = apt.job.session.cache.folder("work/older-base")
    target = kept / slug(f"{package}_{version}")
    if target.is_dir():
        return target
    for old in kept.iterdir():
        shutil.rmtree(old, ignore_errors=True)
    with scratch_folder(".new.", kept) as new:
        get_deb(apt, package, version, new)
        pipe(apt.job, command("dpkg-deb", "--fsys-tarfile", next(new.glob("*.deb"))),
             command("tar", "-xO", f"./usr/src/{package}.tar.xz"), command("xz", "-dc", "-T0"),
             command("tar", "-C", new, "-x", "--no-same-owner", *(f"{package}/{name}" for name in MEMBERS)))
        (new / package).rename(target)
    return target


@dataclass(frozen=True)
class Finding:
    """A finding of checkpatch."""

    line: int
    text: str


def checkpatch(session: Session, folder: Path, source: Path, patch: Path) -> list[Finding]:
    """The findings in a patch with the files that it brings, without those that are not the patch's fault."""
    [patch] = write_whole([patch], folder / "whole")
    job = Job(session, folder / "checkpatch.log")
    said = job.output(command("perl", "scripts/checkpatch.pl", "--no-tree", "--strict", "--terse", "--show-types",
                              "--ignore", IGNORED, patch, cwd=source), ok=(0, 1)).splitlines()
    # For a clean patch checkpatch prints nothing. Findings end with a summary; without it checkpatch itself has failed.
    assert not said or said[-1].startswith("total:"), f"expected a summary as checkpatch.pl's last line, found {said}"
    lines = patch.read_text(encoding="utf-8", errors="replace").split("\n")
    found = [Finding(int(match[1]), match[2]) for line in said if (match := FINDING.fullmatch(line))]
    # checkpatch does not know the lines that stable's maintainers want.
    return [f for f in found if not any(kind in f.text for kind in ("GIT_COMMIT_ID", "COMMIT_LOG_LONG_LINE"))
            or not lines[f.line - 1].startswith(("[ Upstream commit ", "Stable-dep-of: "))]


def maintained(session: Session, folder: Path, source: Path, name: str) -> bool:
    """Does an F: line of MAINTAINERS send the file's patches to KVM's list? (git's history does not count.)"""
    job = Job(session, folder / "maintained.log")
    said = job.output(command("perl", "scripts/get_maintainer.pl", "--no-tree", "--no-git", "--no-git-fallback",
                              "--no-rolestats", "-f", name, cwd=source))
    return "kvm@vger.kernel.org" in said


def new_files(patches: list[Path]) -> list[str]:
    """The files that these patches add."""
    return [name for patch in patches
            for name in re.findall(r"^--- /dev/null\n\+\+\+ b/(.+)$", whole_text(patch), re.M)]
