# SPDX-License-Identifier: GPL-2.0-only
"""`./snplab check` counts rightly: a test that fails, whose set-up fails, whose import fails, that is killed or never runs
is no pass. Each test runs `./snplab check` in a copy of the repository with made-up tests.
"""
from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.core.locks import take
from lab.core.places import LAYOUT, Cache
from lab.core.process import Processes
from tests.support.front import (Done, changed_environment, copy_repository, expect, open_to_everybody, run_command,
                                 run_snplab)

ABOUT = "check counts rightly: failures, errors in set-up, TAP cases, test files that die"
LANE = "fast"
NEEDS = ()
TAKES = 25

HEAD = """\
import os, signal, subprocess, sys, time
import pytest
ABOUT = "made up"
LANE = "{lane}"
NEEDS = ()
TAKES = 1
"""
# The name of each test file: its source, and the result in its line.
FILES = {
    "passes": ("def test_a(): pass\ndef test_b(): pass\n", "2 passed, 0 failed"),
    "fails": ("def test_a(): pass\ndef test_b(): assert 1 == 2\n", "1 passed, 1 failed"),
    "setup": ("@pytest.fixture\ndef bad(): raise OSError('no')\ndef test_a(bad): pass\n", "0 passed, 1 failed"),
    "teardown": ("@pytest.fixture\ndef bad():\n    yield\n    raise OSError('no')\ndef test_a(bad): pass\n",
                 "0 passed, 1 failed"),
    "collection": ("import no_such_module\ndef test_a(): pass\n", "0 passed, 1 failed"),
    "syntax": ("def test_a(:\n", "0 passed, 1 failed"),
    "skips": ("def test_a(): pytest.skip('no moon')\ndef test_b(): pass\n", "1 passed, 0 failed, 1 skipped"),
    "skips-whole": ("pytest.skip('no sun', allow_module_level=True)\n", "0 passed, 0 failed, 1 skipped"),
    "empty": ("x = 1\n", "0 passed, 1 failed"),
    "killed": ("def test_a(): pass\ndef test_b(): os.kill(os.getpid(), signal.SIGKILL)\ndef test_c(): pass\n",
               "1 passed, 1 failed"),
    "leaves": ("def test_a(): pass\ndef test_b(): os._exit(0)\ndef test_c(): pass\n", "1 passed, 1 failed"),
    "xfails": ("@pytest.mark.xfail\ndef test_a(): assert False\n", "0 passed, 1 failed"),
    "xpasses": ("@pytest.mark.xfail\ndef test_a(): pass\n", "0 passed, 1 failed"),
    "tap-passes": ("def test_a(tap):\n    tap.case('one', True)\n    tap.case('two', True, skip='no stars')\n",
                   "2 passed, 0 failed, 1 skipped"),
    "tap-fails": ("def test_a(tap):\n    tap.case('one', True)\n    tap.case('two', False, 'why')\n", "1 passed, 2 failed"),
    "tap-fails-early": ("def test_a(tap):\n    tap.case('one', False)\n    pytest.skip('hidden?')\n", "0 passed, 2 failed"),
    "tap-program": ("def test_a(tap): tap.program('it', 'printf', 'ok 1 - a\\nok 2 - b\\n1..2\\n')\n",
                    "4 passed, 0 failed"),
    "tap-program-ends-early": ("def test_a(tap): tap.program('it', 'printf', 'ok 1 - a\\n1..2\\n')\n",
                               "1 passed, 2 failed"),
    "tap-program-fails": ("def test_a(tap): tap.program('it', 'false')\n", "0 passed, 2 failed"),
    "nothing-said": ("def test_a(): pass\n", "1 passed, 0 failed"),
}
LAST_LINE = re.compile(r"(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$")


def write_test(top: Path, name: str, source: str, lane: str = "fast") -> Path:
    """Writes a made-up test file."""
    path = top / "tests" / f"test_{name.replace('-', '_')}.py"
    path.write_text(("" if name == "nothing-said" else HEAD.format(lane=lane)) + source, encoding="utf-8")
    return path


