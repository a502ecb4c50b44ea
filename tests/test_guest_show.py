# SPDX-License-Identifier: GPL-2.0-only
"""What `guest` shows of a boot while it runs, and what it keeps in its log.

The log must be complete even if the reader goes: a closed pipe, a full disk. The user's terminal would obey escape
sequences that L2 prints, so none may reach it. A line's time must be the time when it came, not when it was shown.
"""
from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lab.core.places import TOP
from lab.judge.show import Show, read_times
from tests.support.judge import assert_line, assert_no_line, has_line
from tests.support.judge_guest import hanging_ktap, ktap

ABOUT = "guest shows the console of an SNP guest as it runs, and keeps a complete log even if the reader goes"
LANE = "fast"
NEEDS = ()
TAKES = 3

Shown = Callable[[Sequence[str] | bytes], list[str]]
PROGRAM = [sys.executable, "-B", "-m", "tests.support.judge_show"]
EVENTS = ["init", "modules", "begin", "launch", "finish", "kernel", "shell", "checked", "end"]


@pytest.fixture(name="show")
def fixture_show(tmp_path: Path) -> Shown:
    """show(lines): the lines that the user sees. The logs are in tmp_path."""
    def show(lines: Sequence[str] | bytes) -> list[str]:
        data = lines if isinstance(lines, bytes) else "".join(f"{line}\n" for line in lines).encode()
        told: list[str] = []
        with Show(tmp_path, told.append) as shown:
            shown.copy(io.BytesIO(data))
        return told
    return show


def test_whole_boot(show: Shown, tmp_path: Path) -> None:
    """The user sees the guest's console with times, and the cases; not the report, nor QEMU's warnings on the CPU model."""
    lines = ktap(bytes(1184))
    told = show(lines)
    assert (tmp_path / "ktap.log").read_text(encoding="utf-8").splitlines() == lines
    assert_line(told, r"^ +[0-9]+\.[0-9] s  \| snplab: shell after 8\.22 s, linux 1\.2\.3-guest$")
    assert_line(told, r"^ +[0-9]+\.[0-9] s  ok 1 guest\.is_launched$")
    assert_no_line(told, r"report: \|")
    assert_no_line(told, "doesn't support")
    # Events, empty lines, the plan.
    assert_no_line(told, r"event|\|$|1\.\.7")


def test_every_event_has_its_time(show: Shown, tmp_path: Path) -> None:
    """Events are recorded in the order in which they came."""
    show(ktap(bytes(1184)))
    lines = (tmp_path / "times").read_text(encoding="utf-8").splitlines()
    assert [line.split(" ")[0] for line in lines] == EVENTS
    assert all(has_line([line], r"^[a-z]+ -?[0-9]+\.[0-9]$") for line in lines)


def test_a_time_is_when_it_came_the_first_time(tmp_path: Path) -> None:
    """An event's time is when its first line came, not a time in the line."""
    now = 100.0

    def clock() -> float:
        return now
    with Show(tmp_path, lambda _: None, clock) as shown:
        for event in ("begin", "launch", "begin", "end"):
            now += 1.5
            shown.line(f"# event {event} 1.0\n".encode())
    assert read_times(tmp_path) == {"begin": 1.5, "launch": 3.0, "end": 6.0}


def test_clock_of_the_guest(tmp_path: Path) -> None:
    """The start of L2's kernel follows from the kernel's own clock."""
    now = 0.0

    def clock() -> float:
        return now
    with Show(tmp_path, lambda _: None, clock) as shown:
        now = 30.0
        shown.line(b"# | [1.0] snplab: shell after 8.2 s, linux x\n")
    assert read_times(tmp_path) == {"kernel": 21.8}


def test_hang(show: Shown) -> None:
    """The user sees the threads with their stacks, and the failed case with its reason."""
    told = show(hanging_ktap())
    assert_line(told, r"^ +[0-9.]+ s  thread CPU 0/KVM: state D, wchan kvm_vcpu_ioctl, in KVM_RUN, waits for vcpu->mu")
    assert_line(told, r"^ +[0-9.]+ s  thread CPU 1/KVM: stack: \[<0>\] kvm_vcpu_ioctl")
    assert_line(told, r"^ +[0-9.]+ s  not ok 2 guest\.runs # the guest hangs")


