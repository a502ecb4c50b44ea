# SPDX-License-Identifier: GPL-2.0-only
"""Writes the patch file of a commit, and checks that git reads the same commit back from it."""
from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab.core.errors import setup_error
from lab.core.process import CommandFailed
from lab.core.steps import Job
from lab.patches.git import IDENTITY, PATCH_DATE, git_own
from lab.patches.patchfile import PatchFile, header_values, read, to_bytes, to_lines, to_text

# The most bytes in a line of a mail's header.
WIDTH = 78
# The pattern of the function that git names after "@@" for C. Set here, as git's own may differ from version to version.
FUNCTION = ("!^[ \t]*[A-Za-z_][A-Za-z_0-9]*:[[:space:]]*($|/[/*])\n"
            "^((::[[:space:]]*)?[A-Za-z_].*)$")
# No renames: some versions of patch(1) cannot apply them, and the lab's own lists of files do not know them.
DIFF = ("diff-tree", "-r", "-p", "--stat=72", "--summary", "-U3", "--inter-hunk-context=0", "--abbrev=12", "--no-renames",
        "--diff-algorithm=myers", "--indent-heuristic", "--no-color", "--no-ext-diff", "--no-textconv", "--no-relative",
        "--src-prefix=a/", "--dst-prefix=b/", "-O/dev/null")


@dataclass
class Repository:
    """A bare repository with the objects of a work tree. It has none of the work tree's configuration, attributes, hooks,
    grafts and replacements, which could change the patches."""

    job: Job
    path: Path
    index: Path

    @classmethod
    def of(cls, job: Job, folder: Path, temporary: Path) -> Repository:
        """Makes it in `temporary` for the work tree `folder`, with the tree of the tag "base" in its index."""
        repository = cls(job, temporary / "repo", temporary / "index")
        job.run(git_own(None, "init", "-q", "--bare", "--template=", "--object-format=sha1", repository.path))
        for name in ("objects/info", "info"):
            (repository.path / name).mkdir(parents=True, exist_ok=True)
        objects = job.bytes_of(git_own(folder, "rev-parse", "--path-format=absolute", "--git-path", "objects"))
        (repository.path / "objects" / "info" / "alternates").write_bytes(objects)
        (repository.path / "info" / "attributes").write_text("*.[ch] diff=kernel\n", encoding="utf-8")
        job.run(git_own(repository.path, "config", "diff.kernel.xfuncname", FUNCTION))
        base = job.output(git_own(folder, "rev-parse", "base^{commit}")).rstrip("\n")
        job.run(git_own(repository.path, "read-tree", base, index=repository.index))
        return repository

    def text(self, *words: str | Path) -> str:
        """git's output, with every byte preserved."""
        return self.job.bytes_of(git_own(self.path, *words)).decode("utf-8", "surrogateescape")

    def log(self, commit: str, what: str) -> str:
        """A part of a commit's message, without the newlines at its end."""
        return self.text("log", "-1", f"--format={what}", "--encoding=UTF-8", commit).rstrip("\n")


def fold_subject(subject: str) -> list[str]:
    """The Subject header, folded as git folds it."""
    words = re.split(r"[ \t]+", f"Subject: [PATCH] {subject}".strip(" \t"))
    lines, line = [], words[0]
    for word in words[1:]:
        if len(to_bytes(line)) + 1 + len(to_bytes(word)) > WIDTH:
            lines.append(line)
            line = ""
        line += f" {word}"
    return [*lines, line]


def write_patch(repository: Repository, commit: str, old: PatchFile | None) -> str:
    """The text of a commit's patch file. It keeps the text that was written by hand into the old file: Date, further
    headers, notes below "---"."""
    parent = f"{commit}^"
    if any(line.startswith("-") for line in
           to_lines(repository.text("diff-tree", "-r", "--no-renames", "--numstat", parent, commit))):
        raise setup_error(f"{commit[:12]} changes a binary file: patch(1), which builds use, cannot carry that")
    if not repository.text("diff-tree", "-r", parent, commit):
        raise setup_error(f"{commit[:12]} changes no file: a mail cannot carry that",
                          "drop it: git rebase -i --empty=drop base")
    # The first line is fixed; it only marks the beginning of a mail.
    head = [f"From {0:040d} Mon Sep 17 00:00:00 2001", f"From: {IDENTITY[0]} <{IDENTITY[1]}>",
            f"Date: {(old and old.date) or PATCH_DATE}", *fold_subject(repository.log(commit, "%s"))]
    notes = ""
    if old is not None:
        head += old.headers_by_hand
        notes = to_text(old.notes_by_hand).rstrip("\n")
    body = repository.log(commit, "%b")
    return "".join([to_text(head), "\n", body + "\n" if body else "", "---\n", notes + "\n\n" if notes else "",
                    repository.text(*DIFF, parent, commit)])


def check_patch(repository: Repository, commit: str, patch: Path) -> None:
    """Raises unless git reads the same commit back from the patch file. git would drop a line of the message that looks like
    the end of a mail or like a header."""
    job, folder = repository.job, patch.parent.parent / "check"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    count = job.output(git_own(None, "mailsplit", "-b", f"-o{folder}", patch)).strip()
    try:
        info = job.bytes_of(git_own(None, "mailinfo", "-b", "--encoding=UTF-8", "--no-scissors", folder / "msg",
                                    folder / "patch"), stdin=patch.read_bytes()).decode("utf-8", "surrogateescape")
    except CommandFailed:
        count, info = "0", ""
    if (count != "1" or read(folder / "msg").rstrip("\n") != repository.log(commit, "%b")
            or header_values(to_lines(info), "Subject") != [repository.log(commit, "%s")]):
        raise setup_error(
            f"the message of {commit[:12]} would not survive as a mail: nothing written",
            'a line that begins with "---", "diff -", "Index: " or "From ", or a first line like a header, must be indented '
            "or reworded")
    applies = not job.status(git_own(repository.path, "apply", "--cached", "--whitespace=nowarn", patch,
                                     index=repository.index))
    if not applies or (job.output(git_own(repository.path, "write-tree", index=repository.index))
                       != repository.text("rev-parse", f"{commit}^{{tree}}")):
        raise setup_error(
            f"the patch of {commit[:12]} does not give the commit's tree again: nothing written",
            "a patch cannot have a change of a file's kind or of an attribute; git's messages are in the log")