def copy_without_tests(target: Path) -> Path:
    """Copies the repository without its tests, and without files that only other verbs read."""
    copy_repository(target, "docs", "host", "series")
    for path in (target / "tests").glob("test_*"):
        path.unlink()
    return target


def own(top: Path) -> dict[str, str | None]:
    """The environment for a copy's runs: a cache and a temporary folder beside the copy."""
    written = top.parent / "written"
    written.mkdir(exist_ok=True)
    return {"XDG_CACHE_HOME": str(top.parent / "cache"), "TMPDIR": str(written)}


def check(top: Path, *words: str, env: dict[str, str | None] | None = None) -> Done:
    """Runs ./snplab check of a copy, with a cache beside it."""
    return run_snplab("check", *words, top=top, env={**own(top), **(env or {})}, timeout=100)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A copy with one test, which passes."""
    copy = copy_without_tests(tmp_path / "copy")
    write_test(copy, "passes", FILES["passes"][0])
    return copy


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The output of `check` on all of FILES."""
    top = copy_without_tests(tmp_path_factory.mktemp("all") / "copy")
    for name, (source, _) in FILES.items():
        write_test(top, name, source)
    return check(top)


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_counted(everything: Done, name: str) -> None:
    assert re.search(rf"^\[\d+/\d+\] tests: {name} … {re.escape(FILES[name][1])}, \d+ s$", everything.stdout, re.M), (
        f"expected {name}: {FILES[name][1]}, found:\n{everything.output}")


def test_the_last_line_is_the_sum(everything: Done) -> None:
    expected = [0, 0, 0]
    for _, line in FILES.values():
        for i, number in enumerate(found.groups() if (found := LAST_LINE.match(line)) else ()):
            expected[i] += int(number or 0)
    assert everything.stdout.splitlines()[-1] == "{} passed, {} failed, {} skipped".format(*expected)
    assert everything.status == 1
    assert everything.stderr == ""


@pytest.mark.parametrize("line", (
    "skipped: skips: test_a: no moon", "skipped: skips-whole: the file: no sun", "skipped: tap-passes: test_a two: no stars",
    "failed: fails: test_b", "failed: setup: test_a", "failed: collection: the file", "failed: tap-fails: test_a two",
    "failed: tap-fails: test_a", "failed: killed: the file"))
def test_it_names_what_it_counts(everything: Done, line: str) -> None:
    assert line in everything.stdout.splitlines()


@pytest.mark.parametrize("text", (
    "assert 1 == 2", "E   ModuleNotFoundError: No module named 'no_such_module'", "OSError: no",
    "ended with status 137 after 1 of 3 tests, before tests/test_killed.py::test_b",
    "ended with status 0 after 1 of 3 tests, before tests/test_leaves.py::test_b",
    "expected status 0 and as many results as planned, found status 0, 1 of 2", "xfail is not used here"))
def test_it_shows_why(everything: Done, text: str) -> None:
    assert text in everything.stdout


def test_all_pass(top: Path) -> None:
    done = check(top)
    assert (done.status, done.stdout.splitlines()[-1]) == (0, "2 passed, 0 failed"), done.output


def test_skipped_alone_is_no_failure(top: Path) -> None:
    write_test(top, "passes", FILES["skips-whole"][0])
    done = check(top)
    assert (done.status, done.stdout.splitlines()[-1]) == (0, "0 passed, 0 failed, 1 skipped"), done.output


def test_an_expression_picks_tests(top: Path) -> None:
    write_test(top, "others", "def test_c(): assert False\n")
    done = check(top, "-k", "test_b")
    assert (done.status, done.stdout.splitlines()[-1]) == (0, "1 passed, 0 failed"), done.output


def test_an_expression_that_picks_none_fails(top: Path) -> None:
    done = check(top, "-k", "nonsense")
    assert (done.status, done.stdout.splitlines()[-1]) == (1, "0 passed, 1 failed"), done.output


