# SPDX-License-Identifier: GPL-2.0-only
"""snplab refuses a disk that is too small or not writable before it spends minutes, and leaves nothing half-made."""
from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.core.places import LAYOUT
from tests.support.front import expect, run_command, run_snplab

ABOUT = "a full disk, and one that cannot be written, are refused at once"
LANE = "boot"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot")
TAKES = 15


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk in memory, which a test can mount again with another size."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    disk = tmp_path / "full"
    disk.mkdir()
    if run_command("mount", "-t", "tmpfs", "-o", "size=20m", "none", disk).status != 0:
        pytest.skip("needs mount(2)")
    yield disk
    expect(run_command("umount", disk), 0)


def remount(disk: Path, option: str) -> None:
    """Changes its size, or makes it read-only."""
    expect(run_command("mount", "-o", f"remount,{option}", disk), 0)


def test_too_small_for_the_package_lists(disk: Path) -> None:
    expect(run_snplab("run", env={"XDG_CACHE_HOME": str(disk)}), 3,
           "reading the package lists needs 300 MiB in .*, [0-9]+ MiB are free")


def test_too_small_for_a_kernel(disk: Path, cache: Path) -> None:
    """The run stops before the download."""
    remount(disk, "size=700m")
    if (cache / "apt" / "fresh").exists():
        # Reuse the user's package lists: it saves a download.
        (disk / "snplab" / LAYOUT).mkdir(parents=True)
        (disk / "snplab" / LAYOUT / "apt").symlink_to(cache / "apt")
    # Fetch only the kernel: another fetch might be refused first.
    expect(run_snplab("run", "--test", "kunit", env={"XDG_CACHE_HOME": str(disk), "SNPLAB_QEMU": "/bin/true"}), 3,
           "needs 6000 MiB in .*, [0-9]+ MiB are free")
    base = disk / "snplab" / LAYOUT / "base"
    assert not base.exists() or not list(base.iterdir())


def test_that_cannot_be_written(disk: Path) -> None:
    remount(disk, "ro")
    expect(run_snplab("run", env={"XDG_CACHE_HOME": str(disk / "sub")}), 3, "cannot create|Read-only")


def test_where_not_even_a_message_can_be_kept(disk: Path) -> None:
    """On a disk without a free block the message still reaches the user."""
    with pytest.raises(OSError), open(disk / "filler", "wb") as filler:
        while True:
            filler.write(bytes(1 << 20))
    done = run_snplab("run", env={"XDG_CACHE_HOME": str(disk)})
    expect(done, 3, "^snplab: .*(No space left|MiB are free)")
    assert "Traceback" not in done.output
