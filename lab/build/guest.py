# SPDX-License-Identifier: GPL-2.0-only
"""Makes the part of L1's initrd that launches L2: QEMU with its libraries, L2's firmware, kernel and initrd.

The part is not compressed: L1's kernel, under emulation, would take seconds to inflate it."""
from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from lab.build import image
from lab.build.chosen import Guest
from lab.build.packages import LIBRARIES, LOADER, QEMU, GuestPackages, loader_command
from lab.build.sources import scratch_folder
from lab.core.errors import setup_error
from lab.core.places import LAB, need_space, out_of_space, tilde
from lab.core.process import Command, command
from lab.core.session import Session
from lab.core.steps import Job

LOADED = re.compile(r" => (/.*) \(0x")
BLOBS = ("kvmvapic.bin", "linuxboot_dma.bin")
# sev-guest encrypts its messages to the firmware with gcm, and requests that module by name. L2 has no modprobe to find it.
L2_MODULES = ("ghash-generic", "gcm", "sev-guest")


def copy_program(folder: Path, program: str, root: Path) -> None:
    """Copies a program of the unpacked packages and the libraries that its loader lists; L1 needs nothing else of them."""
    for name in ("usr/bin", "usr/lib64", LIBRARIES):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "lib64").symlink_to("usr/lib64")
    shutil.copy(folder / program, root / "usr/bin")
    shutil.copy(folder / LOADER, root / LOADER)
    done = subprocess.run(loader_command(folder, "--list", folder / program).argv, capture_output=True, text=True,
                          check=False)
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines() or ["nothing"]
        raise setup_error(f"expected all libraries of {program} in {tilde(folder)}, some are missing: {said[-1]}",
                          "delete that folder: the next run fetches it again")
    for path in LOADED.findall(done.stdout):
        shutil.copy(path, root / LIBRARIES)


class GuestImage:
    """The part of L1's initrd that launches L2."""

    def __init__(self, session: Session, packages: GuestPackages, guest: Guest) -> None:
        self.session = session
        self.packages = packages
        self.guest = guest
        self.path = session.run_dir / "image.cpio"
        # The lab's own is kept after the image is removed: the launch digest is computed from it.
        self.initrd = guest.initrd or session.run_dir / "guest.initrd"

    @property
    def vmlinuz(self) -> Path:
        """L2's kernel."""
        return self.guest.kernel or self.packages.vmlinuz

    @property
    def firmware(self) -> Path:
        """L2's firmware."""
        return self.guest.firmware or self.packages.firmware

    def title(self) -> str:
        """The step's title."""
        return f"build the image: QEMU {self.packages.qemu.version}, guest {self.packages.kernel.version}"

    @staticmethod
    def shown() -> list[Command]:
        """The commands for --dry-run."""
        return [command(*image.CPIO)]

    def build(self, job: Job) -> None:
        """Makes the image."""
        run_dir = self.session.run_dir
        # The tree, its archive, and a copy of the archive for each boot.
        need_space(run_dir, 400 + 3 * self.guest.own_megabytes, "the image of a guest")
        root = run_dir / "guest"
        for name in ("guest", "usr/share/qemu", "tests"):
            (root / name).mkdir(parents=True)
        folder = self.packages.qemu.path
        copy_program(folder, QEMU, root)
        for name in BLOBS:
            shutil.copy(folder / "usr/share/qemu" / name, root / "usr/share/qemu")
        shutil.copy(LAB / "l1/snp_guest", root / "tests")
        shutil.copy(self.firmware, root / "guest/firmware")
        shutil.copy(self.vmlinuz, root / "guest/vmlinuz")
        if self.guest.initrd is None:
            self.build_initrd(job)
        shutil.copy(self.initrd, root / "guest/initrd")
        (root / "guest/append").write_text(self.guest.line, encoding="utf-8")
        self.guest.devices.copy(root)
        words = (*self.guest.devices.arguments, *self.guest.arguments)
        (root / "guest/arguments").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
        self.path.write_bytes(image.archive(job, root, compressed=False))
        shutil.rmtree(root)

    def build_initrd(self, job: Job) -> None:
        """Makes L2's initrd, if the user has not given one."""
        with scratch_folder(".root.", self.session.run_dir) as root:
            for name in ("bin", "dev", "proc", "sys", "modules"):
                (root / name).mkdir()
            image.copy_busybox(root / "bin/busybox")
            shutil.copy(LAB / "l2/init", root / "init")
            shutil.copy(LAB / "l2/check", root / "bin/check")
            image.copy_modules(job, self.packages.modules, root / "modules", *L2_MODULES)
            self.initrd.write_bytes(image.archive(job, root))

    def add_settings(self, job: Job, initrd: Path, out: Path, settings: Sequence[str]) -> None:
        """Makes one boot's initrd from this image, L1's initrd and the boot's settings. The settings are compressed, so they
        come last: the kernel wants an uncompressed part at a multiple of four bytes."""
        with scratch_folder(".root.", self.session.run_dir) as root:
            (root / "guest").mkdir()
            (root / "guest/settings").write_text("".join(f"{line}\n" for line in settings), encoding="utf-8")
            last = image.archive(job, root)
        try:
            with open(out, "wb") as f:
                for part in (self.path, initrd):
                    with open(part, "rb") as source:
                        shutil.copyfileobj(source, f)
                f.write(last)
        except OSError as e:
            out_of_space(self.session.run_dir)
            raise setup_error(f"cannot write {tilde(out)}: {e.strerror}") from e