def test_lanes(top: Path) -> None:
    write_test(top, "builds", "def test_c(): pass\n", "boot")
    write_test(top, "takes-long", "def test_d(): pass\n", "long")
    for words, names in ((("--lane", "fast"), ["passes"]), ((), ["passes", "builds"]), (("--lane", "boot"), ["builds"]),
                         (("--lane", "long"), ["takes-long"]), (("*s", "--lane=boot"), ["builds"])):
        assert names_in(check(top, "--dry-run", *words)) == names, words


def names_in(done: Done) -> list[str]:
    """The test files that a dry run lists."""
    return [line.removeprefix("tests: ") for line in done.stdout.splitlines() if line.startswith("tests: ")]


def test_globs(top: Path) -> None:
    write_test(top, "host-cpu", "def test_c(): pass\n")
    for glob in ("host-cpu", "host_cpu", "h*", "*-cpu"):
        assert names_in(check(top, "--dry-run", glob)) == ["host-cpu"], glob
    assert check(top, "host-cpu").steps() == ["install missing programs", "tests: host-cpu"]


@pytest.mark.parametrize(("words", "pattern"), {
    "a second glob": (("a", "b"), "check takes one GLOB, found a second: 'b'$"),
    "a glob that matches nothing": (("zz",), "no test matches 'zz'$(?s:.*)hint: ./snplab check --list names them$"),
    "a glob that matches in another lane": (("takes*",), "no test matches 'takes.*hint: --lane long has takes-long$"),
    "an unknown lane": (("--lane", "slow"), "--lane wants fast, boot or long, found 'slow'$"),
    "no number": (("-n", "x"), "-n wants a number from 1 to 64, found 'x'$"),
    "an unknown option": (("--frob",), "check has no option --frob$"),
}.values(), ids=lambda value: " ".join(value) if isinstance(value, tuple) else None)
def test_usage(top: Path, words: tuple[str, ...], pattern: str) -> None:
    write_test(top, "takes-long", "def test_d(): pass\n", "long")
    done = check(top, *words)
    assert done.status == 2 and re.search(pattern, done.stderr, re.M | re.S), done.output
    assert done.stdout == ""


def test_list_imports_nothing(top: Path) -> None:
    write_test(top, "acts", "open('acted', 'w')\n", "long")
    done = check(top, "--list")
    expect(done, 0, r"^NAME +LANE +TAKES +NEEDS +ABOUT$")
    expect(done, 0, r"^passes +fast +1 s +- +made up$")
    expect(done, 0, r"^acts +long +1 s +- +made up$")
    assert not list(top.rglob("acted")) and not (top.parent / "cache").exists()


def test_a_dry_run_runs_nothing(top: Path) -> None:
    write_test(top, "acts", "open('acted', 'w')\n")
    done = check(top, "--dry-run")
    expect(done, 0, r"^ +env -C .*/copy /usr/bin/python3 -B -m pytest .*tests/test_acts\.py$")
    assert not list(top.rglob("acted")) and not (top.parent / "cache").exists()


