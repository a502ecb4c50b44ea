# SPDX-License-Identifier: GPL-2.0-only
"""Looks for the programs that the lab needs, which needs.list names by purpose. On Debian, as root, it installs the missing
ones; elsewhere it names them and their packages."""
from __future__ import annotations

import glob
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.core.errors import setup_error
from lab.core.places import LAB
from lab.core.process import Command, CommandFailed, command
from lab.core.steps import Job, Plan, Step

DEPS_LIST = LAB / "build" / "needs.list"
# The first page of a dynamically linked program has the path of its loader.
LOADER = re.compile(rb"/lib(64)?/ld-[A-Za-z0-9._-]+\.so")
# Longer than dpkg takes for a package, so that Ctrl-C does not leave one half-configured.
DPKG_GRACE = 30.0


@dataclass(frozen=True, order=True)
class Missing:
    """A program or a file that this machine lacks, and the Debian package that has it."""

    what: str
    package: str


@dataclass(frozen=True)
class Need:
    """A line of needs.list."""

    purpose: str
    what: str
    package: str


def read_needs(path: Path = DEPS_LIST) -> list[Need]:
    """Reads needs.list: lines of purpose, program or file, and package, separated by tabs."""
    needs = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            purpose, what, package = line.split("\t")
            needs.append(Need(purpose, what, package))
    return needs


def is_static(program: str) -> bool:
    """Is the program installed, and statically linked?"""
    path = shutil.which(program)
    if path is None:
        return False
    with open(path, "rb") as f:
        return not LOADER.search(f.read(4096))


def is_here(what: str) -> bool:
    """Does one of these exist? They are separated by commas; each is a program, a path or pattern of paths, or "static:"
    and a program that has to be statically linked."""
    for place in what.split(","):
        if place.startswith("static:"):
            found = is_static(place.removeprefix("static:"))
        elif place.startswith("/"):
            found = bool(glob.glob(place))
        else:
            found = shutil.which(place) is not None
        if found:
            return True
    return False


def missing(purposes: Iterable[str], path: Path = DEPS_LIST) -> list[Missing]:
    """The programs and files that these purposes need and this machine lacks."""
    wanted = set(purposes)
    return sorted({Missing(n.what, n.package) for n in read_needs(path) if n.purpose in wanted and not is_here(n.what)})


def is_debian() -> bool:
    """Is this machine a Debian?"""
    try:
        return "ID=debian" in Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False


def can_install() -> bool:
    """Can this user install packages?"""
    return is_debian() and os.geteuid() == 0 and shutil.which("apt-get") is not None


APT = ("apt-get", "-o", "DPkg::Lock::Timeout=300", "-o", "APT::Update::Error-Mode=any", "-y")


def install_command(packages: Sequence[str]) -> Command:
    """The command that installs these packages."""
    return command(*APT, "install", "--no-install-recommends", *packages)


def packages_of(lacking: Iterable[Missing]) -> list[str]:
    """The packages' names, each once."""
    return sorted({m.package for m in lacking})


def install(job: Job, purposes: Sequence[str]) -> None:
    """Installs the missing packages, or fails and names them."""
    lacking = missing(purposes)
    if not lacking:
        return
    packages = packages_of(lacking)
    if not can_install():
        raise setup_error("not found: " + " ".join(m.what for m in lacking),
                          f"install them; Debian's packages are: {' '.join(packages)}")
    job.tell("installing " + " ".join(packages))
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    with job.lock("apt-install"):
        # An interrupted installation may have left packages half-configured.
        job.status(command("dpkg", "--configure", "-a"))
        # The machine's package lists may be empty or old: update them only if the first try fails.
        if job.status(install_command(packages)):
            try:
                job.run(command(*APT, "update"))
            except CommandFailed as e:
                raise setup_error("apt-get update failed: the package lists could not be read",
                                  "check the network and the apt sources; apt's messages are in the log") from e
            if job.status(install_command(packages)):
                raise setup_error(f"apt-get could not install {' '.join(packages)}", "apt's messages are in the log")
    lacking = missing(purposes)
    if lacking:
        raise setup_error("still not found after installing: " + " ".join(m.what for m in lacking),
                          f"expected them in the packages {' '.join(packages)}")


def install_step(plan: Plan, *purposes: str) -> Step:
    """Adds the step that installs missing programs."""
    def shown() -> list[Command]:
        lacking = missing(purposes)
        return [install_command(packages_of(lacking))] if lacking else []
    return plan.add("install missing programs", lambda job: install(job, purposes), shown, grace=DPKG_GRACE)
