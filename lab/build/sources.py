# SPDX-License-Identifier: GPL-2.0-only
"""Source trees of kernels and of QEMU: the user's, or Debian's newest package, unpacked in the cache's folder base.

base/NAME.newest names the version that was the newest at the last look-up. A tree gets its name once it is complete."""
from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.build.apt import OWN_TREES, SECURITY_SUITES, SUITES, WHAT, Apt, is_fresh
from lab.core.errors import Stop, setup_error
from lab.core.places import Cache, kernel_version, need_space, out_of_space, slug
from lab.core.process import Command, CommandFailed, command
from lab.core.session import Session
from lab.core.steps import Job, Plan, Step


@dataclass(frozen=True)
class Kind:
    """A kind of package, and how to find it and unpack it into the cache."""

    # The name of the file NAME.newest.
    name: str
    # The release in the placeholder "<newest 6.12>", shown while the version is not known.
    newest: str
    # The wanted package, in words for a message.
    wanted: str
    # The MiB that unpacking and building take.
    space: int
    # Finds the packages: (name, version), the best first.
    candidates: Callable[[Apt], list[tuple[str, str]]]
    # Downloads a package into a folder; unpacks it there into src.
    get: Callable[[Apt, str, str, Path], None]
    unpack: Callable[[Job, str, Path], None]
    # The version of an unpacked tree; None if the tree is of another kind.
    version: Callable[[Path], str | None]
    suites: Sequence[str] = (*SUITES, *SECURITY_SUITES)
    hint: str = ""
    what: str = WHAT
    # The command line that needs no download, if there is one.
    own_trees: str = OWN_TREES
    # The commands of a dry run.
    shown: Callable[[Cache], Iterable[Command | str]] = lambda cache: ()


def newest_path(cache: Cache, name: str) -> Path | None:
    """The folder that base/NAME.newest names, if it is there."""
    try:
        folder = (cache.root / "base" / f"{name}.newest").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    path = cache.root / "base" / folder
    return path if folder and path.is_dir() else None


def looked_up_lately(cache: Cache, name: str) -> bool:
    """Is the last look-up less than half a day ago? Then the run does not wait for apt."""
    return newest_path(cache, name) is not None and is_fresh(cache.root / "base" / f"{name}.newest")


@contextmanager
def scratch_folder(prefix: str, parent: Path) -> Iterator[Path]:
    """Makes a temporary folder and removes it at the end of the block, even after an exception."""
    path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def fetch(job: Job, kind: Kind) -> None:
    """Fetches the newest version, and writes its name to base/NAME.newest, unless the last look-up is recent."""
    cache = job.session.cache
    with job.lock(f"base-{kind.name}"):
        if looked_up_lately(cache, kind.name):
            return
        there = newest_path(cache, kind.name)
        apt = Apt(job, kind.what, kind.own_trees)
        if not apt.refresh_or(there.name if there else None):
            return
        for package, version in kind.candidates(apt):
            if fetch_one(job, apt, kind, package, version):
                break
        if newest_path(cache, kind.name) is None:
            raise setup_error(f"expected {kind.wanted} that can be downloaded, found none",
                              f"looked in {' '.join(kind.suites)}", *([kind.hint] if kind.hint else []))


def fetch_one(job: Job, apt: Apt, kind: Kind, package: str, version: str) -> bool:
    """Downloads and unpacks one version, unless the cache has it; False if the archive does not have it."""
    base = job.session.cache.folder("base")
    name = slug(f"{package}_{version.partition(':')[2] or version}")
    if not (base / name).is_dir():
        # Leftovers of runs that were killed; we hold the lock.
        for old in base.glob(f".{package}_*.*"):
            shutil.rmtree(old, ignore_errors=True)
        need_space(base, kind.space, f"unpacking and building {package}")
        with scratch_folder(f".{name}.", base) as folder:
            try:
                # apt checks the download against the checksums of the signed index.
                kind.get(apt, package, version, folder)
            except CommandFailed:
                out_of_space(folder)
                # An index can list a package that is gone from the archive.
                job.tell(f"{package} {version} cannot be downloaded: trying the next older one")
                return False
            try:
                kind.unpack(job, package, folder)
            except (CommandFailed, OSError) as e:
                out_of_space(folder)
                raise setup_error(f"{package} {version} could not be unpacked",
                                  "the messages are in the log; run again") from e
            if not kind.version(folder / "src"):
                raise setup_error(f"{package} {version}: expected a source tree in it, found none")
            # Rename last, so that a tree that exists is complete.
            os.rename(folder / "src", base / name)
    temporary = base / f"{kind.name}.newest.tmp"
    temporary.write_text(name + "\n", encoding="utf-8")
    temporary.replace(base / f"{kind.name}.newest")
    return True