def test_a_users_python_is_not_ours(top: Path, tmp_path: Path) -> None:
    """check uses neither a user's modules, nor the user's pytest options, nor another python3 first on PATH."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "json.py").write_text("raise SystemExit('theirs')\n", encoding="utf-8")
    (tmp_path / "theirs" / "python3").symlink_to("/bin/false")
    theirs = str(tmp_path / "theirs")
    done = check(top, env={"PYTHONPATH": theirs, "PYTHONHOME": theirs, "PYTEST_ADDOPTS": "--frob", "PYTEST_PLUGINS": "frob",
                           "PATH": f"{theirs}:{os.environ['PATH']}"})
    assert (done.status, done.stdout.splitlines()[-1]) == (0, "2 passed, 0 failed"), done.output


def test_nothing_is_written_into_the_repository(top: Path) -> None:
    before = sorted(top.rglob("*"))
    check(top)
    assert sorted(top.rglob("*")) == before


def test_a_user_is_told_what_lacks(top: Path) -> None:
    """A user who is not root gets the names of missing packages; nothing is installed."""
    with open(top / "lab" / "build" / "needs.list", "a", encoding="utf-8") as deps:
        deps.write("check\tno-such-program\tno-such-package\n")
    (top.parent / "cache").mkdir()
    words = ["env", f"XDG_CACHE_HOME={top.parent}/cache", str(top / "snplab"), "check", "--lane", "fast"]
    if os.geteuid() == 0:
        (top.parent / "cache").chmod(0o777)
        open_to_everybody(top.parent)
        words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *words]
    expect(run_command(*words), 3, "hint: install them; Debian's packages are: no-such-package$")


def test_what_a_test_leaves_running_is_ended(top: Path) -> None:
    """check ends even a process in its own session, which no signal to the group reaches."""
    pid = top.parent / "pid"
    write_test(top, "leaves", "def test_a():\n    p = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
               f"    open({str(pid)!r}, 'w').write(str(p.pid))\n")
    expect(check(top), 0, "killed processes that tests left running: sleep$")
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text(encoding="utf-8")), 0)


@pytest.fixture
def sleeping(top: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A `check` whose test sleeps and has a child in its own session; both leave marks in the folder."""
    write_test(top, "sleeps", f"""\
@pytest.fixture
def marked():
    yield
    open({str(top.parent / 'undone')!r}, 'w').close()
def test_a(marked):
    p = subprocess.Popen(['sleep', '600'], start_new_session=True)
    open({str(top.parent / 'pid')!r}, 'w').write(str(p.pid) + '\\n')
    p.wait()
""", "boot")
    process = subprocess.Popen([str(top / "snplab"), "check", "sleeps"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               env=changed_environment(own(top)), text=True, start_new_session=True)
    yield process, top.parent
    process.kill()
    process.wait()


def test_ctrl_c_ends_everything(sleeping: tuple[subprocess.Popen[str], Path]) -> None:
    process, folder = sleeping
    pid = folder / "pid"
    limit = time.monotonic() + 60
    while not (pid.exists() and pid.read_text(encoding="utf-8").endswith("\n")) and time.monotonic() < limit:
        time.sleep(0.05)
    # A terminal sends the signal to the foreground process group.
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert "interrupted" in output
    assert (folder / "undone").exists(), "expected the fixture's end to run"
    assert not list((folder / "written").iterdir())
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text(encoding="utf-8")), 0)


def test_what_tests_write_goes_unless_one_fails(top: Path) -> None:
    """Each test file has a folder of its own, so that the end of another file does not delete it."""
    write_test(top, "writes", "def test_a(tmp_path): (tmp_path / 'x').touch()\n")
    write_test(top, "breaks", "def test_a(tmp_path):\n    (tmp_path / 'seen').touch()\n    assert False\n")
    done = check(top)
    expect(done, 1, "^ +the tests' files: ")
    written = top.parent / "written"
    assert [p.name for p in written.rglob("*") if p.is_file()] == ["seen"]
    assert len(list(written.iterdir())) == 1
    expect(check(top, "writes"), 0, "^1 passed, 0 failed$")
    assert len(list(written.iterdir())) == 1


def test_two_at_once_wait_for_each_other(top: Path) -> None:
    """Two runs would build in the same folders. The fast lane builds nothing, so it does not wait."""
    write_test(top, "builds", "def test_c(): pass\n", "boot")
    locks = Cache(top.parent / "cache" / "snplab" / LAYOUT).folder("locks")
    environment = changed_environment(own(top))
    with take(locks / "check", Processes(), print):
        expect(check(top, "--lane", "fast"), 0, "^2 passed, 0 failed$")
        with subprocess.Popen([str(top / "snplab"), "check", "builds"], env=environment, text=True,
                              stdout=subprocess.PIPE) as waiting:
            assert waiting.stdout is not None
            assert "waiting for another snplab that uses check" in waiting.stdout.readline()
            with pytest.raises(subprocess.TimeoutExpired):
                waiting.wait(1)
            waiting.terminate()


def test_ci_and_readme_name_the_command() -> None:
    top = Path(__file__).resolve().parent.parent
    assert "snplab check" in (top / ".ci" / "run").read_text(encoding="utf-8")
    assert "./snplab check" in (top / "README.md").read_text(encoding="utf-8")
