# SPDX-License-Identifier: GPL-2.0-only
"""The repository's rules that a program can check: what must not be in a file, and that each list and document names what
exists.
"""
from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from lab.build import deps
from lab.check.table import Entry, read_table
from lab.core.places import TOP
from lab.judge.mutants import Header
from lab.patches.newfiles import brought_names, files_below
from lab.patches.series import groups, list_series

ABOUT = "the repository's own rules: no paths of a machine, short functions, little shell, lists name what exists"
LANE = "fast"
NEEDS = ("mail",)
TAKES = 5

MOST_FUNCTION_LINES = 60
MOST_SHELL_LINES = 1500
# lab/hw.sh must be short enough to be read before one runs it as root. Its table of the kernel's messages does nothing.
MOST_HW_LINES = 830
MOST_HW_TABLE_LINES = 350
# Other projects' lines in our patches: they may contain words that ours must not.
THEIRS = re.compile(r"^(host/[^/:]*|series/[^/:]*/[^/:]*|tests/history/[^:]*)\.patch:\d+:[ -]")
WORDS = {
    "no absolute path of a home or work folder": r"(^|[^A-Za-z0-9._~/-])/(home|root|work|Users)/[a-z]",
    "no mirror's address": r"https?://[a-z0-9.-]*(deb\.debian\.org|security\.debian\.org|snapshot\.debian|/debian/dists)",
    "no sign-off: it is the sender's": r"^[+ ]?Signed-off-by: [A-Za-z]",
    "no placeholder": r"@[A-Z]{5,}@",
    "nothing left to do is hidden in a comment": r"(#|//|\*|;) *(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b",
}
# Words that only a shell understands, in a string that starts a program.
SHELL_SYNTAX = re.compile(r"&&|\|\||\$\([a-z]|^ *(for|while|if) .*; *(do|then)\b|[a-z] \| [a-z]|; *(do|then|done|fi)\b")
STARTERS = {"command", "run", "Popen", "call", "check_call", "check_output", "run_command", "run_tap", "program", "start"}
# A script with a second line; a file in a made-up kernel tree may be only "#!…".
SCRIPT = re.compile(r"#! ?\S*(/|\benv )(ba|da)?sh\b.*\n\s*\S")
SHELLS = {"sh", "bash", "dash", "/bin/sh", "/bin/bash"}


@cache
def files() -> list[str]:
    """The repository's files: those that git tracks or would add."""
    words = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=TOP, check=True, capture_output=True, text=True).stdout.splitlines()
    return [name for name in listed if (TOP / name).is_file()]


@cache
def text_of(name: str) -> str:
    """A file's text; "" if it is binary."""
    data = (TOP / name).read_bytes()
    return "" if b"\0" in data else data.decode("utf-8", "replace")


def python_files(*folders: str) -> list[str]:
    """All Python files in these folders, whatever their names."""
    return [name for name in files() if name.startswith(tuple(f"{folder}/" for folder in folders))
            and (name.endswith(".py") or re.match(r"#!.*python3", text_of(name)))]


def is_shell(name: str) -> bool:
    """Is it a shell script?"""
    return bool(re.match(r"#!.*\b(ba|da)?sh\b", text_of(name))) or name.endswith(".sh")


def test_there_are_files_to_look_at() -> None:
    assert len(files()) > 50


@pytest.mark.parametrize("rule", WORDS)
def test_no_file_has(rule: str) -> None:
    pattern = re.compile(WORDS[rule])
    found = [line for name in files() for number, text in enumerate(text_of(name).split("\n"), 1)
             if pattern.search(text) and not THEIRS.match(line := f"{name}:{number}:{text}")]
    assert not found, "\n".join(found[:10])


def test_every_file_has_its_licence() -> None:
    """Data needs none: patches, lists, and files that tests read."""
    wanted = [name for name in files() if name.endswith((".py", ".sh", ".c", ".h")) and "/data/" not in name]
    assert not [name for name in wanted if "SPDX-License-Identifier:" not in text_of(name)[:3000]]


# --- Lists name what is there -----------------------------------------------------------------------


PATCH_FOLDERS = sorted(str(Path(name).parent) for name in files() if Path(name).name == "series")


@pytest.mark.parametrize("folder", PATCH_FOLDERS)
def test_a_series_names_its_patches(folder: str) -> None:
    assert sorted(list_series(TOP / folder)) == sorted((TOP / folder).glob("*.patch"))


