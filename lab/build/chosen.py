# SPDX-License-Identifier: GPL-2.0-only
"""The user's choices for an SNP guest, L2: checks the options of `guest`, and turns them into the settings that
lab/l1/snp_guest reads."""
from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.attest import launch_digest
from lab.core.errors import Stop, usage_error
from lab.core.options import Given, Option
from lab.core.places import tilde

OPTIONS = tuple(Option(name, value) for name, value in (
    ("--smp", "N"), ("--memory", "MIB"), ("--append", "STRING"), ("--kernel", "FILE"), ("--initrd", "FILE"),
    ("--until", "TEXT"), ("--firmware", "FILE")))
# A guest whose vCPU threads are blocked for so many seconds hangs.
STUCK = 10
MIB = 1 << 20


@dataclass(frozen=True)
class Guest:
    """The user's choices for L2. Each file is None for the lab's or Debian's own."""

    smp: int = 2
    # MiB.
    memory: int = 512
    append: str = ""
    kernel: Path | None = None
    initrd: Path | None = None
    # With an initrd of the user's: a text on the console at which the boot has done what it had to; "": its power-off.
    until: str = ""
    firmware: Path | None = None
    # The CPU model; "": the one that lab/l1/snp_guest gives it.
    model: str = ""

    @property
    def own_megabytes(self) -> int:
        """MiB of the user's files, which are in L1's memory."""
        files = (self.kernel, self.initrd, self.firmware)
        return sum(-(-path.stat().st_size // MIB) for path in files if path is not None)

    @property
    def l1_memory(self) -> int:
        """MiB that L1 needs for itself and this guest. A file of the initrd is there twice while L1's kernel unpacks it."""
        return self.memory + 1024 + 2 * self.own_megabytes

    @property
    def line(self) -> str:
        """L2's command line. quiet, since every 16 characters cost an exit to L1; lab/l2/check prints the lines we need."""
        return f"console=hvc0 quiet panic=-1{' ' + self.append if self.append else ''}"

    def settings(self, nonce: str, limit: int) -> Sequence[str]:
        """The settings for lab/l1/snp_guest, as lines of shell, in a boot of at most `limit` seconds."""
        chosen = {"model": self.model, "own": "1" if self.initrd else "", "awaited": self.until}
        return (f"smp={self.smp}", f"memory={self.memory}", f"nonce={nonce}", f"limit={limit - 20}", f"stuck={STUCK}",
                *(f"{name}={shlex.quote(value)}" for name, value in chosen.items() if value))


def guest_of(given: Given) -> Guest:
    """The guest that the command line asks for. Raises Stop with the status for usage, before anything is built: a file that
    cannot be launched from is refused here."""
    kernel, firmware, initrd = given.file("--kernel"), given.file("--firmware"), given.file("--initrd")
    until = given.line("--until") or ""
    if kernel is not None and not is_bzimage(kernel):
        raise usage_error(f"--kernel: expected a bzImage that can be read, found none in {tilde(kernel)}",
                          "name the file that QEMU takes with -kernel: arch/x86/boot/bzImage, or /boot/vmlinuz-*")
    if firmware is not None:
        check_firmware(firmware)
    if initrd is not None and not initrd.stat().st_size:
        raise usage_error(f"--initrd: expected an initrd, found an empty file: {tilde(initrd)}",
                          "a part of the file may be missing: copy it again")
    if until and initrd is None:
        raise usage_error("--until is for an initrd of yours (--initrd FILE): the lab's own ends by itself")
    return Guest(given.number("--smp", 1, 16, Guest.smp), given.number("--memory", 256, 2048, Guest.memory),
                 given.line("--append") or "", kernel, initrd, until, firmware)


def is_bzimage(path: Path) -> bool:
    """Has the file a bzImage's header?"""
    try:
        with open(path, "rb") as f:
            f.seek(0x202)
            return f.read(4) == b"HdrS"
    except OSError:
        return False


def check_firmware(path: Path) -> None:
    """Refuses a file from which QEMU could not launch an SNP guest with the hashes of a kernel (lab/attest/launch_digest.py
    has the sources of the rules)."""
    try:
        launch_digest.hashes_offset(launch_digest.read_firmware(path))
    except launch_digest.Unusable as e:
        raise refused("--firmware", e) from e


def refused(option: str, error: launch_digest.Unusable) -> Stop:
    """The usage error for a file of which no launch digest can be computed."""
    return usage_error(f"{option}: {error.message}", error.hint)
