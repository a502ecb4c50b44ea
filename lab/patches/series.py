# SPDX-License-Identifier: GPL-2.0-only
"""The folders of patches, one for each tree, with a file "series" that lists the patches in order. A file "series.GROUP"
lists some of them, which apply without the rest and can be sent by themselves, behind the file "cover-letter.GROUP"."""
from __future__ import annotations

import hashlib
from pathlib import Path

from lab.core.errors import setup_error, usage_error
from lab.core.places import SERIES, TOP
from lab.patches.newfiles import read_whole
from lab.patches.patchfile import PatchFile, read, to_bytes, to_lines, to_text

# The name of the queue of patches to QEMU, which make it an emulated host.
HOST = "host"


def all_trees() -> list[str]:
    """The names of the trees that have a series."""
    return [d.name.removeprefix("linux-") for d in sorted(SERIES.glob("[!.]*")) if d.is_dir()]


def trees() -> list[str]:
    """Of these, the trees with a series on a plain base. They have mutants and a history; the others have those of the tree
    below."""
    return [tree for tree in all_trees() if tree == base_tree(tree)]


def base_tree(tree: str) -> str:
    """The tree whose series a tree's own series is on top of: 6.12.y for 6.12.y-backlog. A plain tree's is itself."""
    return tree.partition("-")[0]


def series_name(tree: str) -> str:
    """The name of a tree's folders in series/ and in tests/mutants/."""
    return "mainline" if tree == "mainline" else f"linux-{tree}"


def series_dir(tree: str) -> Path:
    """The folder of a tree's series, or of the emulated host's patches."""
    return TOP / HOST if tree == HOST else SERIES / series_name(tree)


def is_tree(name: str) -> bool:
    """Is this the name of a tree that has a series?"""
    return bool(name) and "/" not in name and series_dir(name).is_dir()


def is_stable(tree: str) -> bool:
    """Is this the name of a stable tree?"""
    return base_tree(tree).endswith(".y")


def need_series(name: str | None) -> str:
    """The tree that a verb's first argument names."""
    if not name:
        raise usage_error(f"which tree? expected {', '.join(trees())}")
    if is_tree(name) and name != base_tree(name):
        raise usage_error(f"'{name}' is a series on top of another: expected {', '.join(trees())}",
                          f"{base_tree(name)} has the mutants and the history of both")
    if not is_tree(name):
        raise usage_error(f"no such tree: expected {', '.join(trees())}, found '{name}'")
    return name


def entry(line: str) -> str:
    """The patch that a line of a file "series" names; empty for comments and blank lines."""
    words = line.split()
    return words[0] if words and not words[0].startswith("#") else ""


def with_group(name: str, group: str) -> str:
    """The name of a folder's file for a group of patches; for all patches, without a group."""
    return f"{name}.{group}" if group else name


def groups(folder: Path) -> list[str]:
    """The groups of a folder's patches."""
    return sorted(path.name.removeprefix("series.") for path in folder.glob("series.*"))


def entries(folder: Path, group: str = "") -> list[str]:
    """The names of patches in a folder's "series", or in a group's."""
    return [name for line in to_lines(read(folder / with_group("series", group))) if (name := entry(line))]


def list_series(folder: Path, group: str = "") -> list[Path]:
    """The paths of the patches in a folder's "series", or in a group's, in order."""
    patches = [folder / name for name in entries(folder, group)]
    for patch in patches:
        if not patch.is_file():
            raise setup_error(f"{folder}/{with_group('series', group)} names {patch.name}, which does not exist",
                              "add the file or remove the line")
    return patches


def lower_series(tree: str) -> list[Path]:
    """The patches that a tree's own series is on top of."""
    below = base_tree(tree)
    return [] if below == tree else list_series(series_dir(below))


def whole_series(tree: str) -> list[Path]:
    """All patches of a tree, in order: those below its own series, and its own."""
    return [*lower_series(tree), *list_series(series_dir(tree))]


def patch_name(patch: Path) -> str:
    """A patch's path in this repository, for messages."""
    return str(patch.relative_to(TOP)) if patch.is_relative_to(TOP) else str(patch)


def patch_subject(patch: Path) -> str:
    """A patch's subject, unfolded, without [PATCH …]."""
    return PatchFile.read(patch).subject


def series_digest(tree: str) -> str:
    """The digest of all text that goes into commits; comments in "series", notes below "---" and Date do not count."""
    digest = hashlib.sha256()
    for patch in whole_series(tree):
        parts = read_whole(patch)
        digest.update(to_bytes(to_text([patch.name, parts.subject, *parts.committed])))
    return digest.hexdigest()


def edit_script(old: list[str], new: list[str]) -> list[tuple[str, str]]:
    """The shortest list of edits from `old` to `new`: ("=" | "-" | "+", name) in order, removals before additions."""
    common = [[0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for i in reversed(range(len(old))):
        for j in reversed(range(len(new))):
            common[i][j] = (common[i + 1][j + 1] + 1 if old[i] == new[j] else max(common[i + 1][j], common[i][j + 1]))
    script, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        if i < len(old) and j < len(new) and old[i] == new[j]:
            script.append(("=", old[i]))
            i, j = i + 1, j + 1
        elif j == len(new) or (i < len(old) and common[i + 1][j] >= common[i][j + 1]):
            script.append(("-", old[i]))
            i += 1
        else:
            script.append(("+", new[j]))
            j += 1
    return script


def merge_list(text: str, new: list[str]) -> str:
    """The text of a file "series" with the entries `new`. Comments and blank lines stay at their place; a moved entry keeps
    the rest of its line."""
    left = to_lines(text)
    whole = {name: line for line in left if (name := entry(line))}
    merged: list[str] = []

    def copy_up_to_entry() -> None:
        while left and not entry(left[0]):
            merged.append(left.pop(0))

    for number, (operation, name) in enumerate(edit_script([n for line in left if (n := entry(line))], new)):
        if operation == "+":
            # A comment at the head of the file stays at the head.
            if number == 0:
                copy_up_to_entry()
            merged.append(whole.get(name, name))
            continue
        copy_up_to_entry()
        line = left.pop(0)
        if operation == "=":
            merged.append(line)
    return to_text(merged + left)
