# SPDX-License-Identifier: GPL-2.0-only
"""However L1 and its QEMU end, the lab notices within a bounded time, gets the emulated host's counts where possible, and
leaves no QEMU running. tests/qmp/fake is a QEMU that ends as the test tells it.
"""
from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.boot.boot import POWER_OFF, Boot, Limits
from lab.boot.line import OBJECT, Machine
from lab.boot.qmp import Ended, Qemu
from lab.core.errors import Cancelled
from lab.core.process import Processes
from lab.core.session import Session
from lab.judge.files import write_json, write_whole

ABOUT = "the end of QEMU: L1 powers off, panics, hangs; QEMU fails, dies, does not answer"
LANE = "fast"
NEEDS = ("check",)
TAKES = 25

FAKE = Path(__file__).resolve().parent / "qmp" / "fake"


def is_alive(pid: int) -> bool:
    """Does a process with that number exist?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def qmp(tmp_path: Path) -> Callable[..., Ended]:
    """qmp(how, timeout): runs the fake QEMU; fails if it is still there at the end."""
    def run(how: str, timeout: float = 20, monitor: bool = False) -> Ended:
        pid = tmp_path / "pid"
        ended = Qemu(Processes(), [str(FAKE), how, str(pid), "-m", "1G"], OBJECT, monitor).run(timeout, None, None)
        assert not is_alive(int(pid.read_text(encoding="utf-8"))), "expected no QEMU to be left"
        return ended
    return run


def test_it_powers_off(qmp: Callable[..., Ended]) -> None:
    ended = qmp("ends")
    assert (ended.status, ended.why) == (0, "")
    assert ended.found == {"object": OBJECT, "ended": "shutdown", "reason": "guest-shutdown", "guest-errors": 3,
                           "errors": {"vmrun": 1, "firmware": 2}, "statistics": {"rmpupdate": 40}}


def test_it_panics_and_reboots(qmp: Callable[..., Ended]) -> None:
    """A panic ends the boot as usual; the reason is recorded."""
    ended = qmp("panics")
    assert (ended.status, ended.found["reason"], ended.found["guest-errors"]) == (0, "guest-reset", 3)


@pytest.mark.parametrize(("how", "missing"), (("no-object", "not found"), ("uncounted", "has no guest-errors")))
def test_counts_that_are_missing_are_told(qmp: Callable[..., Ended], how: str, missing: str) -> None:
    ended = qmp(how)
    assert ended.status == 0
    assert missing in ended.found["missing"]
    assert (ended.found["guest-errors"], ended.found["errors"]) == (None, {})


def test_qemu_dies_while_it_is_asked(qmp: Callable[..., Ended]) -> None:
    """L1 had ended, so the boot counts; the missing counts are recorded as missing."""
    ended = qmp("dies")
    assert (ended.status, ended.found["ended"]) == (0, "shutdown")
    assert "missing" in ended.found


def test_a_monitor_for_l1(qmp: Callable[..., Ended]) -> None:
    ended = qmp("monitor", monitor=True)
    assert (ended.status, ended.found["guest-errors"]) == (0, 3)


def test_no_monitor_that_was_not_asked_for(qmp: Callable[..., Ended]) -> None:
    ended = qmp("monitor")
    assert ended.status == 1
    assert "QEMU ended before L1 did" in ended.why


@pytest.mark.parametrize(("how", "status"), (("fails", 7), ("leaves", 3), ("killed", 137)), ids=(
    "QEMU fails at start: its own status", "QEMU leaves with status 0: set-up failed", "QEMU is killed"))
def test_qemu_ends_first(qmp: Callable[..., Ended], how: str, status: int) -> None:
    ended = qmp(how)
    assert ended.status == status
    assert "QEMU ended before L1 did" in ended.why


def test_no_program_of_that_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Qemu(Processes(), [str(tmp_path / "no-such")], OBJECT).run(20, None, None)


def test_l1_does_not_end(qmp: Callable[..., Ended]) -> None:
    """The counts up to the time-out are recorded."""
    begin = time.monotonic()
    ended = qmp("hangs", 1)
    assert (ended.status, ended.found["ended"], ended.found["guest-errors"]) == (124, "timeout", 3)
    assert time.monotonic() - begin < 15


def test_the_limit_is_changed(tmp_path: Path) -> None:
    """Once its tests have ended, L1 has less time; without a limit it has all the time."""
    qemu = Qemu(Processes(), [str(FAKE), "hangs", str(tmp_path / "pid"), "-m", "1G"], OBJECT)
    changed = threading.Timer(1, qemu.end_within, [1])
    changed.start()
    begin = time.monotonic()
    ended = qemu.run(60, None, None)
    assert (ended.status, ended.found["ended"]) == (124, "timeout")
    assert 1 < time.monotonic() - begin < 20
    free = Qemu(Processes(), ["none"], OBJECT)
    free.end_within(1)
    assert not free.is_late()


def test_limits_of_a_boot() -> None:
    """The line that ends the tests begins the limit of the power-off, and reaches the reader, too."""
    qemu, lines = Qemu(Processes(), ["none"], OBJECT), list[bytes]()
    qemu.deadline = time.monotonic() + 600
    limits = Limits(qemu, 600, lines.append, POWER_OFF)
    limits.line(b"# snplab: end of tests\n")
    assert (limits.seconds, qemu.deadline > time.monotonic() + 500) == (600, True)
    limits.line(b"snplab: end of tests\r\n")
    assert (limits.seconds, qemu.deadline < time.monotonic() + 61) == (POWER_OFF, True)
    assert len(lines) == 2


@pytest.mark.parametrize("slower, status", [(1, 124), (60, 0)])
def test_a_slower_kernel_has_longer_to_power_off(
        slower: int, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With KASAN a power-off takes longer, too. Here L1 takes four seconds, and the limit is one."""
    monkeypatch.setattr("lab.boot.boot.POWER_OFF", 1)
    monkeypatch.setattr(Boot, "line", lambda _: [str(FAKE), "slow", str(tmp_path / "pid"), "-m", "1G"])
    boot = Boot(Machine(str(FAKE), False), tmp_path, tmp_path, "", tmp_path / "logs", slower)
    ended = boot.run(Session("run"), 60, lambda _: None)
    assert ended.status == status
    assert (tmp_path / "logs/timed-out").exists() == (status == 124)


