# SPDX-License-Identifier: GPL-2.0-only
"""The options by which `guest` gives an SNP guest a disk, a network and a folder.

The user's image and folder must stay as they are, so L1 gets copies. What cannot be copied whole, or is no disk that QEMU
knows, must be refused before the build: QEMU would say so minutes later, or the guest would find an empty disk.
"""
from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.build import devices
from lab.build.chosen import OPTIONS, Guest, guest_of
from lab.core.errors import Stop
from lab.core.options import parse

ABOUT = "guest's disk, network and shared folder: QEMU's arguments, the copies, what is refused"
LANE = "fast"
NEEDS = ("guest",)
TAKES = 2

VIRTIO = "iommu_platform=on,disable-legacy=on"


def chosen(*words: str | Path) -> Guest:
    """The guest that these options ask for."""
    return guest_of(parse("guest", OPTIONS, [str(word) for word in words]))


def qcow2(version: int = 3, backing: int = 0, features: int = 0) -> bytes:
    """The header of a qcow2 image."""
    head = b"QFI\xfb" + version.to_bytes(4, "big") + backing.to_bytes(8, "big")
    return head.ljust(72, b"\0") + features.to_bytes(8, "big")


def test_none() -> None:
    """Without options the guest has no further devices."""
    assert chosen().devices.arguments == chosen("--net", "none").devices.arguments == ()


@pytest.mark.parametrize(("data", "name"), [(b"raw", "raw"), (qcow2(), "qcow2"), (qcow2(2), "qcow2")])
def test_disk(data: bytes, name: str, tmp_path: Path) -> None:
    """The disk's format is told by its header, and a copy of it is the guest's, behind the IOMMU."""
    disk = tmp_path / "it's a,disk"
    disk.write_bytes(data)
    (tmp_path / "root/guest").mkdir(parents=True)
    given = chosen("--disk", disk).devices
    assert given.arguments == ("-drive", f"file=/guest/disk,format={name},if=none,id=disk",
                               "-device", f"virtio-blk-pci,drive=disk,{VIRTIO}")
    given.copy(tmp_path / "root")
    assert (tmp_path / "root/guest/disk").read_bytes() == data
    (tmp_path / "root/guest/disk").write_bytes(b"written")
    assert disk.read_bytes() == data


def test_net() -> None:
    """QEMU's own network, and no ROM: L1 does not have its file."""
    assert chosen("--net", "user").devices.arguments == (
        "-netdev", "user,id=net", "-device", f"virtio-net-pci,netdev=net,romfile=,{VIRTIO}")


def test_share(tmp_path: Path) -> None:
    """The guest reads a copy of the folder, with its links."""
    folder, root = tmp_path / "folder", tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    (root / "guest").mkdir(parents=True)
    (folder / "sub/file").write_bytes(b"text")
    (folder / "link").symlink_to("sub/nothing")
    given = chosen("--share", folder).devices
    assert given.arguments == ("-fsdev", "local,id=share,path=/guest/share,security_model=none,readonly=on",
                               "-device", f"virtio-9p-pci,fsdev=share,mount_tag=share,{VIRTIO}")
    given.copy(root)
    assert (root / "guest/share/sub/file").read_bytes() == b"text"
    assert os.readlink(root / "guest/share/link") == "sub/nothing"


def test_memory_of_the_host(tmp_path: Path) -> None:
    """L1 has room for both copies twice, beside L2's memory and its own."""
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "disk", tmp_path / "folder/file"):
        path.write_bytes(bytes((2 << 20) + 1))
    assert chosen("--disk", tmp_path / "disk", "--share", tmp_path / "folder").l1_memory == chosen().l1_memory + 10


# --- Wrong values ---------------------------------------------------------------------------------------------------


def refused(*words: str | Path) -> str:
    """What the usage error says of this command line."""
    with pytest.raises(Stop) as stopped:
        chosen(*words)
    assert stopped.value.status == 2
    return str(stopped.value)


@pytest.mark.parametrize(("data", "said"), [
    (b"", "--disk: expected an image, found an empty file"),
    (b"KDMV\1", "--disk: expected a raw or qcow2 image, found VMDK"),
    (b"\x1f\x8b\x08", "--disk: expected a raw or qcow2 image, found gzip"),
    (qcow2(1), "--disk: expected a qcow2 image of version 2 or 3, found version 1"),
    (qcow2()[:40], "--disk: expected a qcow2 image of version 2 or 3"),
    (qcow2(backing=0x1000), "--disk: expected an image that needs no other file, found one with a backing file"),
    (qcow2(features=4), "--disk: expected an image that needs no other file, found one with an external data file"),
])
def test_disk_is_refused(data: bytes, said: str, tmp_path: Path) -> None:
    """An image that is not a whole disk, or one in another format."""
    (tmp_path / "disk").write_bytes(data)
    assert said in refused("--disk", tmp_path / "disk")


def test_no_disk() -> None:
    """A file that does not exist."""
    assert "--disk: no such file: /nowhere" in refused("--disk", "/nowhere")


def test_too_large(tmp_path: Path) -> None:
    """L1 has no room for more than 1024 MiB, holes included."""
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "disk", tmp_path / "folder/file"):
        with open(path, "wb") as f:
            f.truncate((devices.LARGEST << 20) + 1)
    for words in (("--disk", tmp_path / "disk"), ("--share", tmp_path / "folder")):
        assert f"{words[0]}: expected at most 1024 MiB, which L1 copies into its memory, found 1025 MiB" in refused(*words)


def test_share_is_refused(tmp_path: Path) -> None:
    """A file, nothing, and a folder with a pipe, on which a copy would wait for ever."""
    (tmp_path / "file").write_bytes(b"")
    assert "--share: expected a folder, found a file" in refused("--share", tmp_path / "file")
    assert "--share: expected a folder, found none" in refused("--share", tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe")
    assert "--share: expected files and folders that can be read, found" in refused("--share", tmp_path)


def test_net_is_refused() -> None:
    """Another network."""
    assert "--net: expected user or none, found 'tap'" in refused("--net", "tap")
