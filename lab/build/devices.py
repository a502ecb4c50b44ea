# SPDX-License-Identifier: GPL-2.0-only
"""The devices that the user gives an SNP guest, L2: a disk, a network, a folder. None of them is a part of the measurement.

L1 has no driver for a disk, whatever its kernel. So an image or a folder becomes a part of L1's initrd: a copy in L1's
memory, which the guest may change, and which ends with L1.
"""
from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.core.errors import usage_error
from lab.core.options import Given, Option
from lab.core.places import tilde

OPTIONS = tuple(Option(name, value) for name, value in (("--disk", "IMAGE"), ("--net", "user|none"), ("--share", "DIR")))
USAGE = """\
  --disk IMAGE    a disk for the guest, raw or qcow2, of at most 1024 MiB: virtio-blk, /dev/vda. The guest has a copy: what
                  it writes is gone after the boot, and IMAGE stays as it is
  --net user|none a network card (virtio-net) with QEMU's own network behind it: DHCP, a gateway and QEMU itself, and
                  no way out, since L1 has no network (default none)
  --share DIR     a folder for the guest to read, of at most 1024 MiB: virtio-9p with the tag "share". Also a copy"""
# MiB of a disk, of a folder: L1 needs twice as much memory.
LARGEST = 1024
MIB = 1 << 20
# The guest's memory is encrypted: a virtio device reaches it only through the pages that the guest shares.
VIRTIO = "iommu_platform=on,disable-legacy=on"
# Where L1 has the copies.
DISK, SHARE = "/guest/disk", "/guest/share"
# qcow2: the magic, and where the header has the offset of the backing file's name, and the features that a reader must know.
QCOW2, BACKING, FEATURES, EXTERNAL = b"QFI\xfb", slice(8, 16), slice(72, 80), 1 << 2
# The formats of other programs that a user could take for a disk that QEMU knows, by the bytes that they begin with.
OTHERS = {b"KDMV": "VMDK", b"vhdxfile": "VHDX", b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class Devices:
    """The chosen devices; None or False for none."""

    disk: Path | None = None
    # raw or qcow2.
    disk_format: str = "raw"
    share: Path | None = None
    net: bool = False

    @property
    def arguments(self) -> tuple[str, ...]:
        """The arguments of L2's QEMU."""
        words: tuple[str, ...] = ()
        if self.disk is not None:
            words += ("-drive", f"file={DISK},format={self.disk_format},if=none,id=disk",
                      "-device", f"virtio-blk-pci,drive=disk,{VIRTIO}")
        if self.net:
            # Without a ROM, a file that L1 does not have: the firmware is not to boot from the network.
            words += ("-netdev", "user,id=net", "-device", f"virtio-net-pci,netdev=net,romfile=,{VIRTIO}")
        if self.share is not None:
            words += ("-fsdev", f"local,id=share,path={SHARE},security_model=none,readonly=on",
                      "-device", f"virtio-9p-pci,fsdev=share,mount_tag=share,{VIRTIO}")
        return words

    @property
    def size(self) -> int:
        """The bytes of the copies in L1."""
        return (self.disk.stat().st_size if self.disk else 0) + (folder_size(self.share) if self.share else 0)

    def copy(self, root: Path) -> None:
        """Copies disk and folder below the root of L1's image."""
        if self.disk is not None:
            shutil.copy(self.disk, root / DISK.lstrip("/"))
        if self.share is not None:
            shutil.copytree(self.share, root / SHARE.lstrip("/"), symlinks=True)


def devices_of(given: Given) -> Devices:
    """The devices that the command line asks for. Raises Stop with the status for usage, before anything is built."""
    net = given.value("--net") or "none"
    if net not in ("user", "none"):
        raise usage_error(f"--net: expected user or none, found '{net}'")
    disk = given.file("--disk")
    return Devices(disk, format_of(disk) if disk else "raw", folder_of(given.value("--share")), net == "user")


def format_of(path: Path) -> str:
    """The format of a disk, by its header. Refuses an image that is no disk by itself, or that L1 has no room for."""
    try:
        with open(path, "rb") as f:
            head = f.read(104)
    except OSError as e:
        raise usage_error(f"--disk: expected an image that can be read, found: {e.strerror}: {tilde(path)}") from e
    other = next((name for magic, name in OTHERS.items() if head.startswith(magic)), None)
    if other is not None:
        raise usage_error(f"--disk: expected a raw or qcow2 image, found {other}: {tilde(path)}",
                          "unpack it, or convert it: qemu-img convert -O qcow2 IMAGE NEW")
    if not head:
        raise usage_error(f"--disk: expected an image, found an empty file: {tilde(path)}")
    check_size("--disk", path.stat().st_size, "make it smaller: qemu-img convert -c -O qcow2 IMAGE NEW")
    if not head.startswith(QCOW2):
        return "raw"
    version = int.from_bytes(head[4:8], "big")
    if len(head) < 72 or version not in (2, 3):
        raise usage_error(f"--disk: expected a qcow2 image of version 2 or 3, found version {version}: {tilde(path)}")
    external = version == 3 and int.from_bytes(head[FEATURES], "big") & EXTERNAL
    if any(head[BACKING]) or external:
        raise usage_error(f"--disk: expected an image that needs no other file, found one with "
                          f"{'an external data file' if external else 'a backing file'}: {tilde(path)}",
                          "join them: qemu-img convert -O qcow2 IMAGE NEW")
    return "qcow2"


def folder_of(value: str | None) -> Path | None:
    """The folder to share. Refuses one that cannot be copied whole."""
    if value is None:
        return None
    folder = Path(value)
    if not folder.is_dir():
        raise usage_error(f"--share: expected a folder, found {'a file' if folder.exists() else 'none'}: {value}")
    for path in paths_below(folder):
        if not path.is_symlink() and not (os.access(path, os.R_OK) and (path.is_file() or path.is_dir())):
            raise usage_error(f"--share: expected files and folders that can be read, found {tilde(path)}",
                              "a socket, a pipe or a device cannot be copied: share a folder without it")
    check_size("--share", folder_size(folder), "share a part of the folder, or give the guest a disk (--disk)")
    return folder.resolve()


def paths_below(folder: Path) -> list[Path]:
    """All paths below a folder; the target of a link is not looked at."""
    return [Path(top, name) for top, folders, files in os.walk(folder) for name in [*folders, *files]]


def folder_size(folder: Path) -> int:
    """The bytes of the files below a folder."""
    return sum(path.lstat().st_size for path in paths_below(folder) if path.is_file() and not path.is_symlink())


def check_size(option: str, size: int, todo: str) -> None:
    """Refuses what L1 has no room for."""
    if size > LARGEST * MIB:
        raise usage_error(f"{option}: expected at most {LARGEST} MiB, which L1 copies into its memory, found "
                          f"{-(-size // MIB)} MiB", todo)