def test_qemu_neither_answers_nor_leaves(qmp: Callable[..., Ended]) -> None:
    begin = time.monotonic()
    assert qmp("mute", 1).status == 124
    assert time.monotonic() - begin < 25


def test_a_run_that_is_stopped_ends_it(tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM stop a run while another thread waits for L1."""
    pid, processes, raised = tmp_path / "pid", Processes(), list[BaseException]()

    def run() -> None:
        try:
            Qemu(processes, [str(FAKE), "hangs", str(pid), "-m", "1G"], OBJECT).run(60, None, None)
        except BaseException as e:
            raised.append(e)
    thread = threading.Thread(target=run)
    thread.start()
    limit = time.monotonic() + 30
    while not (pid.exists() and pid.read_text(encoding="utf-8")) and time.monotonic() < limit:
        time.sleep(0.05)
    processes.stop_all(5)
    thread.join(20)
    assert not thread.is_alive() and [type(e) for e in raised] == [Cancelled]
    assert not is_alive(int(pid.read_text(encoding="utf-8")))


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    write_json(tmp_path / "host.json", {"a": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["host.json"]
    before = (tmp_path / "host.json").read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "host.json", "a text that no file can hold: \ud800")
    assert [path.name for path in tmp_path.iterdir()] == ["host.json"]
    assert (tmp_path / "host.json").read_bytes() == before


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="no qemu-system-x86_64")
def test_a_real_qemu() -> None:
    line = ["qemu-system-x86_64", "-machine", "none", "-display", "none", "-nodefaults"]
    ended = Qemu(Processes(), line, OBJECT).run(2, None, None)
    assert (ended.status, ended.found["ended"]) == (124, "timeout")
    assert "amd-snp" in ended.found["missing"]
