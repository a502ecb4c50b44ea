# SPDX-License-Identifier: GPL-2.0-only
"""Ctrl-C during a download, an unpacking and a build, and a disk that fills up during a build: no process goes on, nothing
half-made counts as made, and the next run works.

The cache is empty at first, and in memory if there is enough. Each test continues where the one before ended.
"""
from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.core.places import LAYOUT
from tests.support.front import TOP, changed_environment, expect, run_command, run_snplab

ABOUT = "Ctrl-C during download, unpacking and build; a disk that fills up; the next run works"
LANE = "boot"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot", "check")
TAKES = 240

# Limit for a run to come that far on a busy machine, in seconds.
PATIENCE = 300
GIB = 1 << 30


@dataclass
class Cold:
    """An empty cache."""

    folder: Path
    mounted: bool

    @property
    def root(self) -> Path:
        """The lab's part of it."""
        return self.folder / "snplab" / LAYOUT

    @property
    def env(self) -> dict[str, str | None]:
        """The environment of a run that uses this cache."""
        return {"XDG_CACHE_HOME": str(self.folder)}

    def bases(self) -> list[str]:
        """The kernel sources that the cache holds complete. QEMU's, fetched at the same time, may be complete as well."""
        return [path.name for pattern in ("linux-source-6.12*", "6.12.y.newest")
                for path in self.root.glob(f"base/{pattern}")]

    def has(self, pattern: str) -> Callable[[], bool]:
        """Does a file or folder match?"""
        def there() -> bool:
            try:
                return next(self.root.glob(pattern), None) is not None
            except FileNotFoundError:
                # A folder disappeared during the search.
                return False
        return there

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        """Starts a run in its own session, as a terminal does."""
        with open(log, "wb") as out:
            return subprocess.Popen([str(TOP / "snplab"), "run", "--test", "kunit"], stdin=subprocess.DEVNULL, stdout=out,
                                    stderr=out, env=changed_environment(self.env), start_new_session=True)


def available_memory() -> int:
    """The machine's available memory, in bytes."""
    found = re.search(r"^MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"), re.M)
    return int(found[1]) * 1024 if found else 0


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Cold]:
    """The cache that this file's tests share, empty at first."""
    folder = tmp_path_factory.mktemp("interrupt") / "cache"
    folder.mkdir()
    mounted = os.geteuid() == 0 and available_memory() >= 12 * GIB and (
        run_command("mount", "-t", "tmpfs", "-o", "size=7g", "none", folder).status == 0)
    cold = Cold(folder, mounted)
    cold.root.mkdir(parents=True)
    # Use the user's compiler cache: this file tests interrupts, not compilers.
    (cache / "ccache").mkdir(parents=True, exist_ok=True)
    (cold.root / "ccache").symlink_to(cache / "ccache")
    yield cold
    if mounted:
        expect(run_command("umount", folder), 0)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Waits until the run has come that far."""
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None and time.monotonic() < limit, (
            f"expected the run to get that far, found:\n{log.read_text(encoding='utf-8')[-3000:]}")
        time.sleep(0.05)


def left(*words: str) -> str:
    """The processes that pgrep finds, without zombies that nobody has waited for yet."""
    found = run_command("pgrep", "-a", *words).stdout
    return "".join(line for line in found.splitlines(keepends=True) if not line.rstrip().endswith("<defunct>"))


def interrupt(cold: Cold, log: Path, condition: Callable[[], bool]) -> None:
    """Starts a run, interrupts it at that point as a terminal does, and checks what it leaves."""
    process = cold.start(log)
    try:
        wait_for(condition, process, log)
        begin = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        # A user in a hurry presses it twice.
        time.sleep(0.3)
        try:
            os.killpg(process.pid, signal.SIGINT)
        except ProcessLookupError:
            pass
        status, took = process.wait(60), time.monotonic() - begin
    finally:
        process.kill()
        process.wait()
    said = log.read_text(encoding="utf-8")
    assert status == 130, f"expected status 130, found {status}:\n{said[-3000:]}"
    assert took <= 5, f"expected an end at once, found it after {took:.1f} s"
    assert "interrupted" in said
    assert left("-s", str(process.pid)) == "", "expected no process of the run's session, found some"
    # A process that has left the session has the cache's path in its command line.
    assert left("-f", str(cold.folder)) == "", "expected no process that works in the cache, found some"


def test_in_a_download(cold: Cold, tmp_path: Path) -> None:
    interrupt(cold, tmp_path / "log", cold.has("base/.linux-source-6.12*"))
    assert cold.bases() == []


def test_in_unpacking(cold: Cold, tmp_path: Path) -> None:
    interrupt(cold, tmp_path / "log", cold.has("base/.linux-source-6.12*/linux-source-6.12/kernel"))
    assert cold.bases() == []


def test_in_a_build(cold: Cold, tmp_path: Path) -> None:
    interrupt(cold, tmp_path / "log", cold.has("work/6.12.y/src/obj/kernel/*.o"))


def test_a_disk_that_fills_up_in_a_build(cold: Cold, tmp_path: Path) -> None:
    """The run reports the full disk. Once there is room, the next run works."""
    if not cold.mounted:
        pytest.skip("needs root, mount(2) and 12 GiB of memory")
    log, filler = tmp_path / "log", cold.folder / "filler"
    process = cold.start(log)
    try:
        wait_for(cold.has("work/6.12.y/src/obj/mm/*.o"), process, log)
        # Repeatedly: the build goes on meanwhile and may free space.
        while process.poll() is None:
            with open(filler, "ab", buffering=0) as f:
                try:
                    while True:
                        f.write(bytes(1 << 20))
                except OSError:
                    time.sleep(0.1)
    finally:
        process.kill()
        process.wait()
        filler.unlink(missing_ok=True)
    said = log.read_text(encoding="utf-8")
    assert process.returncode == 3, said[-3000:]
    assert re.search(r"no space left in .*: [0-9]+ MiB are free", said), said[-3000:]


def test_the_next_run_works(cold: Cold) -> None:
    expect(run_snplab("run", "--test", "kunit", env=cold.env, timeout=1800), 0, "^PASS: ")
    assert [path.name for path in cold.root.glob("base/.*")] == [], "expected what the first runs have left to be cleared"