@pytest.mark.parametrize("folder", PATCH_FOLDERS)
def test_a_group_is_a_part_of_its_series(folder: str) -> None:
    """In the series' order; and each cover letter of a group has a group."""
    whole = list_series(TOP / folder)
    for group in groups(TOP / folder):
        part = list_series(TOP / folder, group)
        assert part == [patch for patch in whole if patch in part], group
    assert [path.name.removeprefix("cover-letter.") for path in sorted((TOP / folder).glob("cover-letter.*"))] == groups(
        TOP / folder)


@pytest.mark.parametrize("folder", PATCH_FOLDERS)
def test_each_file_of_a_series_is_named_by_one_patch(folder: str) -> None:
    named = [name for patch in list_series(TOP / folder) for name in brought_names(patch)]
    assert sorted(named) == files_below(TOP / folder)


@pytest.mark.parametrize("folder", PATCH_FOLDERS)
def test_a_patch_counts_the_lines_of_its_new_files(folder: str) -> None:
    """Its list of changed files is part of the mail. An edit of a file in "files" makes the number wrong. A patch that is
    never mailed has no list."""
    wrong = []
    for patch in list_series(TOP / folder):
        counts = re.findall(r"^ (\S+) +\| +(\d+) \+*$", patch.read_text(encoding="utf-8").partition("\ndiff --git")[0], re.M)
        for name in brought_names(patch) if counts else []:
            lines = len((TOP / folder / "files" / name).read_text(encoding="utf-8").splitlines())
            shown = [int(number) for path, number in counts if name.endswith(path.removeprefix("..."))]
            if shown != [lines]:
                wrong.append(f"{patch.name}: {name}: expected {lines} lines, found {shown}")
    assert not wrong, "\n".join([*wrong, "tree and refresh, with a new folder, count anew"])


def test_the_table_of_series_has_each() -> None:
    for path in (TOP / "series").iterdir():
        assert not path.is_dir() or path.name in (TOP / "series" / "README.md").read_text(encoding="utf-8"), path.name


@pytest.mark.parametrize("name", sorted(path.name for path in (TOP / "series/linux-6.12.y").glob("*.patch")))
def test_a_stable_patch_follows_the_stable_rules(name: str) -> None:
    """Documentation/process/stable-kernel-rules.rst: at most 100 lines with context, and the upstream commit first."""
    head, _, body = (TOP / "series/linux-6.12.y" / name).read_text(encoding="utf-8").partition("\ndiff --git")
    assert body.count("\n") <= 100
    message = head.partition("\n\n")[2].strip()
    assert re.match(r"\[ Upstream commit [0-9a-f]{40} \]\n", message), message.partition("\n")[0]


@pytest.mark.parametrize("name", sorted(name for name in files() if re.match(r"tests/mutants/.*\.patch$", name)))
def test_a_mutant_says_who_must_catch_it(name: str) -> None:
    header = Header.read(TOP / name)
    assert header.named and not header.errors, header.errors


@pytest.mark.parametrize("entry", read_table(TOP / "tests"), ids=lambda entry: str(entry.name))
def test_a_test_file_says_what_it_is(entry: Entry) -> None:
    assert not entry.faults
    purposes = {need.purpose for need in deps.read_needs()}
    assert set(entry.needs) <= purposes, f"expected purposes of lab/build/needs.list, found {set(entry.needs) - purposes}"
    assert ast.get_docstring(ast.parse(entry.path.read_text(encoding="utf-8"))), "expected a docstring: how can it fail?"


LINK = re.compile(r"\]\(([^)#\s:]*)(?:#([^)\s]*))?\)")
NAMED = re.compile(r"(?<![\w./~$<>*-])((?:lab|tests|docs|host|series|\.ci)/[\w.*/-]*[\w*/])")

# Paths with a placeholder, and the tree that pages on new trees use as an example.
EXAMPLE = re.compile(r"(^|[/_])[A-Z]{4,}(/|\.|$)|linux-6\.18\.y")


