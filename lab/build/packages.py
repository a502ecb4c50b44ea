# SPDX-License-Identifier: GPL-2.0-only
"""Unpacks the Debian packages with which a user of SEV-SNP boots a guest. They are not installed.

Like the sources, they are the newest that the private apt configuration finds."""
from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

from lab.build.apt import Apt
from lab.build.sources import Kind, Source, get_deb, pipe
from lab.core.process import Command, command
from lab.core.session import Session
from lab.core.steps import Job, Plan, Step

LIBRARIES = "usr/lib/x86_64-linux-gnu"
LOADER = "usr/lib64/ld-linux-x86-64.so.2"
QEMU = "usr/bin/qemu-system-x86_64"
FIRMWARE = "usr/share/ovmf/OVMF.amdsev.fd"
# The kernel's package has 4,000 modules; a guest or an unmodified L1 kernel needs only these.
IMAGE_PARTS = ("./boot/vmlinuz-*", "*/kernel/arch/x86/kvm/*", "*/kernel/virt/lib/*", "*/kernel/drivers/crypto/ccp/*",
               "*/kernel/drivers/virt/coco/*", "*/kernel/fs/configfs/*", "*/kernel/crypto/*", "*/kernel/lib/crypto/*")
KERNEL_PATTERN = r"^linux-image-6\.12\.[0-9]+\+deb1[23]-amd64$"


# --- QEMU, with all that it depends on -----------------------------------------------------------


def _qemu_candidates(apt: Apt) -> list[tuple[str, str]]:
    """QEMU's versions in trixie, whose lists have all packages that QEMU depends on; the lists of a backport do not."""
    found: list[tuple[str, str]] = []
    for row in apt.madison("qemu-system-x86"):
        suite = row[2].split()[1] if len(row[2].split()) > 1 else ""
        if re.match(r"\d+:[1-9]\d+\.", row[1]) and "~bpo" not in row[1] and suite.startswith("trixie"):
            if (row[0], row[1]) not in found:
                found.append((row[0], row[1]))
    return found


def get_closure(apt: Apt, package: str, version: str, folder: Path) -> None:
    """Downloads a package and everything that it depends on from its own release, as if nothing were installed."""
    (folder / "archives/partial").mkdir(parents=True)
    (folder / "status").touch()
    options = (f"Dir::State::status={folder}/status", "Debug::NoLocking=1", f"Dir::Cache::archives={folder}/archives",
               "APT::Default-Release=/^trixie(-security)?$/")
    apt.job.run(apt.tool("apt-get", *(word for option in options for word in ("-o", option)), "--no-install-recommends",
                         "-y", "--download-only", "install", f"{package}={version}"))


def unpack_closure(job: Job, package: str, folder: Path) -> None:
    src = folder / "src"
    # The same links as in the package base-files.
    for name in ("bin", "lib", "lib64"):
        (src / "usr" / name).mkdir(parents=True)
    for name in ("lib", "lib64"):
        (src / name).symlink_to(f"usr/{name}")
    (src / "bin").symlink_to("usr/bin")
    for deb in sorted((folder / "archives").glob("*.deb")):
        pipe(job, command("dpkg-deb", "--fsys-tarfile", deb),
             command("tar", "-x", "-C", src, "--no-same-owner", "--exclude=./usr/share/doc", "--exclude=./usr/share/man",
                     "--exclude=./usr/share/locale"))


def loader_command(folder: Path, *words: str | Path) -> Command:
    """The command that runs a program with the loader and libraries of the unpacked packages."""
    return command(folder / LOADER, "--library-path", folder / LIBRARIES, *words)


def qemu_version(folder: Path) -> str | None:
    """The version that the unpacked QEMU prints."""
    try:
        done = subprocess.run(loader_command(folder, folder / QEMU, "--version").argv, capture_output=True, text=True,
                              check=False)
    except OSError:
        return None
    found = re.match(r"QEMU emulator version ([0-9.]*)", done.stdout)
    return found.group(1) if found else None


# --- Firmware, kernel ----------------------------------------------------------------------------


def _unpack_firmware(job: Job, package: str, folder: Path) -> None:
    (folder / "src").mkdir()
    job.run(command("dpkg-deb", "-x", next(folder.glob("*.deb")), folder / "src"))


def _firmware_version(folder: Path) -> str | None:
    return "OVMF.amdsev.fd" if (folder / FIRMWARE).exists() else None


def _unpack_image(job: Job, package: str, folder: Path) -> None:
    (folder / "src").mkdir()
    pipe(job, command("dpkg-deb", "--fsys-tarfile", next(folder.glob("*.deb"))),
         command("tar", "-x", "-C", folder / "src", "--no-same-owner", "--wildcards", *IMAGE_PARTS))


def image_version(folder: Path) -> str | None:
    """The release of the unpacked kernel, as in 6.12.118+deb13-amd64."""
    return next((p.name.removeprefix("vmlinuz-") for p in (folder / "boot").glob("vmlinuz-*")), None)


WHAT = "a guest's QEMU, firmware and kernel"


def kinds() -> tuple[Kind, Kind, Kind]:
    """QEMU, the firmware, the kernel. own_trees is empty: no option of snplab takes the user's own instead."""
    return (
        Kind("guest-qemu", "qemu-system-x86", "a Debian package qemu-system-x86, 10.0 or later,", 500, _qemu_candidates,
             get_closure, unpack_closure, qemu_version, what=WHAT, own_trees=""),
        Kind("guest-firmware", "ovmf-amdsev", "a Debian package ovmf-amdsev", 20,
             lambda apt: apt.candidates("^ovmf-amdsev$"), get_deb, _unpack_firmware, _firmware_version, what=WHAT,
             own_trees=""),
        Kind("guest-kernel", "6.12", "a Debian package linux-image-6.12.*-amd64", 500,
             lambda apt: apt.candidates(KERNEL_PATTERN), get_deb, _unpack_image, image_version, what=WHAT,
             own_trees=""))


class GuestPackages:
    """L2's firmware and kernel, and the QEMU that launches it in L1."""

    def __init__(self, session: Session) -> None:
        self.qemu, self.firmware_package, self.kernel = (Source(session, kind) for kind in kinds())

    @property
    def firmware(self) -> Path:
        """The firmware's file."""
        return self.firmware_package.path / FIRMWARE

    @property
    def vmlinuz(self) -> Path:
        """The kernel's file."""
        return self.kernel.path / "boot" / f"vmlinuz-{self.kernel.version}"

    @property
    def modules(self) -> Path:
        """The folder of the kernel's modules."""
        return self.kernel.path / "usr/lib/modules" / self.kernel.version

    def add_fetch(self, plan: Plan, after: tuple[Step, ...] | None = None) -> Step:
        """Adds the step that fetches all three."""
        def body(job: Job) -> None:
            for source in (self.qemu, self.firmware_package, self.kernel):
                source.fetch(job)
        return plan.add("fetch Debian's QEMU, firmware and kernel for a guest", body, shown, after)


def shown() -> Iterable[Command | str]:
    """The commands for --dry-run."""
    yield command("apt-get", "install", "--download-only", "qemu-system-x86", note="of trixie, with all that it depends on")
    yield command("apt-get", "download", "ovmf-amdsev", "linux-image-<newest 6.12>-amd64",
                  note="the newest, by a private apt configuration")