class Source:
    """A source tree that exists, or will exist once its fetch step has ended."""

    def __init__(self, session: Session, kind: Kind, given: Path | None = None) -> None:
        self.session = session
        self.kind = kind
        self.given = given
        self._pinned: Path | None = None

    def pin(self) -> None:
        """Keeps to the current version, even if another run fetches a newer one: no run must mix two versions."""
        self._pinned = self.path if self.given is None else None

    @property
    def path(self) -> Path:
        """The tree's folder; a placeholder if a dry run cannot know it."""
        if self.given is not None:
            return self.given
        if self._pinned is not None:
            return self._pinned
        found = newest_path(self.session.cache, self.kind.name)
        return found if found is not None else self.session.cache.root / "base" / f"<newest {self.kind.newest}>"

    @property
    def version(self) -> str:
        """The tree's version; a placeholder if a dry run cannot know it."""
        return self.kind.version(self.path) or f"<newest {self.kind.newest}>"

    @property
    def is_base(self) -> bool:
        """Is the tree one of the cache's, which nobody edits?"""
        return self.session.cache.holds(self.path)

    def add_fetch(self, plan: Plan, title: str, after: tuple[Step, ...] | None = None) -> Step | None:
        """Adds the step that fetches the tree; a tree of the user's needs none: None."""
        if self.given is not None:
            return None
        return plan.add(title, self.fetch, lambda: self.kind.shown(self.session.cache), after)

    def fetch(self, job: Job) -> None:
        """Fetches the tree, and pins the version."""
        fetch(job, self.kind)
        self.pin()


# --- Kernels -------------------------------------------------------------------------------------


def package_pattern(tree: str) -> str:
    """The pattern of the source packages that can be a tree's base."""
    if tree == "mainline":
        return r"^linux-source-7\.[0-9]+$"
    return "^linux-source-" + re.escape(tree.removesuffix(".y")) + "$"


def newest_of(tree: str) -> str:
    """The release of a tree's base for placeholders: "6.12" or "7.x"."""
    return "7.x" if tree == "mainline" else tree.removesuffix(".y")


def get_deb(apt: Apt, package: str, version: str, folder: Path) -> None:
    """Downloads a binary package."""
    apt.job.run(apt.tool("apt-get", "download", f"{package}={version}", cwd=folder))


def pipe(job: Job, *commands: Command) -> None:
    """Runs commands as a pipeline. Raises CommandFailed for the first command that fails."""
    processes, running, last = job.session.processes, [], None
    for number, cmd in enumerate(commands):
        job.write(f"{'| ' if number else '+ '}{cmd.shown()}")
        final = number == len(commands) - 1
        read, write = (None, job.log.fileno()) if final else os.pipe()
        try:
            running.append(processes.start(cmd, stdin=last, stdout=write, stderr=job.log.fileno()))
        finally:
            for descriptor in (last, None if final else write):
                if descriptor is not None:
                    os.close(descriptor)
        last = read
    statuses = [processes.ended(process) for process in running]
    for status, cmd in zip(statuses, commands):
        if status:
            raise CommandFailed(status, cmd)


def unpack_kernel(job: Job, package: str, folder: Path) -> None:
    """Unpacks the tarball in linux-source-*.deb as the folder src."""
    deb = next(folder.glob("*.deb"))
    pipe(job, command("dpkg-deb", "--fsys-tarfile", deb), command("tar", "-xO", f"./usr/src/{package}.tar.xz"),
         command("xz", "-dc", "-T0"), command("tar", "-C", folder, "-x", "--no-same-owner"))
    (folder / package).rename(folder / "src")


def kernel_kind(tree: str) -> Kind:
    """Debian's newest kernel source for a tree."""
    pattern = package_pattern(tree)

    def shown(cache: Cache) -> Iterable[Command | str]:
        newest = newest_path(cache, tree)
        name = newest.name if newest else f"<newest {newest_of(tree)}>"
        yield command("apt-get", "download", f"linux-source-{'<newest 7.x>' if tree == 'mainline' else newest_of(tree)}",
                      note="the newest, by a private apt configuration")
        yield command("mkdir", "-p", cache.root / "base" / name)
        yield command("tar", "-C", cache.root / "base" / name, "--strip-components=1", "-xf",
                      f"<usr/src of the package>/linux-source-{newest_of(tree)}.tar.xz")
    return Kind(tree, newest_of(tree), f"a Debian package that matches {pattern} and", 6000,
                lambda apt: apt.candidates(pattern), get_deb, unpack_kernel, kernel_version,
                hint="give a kernel source tree of your own: --linux DIR", shown=shown)


def kernel_source(session: Session, tree: str, given: Path | None) -> Source:
    """The base of a series: the user's (--linux DIR), or Debian's newest."""
    return Source(session, kernel_kind(tree), given)


def not_a_kernel(name: str) -> Stop:
    """The error for a folder that is no kernel source tree."""
    return setup_error(f"{name} is no kernel source tree: expected a Makefile with VERSION, PATCHLEVEL and SUBLEVEL, "
                       "and a Kbuild", "name the top of a Linux source tree")
