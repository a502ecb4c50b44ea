# SPDX-License-Identifier: GPL-2.0-only
"""A kernel of a few files, and a copy of this repository with a small series for it."""
from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from lab.patches.newfiles import whole_text
from lab.patches.patchfile import to_bytes
from lab.patches.series import series_name
from tests.support.front import TOP, Done, changed_environment, run_snplab

TREE = "6.12.y"
NAME = "linux-6.12.y"
SUBLEVEL = 999
LIST = """\
# The head comment.

count.patch
# About the next.
multiply.patch

add-new.patch # last
# The end.
"""
NAMES = ("count.patch", "multiply.patch", "add-new.patch")
# The messages of the three patches.
MESSAGES = (
    "kernel: a: Count by thirty where three was not enough for anybody who counts here\n\nSo that it is more.\n\n"
    'Fixes: 123456789abc ("kernel: Add a")',
    "kernel: b: Multiply by 80 – größer\n\nWith a – dash, and\n\n  --- an indented line\n",
    "kernel: Add new")
TODO_EDITOR = Path(__file__).with_name("todo_editor.py")


def code() -> str:
    """A C file of two functions, with a label in column 1."""
    counted = "".join(f"\tx += {i};\n" for i in range(1, 10))
    multiplied = "".join(f"\ty *= {i};\n" for i in range(1, 10))
    return (f"int first(void)\n{{\n\tint x = 0;\n\nout:\n{counted}\treturn x;\n}}\n\n"
            f"int second(int y)\n{{\n{multiplied}\treturn y;\n}}\n")


def make_kernel(folder: Path) -> Path:
    """A kernel source tree of a few files, some of them unusual."""
    for name in ("kernel", "include", "scripts"):
        (folder / name).mkdir(parents=True)
    files = {
        "Makefile": f"VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = {SUBLEVEL}\nEXTRAVERSION =\n", "Kbuild": "# Kbuild\n",
        # A file that .gitignore names but the tree has: so has the kernel.
        ".gitignore": "*.ignored\n", "include/file.ignored": "keep\n", ".gitattributes": "*.[ch] diff=cpp\n",
        "include/crlf.txt": "with\r\ncarriage returns\r\n", "run.sh": "#!/bin/sh\n",
        **{f"kernel/{name}.c": code() for name in "abc"}}
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    (folder / "include" / "link").symlink_to("file.ignored")
    (folder / "run.sh").chmod(0o755)
    return folder


def replace(path: Path, old: str, new: str) -> None:
    """Replaces the first occurrence of a text, which must be there."""
    text = path.read_bytes().decode()
    assert old in text, f"expected {old!r} in {path}"
    path.write_bytes(text.replace(old, new, 1).encode())


