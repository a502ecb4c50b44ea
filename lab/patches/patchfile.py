# SPDX-License-Identifier: GPL-2.0-only
"""A patch file: a mail with headers, a message, notes below "---", and a diff."""
from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PREFIX = re.compile(r"^\[[^]]*PATCH[^]]*\][ \t]*")
WRITTEN_HEADERS = ("From ", "From:", "Date:", "Subject:")
STAT_LINE = re.compile(r" [0-9]+ files? changed| [^ ].* \| +([0-9]+ ?[-+]*|Bin .*)$")
INDEX_LINE = re.compile(r"index [0-9a-f]+\.\.[0-9a-f]+( [0-7]+)?")
HUNK_LINE = re.compile(r"@@ -([0-9]+)((?:,[0-9]+)?) \+([0-9]+)((?:,[0-9]+)?) @@.*")


def read(path: Path) -> str:
    """A file's text, with every byte preserved, also carriage returns and invalid UTF-8."""
    return path.read_bytes().decode("utf-8", "surrogateescape")


def to_bytes(text: str) -> bytes:
    """Converts text from read() back to bytes."""
    return text.encode("utf-8", "surrogateescape")


def write(path: Path, text: str) -> None:
    """Writes text from read() to a file."""
    path.write_bytes(to_bytes(text))


def to_lines(text: str) -> list[str]:
    """Splits text at newlines only; str.splitlines() would also split at other characters."""
    return text.removesuffix("\n").split("\n") if text else []


def to_text(lines: list[str]) -> str:
    """Joins lines from to_lines()."""
    return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class PatchFile:
    """The parts of a patch file."""

    text: str

    @classmethod
    def read(cls, path: Path) -> PatchFile:
        """Reads a patch file."""
        return cls(read(path))

    @property
    def headers(self) -> list[str]:
        """The lines before the first empty one."""
        lines = to_lines(self.text)
        return lines[:lines.index("")] if "" in lines else lines

    @property
    def body(self) -> list[str]:
        """The lines after the headers."""
        return to_lines(self.text)[len(self.headers) + 1:]

    def values(self, name: str) -> list[str]:
        """The values of all headers of that name, unfolded."""
        return header_values(self.headers, name)

    @property
    def subject(self) -> str:
        """The subject without [PATCH …]."""
        found = self.values("Subject")
        return PREFIX.sub("", found[-1]) if found else ""

    @property
    def date(self) -> str | None:
        """The Date header's text."""
        return next((line.removeprefix("Date: ") for line in self.headers if line.startswith("Date: ")), None)

    @property
    def message(self) -> list[str]:
        """The text between the headers and "---"."""
        body = self.body
        return body[:body.index("---")] if "---" in body else body

    @property
    def from_rule(self) -> list[str]:
        """The lines from "---" to the end."""
        lines = to_lines(self.text)
        return lines[lines.index("---"):] if "---" in lines else []

    @property
    def headers_by_hand(self) -> list[str]:
        """Headers that somebody has added by hand, with their folding."""
        kept, keep = [], False
        for line in self.headers:
            if not line.startswith((" ", "\t")):
                keep = not line.startswith(WRITTEN_HEADERS)
            if keep:
                kept.append(line)
        return kept

    @property
    def notes_by_hand(self) -> list[str]:
        """The text between "---" and the list of changed files."""
        notes: list[str] = []
        for line in self.from_rule[1:]:
            if line.startswith("diff --git ") or STAT_LINE.match(line):
                break
            notes.append(line)
        return notes

    @property
    def committed(self) -> list[str]:
        """The part that becomes a commit, without the subject: message and diff, no headers and no notes."""
        kept, skip, in_diff = [], False, False
        for line in self.body:
            if line == "---" and not in_diff:
                skip = True
            elif line.startswith("diff --git "):
                in_diff, skip = True, False
            if not skip:
                kept.append(line)
        return kept

    def without_base(self, positions: bool = True) -> list[str]:
        """The lines without the parts that depend on the base only: names of blobs, the function after a hunk's "@@", and,
        without `positions`, the hunks' line numbers."""
        kept, in_diff = [], False
        for line in to_lines(self.text):
            in_diff = in_diff or line.startswith("diff --git ")
            if in_diff and (found := INDEX_LINE.fullmatch(line)):
                line = f"index{found[1] or ''}"
            elif in_diff and (found := HUNK_LINE.fullmatch(line)):
                old, old_size, new, new_size = found.groups()
                line = f"@@ -{old if positions else ''}{old_size} +{new if positions else ''}{new_size} @@"
            kept.append(line)
        return kept


def header_values(headers: list[str], name: str) -> list[str]:
    """The values of all headers of that name, unfolded."""
    values: list[str] = []
    on = False
    for line in headers:
        if line.startswith((" ", "\t")):
            if on:
                values[-1] += " " + line.lstrip(" \t")
            continue
        on = line.lower().startswith(f"{name.lower()}:")
        if on:
            values.append(line[len(name) + 1:].lstrip(" \t"))
    return values
