# SPDX-License-Identifier: GPL-2.0-only
"""How `guest` ends when its boot fails: with a script in place of the emulated host.

A failed run must have the right exit status, in its JSON as well, must leave no process running, and must delete the
hundreds of MB that it booted from, however it ends.
"""
from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.front import TOP, Done, changed_environment, expect, run_snplab
from tests.support.l1 import BUILD_LIMIT

ABOUT = "guest ends rightly when its boot fails: QEMU fails, L1 fails, Ctrl-C, a terminal"
LANE = "boot"
NEEDS = ("fetch", "boot", "shell", "guest", "check")
TAKES = 25

SCRIPT = TOP / "tests/support/qemu_script.py"
GUEST = ("guest", "--tree", "debian")
# These runs use the cache's packages, and run folders of their own.
SHARED = ("base", "apt", "locks", "programs")
# A larger file in a run's folder is one that was booted.
LARGE = 4 << 20


@dataclass(frozen=True)
class Place:
    """The folder of a test: a cache, the script's count of boots, the JSON."""

    folder: Path

    @property
    def runs(self) -> Path:
        """The folder of the runs' logs."""
        return self.folder / "cache/snplab/v2/runs"

    @property
    def booted(self) -> str:
        """A letter for each boot so far."""
        path = self.folder / "booted"
        return path.read_text(encoding="ascii") if path.exists() else ""

    def env(self, turns: str) -> dict[str, str]:
        """The environment of the run."""
        return {"XDG_CACHE_HOME": str(self.folder / "cache"), "SNPLAB_QEMU": str(SCRIPT), "SNPLAB_TURNS": turns,
                "SNPLAB_BOOTED": str(self.folder / "booted")}

    def guest(self, turns: str, *words: str) -> Done:
        """Runs the verb, with the JSON in this folder."""
        return run_snplab(*GUEST, "--json", self.folder / "json", *words, env=self.env(turns), cwd=self.folder,
                          timeout=BUILD_LIMIT)

    def check_json(self, verdict: str, status: int) -> None:
        """Fails unless the JSON says how the run ended."""
        data = json.loads((self.folder / "json").read_text(encoding="utf-8"))
        assert (data["verdict"], data["exit"]) == (verdict, status)

    def check_dropped(self) -> None:
        """Fails unless the run has a folder, and deleted what it booted from."""
        assert list(self.runs.glob("*-guest-*"))
        left = [path for path in self.runs.rglob("*") if path.name in ("guest", "host")
                or path.name.startswith(".root.") or (path.is_file() and path.stat().st_size > LARGE)]
        assert left == []


@pytest.fixture(name="place")
def fixture_place(tmp_path: Path, cache: Path) -> Place:
    """A cache that has only the packages of the user's own."""
    own = tmp_path / "cache/snplab" / cache.name
    own.mkdir(parents=True)
    for name in SHARED:
        (cache / name).mkdir(parents=True, exist_ok=True)
        (own / name).symlink_to(cache / name)
    return Place(tmp_path)


def test_qemu_fails_after_a_boot_that_failed(place: Place) -> None:
    """The run ends with the set-up's failure, and its JSON is not that of the first boot."""
    expect(place.guest("pe", "--boots", "2"), 3, "QEMU ended with status 1")
    assert place.booted == "xx"
    place.check_json("setup-failed", 3)
    place.check_dropped()


def test_boots_fail(place: Place) -> None:
    """Two L1s power off at once: both boots fail."""
    expect(place.guest("pp", "--boots", "2"), 1, "^FAIL: 0 of 2 boots")
    assert place.booted == "xx"
    place.check_json("fail", 1)
    place.check_dropped()


def test_shards_of_boots(place: Place) -> None:
    """Each shard boots what the other does not, and merge reports as one run of all boots."""
    files = []
    for number, boots in ((1, 2), (2, 1)):
        expect(place.guest("pppppp", "--boots", "3", "--shard", f"{number}/2"), 1, f"^FAIL: 0 of {boots} boots")
        files.append((place.folder / "json").rename(place.folder / f"{number}.json"))
    assert place.booted == "xxx"
    whole = place.guest("pppppp", "--boots", "3")
    merged = run_snplab("merge", *files, "--json", place.folder / "merged")
    assert merged.status == whole.status == 1
    found, one = (json.loads((place.folder / name).read_text(encoding="utf-8")) for name in ("merged", "json"))
    assert found["problems"] == one["problems"] and found["shard"] == one["shard"]
    assert [(boot["number"], boot["exit"]) for boot in found["boots"]] == [(1, 1), (2, 1), (3, 1)]
    last = [done.stdout.splitlines()[-1].partition(";")[0] for done in (whole, merged)]
    assert last == ["FAIL: 0 of 3 boots"] * 2


@pytest.fixture(name="sleeper")
def fixture_sleeper(place: Place) -> Iterator[subprocess.Popen[str]]:
    """A run in a session of its own, whose second boot sleeps."""
    words = [str(TOP / "snplab"), *GUEST, "--boots", "2", "--json", str(place.folder / "json")]
    process = subprocess.Popen(words, cwd=place.folder, env=changed_environment(place.env("ps")), text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True)
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for_boots(place: Place, process: subprocess.Popen[str], count: int) -> None:
    """Waits until that many boots have begun."""
    end = time.monotonic() + BUILD_LIMIT
    while len(place.booted) < count and process.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    assert len(place.booted) == count


def left_in_session(number: int) -> list[str]:
    """The live processes of a session."""
    found = subprocess.run(["ps", "-s", str(number), "-o", "pid=,stat=,args="], capture_output=True, text=True,
                           check=False)
    return [line for line in found.stdout.splitlines() if not line.split()[1].startswith("Z")]


def test_interrupted(place: Place, sleeper: subprocess.Popen[str]) -> None:
    """Ctrl-C during the second boot leaves no process, and the JSON says "interrupted"."""
    wait_for_boots(place, sleeper, 2)
    os.killpg(sleeper.pid, signal.SIGINT)
    output, _ = sleeper.communicate(timeout=60)
    assert sleeper.returncode == 130, output[-4000:]
    assert place.booted == "xx"
    place.check_json("interrupted", 130)
    assert left_in_session(sleeper.pid) == []
    place.check_dropped()


def on_terminal(place: Place, turns: str, *words: str) -> Done:
    """Runs the verb with a terminal as its standard input and output."""
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen:
        process = subprocess.Popen([str(TOP / "snplab"), *GUEST, *words], stdin=theirs, stdout=theirs, stderr=theirs,
                                   cwd=place.folder, env=changed_environment(place.env(turns)), start_new_session=True)
        os.close(theirs)
        seen = b""
        try:
            while True:
                seen += screen.read(65536)
        except OSError:
            # The last process on the terminal has ended.
            pass
    return Done(process.wait(timeout=60), seen.decode("utf-8", "replace"), "")


def test_qemu_fails_on_a_terminal(place: Place) -> None:
    """On a terminal there is no verdict, only the message that QEMU failed."""
    done = on_terminal(place, "e")
    expect(done, 1, "snplab: the guest did not end by itself, or QEMU failed")
    assert place.booted == "x"
    place.check_dropped()


def test_no_limit_on_a_terminal(place: Place) -> None:
    """On a terminal the ten minutes' limit of a test does not apply."""
    done = on_terminal(place, "", "--dry-run")
    assert done.status == 0
    assert re.search(r"snplab\.timeout=1000000", done.output), done.output[-4000:]
