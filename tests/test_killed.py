# SPDX-License-Identifier: GPL-2.0-only
"""A run is killed by SIGKILL during a kernel's build: the next run takes nothing half-made for complete.

Nobody cleans up after SIGKILL. Compilers that are still running hold the tree's lock, so that the next run waits for them;
it builds again the objects that they may have truncated, and its verdict is that of a whole kernel. The test's cache is its
own, with the user's sources and compiler cache: it downloads nothing and compiles little.
"""
from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.core.places import LAYOUT, TOP, cache_root

ABOUT = "a run is killed during a build: the next one waits, resumes and passes"
LANE = "long"
NEEDS = ("fetch", "overlay", "build", "boot", "host", "hostsource")
TAKES = 300
SHARED = ("apt", "base", "ccache")


@pytest.fixture
def own_cache() -> Iterator[Path]:
    """A cache beside the user's, on the same disk, with hard links to its sources."""
    with tempfile.TemporaryDirectory(prefix="test-killed.", dir=cache_root().parent) as folder:
        root = Path(folder) / "snplab" / LAYOUT
        root.mkdir(parents=True)
        for name in SHARED:
            (cache_root() / name).mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(cache_root() / name)
        yield root


def start(root: Path, log: Path) -> subprocess.Popen[bytes]:
    """Starts a run on that cache."""
    with open(log, "wb") as out:
        return subprocess.Popen([str(TOP / "snplab"), "run", "--test", "kunit"], stdout=out, stderr=out,
                                stdin=subprocess.DEVNULL, env={**os.environ, "XDG_CACHE_HOME": str(root.parent.parent)})


def test_a_run_that_was_killed_in_a_build_resumes(own_cache: Path, tmp_path: Path) -> None:
    objects = own_cache / "work/6.12.y/src/obj/kernel"
    first = start(own_cache, tmp_path / "first")
    end = time.monotonic() + 900
    while not list(objects.glob("*.o")):
        assert first.poll() is None and time.monotonic() < end, (tmp_path / "first").read_text()[-3000:]
        time.sleep(0.1)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert (own_cache / "work/6.12.y/building").exists(), "the build was to be killed in its middle"
    second = start(own_cache, tmp_path / "second")
    assert second.wait(1800) == 0, (tmp_path / "second").read_text()[-3000:]
    said = (tmp_path / "second").read_text()
    assert "waiting for another snplab that uses work-" in said, said[-3000:]
    assert "\nPASS: 6.12.y" in said
