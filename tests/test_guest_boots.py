# SPDX-License-Identifier: GPL-2.0-only
"""Boots of `guest` with each option alone, with pairs of options, and with values that KVM, QEMU or the firmware refuses.

An option that passes its fast tests can still be one that no guest boots with: QEMU can take it and the firmware refuse it.
"""
from __future__ import annotations

import base64
import shlex
from pathlib import Path

import pytest

from lab.build import image
from lab.core.session import Session
from lab.core.steps import Job
from tests.attest import make
from tests.attest.id_block import make_identity
from tests.support.front import expect, run_snplab
from tests.support.guest import boot_guest
from tests.support.l1 import BUILD_LIMIT

ABOUT = "guest boots with each option alone and in pairs, and says why a launch is refused"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot", "shell", "guest")
TAKES = 900

DEBUG, DATA = "--policy 0xb0000", f"--host-data {'01' * 32}"
IDENTITY = "--id-block {tmp}/block --id-auth {tmp}/auth"
PASS = "^PASS: .*its report is signed, and has the measurement computed here"
# The options, the exit status, a line.
BOOTS = {
    "policy": (DEBUG, 0, PASS), "host data": (DATA, 0, PASS), "firmware": ("--firmware {tmp}/fd", 0, PASS),
    "ID block": (IDENTITY, 0, PASS), "author's key": (f"{IDENTITY} --author-key", 0, PASS),
    "policy and host data": (f"{DEBUG} {DATA}", 0, PASS), "firmware and 4 CPUs": ("--firmware {tmp}/fd --smp 4", 0, PASS),
    "firmware and policy": ("--firmware {tmp}/fd " + DEBUG, 0, PASS),
    "ID block and host data": (f"{IDENTITY} {DATA}", 0, PASS),
    "host data and memory": (f"{DATA} --memory 1024", 0, PASS), "policy and 1 CPU": (f"{DEBUG} --smp 1", 0, PASS),
    "no policy": ("--policy 0x0", 1, r"refused: KVM answered SNP_LAUNCH_START with EINVAL"),
    "ID block for other pages": (f"{IDENTITY} --append x", 1,
                                 "refused: the firmware answered SNP_LAUNCH_FINISH with 0xb, BAD_MEASUREMENT"),
    "ID block of a changed signature": ("--id-block {tmp}/block --id-auth {tmp}/unsigned", 1,
                                        "refused: the firmware answered SNP_LAUNCH_FINISH with 0xa, BAD_SIGNATURE"),
    "ID block for another policy": (f"{IDENTITY} {DEBUG}", 1,
                                    "refused: the firmware answered SNP_LAUNCH_FINISH with 0x7, POLICY_FAILURE"),
    "a model that QEMU does not have": ("--cpu EPYC-Genoa-v9", 1, "unable to find CPU model 'EPYC-Genoa-v9'"),
    "the host's CPU": ("--cpu host", 1, "refused: the firmware answered SNP_LAUNCH_UPDATE with 0x16, INVALID_PARAM"),
    "no hashes": ("--kernel-hashes off", 1, "the guest's firmware booted no kernel: it found no bootable option"),
    "a device that QEMU does not have": ("--guest-args '-device none'", 1, "is not a valid device model name"),
}


@pytest.fixture(name="folder", scope="module")
def fixture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Firmware with a changed byte that nobody runs; an ID block for the files of a boot without options."""
    folder = tmp_path_factory.mktemp("boots")
    plain = boot_guest(folder, "--tree", "debian").attestation
    # The reset vector's page has such a run of bytes that are never executed.
    firmware = Path(plain["firmware"]).read_bytes()
    (folder / "fd").write_bytes(make.flip(firmware, firmware.index(b"\xff" * 4096) + 100))
    identity = make_identity(folder, bytes.fromhex(plain["digest"]))
    (folder / "block").write_bytes(identity.block)
    (folder / "auth").write_text(base64.b64encode(identity.auth).decode(), encoding="ascii")
    (folder / "unsigned").write_bytes(make.flip(identity.auth, 0x40))
    return folder


@pytest.mark.parametrize("name", BOOTS)
def test_boot(name: str, folder: Path) -> None:
    """The boot ends with this status, and prints this line."""
    options, status, pattern = BOOTS[name]
    words = shlex.split(options.replace("{tmp}", str(folder)))
    expect(run_snplab("guest", "--check", "--tree", "debian", *words, timeout=BUILD_LIMIT), status, pattern)


# Tells which virtio devices there are: 1 a network card, 2 a disk, 3 the console, 9 a folder.
INIT = """\
#!/bin/busybox sh
/bin/busybox mkdir /dev /sys
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox mount -t sysfs none /sys
found=$(/bin/busybox cat /sys/bus/virtio/devices/*/device | /bin/busybox sort)
/bin/busybox echo devices: $found, all >/dev/hvc0
exec /bin/busybox poweroff -f
"""


@pytest.mark.parametrize(("more", "numbers"), [(False, "0x0003"), (True, "0x0001 0x0002 0x0003 0x0009")])
def test_devices(more: bool, numbers: str, tmp_path: Path) -> None:
    """The guest finds disk, network and folder, if they were asked for, and QEMU has opened their copies in L1."""
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    image.copy_busybox(root / "bin/busybox")
    (root / "init").write_text(INIT, encoding="utf-8")
    (root / "init").chmod(0o755)
    (tmp_path / "initrd").write_bytes(image.archive(Job(Session("check"), tmp_path / "log"), root))
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    words = ["--disk", tmp_path / "disk", "--net", "user", "--share", root] if more else []
    expect(run_snplab("guest", "--check", "--tree", "debian", "--initrd", str(tmp_path / "initrd"),
                      "--until", f"devices: {numbers}, all", *map(str, words), timeout=BUILD_LIMIT), 0,
           "^PASS: ")