def headings(text: str) -> set[str]:
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ +(.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", sorted(name for name in files() if name.endswith(".md")))
def test_a_document_names_what_is_there(name: str) -> None:
    text, lost = text_of(name), []
    for target, anchor in LINK.findall(text):
        page = (TOP / name).parent / target if target else TOP / name
        if not page.exists():
            lost.append(target)
        elif anchor and page.suffix == ".md" and anchor not in headings(page.read_text(encoding="utf-8")):
            lost.append(f"{target}#{anchor}")
    # A path counts from the top or from the page's folder; the start of a name is enough.
    lost += [path for path in NAMED.findall(text) if not EXAMPLE.search(path) and not any(
        list(folder.glob(path.rstrip("/") + "*")) for folder in (TOP, (TOP / name).parent))]
    assert not lost, f"{name}: expected files that exist, found {' '.join(lost)}"


def test_the_test_command_is_named() -> None:
    assert "snplab check" in text_of(".ci/run")
    assert "./snplab check" in text_of("README.md")


# --- How it is written ------------------------------------------------------------------------------


def functions(name: str) -> Iterator[tuple[str, int]]:
    """The name and length of each function in a file."""
    for node in ast.walk(ast.parse(text_of(name))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


def test_no_function_is_too_long() -> None:
    found = [f"{name}: {function}: {lines} lines" for name in python_files("lab", "tests", "host")
             for function, lines in functions(name) if lines > MOST_FUNCTION_LINES]
    assert not found, "\n".join(found)


def test_shell_is_what_must_be_shell() -> None:
    lines = {name: text_of(name).count("\n") for name in files() if is_shell(name)}
    assert "lab/hw.sh" in lines and "snplab" in lines
    table = text_of("lab/hw.sh").partition("<<'END'\n")[2].partition("\nEND\n")[0].count("\n")
    assert 100 < table <= MOST_HW_TABLE_LINES
    assert lines.pop("lab/hw.sh") - table <= MOST_HW_LINES
    assert sum(lines.values()) <= MOST_SHELL_LINES, lines


def strings(node: ast.AST) -> Iterator[ast.Constant]:
    """The string constants below a node, including those in f-strings."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            yield inner


def hidden_shell(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and text of shell code in a Python file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SCRIPT.match(node.value):
            yield node.lineno, "a script in a string"
        if isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant) and SCRIPT.match(
                f"{node.values[0].value}..."):
            yield node.lineno, "a script in a string"
        if isinstance(node, (ast.List, ast.Tuple, ast.Call)):
            words = node.args if isinstance(node, ast.Call) else node.elts
            values = [word.value if isinstance(word, ast.Constant) else None for word in words]
            if any(a in SHELLS and isinstance(b, str) and re.match(r"-[a-z]*c$", b) for a, b in zip(values, values[1:])):
                yield node.lineno, "sh -c"
        if isinstance(node, ast.Call):
            yield from shell_in_call(node)


def shell_in_call(node: ast.Call) -> Iterator[tuple[int, str]]:
    """The line and text of shell code in a call."""
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called in ("system", "popen", "getoutput", "getstatusoutput"):
        yield node.lineno, called
    if called not in STARTERS:
        return
    if any(word.arg == "shell" for word in node.keywords):
        yield node.lineno, "shell=True"
    for argument in node.args:
        for string in strings(argument):
            if SHELL_SYNTAX.search(str(string.value)):
                yield node.lineno, f"{called}({string.value!r})"


def test_no_shell_is_hidden_in_python() -> None:
    found = [f"{name}:{line}: {what}" for name in python_files("lab", "tests", "host")
             for line, what in hidden_shell(ast.parse(text_of(name)))]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("source", (
    "command('sh', '-c', x)", "subprocess.run(['bash', '-ec', 'x'])", "subprocess.run(x, shell=True)", "os.system('x')",
    "x = '#!/bin/sh\\ny'", "x = '''#!/usr/bin/env bash\nx'''", "x = f'#!/bin/bash\\n{y}'", "command('a && b')",
    "run_tap(['x', 'for i in 1 2; do y; done'])", "job.run(command('a | b'))"))
def test_hidden_shell_would_be_seen(source: str) -> None:
    assert list(hidden_shell(ast.parse(source)))


def test_no_module_shadows_the_standard_librarys() -> None:
    """./snplab runs the folder lab, so a module there could hide one of Python's."""
    names = {part.removesuffix(".py") for name in files() if name.startswith(("lab/", "tests/support/")) and
             name.endswith(".py") for part in Path(name).parts[1:]} - {"__init__", "__main__"}
    assert len(names) > 50 and not names & sys.stdlib_module_names


def test_no_two_files_differ_in_their_suffix_alone() -> None:
    stems = defaultdict(list)
    for name in files():
        if name.startswith("lab/"):
            stems[str(Path(name).with_suffix(""))].append(name)
    assert not [names for names in stems.values() if len(names) > 1]
