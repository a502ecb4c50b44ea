# SPDX-License-Identifier: GPL-2.0-only
"""--dry-run lists the same steps in the same order as the run that follows.

Each verb runs dry twice, with the user's cache and with an empty one, and then for real. Words that a dry run cannot know,
such as <newest 6.12>, match anything. The result of a boot does not matter here: where possible, a time-out ends the boot.
"""
from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.front import TOP, Done, changed_environment, copy_repository, run_snplab

ABOUT = "--dry-run lists the steps of the real run: run, guest, mutants, bench, host, shell, tree, refresh, mail, hw"
LANE = "boot"
NEEDS = ("fetch", "overlay", "build", "host", "hostsource", "boot", "shell", "guest", "mail", "check")
TAKES = 240

UNKNOWN = re.compile(r"<[^>]*>")
LIMIT = 1800


@dataclass(frozen=True)
class Case:
    """A verb's words, and the statuses with which it may end. {new} is a folder that is not there yet."""

    words: str
    statuses: Sequence[int] = (0,)
    # Options that shorten the real run and change no step.
    more: Sequence[str] = field(default_factory=tuple)


CASES = {
    "run": Case("run --test kunit", (124,), more=("--timeout", "1")),
    "run on mainline": Case("run --tree mainline --test *", (124,), more=("--timeout", "1")),
    "guest": Case("guest --check", (1, 124), more=("--timeout", "30")),
    "guest on the package": Case("guest --check --tree debian", (1, 124), more=("--timeout", "30")),
    "host": Case("host"),
    "mutants": Case("mutants --tree 6.12.y leak-on-success"),
    "bench": Case("bench --quick"),
    "hw": Case("hw --force", (0, 4)),
}


def same(dry: Sequence[str], real: Sequence[str]) -> None:
    """Fails unless both lists have the same steps."""
    assert len(dry) >= 2
    assert len(dry) == len(real), f"a dry run lists\n  {dry}\nthe run has\n  {real}"
    for shown, had in zip(dry, real):
        pattern = ".+".join(re.escape(part) for part in UNKNOWN.split(shown))
        assert re.fullmatch(pattern, had), f"a dry run lists\n  {shown}\nthe run has\n  {had}"


def compare(words: Sequence[str], real: Done, tmp: Path) -> None:
    """Compares the real run's steps with those of dry runs, with the user's cache and with an empty one."""
    cold: dict[str, str | None] = {"XDG_CACHE_HOME": str(tmp / "none")}
    for env in (None, cold):
        dry = run_snplab(*words, "--dry-run", env=env)
        assert dry.status == 0, dry.output
        same(dry.steps(), real.steps())


@pytest.mark.parametrize("name", CASES)
def test_steps(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    words = case.words.split()
    real = run_snplab(*words, *case.more, timeout=LIMIT, cwd=tmp_path)
    assert real.status in case.statuses, real.output[-3000:]
    compare(words, real, tmp_path)


def read_until(terminal: int, end: bytes, seconds: float) -> bytes:
    """Reads a terminal's output up to `end`; if that is empty, up to the program's end."""
    said, limit = b"", time.monotonic() + seconds
    while not end or end not in said:
        assert time.monotonic() < limit, f"expected {end!r} within {seconds:.0f} s, found:\n{said[-3000:]!r}"
        if select.select([terminal], [], [], 1)[0]:
            try:
                new = os.read(terminal, 65536)
            except OSError:
                new = b""
            if not new:
                break
            said += new
    return said


def test_shell(tmp_path: Path) -> None:
    """On a terminal; the test leaves the shell at once."""
    child, terminal = pty.fork()
    if child == 0:
        os.execve(TOP / "snplab", ["snplab", "shell"], changed_environment({"TERM": "dumb"}))
    try:
        said = read_until(terminal, b"Ctrl-A X ends QEMU", LIMIT)
        # QEMU's own key works in any state of the boot. Press it repeatedly: QEMU may not have started yet.
        for _ in range(60):
            os.write(terminal, b"\x01x")
            time.sleep(1)
            if os.waitpid(child, os.WNOHANG) != (0, 0):
                child = 0
                break
    finally:
        if child:
            os.kill(child, signal.SIGTERM)
            os.waitpid(child, 0)
        os.close(terminal)
    assert not child, "expected Ctrl-A X to end it"
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", said.decode("utf-8", "replace")).replace("\r", "\n")
    compare(["shell"], Done(0, plain + " …", ""), tmp_path)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with its work tree, and a series that refresh has written."""
    copy = copy_repository(tmp_path_factory.mktemp("steps") / "copy")
    subprocess.run(["git", "init", "-q", str(copy)], check=True)
    return copy


@pytest.fixture
def sender(tmp_path: Path) -> dict[str, str | None]:
    """An environment with a git identity."""
    config = tmp_path / "gitconfig"
    config.write_text("[user]\n\tname = A. U. Thor\n\temail = author@example.org\n", encoding="utf-8")
    return {"GIT_CONFIG_GLOBAL": str(config), "HOME": os.environ.get("HOME", str(tmp_path))}


def test_tree_and_refresh(copy: Path, tmp_path: Path, sender: dict[str, str | None]) -> None:
    folder = str(tmp_path / "work")
    before = run_snplab("tree", "6.12.y", folder, "--dry-run", top=copy, env=sender)
    cold = run_snplab("tree", "6.12.y", folder, "--dry-run", top=copy,
                      env={**sender, "XDG_CACHE_HOME": str(tmp_path / "no")})
    real = run_snplab("tree", "6.12.y", folder, top=copy, env=sender, timeout=LIMIT)
    assert real.status == 0, real.output
    same(before.steps(), real.steps())
    same(cold.steps(), real.steps())
    # For an existing tree: no step, only its path.
    again = [run_snplab("tree", "6.12.y", folder, *more, top=copy, env=sender) for more in ((), ("--dry-run",))]
    assert [done.stdout for done in again] == [f"{folder}\n"] * 2 and not again[0].steps() + again[1].steps()
    words = ["refresh", "6.12.y", folder]
    before = run_snplab(*words, "--dry-run", top=copy, env=sender)
    real = run_snplab(*words, top=copy, env=sender, timeout=LIMIT)
    assert real.status == 0, real.output
    same(before.steps(), real.steps())


def test_mail(copy: Path, tmp_path: Path, sender: dict[str, str | None]) -> None:
    words = ["mail", "6.12.y", "--output", str(tmp_path / "mails")]
    before = run_snplab(*words, "--dry-run", top=copy, env=sender)
    real = run_snplab(*words, top=copy, env=sender, timeout=LIMIT)
    assert real.status == 0, real.output
    same(before.steps(), real.steps())


def test_a_difference_would_be_seen() -> None:
    one, other = ["fetch linux <newest 6.12>", "build"], ["fetch linux 6.12.118", "build"]
    same(one, other)
    for wrong in (other[::-1], other[:1], [*other, "boot"], ["fetch linux 6.12.118", "builds"]):
        with pytest.raises(AssertionError):
            same(one, wrong)