ESCAPES = {"colours and questions": (b"a\033[31mred\033[0m \033[6nb", "ared b"),
           "modes and places": (b"c\033[=3h\033[001;001Hd", "cd"),
           "titles": (b"e\033]0;title\007f\033]0;title\033\\g", "efg"),
           "short ones": (b"h\033c\033(B\033Mi", "hi"),
           "single characters, but for a tab": (b"j\a\b\016k\tl", "jk\tl"),
           "one of 8 bits": (b"m\302\233Hn", "mHn"),
           "half of one": (b"o\033", "o")}


@pytest.mark.parametrize("name", ESCAPES)
def test_escape_sequences(name: str, show: Shown, tmp_path: Path) -> None:
    """No escape sequence reaches the terminal; the log has them all."""
    raw, text = ESCAPES[name]
    told = show(b"# | [1.0] " + raw + b"\r\n")
    assert [line.split("| ")[1] for line in told] == [text]
    assert not has_line(told, "[\x00-\x08\x0b-\x1f\x7f\x80-\x9f]")
    assert raw in (tmp_path / "ktap.log").read_bytes()


def test_invalid_utf_8(show: Shown, tmp_path: Path) -> None:
    """Invalid bytes show as a replacement character; the next lines are complete."""
    told = show(b"# | [1.0] bad \377\376 bytes\r\n# | [1.0] good\r\n")
    assert_line(told, r"\| bad .* bytes$")
    assert_line(told, r"\| good$")
    assert_line((tmp_path / "ktap.log").read_text(encoding="utf-8").splitlines(), "bad .* bytes")


def test_last_line_without_an_end(show: Shown) -> None:
    """A last line without a newline is shown as well."""
    assert_line(show(b"# event begin 1.0\n# | [1.0] no end"), r"\| no end$")


def run(logs: Path, data: bytes, stdout: int, **env: str) -> tuple[int, bytes, bytes]:
    """Runs the program. Returns its status, standard output and standard error."""
    done = subprocess.run([*PROGRAM, str(logs)], input=data, stdout=stdout, stderr=subprocess.PIPE, cwd=TOP,
                          check=False, env={**os.environ, **env})
    return done.returncode, done.stdout, done.stderr


def test_terminal_without_utf_8(tmp_path: Path) -> None:
    """On a terminal that takes only ASCII; malformed times from the guest do no harm either."""
    odd = [b"bad \377 bytes", b"snplab: shell after . s, linux x", b"snplab: shell after 1.2.3 s, linux x",
           b"snplab: shell after 99999 s, linux x", b"good"]
    status, out, err = run(tmp_path, b"".join(b"# | [1.0] " + line + b"\r\n" for line in odd), subprocess.PIPE,
                           LC_ALL="C", PYTHONIOENCODING="ascii")
    assert (status, err) == (0, b"")
    assert_line(out.decode().splitlines(), r"\| good$")


def test_reader_that_goes_away(tmp_path: Path) -> None:
    """The log is complete, the times are there, and no error appears."""
    lines = [f"# | [1.0] line {i}\n".encode() for i in range(5)] + [b"# event end 2.0\n"]
    with subprocess.Popen([*PROGRAM, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, cwd=TOP) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write(lines[0])
        process.stdin.flush()
        assert b"line 0" in process.stdout.readline()
        process.stdout.close()
        for line in lines[1:]:
            process.stdin.write(line)
            process.stdin.flush()
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert (tmp_path / "ktap.log").read_bytes() == b"".join(lines)
    assert "end" in read_times(tmp_path)


def test_no_space_for_what_is_shown(tmp_path: Path) -> None:
    """The log is complete, and no error appears."""
    data = "".join(f"{line}\n" for line in ktap(bytes(1184))).encode()
    with open("/dev/full", "wb") as full:
        status, _, err = run(tmp_path, data, full.fileno())
    assert (status, err) == (0, b"")
    assert (tmp_path / "ktap.log").read_bytes() == data


def test_teller_that_fails(tmp_path: Path) -> None:
    """If the callback fails, the log is still written, and the callback is not called again."""
    tries = []

    def tell(text: str) -> None:
        tries.append(text)
        raise BrokenPipeError
    with Show(tmp_path, tell) as shown:
        shown.copy([b"# | [1.0] one\n", b"# | [1.0] two\n"])
    assert len(tries) == 1
    assert (tmp_path / "ktap.log").read_bytes() == b"# | [1.0] one\n# | [1.0] two\n"
