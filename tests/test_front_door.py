# SPDX-License-Identifier: GPL-2.0-only
"""./snplab on a machine without Python: it uses Debian's python3 and no other, installs it only if allowed, or says how.

Most tests run a copy of the script in which one line names another path of python3. Where mount namespaces are allowed, the
script itself runs with python3 hidden.
"""
from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.build.deps import is_debian
from tests.support.front import TOP, Done, expect, run_command, run_snplab

ABOUT = "./snplab finds, installs or asks for python3"
LANE = "fast"
NEEDS = ()
TAKES = 3

FAKES = TOP / "tests" / "front_door"
LINE = "hint: as root: apt-get update && apt-get install -y --no-install-recommends python3$"
# Command lines that only ask something, and one verb of each kind.
ASKS = ("--help", "help", "run --dry-run", "status --help")
ASKED = (*ASKS, "run", "hw --check", "check", "frob", "")
# A made-up python3: as Debian 11 has it, and as Debian 12 has it.
PROGRAM = """
if "-V" in sys.argv: sys.exit(print("Python {0}.{1}.2"))
sys.version_info = ({0}, {1}, 2)
if "-c" in sys.argv: exec(sys.argv[-1])
else: print("used:", *sys.argv[1:])
"""
OLD, NEW = PROGRAM.format(3, 9), PROGRAM.format(3, 11)


class Machine:
    """A made-up machine: its python3, its apt-get, its user."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "lab").mkdir()
        self.python = folder / "bin" / "debians-python3"
        text = (TOP / "snplab").read_text(encoding="utf-8")
        line, system = "\npython=/usr/bin/python3\n", "/etc/os-release"
        assert text.count(line) == 1 and text.count(system) == 1
        self.system = folder / "os-release"
        self.system.write_text("NAME=x\nID=debian\n", encoding="utf-8")
        text = text.replace(line, f"\npython={self.python}\n").replace(system, str(self.system))
        self.script = self.write(folder / "snplab", text)
        self.is_user(0)
        self.has("new-python3", NEW)
        self.has("apt-get", f"""
import shutil
open({str(folder / "log")!r}, "a").write(" ".join(sys.argv[1:]) + chr(10))
if "install" in sys.argv: shutil.copy({str(folder / "bin" / "new-python3")!r}, {str(self.python)!r})
""")

    @staticmethod
    def write(path: Path, text: str) -> Path:
        """Makes a program."""
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
        return path

    def has(self, name: str, source: str) -> None:
        """Makes a program that is first on PATH."""
        self.write(self.folder / "bin" / name, f"#!/usr/bin/python3 -IB\nimport sys\n{source}\n")

    def is_user(self, number: int) -> None:
        """Sets the output of `id -u`."""
        self.has("id", f"print({number})")

    def run(self, *words: str) -> Done:
        """Runs the front door with these words."""
        return run_command(self.script, *words, env={"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"})

    def installed(self) -> list[str]:
        """The command lines that apt-get got."""
        log = self.folder / "log"
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A Debian without python3, on which the user is root."""
    return Machine(tmp_path)


def test_python_is_taken_isolated(machine: Machine) -> None:
    machine.has("debians-python3", NEW)
    done = machine.run("run", "--tree", "a b")
    assert (done.status, done.stdout) == (0, f"used: -I -B {machine.folder}/lab run --tree a b\n")
    assert not machine.installed()


def test_an_installation_is_told_and_done(machine: Machine) -> None:
    done = machine.run("run")
    assert done.status == 0 and done.stdout.startswith("used: "), done.output
    assert "snplab: installing python3" in done.stderr.splitlines()
    assert [line.split()[-1] for line in machine.installed()] == ["update", "python3"]


@pytest.mark.parametrize("line", ASKS)
def test_who_only_asks_has_nothing_installed(machine: Machine, line: str) -> None:
    expect(machine.run(*line.split()), 3, LINE)
    assert not machine.installed()


@pytest.mark.parametrize("line", ASKED)
def test_a_user_is_told_the_line(machine: Machine, line: str) -> None:
    machine.is_user(1000)
    done = machine.run(*line.split())
    expect(done, 3, LINE)
    assert done.stdout == "" and len(done.stderr.splitlines()) == 2
    assert not machine.installed()


def test_another_system_is_told_the_line(machine: Machine) -> None:
    machine.system.write_text("ID=fedora\n", encoding="utf-8")
    expect(machine.run("run"), 3, LINE)
    assert not machine.installed()


def test_an_installation_that_fails_is_told(machine: Machine) -> None:
    machine.has("apt-get", "print('no network')\nsys.exit(100)")
    done = machine.run("run")
    expect(done, 3, "^snplab: apt-get could not install python3$")
    expect(done, 3, LINE)
    assert done.stdout == ""


def test_an_installation_that_brings_nothing_is_told(machine: Machine) -> None:
    machine.has("apt-get", "")
    expect(machine.run("run"), 3, "^snplab: expected Python 3.11 or newer at .*, found none$")


@pytest.mark.parametrize("line", ("run", "--help", "run --dry-run"))
def test_an_old_python_is_told(machine: Machine, line: str) -> None:
    machine.has("debians-python3", OLD)
    expect(machine.run(*line.split()), 3, "^snplab: expected Python 3.11 or newer at .*, found Python 3.9.2$")
    assert not machine.installed()


def test_it_is_called_from_anywhere(tmp_path: Path) -> None:
    """snplab runs through a link, from another folder, and without PATH."""
    (tmp_path / "link").symlink_to(TOP / "snplab")
    expect(run_command(tmp_path / "link", "--help", cwd=tmp_path, env={"PATH": None}), 0, "^usage: ./snplab VERB")


def test_a_users_python_is_not_ours(tmp_path: Path) -> None:
    """A pyenv's python3 first on PATH, and PYTHON* variables, have no effect."""
    (tmp_path / "python3").symlink_to("/bin/false")
    (tmp_path / "importlib.py").write_text("raise SystemExit('theirs')\n", encoding="utf-8")
    expect(run_snplab("--help", env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(tmp_path),
                                     "PYTHONHOME": str(tmp_path), "PYTHONSTARTUP": "frob", "PYENV_VERSION": "2.7"}),
           0, "^usage: ./snplab VERB")


@pytest.fixture
def without_python() -> Callable[..., Done]:
    """Runs a command in its own mount namespace, in which python3 is hidden."""
    words = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), str(FAKES / "without-python")]
    if run_command(*words, "true").status != 0:
        pytest.skip("needs mount namespaces: root, or a user who may have them")
    return lambda *command, **how: run_command(*words, *command, **how)


@pytest.mark.parametrize("line", ASKS)
def test_the_real_one_without_python(without_python: Callable[..., Done], line: str) -> None:
    expect(without_python(TOP / "snplab", *line.split()), 3, LINE)


@pytest.mark.skipif(not is_debian(), reason="needs Debian")
def test_the_real_one_installs_it(without_python: Callable[..., Done]) -> None:
    """The script itself runs an apt-get that makes python3 visible again."""
    done = without_python(TOP / "snplab", "check", "--list", env={"PATH": f"{FAKES}:{os.environ['PATH']}"})
    expect(done, 0, "^snplab: installing python3$")
    assert done.stdout.startswith("NAME ")
