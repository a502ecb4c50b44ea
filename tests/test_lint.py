# SPDX-License-Identifier: GPL-2.0-only
"""Type checker, linter, shell checker and compiler find nothing wrong in our files."""
from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.core.places import TOP
from tests.support.front import run_command

ABOUT = "mypy --strict, flake8, shellcheck, and a C compiler with all warnings"
LANE = "fast"
NEEDS = ("check", "build", "mail")
TAKES = 22


def listed(*patterns: str) -> list[str]:
    """The repository's files that match git's patterns."""
    words = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(words, cwd=TOP, check=True, capture_output=True, text=True).stdout.splitlines()
    return [name for name in names if (TOP / name).is_file()]


def first_line(name: str) -> str:
    """A file's first line: in a script it names the interpreter."""
    with open(TOP / name, "rb") as f:
        return f.readline().decode("utf-8", "replace")


def shell_files() -> list[str]:
    """All shell scripts, whatever their names."""
    return [name for name in listed() if name.endswith(".sh") or re.match(r"#!.*\b(ba|da)?sh\b", first_line(name))]


def python_files() -> list[str]:
    """All Python files, whatever their names."""
    return [name for name in listed("lab", "tests", "host/tests")
            if name.endswith(".py") or re.match(r"#!.*python3", first_line(name))]


def clean(*words: str | Path) -> None:
    """Fails, with the program's output, unless its status is 0."""
    done = run_command(*words, cwd=TOP)
    assert done.status == 0, done.output


@pytest.mark.parametrize("name", shell_files())
def test_shellcheck(name: str) -> None:
    """busybox's shell has `local`, as dash has."""
    in_busybox = name.startswith(("lab/l1/", "lab/l2/"))
    clean("shellcheck", *(["-s", "dash"] if in_busybox else []), "-x", name)


def test_there_is_shell_to_look_at() -> None:
    assert {"snplab", "lab/hw.sh"} <= set(shell_files())


def test_mypy(tmp_path: Path) -> None:
    """--strict, on all packages and on each script of its own."""
    scripts = [name for name in python_files() if name.startswith("host/") and name.endswith(".py")]
    clean("mypy", "--strict", "--cache-dir", tmp_path, "--config-file", TOP / "setup.cfg", "lab", "tests", *scripts)


def test_no_import_needs_stubs_to_be_absent() -> None:
    """mypy calls such a comment unused where python3-typeshed, which it only recommends, is installed: see setup.cfg."""
    comment = "# type: " + "ignore[import"
    assert [name for name in python_files() if comment in (TOP / name).read_text(encoding="utf-8")] == []


# They are ours, or have types of their own.
TYPED = {"lab", "tests", "pytest"}


def imported(name: str) -> Iterator[str]:
    """The top modules that a file imports."""
    for node in ast.walk(ast.parse((TOP / name).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_modules_whose_stubs_are_elsewhere_are_untyped() -> None:
    """Otherwise mypy's result depends on python3-typeshed: setup.cfg has to name each such module."""
    config = configparser.ConfigParser()
    config.read(TOP / "setup.cfg", encoding="utf-8")
    untyped = {module for section in config.sections() if section.startswith("mypy-")
               for module in section.removeprefix("mypy-").split(",")}
    used = {module for name in python_files() for module in imported(name)}
    assert used - set(sys.stdlib_module_names) - TYPED == untyped


def test_flake8() -> None:
    clean("flake8", "--config", TOP / "setup.cfg", *python_files())


@pytest.mark.parametrize("name", ["lab/l1/init.c", "lab/l1/locktrace.c"])
def test_programs_of_l1_have_no_warning(name: str) -> None:
    """Not finish.c: it needs the headers of the kernel under test, with which bench compiles it."""
    clean("gcc", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-O2", name)