@dataclass
class Lab:
    """A copy of this repository with a small series, a kernel, and a work tree."""

    folder: Path
    # The tree that the series is for.
    target: str = TREE

    @property
    def top(self) -> Path:
        """The copy of the repository."""
        return self.folder / "repo"

    @property
    def kernel(self) -> Path:
        """The small kernel, which is the base."""
        return self.folder / "kernel"

    @property
    def series(self) -> Path:
        """The folder of patches."""
        return self.top / "series" / series_name(self.target)

    @property
    def work(self) -> Path:
        """The work tree."""
        return self.top / "trees" / self.target

    @property
    def env(self) -> dict[str, str | None]:
        """An environment with its own cache, home and git identity."""
        ours: dict[str, str | None] = {name: None for name in os.environ if name.startswith("GIT_")}
        return {**ours, "GIT_CONFIG_GLOBAL": str(self.folder / "gitconfig"), "GIT_CONFIG_NOSYSTEM": "1",
                "XDG_CACHE_HOME": str(self.folder / "cache"), "HOME": str(self.folder)}

    def snplab(self, *words: str | Path, env: dict[str, str | None] | None = None) -> Done:
        """Runs the copy's ./snplab."""
        return run_snplab(*words, top=self.top, env={**self.env, **(env or {})}, cwd=self.folder, timeout=120)

    def tree(self, *words: str | Path, linux: Path | None = None, env: dict[str, str | None] | None = None) -> Done:
        """Runs ./snplab tree on the small kernel."""
        return self.snplab("tree", self.target, *words, "--linux", linux or self.kernel, env=env)

    def refresh(self, *words: str | Path, env: dict[str, str | None] | None = None) -> Done:
        """Runs ./snplab refresh."""
        return self.snplab("refresh", self.target, *words, env=env)

    def git(self, *words: str | Path, cwd: Path | None = None, env: dict[str, str | None] | None = None,
            stdin: bytes = b"") -> str:
        """Runs git as a user does, in the work tree."""
        changes: dict[str, str | None] = {**self.env, **(env or {})}
        done = subprocess.run(["git", *map(str, words)], cwd=cwd or self.work, env=changed_environment(changes),
                              input=stdin, capture_output=True, check=False)
        assert done.returncode == 0, f"git {words}: {done.stderr.decode()}"
        return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")

    def edit(self, name: str, old: str, new: str) -> None:
        """Replaces a text in a file of the work tree."""
        replace(self.work / name, old, new)

    def commit(self, message: str, *options: str) -> None:
        """Commits all changes of the work tree."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message, *options)

    def rebase(self, *todo: str) -> None:
        """Runs git rebase -i with this to-do list: "2", "1" or "edit:3"."""
        self.git("rebase", "-q", "-i", "base",
                 env={"GIT_SEQUENCE_EDITOR": f"{sys.executable} {TODO_EDITOR} {' '.join(todo)}"})

    def changes(self) -> list[str]:
        """What git status says of the repository, sorted, without the path of the series."""
        lines = self.git("status", "--porcelain", "--untracked-files=all", cwd=self.top).splitlines()
        return sorted(line.replace(f"series/{series_name(self.target)}/", "") for line in lines)

    def list_diff(self) -> list[str]:
        """The lines that the series file has lost and gained."""
        lines = self.git("diff", "-U0", "--", self.series / "series", cwd=self.top).splitlines()
        return [line for line in lines if line[:1] in "+-" and not line.startswith(("---", "+++"))]

    def entries(self) -> list[str]:
        """The patches that the series file lists."""
        lines = (self.series / "series").read_text(encoding="utf-8").splitlines()
        return [line.split()[0] for line in lines if line.strip() and not line.startswith("#")]

    def patch(self, name: str) -> str:
        """A patch's text."""
        return (self.series / name).read_bytes().decode("utf-8", "surrogateescape")

    def check_same_tree(self, kernel: Path | None = None, work: Path | None = None) -> None:
        """Fails unless the series gives the work tree when patch(1) applies it, which refresh does not use."""
        again = self.folder / "again"
        shutil.rmtree(again, ignore_errors=True)
        shutil.copytree(kernel or self.kernel, again, symlinks=True)
        for name in self.entries():
            patch(again, self.series / name)
        found = subprocess.run(["diff", "-r", "--no-dereference", "-x", ".git", str(again), str(work or self.work)],
                               capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout

    def newer_kernel(self, name: str, old: str, new: str) -> Path:
        """Makes another base, with that change in one of its files."""
        newer = self.folder / "newer"
        shutil.copytree(self.kernel, newer, symlinks=True)
        replace(newer / "Makefile", f"SUBLEVEL = {SUBLEVEL}", f"SUBLEVEL = {SUBLEVEL + 1}")
        replace(newer / name, old, new)
        return newer

    def copy(self, folder: Path) -> Lab:
        """Copies everything, so that a test can change it."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        return Lab(folder, self.target)


def patch(folder: Path, file: Path) -> None:
    """patch(1), without fuzz, of a patch with the files that it brings."""
    subprocess.run(["patch", "-s", "-d", str(folder), "-p1", "-F0", "--no-backup-if-mismatch"],
                   input=to_bytes(whole_text(file)), check=True)


def copy_program(top: Path) -> None:
    """Copies the program without its series."""
    top.mkdir(parents=True)
    shutil.copy(TOP / "snplab", top / "snplab")
    shutil.copytree(TOP / "lab", top / "lab", ignore=shutil.ignore_patterns("__pycache__"))


def write_identity(folder: Path, name: str = "A Tester", email: str = "tester@example.org") -> None:
    """Writes the user's git configuration, without a name or address that is empty."""
    lines = ["[user]", *([f'\tname = "{name}"'] if name else []), *([f'\temail = "{email}"'] if email else [])]
    (folder / "gitconfig").write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_series(lab: Lab) -> None:
    """Makes the series as a user does: with git format-patch, then edited by hand."""
    g, out = lab.folder / "g", lab.folder / "p"
    shutil.copytree(lab.kernel, g, symlinks=True)
    for words in (["init", "-q", "."], ["add", "-A", "-f"], ["commit", "-qm", "base"]):
        lab.git(*words, cwd=g)
    changes = (("kernel/a.c", "x += 3", "x += 30"), ("kernel/b.c", "y *= 8", "y *= 80"), None)
    for change, message in zip(changes, MESSAGES):
        if change:
            replace(g / change[0], change[1], change[2])
        else:
            (g / "kernel" / "new.c").write_text("new\n", encoding="utf-8")
        lab.git("add", "-A", cwd=g)
        lab.git("commit", "-qm", message, cwd=g)
    lab.git("format-patch", "-q", "--zero-commit", "--no-signature", "--no-encode-email-headers",
            "--subject-prefix=PATCH", "-o", out, "HEAD~3", cwd=g)
    lab.series.mkdir(parents=True)
    for source, name in zip(sorted(out.iterdir()), NAMES):
        shutil.copy(source, lab.series / name)
    by_hand = lab.series / "add-new.patch"
    replace(by_hand, "\n---\n", "\n---\nSeen on a Tuesday.\n")
    replace(by_hand, "\nSubject: ", "\nForwarded: no\nSubject: ")
    date = next(line for line in lab.patch("add-new.patch").split("\n") if line.startswith("Date: "))
    replace(by_hand, date, "Date: Tue, 1 Jan 2019 12:00:00 +0100")
    (lab.series / "series").write_text(LIST, encoding="utf-8")
    shutil.rmtree(g)


def make_sources(folder: Path, target: str = TREE) -> Lab:
    """Makes the kernel, and the copy of this repository with its series."""
    lab = Lab(folder, target)
    make_kernel(lab.kernel)
    write_identity(folder)
    copy_program(lab.top)
    make_series(lab)
    return lab


def make_lab(folder: Path, target: str = TREE) -> Lab:
    """Makes everything: the series as refresh writes it, a work tree, and a repository of one commit."""
    lab = make_sources(folder, target)
    # refresh rewrites the patches of git format-patch: make the work tree again from the result.
    for done in (lab.tree(), lab.refresh()):
        assert done.status == 0, done.output
    shutil.rmtree(lab.work)
    done = lab.tree()
    assert (done.status, done.stdout) == (0, f"{lab.work}\n"), done.output
    (lab.top / ".gitignore").write_text("trees/\nlab/\nsnplab\n", encoding="utf-8")
    lab.git("init", "-q", ".", cwd=lab.top)
    lab.git("add", "-A", cwd=lab.top)
    lab.git("commit", "-qm", "series", cwd=lab.top)
    return lab
