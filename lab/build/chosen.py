# SPDX-License-Identifier: GPL-2.0-only
"""The user's choices for an SNP guest, L2: checks the options of `guest`, and turns them into the settings that
lab/l1/snp_guest reads."""
from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.attest import launch_digest
from lab.attest.attestation import decode
from lab.build import devices
from lab.build.devices import MIB, Devices, devices_of
from lab.core.errors import Stop, usage_error
from lab.core.options import Given, Option
from lab.core.places import tilde
from lab.judge.snp_object import HOST_DATA_LEN, ID_AUTH_LEN, ID_BLOCK_LEN, POLICY, SnpObject

OPTIONS = (*devices.OPTIONS, *(Option(name, value) for name, value in (
    ("--smp", "N"), ("--memory", "MIB"), ("--append", "STRING"), ("--kernel", "FILE"), ("--initrd", "FILE"),
    ("--until", "TEXT"), ("--firmware", "FILE"), ("--cpu", "MODEL"), ("--policy", "NUMBER"), ("--kernel-hashes", "on|off"),
    ("--host-data", "DATA"), ("--id-block", "DATA"), ("--id-auth", "DATA"), ("--author-key", None),
    ("--guest-args", "ARGS"))))
# A guest whose vCPU threads are blocked for so many seconds hangs.
STUCK = 10


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
    # The CPU model, as QEMU's -cpu takes it; "": the one that lab/l1/snp_guest gives it.
    model: str = ""
    snp: SnpObject = SnpObject()
    devices: Devices = Devices()
    # More arguments of L2's QEMU.
    arguments: tuple[str, ...] = ()

    @property
    def own_megabytes(self) -> int:
        """MiB of the user's files, which are in L1's memory."""
        files = (self.kernel, self.initrd, self.firmware)
        return sum(-(-size // MIB) for size in (*(path.stat().st_size for path in files if path), self.devices.size))

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
        chosen = {"model": self.model, "snp": self.snp.line, "own": "1" if self.initrd else "", "awaited": self.until}
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
    snp = snp_object_of(given)
    if firmware is not None:
        check_firmware(firmware, snp.kernel_hashes)
    if initrd is not None and not initrd.stat().st_size:
        raise usage_error(f"--initrd: expected an initrd, found an empty file: {tilde(initrd)}",
                          "a part of the file may be missing: copy it again")
    if until and initrd is None:
        raise usage_error("--until is for an initrd of yours (--initrd FILE): the lab's own ends by itself")
    return Guest(given.number("--smp", 1, 16, Guest.smp), given.number("--memory", 256, 2048, Guest.memory),
                 given.line("--append") or "", kernel, initrd, until, firmware, model_of(given), snp,
                 devices_of(given), arguments_of(given))


def arguments_of(given: Given) -> tuple[str, ...]:
    """More arguments of L2's QEMU, split as a shell splits them."""
    try:
        return tuple(shlex.split(given.line("--guest-args") or ""))
    except ValueError as e:
        raise usage_error(f"--guest-args: expected words as a shell takes them, found: {e}") from e


def model_of(given: Given) -> str:
    """The CPU model with its features; "" if none is given. Refuses a model whose signature, a part of the measurement, is
    not known."""
    model = given.line("--cpu") or ""
    try:
        if model and model.split(",")[0] != launch_digest.HOST_MODEL:
            launch_digest.named_signature(model)
    except launch_digest.Usage as e:
        raise usage_error(f"--cpu: {e}".splitlines()[0].replace("--cpu-model: ", ""),
                          "host is the emulated host's CPU; a version such as -v2 and features may follow the model") from e
    return model


def snp_object_of(given: Given) -> SnpObject:
    """The properties of QEMU's sev-snp-guest that the command line asks for."""
    hashes = given.value("--kernel-hashes") or "on"
    if hashes not in ("on", "off"):
        raise usage_error(f"--kernel-hashes: expected on or off, found '{hashes}'")
    policy = given.value("--policy") or str(POLICY)
    if not re.fullmatch(r"0x[0-9a-fA-F]{1,16}|0|[1-9][0-9]{0,19}", policy) or int(policy, 0) >= 1 << 64:
        raise usage_error(f"--policy: expected a number of 64 bits, such as {POLICY:#x}, found '{policy}'")
    block = data_of("--id-block", given.value("--id-block"), ID_BLOCK_LEN)
    auth = data_of("--id-auth", given.value("--id-auth"), ID_AUTH_LEN)
    if bool(block) != bool(auth):
        raise usage_error(f"{'--id-block' if block else '--id-auth'}: expected --id-block and --id-auth, found only one",
                          "the authentication information has the signature of the ID block")
    if given.flag("--author-key") and not auth:
        raise usage_error("--author-key: expected --id-block and --id-auth, which has the author's key, found neither")
    host_data = data_of("--host-data", given.value("--host-data"), HOST_DATA_LEN)
    return SnpObject(int(policy, 0), hashes == "on", host_data, block, auth, given.flag("--author-key"))


def data_of(option: str, value: str | None, length: int) -> bytes:
    """The bytes that an option's value names, none without a value: a file with them, or with their hex or base64, or the
    hex or base64 itself. Refuses any other number of bytes than `length`."""
    if value is None:
        return b""
    data: bytes | None = b""
    try:
        # A long text is no file's name, but an error.
        is_file = len(value) < 1024 and Path(value).is_file()
        data = Path(value).read_bytes() if is_file else value.encode()
    except (OSError, UnicodeEncodeError, ValueError):
        data = None
    if data is not None and len(data) != length:
        data = decode(data.decode("utf-8", "replace"))
    if data is None or len(data) != length:
        raise usage_error(f"{option}: expected {length} bytes, as a file, or as hex or base64 (a text or a file with it), "
                          f"found {'neither' if data is None else f'{len(data)} bytes'}")
    return data


def is_bzimage(path: Path) -> bool:
    """Has the file a bzImage's header?"""
    try:
        with open(path, "rb") as f:
            f.seek(0x202)
            return f.read(4) == b"HdrS"
    except OSError:
        return False


def check_firmware(path: Path, hashes: bool) -> None:
    """Refuses a file from which QEMU could not launch an SNP guest, or not with the hashes of a kernel
    (lab/attest/launch_digest.py has the sources of the rules)."""
    try:
        firmware = launch_digest.read_firmware(path)
        if hashes:
            launch_digest.hashes_offset(firmware)
    except launch_digest.Unusable as e:
        raise refused("--firmware", e) from e


def refused(option: str, error: launch_digest.Unusable) -> Stop:
    """The usage error for a file of which no launch digest can be computed."""
    return usage_error(f"{option}: {error.message}", error.hint)
